"""The files that define a user's module: its own, and those of all user modules that it imports.

Imports are read in the text of the modules, inside functions too, and nothing is executed: the set
of files is the same before and after a module is loaded, in every process.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

from ablations.core.files import digest

PACKAGE_FOLDER = f"{Path(__file__).parents[1]}{os.sep}"
_STANDARD = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "purelib"))
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

UNSEEN = "no part of a run's identity: after a change of it, finished runs stay as they are"
"""The end of a sentence on an input that no hash includes."""

_IMPORTERS = {"import_module", "__import__", "run_module"}
_BUILTIN_LOADERS = {"exec", "eval", "compile"}
_LOADERS = {
    *("run_path", "spec_from_file_location", "SourceFileLoader", "iter_modules", "walk_packages"),
}
"""Functions that load code which no import statement names."""
_UNSEEN = {
    "environ": "environment variables",
    "getenv": "environment variables",
    "argv": "the command line",
    "urlopen": "the network",
    "urlretrieve": "the network",
    "read_parquet": "a file, by read_parquet",
    "read_feather": "a file, by read_feather",
    "read_orc": "a file, by read_orc",
    "read_hdf": "a file, by read_hdf",
}
"""Name in a module to what it reads there, of which this package records nothing."""


class ModuleFacts(NamedTuple):
    """What the text of a module says of its dependencies."""

    imports: tuple[tuple[int, str], ...]
    """Level of a relative import, and the name of what may be a module."""
    loads_code: bool
    """Whether it loads code by computed names."""
    unseen: tuple[str, ...]
    """What it reads and no hash includes."""
    constants: dict[str, Any]
    """Names that are assigned once, and a literal."""


def is_library(path: str) -> bool:
    """Return whether a file belongs to Python, to an installed package, or to this one."""
    return path.startswith((PACKAGE_FOLDER, *_STANDARD, "<")) or any(
        folder in path for folder in _INSTALLED
    )


def find_modules(name: str) -> dict[str, str]:
    """Return name and file of a module, and of all user modules that it imports.

    Of a module of an installed package it is that file alone.
    """
    modules: dict[str, str] = {}
    queue = [name]
    while queue:
        current = queue.pop()
        if current in modules:
            continue
        path = locate(current)
        if path is None or (is_library(path) and current != name):
            continue
        modules[current] = path
        if not is_library(path):
            queue += [current[:end] for end, c in enumerate(current) if c == "."]
            queue += _imported_names(current, path)
    return modules


def locate(name: str) -> str | None:
    """Return the file of a module, which need not be loaded; None without a file."""
    module = sys.modules.get(name)
    if module is not None:
        path = getattr(module, "__file__", None)
        return path if isinstance(path, str) else None
    spec = _find_spec(name)
    return spec.origin if spec is not None and spec.has_location else None


def _find_spec(name: str) -> ModuleSpec | None:
    """Find a module without importing its packages."""
    path, spec = None, None
    for end in [*(i for i, c in enumerate(name) if c == "."), len(name)]:
        if end and spec is not None and path is None:
            return None
        finders = [getattr(finder, "find_spec", None) for finder in sys.meta_path]
        specs = (find(name[:end], path) for find in finders if find is not None)
        with suppress(Exception):  # finders of other packages may refuse the name
            spec = next(filter(None, specs), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _imported_names(name: str, path: str) -> Iterator[str]:
    """Yield the names of all that may be user modules which a module imports."""
    facts = read_facts(name, path)
    package = name if Path(path).name == "__init__.py" else name.rpartition(".")[0]
    for level, target in facts.imports:
        words = package.split(".") if level and package else []
        base = words[: len(words) - level + 1] if level else []
        words = [*base, *target.split(".")] if target else base
        root = locate(words[0]) if words else None
        is_user_module = bool(words) and (not is_library(root) if root else _is_namespace(words[0]))
        if is_user_module:
            yield from (".".join(words[:end]) for end in range(1, len(words) + 1))
    if facts.loads_code:
        prefix = f"{package}." if package else ""
        yield from (f"{prefix}{file.stem}" for file in sorted(Path(path).parent.glob("*.py")))


def _is_namespace(name: str) -> bool:
    module = sys.modules.get(name)
    return hasattr(module, "__path__") if module else _find_spec(name) is not None


_UNLOADED: dict[str, bytes] = {}
"""File to its content when it was last read, for modules that were not loaded then."""


def read_content(name: str) -> bytes:
    """Return the content of a module's file: as it was when this process imported it, or now."""
    path, spec = locate(name), getattr(sys.modules.get(name), "__spec__", None)
    if path is None:
        return b""
    if name not in sys.modules:
        _UNLOADED[path] = _read(path)
        return _UNLOADED[path]
    if spec is None:
        return _read(path)
    # The spec remembers the content, since a module that is reloaded has a new spec.
    if not hasattr(spec, "_ablations_content"):
        content = _UNLOADED.pop(path, None)
        spec._ablations_content = _read(path) if content is None else content
    return bytes(spec._ablations_content)


