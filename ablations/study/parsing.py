"""How grids, levels and seeds are spelled in a study: read from plain data, and written back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic import Field, TypeAdapter

from ablations.core.errors import RequestError, nearest
from ablations.core.registry import Component, from_validation, registered, resolve
from ablations.models.base import Model
from ablations.study.configuration import SETTINGS, TECHNIQUES, level_label
from ablations.study.grid import MOST_SEEDS, BatchSize, Count, Dtype, Grid, Rate
from ablations.techniques.base import CONTROLS, Device

_SETTING_TYPES: dict[str, TypeAdapter[Any]] = {
    "lr": TypeAdapter(Rate),
    "batch_size": TypeAdapter(BatchSize),
    "epochs": TypeAdapter(Count),
    "dtype": TypeAdapter(Dtype),
}


_LOSSES = TypeAdapter(list[Annotated[float, Field(strict=True, allow_inf_nan=False)]])


HEAD = ("name", "description", "task", "model", *SETTINGS, "margin")


ASKED = ("looks", "tune_over")


GRID_SETTINGS = ("name", "model", *SETTINGS, "published")


_GRID_KEYS = ("axes", *GRID_SETTINGS)


def seeds(value: object, key: str = "seeds") -> tuple[int, ...]:
    """The seeds that ``10``, ``"0:10"`` or ``[0, 3, 7]`` asks for."""
    wanted = "expected a number of seeds, 'start:stop', or a list of different numbers from 0 up"
    found: tuple[Any, ...] = ()
    if isinstance(value, (list, tuple, range)):
        found = tuple(value)
    elif isinstance(value, (int, str)) and not isinstance(value, bool):
        start, stop = _range(str(value) if isinstance(value, int) else value)
        if stop - start > MOST_SEEDS:
            raise RequestError(f"expected at most {MOST_SEEDS:,} seeds; found {value!r}", key)
        found = tuple(range(start, stop))
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in found)
    if not found or not whole or len(set(found)) != len(found):
        raise RequestError(f"{wanted}; found {value!r}", key)
    return found


def _range(words: str) -> tuple[int, int]:
    """Start and stop of ``"10"`` or ``"2:10"``; (0, 0) for anything else."""
    start, colon, stop = words.partition(":")
    ends = (start, stop) if colon else ("0", start)
    # A hundred digits are more than any seed has, and Python refuses to read thousands.
    if not all(end.strip().isdecimal() and len(end.strip()) <= 100 for end in ends):
        return 0, 0
    return int(ends[0]), int(ends[1])


def plain_seeds(numbers: tuple[int, ...]) -> object:
    """Seeds as a range where they are one, else as a list."""
    start, stop = numbers[0], numbers[0] + len(numbers)
    return f"{start}:{stop}" if numbers == tuple(range(start, stop)) else list(numbers)


def to_plain(value: Any) -> Any:
    """A level or setting as TOML can hold it."""
    if isinstance(value, Component):
        name, parameters = _spelled(value)
        return {"name": name, **parameters} if parameters else name
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def plain_exclusion(entry: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """An exclusion by exact levels: a bare name would mean every level of that name."""
    return {
        axis: [_exactly(v) if isinstance(v, Component) else to_plain(v) for v in levels]
        for axis, levels in entry.items()
    }


def _spelled(value: Component) -> tuple[str, dict[str, Any]]:
    """The name, and the parameters that are not at their defaults, as TOML can hold them."""
    name, parameters = value.to_spec()
    return name, {key: to_plain(given) for key, given in parameters.items()}


def _exactly(value: Component) -> dict[str, Any]:
    name, parameters = _spelled(value)
    return {"name": name, **parameters}


def plain_axes(axes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Axes and their levels, as TOML can hold them."""
    return {axis: [to_plain(level) for level in levels] for axis, levels in axes.items()}


