"""Grids: full crosses of axes, and the configurations that they hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ablations.models.base import Model
from ablations.study.configuration import SETTINGS, TECHNIQUES, Configuration
from ablations.techniques.base import Optimizer

if TYPE_CHECKING:
    from ablations.tasks.base import Task


Count = Annotated[int, Field(gt=0, le=10_000_000, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1e6, strict=True, allow_inf_nan=False)]
BatchSize = Count | Literal["full"]
Dtype = Literal["float32", "float64"]
MOST_SEEDS = 1_000_000


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


def cross(task: Task, grid: Grid, fixed: tuple[str, ...] = ()) -> Iterator[Configuration]:
    """Each configuration of one grid."""
    settings = {name: getattr(grid, name) for name in SETTINGS}
    for chosen in itertools.product(*grid.axes.values()):
        levels = dict(zip(grid.axes, chosen, strict=True))
        fields = {k: v for k, v in levels.items() if k in TECHNIQUES or k in SETTINGS}
        parameters = {k: v for k, v in levels.items() if k not in fields}
        model = grid.model.with_(**parameters) if parameters else grid.model
        yield Configuration(task=task, model=model, fixed=fixed, **(settings | fields))
