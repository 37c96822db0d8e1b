"""What analysis and report must know of a study: ``metadata.json``; and its levels as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pydantic
from pydantic import Field, TypeAdapter

from ablations.core.errors import RequestError, nearest
from ablations.core.files import read_sealed_json, write_sealed_json
from ablations.core.schema import TableColumn
from ablations.results.schema import is_result

METADATA_FILE = "metadata.json"
SCHEMA = 1  # version of its layout
NOT_SET = "not set"  # level of a run without an axis that only other grids of its study have


def label(value: object) -> str:
    """Write a level as text: ``0.001``, ``64`` (also for 64.0), ``dropout``."""
    if pd.isna(value):
        return NOT_SET
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return str(value)


def with_text_levels(runs: pd.DataFrame, axes: tuple[str, ...]) -> pd.DataFrame:
    """Replace the levels on ``axes`` by their text, so that mixed columns can be sorted."""
    texts = {}
    for axis in axes:
        codes, values = pd.factorize(runs[axis], use_na_sentinel=False)
        texts[axis] = np.array([label(value) for value in values], dtype=object)[codes]
    return runs.assign(**texts)


def levels_in_order(values: pd.Series, metadata: StudyMetadata, axis: str) -> tuple[str, ...]:
    """Return the different ``values`` on an axis, those of the study first, in its order."""
    present = set(values)
    levels = [label(level) for level in metadata.levels.get(axis, ())]
    order = [*(level for level in levels if level in present), *sorted(present)]
    return tuple(dict.fromkeys(order))


def in_order(
    table: pd.DataFrame,
    levels: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[str, str]] = (("axis", "level"),),
) -> pd.DataFrame:
    """Sort the rows of a table of levels in the study's order: by the axes, then the levels.

    ``levels`` maps an axis to its levels in that order; ``pairs`` are columns of an axis and of a
    level of it.
    """
    if table.empty:
        return table
    axes = {axis: i for i, axis in enumerate(levels)}
    positions = {(axis, v): i for axis, order in levels.items() for i, v in enumerate(order)}
    columns = [list(zip(table[axis], table[level], strict=True)) for axis, level in pairs]
    keys = [
        (*(axes[axis] for axis, _ in row), *(positions[pair] for pair in row))
        for row in zip(*columns, strict=True)
    ]
    return table.iloc[sorted(range(len(table)), key=keys.__getitem__)].reset_index(drop=True)


Level = str | bool | int | float
Scope = Literal["", "generator", "table", "rows"]
"""What the seeds of a study vary: each draws data of its own (``generator``), splits one table at
random (``table``), or is judged on the same rows as all others (``rows``); "": nobody knows."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Published:
    """A loss curve published elsewhere, and the configuration that should reproduce it."""

    label: str
    where: Mapping[str, Level]  # column of the runs table to its value in that configuration
    objective: tuple[_Finite, ...]  # one published loss per epoch, from epoch 1


@dataclass(frozen=True)
class Question:
    """What a study asks, and the effects that answer it."""

    text: str  # ends with a question mark
    axis: str  # whose levels it is about
    level: Level | None = None  # the level that it is about; all of the axis without one
    across: str = ""  # the axis on which the answer may depend


@dataclass(frozen=True)
class Judging:
    """The rows that judge the runs of a study whose seeds share a table."""

    rows: int  # that judge the runs of one seed
    overlap: float  # these over the training rows
    is_fixed: bool  # whether they are the same for every seed
    is_likelihood: bool  # whether the loss is a cross-entropy or a squared error, without weights
    classification: bool

    @property
    def scope(self) -> Scope:
        """What the seeds vary."""
        return "rows" if self.is_fixed else "table"


