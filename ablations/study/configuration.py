"""Study to runs: the cross of all axes with all seeds, each run once, and why some are skipped."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from ablations.core.random import Streams
from ablations.core.registry import Component, canonical
from ablations.techniques.base import AXES, Device, Init, Norm, Optimizer, Regularizer, Schedule

if TYPE_CHECKING:
    from ablations.models.base import Model
    from ablations.tasks.base import Task


SCHEMA = 1
"""Version of the definition of a run; part of every run's identity."""


TECHNIQUES = tuple(axis.role for axis in AXES)


SETTINGS = ("optimizer", "lr", "batch_size", "epochs", "dtype")


_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Configuration:
    """One level on every axis: all that defines a run but its seed."""

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
    """Sources of chance (``streams.SOURCES``) that are the same for every seed."""

    def streams(self, seed: int) -> Streams:
        """The random streams of one of its runs."""
        return Streams(seed, self.fixed)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of parameters and data."""
        return _DTYPES[self.dtype]

    @property
    def rows_per_batch(self) -> int:
        """Rows of a full batch."""
        return self.task.rows if self.batch_size == "full" else self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last batch may be smaller."""
        return -(-self.task.rows // self.rows_per_batch)

    def follows(self, source: str) -> bool:
        """Whether a source of chance (``streams.SOURCES``) has anything to change here."""
        if source == "split":
            return self.task.varies
        if source == "order":
            return self.steps_per_epoch > 1
        if source == "noise":
            places = range(self.model.n_regularizer_sites(self.task) + 1)
            return any(self.regularizer.layer(place) is not None for place in places)
        return True

    def level(self, axis: str) -> Any:
        """The level on a technique axis, a setting of the training or a parameter of the model."""
        if axis in (*TECHNIQUES, *SETTINGS):
            return getattr(self, axis)
        return self.model.parameters()[axis]

    def with_(self, **levels: Any) -> Configuration:
        """The same configuration with other levels."""
        return dataclasses.replace(self, **levels)

    @cached_property
    def canonical(self) -> tuple[str, str]:
        """Canonical JSON before and after the seed's value."""
        names = (*TECHNIQUES, *(name for name in SETTINGS if name != "epochs"))
        before = {
            "axes": {name: _plain(getattr(self, name)) for name in names},
            "epochs": self.epochs,
            "model": _plain(self.model),
            "schema": SCHEMA,
        } | ({"fixed": self.fixed} if self.fixed else {})
        # "seed" sorts right after "schema" and before "task", so this is what json would give.
        task = canonical(_plain(self.task))
        return canonical(before)[:-1] + ',"seed":', f',"task":{task}}}'

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The columns of the runs table that this configuration fills."""
        values: dict[str, Any] = {"task": self.task.label, "model": self.model.title}
        values |= {name: level_label(getattr(self, name)) for name in TECHNIQUES}
        values |= {
            "optimizer": self.optimizer.label,
            "lr": self.lr,
            "batch_size": str(self.batch_size),
            "dtype": self.dtype,
            "epochs": self.epochs,
        }
        return values | {k: level_label(v) for k, v in self.model.parameters().items()}

    @property
    def components(self) -> tuple[Component, ...]:
        """Task, model, optimizer and techniques."""
        return self.task, self.model, self.optimizer, *(getattr(self, n) for n in TECHNIQUES)

    @cached_property
    def user_modules(self) -> frozenset[str]:
        """The modules of other people whose code training this runs."""
        return frozenset().union(*(component.user_modules() for component in self.components))

    @cached_property
    def skip(self) -> str | None:
        """Why this configuration cannot be trained here; None if it can."""
        if self.batch_size != "full" and self.batch_size > self.task.rows:
            rows = self.task.rows
            return f"a batch of {self.batch_size} is more than the {rows} training rows; say 'full'"
        asked = (
            *(self.model, self.regularizer, self.norm, self.init, self.schedule),
            *(self.optimizer, self.device),
        )
        return next((why for part in asked if (why := _skip(part, self))), None)


def _skip(part: Any, configuration: Configuration) -> str | None:
    """Why a part makes no sense in a configuration; also where somebody's own code cannot say."""
    try:
        why: str | None = part.skip(configuration)
    except Exception as error:
        return f"{part.role} '{part.name}' cannot say whether it fits: {type(error).__name__}"
    return why


def _plain(value: object) -> object:
    return value.identity() if isinstance(value, Component) else value


def level_label(value: object) -> Any:
    """How a level stands in a table: numbers as they are, all else as text."""
    if isinstance(value, Component):
        return value.label
    return value if isinstance(value, (int, float, str)) else canonical(value)


@dataclass(frozen=True)
class Run:
    """A configuration and a seed."""

    configuration: Configuration
    seed: int

    @property
    def streams(self) -> Streams:
        """Its random numbers."""
        return self.configuration.streams(self.seed)

    @cached_property
    def run_id(self) -> str:
        """80 bits of a hash over what defines the run, and nothing else, in hexadecimal."""
        before, after = self.configuration.canonical
        defined = f"{before}{self.seed}{after}".encode()
        return hashlib.blake2b(defined, digest_size=10).hexdigest()
