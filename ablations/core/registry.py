"""Components of a study, which it names: techniques, optimizers, tasks and models.

A component is a small frozen object: its fields are its parameters, its docstring is its caption.
``@register`` validates the fields (pydantic) and registers the class under its kind and name; a
new component needs no other change.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ablations.core.deprecation import RenamedMembers
from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import (
    PREFIX,
    check_function,
    describe_kind,
    import_object,
    may_import,
    offered_components,
    require_imports,
    require_inputs,
    source_hash,
)

_REGISTRY: dict[str, dict[str, type[Component]]] = {}
_PACKAGES: dict[type[Component], str] = {}
"""Name and version of the package whose entry point offers a class."""
PACKAGE = __name__.partition(".")[0]


class Component(RenamedMembers):
    """A named object with frozen, validated parameters."""

    role: ClassVar[str]
    """The kind of component: the name of a technique axis, 'optimizer', 'task' or 'model'."""
    name: ClassVar[str]
    is_ordered: ClassVar[bool] = False
    """Whether components of this role are listed in the order of their module, not by name."""
    imports_code: ClassVar[bool] = False
    """Whether it imports the module that one of its parameters names."""
    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that an earlier version lacked: their defaults are no part of a run's identity."""
    resolved_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that ``with_resolved_inputs`` fills in: a study does not set them."""
    deprecated_names: ClassVar[Mapping[str, str]] = {
        "spelled": "to_spec",
        "pinned": "with_resolved_inputs",
        "modules": "user_modules",
    }

    def parameters(self) -> dict[str, Any]:
        """Return the values of the fields by name, in their order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def changed_parameters(self) -> dict[str, Any]:
        """Return the values of the fields that differ from their defaults."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: value for f in fields if (value := getattr(self, f.name)) != f.default}

    @cached_property
    def label(self) -> str:
        """The name with the parameters that differ from their defaults: ``dropout(p=[0.3])``."""
        changes = [f"{name}={format_value(v)}" for name, v in self.changed_parameters().items()]
        return f"{self.name}({', '.join(changes)})" if changes else self.name

    def identity(self) -> dict[str, Any]:
        """Return plain values for the run's hash: name, parameters, and a user's class's source."""
        classes: list[Any] = [*_user_classes(type(self))]
        source = "".join(source_hash(cls, covered=classes) for cls in classes)
        values = {"name": self.name, **self.identity_parameters()}
        return values | ({"source": source} if source else {})

    def identity_parameters(self) -> dict[str, Any]:
        """Return the parameters without ``later_fields`` that have their default.

        The ``later_fields`` of all base classes count, but not where a subclass has a field of its
        own under such a name.
        """
        changed, later_fields = self.changed_parameters(), set[str]()
        for base in reversed(type(self).__mro__):
            if issubclass(base, Component):
                later_fields -= inspect.get_annotations(base).keys()
                later_fields |= vars(base).get("later_fields", frozenset())
        return {
            name: value
            for name, value in self.parameters().items()
            if name in changed or name not in later_fields
        }

    def redefines(self, name: str) -> bool:
        """Return whether a user's class has a field of its own under this name."""
        return any(name in inspect.get_annotations(cls) for cls in _user_classes(type(self)))

    def user_modules(self) -> set[str]:
        """Return the names of the modules outside this package that define the component."""
        return {cls.__module__ for cls in _user_classes(type(self))}

    def to_spec(self) -> tuple[str, dict[str, Any]]:
        """Return the name by which a study refers to the component, and its changed parameters.

        The name is ``python:module:Class`` for an importable user's class.
        """
        name, cls = self.name, type(self)
        is_importable = cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__
        if is_importable and _user_classes(cls) and cls not in _PACKAGES:
            name = f"{PREFIX}{cls.__module__}:{cls.__qualname__}"
        return name, self.changed_parameters()

    def with_resolved_inputs(self) -> Self:
        """Return a copy with external inputs, such as a file, resolved and recorded in its fields.

        Raise RequestError if an input does not exist or cannot be used.
        """
        return self

    @classmethod
    def caption(cls) -> str:
        """Return the first paragraph of the docstring: one sentence and its source."""
        return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


STUDY_DIR: ContextVar[Path | None] = ContextVar("study_dir", default=None)
"""The folder of the study's file; None stands for the current folder."""


