"""Metrics with scikit-learn's names and numbers.

The standard metrics are computed of every run, for all members of a cohort at once.  Further ones
call scikit-learn, run by run; a function of yours is ``python:module:function``.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX, target_hash
from ablations.core.random import Streams
from ablations.core.registry import import_user_function
from ablations.tasks.predictions import Predictions

__all__ = [
    "Metric",
    "Predictions",
    "compute_metrics",
    "find_metric",
    "has_standard_shapes",
    "score_r2",
    "standard_metrics",
]

_MAX_NUMBERS = 2**22
"""Outputs of as many members as are evaluated at once, for the memory's sake."""


@dataclass(frozen=True)
class Metric:
    """A metric of the predictions of a run."""

    name: str
    higher_is_better: bool
    compute: Callable[[Predictions], Tensor]
    """Return the metric of each member, float64 (…,); NaN where it is undefined."""

    def user_modules(self) -> set[str]:
        """Return the name of the module outside this package that defines the metric."""
        is_foreign = self.name.startswith(PREFIX)
        return {self.name.removeprefix(PREFIX).partition(":")[0]} if is_foreign else set()

    def source(self) -> str:
        """Return a hash of the source of a user's function; "" for other metrics."""
        if not isinstance(self.compute, partial) or not self.user_modules():
            return ""
        return target_hash(self.name.removeprefix(PREFIX), self.compute.args[0])


def standard_metrics(classification: bool) -> tuple[Metric, ...]:
    """Return the metrics that every run records."""
    return _CLASSIFICATION if classification else _REGRESSION


def find_metric(name: str, classification: bool) -> Metric:
    """Return the metric of a name.

    Parameters
    ----------
    name
        A standard or a further metric, or ``python:module:function``: a function of targets and
        outputs, arrays (row,) or (row, output) and (row, output), that returns a number.  Outputs
        of a regression are in the target's own unit, those of a classification logits.  Higher is
        better unless the function has an attribute ``higher_is_better = False``.

    Raises
    ------
    RequestError
        With the nearest valid name.
    """
    if name.startswith(PREFIX):
        function = import_user_function(name.removeprefix(PREFIX), "metric")
        higher_is_better = bool(getattr(function, "higher_is_better", True))
        return Metric(name, higher_is_better, partial(_apply_function, function, name))
    metrics = {metric.name: metric for metric in _valid_metrics(classification)}
    if name in metrics:
        return metrics[name]
    kind, other = ("classification", "regression")[:: 1 if classification else -1]
    if name in {metric.name for metric in _valid_metrics(not classification)}:
        message = f"'{name}' is a metric of {other}, and the task is a {kind}"
    else:
        message = f"unknown metric '{name}' for {kind}"
    raise RequestError(f"{message}; {nearest(name, metrics)}", "metric")


def _valid_metrics(classification: bool) -> tuple[Metric, ...]:
    if classification:
        return _CLASSIFICATION + _FURTHER_CLASSIFICATION
    return _REGRESSION + _FURTHER_REGRESSION


def has_standard_shapes(classification: bool, outputs: Tensor, targets: Tensor) -> bool:
    """Whether the standard metrics are defined for the outputs and targets of a task.

    A task with losses of its own may have one output for two classes, or several labels a row.
    """
    if targets.is_floating_point() or not classification:
        is_amount = targets.is_floating_point() and not classification
        return is_amount and targets.shape[-2:] == outputs.shape[-2:]
    n_rows, n_classes = outputs.shape[-2:]
    is_class = (targets >= 0) & (targets < n_classes)
    return n_classes > 1 and targets.shape[-1] == n_rows and bool(is_class.all())


