"""Objects of other people by their names, ``my_module:build``; what goes wrong is one sentence."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablations.errors import RequestError, nearest

__all__ = ["PREFIX", "found_beside", "imported", "place_of", "source_of", "source_of_module"]

PREFIX = "python:"


def imported(target: str, key: str, beside: Path | None = None) -> Any:
    """The object that ``my_module:name`` or ``package.module:Class.method`` leads to.

    Modules are looked for where Python does, in ``beside``, and in the present folder.

    Raises
    ------
    RequestError
        If there is none, or importing it fails: with the file and line where.
    """
    name, colon, path = target.partition(":")
    if not colon or not all(part.isidentifier() for part in (*name.split("."), *path.split("."))):
        message = f"expected python:module:name, found '{PREFIX}{target}'"
        raise RequestError(message, key)
    above = (beside, *beside.parents[:2]) if beside else ()  # from results/study to its module
    for folder in map(str, (*above, Path.cwd())):
        # At the end, so that nothing of Python's own is hidden.
        if folder not in sys.path:
            sys.path.append(folder)
            _FOLDERS.add(folder)
    found: Any = _module(name, key)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            offered = [one for one in vars(found) if not one.startswith("_")]
            message = f"'{name}' has no '{path}'; {nearest(part, offered)}"
            raise RequestError(message, key) from None
    return found


_FOLDERS: set[str] = set()
"""Where this process looks for modules since a study named some; others do not."""


def found_beside() -> set[str]:
    """The modules that were found in folders where other processes do not look."""
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    ours = {top for top in tops if _folder(sys.modules.get(top)) in _FOLDERS}
    return {name for name in list(sys.modules) if name.partition(".")[0] in ours}


def _folder(module: Any) -> str | None:
    """The folder in which a module, no part of a package, was found."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str):
        return None
    found = Path(path).parent
    return str(found.parent if Path(path).name == "__init__.py" else found)


def _module(name: str, key: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            message = f"there is no module '{error.name}', here or where Python looks"
        else:
            message = f"module '{name}' needs '{error.name}', which is not installed"
        raise RequestError(message, key) from None
    except (Exception, SystemExit) as error:
        message = f"module '{name}' cannot be imported: {_told(error)}"
        raise RequestError(message, key) from None


def _told(error: BaseException) -> str:
    """An error with where it was raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"{said}{place_of(error)}"


_LIBRARIES = (str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib")))


def place_of(error: BaseException) -> str:
    """Where in a file of somebody's own an error came up, ``" (mine.py, line 3)"``; empty where it
    did nowhere.
    """
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<"))
    ]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


@lru_cache(maxsize=256)
def source_of(cls: type) -> str:
    """A hash of the text of a class; empty where nobody has it."""
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):
        return ""
    return _hash(text.encode())


@lru_cache(maxsize=256)
def source_of_module(name: str) -> str:
    """A hash of a module's file as it was when first asked for; empty where there is none."""
    path = getattr(sys.modules.get(name), "__file__", None)
    try:
        return _hash(Path(path).read_bytes()) if path else ""
    except OSError:
        return ""


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=10).hexdigest()
