"""The frozen, validated description of an experiment, from TOML or from Python."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from ablations.errors import RequestError, nearest
from ablations.grid import SETTINGS, TECHNIQUES, Configuration, cross, level_label
from ablations.models.base import Model
from ablations.registry import Component, from_validation, registered, resolve
from ablations.tasks.base import Task
from ablations.techniques.base import CONTROLS, Device, Optimizer

Count = Annotated[int, Field(gt=0, le=10_000_000, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1e6, strict=True, allow_inf_nan=False)]
BatchSize = Count | Literal["full"]
Dtype = Literal["float32", "float64"]
MOST_SEEDS = 1_000_000
ALPHA = 0.05

_SETTING_TYPES: dict[str, TypeAdapter[Any]] = {
    "lr": TypeAdapter(Rate),
    "batch_size": TypeAdapter(BatchSize),
    "epochs": TypeAdapter(Count),
    "dtype": TypeAdapter(Dtype),
}
_LOSSES = TypeAdapter(list[Annotated[float, Field(strict=True, allow_inf_nan=False)]])
_HEAD = ("name", "description", "task", "model", *SETTINGS, "margin")
_ASKED = ("looks", "tune_over")
_GRID_SETTINGS = ("name", "model", *SETTINGS, "published")
_GRID_KEYS = ("axes", *_GRID_SETTINGS)


@dataclass(frozen=True)
class Grid:
    """One full cross: every axis with its levels, and the settings that are not axes."""

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    model: Model
    optimizer: Optimizer
    lr: float
    batch_size: int | Literal["full"]
    epochs: int
    dtype: Dtype
    published: tuple[float, ...] = ()


class Study(BaseModel):
    """An experiment: task, model, axes, seeds and how long to train.

    Parameters
    ----------
    name
        Names the results folder; letters, digits, ``-``, ``_`` and ``.``.
    task, model, optimizer
        A name, a table ``{name = …, parameter = …}``, or the object.
    axes
        Axis name to its levels. Technique axes are ``regularizer``, ``norm``, ``init``,
        ``schedule`` and ``device``; any training setting (``lr``, ``optimizer``, ``batch_size``,
        ``epochs``, ``dtype``) or parameter of the model may be one as well. An axis that is not
        named stays at its control level. ``device = "available"`` means what torch offers here.
    seeds
        A number of seeds, ``"start:stop"``, or a list.
    epochs, lr, batch_size, dtype
        ``batch_size`` is a number of rows or ``"full"``; ``dtype`` float32 or float64.
    grid
        Tables that each replace some axes or settings; the study is the union of their crosses.
        A grid of one configuration may name ``published`` objectives, one an epoch.
    exclude
        Tables of axis to level (or levels); what matches all entries of one is left out.
    margin
        Relative change of the loss below which two levels count as practically equal.
    looks
        Numbers of seeds at which the answer may be looked at before more are added, stated before
        the first; each is judged at 5 % over their number.
    tune_over
        Axes, ``["lr"]`` for instance, at whose best level each configuration is judged, chosen on
        the other half of the seeds (``analysis.tuning``).

    Raises
    ------
    RequestError
        With the key, what was found there, and the nearest valid names.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True
    )

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", max_length=100)] = "study"
    description: str = ""
    task: Task
    model: Model
    seeds: tuple[int, ...] = tuple(range(10))
    epochs: Count = 20
    optimizer: Optimizer
    lr: Rate = 1e-3
    batch_size: BatchSize = "full"
    dtype: Dtype = "float32"
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    looks: tuple[Annotated[int, Field(ge=2, le=MOST_SEEDS)], ...] = ()
    tune_over: tuple[str, ...] = ()
    grids: tuple[Grid, ...]
    exclude: tuple[dict[str, tuple[Any, ...]], ...] = ()

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**_resolved(data))
        except pydantic.ValidationError as error:
            raise from_validation(error) from None
        self._check_published()
        if not self.configurations:
            raise RequestError("the exclusions leave no configuration at all", "exclude")
        self._check_tuning()

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, value: object) -> tuple[int, ...]:
        return seeds(value)

    @field_validator("looks", mode="before")
    @classmethod
    def _looks(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)) or not all(isinstance(n, int) for n in value):
            raise RequestError(f"expected a list of numbers of seeds, found {value!r}", "looks")
        if list(value) != sorted(set(value)):
            raise RequestError(f"expected growing numbers of seeds, found {value!r}", "looks")
        return tuple(value)

    @field_validator("tune_over", mode="before")
    @classmethod
    def _tune_over(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)) or not all(isinstance(n, str) for n in value):
            raise RequestError(f"expected a list of axes, found {value!r}", "tune_over")
        return tuple(dict.fromkeys(value))

    def _check_tuning(self) -> None:
        several = [axis for axis, labels in self.levels.items() if len(labels) > 1]
        for axis in self.tune_over:
            if axis not in several:
                message = f"'{axis}' is no axis of several levels here; {nearest(axis, several)}"
                raise RequestError(message, "tune_over")
        if self.tune_over and not set(several) - set(self.tune_over):
            raise RequestError("all axes are tuned over, and none is left to compare", "tune_over")
        if self.tune_over and len(self.seeds) < 2:
            message = "tuning needs at least two seeds, to choose on one half of them"
            raise RequestError(message, "tune_over")

    def _check_published(self) -> None:
        names: set[str] = set()
        for index, grid in enumerate(self.grids):
            if not grid.published:
                continue
            key = f"grid[{index}]"
            if not grid.name or grid.name in names:
                message = f"a published curve needs a name of its own, found '{grid.name}'"
                raise RequestError(message, f"{key}.name")
            names.add(grid.name)
            found = list(cross(self.task, grid))
            if len(found) != 1:
                message = f"a published curve needs a grid of one configuration, found {len(found)}"
                raise RequestError(message, f"{key}.published")
            if len(grid.published) > found[0].epochs:
                message = f"{len(grid.published)} losses for {found[0].epochs} epochs"
                raise RequestError(message, f"{key}.published")

    @property
    def alpha(self) -> float:
        """The level at which each look is judged, so that all together err in 5 % of studies."""
        return ALPHA / max(1, len(self.looks))

    def excludes(self, configuration: Configuration) -> bool:
        """Whether an exclusion matches a configuration in all its entries."""
        return any(
            all(configuration.level(axis) in listed for axis, listed in entry.items())
            for entry in self.exclude
        )

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """The union of the grids without the exclusions, each configuration once."""
        crossed = (
            configuration
            for grid in self.grids
            for configuration in cross(self.task, grid)
            if not self.excludes(configuration)
        )
        return tuple(dict.fromkeys(crossed))

    @cached_property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Every axis with the labels of all its levels over all grids, in order."""
        found: dict[str, dict[Any, None]] = {}
        for configuration in self.configurations:
            for axis in self._axis_names:
                found.setdefault(axis, {})[configuration.columns[axis]] = None
        return {axis: tuple(labels) for axis, labels in found.items()}

    @cached_property
    def _axis_names(self) -> tuple[str, ...]:
        """The technique axes, then settings and parameters that differ between configurations."""
        columns = [configuration.columns for configuration in self.configurations]
        named = {axis for grid in self.grids for axis in grid.axes}
        others = [
            name
            for name in columns[0]
            if name not in (*TECHNIQUES, "task", "model")
            and (name in named or len({entry.get(name) for entry in columns}) > 1)
        ]
        return (*TECHNIQUES, *others)

    @classmethod
    def from_toml(cls, path: Path | str, **overrides: Any) -> Study:
        """Read a study from a TOML file; ``overrides`` replace top-level keys.

        Raises
        ------
        RequestError
            Naming the file, if it cannot be read, is no TOML or describes no valid study.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise RequestError(
                f"cannot read the study: {error.strerror}", source=str(path)
            ) from None
        except (ValueError, RecursionError) as error:
            raise RequestError(f"not a TOML file: {error}", source=str(path)) from None
        try:
            return cls(**({"name": _name(path)} | data | overrides))
        except RequestError as error:
            raise error.at(str(path)) from None

    @classmethod
    def find(cls, name: str, **overrides: Any) -> Study:
        """A shipped study by its name, or one from a TOML file by its path."""
        shipped = shipped_studies()
        if name in shipped:
            return cls.from_toml(shipped[name], **overrides)
        path = Path(name)
        if path.is_dir():
            path /= "study.toml"
        if path.suffix == ".toml" or path.exists():
            return cls.from_toml(path, **overrides)
        files = sorted(str(file) for file in path.parent.glob("*.toml"))
        names = [*shipped, *files]
        raise RequestError(f"there is no study '{name}'; {nearest(name, names)}; or a .toml file")

    def with_axis(self, axis: str, levels: Any) -> Study:
        """The study with the levels of one axis replaced.

        In a union of grids, those that vary the axis take the new levels; if none does, all do.

        >>> Study(task="notebook").with_axis("norm", ["none", "layer"]).levels["norm"]
        ('none', 'layer')
        """
        data = self.as_dict()
        varying = [grid for grid in data["grid"] if len(grid["axes"].get(axis, ())) > 1]
        for grid in varying or data["grid"]:
            grid["axes"] = grid["axes"] | {axis: levels}
        # What excluded only levels that are gone has nothing left to exclude.
        listed = Study(**(data | {"exclude": []}))
        data["exclude"] = [
            entry for entry in map(listed._remaining, self.exclude) if all(entry.values())
        ]
        return Study(**data)

    def _remaining(self, entry: Mapping[str, tuple[Any, ...]]) -> dict[str, list[Any]]:
        """An exclusion without the levels that this study does not have."""
        return {
            axis: [
                level
                for level in levels
                if any(configuration.level(axis) == level for configuration in self.configurations)
            ]
            for axis, levels in entry.items()
        }

    def replace(self, **changes: Any) -> Study:
        """The study with some top-level keys replaced."""
        return Study(**(self.as_dict() | changes))

    def with_epochs(self, epochs: int) -> Study:
        """The study with every grid trained for so many epochs."""
        if any("epochs" in grid.axes for grid in self.grids):
            raise RequestError("epochs is an axis of this study; replace its levels", "epochs")
        data = self.as_dict() | {"epochs": epochs}
        for grid in data["grid"]:
            del grid["epochs"]
            grid["published"] = grid["published"][: max(epochs, 0)]
        return Study(**data)

    def as_dict(self) -> dict[str, Any]:
        """What to give ``Study`` for the same study: its objects, every grid complete."""
        grids = [
            {"axes": dict(grid.axes)} | {name: getattr(grid, name) for name in _GRID_SETTINGS}
            for grid in self.grids
        ]
        own = {name: getattr(self, name) for name in (*_HEAD, "seeds", *_ASKED, "exclude")}
        return own | {"grid": grids}

    def to_toml(self) -> str:
        """The study as TOML, runnable as it is."""
        return tomli_w.dumps(self.plain())

    def plain(self) -> dict[str, Any]:
        """The study as plain data, names and numbers: what ``study.toml`` holds."""
        head = {name: _plain(getattr(self, name)) for name in _HEAD}
        head["seeds"] = _plain_seeds(self.seeds)
        head |= {name: list(getattr(self, name)) for name in _ASKED if getattr(self, name)}
        grids = [self._plain_grid(grid) for grid in self.grids]
        crossed = grids[0] if len(grids) == 1 and set(grids[0]) == {"axes"} else {"grid": grids}
        exclude = [_plain_exclusion(entry) for entry in self.exclude]
        return head | crossed | ({"exclude": exclude} if exclude else {})

    def _plain_grid(self, grid: Grid) -> dict[str, Any]:
        """A grid's axes, and what else differs from the study's own settings."""
        named = {"name": grid.name} if grid.name else {}
        own = {
            key: _plain(getattr(grid, key))
            for key in ("model", *SETTINGS)
            if getattr(grid, key) != getattr(self, key)
        }
        published = {"published": list(grid.published)} if grid.published else {}
        return named | own | {"axes": _plain_axes(grid.axes)} | published


