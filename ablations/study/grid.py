"""Grids: axes with their levels, settings, and the configurations that they cross to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, TypeAdapter

from ablations.core.errors import RequestError, nearest
from ablations.core.registry import from_validation, registered, resolve
from ablations.models.base import Model
from ablations.study.configuration import FIELDS, SETTINGS, Configuration, level_label, to_plain
from ablations.tasks.base import Task
from ablations.techniques.base import AXES, Device, Optimizer


def resolver(kind: str) -> BeforeValidator:
    """Return a validator from a name, a table or an object to a component of this kind."""
    return BeforeValidator(partial(resolve, kind, key=""))


def _batch_size(value: object) -> object:
    if value != "full" and not (type(value) is int and 0 < value <= MAX_COUNT):
        raise RequestError(f"expected a number of rows or 'full', found {value!r}")
    return value


MAX_COUNT = 10_000_000
Count = Annotated[int, Field(gt=0, le=MAX_COUNT)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
BatchSize = Annotated[int | Literal["full"], PlainValidator(_batch_size)]
Dtype = Literal["float32", "float64"]
Loss = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Losses = Annotated[tuple[Loss, ...], Field(strict=False)]


class Settings(BaseModel, frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True):
    """The model, and the settings of the training that may also be axes."""

    model: Annotated[Model, resolver("model")] = Field("mlp", validate_default=True)
    optimizer: Annotated[Optimizer, resolver("optimizer")] = Field("adam", validate_default=True)
    lr: Rate = 1e-3
    batch_size: BatchSize = "full"
    epochs: Count = 20
    dtype: Dtype = "float32"


class Grid(Settings):
    """A full cross: every axis with its levels, and the settings that are not axes."""

    name: str = ""
    axes: dict[str, tuple[Any, ...]] = Field({}, validate_default=True)
    """All technique axes, then other axes in the order of the study."""
    published: Losses = ()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_keys(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        return check_keys(table, ("axes", "name", "model", *SETTINGS, "published"))

    @pydantic.field_validator("axes", mode="before")
    @classmethod
    def _complete_axes(cls, value: object, info: pydantic.ValidationInfo) -> dict[str, Any]:
        if "model" not in info.data:
            return {}
        controls = {axis.role: (registered(axis.role)[axis.control](),) for axis in AXES}
        return controls | parse_axes(value, info.data["model"])

    def levels(self, axis: str) -> tuple[Any, ...]:
        """Return the levels of an axis, or the one level of a setting or a model's parameter."""
        if axis in self.axes:
            return self.axes[axis]
        return (getattr(self, axis) if axis in SETTINGS else self.model.parameters()[axis],)

    def plain(self, study: Settings) -> dict[str, Any]:
        """Return, as plain data, the axes, and the settings that differ from those of the study."""
        table: dict[str, Any] = {"name": self.name} if self.name else {}
        for key in ("model", *SETTINGS):
            if getattr(self, key) != getattr(study, key):
                table[key] = to_plain(getattr(self, key))
        table["axes"] = {axis: to_plain(levels) for axis, levels in self.axes.items()}
        return table | ({"published": list(self.published)} if self.published else {})


def cross(task: Task, grid: Grid, **common: Any) -> Iterator[Configuration]:
    """Yield each configuration of a grid; ``common`` are fields that no grid sets."""
    settings = {name: getattr(grid, name) for name in SETTINGS}
    for combination in itertools.product(*grid.axes.values()):
        levels = settings | dict(zip(grid.axes, combination, strict=True))
        parameters = {name: levels.pop(name) for name in grid.axes if name not in FIELDS}
        model = grid.model.with_(**parameters) if parameters else grid.model
        yield Configuration(task=task, model=model, **common, **levels)


def parse_axes(
    value: object, model: Model, key: str = "", *, may_repeat: bool = False
) -> dict[str, tuple[Any, ...]]:
    """Return axes with validated levels: lists, or ``device = "available"``.

    ``key`` is the key of ``value`` in the study; ``may_repeat`` accepts a level twice.
    """
    names = (*FIELDS, *model.parameters())
    axes: dict[str, tuple[Any, ...]] = {}
    for axis, levels in check_table(value, key).items():
        path = f"{key}.{axis}" if key else axis
        if axis not in names:
            message = f"unknown axis '{axis}' for the model '{model.name}'"
            raise RequestError(f"{message}; {nearest(axis, names)}", path)
        axes[axis] = _parse_levels(axis, levels, model, path)
        for i, level in enumerate(axes[axis]):
            if level in axes[axis][:i] and not may_repeat:
                message = f"the level '{level_label(level)}' is there twice"
                raise RequestError(message, f"{path}[{i}]")
    return axes


def _parse_levels(axis: str, value: object, model: Model, key: str) -> tuple[Any, ...]:
    if axis == "device" and value == "available":
        devices = (cls() for cls in registered("device").values())
        return tuple(d for d in devices if isinstance(d, Device) and d.available())
    if not isinstance(value, (list, tuple)):
        also = " or 'available'" if axis == "device" else ""
        raise RequestError(f"expected a list of levels{also}, found {value!r}", key)
    if not value:
        raise RequestError("the axis has no levels; give at least one, or leave it out", key)
    if axis in FIELDS:
        adapter = _levels_adapter(axis)
    else:
        validator = BeforeValidator(partial(_parse_parameter, model, axis))
        adapter = TypeAdapter(list[Annotated[Any, validator]])
    try:
        return tuple(adapter.validate_python(list(value)))
    except pydantic.ValidationError as error:
        raise from_validation(error, key) from None


@cache
def _levels_adapter(axis: str) -> TypeAdapter[list[Any]]:
    field = Settings.model_fields.get(axis)
    level: Any = field.annotation if field else Annotated[Any, resolver(axis)]
    for validator in field.metadata if field else []:
        level = Annotated[level, validator]
    return TypeAdapter(list[level], config=Settings.model_config)


def _parse_parameter(model: Model, name: str, value: object) -> Any:
    try:
        return model.with_(**{name: value}).parameters()[name]
    except pydantic.ValidationError as error:
        cause = from_validation(error)
        raise RequestError(cause.message, cause.key.removeprefix(name)) from None


def check_table(value: object, key: str = "") -> Mapping[str, Any]:
    """Return a table, or refuse any other value."""
    if not isinstance(value, Mapping):
        raise RequestError(f"expected a table, found {value!r}", key)
    return value


def check_keys(table: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Return a table, or refuse a key that is not among ``names``."""
    for key in table:
        if key not in names:
            raise RequestError(f"unknown key '{key}'; {nearest(key, names)}", key)
    return table