def resolve_path(path: str) -> Path:
    """Return an absolute path; a relative one starts at the folder of the study's file."""
    require_inputs(path)
    return Path(STUDY_DIR.get() or "", path).expanduser().absolute()


def _user_classes(cls: type[Component]) -> list[type[Component]]:
    """Return the component classes outside this package among a class and its bases."""
    bases = (base for base in cls.__mro__ if issubclass(base, Component))
    return [base for base in bases if base.__module__.partition(".")[0] != PACKAGE]


def is_redefined(cls: type, name: str, since: str) -> bool:
    """Return whether a subclass defines the member ``name`` anew, and not the member ``since``."""
    names = [vars(base).keys() & {name, since} for base in cls.__mro__]
    return next(filter(None, names), set()) == {name}


def is_foreign(cls: type, name: str) -> bool:
    """Return whether a class outside this package defines the member of a class."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return owner.__module__.partition(".")[0] != PACKAGE


def canonical(value: object) -> str:
    """Return JSON with sorted keys and without spaces: equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def format_value(value: object) -> str:
    """Format a parameter's value for a label; text that reads as a number gets quotes."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return value
    return json.dumps(value)


C = TypeVar("C", bound=Component)


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field, dataclasses.field))
def frozen(cls: type[C]) -> type[C]:
    """Make ``cls`` a frozen, validated dataclass without registering it: a base class."""
    config = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return cast(type[C], pydantic_dataclass(frozen=True, config=config)(cls))


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field, dataclasses.field))
def register(cls: type[C]) -> type[C]:
    """Make ``cls`` a frozen, validated dataclass; register it under ``cls.role`` and ``cls.name``.

    A class made by ``frozen`` is registered as it is.  Raise ValueError if another class has the
    same kind and name.
    """
    component = cls if "__pydantic_validator__" in vars(cls) else frozen(cls)
    classes = _REGISTRY.setdefault(component.role, {})
    other = classes.get(component.name, component)
    if (other.__module__, other.__qualname__) != (component.__module__, component.__qualname__):
        message = f"{component.role} '{component.name}' is registered already"
        raise ValueError(f"{message}, by {other.__module__}")
    classes[component.name] = component
    return component


@contextmanager
def temporary() -> Iterator[None]:
    """Discard, on exit, all registrations made inside the context; for tests."""
    _load_entry_points()
    before = {kind: dict(classes) for kind, classes in _REGISTRY.items()}
    try:
        yield
    finally:
        _REGISTRY.clear()
        _REGISTRY.update(before)


def discover(package: str) -> None:
    """Import every module of a package, so that their components are registered."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def registered(kind: str) -> dict[str, type[Component]]:
    """Return name to class, including components of installed packages.

    Classes with ``is_ordered`` come in the order of registration, others by name.
    """
    if may_import():
        _load_entry_points()
    classes = _REGISTRY.get(kind, {})
    is_ordered = all(cls.is_ordered for cls in classes.values())
    return dict(classes if is_ordered else sorted(classes.items()))


@lru_cache(maxsize=1)
def _load_entry_points() -> None:
    """Load the components of installed packages, once."""
    for entry_point in offered_components():
        before = {cls for classes in _REGISTRY.values() for cls in classes.values()}
        dist = entry_point.dist
        package = f"{dist.name} {dist.version}" if dist else entry_point.value
        try:
            entry_point.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            name = f"'{entry_point.name}' ({entry_point.value})"
            message = f"its technique {name} cannot be loaded: {reason}"
            raise RequestError(message, source=f"package {package}") from None
        for classes in _REGISTRY.values():
            _PACKAGES.update({cls: package for cls in classes.values() if cls not in before})


def origin(cls: type[Component]) -> str:
    """Return the package with version, or the module, of a class; "" for this package's own."""
    return _PACKAGES.get(cls, cls.__module__ if _user_classes(cls) else "")


