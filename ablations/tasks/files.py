"""Tasks from a CSV or a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import format_value, frozen, resolve_path
from ablations.core.schema import TableColumn
from ablations.tasks.base import Classification, Data, Judge, Regression, Task, WeightedTask, task
from ablations.tasks.tabular.columns import TableColumns, classify_columns
from ablations.tasks.tabular.groups import Shuffle
from ablations.tasks.tabular.options import (
    READING_FIELDS,
    Names,
    ReadingOptions,
    TableOptions,
    to_table,
)
from ablations.tasks.tabular.reader import Format, content_hash, read_table
from ablations.tasks.tabular.splits import SplitPlan, plan_split

_FILE_FIELDS = frozenset(
    ["content", "rows", "inputs", "outputs", "notes", "test_rows", "is_rekeyed"]
)
"""Fields that describe the file; of these only the content is part of a run's identity, and that
versions up to 0.1 read other values."""


@frozen
class Table(TableOptions, WeightedTask):
    """A table in a file: first the options of the user, then what the file holds."""

    format: ClassVar[Format]
    later_fields = READING_FIELDS | {"standardize", "max_categories", "many_categories"}
    resolved_fields = _FILE_FIELDS
    content: str = ""
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    notes: Names = ()
    test_rows: int = 0
    is_rekeyed: bool = False

    @property
    def has_test_rows(self) -> bool:
        return self.test_rows > 0

    @property
    def default_judge(self) -> Judge:
        return "best" if self.has_test_rows or self.split != "column" else "last"

    @property
    def classification(self) -> bool:
        return self.kind != "regression"

    @property
    def metric_name(self) -> str:
        return self._base_task.metric_name

    @property
    def short_name(self) -> str:
        return Path(self.path).stem

    @property
    def caution(self) -> str:
        return " ".join(filter(None, [*self.notes, super().caution]))

    @property
    def varies(self) -> bool:
        return self.split == "random"

    @property
    def shared_rows(self) -> int:
        if self.has_test_rows:
            return self.test_rows
        if self.split == "column":
            try:
                return self._prepare(self.content)[1].n_validation
            except RequestError:
                return 0  # the file has changed
        return round(self.rows * self.validation / (1 - self.validation))

    @property
    def badge(self) -> str:
        return "" if self.split == "random" else "one split"

    @cached_property
    def label(self) -> str:
        keys = [name for name in ("loss", "class_weight") if self.has_key(name)]
        changes = [f"{name}={format_value(getattr(self, name))}" for name in keys]
        suffix = f" ({', '.join(changes)})" if changes else ""
        return f"{Path(self.path).name}: {', '.join(self.targets)}{suffix}"

    @property
    def _base_task(self) -> Task:
        return Classification() if self.classification else Regression()

    @property
    def class_labels(self) -> tuple[str, ...]:
        return self._prepare(self.content)[0].classes

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._base_task.metric(outputs, targets)

    def with_resolved_inputs(self) -> Self:
        path = str(resolve_path(self.path))
        try:
            content = content_hash(path)
        except RequestError:
            if not self.content:
                raise
            return self  # a stored study whose file is elsewhere now
        if self.content not in ("", content):
            return self  # the file has changed: ``ready`` raises before training
        columns, split = replace(self, path=path)._prepare(content)
        resolved = replace(
            self,
            kind=columns.kind,
            path=path,
            shape=self.shape if len(self.shape) > 1 else (columns.inputs,),
            content=content,
            rows=split.n_train,
            inputs=columns.inputs,
            outputs=columns.outputs,
            notes=(*columns.notes, *split.notes),
            test_rows=split.n_test,
            is_rekeyed=columns.is_rekeyed,
        )
        return super(Table, resolved).with_resolved_inputs()

    def identity(self) -> dict[str, Any]:
        parameters = self.identity_parameters() | self.loss_source()
        options = {key: v for key, v in parameters.items() if key not in (*_FILE_FIELDS, "path")}
        revision = {"reading": 2} if self.is_rekeyed else {}
        return {"name": self.name, **options, "content": self.content, **revision}

    def to_spec(self) -> tuple[str, dict[str, Any]]:
        name, parameters = super().to_spec()
        tables = {key: to_table(v) for key, v in parameters.items() if key in ("types", "missing")}
        return name, parameters | tables

    def ready(self) -> None:
        self._check_content()
        super().ready()

    def _check_content(self) -> None:
        if content_hash(self.path) != self.content:
            message = "has changed since the study read it; create the study again"
            raise RequestError(message, "task", self.path)

    def check_splits(self) -> None:
        """Each split is checked where it is planned."""

    def default_test(self) -> float:
        return 0.0 if self.split == "column" else self.validation

    def describe_columns(self) -> tuple[TableColumn, ...]:
        try:
            return self._prepare(self.content)[0].columns
        except RequestError:
            return ()  # the file has changed, or is elsewhere

    def describe_seeds(self, streams: Sequence[Streams]) -> tuple[str, ...]:
        try:
            columns, split = self._prepare(self.content)
        except RequestError:
            return ()  # the file has changed, or is elsewhere
        shuffles = {each.seed: _shuffler(each) for each in streams}
        return tuple(split.describe_missing(columns, shuffles))

    def data(self, streams: Streams) -> Data:
        self._check_content()
        columns, split = self._prepare(self.content)
        train, val, test = split.draw(_shuffler(streams))
        inputs, targets = map(torch.from_numpy, columns.encode(train))
        x = inputs.to(torch.float32)
        y = targets if columns.classes else targets.to(torch.float32)
        data = Data(x[train], y[train], x[val], y[val])
        if not columns.classes:
            scale, mean = map(torch.from_numpy, columns.target_unit(train))
            data = replace(data, target_scale=scale, target_mean=mean)
        return replace(data, x_test=x[test], y_test=y[test]) if len(test) else data

    def _prepare(self, content: str) -> tuple[TableColumns, SplitPlan]:
        options = {field.name: getattr(self, field.name) for field in fields(TableOptions)}
        options["shape"] = self.shape if len(self.shape) > 1 else ()
        return _prepare(TableOptions(**options), self.format, content)


def _shuffler(streams: Streams) -> Shuffle:
    return lambda count, purpose: streams.permutation(count, purpose).numpy()


@lru_cache(maxsize=4)
def _prepare(
    options: TableOptions, format_: Format, content: str
) -> tuple[TableColumns, SplitPlan]:
    path = options.path
    if bool(options.by) != (options.split != "random"):
        message = 'split = "time" and split = "column" need the name of a column in by'
        message = f'{message}, split = "random" takes no by; found {options.by!r}'
        raise RequestError(message, "task.by", path)
    if options.group and options.split != "random":
        message = "groups need a random split; leave out split or group"
        raise RequestError(message, "task.group", path)
    if options.split == "column" and options.by in options.features:
        message = f"column '{options.by}' defines the split and cannot be a feature too"
        raise RequestError(message, "task.features", path)
    columns = classify_columns(
        read_table(path, format_, content, ReadingOptions.of_table(options)), options
    )
    return columns, plan_split(columns, options)


@task
class Csv(Table):
    """A CSV file of your own, a share of its rows held out by each seed: numbers scaled and
    missing ones filled by what the training rows are like, categories as indicators.

    The file is read as text first.  A column has the type that all its values have: numbers
    (whole numbers of any length exactly), truth values, dates of ISO 8601, or else categories;
    codes with leading zeros are categories.  Missing are empty fields and the texts ``NA``,
    ``N/A``, ``n/a``, ``#N/A``, ``NaN``, ``nan``, ``NULL``, ``null``, ``<NA>`` and ``?``; among
    words, they are words in quotation marks, and so is ``NA`` among codes of two letters or
    beside empty fields.  The keys of ``ReadingOptions`` say otherwise: ``types``, ``missing``,
    ``encoding``, ``separator``, ``decimal``, ``thousands``, ``comment`` and ``date_format``.

    Up to ``max_categories`` categories have an indicator each; ``many_categories`` says what
    becomes of more (``features.Category``).  A column in which most rows have a text of their own
    is left out, unless ``types`` calls it a category.  ``target`` may be a list of columns of
    numbers: each then has an output, and mean 0 and standard deviation 1 on the training rows.
    With ``group``, rows of one value stay in the same split (``groups.GroupSplits``).
    """

    name = "csv"
    format = "csv"


@task
class Parquet(Table):
    """A Parquet file of your own, taken like a CSV file.

    Columns have the types of the file, unless ``types`` states others; only nulls are missing,
    and what ``missing`` names.
    """

    name = "parquet"
    format = "parquet"