def parse_study_fields(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Study from what a person wrote: names become objects, grids are completed.

    Parameters
    ----------
    defaults
        Field to its default, for settings that nobody wrote.
    """
    _known(data, (*HEAD, "seeds", *ASKED, "vary", "code", "axes", "grid", "exclude"), "")
    if "task" not in data:
        raise RequestError(f"a study needs a task; {nearest('', registered('task'))}", "task")
    done = {
        key: value for key, value in data.items() if key not in ("code", "axes", "grid", "exclude")
    }
    done["task"] = resolve("task", data["task"], "task")
    done["model"] = resolve("model", data.get("model", "mlp"), "model")
    done["optimizer"] = resolve("optimizer", data.get("optimizer", "adam"), "optimizer")
    for name, kind in _SETTING_TYPES.items():
        done[name] = _value(kind, data.get(name, defaults[name]), name)
    axes = _axes(data.get("axes", {}), done["model"], "axes")
    done["grids"] = _grids(data.get("grid"), done, axes)
    done["exclude"] = _exclusions(data.get("exclude", []), done["grids"])
    return done


def _known(data: Mapping[str, Any], names: Sequence[str], key: str) -> None:
    for found in data:
        if found not in names:
            where = f"{key}.{found}" if key else found
            raise RequestError(f"there is no key '{found}'; {nearest(found, names)}", where)


def _table(value: object, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RequestError(f"expected a table, found {value!r}", key)
    return value


def _value(kind: TypeAdapter[Any], value: object, key: str) -> Any:
    try:
        return kind.validate_python(value)
    except pydantic.ValidationError as error:
        complaints = " or ".join(
            dict.fromkeys(e["msg"][0].lower() + e["msg"][1:] for e in error.errors())
        )
        raise RequestError(f"{complaints}, found {value!r}", key) from None


def _grids(
    tables: object, top: Mapping[str, Any], axes: Mapping[str, tuple[Any, ...]]
) -> tuple[Grid, ...]:
    if tables is None:
        tables = [{}]
    if not isinstance(tables, (list, tuple)) or not tables:
        raise RequestError(f"expected [[grid]] tables, found {tables!r}", "grid")
    return tuple(
        _grid(_table(entry, f"grid[{i}]"), top, axes, f"grid[{i}]")
        for i, entry in enumerate(tables)
    )


def _grid(
    entry: Mapping[str, Any],
    top: Mapping[str, Any],
    shared: Mapping[str, tuple[Any, ...]],
    key: str,
) -> Grid:
    _known(entry, _GRID_KEYS, key)
    settings = {name: top[name] for name in ("model", *SETTINGS)}
    for name in ("model", "optimizer"):
        if name in entry:
            settings[name] = resolve(name, entry[name], f"{key}.{name}")
    for name, kind in _SETTING_TYPES.items():
        if name in entry:
            settings[name] = _value(kind, entry[name], f"{key}.{name}")
    # Axes of the study hold in every grid that does not name them itself.
    axes = dict(shared) | _axes(entry.get("axes", {}), settings["model"], f"{key}.axes")
    missing = {axis: (_control(axis),) for axis in TECHNIQUES if axis not in axes}
    ordered = {axis: (axes | missing)[axis] for axis in TECHNIQUES}
    published = _value(_LOSSES, entry.get("published", []), f"{key}.published")
    name = _value(TypeAdapter(str), entry.get("name", ""), f"{key}.name")
    return Grid(name, ordered | axes, published=tuple(published), **settings)


def _control(axis: str) -> Component:
    return registered(axis)[CONTROLS[axis]]()


def _axes(tables: object, model: Model, key: str) -> dict[str, tuple[Any, ...]]:
    axes = _table(tables, key)
    names = (*TECHNIQUES, *SETTINGS, *model.parameters())
    resolved: dict[str, tuple[Any, ...]] = {}
    for axis, levels in axes.items():
        if axis not in names:
            message = f"there is no axis '{axis}' with the model '{model.name}'"
            raise RequestError(f"{message}; {nearest(axis, names)}", f"{key}.{axis}")
        resolved[axis] = _levels(axis, levels, model, f"{key}.{axis}")
    return resolved


def _levels(axis: str, levels: object, model: Model, key: str) -> tuple[Any, ...]:
    if axis == "device" and levels == "available":
        return _available_devices()
    if not isinstance(levels, (list, tuple)):
        also = " or 'available'" if axis == "device" else ""
        raise RequestError(f"expected a list of levels{also}, found {levels!r}", key)
    if not levels:
        raise RequestError("the axis has no levels; give at least one, or leave it out", key)
    resolved = tuple(_level(axis, level, model, f"{key}[{i}]") for i, level in enumerate(levels))
    for i, level in enumerate(resolved):
        if level in resolved[:i]:
            raise RequestError(f"the level '{level_label(level)}' is there twice", f"{key}[{i}]")
    return resolved


def _level(axis: str, level: object, model: Model, key: str) -> Any:
    if axis in TECHNIQUES or axis == "optimizer":
        return resolve(axis, level, key)
    if axis in _SETTING_TYPES:
        return _value(_SETTING_TYPES[axis], level, key)
    try:
        return model.with_(**{axis: level}).parameters()[axis]
    except pydantic.ValidationError as error:
        parameter = from_validation(error)
        inner = parameter.key.removeprefix(axis)
        raise RequestError(parameter.message, f"{key}{inner}") from None


def _available_devices() -> tuple[Device, ...]:
    devices = (cls() for cls in registered("device").values())
    return tuple(d for d in devices if isinstance(d, Device) and d.available())


def _exclusions(entries: object, grids: tuple[Grid, ...]) -> tuple[dict[str, tuple[Any, ...]], ...]:
    if not isinstance(entries, (list, tuple)):
        raise RequestError(f"expected [[exclude]] tables, found {entries!r}", "exclude")
    return tuple(
        _exclusion(_table(entry, f"exclude[{i}]"), grids, f"exclude[{i}]")
        for i, entry in enumerate(entries)
    )


def _exclusion(
    entry: Mapping[str, Any], grids: tuple[Grid, ...], key: str
) -> dict[str, tuple[Any, ...]]:
    model = grids[0].model
    names = (*TECHNIQUES, *SETTINGS, *model.parameters())
    if not entry:
        raise RequestError("an empty exclusion would leave out everything", key)
    resolved: dict[str, tuple[Any, ...]] = {}
    for axis, levels in entry.items():
        if axis not in names:
            message = f"the study has no axis '{axis}'; {nearest(axis, names)}"
            raise RequestError(message, f"{key}.{axis}")
        single = levels if isinstance(levels, (list, tuple)) else [levels]
        if not single:
            raise RequestError("no levels, so this excludes nothing", f"{key}.{axis}")
        listed = dict.fromkeys(level for grid in grids for level in _levels_of(grid, axis))
        resolved[axis] = tuple(
            level
            for i, spec in enumerate(single)
            for level in _matching(axis, spec, listed, model, f"{key}.{axis}[{i}]")
        )
    return resolved


def _levels_of(grid: Grid, axis: str) -> tuple[Any, ...]:
    """The levels that an axis, a setting or a parameter of the model has in one grid."""
    if axis in grid.axes:
        return grid.axes[axis]
    return (getattr(grid, axis) if axis in SETTINGS else grid.model.parameters()[axis],)


def _matching(
    axis: str, spec: object, listed: Iterable[Any], model: Model, key: str
) -> tuple[Any, ...]:
    """The study's levels that an exclusion means; a bare name means all levels of that name."""
    wanted = _level(axis, spec, model, key)
    if isinstance(spec, str) and isinstance(wanted, Component):
        found = tuple(level for level in listed if level.name == wanted.name)
    else:
        found = tuple(level for level in listed if level == wanted)
    if not found:
        labels = ", ".join(str(level_label(level)) for level in listed)
        message = f"'{level_label(wanted)}' is no level of the study, so this excludes nothing"
        raise RequestError(f"{message} (levels: {labels})", key)
    return found
