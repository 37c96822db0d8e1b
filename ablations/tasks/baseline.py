"""The constant predictor, which a network that learned something must beat."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ablations.tasks.base import Data, Task
from ablations.tasks.losses import class_logits
from ablations.tasks.metrics import Metric, compute_metrics, has_standard_shapes

__all__ = ["Baseline", "judge_constants"]


@dataclass(frozen=True)
class Baseline:
    """What constant predictions score on the rows that judge."""

    loss: float | None = None
    """The loss of the constant with the least training loss; None where it cannot be computed."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The best constant by each metric, under the metric's column."""


@torch.no_grad()
def judge_constants(task: Task, data: Data, metrics: Sequence[Metric], n_extra: int) -> Baseline:
    """Judge the best constant prediction by the loss and by each metric, in float64.

    By a metric the best constant is the one with the best value on the training rows among the
    constant of the loss, the class frequencies, or mean, median and middle of the range of an
    amount: by absolute errors the median of the training rows is better than their mean.  A metric
    of a user's is computed of the constant of the loss alone.

    Code of a user may refuse outputs that no network gave: that fails no run.

    Parameters
    ----------
    data
        The splits of one seed, on any device.
    metrics
        Those that the runs record: first the ``n_extra`` that the study names.
    """
    try:
        return _judge(task, data, metrics, n_extra)
    except Exception:
        if not task.user_modules():
            raise
        return Baseline()


def _judge(task: Task, data: Data, metrics: Sequence[Metric], n_extra: int) -> Baseline:
    training, judging = map(
        _on_cpu, (data.y_train, data.y_val if data.y_test is None else data.y_test)
    )
    constant = task.constant(data)
    outputs = constant.expand(len(judging), -1)
    loss = float(task.mean_loss(outputs, judging))
    values, candidates = {"metric": float(task.metric(outputs, judging))}, constant[None]
    if has_standard_shapes(task.classification, constant.expand(len(training), -1), training):
        candidates = list_constants(constant, training)
    else:
        metrics = metrics[:n_extra]
    standard = tuple(metric for metric in metrics if not metric.user_modules())
    values |= _judge_metrics(standard, candidates, training, judging, data)
    for metric in metrics:
        if metric.user_modules():
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values |= _judge_metrics((metric,), constant[None], training, judging, data)
    if n_extra:
        values["metric"] = values.get(metrics[0].name, math.nan)
    return Baseline(loss if math.isfinite(loss) else None, values)


def _judge_metrics(
    metrics: Sequence[Metric], candidates: Tensor, training: Tensor, judging: Tensor, data: Data
) -> dict[str, float]:
    """Return, on the judging rows, each metric of the candidate that is best on training rows."""

    def compute(targets: Tensor) -> dict[str, Tensor]:
        outputs = candidates[:, None].expand(-1, len(targets), -1)
        return compute_metrics(metrics, outputs, targets, data.target_scale, data.target_mean)

    values = compute(judging)
    if len(candidates) == 1:
        return {name: float(column[0]) for name, column in values.items()}
    on_training = compute(training)
    best = {
        metric.name: int(
            (on_training[metric.name] * (1 if metric.higher_is_better else -1))
            .nan_to_num(nan=-math.inf)
            .argmax()
        )
        for metric in metrics
    }
    return {name: float(column[best[name]]) for name, column in values.items()}


def list_constants(constant: Tensor, targets: Tensor) -> Tensor:
    """Return the constants (constant, output) among which the best by a metric is sought.

    Parameters
    ----------
    constant
        That of the loss, shape (output,): the first one.
    targets
        Those of the training rows: amounts (row, output), or classes (row,).
    """
    if targets.is_floating_point():
        median = torch.from_numpy(np.median(targets.numpy(), 0))
        middle = (targets.amin(0) + targets.amax(0)) / 2
        others = [targets.mean(0), median, middle]
    else:
        others = [class_logits(targets, len(constant))]
    others = [other for other in others if not torch.allclose(other, constant, 1e-9, 1e-12)]
    return torch.stack([constant, *others])


def _on_cpu(targets: Tensor) -> Tensor:
    is_amount = targets.is_floating_point()
    return targets.to("cpu", torch.float64 if is_amount else targets.dtype)