@dataclass(frozen=True)
class StudyMetadata:
    """All that analysis and report must know of a study."""

    study: str  # its name
    description: str  # what is learnt from what by which model
    axes: tuple[str, ...]  # in the study's order
    controls: Mapping[str, Level]  # axis to its control level
    levels: Mapping[str, tuple[Level, ...]]  # axis to its levels, in the study's order
    captions: Mapping[str, Mapping[str, str]]  # axis to level to one sentence with its source
    cautions: tuple[str, ...]  # sentences that limit what the results mean, for the first screen
    metric_name: str
    higher_is_better: bool  # of the metric
    published: tuple[Published, ...]  # curves that the study reproduces
    margin: Fraction  # relative change of the loss below which levels count as practically equal
    command: str  # that continues the study
    looks: tuple[int, ...] = ()  # numbers of seeds at which more may be added (interim analyses)
    alpha: Fraction = 0.05  # significance level of a verdict, corrected for the looks
    tune_over: tuple[str, ...] = ()  # axes at whose best level each configuration is judged
    badges: tuple[str, ...] = ()  # the cautions in a few words each
    costless: tuple[str, ...] = ()  # axes that do not change the cost of a training step
    other_runs: tuple[str, ...] = ()  # ids of runs in the folder that other studies trained
    judge: str = "last"  # epoch that judges a run; "best": that of the lowest validation loss
    outcome: str = "val_loss"  # column of the runs table that the verdicts are about
    metrics: Mapping[str, bool] = field(default_factory=dict)  # column to: is higher better?
    judging: Judging | None = None  # rows that judge, where seeds share them
    columns: tuple[TableColumn, ...] = ()  # of the table that holds the data, in its order
    scope: Scope = ""  # what the seeds vary, and so what its verdicts are about
    question: Question | None = None  # whose answer comes first
    training: str = ""  # batch size, epochs and steps, judge and metric in one sentence
    tasks: Mapping[str, StudyMetadata] = field(default_factory=dict)
    """Label of each task, in a study of several, to the metadata of the study of that task."""
    strengths: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Axis to level to its name with its parameters, defaults included: ``dropout (p 0.5, 0.2)``;
    of levels that have parameters."""
    title: str = ""  # what a study of this task alone writes in the column ``task``
    planned: int = 0  # number of its runs, skipped ones included; 0 in earlier versions

    def merge_titles(self) -> dict[str, str]:
        """Map what stands in the column ``task`` to the task's label, where there are several."""
        titles = [metadata.title for metadata in self.tasks.values()]
        unique = {m.title: name for name, m in self.tasks.items() if titles.count(m.title) == 1}
        return unique | {name: name for name in self.tasks}


def save_metadata(folder: Path, metadata: StudyMetadata) -> None:
    """Write ``metadata.json`` into a results folder."""
    write_sealed_json(folder / METADATA_FILE, {"schema": SCHEMA, **asdict(metadata)}, indent=1)


def load_metadata(folder: Path) -> StudyMetadata | None:
    """Read ``metadata.json`` of a results folder; None if the folder has none."""
    path = folder / METADATA_FILE
    if not path.exists() and not path.is_symlink():
        return None
    advice = f"'ablations repair {folder}' sets it aside"
    content = read_sealed_json(path, advice)
    try:
        return _parse(content)
    except RequestError as error:
        raise RequestError(f"{error.message}; {advice}", error.key, str(path)) from None


def _parse(content: Mapping[str, object]) -> StudyMetadata:
    """Refuse missing keys, wrong types, and controls, levels and curves of axes that are none."""
    if (schema := content.get("schema")) != SCHEMA:
        raise RequestError(f"expected schema version {SCHEMA}, found {schema!r}", "schema")
    try:
        metadata = TypeAdapter(StudyMetadata).validate_json(json.dumps(content), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        message, key = first["msg"], ".".join(map(str, first["loc"]))
        raise RequestError(f"{message[0].lower()}{message[1:]}", key) from None
    for each in (metadata, *metadata.tasks.values()):
        _check_axes(each)
    return metadata


def _check_axes(metadata: StudyMetadata) -> None:
    axes = list(metadata.axes)
    for axis in axes:
        if is_result(axis) or axes.count(axis) > 1:
            raise RequestError(f"'{axis}' cannot be an axis, or is one twice", "axes")
    for key, table in (("controls", metadata.controls), ("levels", metadata.levels)):
        if list(table) != axes:
            raise RequestError(f"expected the axes {axes}, found {list(table)}", key)
    for axis, control in metadata.controls.items():
        if control not in metadata.levels[axis]:
            raise RequestError(f"{control!r} is no level of this axis", f"controls.{axis}")
    where = [axis for curve in metadata.published for axis in curve.where]
    for key, names in (("tune_over", metadata.tune_over), ("published", where)):
        for axis in names:
            if axis not in axes:
                raise RequestError(f"'{axis}' is no axis; {nearest(axis, axes)}", key)
