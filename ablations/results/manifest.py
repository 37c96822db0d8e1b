"""What a results folder must hold, and which command may write to it.

``manifest.json`` names shards of runs, timings and audit that were written, so that one which is
deleted is missed.  A shard that it does not name yet counts all the same.

``.session`` holds the number of the latest command that began to write.  A process of an earlier
command, that was stopped while its lock expired, or that outlived it, writes nothing more.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ablations.core.errors import RequestError
from ablations.core.files import read_sealed_json, read_text, write_sealed_json, write_text
from ablations.results import shards
from ablations.results.lease import refuse_late
from ablations.results.schema import AUDIT, RUNS, TABLES, TIMINGS

MANIFEST_FILE, SESSION_FILE = "manifest.json", ".session"
_ATTEMPTS = 100


def load_manifest(folder: Path) -> frozenset[str] | None:
    """Return the paths of shards in a results folder, ``runs/NAME``; None without a manifest."""
    path = folder / MANIFEST_FILE
    if not path.exists() and not path.is_symlink():
        return None
    advice = f"'ablations repair {folder}' makes it again from the shards"
    names = read_sealed_json(path, advice).get("shards")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"expected a list of shards; {advice}", source=str(path))
    return frozenset(names)


def reset_manifest(folder: Path) -> None:
    """Name the shards that are there, and no others."""
    _save(folder, _list_shards(folder))


def record_shards(folder: Path, removed: Collection[Path] = ()) -> None:
    """Add the shards that are there to the manifest, and take those out that are to be deleted."""
    stored = load_manifest(folder) or frozenset()
    names = (stored | _list_shards(folder)) - {_name(path) for path in removed}
    if names != stored:
        _save(folder, names)


def missing_shards(folder: Path) -> list[Path]:
    """List the shards that the manifest names and the folder does not hold."""
    expected = load_manifest(folder)
    for _ in range(_ATTEMPTS):
        missing = (expected or frozenset()) - _list_shards(folder)
        before, expected = expected, load_manifest(folder) if missing else expected
        if before == expected:  # else they were compacted in between
            return [folder / name for name in sorted(missing)]
    raise RequestError("its files vanish while they are read", source=str(folder))


def begin_session(folder: Path) -> int:
    """Return a number greater than those of all commands that wrote here before, and store it."""
    latest = shards.last_session([folder / spec.name for spec in TABLES])
    session = 1 + max(latest, _read_session(folder))
    write_text(folder / SESSION_FILE, f"{session}\n")
    return session


def require_session(folder: Path, session: int) -> None:
    """Refuse to write for a command after a later one has begun; 0 is no command's number."""
    if 0 < session < _read_session(folder):
        raise refuse_late(folder)


def _read_session(folder: Path) -> int:
    try:
        return int(read_text(folder / SESSION_FILE))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return 0  # no command, or a damaged file, which the next command writes again


def _list_shards(folder: Path) -> frozenset[str]:
    tables = (RUNS, TIMINGS, AUDIT)
    return frozenset(_name(path) for spec in tables for path in shards.paths(folder / spec.name))


def _save(folder: Path, names: Collection[str]) -> None:
    write_sealed_json(folder / MANIFEST_FILE, {"shards": sorted(names)}, indent=0)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