def read_current(name: str) -> bytes:
    """Return the content of a module's file now."""
    path = locate(name)
    return b"" if path is None else _read(path)


def _read(path: str) -> bytes:
    with suppress(OSError):
        return Path(path).read_bytes()
    archive = next((str(p) for p in Path(path).parents if p.is_file()), None)
    return b"" if archive is None else _read(archive)  # a module in a zip file


def hash_module(name: str, neighbours: Iterable[str] = ()) -> str:
    """Return a hash of all files that define a module and its ``neighbours``, other modules, and of
    constants that other code changed.
    """
    modules = find_modules(name) | {each: path for each in neighbours if (path := locate(each))}
    contents = [read_content(each) for each in (name, *sorted(modules.keys() - {name}))]
    changes = [
        f"{each}.{constant}={value!r}".encode()
        for each in sorted(modules)
        for constant, value in changed_constants(each, modules[each])
    ]
    return digest(b"".join([*contents, *changes]), size=10)


def changed_constants(name: str, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the literal constants of a loaded module that have another value now."""
    module = sys.modules.get(name)
    if module is None or is_library(path):
        return
    for constant, literal in read_facts(name, path).constants.items():
        value = getattr(module, constant, literal)
        if type(value) is not type(literal) or value != literal:
            yield constant, value


def describe_unseen(name: str) -> list[str]:
    """Say which inputs of a module, and of the modules that it imports, no hash includes, and which
    of these modules is outdated in this process.
    """
    modules = {} if name == "__main__" else find_modules(name)
    sentences = []
    for module, path in modules.items():
        if is_library(path):
            continue
        file = Path(path).name
        sentences += [f"{file} reads {what}, {UNSEEN}" for what in read_facts(module, path).unseen]
        if module in sys.modules and read_content(module) != _read(path):
            advice = "the earlier code runs, until a new process imports it"
            sentences.append(f"{file} was edited after this process imported it: {advice}")
    return sentences


def read_facts(name: str, path: str) -> ModuleFacts:
    """Read what the text of a module says of its dependencies."""
    return parse_facts(read_content(name) if path.endswith(".py") else b"")


@lru_cache(maxsize=1024)
def parse_facts(content: bytes) -> ModuleFacts:
    """Read what a text of Python says of its dependencies."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        tree = ast.parse("")
    nodes = list(_walk(tree))
    calls = [(node, _last_word(node.func)) for node in nodes if isinstance(node, ast.Call)]
    imports = [each for node in nodes for each in _import_targets(node)]
    targets = [_literal(node.args[0]) for node, word in calls if word in _IMPORTERS and node.args]
    imports += [(len(t) - len(t.lstrip(".")), t.lstrip(".")) for t in targets if t]
    assigned = [n.value for n in nodes if isinstance(n, ast.Subscript) and _is_assigned(n)]
    unseen = {
        _UNSEEN[word] for n in nodes if (word := _last_word(n)) in _UNSEEN if n not in assigned
    }
    return ModuleFacts(
        tuple(dict.fromkeys(imports)),
        "" in targets or any(_is_loader(node) for node in nodes),
        tuple(sorted(unseen)),
        _literal_constants(tree, nodes),
    )


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without what only type checkers, or only the script itself, execute."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_never_run(child.test):
            for branch in child.orelse:
                yield branch
                yield from _walk(branch)
            continue
        yield child
        yield from _walk(child)


def _is_never_run(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name):
        return test.left.id == "__name__" and isinstance(test.ops[0], ast.Eq)
    return _last_word(test) == "TYPE_CHECKING"


def _is_assigned(node: ast.Subscript) -> bool:
    return isinstance(node.ctx, (ast.Store, ast.Del))


def _is_loader(node: ast.AST) -> bool:
    """Whether an expression is a function that loads code, or an import gives it another name."""
    if isinstance(node, ast.Name) and node.id in _BUILTIN_LOADERS:
        return True
    is_alias = isinstance(node, ast.alias) and bool(node.asname)
    return _last_word(node) in (_LOADERS | _IMPORTERS if is_alias else _LOADERS)


def _literal(node: ast.expr) -> str:
    """Return a text in the code; "" for any other expression."""
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _last_word(node: ast.AST) -> str:
    """Return ``c`` of ``a.b.c`` or of ``c``, also where it is imported; else ""."""
    if isinstance(node, ast.alias):
        return node.name.rpartition(".")[2]
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _import_targets(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        yield node.level, base
        yield from ((node.level, f"{base}.{alias.name}".lstrip(".")) for alias in node.names)


def _literal_constants(tree: ast.Module, nodes: list[ast.AST]) -> dict[str, Any]:
    """Return the names of a module that are assigned once, and a literal that cannot change."""
    stores = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    constants = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stores.count(name) == 1 and isinstance(node.value, (ast.Constant, ast.UnaryOp)):
                with suppress(ValueError):
                    constants[name] = ast.literal_eval(node.value)
    return constants
