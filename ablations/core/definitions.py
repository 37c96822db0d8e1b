"""The definition of a class or function in a script: its text, and all that it uses of the script.

A script changes all the time, so that its file says nothing.  The names in the text of a definition
are looked up among the script's variables: functions and classes count with their own definitions,
modules with their files, numbers and arrays with their values.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import Any

from ablations.core.files import digest
from ablations.core.sources import UNSEEN, hash_module, is_library, locate, parse_facts

MAIN = "__main__"
_PLAIN = (int, float, complex, str, bytes, type(None), PurePath, range, slice, type(...))


def is_by_text(value: Any) -> bool:
    """Return whether a class or function belongs to a script or a notebook."""
    return getattr(value, "__module__", None) == MAIN


def hash_definition(value: Any, covered: Iterable[Any] = ()) -> str:
    """Return a hash of the text of a class or function, and of what it uses but for ``covered``
    classes; "" without both.
    """
    definition = Definition(value, covered)
    content = definition.parts.pop("", b"")
    extras = [f"{name}=".encode() + text for name, text in sorted(definition.parts.items())]
    return digest(b"".join([content, *extras]), size=10) if content or extras else ""


def hash_closure(value: Any) -> str:
    """Return a hash of the variables of an enclosing function that a class or function uses."""
    definition = Definition()
    for name, cell in sorted(_closure_variables(value).items()):
        definition.add(name, cell)
    parts = [f"{name}=".encode() + text for name, text in sorted(definition.parts.items())]
    return digest(b"".join(parts), size=10) if parts else ""


def describe_unseen_values(value: Any) -> list[str]:
    """Say what a definition of a script uses that no hash includes."""
    if not is_by_text(value):
        return []
    unseen = sorted(Definition(value).unseen)
    return [f"{value.__qualname__} uses {name}, {UNSEEN}" for name in unseen]


class Definition:
    """A class or function, and what it uses, by name; ``""`` is its own text."""

    def __init__(self, value: Any = None, covered: Iterable[Any] = ()) -> None:
        self.parts: dict[str, bytes] = {}
        self.unseen: set[str] = set()
        self._objects = {id(base): base for base in covered}
        """Identity to object, which stays alive: another one might get its identity."""
        if value is not None:
            self._add_code("", value)

    def add(self, name: str, value: Any) -> None:
        """Add a variable that a definition uses."""
        if id(value) in self._objects:
            return
        while name in self.parts:  # another variable of this name
            name += "'"
        try:
            if isinstance(value, ModuleType):
                self._add_module(name, value.__name__)
            elif isinstance(value, (type, *_FUNCTIONS)):
                self._add_code(name, value)
            else:
                self.parts[name] = self._encode(name, value)
        except Exception:  # an object of other people may refuse anything
            self.unseen.add(f"{name}, a {type(value).__name__}")

    def _add_module(self, name: str, module: str) -> None:
        path = locate(module)
        if path is not None and not is_library(path):
            self.parts[name] = hash_module(module).encode()

    def _add_code(self, name: str, value: Any) -> None:
        """Add a class or function: with what it uses if it belongs to the script."""
        self._objects[id(value)] = value
        value = inspect.unwrap(value)
        if name and not is_by_text(value) and "<locals>" not in value.__qualname__:
            self._add_module(name, str(value.__module__))
            return
        text = textwrap.dedent(_read_source(value))
        names = _names_in_text(text)
        self.parts[name] = _read_source(value).encode()
        self.unseen.update(parse_facts(text.encode()).unseen)
        if not text:
            names = self._add_bytecode(name, value)
        variables = vars(sys.modules.get(str(value.__module__), builtins)) | _closure_variables(
            value
        )
        for variable in sorted(names & variables.keys()):
            if not hasattr(builtins, variable):
                self.add(variable, variables[variable])

    def _add_bytecode(self, name: str, value: Any) -> set[str]:
        """Add a class or function that has no text; return the names that it uses."""
        functions = _functions(value)
        codes = [function.__code__ for function in functions]
        self.parts[name] = b"".join(map(_encode_code, codes))
        for function in functions:
            self.add(f"{name}.{function.__name__}", function.__defaults__)
        if isinstance(value, type):
            for base in value.__bases__:
                self.add(base.__name__, base)
            for attribute, content in sorted(vars(value).items()):
                if isinstance(content, (*_PLAIN, list, tuple, dict)):
                    self.add(f"{name}.{attribute}", content)
        return {used for code in codes for used in _code_names(code)}

    def _encode(self, name: str, value: Any) -> bytes:
        """Return bytes that are equal for equal values."""
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}".encode()
        if id(value) in self._objects:
            return b"..."
        self._objects[id(value)] = value
        items: Iterable[Any]
        if isinstance(value, Mapping):
            items = sorted(value.items(), key=repr)
        elif isinstance(value, (set, frozenset)):
            items = sorted(value, key=repr)
        elif isinstance(value, (list, tuple)):
            items = value
        elif (array := _to_array(value)) is not None:
            return f"{array.dtype} {array.shape} ".encode() + bytes(array.tobytes())
        elif hasattr(value, "to_csv"):
            return bytes(value.to_csv().encode())
        elif isinstance(value, functools.partial):
            items = (value.func, value.args, value.keywords)
        else:
            items = self._attributes(name, value)
        encoded = [self._encode_item(f"{name}.{i}", item) for i, item in enumerate(items)]
        return type(value).__qualname__.encode() + b"(" + b",".join(encoded) + b")"

    def _encode_item(self, name: str, item: Any) -> bytes:
        if isinstance(item, (ModuleType, type, *_FUNCTIONS)):
            self.add(name, item)
            return name.encode()
        return self._encode(name, item)

    def _attributes(self, name: str, value: Any) -> list[Any]:
        """Return the class and the attributes of an object; one without attributes is unseen."""
        attributes = getattr(value, "__dict__", None)
        if attributes is None:
            self.unseen.add(f"{name.partition('.')[0]}, a {type(value).__name__}")
            return []
        return [type(value), *sorted(attributes.items())]


_FUNCTIONS = (type(lambda: 0), type(len), type(inspect.signature(len).replace))


def _to_array(value: Any) -> Any:
    """Return an array or tensor as an array of NumPy; None for anything else."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu().double().numpy()
    has_array = hasattr(value, "tobytes") and hasattr(value, "dtype")
    return value if has_array and value.dtype.kind != "O" else None


