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
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX, import_object, source_hash

_REGISTRY: dict[str, dict[str, type[Component]]] = {}
_ORIGINS: dict[type[Component], str] = {}
"""The package, and its version, of each class that was found through an entry point."""
PACKAGE = __name__.partition(".")[0]
ENTRY_POINTS = "ablations.techniques"
"""The group in which a package names its techniques, tasks and models: modules or classes."""


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
        """What of it defines a run, as plain values; of other people's classes the code as well."""
        code = "".join(source_hash(cast(type, cls)) for cls in _foreign(type(self)))
        return {"name": self.name, **self.parameters()} | ({"source": code} if code else {})

    def modules(self) -> set[str]:
        """The modules of other people that it comes from; nobody here knows what they do."""
        return {cls.__module__ for cls in _foreign(type(self))}

    def spelled(self) -> tuple[str, dict[str, Any]]:
        """The name that leads here from a study, and the parameters that are not at their
        defaults.
        """
        changed = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        }
        return _name_in_a_study(type(self)), changed

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


def _foreign(cls: type[Component]) -> list[type[Component]]:
    """A class and those that it builds on, as far as other people wrote them."""
    return [
        one
        for one in cls.__mro__
        if issubclass(one, Component) and one.__module__.partition(".")[0] != PACKAGE
    ]


def _name_in_a_study(cls: type[Component]) -> str:
    """A class of other people is named by where it lies, unless its package offers it by name."""
    by_path = cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__
    if cls in _ORIGINS or not by_path or not _foreign(cls):
        return cls.name
    return f"{PREFIX}{cls.__module__}:{cls.__qualname__}"


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
def register(cls: type[C]) -> type[C]:
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
    """Name to class, in the order of registration; what other packages offer included.

    Raises
    ------
    RequestError
        If a package offers something that cannot be loaded.
    """
    _load_offered()
    return dict(_REGISTRY.get(kind, {}))


@lru_cache(maxsize=1)
def _load_offered() -> None:
    """Load what installed packages offer, once."""
    for offered in metadata.entry_points(group=ENTRY_POINTS):
        before = {cls for classes in _REGISTRY.values() for cls in classes.values()}
        package = f"{offered.dist.name} {offered.dist.version}" if offered.dist else offered.value
        try:
            offered.load()
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            message = f"its technique '{offered.name}' ({offered.value}) cannot be loaded: {said}"
            raise RequestError(message, source=f"package {package}") from None
        for classes in _REGISTRY.values():
            _ORIGINS.update({cls: package for cls in classes.values() if cls not in before})


def origin(cls: type[Component]) -> str:
    """Where a class comes from: a package with its version, or a module; empty for ours."""
    return _ORIGINS.get(cls, cls.__module__ if _foreign(cls) else "")


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
        return _named(kind, spec, {}, key)
    if isinstance(spec, Mapping):
        name = spec.get("name")
        if not isinstance(name, str):
            raise RequestError(f"a table for a {kind} needs a 'name', found {dict(spec)!r}", key)
        return _named(kind, name, {k: v for k, v in spec.items() if k != "name"}, key)
    raise RequestError(f"expected the name of a {kind} or a table with one, found {spec!r}", key)


def _named(kind: str, name: str, parameters: Mapping[str, Any], key: str) -> Component:
    classes = registered(kind)
    if name.startswith(PREFIX):
        return _of_python(kind, name.removeprefix(PREFIX), parameters, key)
    if name not in classes:
        raise RequestError(f"there is no {kind} named '{name}'; {nearest(name, classes)}", key)
    return _construct(classes[name], parameters, key)


def _of_python(kind: str, target: str, parameters: Mapping[str, Any], key: str) -> Component:
    """What somebody wrote, by its name in Python: a class of components, an object, or whatever the
    component ``python`` of that kind can make one of.
    """
    found = import_object(target, key, BESIDE.get())
    if isinstance(found, type) and issubclass(found, Component):
        if getattr(found, "role", None) != kind or not dataclasses.is_dataclass(found):
            what = getattr(found, "role", "component")
            article = "an" if kind[0] in "aeiou" else "a"
            message = f"'{target}' is a {what}, and {article} {kind} decorated with its @ is wanted"
            raise RequestError(message, key)
        return _construct(found, parameters, key)
    if isinstance(found, Component) and not parameters:
        return resolve(kind, found, key)
    wrapper = registered(kind).get("python")
    if wrapper is None or not callable(found):
        message = f"'{target}' is {type(found).__name__}, and a class of a {kind} is wanted"
        raise RequestError(message, key)
    return _construct(wrapper, {"target": target, "options": dict(parameters)}, key)


def _construct(cls: type[Component], parameters: Mapping[str, Any], key: str) -> Component:
    kind, name = cls.role, cls.name
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
