"""What machine, which versions, which commit: what may change a number or a time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_PACKAGES = ("ablations", "torch", "numpy", "pandas", "scikit-learn", "joblib", "pyarrow")
_OF_REPORTS = ("scipy", "statsmodels", "matplotlib", "seaborn", "jinja2")


def describe() -> dict[str, Any]:
    """This machine and installation, as plain data without any moment in time."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": _cores(),
        "threads_per_worker": 1,
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def identify(description: dict[str, Any]) -> str:
    """A short hash of a description; rows of the results name their environment by it."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def sources() -> str:
    """A hash of this package's files and of the versions of what draws and computes reports."""
    here = Path(__file__).parents[1]
    files = sorted(path for path in here.rglob("*") if path.suffix in (".py", ".j2", ".toml"))
    versions = [_version(name) for name in (*_PACKAGES, *_OF_REPORTS)]
    content = b"".join(path.read_bytes() for path in files)
    return hashlib.blake2b(content + repr(versions).encode(), digest_size=16).hexdigest()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit() -> str:
    """The commit of the checkout that this package is, or was installed from; else empty."""
    source = _checkout()
    git = shutil.which("git")
    if source is None or git is None:
        return ""
    command = [git, "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(  # noqa: S603  (a fixed command on our own folder)
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _checkout() -> Path | None:
    """The folder beside which git keeps this package's history, where there is one."""
    candidates = [Path(__file__).resolve().parents[2]]
    try:
        # PEP 610: pip writes down the folder that it installed from.
        recorded = metadata.distribution("ablations").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        recorded = None
    url = urlsplit(json.loads(recorded)["url"]) if recorded else None
    if url is not None and url.scheme == "file":
        candidates.append(Path(url2pathname(url.path)))
    return next((path for path in candidates if (path / ".git").exists()), None)
