"""Tables of your own, from a CSV or a Parquet file."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import frozen, resolve_path
from ablations.tasks.base import Classification, Data, Regression, Task, task
from ablations.tasks.tabular.columns import Asked, Columns, Kind, columns
from ablations.tasks.tabular.encoding import encode, scaled
from ablations.tasks.tabular.reader import Format, digest, read
from ablations.tasks.tabular.splits import How, Parts, parts

Names = Annotated[tuple[str, ...], Field(strict=False)]
Sizes = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
_FACTS = ("path", "content", "rows", "inputs", "outputs", "notes")
"""What is known of the file, and where it lies: no part of what defines a run but its content."""


@frozen
class Table(Task):
    """A file with a column to predict: what a person says of it, then what was found in it."""

    format: ClassVar[Format]
    path: str
    target: str
    kind: Kind = "auto"
    features: Names = ()
    drop: Names = ()
    split: Literal["random", "time", "column"] = "random"
    by: str = ""
    group: str = ""
    validation: Share = 0.2
    shape: Sizes = ()
    content: str = ""
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    notes: Names = ()

    @property
    def classification(self) -> bool:
        return self.kind != "regression"

    @property
    def metric_name(self) -> str:
        return self._judge.metric_name

    @property
    def caution(self) -> str:
        return " ".join(self.notes)

    @property
    def varies(self) -> bool:
        return self.split == "random"

    @property
    def badge(self) -> str:
        return "" if self.split == "random" else "one split"

    @cached_property
    def label(self) -> str:
        return f"{Path(self.path).name}: {self.target}"

    @property
    def _judge(self) -> Task:
        return Classification() if self.classification else Regression()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._judge.losses(outputs, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._judge.metric(outputs, targets)

    def with_resolved_inputs(self) -> Self:
        path = str(resolve_path(self.path))
        try:
            content = digest(path)
        except RequestError:
            if not self.content:
                raise
            return self  # from a results folder, which has left its file behind
        if self.content not in ("", content):
            return self  # of other data than the file now holds, which ``ready`` says
        found, planned = _prepared(*self._question(path))
        facts = {
            "kind": found.kind,
            "path": path,
            "shape": self.shape if len(self.shape) > 1 else (found.inputs,),
            "content": content,
            "rows": planned.train,
            "inputs": found.inputs,
            "outputs": found.outputs,
            "notes": (*found.notes, *planned.notes),
        }
        return type(self)(**(self.parameters() | facts))

    def identity(self) -> dict[str, Any]:
        own = {key: value for key, value in self.parameters().items() if key not in _FACTS}
        return {"name": self.name, **own, "content": self.content}

    def ready(self) -> None:
        if digest(self.path) != self.content:
            message = "has changed since the study took it; make the study anew"
            raise RequestError(message, "task", self.path)

    def data(self, streams: Streams) -> Data:
        self.ready()
        found, planned = _prepared(*self._question(self.path))
        train, held_out = planned.draw(
            lambda count, purpose: streams.permutation(count, purpose).numpy()
        )
        x = torch.from_numpy(encode(found, train)).to(torch.float32)
        targets = found.targets if found.classes else scaled(found.targets, train)
        y = torch.from_numpy(targets.copy())
        y = y if found.classes else y.to(torch.float32)
        return Data(x[train], y[train], x[held_out], y[held_out])

    def _question(self, path: str) -> tuple[str, str, Format, Asked, How]:
        apart = tuple(filter(None, (self.by, self.group)))
        shape = self.shape if len(self.shape) > 1 else ()
        asked = Asked(self.target, self.kind, self.features, self.drop, apart, shape)
        how = How(self.split, self.by, self.group, self.validation)
        return path, digest(path), self.format, asked, how


@lru_cache(maxsize=4)
def _prepared(
    path: str,
    content: str,  # noqa: ARG001 - remembered by it
    format_: Format,
    asked: Asked,
    how: How,
) -> tuple[Columns, Parts]:
    if bool(how.by) != (how.split != "random"):
        wanted = 'split = "time" and split = "column" need the column\'s name'
        message = f'{wanted}, and split = "random" has none; found {how.by!r}'
        raise RequestError(message, "task.by", path)
    if how.group and how.split != "random":
        message = "groups are drawn at random, and this split is not; leave one of them out"
        raise RequestError(message, "task.group", path)
    if how.split == "column" and how.by in asked.features:
        message = f"column '{how.by}' says how to split, and cannot be a feature too"
        raise RequestError(message, "task.features", path)
    found = columns(read(path, format_), asked)
    return found, parts(found, how)


@task
class Csv(Table):
    """A CSV file of your own, a share of its rows held out by each seed: numbers scaled and
    missing ones filled by what the training rows are like, categories as indicators.
    """

    name = "csv"
    format = "csv"


@task
class Parquet(Table):
    """A Parquet file of your own, taken like a CSV file."""

    name = "parquet"
    format = "parquet"
