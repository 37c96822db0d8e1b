"""Things a study asks for by name: techniques, optimizers, tasks, models.

Each is a small frozen object whose fields are its parameters and whose docstring
is its caption.  ``@component`` validates the fields (pydantic) and enters the
class under its kind and name; nothing else has to be told about it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ablations.errors import RequestError, nearest

_REGISTRY: dict[str, dict[str, type[Component]]] = {}


class Component:
    """A named object with frozen, validated parameters."""

    role: ClassVar[str]
    """What it is to a study: an axis, 'optimizer', 'task' or 'model'."""
    name: ClassVar[str]

    def parameters(self) -> dict[str, Any]:
        """The values of the fields, in their order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @cached_property
    def label(self) -> str:
        """The name, and those parameters that are not at their defaults: ``dropout(p=[0.3])``."""
        changed = [
            f"{field.name}={text(getattr(self, field.name))}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def identity(self) -> dict[str, Any]:
        """What of it defines a run, as plain values."""
        return {"name": self.name, **self.parameters()}

    def pinned(self) -> Self:
        """The same with all that it depends on outside, a file say, found and told in its fields.

        Raises
        ------
        RequestError
            If that is not there, or cannot be used.
        """
        return self

    @classmethod
    def caption(cls) -> str:
        """The first paragraph of the docstring: one sentence and its source."""
        return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


BESIDE: ContextVar[Path | None] = ContextVar("beside", default=None)
"""The folder that relative paths in a study start from; None for the present one."""


def located(path: str) -> Path:
    """Where a path in a study leads, from where the study lies."""
    return Path(BESIDE.get() or "", path).expanduser().absolute()


def foreign_modules(component: Component) -> set[str]:
    """The modules of other people that its class comes from; nobody here knows what they do."""
    return {
        cls.__module__
        for cls in type(component).__mro__
        if issubclass(cls, Component) and cls.__module__.partition(".")[0] != __package__
    }


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the same text for the same value, always."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def text(value: object) -> str:
    """How a parameter's value is written in a label; a text that reads as a number, in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        float(value)
    except ValueError:
        return value
    return json.dumps(value)


C = TypeVar("C", bound=Component)


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field,))
def frozen(cls: type[C]) -> type[C]:
    """Make ``cls`` a frozen, validated dataclass, for others to build on."""
    config = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return cast(type[C], pydantic_dataclass(frozen=True, config=config)(cls))


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field,))
def component(cls: type[C]) -> type[C]:
    """Make ``cls`` a frozen, validated dataclass and enter it under ``cls.role`` and ``cls.name``.

    Raises
    ------
    ValueError
        If another class has that kind and name.
    """
    made = frozen(cls)
    entries = _REGISTRY.setdefault(made.role, {})
    other = entries.get(made.name)
    if other is not None and (other.__module__, other.__qualname__) != (
        made.__module__,
        made.__qualname__,
    ):
        raise ValueError(f"{made.role} '{made.name}' is registered already, by {other.__module__}")
    entries[made.name] = made
    return made


def discover(package: str) -> None:
    """Import every module of a package, so that what they register is there."""
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def registered(kind: str) -> dict[str, type[Component]]:
    """Name to class, in the order of registration."""
    return dict(_REGISTRY.get(kind, {}))


def resolve(kind: str, spec: object, key: str) -> Component:
    """The component that ``spec`` asks for.

    Parameters
    ----------
    spec
        A name, a table ``{name = "dropout", p = [0.5]}``, or the object itself.
    key
        Where ``spec`` stands in the study, for the message.

    Raises
    ------
    RequestError
        For an unknown name or parameter, or a value of the wrong type.
    """
    if isinstance(spec, Component):
        if getattr(spec, "role", None) != kind:
            raise RequestError(f"expected a {kind}, found the {spec.role} '{spec.name}'", key)
        if registered(kind).get(spec.name) is not type(spec):
            # Its name goes into the run's identity, so it must mean this class and no other.
            message = f"the class of {kind} '{spec.name}' is not registered under that name"
            raise RequestError(f"{message}; decorate it with @technique", key)
        return _pinned(spec, key)
    if isinstance(spec, str):
        return _construct(kind, spec, {}, key)
    if isinstance(spec, Mapping):
        name = spec.get("name")
        if not isinstance(name, str):
            raise RequestError(f"a table for a {kind} needs a 'name', found {dict(spec)!r}", key)
        return _construct(kind, name, {k: v for k, v in spec.items() if k != "name"}, key)
    raise RequestError(f"expected the name of a {kind} or a table with one, found {spec!r}", key)


def _construct(kind: str, name: str, parameters: Mapping[str, Any], key: str) -> Component:
    classes = registered(kind)
    if name not in classes:
        raise RequestError(f"there is no {kind} named '{name}'; {nearest(name, classes)}", key)
    cls = classes[name]
    fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter not in fields:
            valid = nearest(parameter, fields) if fields else f"{kind} '{name}' takes none"
            raise RequestError(f"{kind} '{name}' has no parameter '{parameter}'; {valid}", key)
    try:
        return _pinned(cls(**parameters), key)
    except pydantic.ValidationError as error:
        raise from_validation(error, key) from None


def _pinned(made: Component, key: str) -> Component:
    return _plain(made, key).pinned()


def _plain(made: Component, key: str) -> Component:
    """A component, if its parameters can be compared, and written into a run's identity."""
    try:
        hash(made)
        canonical(made.parameters())
    except (TypeError, ValueError):
        message = f"{made.role} '{made.name}' has a parameter that is no plain value"
        advice = "numbers, text, true and false, and tuples of such are"
        raise RequestError(f"{message}: {advice}", key) from None
    return made


def from_validation(error: pydantic.ValidationError, key: str = "") -> RequestError:
    """Pydantic's first complaint as one sentence with the key it is about."""
    first = error.errors(include_url=False)[0]
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    message = first["msg"][0].lower() + first["msg"][1:]
    # What TOML and JSON call a list, pydantic calls a tuple.
    message = message.replace("valid tuple", "list")
    return RequestError(f"{message}, found {first['input']!r}", key)
