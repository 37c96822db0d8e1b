"""Inputs that user code reads while it is imported and run, as Python's audit hooks report them.

A file counts if code outside this package and installed packages opens it for reading, directly or
through a library that announces its opens (``open``, NumPy, pandas' text formats, ``torch.load``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any, NamedTuple

from ablations.core.files import digest, read_file
from ablations.core.sources import PACKAGE_FOLDER, UNSEEN, find_modules, is_library

_MAX_BYTES = 1 << 28
"""Of a larger file, size and time of the last change count in place of its content."""
_SYSTEM = tuple(f"{os.sep}{name}{os.sep}" for name in ("proc", "sys", "dev", "usr", "etc", "run"))
_NOTES = {
    "socket.connect": "the network",
    "socket.getaddrinfo": "the network",
    "subprocess.Popen": "the output of another program",
    "os.system": "the output of another program",
}
"""Audit event to what no hash includes."""
_OPENING = {"open": 0, "sqlite3.connect": 0, "ctypes.dlopen": 0}

_FILES: dict[str, dict[str, str]] = {}
"""Name of a user module to path and hash of the files that it has read."""
_UNSEEN: dict[str, set[str]] = {}
"""Name of a user module to what it has used that no hash includes."""
_WRITTEN: set[str] = set()
_STATE = {"is_installed": False, "active": 0}


class Inputs(NamedTuple):
    """What user code read beside the modules whose content is part of a run's identity."""

    files: dict[str, str]
    """Path to the hash of the content."""
    unseen: tuple[str, ...] = ()
    """Sentences on what no hash includes."""

    def union(self, other: Inputs) -> Inputs:
        """Return the inputs of both."""
        unseen = dict.fromkeys((*self.unseen, *other.unseen))
        return Inputs(self.files | other.files, tuple(unseen))


NOTHING = Inputs({})


def start_recording() -> None:
    """Record from now on in this process.

    An audit hook cannot be removed; it does nothing while nothing is recorded.
    """
    if not _STATE["is_installed"]:
        _STATE["is_installed"] = True
        sys.addaudithook(_hook)
    _STATE["active"] += 1


@contextmanager
def recording() -> Iterator[None]:
    """Record inside the context."""
    start_recording()
    try:
        yield
    finally:
        _STATE["active"] -= 1


def recorded_inputs(names: Iterable[str]) -> Inputs:
    """Return what user modules, and those that they import, have read so far in this process."""
    modules: dict[str, str] = {}
    for name in names:
        modules |= find_modules(name)
    hashed = set(map(os.path.realpath, modules.values()))
    files = {
        path: content
        for reader in _FILES.keys() & modules.keys()
        for path, content in _FILES[reader].items()
        if os.path.realpath(path) not in hashed and path not in _WRITTEN
    }
    unseen = [
        f"{Path(modules[name]).name} reads {what}, {UNSEEN}"
        for name in modules.keys() & _UNSEEN.keys()
        for what in sorted(_UNSEEN[name])
    ]
    return Inputs(files, tuple(sorted(unseen)))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _STATE["active"] or (event not in _OPENING and event not in _NOTES):
        return
    reader = _user_module()
    if reader is None:
        return
    if event in _NOTES:
        _UNSEEN.setdefault(reader, set()).add(_NOTES[event])
    else:
        _record_file(reader, *arguments[:3])


def _user_module() -> str | None:
    """Return the name of the user module on whose behalf something is opened, or None."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE_FOLDER):
            return None
        name = frame.f_globals.get("__name__")
        if name in sys.modules and not is_library(path):  # else code that a module executes
            return str(name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _record_file(reader: str, file: Any, mode: Any = None, flags: Any = 0) -> None:
    if not isinstance(file, (str, bytes, os.PathLike)):
        return
    path = os.path.abspath(os.fsdecode(file))  # noqa: PTH100 (a Path is slow)
    if is_library(path) or path.startswith(_SYSTEM) or f"{os.sep}.git{os.sep}" in path:
        return
    writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
    if writes or (mode is None and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
        _WRITTEN.add(path)
        return
    if path.endswith(".pyc"):
        try:
            path = source_from_cache(path)
        except ValueError:
            return
    if os.path.isfile(path):  # noqa: PTH113
        status = os.stat(path)  # noqa: PTH116
        _FILES.setdefault(reader, {})[path] = _hash_once(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _hash_once(path: str, _modified: int, _size: int) -> str:
    return hash_file(path)


def hash_file(path: str) -> str:
    """Return a hash of a file's content; "" if it cannot be read."""
    try:
        status = Path(path).stat()
        if status.st_size > _MAX_BYTES:
            return f"{status.st_size} bytes of {status.st_mtime_ns}"
        return digest(read_file(path, _MAX_BYTES), size=10)
    except OSError:
        return ""
