"""User objects by their Python name, ``my_module:build``, and the code that defines them."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from ablations.core.definitions import MAIN, hash_closure, hash_definition, is_by_text
from ablations.core.errors import RequestError, nearest
from ablations.core.files import digest
from ablations.core.recorder import recording
from ablations.core.sources import (
    find_modules,
    hash_module,
    is_library,
    locate,
    read_content,
    read_current,
)

PREFIX = "python:"
ENTRY_POINTS = "ablations.techniques"
"""The entry point group for modules or classes with techniques, tasks and models."""
_IMPORTS_CODE: ContextVar[bool] = ContextVar("imports_code", default=True)
"""Whether names of a study may import code: from ``python:`` and from entry points."""
_READS_FILES: ContextVar[bool] = ContextVar("reads_files", default=True)
"""Whether files may be read that a study names, such as its data."""

_HASHED: set[str] = set()
"""Modules whose hash belongs to the identity of runs."""
_STUDY_FOLDERS: set[str] = set()
"""Folders that ``import_object`` appended to ``sys.path``; other machines do not search them."""


@contextmanager
def without_imports() -> Iterator[None]:
    """Refuse names that import code, and load no components of installed packages."""
    token = _IMPORTS_CODE.set(False)
    try:
        yield
    finally:
        _IMPORTS_CODE.reset(token)


@contextmanager
def without_inputs() -> Iterator[None]:
    """Refuse files that a study names, such as its data."""
    token = _READS_FILES.set(False)
    try:
        yield
    finally:
        _READS_FILES.reset(token)


def require_inputs(path: object, key: str = "") -> None:
    """Refuse a file that a study names where none may be read."""
    if not _READS_FILES.get():
        raise RequestError(f"reads {path}, which needs --trust", key)


def may_import() -> bool:
    """Return whether names of a study may import code."""
    return _IMPORTS_CODE.get()


def require_imports(name: str, key: str) -> None:
    """Refuse a name that imports code where none may be imported."""
    if not may_import():
        raise RequestError(f"'{name}' imports code, which needs --trust", key)


@functools.lru_cache(maxsize=1)
def offered_components() -> tuple[metadata.EntryPoint, ...]:
    """Return what installed packages offer.

    The current folder and the folders of studies are not where packages are installed: whoever
    fills such a folder could offer anything.
    """
    path = [folder for folder in sys.path if folder not in ("", ".", *_STUDY_FOLDERS)]
    entry_points, names = list[metadata.EntryPoint](), set[str]()
    for distribution in metadata.distributions(path=path):
        offered = distribution.entry_points.select(group=ENTRY_POINTS)
        if offered and (name := distribution.name) not in names:  # else behind it on the path
            names.add(name)
            entry_points += offered
    return tuple(entry_points)


def import_object(target: str, key: str, study_dir: Path | None = None) -> Any:
    """Return the object ``my_module:name`` or ``package.module:Class.method``.

    Python's own search path comes first, then ``study_dir``, then the current folder.  A module of
    an installed package is imported only if that package offers components by an entry point.
    """
    require_imports(f"{PREFIX}{target}", key)
    name, colon, attributes = target.partition(":")
    words = (*name.split("."), *attributes.split("."))
    if not colon or not all(word.isidentifier() for word in words):
        raise RequestError(f"expected python:module:name, found '{PREFIX}{target}'", key)
    folders = _study_folders(study_dir)
    if name.partition(".")[0] in sys.stdlib_module_names and not _has_file(
        name, (*folders, Path.cwd())
    ):
        message = f"'{name}' is a module of Python itself, which defines nothing for a study"
        raise RequestError(f"{message}; name a module of your own", key)
    for folder in map(str, (*folders, Path.cwd())):
        # Folders are appended, so that they hide no module of Python's own.
        if folder not in sys.path:
            sys.path.append(folder)
            _STUDY_FOLDERS.add(folder)
    _refuse_library(name, key)
    with recording():
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
        _loaded_hash(local)  # as it is now
    return value


def _study_folders(study_dir: Path | None) -> list[Path]:
    folders = [study_dir] if study_dir else []
    if study_dir and (study_dir / "runs").is_dir():
        folders += study_dir.parents[:2]  # a results folder lies in results/ beside the modules
    return folders


def find_file(target: str, study_dir: Path) -> str:
    """Return the file of the module in ``module:name``, without importing it; "" without one."""
    path = [*sys.path, *map(str, _study_folders(study_dir)), str(Path.cwd())]
    spec, search = None, path
    for word in target.partition(":")[0].split("."):
        spec = PathFinder.find_spec(word, search)
        search = list(spec.submodule_search_locations or ()) if spec else []
    return spec.origin or "" if spec else ""


def _belongs_to_user(module: str) -> bool:
    """Return whether a module is a user's, or of an installed package that offers components."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names and module != MAIN:
        return False
    path = locate(module)
    is_offered = root in {entry.module.partition(".")[0] for entry in offered_components()}
    return path is None or not is_library(path) or is_offered


def _refuse_library(name: str, key: str) -> None:
    """Refuse to import a module of an installed package that does not offer components."""
    if not _belongs_to_user(name):
        message = f"'{name}' belongs to an installed package, which offers nothing for a study"
        advice = "write a function that calls it in a module beside the study"
        raise RequestError(f"{message}; {advice}, or give it the entry point '{ENTRY_POINTS}'", key)


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


def _has_file(name: str, folders: Iterable[Path]) -> bool:
    return any((folder / f"{name}.py").is_file() for folder in folders)