def compute_metrics(
    metrics: Sequence[Metric],
    outputs: Tensor,
    targets: Tensor,
    scale: Tensor | None = None,
    mean: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return metrics by name, each float64 of shape (…,) on the CPU.

    Parameters
    ----------
    outputs
        Shape (…, row, output), on any device and of any precision.
    targets
        Shape (…, row) or (…, row, output); without the leading dimensions, all members share them.
    scale, mean
        ``Data.target_scale`` and ``Data.target_mean``, shape (output,) or (…, output).
    """
    *members, n_rows, n_outputs = outputs.shape
    has_classes = not targets.is_floating_point()
    size = max(1, _MAX_NUMBERS // max(1, n_rows * n_outputs))

    def chunks(values: Tensor, *shape: int) -> Iterable[Tensor]:
        """Yield the values of up to ``size`` members, of this shape each."""
        flat = values.expand(*members, *shape).reshape(-1, *shape)
        dtype = torch.float64 if values.is_floating_point() else values.dtype
        return (chunk.to("cpu", dtype) for chunk in torch.split(flat, size))

    units = [
        itertools.repeat(None) if values is None else chunks(values, n_outputs)
        for values in (scale, mean)
    ]
    columns: dict[str, list[Tensor]] = {metric.name: [] for metric in metrics}
    row_shape = (n_rows,) if has_classes else (n_rows, n_outputs)
    pairs = zip(chunks(outputs, n_rows, n_outputs), chunks(targets, *row_shape), strict=True)
    for pair, *unit in zip(pairs, *units, strict=False):
        predictions = Predictions(*pair, *unit)
        for metric in metrics:
            columns[metric.name].append(metric.compute(predictions).to(torch.float64))
    return {name: torch.cat(values).reshape(members) for name, values in columns.items()}


def _accuracy(predictions: Predictions) -> Tensor:
    hits = (predictions.classes == predictions.targets).sum(-1)
    return hits.to(torch.float64) / predictions.targets.shape[-1]


def _balanced_accuracy(predictions: Predictions) -> Tensor:
    """The mean recall of the classes that have rows."""
    counts = predictions.confusion
    recall = counts.diagonal(dim1=-2, dim2=-1) / counts.sum(-1)  # NaN without rows
    return recall.nanmean(-1)


def _f1_macro(predictions: Predictions) -> Tensor:
    """The mean F1 of the classes that have rows or are predicted."""
    counts = predictions.confusion
    f1 = 2 * counts.diagonal(dim1=-2, dim2=-1) / (counts.sum(-1) + counts.sum(-2))
    return f1.nanmean(-1)


def _roc_auc(predictions: Predictions) -> Tensor:
    """The probability that a row of a class ranks above one of another class, ties by half."""
    ranking = predictions.ranking
    ranks = (ranking.first + ranking.last + 1) / 2
    count, n_rows = ranking.count, ranks.shape[-1]
    higher = (ranks * ranking.positive).sum(-1) - count * (count + 1) / 2
    return (higher / (count * (n_rows - count))).mean(-1)


def _average_precision(predictions: Predictions) -> Tensor:
    """The mean, over the rows of a class, of the precision at their score."""
    ranking = predictions.ranking
    lower = torch.nn.functional.pad(ranking.positive.cumsum(-1), (1, 0)).gather(-1, ranking.first)
    precision = (ranking.count[..., None] - lower) / (lower.shape[-1] - ranking.first)
    return ((precision * ranking.positive).sum(-1) / ranking.count).mean(-1)


def _log_loss(predictions: Predictions) -> Tensor:
    eps = torch.finfo(torch.float64).eps  # scikit-learn limits probabilities so
    probabilities = predictions.probabilities.gather(-1, predictions.targets[..., None])
    return -probabilities.clamp(eps, 1 - eps).log().mean((-2, -1))


def _brier_score(predictions: Predictions) -> Tensor:
    """The squared error of the probability of class 1; of all probabilities of several classes."""
    probabilities = predictions.probabilities
    n_classes = probabilities.shape[-1]
    targets = torch.nn.functional.one_hot(predictions.targets, n_classes)
    squares = (probabilities - targets).square().sum(-1).mean(-1)
    return squares / 2 if n_classes == 2 else squares


def score_r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of explained variance, the mean over several outputs, as in scikit-learn.

    1 or 0 for an output whose targets are constant; NaN for a single row.

    Parameters
    ----------
    outputs, targets
        Shape (…, row, output).
    """

    def sum_rows(values: Tensor) -> Tensor:
        return values.square().transpose(-1, -2).contiguous().sum(-1)

    spread = sum_rows(targets - targets.mean(-2, keepdim=True))
    residual = sum_rows(outputs - targets)
    constant = torch.where(residual == 0, 1.0, 0.0).to(spread.dtype)
    values = torch.where(spread > 0, 1 - residual / spread, constant).mean(-1)
    return values if targets.shape[-2] > 1 else torch.full_like(values, torch.nan)


def _r2(predictions: Predictions) -> Tensor:
    return score_r2(predictions.outputs, predictions.targets)


def _mae(predictions: Predictions) -> Tensor:
    return predictions.errors.abs().mean((-2, -1))


def _rmse(predictions: Predictions) -> Tensor:
    return predictions.errors.square().mean(-2).sqrt().mean(-1)


def _mse(predictions: Predictions) -> Tensor:
    return predictions.errors.square().mean((-2, -1))


def _max_error(predictions: Predictions) -> Tensor:
    return predictions.errors.abs().amax((-2, -1))


def _apply(function: Callable[[Any, Any], float], outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the function of targets and outputs of each member, arrays, float64 (…,)."""
    pairs = zip(
        outputs.flatten(0, -3), targets.reshape(-1, *targets.shape[outputs.ndim - 2 :]), strict=True
    )
    values = [function(target.numpy(), output.numpy()) for output, target in pairs]
    return torch.tensor(values, dtype=torch.float64).reshape(outputs.shape[:-2])


def _apply_function(function: Callable[..., Any], name: str, predictions: Predictions) -> Tensor:
    """Return a user's function of each member; NaN for one that diverged."""

    def compute(targets: np.ndarray, outputs: np.ndarray) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        with Streams(0).isolated(purpose="global/metric"):
            value = function(targets, outputs)
        try:
            return float(value)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise TypeError(f"{name} returns {kind}; expected a number") from None

    is_classification = not predictions.targets.is_floating_point()
    outputs, targets = (
        (predictions.outputs, predictions.targets) if is_classification else predictions.in_own_unit
    )
    return _apply(compute, outputs, targets)


def _apply_sklearn(function: str, options: dict[str, Any], predictions: Predictions) -> Tensor:
    """Return a function of ``sklearn.metrics`` of each member, NaN where it refuses."""
    from sklearn import metrics

    def compute(targets: np.ndarray, outputs: np.ndarray) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(getattr(metrics, function)(targets, outputs, **options))

    if predictions.targets.is_floating_point():
        return _apply(compute, *predictions.in_own_unit)
    classes = predictions.classes.to(torch.float64)[..., None]
    return _apply(lambda y, classes: compute(y, classes[:, 0]), classes, predictions.targets)


def _top_k_accuracy(k: int, predictions: Predictions) -> Tensor:
    """The share of rows whose class is among the ``k`` with the highest outputs."""
    outputs, targets = predictions.outputs, predictions.targets
    if k >= outputs.shape[-1]:
        return torch.ones(outputs.shape[:-2], dtype=torch.float64)
    order = outputs.argsort(dim=-1, stable=True)[..., -k:]  # scikit-learn's order of ties
    hits = (order == targets[..., None]).any(-1)
    return hits.to(torch.float64).mean(-1)


_CLASSIFICATION = (
    Metric("accuracy", True, _accuracy),
    Metric("balanced_accuracy", True, _balanced_accuracy),
    Metric("f1_macro", True, _f1_macro),
    Metric("roc_auc", True, _roc_auc),
    Metric("average_precision", True, _average_precision),
    Metric("log_loss", False, _log_loss),
)
_FURTHER_CLASSIFICATION = (
    *(
        Metric(f"{name}_{average}", True, partial(_apply_sklearn, f"{name}_score", options))
        for name in ("f1", "precision", "recall")
        for average in ("macro", "micro", "weighted")
        if (options := {"average": average, "zero_division": 0.0})
        and (name, average) != ("f1", "macro")
    ),
    Metric("matthews_corrcoef", True, partial(_apply_sklearn, "matthews_corrcoef", {})),
    Metric("cohen_kappa", True, partial(_apply_sklearn, "cohen_kappa_score", {})),
    Metric("brier_score", False, _brier_score),
    *(Metric(f"top_{k}_accuracy", True, partial(_top_k_accuracy, k)) for k in (2, 3, 5)),
)
_REGRESSION = (
    Metric("r2", True, _r2),
    Metric("mae", False, _mae),
    Metric("rmse", False, _rmse),
)
_FURTHER_REGRESSION = (
    Metric("mse", False, _mse),
    Metric("median_absolute_error", False, partial(_apply_sklearn, "median_absolute_error", {})),
    Metric("mape", False, partial(_apply_sklearn, "mean_absolute_percentage_error", {})),
    Metric("max_error", False, _max_error),
    Metric("explained_variance", True, partial(_apply_sklearn, "explained_variance_score", {})),
)
