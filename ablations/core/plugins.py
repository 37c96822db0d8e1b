"""Objects of other people by their names, ``my_module:build``; what goes wrong is one sentence."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from ablations.core.errors import RequestError, nearest

__all__ = [
    "PREFIX",
    "error_location",
    "import_object",
    "local_modules",
    "module_hash",
    "source_hash",
]

PREFIX = "python:"


def import_object(target: str, key: str, beside: Path | None = None) -> Any:
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
    above = [beside] if beside else []
    if beside and (beside / "runs").is_dir():
        above += beside.parents[:2]  # from results/study to what lies beside results
    for folder in map(str, (*above, Path.cwd())):
        # At the end, so that nothing of Python's own is hidden.
        if folder not in sys.path:
            sys.path.append(folder)
            _FOLDERS.add(folder)
    found: Any = _module(name, key)
    _refuse_another(name, found, above, key)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            offered = [one for one in dir(found) if not one.startswith("_")]
            message = f"'{name}' has no '{path}'; {nearest(part, offered)}"
            raise RequestError(message, key) from None
    return found


def _refuse_another(name: str, module: Any, folders: list[Path], key: str) -> None:
    """Refuse a module of the same name from elsewhere, which this process had imported before."""
    first = name.partition(".")[0]
    there = next((f for f in folders if (f / f"{first}.py").is_file()), None)
    path = getattr(module, "__file__", None)
    if there is None or "." in name or path is None or Path(path).parent == there:
        return
    message = f"'{name}' is {path} in this process already, and {there / name}.py is another"
    raise RequestError(f"{message}; give one of them another name", key)


_FOLDERS: set[str] = set()
"""Where this process looks for modules since a study named some; others do not."""


def local_modules() -> set[str]:
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
        if error.name and f"{name}.".startswith(f"{error.name}."):
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
    return f"{said}{error_location(error)}"


_LIBRARIES = (str(Path(__file__).parents[1]), *map(sysconfig.get_path, ("stdlib", "purelib")))


def error_location(error: BaseException) -> str:
    """Where in a file of somebody's own an error came up, ``" (mine.py, line 3)"``; empty where it
    did nowhere.
    """
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<"))
    ]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


_SOURCE = "ablations_source"


def source_hash(cls: type) -> str:
    """A hash of the code of a class: of its module, whose other parts it may use; in a script or a
    notebook, whose other parts change all the time, of its own text; empty where nobody has it.
    """
    if cls.__module__ != "__main__":
        return module_hash(cls.__module__)
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):
        return ""
    return _hash(text.encode())


def module_hash(name: str) -> str:
    """A hash of a module's file, and of those found beside it that it had imported, as they were
    when first asked for; empty where there is none.
    """
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if not path or module is None or module.__spec__ is None:
        return ""
    # A module that is loaded again has another spec.
    spec: Any = module.__spec__
    if not hasattr(spec, _SOURCE):
        beside = sorted(local_modules() - {name}) if name in local_modules() else []
        files = [path, *(getattr(sys.modules[one], "__file__", None) for one in beside)]
        content = [Path(file).read_bytes() for file in files if file and Path(file).is_file()]
        setattr(spec, _SOURCE, _hash(b"".join(content)))
    return str(getattr(spec, _SOURCE))


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=10).hexdigest()