def check_function(value: Any, target: str, key: str, classes: tuple[type, ...] = ()) -> None:
    """Refuse what is no function written in Python, nor a subclass of ``classes``, by a user.

    A method of a class counts as a function, and so does a function with some arguments set, or
    with a decorator that says what it wraps.  Those of Python and of installed packages do not
    count, whatever module they are imported into: a study must not call whatever it names.
    """
    is_class = isinstance(value, type) and bool(classes) and issubclass(value, classes)
    if is_class and _belongs_to_user(value.__module__):
        return
    function = value.func if isinstance(value, functools.partial) else inspect.unwrap(value)
    if isinstance(function, MethodType) and isinstance(function.__self__, type):
        function = function.__func__
    if isinstance(function, FunctionType):
        root = str(function.__module__).partition(".")[0]
        if _belongs_to_user(str(function.__module__)):
            return
        is_standard = root in sys.stdlib_module_names
        kind = f"a function of {'Python itself' if is_standard else 'the package'} ('{root}')"
        kind = f"{kind}; write a function of your own that calls it"
        raise RequestError(f"'{PREFIX}{target}' is {kind}", key)
    kind = describe_kind(value)
    expected = " or ".join(["a function", *(f"a class of {c.__name__}" for c in classes)])
    raise RequestError(f"'{PREFIX}{target}' is {kind}; expected {expected}", key)


def describe_kind(value: Any) -> str:
    """Return what an object is, with its article."""
    if isinstance(value, FunctionType):
        return "a function"
    if isinstance(value, ModuleType):
        return "a module"
    if isinstance(value, type):
        return "a class"
    if inspect.isbuiltin(value):
        return "a built-in function"
    if isinstance(value, MethodType):
        return f"a method of an object of the class {type(value.__self__).__name__}"
    return f"an object of the class {type(value).__name__}"


def _refuse_namesake(name: str, module: ModuleType, folders: list[Path], key: str) -> None:
    """Refuse a module of the same name that this process imported from another folder before."""
    file = f"{name}.py"
    folder = next((folder for folder in folders if (folder / file).is_file()), None)
    path = getattr(module, "__file__", None)
    if folder is None or path is None or Path(path).parent == folder:
        return
    message = f"'{name}' is {path} in this process already, and {folder / file} is another"
    raise RequestError(f"{message}; give one of them another name", key)


def error_location(error: BaseException) -> str:
    """Return the location in user code, ``" (mine.py, line 3)"``, or "" if there is none."""
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if not is_library(frame.filename)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _study_modules(folders: Collection[str] = _STUDY_FOLDERS) -> set[str]:
    """Return the names of the imported modules that lie in folders of studies."""
    roots = set()
    for root in {name.partition(".")[0] for name in list(sys.modules)}:
        file = getattr(sys.modules.get(root), "__file__", None)
        if isinstance(file, str):
            path = Path(file)
            folder = path.parents[1] if path.name == "__init__.py" else path.parent
            if str(folder) in folders:
                roots.add(root)
    return {name for name in list(sys.modules) if name.partition(".")[0] in roots}


def import_state() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the imports of a worker process depend on: ``sys.path`` and hashes of modules.

    A worker that was started under other hashes may hold outdated modules of a study's folder.
    """
    path = tuple(folder or str(Path.cwd()) for folder in sys.path)
    return path, tuple(_hash_modules(_study_modules()).values())


def loaded_hashes() -> dict[str, str]:
    """Return name to hash of the modules of users, and of all that these import."""
    return _hash_modules(_study_modules() | _HASHED)


def _hash_modules(names: set[str]) -> dict[str, str]:
    every = names.union(*map(find_modules, names))
    return {name: _loaded_hash(name) for name in sorted(every)}


def is_edited(name: str) -> bool:
    """Return whether the file of a loaded module has changed since this process imported it."""
    return name in sys.modules and read_content(name) != read_current(name)


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
    names, local = list(names), _study_modules()
    if same_path:
        imported = local.union(*map(find_modules, names))
        imported = {name for name in imported & sys.modules.keys() if not is_library(_file(name))}
        local = imported if any(map(is_edited, imported)) else set()
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


def module_hash(name: str) -> str:
    """Return a hash of a module's file and of the user modules that it imports, or "".

    Of the folder of a study, all modules count that are loaded when this is first called.  The
    files of loaded modules count as they were when their hash was first computed.
    """
    path, spec = locate(name), getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or path is None:
        return ""
    _HASHED.add(name)
    if not hasattr(spec, "_ablations_neighbours"):
        folder = str(Path(path).parents[name.count(".") + (Path(path).name == "__init__.py")])
        is_local = folder in _STUDY_FOLDERS
        spec._ablations_neighbours = _study_modules({folder}) if is_local else set()
    return hash_module(name, spec._ablations_neighbours)


def source_hash(value: Any, covered: Iterable[Any] = ()) -> str:
    """Return a hash of the source that defines a class or function, or "" if it is unavailable.

    It is the hash of its module, which it may use; for a script or a notebook, whose other parts
    change all the time, of its own text and of all that it uses of the script but for ``covered``
    classes, which have hashes of their own.
    """
    if is_by_text(value):
        return hash_definition(value, covered)
    is_local = "<locals>" in value.__qualname__
    return module_hash(value.__module__) + (hash_closure(value) if is_local else "")


def target_hash(target: str, value: Any) -> str:
    """Return a hash of the source of ``module:name``, whose value is a class or function."""
    module = target.partition(":")[0]
    return hash_definition(value) if module == MAIN else module_hash(module)


def _file(name: str) -> str:
    return locate(name) or ""


def _loaded_hash(name: str) -> str:
    """Return a hash of a module's file, as it was when this process imported it."""
    return digest(read_content(name), size=10) if locate(name) else ""
