"""User objects by their Python name, ``my_module:build``, and the code that defines them."""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ablations.core.errors import RequestError, nearest
from ablations.core.files import digest

PREFIX = "python:"

_STUDY_FOLDERS: set[str] = set()
"""Folders that ``import_object`` appended to ``sys.path``; other machines do not search them."""


def import_object(target: str, key: str, study_dir: Path | None = None) -> Any:
    """Return the object ``my_module:name`` or ``package.module:Class.method``.

    Python's own search path comes first, then ``study_dir``, then the current folder.
    """
    name, colon, attributes = target.partition(":")
    words = (*name.split("."), *attributes.split("."))
    if not colon or not all(word.isidentifier() for word in words):
        raise RequestError(f"expected python:module:name, found '{PREFIX}{target}'", key)
    folders = [study_dir] if study_dir else []
    if study_dir and (study_dir / "runs").is_dir():
        folders += study_dir.parents[:2]  # a results folder lies in results/ beside the modules
    for folder in map(str, (*folders, Path.cwd())):
        # Folders are appended, so that they hide no module of Python's own.
        if folder not in sys.path:
            sys.path.append(folder)
            _STUDY_FOLDERS.add(folder)
    module = _import_module(name, key)
    _refuse_namesake(name, module, folders, key)
    value: Any = module
    for attribute in attributes.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError:
            names = [option for option in dir(value) if not option.startswith("_")]
            message = f"'{name}' has no '{attributes}'; {nearest(attribute, names)}"
            raise RequestError(message, key) from None
    for local in _study_modules():
        _loaded_hash(local)
    return value


def _import_module(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            message = f"no module '{error.name}' beside the study or on Python's search path"
        else:
            message = f"module '{name}' needs '{error.name}', which is not installed"
    except SyntaxError as error:
        reason = f"{error.filename}, line {error.lineno}: {error.msg}"
        message = f"module '{name}' cannot be imported: {reason}"
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"module '{name}' cannot be imported: {reason}{error_location(error)}"
    raise RequestError(message, key)


def _refuse_namesake(name: str, module: ModuleType, folders: list[Path], key: str) -> None:
    """Refuse a module of the same name that this process imported from another folder before."""
    file = f"{name}.py"
    folder = next((folder for folder in folders if (folder / file).is_file()), None)
    path = getattr(module, "__file__", None)
    if folder is None or path is None or Path(path).parent == folder:
        return
    message = f"'{name}' is {path} in this process already, and {folder / file} is another"
    raise RequestError(f"{message}; give one of them another name", key)


_LIBRARIES = (str(Path(__file__).parents[1]), *map(sysconfig.get_path, ("stdlib", "purelib")))


def error_location(error: BaseException) -> str:
    """Return the location in user code, ``" (mine.py, line 3)"``, or "" if there is none."""
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if not frame.filename.startswith((*_LIBRARIES, "<"))]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _study_modules() -> set[str]:
    """Return the names of the imported modules that lie in folders of studies."""
    roots = set()
    for root in {name.partition(".")[0] for name in list(sys.modules)}:
        file = getattr(sys.modules.get(root), "__file__", None)
        if isinstance(file, str):
            path = Path(file)
            folder = path.parents[1] if path.name == "__init__.py" else path.parent
            if str(folder) in _STUDY_FOLDERS:
                roots.add(root)
    return {name for name in list(sys.modules) if name.partition(".")[0] in roots}


def import_state() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the imports of a worker process depend on: ``sys.path`` and hashes of modules.

    A worker that was started under other hashes may hold outdated modules of a study's folder.
    """
    path = tuple(folder or str(Path.cwd()) for folder in sys.path)
    return path, tuple(loaded_hashes().values())


def loaded_hashes() -> dict[str, str]:
    """Return name to hash of the modules in folders of studies, as this process imported them."""
    return {name: _loaded_hash(name) for name in sorted(_study_modules())}


def refuse_changed_modules(hashes: Mapping[str, str]) -> None:
    """Refuse to go on in a worker that imported other code than the command, which has ``hashes``.

    A worker that starts late imports a file that was edited meanwhile.
    """
    for name, expected in hashes.items():
        if name in sys.modules and expected and _loaded_hash(name) not in ("", expected):
            message = f"module '{name}' was changed while the command ran; run the command again"
            raise RequestError(message)


def unimportable_modules(names: Iterable[str], same_path: bool = True) -> list[ModuleType]:
    """Return the modules that another process cannot import as they are in this process.

    ``names`` are modules with user code; ``same_path`` tells whether the other process has the
    same files and the same ``sys.path``.
    """
    local = _study_modules()
    if same_path and all(_loaded_hash(name) in ("", _hash_files([name])) for name in local):
        local = set()
    others = {name for name in names if name in sys.modules and not _is_importable(name)}
    # The module __main__ is pickled by value in any case.
    return [sys.modules[name] for name in sorted((local | others) - {"__main__"})]


def _is_importable(name: str) -> bool:
    """Whether importing a module anew finds the same file."""
    words, path, spec = name.split("."), None, None
    for end in range(len(words)):
        spec = PathFinder.find_spec(".".join(words[: end + 1]), path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin == getattr(sys.modules[name], "__file__", None)


def source_hash(cls: type) -> str:
    """Return a hash of the source that defines a class, or "" if it is unavailable.

    It is the hash of the class's module, which the class may use; for a script or a notebook,
    whose other parts change all the time, the hash of the class's own text.
    """
    if cls.__module__ != "__main__":
        return module_hash(cls.__module__)
    with suppress(OSError, TypeError):
        return digest(inspect.getsource(cls).encode(), size=10)
    return ""


def module_hash(name: str) -> str:
    """Return a hash of a module's file and of the modules in folders of studies, or "".

    The files count as they were when the hash was first asked for.
    """
    spec: Any = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or not getattr(sys.modules[name], "__file__", None):
        return ""
    # The spec remembers the hash, since a module that is reloaded has a new spec.
    if not hasattr(spec, "_ablations_source"):
        local = _study_modules()
        others = sorted(local - {name}) if name in local else []
        spec._ablations_source = _hash_files([name, *others])
    return str(spec._ablations_source)


def _loaded_hash(name: str) -> str:
    """Return a hash of a module's file, as it was when first asked for."""
    spec: Any = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None and not hasattr(spec, "_ablations_file"):
        spec._ablations_file = _hash_files([name])
    return str(getattr(spec, "_ablations_file", ""))


def _hash_files(modules: list[str]) -> str:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    content = [Path(file).read_bytes() for file in files if file and Path(file).is_file()]
    return digest(b"".join(content), size=10)
