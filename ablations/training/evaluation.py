"""What judges a trained run: its loss and its metrics, on test rows if there are some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ablations.core.random import Streams
from ablations.study.configuration import Configuration
from ablations.tasks.base import Data, Task
from ablations.tasks.baseline import Baseline, judge_constants
from ablations.tasks.metrics import (
    Metric,
    compute_metrics,
    find_metric,
    has_standard_shapes,
    standard_metrics,
)

_CACHED_BASELINES = 1024
_BASELINES: dict[tuple[Task, tuple[str, ...], str, Streams], Baseline] = {}


@dataclass(frozen=True)
class Evaluation:
    """The judgement of one run, at its judged epoch."""

    metric: float | None = None
    """The first metric of the study, or the task's own."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Every recorded metric by name."""
    test_loss: float | None = None
    """None without test rows."""
    baseline: Baseline = field(default_factory=Baseline)
    """The best constants on the same rows."""


def judging_rows(data: Data) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of the rows that judge: those that chose no epoch."""
    if data.x_test is None or data.y_test is None:
        return data.x_val, data.y_val
    return data.x_test, data.y_test


@lru_cache(maxsize=64)
def recorded_metrics(classification: bool, names: tuple[str, ...]) -> tuple[Metric, ...]:
    """Return the named metrics, then the standard ones."""
    metrics = [find_metric(name, classification) for name in names]
    metrics += [m for m in standard_metrics(classification) if m.name not in names]
    return tuple(metrics)


def evaluate(
    configuration: Configuration,
    data: Sequence[Data],
    outputs_MNO: Tensor,
    targets: Tensor,
    baselines: Sequence[Baseline],
) -> list[Evaluation]:
    """Judge members of one cohort key by their outputs (M, N, O) on the judging rows."""
    c, task = configuration, configuration.task
    with torch.no_grad():
        units = [
            None if values[0] is None else torch.stack([v for v in values if v is not None])
            for values in ([d.target_scale for d in data], [d.target_mean for d in data])
        ]
        metrics = recorded_metrics(task.classification, c.metrics)
        if not has_standard_shapes(task.classification, outputs_MNO, targets):
            metrics = metrics[: len(c.metrics)]
        columns = compute_metrics(metrics, outputs_MNO, targets, *units)
        values = {name: column.tolist() for name, column in columns.items()}
        first = values[c.metrics[0]] if c.metrics else task.metric(outputs_MNO, targets).tolist()
        losses: list[float | None] = [None] * len(data)
        if data[0].x_test is not None:
            dtype = torch.float32 if outputs_MNO.device.type == "mps" else torch.float64
            if type(task).mean_loss is Task.mean_loss:
                losses = task.losses(outputs_MNO, targets).mean(1).to(dtype).tolist()
            else:  # a task of the plain loop, whose loss is no mean over rows
                pairs = zip(outputs_MNO, targets, strict=True)
                losses = [float(task.mean_loss(*pair)) for pair in pairs]
    return [
        Evaluation(
            first[i], {name: column[i] for name, column in values.items()}, losses[i], baselines[i]
        )
        for i in range(len(data))
    ]


def find_baseline(configuration: Configuration, seed: int, data: Data) -> Baseline:
    """Judge the best constants by the loss and by all metrics that a run records.

    Runs that share their data share these numbers, which take as long as many steps of training.
    """
    task, names = configuration.task, configuration.metrics
    key = task, names, configuration.dtype, configuration.data_streams(seed)
    if key not in _BASELINES:
        if len(_BASELINES) >= _CACHED_BASELINES:
            _BASELINES.clear()
        metrics = recorded_metrics(task.classification, names)
        with Streams(0).isolated(purpose="global/baseline"):
            _BASELINES[key] = judge_constants(task, data, metrics, len(names))
    return _BASELINES[key]


class BestEpoch:
    """Parameters and buffers of each member after its epoch with the lowest validation loss."""

    def __init__(
        self, flat_MP: Tensor, state: Mapping[str, Tensor], loss_dtype: torch.dtype
    ) -> None:
        self.flat_MP, self.state = flat_MP, dict(state)
        self._lowest_M = torch.full(
            flat_MP.shape[:1], torch.inf, dtype=loss_dtype, device=flat_MP.device
        )

    def update(self, val_loss_M: Tensor, flat_MP: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take over the members whose validation loss is lower than before."""
        is_lower_M = val_loss_M < self._lowest_M
        self._lowest_M = torch.where(is_lower_M, val_loss_M, self._lowest_M)

        def select(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(is_lower_M.view(-1, *[1] * (new.ndim - 1)), new, old)

        self.flat_MP = select(flat_MP, self.flat_MP)
        self.state = {name: select(buffer, self.state[name]) for name, buffer in state.items()}
