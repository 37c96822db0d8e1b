"""Two revisions side by side: their files, and an environment of its own for each."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Revision:
    """A revision: what it is called, its files, and the Python that has it installed."""

    name: str
    source: Path
    python: Path


def git(*words: str) -> bytes:
    """What git says of this repository."""
    return subprocess.run(("git", "-C", str(ROOT), *words), check=True, capture_output=True).stdout


def merge_base(branch: str = "main") -> str:
    """Where this branch left ``branch``: the last revision that both have."""
    for name in (branch, f"origin/{branch}"):
        try:
            return git("merge-base", name, "HEAD").decode().strip()
        except subprocess.CalledProcessError:
            continue
    message = f"no branch {branch} to compare with; name a revision: --base REV"
    raise SystemExit(message)


def resolve(revision: str) -> str:
    """The commit that ``revision`` names."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError:
        message = f"--base {revision}: no such revision"
        raise SystemExit(message) from None


def committed(commit: str, folder: Path) -> None:
    """Write the files of ``commit`` into ``folder``."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as files:
        files.extractall(folder, filter="data")


def working(folder: Path) -> str:
    """Write the files of the working tree into ``folder``, what git ignores left out.

    Returns
    -------
    str
        What to call it: its commit, and whether files were changed since.
    """
    names = git("ls-files", "--cached", "--others", "--exclude-standard", "-z").decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    commit = git("rev-parse", "--short", "HEAD").decode().strip()
    return f"{commit} with changes" if git("status", "--porcelain").strip() else commit


def installed(name: str, source: Path, environment: Path, *, shared: bool) -> Revision:
    """Install ``source`` into a new ``environment``.

    What it depends on comes from the environment that runs this, where ``shared``, and from the
    package index otherwise.
    """
    venv.create(environment, with_pip=not shared)
    binaries = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = binaries / ("python.exe" if sys.platform == "win32" else "python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
    if shared:
        place = sysconfig.get_path(
            "purelib", vars={"base": str(environment), "platbase": str(environment)}
        )
        (Path(place) / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip += ["--no-deps", "--no-build-isolation", "--no-index", str(source)]
    else:
        pip += ["-c", str(source / "constraints.txt"), str(source)]
    subprocess.run(pip, check=True)
    return Revision(name, source, python)


def alike(sources: tuple[Path, Path]) -> bool:
    """Whether one environment serves both: they depend on the same, in the same versions."""
    projects = [
        tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for source in sources
    ]
    lines = [(source / "constraints.txt").read_text(encoding="utf-8") for source in sources]
    first, second = (dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)) for text in lines)
    # What only one of them pins is of its tools.
    moved = {name for name in first.keys() & second.keys() if first[name] != second[name]}
    return not moved and projects[0]["dependencies"] == projects[1]["dependencies"]
