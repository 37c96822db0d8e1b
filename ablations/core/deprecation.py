"""Renamed names that stay usable for one version, with a DeprecationWarning."""

from __future__ import annotations

import functools
import sys
import warnings
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, ClassVar


class RenamedMembers:
    """A base class for extensions whose methods or class attributes have been renamed.

    A base lists its renamed members: ``deprecated_names = {"terms": "penalties"}``.  A subclass
    that still defines the old name gets its definition under the new name; whoever reads the old
    name gets the member with the new name, also through ``super()``.  Both warn.
    """

    deprecated_names: ClassVar[Mapping[str, str]] = {}  # old name to new name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tables = [vars(base).get("deprecated_names", {}) for base in reversed(cls.__mro__)]
        for old, new in ChainMap(*tables).items():
            # A mixin that defines the old name is no subclass: look at the whole order of bases.
            base = next((base for base in cls.__mro__ if {old, new} & {*vars(base)}), cls)
            if old in vars(base) and new not in vars(base):
                message = f"{cls.__qualname__} defines '{old}', which is now called '{new}'"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                setattr(cls, new, vars(base)[old])
            if new in vars(cls):
                setattr(cls, old, _DeprecatedMember(old, new, vars(cls)[new]))


class _DeprecatedMember:
    """The descriptor under the old name of a class member."""

    def __init__(self, old: str, new: str, member: Any) -> None:
        self.old, self.new, self.member = old, new, member

    def __get__(self, instance: object, owner: type) -> Any:
        message = f"'{owner.__qualname__}.{self.old}' is now called '{self.new}'"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        bind = getattr(type(self.member), "__get__", None)
        return bind(self.member, instance, owner) if bind else self.member


def deprecated_function(function: Callable[..., Any], old: str) -> Callable[..., Any]:
    """Return a function that warns about its name ``old`` and calls ``function``."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        message = f"'{old}' is now called 'ablations.{function.__name__}'"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return call


def renamed_attributes(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module; ``names`` maps old to new names of its attributes."""

    def get_renamed(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        message = f"'{module}.{name}' is now called '{names[name]}'"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], names[name])

    return get_renamed