def _name(path: Path) -> str:
    """A study's name from its file's, where the file does not say one."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-") or "study"


def shipped_studies() -> dict[str, Path]:
    """Name to file of the studies that come with the package."""
    folder = Path(str(resources.files("ablations") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


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


def _plain_seeds(numbers: tuple[int, ...]) -> object:
    start, stop = numbers[0], numbers[0] + len(numbers)
    return f"{start}:{stop}" if numbers == tuple(range(start, stop)) else list(numbers)


def _plain(value: Any) -> Any:
    """A level or setting as TOML can hold it."""
    if isinstance(value, Component):
        parameters = _own(value)
        return {"name": value.name, **parameters} if parameters else value.name
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _plain_exclusion(entry: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """An exclusion by exact levels: a bare name would mean every level of that name."""
    return {
        axis: [
            {"name": v.name} | _own(v) if isinstance(v, Component) else _plain(v) for v in levels
        ]
        for axis, levels in entry.items()
    }


def _own(value: Component) -> dict[str, Any]:
    """The parameters that are not at their defaults, as TOML can hold them."""
    return {
        f.name: _plain(getattr(value, f.name))
        for f in fields(value)  # type: ignore[arg-type]
        if getattr(value, f.name) != f.default
    }


def _plain_axes(axes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {axis: [_plain(level) for level in levels] for axis, levels in axes.items()}


def _resolved(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Study from what a person wrote: names become objects, grids are completed."""
    _known(data, (*_HEAD, "seeds", *_ASKED, "axes", "grid", "exclude"), "")
    if "task" not in data:
        raise RequestError(f"a study needs a task; {nearest('', registered('task'))}", "task")
    done = {key: value for key, value in data.items() if key not in ("axes", "grid", "exclude")}
    done["task"] = resolve("task", data["task"], "task")
    done["model"] = resolve("model", data.get("model", "mlp"), "model")
    done["optimizer"] = resolve("optimizer", data.get("optimizer", "adam"), "optimizer")
    for name, kind in _SETTING_TYPES.items():
        default = Study.model_fields[name].default
        done[name] = _value(kind, data.get(name, default), name)
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
        return getattr(type(model)(**(model.parameters() | {axis: level})), axis)
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
    return (getattr(grid if axis in SETTINGS else grid.model, axis),)


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


def published(study: Study) -> list[tuple[str, Configuration, tuple[float, ...]]]:
    """Name, configuration and objectives of every grid that a published curve stands for."""
    return [
        (grid.name, configuration, grid.published)
        for grid in study.grids
        if grid.published
        for configuration in cross(study.task, grid)
    ]
