"""Configurations and runs: what is trained, and its identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from ablations.core.files import digest
from ablations.core.random import Streams
from ablations.core.registry import Component, canonical
from ablations.core.splits import split_seed
from ablations.models.base import Model
from ablations.tasks.base import Judge, Task
from ablations.tasks.metrics import find_metric
from ablations.techniques.base import AXES, Device, Init, Norm, Optimizer, Regularizer, Schedule

SCHEMA = 1
"""Version of the definition of a run; part of every run's identity."""

TECHNIQUES = tuple(axis.role for axis in AXES)
SETTINGS = ("optimizer", "lr", "batch_size", "epochs", "dtype")
"""The settings of the training; each may be an axis."""

FIELDS = (*TECHNIQUES, *SETTINGS)
"""The axes that are fields of a configuration; other axes are parameters of the model."""


def splits_one_table(task: Task, fixed: Collection[str]) -> bool:
    """Whether each seed splits the same table at random, if it has other values of all sources of
    chance than those that are ``fixed``.
    """
    return task.varies and task.shared_rows > 0 and "split" not in fixed


@dataclass(frozen=True)
class Configuration:
    """One level on every axis: everything that defines a run except its seed."""

    task: Task
    model: Model
    regularizer: Regularizer
    norm: Norm
    init: Init
    schedule: Schedule
    device: Device
    optimizer: Optimizer
    lr: float
    batch_size: int | Literal["full"]
    epochs: int
    dtype: Literal["float32", "float64"]
    fixed: tuple[str, ...] = ()
    """Sources of chance (``random.SOURCES``) that are the same for every seed."""
    judge: Judge = "last"
    """The epoch whose network is judged; ``best``: that with the lowest validation loss."""
    metrics: tuple[str, ...] = ()
    """Metrics to record, the first one first, beside the standard ones of the task."""
    task_label: str = ""
    """What the column ``task`` holds in a study of several; "" for the task's own label."""
    repeats_splits: bool = False
    """Whether some seeds repeat the splits of others (``core.splits``)."""

    def data_seed(self, seed: int) -> int:
        """Return the seed whose data, or split of one table, the run with this seed has."""
        return split_seed(seed) if self.repeats_splits else seed

    def data_streams(self, seed: int) -> Streams:
        """Return the random streams of the data of the run with this seed."""
        return self.streams(self.data_seed(seed))

    def streams(self, seed: int) -> Streams:
        """Return the random streams of the run with this seed."""
        return Streams(seed, self.fixed)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of parameters and data."""
        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]

    @property
    def rows_per_batch(self) -> int:
        """Rows of a full batch."""
        return self.task.rows if self.batch_size == "full" else self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last batch may be smaller."""
        return -(-self.task.rows // self.rows_per_batch)

    def follows(self, source: str) -> bool:
        """Whether a source of chance (``random.SOURCES``) affects the training, as far as the code
        of users can tell.
        """
        if source == "noise":
            with suppress(Exception, SystemExit):  # the runs will be rows that say what is wrong
                sites = range(self.model.n_regularizer_sites(self.task) + 1)
                return any(self.regularizer.layer(site) is not None for site in sites)
            return True
        return {"split": self.task.varies, "order": self.steps_per_epoch > 1}.get(source, True)

    def level(self, axis: str) -> Any:
        """Return the level of a technique axis, a setting or a parameter of the model."""
        return getattr(self, axis) if axis in FIELDS else self.model.parameters()[axis]

    def with_(self, **levels: Any) -> Configuration:
        """Return the configuration with other levels."""
        return dataclasses.replace(self, **levels)

    @cached_property
    def canonical(self) -> tuple[str, str]:
        """Canonical JSON before and after the seed's value."""
        levels = {name: getattr(self, name) for name in FIELDS if name != "epochs"}
        before = {
            "axes": {k: v.identity() if isinstance(v, Component) else v for k, v in levels.items()},
            "epochs": self.epochs,
            "model": self.model.identity(),
            "schema": SCHEMA,
        }
        before |= {"fixed": self.fixed} if self.fixed else {}
        before |= {"judge": self.judge} if self.judge != "last" else {}
        # In sorted order, "seed" comes directly after "schema" and before "task".
        task = canonical(self.task.identity())
        return canonical(before)[:-1] + ',"seed":', f',"task":{task}}}'

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The configuration's columns of the runs table."""
        return {
            "task": self.task_label or self.task.label,
            "model": self.model.title,
            **{axis: getattr(self, axis).label for axis in TECHNIQUES},
            "optimizer": self.optimizer.label,
            "lr": self.lr,
            "batch_size": str(self.batch_size),
            "dtype": self.dtype,
            "epochs": self.epochs,
            **{name: level_label(value) for name, value in self.model.parameters().items()},
        }

    @property
    def components(self) -> tuple[Component, ...]:
        """Task, model, optimizer and techniques."""
        return self.task, self.model, self.optimizer, *(getattr(self, n) for n in TECHNIQUES)

    @cached_property
    def user_modules(self) -> frozenset[str]:
        """The modules with user code that the training executes."""
        metrics = (find_metric(name, self.task.classification) for name in self.metrics)
        modules = [each.user_modules() for each in self.components]
        return frozenset().union(*modules, *(metric.user_modules() for metric in metrics))

    @cached_property
    def skip(self) -> str | None:
        """Why this configuration cannot be trained here; None if it can be."""
        rows = self.task.rows
        if self.batch_size != "full" and self.batch_size > rows:
            return f"a batch of {self.batch_size} is more than the {rows} training rows; say 'full'"
        for name in ("model", *TECHNIQUES[:-1], "optimizer", "device"):
            component = getattr(self, name)
            try:
                if reason := component.skip(self):
                    return (
                        reason if isinstance(reason, str) else _no_reason(name, component, reason)
                    )
            except Exception as error:
                kind = type(error).__name__
                return f"{name} '{component.name}' cannot say whether it fits: {kind}"
        return None


def _no_reason(role: str, component: Component, answer: object) -> str:
    answer_type = type(answer).__name__
    return (
        f"{role} '{component.name}' gives no reason: its skip returns a value of type "
        f"{answer_type}; expected text, or None"
    )


def level_label(level: object) -> Any:
    """Return a level as it stands in a table: a number as it is, anything else as text."""
    if isinstance(level, Component):
        return level.label
    return level if isinstance(level, (int, float, str)) else canonical(level)


def to_plain(value: Any, *, as_table: bool = False) -> Any:
    """Return a level, a setting or a tuple of levels as TOML can hold it.

    A component without changed parameters is its name, or with ``as_table`` a table with its name.
    """
    if isinstance(value, Component):
        name, parameters = value.to_spec()
        table = {"name": name} | {key: to_plain(item) for key, item in parameters.items()}
        return table if parameters or as_table else name
    is_tuple = isinstance(value, tuple)
    return [to_plain(item, as_table=as_table) for item in value] if is_tuple else value


@dataclass(frozen=True)
class Run:
    """A configuration and a seed."""

    configuration: Configuration
    seed: int

    @property
    def streams(self) -> Streams:
        """The random streams of the run."""
        return self.configuration.streams(self.seed)

    @property
    def split(self) -> int | None:
        """The seed whose split of one table the run has; None where seeds do not split one."""
        c = self.configuration
        is_split = splits_one_table(c.task, c.fixed)
        return c.data_seed(self.seed) if is_split else None

    @cached_property
    def run_id(self) -> str:
        """An 80-bit hash of everything that defines the run, in hexadecimal."""
        before, after = self.configuration.canonical
        data_seed = self.configuration.data_seed(self.seed)
        # In sorted order, "split" comes directly after "seed".
        split = f',"split":{data_seed}' if data_seed != self.seed else ""
        return digest(f"{before}{self.seed}{split}{after}".encode(), size=10)
