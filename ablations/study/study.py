"""The frozen, validated description of an experiment, from TOML or from Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
import tomli_w
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from ablations.core.errors import RequestError, nearest
from ablations.core.random import SOURCES
from ablations.core.registry import from_validation, registered, resolve
from ablations.core.splits import Splits
from ablations.results.metadata import Question
from ablations.study.configuration import TECHNIQUES, Configuration
from ablations.study.defaults import check_outcome, complete_settings, refuse_equal_runs
from ablations.study.files import read_study_file, study_context
from ablations.study.grid import (
    Grid,
    Settings,
    check_keys,
    check_table,
    cross,
    parse_axes,
    resolver,
)
from ablations.study.parsing import (
    AxisNames,
    Looks,
    MetricNames,
    Seeds,
    Sources,
    check_question,
    check_tuning,
    parse_exclusions,
    parse_question,
)
from ablations.study.plain import HEAD, LISTS, plain_study
from ablations.study.splits import check_splits, repeats_splits
from ablations.study.tasks import (
    arguments_by_task,
    combine_studies,
    studies_by_task,
    unite_levels,
)
from ablations.tasks.base import Judge, Task
from ablations.tasks.metrics import find_metric

ALPHA = 0.05

_KEYS = (
    *(*HEAD, "validation", "test", "outcome", "seeds", *LISTS),
    *("vary", "splits", "question", "code", "axes", "grid", "exclude"),
    "tasks",
)


class Study(Settings):
    """An experiment: task, model, axes, seeds and settings of the training.

    Parameters
    ----------
    name
        The name of the results folder; letters, digits, ``-``, ``_`` and ``.``.
    task, model, optimizer
        A name, a table ``{name = …, parameter = …}``, or the object.
    tasks
        Several tasks instead of one, a list (``study.tasks``): the study is that of each task, and
        the data sets are an axis ``task``, over which effects are compared and never averaged as
        if they were seeds.
    axes
        Axis name to its levels. Technique axes are ``regularizer``, ``norm``, ``init``,
        ``schedule`` and ``device``; a training setting (``lr``, ``optimizer``, ``batch_size``,
        ``epochs``, ``dtype``) or a parameter of the model may be an axis as well. A technique axis
        without levels has its control level. ``device = "available"`` means all devices of this
        machine.
    seeds
        A number of seeds, ``"start:stop"``, or a list.
    epochs, lr, batch_size, dtype
        ``batch_size`` is a number of rows or ``"full"``; ``dtype`` is float32 or float64.  By
        default batches have 32 rows, and epochs are those of 2,000 steps, 10 at least and 100 at
        most; the task ``notebook`` has the notebook's own.
    judge
        ``"best"``: the epoch of each run with the lowest validation loss, judged on test rows;
        ``"last"``: the last epoch.  By default ``"best"`` for a table of one's own.
    validation, test
        Shares of the rows that validate and that judge.  A table has 0.2 of each by default, a
        task that fixes its validation rows gives up some of them as test rows.
    metric
        Name or list of names of metrics to record beside the standard ones; the first one is the
        study's metric.
    outcome
        What the report judges by: a loss column, ``"metric"``, or a metric's name; by default the
        loss on test rows, or on validation rows if there are no test rows.
    grid
        Tables that each replace some axes or settings; the study is the union of their crosses.
        A grid of one configuration may have ``published`` objectives, one per epoch.
    exclude
        Tables of axis to level (or levels); the study excludes the configurations that match all
        entries of a table.
    margin
        Relative change of the loss below which two levels count as practically equal.
    looks
        Numbers of seeds of all interim analyses, stated before the first: they share 5 %, and other
        numbers have no verdict.  Without them the folder counts looks (``analysis.spending``).
    tune_over
        Axes (``["lr"]``, for instance) that are tuned: each configuration is compared at its best
        level on them, which is chosen on the other half of the seeds, or by each seed's validation
        rows where test rows judge and the seeds split one table.
    question
        ``text``, ``axis``, ``level`` and ``across`` (``results.metadata.Question``): what the study
        asks, and the report answers first.
    vary
        What depends on the seed, all of it by default: ``"split"`` (data and validation rows),
        ``"init"`` (initial weights), ``"order"`` (of the rows), ``"noise"`` (random numbers during
        training, of dropout for instance). The rest uses seed 0, and the intervals do not cover
        its variation.
    splits
        Where seeds split one table: ``"repeated"``, the default (seeds 10 to 19 repeat the splits
        of 0 to 9, 30 to 39 those of 20 to 29, and so on), or ``"own"``.

    Raises
    ------
    RequestError
        With the key, its value, and the nearest valid names.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", max_length=100)] = "study"
    description: str = ""
    task: Annotated[Task, resolver("task")]
    seeds: Seeds = tuple(range(10))
    judge: Judge
    metric: MetricNames = ()
    outcome: str = ""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    looks: Looks = ()
    tune_over: AxisNames = ()
    vary: Sources = SOURCES
    splits: Splits = ""
    question: Annotated[Question | None, BeforeValidator(parse_question)] = None
    grids: tuple[Annotated[Grid, Field(strict=False)], ...] = Field(alias="grid")
    exclude: tuple[dict[str, tuple[Any, ...]], ...] = ()
    task_label: str = ""
    """The level of the task in a study of several; "" otherwise."""
    task_studies: tuple[Any, ...] = ()
    """The study of each task, where there are several."""

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except pydantic.ValidationError as error:
            raise from_validation(error) from None

    @model_validator(mode="before")
    @classmethod
    def _complete_grids(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Add to every grid the settings of the study, and the axes that the grid lacks."""
        check_keys({key: value for key, value in data.items() if key != "task_label"}, _KEYS)
        if data.get("tasks") is not None:
            studies = studies_by_task(data, cls)
            return combine_studies(studies)
        if "task" not in data:
            raise RequestError(f"a study needs a task; {nearest('', registered('task'))}", "task")
        model: Any = resolve("model", data.get("model", "mlp"), "model")
        axes = parse_axes(data.get("axes", {}), model, "axes")
        keys = {key: value for key, value in data.items() if key not in ("axes", "code")}
        fields = complete_settings(keys, axes)
        fields["model"] = model
        settings = {name: fields[name] for name in Settings.model_fields if name in fields}
        tables = [{}] if data.get("grid") is None else data["grid"]
        if not isinstance(tables, (list, tuple)) or not tables:
            raise RequestError(f"expected [[grid]] tables, found {tables!r}", "grid")
        grids = []
        for i, table in enumerate(tables):
            grid = settings | dict(check_table(table, f"grid[{i}]"))
            grid_axes = dict(check_table(grid.get("axes", {}), f"grid[{i}].axes"))
            grids.append(grid | {"axes": axes | grid_axes})
        return fields | {"grid": tuple(grids)}

    @field_validator("exclude", mode="before")
    @classmethod
    def _parse_exclusions(cls, value: object, info: ValidationInfo) -> object:
        return parse_exclusions(value, info.data["grids"]) if "grids" in info.data else ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.task_label:
            check_splits(self.splits, [each.task for each in self.by_task], self.vary)
        if self.task_studies:
            return self  # each of them is checked
        check_outcome(self.task, self.metric, self.outcome)
        self._check_published()
        if not self.configurations:
            raise RequestError("the exclusions leave no configuration at all", "exclude")
        check_tuning(self.tune_over, self.levels, len(self.seeds))
        if self.question:
            check_question(self.question, self.levels)
        shipped = [c for c in self.configurations if not c.user_modules]
        refuse_equal_runs(shipped, self.vary, len(self.seeds))
        return self

    def _check_published(self) -> None:
        names: set[str] = set()
        for index, grid in enumerate(self.grids):
            if not grid.published:
                continue
            if not grid.name or grid.name in names:
                message = f"a published curve needs a name of its own, found '{grid.name}'"
                raise RequestError(message, f"grid[{index}].name")
            names.add(grid.name)
            message, configurations = "", list(self.cross(grid))
            epochs, count = configurations[0].epochs, len(configurations)
            if count != 1:
                message = f"a published curve needs a grid of one configuration, found {count}"
            elif len(grid.published) > epochs:
                message = f"{len(grid.published)} losses for {epochs} epochs"
            if message:
                raise RequestError(message, f"grid[{index}].published")

    @cached_property
    def code(self) -> dict[str, str]:
        """Kind and name of the study's user components and metrics, with a hash of their source."""
        if self.task_studies:
            return {name: text for each in self.task_studies for name, text in each.code.items()}
        metrics = [find_metric(name, self.task.classification) for name in self.metric]
        sources = {f"metric {m.name}": m.source() for m in metrics if m.source()}
        return sources | {
            f"{component.role} {component.to_spec()[0]}": str(source)
            for component in dict.fromkeys(
                each for configuration in self.configurations for each in configuration.components
            )
            if component.user_modules() and (source := component.identity().get("source"))
        }

    @property
    def fixed(self) -> tuple[str, ...]:
        """The sources of chance that are the same for every seed."""
        return tuple(source for source in SOURCES if source not in self.vary)

    @property
    def alpha(self) -> float:
        """The level of each interim analysis: together they err in at most 5 % of studies."""
        return ALPHA / max(1, len(self.looks))

    def excludes(self, configuration: Configuration) -> bool:
        """Whether a configuration matches all entries of an exclusion."""
        return any(
            all(configuration.level(axis) in levels for axis, levels in exclusion.items())
            for exclusion in self.exclude
        )

    def cross(self, grid: Grid) -> Iterator[Configuration]:
        """Yield each configuration of one of the study's grids."""
        common: dict[str, Any] = {"fixed": self.fixed, "judge": self.judge, "metrics": self.metric}
        common["repeats_splits"] = repeats_splits(self.splits, self.task, self.vary)
        return cross(self.task, grid, task_label=self.task_label, **common)

    @property
    def by_task(self) -> tuple[Study, ...]:
        """The study of each task: this one, unless it has several."""
        return self.task_studies or (self,)

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """The union of the grids without the exclusions, each configuration once."""
        if self.task_studies:
            return tuple(c for study in self.task_studies for c in study.configurations)
        crosses = (self.cross(grid) for grid in self.grids)
        union = dict.fromkeys(itertools.chain.from_iterable(crosses))
        return tuple(configuration for configuration in union if not self.excludes(configuration))

    @cached_property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Every axis with the labels of its levels in all grids, in order.

        The technique axes come first, then the settings and parameters that a grid has as an axis
        or that differ between configurations of a task.  The axis ``task`` is not among them.
        """
        if self.task_studies:
            return unite_levels(self.task_studies)
        rows = [configuration.columns for configuration in self.configurations]
        labels = {name: tuple(dict.fromkeys(row.get(name) for row in rows)) for name in rows[0]}
        grid_axes = {axis for grid in self.grids for axis in grid.axes}
        others = [
            name
            for name in rows[0]
            if name not in (*TECHNIQUES, "task", "model")
            and (name in grid_axes or len(labels[name]) > 1)
        ]
        return {axis: labels[axis] for axis in (*TECHNIQUES, *others)}

    @classmethod
    def from_toml(cls, path: Path | str, *, trust: bool = False, **overrides: Any) -> Study:
        """Read a study from a TOML file; ``overrides`` replace top-level keys.

        The study of a results folder needs ``trust`` to run code that it names; others do not.

        Raises
        ------
        RequestError
            With the name of the file, if it cannot be read, is no TOML or is no valid study.
        """
        path = Path(path)
        data = read_study_file(path)
        with study_context(path, data, trust=trust):
            return cls(**(data | overrides))

    @classmethod
    def find(cls, name: str, *, trust: bool = False, **overrides: Any) -> Study:
        """Return a shipped study by name, or a study by the path of a TOML file or its folder."""
        shipped, path = shipped_studies(), Path(name)
        if path.is_dir():
            path /= "study.toml"
        if name in shipped or path.suffix == ".toml" or path.exists():
            return cls.from_toml(shipped.get(name, path), trust=trust, **overrides)
        files = sorted(str(file) for file in path.parent.glob("*.toml"))
        valid = nearest(name, [*shipped, *files])
        raise RequestError(f"unknown study '{name}'; {valid}; or a .toml file")

    def with_axis(self, axis: str, levels: Any) -> Study:
        """Return the study with other levels of one axis.

        In a union of grids, the grids that vary the axis get the levels; if none does, all do.

        >>> Study(task="notebook").with_axis("norm", ["none", "layer"]).levels["norm"]
        ('none', 'layer')
        """
        data = self.as_dict()
        varying = [grid for grid in data["grid"] if len(grid["axes"].get(axis, ())) > 1]
        for grid in varying or data["grid"]:
            grid["axes"] = grid["axes"] | {axis: levels}
        # An exclusion loses the levels that the study no longer has, as may the question.
        complete, question = Study(**(data | {"exclude": [], "question": None})), self.question
        if question and question.level in (None, *complete.levels.get(question.axis, ())):
            complete = complete.replace(question=question)
        axes = {axis for exclusion in self.exclude for axis in exclusion}
        present = {axis: {c.level(axis) for c in complete.configurations} for axis in axes}
        exclusions = [
            {axis: [v for v in excluded if v in present[axis]] for axis, excluded in entry.items()}
            for entry in self.exclude
        ]
        return complete.replace(exclude=[entry for entry in exclusions if all(entry.values())])

    def replace(self, **changes: Any) -> Study:
        """Return the study with some top-level keys replaced."""
        return Study(**(self.as_dict() | changes))

    def with_epochs(self, epochs: int) -> Study:
        """Return the study with another number of epochs in every grid."""
        if any("epochs" in grid.axes for grid in self.grids):
            raise RequestError("epochs is an axis of this study; replace its levels", "epochs")
        data = self.as_dict() | {"epochs": epochs}
        for table in (*data["grid"], *data.get("tasks", ())):
            table.pop("epochs", None)
        for grid in data["grid"]:
            grid["published"] = grid["published"][: max(epochs, 0)]
        return Study(**data)

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments of ``Study`` for an equal study: objects, and complete grids."""
        names = type(self).model_fields.keys() - {"grids", "task_studies"}
        fields = {name: getattr(self, name) for name in type(self).model_fields if name in names}
        if self.task_studies:
            return arguments_by_task(self, fields)
        return fields | {"grid": [dict(grid) for grid in self.grids]}

    def to_toml(self) -> str:
        """Return the study as TOML that can be run again."""
        return tomli_w.dumps(self.plain())

    def plain(self) -> dict[str, Any]:
        """Return the study as plain data: names and numbers, as ``study.toml`` holds them."""
        return plain_study(self)


def shipped_studies() -> dict[str, Path]:
    """Return name and file of the studies that come with the package."""
    folder = Path(str(resources.files("ablations.study") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def published(study: Study) -> list[tuple[str, Configuration, tuple[float, ...]]]:
    """Return name, configuration and objectives of every grid with a published curve."""
    return [
        (grid.name, configuration, grid.published)
        for each in study.by_task
        for grid in each.grids
        if grid.published
        for configuration in each.cross(grid)
    ]