def resolve(kind: str, spec: object, key: str) -> Component:
    """Return the component of a name, of a table ``{name = "dropout", p = [0.5]}``, or itself.

    ``key`` is the key of ``spec`` in the study, for messages.
    """
    if isinstance(spec, Component):
        if getattr(spec, "role", None) != kind:
            raise RequestError(f"expected a {kind}, found the {spec.role} '{spec.name}'", key)
        if registered(kind).get(spec.name) is not type(spec):
            # Its name goes into the run's identity, so it must mean this class and no other.
            message = f"the class of {kind} '{spec.name}' is not registered under that name"
            raise RequestError(f"{message}; decorate it with @technique", key)
        return _resolve_inputs(spec, key)
    if isinstance(spec, str):
        return _from_name(kind, spec, {}, key)
    if isinstance(spec, Mapping):
        name = spec.get("name")
        if not isinstance(name, str):
            raise RequestError(f"a table for a {kind} needs a 'name', found {dict(spec)!r}", key)
        return _from_name(kind, name, {k: v for k, v in spec.items() if k != "name"}, key)
    raise RequestError(f"expected the name of a {kind} or a table with one, found {spec!r}", key)


def _from_name(kind: str, name: str, parameters: Mapping[str, Any], key: str) -> Component:
    classes = registered(kind)
    imports = name.startswith(PREFIX) or (name in classes and classes[name].imports_code)
    if imports:
        require_imports(name, key)
    if name.startswith(PREFIX):
        return _from_python(kind, name.removeprefix(PREFIX), parameters, key)
    if name not in classes:
        raise RequestError(f"unknown {kind} '{name}'; {nearest(name, classes)}", key)
    return _construct(classes[name], parameters, key)


def _from_python(kind: str, target: str, parameters: Mapping[str, Any], key: str) -> Component:
    """Return a component from ``module:name``, which is a component class, a component, or an
    object for the component ``python`` of that kind (a function that builds a network, say).
    """
    loaded = import_object(target, key, STUDY_DIR.get())
    if isinstance(loaded, type) and issubclass(loaded, Component):
        if getattr(loaded, "role", None) != kind or not dataclasses.is_dataclass(loaded):
            article = "an" if kind[0] in "aeiou" else "a"
            message = f"'{target}' is a {getattr(loaded, 'role', 'component')}"
            raise RequestError(f"{message}; expected {article} {kind} decorated with its @", key)
        return _construct(loaded, parameters, key)
    if isinstance(loaded, Component) and not parameters:
        return resolve(kind, loaded, key)
    wrapper = registered(kind).get("python")
    if wrapper is None:
        message = f"'{target}' is {describe_kind(loaded)}; expected a class of a {kind}"
        raise RequestError(message, key)
    return _construct(wrapper, {"target": target, "options": dict(parameters)}, key)


def import_user_function(target: str, key: str) -> Callable[..., Any]:
    """Return the function ``module:name`` that a study names; refuse to import it without trust."""
    function = import_object(target, key, STUDY_DIR.get())
    check_function(function, target, key)
    return cast(Callable[..., Any], function)


def _construct(cls: type[Component], parameters: Mapping[str, Any], key: str) -> Component:
    kind, name = cls.role, cls.name
    fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter not in fields:
            valid = nearest(parameter, fields) if fields else f"{kind} '{name}' takes none"
            raise RequestError(f"{kind} '{name}' has no parameter '{parameter}'; {valid}", key)
    try:
        return _resolve_inputs(cls(**parameters), key)
    except pydantic.ValidationError as error:
        raise from_validation(error, key) from None


def _resolve_inputs(component: Component, key: str) -> Component:
    """Return the component with resolved inputs; its parameters must be hashable plain values."""
    try:
        hash(component)
        canonical(component.parameters())
    except (TypeError, ValueError):
        message = f"{component.role} '{component.name}' has a parameter that is no plain value"
        advice = "expected numbers, text, true and false, and tuples of such"
        raise RequestError(f"{message}: {advice}", key) from None
    try:
        return component.with_resolved_inputs()
    except RequestError as error:
        raise error.under(key) from None


def from_validation(error: pydantic.ValidationError, key: str = "") -> RequestError:
    """Convert pydantic's first error to one sentence with the key that it refers to."""
    first = error.errors(include_url=False)[0]
    path = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]]
    key = "".join([key, *path]).removeprefix(".")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RequestError):
        return cause.under(key)
    message = first["msg"].replace("valid tuple", "list")  # the word of TOML and JSON
    return RequestError(f"{message[0].lower()}{message[1:]}, found {first['input']!r}", key)
