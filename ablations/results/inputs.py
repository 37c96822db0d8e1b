"""The files that the runs of a results folder read beside the study: ``inputs.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablations.core.errors import RequestError
from ablations.core.files import read_sealed_json, write_sealed_json
from ablations.core.recorder import hash_file

INPUTS_FILE = "inputs.json"


def save_inputs(folder: Path, files: Mapping[str, str]) -> None:
    """Add files, path and hash, to those of a results folder."""
    stored = load_inputs(folder)
    if not files.items() <= stored.items():
        write_sealed_json(folder / INPUTS_FILE, {**stored, **files}, indent=1)


def changed_input(folder: Path) -> str | None:
    """Return the path of a file that has changed since runs of a results folder read it.

    A file whose folder does not exist does not count: the results were moved.
    """
    for path, content in load_inputs(folder).items():
        if Path(path).parent.is_dir() and hash_file(path) != content:
            return path
    return None


def unite_inputs(folders: Sequence[Path]) -> dict[str, str]:
    """Return the files that the runs of all folders read; refuse one that has two contents."""
    united: dict[str, str] = {}
    for folder in folders:
        for path, content in load_inputs(folder).items():
            if united.setdefault(path, content) != content:
                message = f"holds runs that read {path} when it had another content"
                raise RequestError(f"{message} than in {folders[0]}", source=str(folder))
    return united


def load_inputs(folder: Path) -> dict[str, str]:
    """Return path and hash of the files that the runs of a results folder read."""
    path = folder / INPUTS_FILE
    if not path.exists():
        return {}  # no run has read a file, or the folder is of an earlier version
    return read_sealed_json(path, f"'ablations repair {folder}' sets it aside")