def _closure_variables(value: Any) -> dict[str, Any]:
    """Return the variables of enclosing functions that a function, or a method of a class, uses."""
    variables: dict[str, Any] = {}
    for function in _functions(value):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            if name != "__class__":  # of super()
                variables.update((name, content) for content in _cell_content(cell))
    return variables


def _cell_content(cell: Any) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # an empty cell
        return ()


def _functions(value: Any) -> list[Any]:
    """Return a function, or the functions that a class defines."""
    if not isinstance(value, type):
        return [value] if hasattr(value, "__code__") else []
    members = [getattr(member, "__func__", member) for member in vars(value).values()]
    members = [getattr(member, "fget", None) or member for member in members]
    members = [getattr(member, "func", None) or member for member in members]
    return [m for m in members if hasattr(m, "__code__") and m.__module__ == value.__module__]


def _names_in_text(text: str) -> set[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a function within an expression
        tree = ast.parse("")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@lru_cache(maxsize=256)
def _read_source(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return ""


def _encode_code(code: CodeType) -> bytes:
    constants = [
        _encode_code(c) if isinstance(c, CodeType) else repr(c).encode() for c in code.co_consts
    ]
    return b"|".join([code.co_code, *constants, repr((code.co_names, code.co_varnames)).encode()])


def _code_names(code: CodeType) -> set[str]:
    nested = (c for c in code.co_consts if isinstance(c, CodeType))
    return {*code.co_names, *code.co_freevars}.union(*map(_code_names, nested))
