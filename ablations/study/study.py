"""The frozen, validated description of an experiment, from TOML or from Python."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ablations.core.errors import RequestError, nearest
from ablations.core.random import SOURCES, Source
from ablations.core.registry import STUDY_DIR, from_validation
from ablations.models.base import Model
from ablations.study.configuration import SETTINGS, TECHNIQUES, Configuration
from ablations.study.grid import MOST_SEEDS, BatchSize, Count, Dtype, Grid, Rate, cross
from ablations.study.parsing import (
    ASKED,
    GRID_SETTINGS,
    HEAD,
    parse_study_fields,
    plain_axes,
    plain_exclusion,
    plain_seeds,
    seeds,
    to_plain,
)
from ablations.tasks.base import Task
from ablations.techniques.base import Optimizer

ALPHA = 0.05


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
    vary
        What a seed varies, all of it by default: ``"split"`` (the data, and which rows are held
        out), ``"init"`` (initial weights), ``"order"`` (of the rows), ``"noise"`` (what is drawn
        while training, dropout's masks say).  The rest is that of seed 0, and the intervals say
        nothing of it.

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
    vary: tuple[Source, ...] = SOURCES
    grids: tuple[Grid, ...]
    exclude: tuple[dict[str, tuple[Any, ...]], ...] = ()

    def __init__(self, **data: Any) -> None:
        try:
            defaults = {name: field.default for name, field in type(self).model_fields.items()}
            super().__init__(**parse_study_fields(data, defaults))
        except pydantic.ValidationError as error:
            raise from_validation(error) from None
        self._check_published()
        if not self.configurations:
            raise RequestError("the exclusions leave no configuration at all", "exclude")
        self._check_tuning()
        self._check_varies()

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

    def _check_varies(self) -> None:
        """Seeds that are the same run would pass for certainty."""
        if not self.fixed or len(self.seeds) < 2:
            return
        for configuration in self.configurations:
            if not any(configuration.follows(source) for source in self.vary):
                levels = ", ".join(
                    f"{axis} {configuration.columns[axis]}"
                    for axis in TECHNIQUES
                    if axis != "device"
                )
                what = " and ".join(f"'{source}'" for source in self.vary)
                message = f"{what} alone changes nothing with {levels}: all its seeds are one run"
                raise RequestError(message, "vary")

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
            found = list(cross(self.task, grid, self.fixed))
            if len(found) != 1:
                message = f"a published curve needs a grid of one configuration, found {len(found)}"
                raise RequestError(message, f"{key}.published")
            if len(grid.published) > found[0].epochs:
                message = f"{len(grid.published)} losses for {found[0].epochs} epochs"
                raise RequestError(message, f"{key}.published")

    @field_validator("vary", mode="before")
    @classmethod
    def _vary(cls, value: object) -> object:
        listed = value if isinstance(value, (list, tuple)) else [value]
        for source in listed:
            if source not in SOURCES:
                valid = nearest(source, SOURCES)
                raise RequestError(f"there is no source of chance {source!r}; {valid}", "vary")
        if not listed:
            message = f"something must vary, or all seeds are the same run; {nearest('', SOURCES)}"
            raise RequestError(message, "vary")
        return tuple(source for source in SOURCES if source in listed)

    @cached_property
    def code(self) -> dict[str, str]:
        """What of it other people wrote, by name, with a hash of the code."""
        found = {}
        for configuration in self.configurations:
            for part in configuration.parts:
                code = part.identity().get("source") if part.user_modules() else None
                if code:
                    found[f"{part.role} {part.to_spec()[0]}"] = str(code)
        return found

    @property
    def fixed(self) -> tuple[str, ...]:
        """The sources of chance that are the same for every seed."""
        return tuple(source for source in SOURCES if source not in self.vary)

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
            for configuration in cross(self.task, grid, self.fixed)
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
        beside = STUDY_DIR.set(path.parent.absolute())
        try:
            return cls(**({"name": _name(path)} | data | overrides))
        except RequestError as error:
            raise (error if error.source else error.at(str(path))) from None
        finally:
            STUDY_DIR.reset(beside)

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
            {"axes": dict(grid.axes)} | {name: getattr(grid, name) for name in GRID_SETTINGS}
            for grid in self.grids
        ]
        own = {name: getattr(self, name) for name in (*HEAD, "seeds", *ASKED, "vary", "exclude")}
        return own | {"grid": grids}

    def to_toml(self) -> str:
        """The study as TOML, runnable as it is."""
        return tomli_w.dumps(self.plain())

    def plain(self) -> dict[str, Any]:
        """The study as plain data, names and numbers: what ``study.toml`` holds."""
        head = {name: to_plain(getattr(self, name)) for name in HEAD}
        head["seeds"] = plain_seeds(self.seeds)
        head |= {name: list(getattr(self, name)) for name in ASKED if getattr(self, name)}
        if self.fixed:
            head["vary"] = list(self.vary)
        if self.code:
            head["code"] = self.code
        grids = [self._plain_grid(grid) for grid in self.grids]
        crossed = grids[0] if len(grids) == 1 and set(grids[0]) == {"axes"} else {"grid": grids}
        exclude = [plain_exclusion(entry) for entry in self.exclude]
        return head | crossed | ({"exclude": exclude} if exclude else {})

    def _plain_grid(self, grid: Grid) -> dict[str, Any]:
        """A grid's axes, and what else differs from the study's own settings."""
        named = {"name": grid.name} if grid.name else {}
        own = {
            key: to_plain(getattr(grid, key))
            for key in ("model", *SETTINGS)
            if getattr(grid, key) != getattr(self, key)
        }
        published = {"published": list(grid.published)} if grid.published else {}
        return named | own | {"axes": plain_axes(grid.axes)} | published


def _name(path: Path) -> str:
    """A study's name from its file's, where the file does not say one."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-") or "study"


def shipped_studies() -> dict[str, Path]:
    """Name to file of the studies that come with the package."""
    folder = Path(str(resources.files("ablations.study") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def published(study: Study) -> list[tuple[str, Configuration, tuple[float, ...]]]:
    """Name, configuration and objectives of every grid that a published curve stands for."""
    return [
        (grid.name, configuration, grid.published)
        for grid in study.grids
        if grid.published
        for configuration in cross(study.task, grid, study.fixed)
    ]
