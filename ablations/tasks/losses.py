"""Losses of each row by their name, class weights, and the constant that minimises a loss.

Outputs are (…, row, output); targets are (…, row, output) in regression and (…, row), int64, in
classification; losses are (…, row).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, PlainValidator
from torch import Tensor
from torch.nn import functional as F

from ablations.core.errors import RequestError, nearest
from ablations.core.plugins import PREFIX
from ablations.core.registry import import_user_function

__all__ = [
    "BALANCED",
    "ClassWeight",
    "Loss",
    "check_loss",
    "class_weights",
    "find_loss",
    "minimise",
]

RowLosses = Callable[[Tensor, Tensor], Tensor]
BALANCED = "balanced"
_FLAT = 1e-7
"""The greatest gradient at a minimum, per unit of the outputs."""
FOCUS = 2.0
"""The exponent of the focal loss, the best one in its paper."""


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(-1)


def _absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean(-1)


def _huber(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.huber_loss(outputs, targets, reduction="none").mean(-1)


def _smooth_l1(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.smooth_l1_loss(outputs, targets, reduction="none").mean(-1)


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    flat = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


def _focal(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy times (1 - p)², of the probability of the class (Lin et al., 2017)."""
    entropy = _cross_entropy(outputs, targets)
    return (1 - (-entropy).exp()) ** FOCUS * entropy


def _multi_margin(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean, over all classes, of how far each other class comes nearer than a margin of 1."""
    margins = (1 - outputs.gather(-1, targets[..., None]) + outputs).relu()
    others = torch.arange(outputs.shape[-1], device=outputs.device) != targets[..., None]
    return (margins * others).mean(-1)


_REGRESSION: dict[str, RowLosses] = {
    "mse": _squared,
    "l1": _absolute,
    "huber": _huber,
    "smooth_l1": _smooth_l1,
}
_CLASSIFICATION: dict[str, RowLosses] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "multi_margin": _multi_margin,
}


def default_loss(classification: bool) -> str:
    return "cross_entropy" if classification else "mse"


def find_loss(name: str, classification: bool) -> RowLosses:
    """Return the loss of a name, or of ``python:module:function``.

    Raises
    ------
    RequestError
        With the nearest valid name.
    """
    if name.startswith(PREFIX):
        return _ByRow(import_user_function(name.removeprefix(PREFIX), "loss"))
    kind = "classification" if classification else "regression"
    losses, others = _REGRESSION, _CLASSIFICATION
    if classification:
        losses, others = others, losses
    if name in losses:
        return losses[name]
    message = f"unknown loss '{name}' for {kind}"
    if name in others:
        message = f"the loss '{name}' is not for {kind}"
    raise RequestError(f"{message}; {nearest(name, losses)}", "loss")


class _ByRow:
    """A user's function of the rows of one run, for the rows of all members."""

    def __init__(self, function: RowLosses) -> None:
        self.function = function

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        rows = outputs.shape[:-1]
        flat = self.function(outputs.flatten(0, -2), targets.flatten(0, len(rows) - 1))
        return flat.view(rows)


def check_loss(name: str, loss: RowLosses, outputs: int, classification: bool) -> None:
    """Try a user's loss on five rows.

    Raises
    ------
    RequestError
        If it raises, returns no loss of each row, or the loss of a row depends on other rows.
    """
    if not isinstance(loss, _ByRow):
        return
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, outputs, generator=generator).requires_grad_()
    targets = torch.randn(5, outputs, generator=generator)
    if classification:
        targets = torch.arange(5) % outputs
    try:
        losses = loss.function(x, targets)
        first, last = (loss.function(x[rows], targets[rows]) for rows in (slice(2), slice(2, 5)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RequestError(f"'{name}' fails on outputs (5, {outputs}): {reason}", "loss") from None
    problem = ""
    if not isinstance(losses, Tensor):
        problem = f"returns {type(losses).__name__}"
    elif losses.shape != (5,):
        problem = f"returns shape {tuple(losses.shape)} for outputs (5, {outputs})"
    elif not losses.requires_grad:
        problem = "has no gradient"
    elif not torch.allclose(losses, torch.cat([first, last]), equal_nan=True):
        problem = "gives a row another loss beside other rows"
    if problem:
        message = f"'{name}' {problem}; expected the loss of each row, a tensor (row,)"
        raise RequestError(message, "loss")


def _check_name(name: str) -> str:
    if not name.startswith(PREFIX) and name not in ("", *_REGRESSION, *_CLASSIFICATION):
        raise RequestError(
            f"unknown loss '{name}'; {nearest(name, (*_REGRESSION, *_CLASSIFICATION))}"
        )
    return name


Loss = Annotated[str, AfterValidator(_check_name)]
"""The name of a loss; "" stands for the task's default."""


def _read_weights(value: Any) -> str | tuple[tuple[str, float], ...]:
    """Return "", "balanced", or label and weight in the order of labels, which are hashable."""
    if value in ("", BALANCED):
        return str(value)
    expected = f"expected '{BALANCED}' or a table of label and weight"
    if isinstance(value, str) or not isinstance(value, (Mapping, Sequence)):
        raise RequestError(f"{expected}, found {value!r}")
    try:
        pairs = dict(value)
    except (TypeError, ValueError):
        raise RequestError(f"{expected}, found {value!r}") from None
    for label, weight in pairs.items():
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < math.inf:
            message = f"expected a weight of 0 or more for class '{label}', found {weight!r}"
            raise RequestError(message)
    return tuple(sorted((str(label), float(weight)) for label, weight in pairs.items()))


ClassWeight = Annotated[str | tuple[tuple[str, float], ...], PlainValidator(_read_weights)]


def class_weights(
    class_weight: str | tuple[tuple[str, float], ...], labels: Sequence[str], counts: Tensor
) -> tuple[float, ...]:
    """Return the weight of each class; their mean over the rows is one.

    Parameters
    ----------
    class_weight
        ``"balanced"`` (n / (k · count), as in scikit-learn, for n rows of k classes; a class
        without rows counts as one row), or label and weight, 1 for a label that is not listed.
    labels
        The label of each class.
    counts
        Training rows of each class.

    Raises
    ------
    RequestError
        If a label is unknown, or no training row has a weight.
    """
    if isinstance(class_weight, str):
        weights = 1 / counts.clamp(min=1).to(torch.float64)
    else:
        weight_of = dict(class_weight)
        if unknown := [label for label in weight_of if label not in labels]:
            message = f"there is no class '{unknown[0]}'; {nearest(unknown[0], labels)}"
            raise RequestError(message, "class_weight")
        weights = torch.tensor([weight_of.get(v, 1.0) for v in labels], dtype=torch.float64)
    total = float((weights * counts).sum())
    if not total:
        raise RequestError("no training row has a weight above 0", "class_weight")
    return tuple((weights * (int(counts.sum()) / total)).tolist())


def minimise(mean_loss: Callable[[Tensor], Tensor], starts: Sequence[Tensor]) -> Tensor:
    """Return the outputs (output,), float64, that minimise a loss, without gradients if need be.

    L-BFGS from the best of the starts, then Powell's method where a loss has kinks.
    """
    from scipy.optimize import minimize

    def value(outputs: np.ndarray) -> float:
        with torch.no_grad():
            return float(mean_loss(torch.from_numpy(outputs)))

    def value_and_gradient(outputs: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(outputs.copy()).requires_grad_()
        with torch.enable_grad():
            loss = mean_loss(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), gradient.numpy()

    best = min((start.numpy().astype(np.float64) for start in starts), key=value)
    options = {"method": "L-BFGS-B", "options": {"ftol": 1e-15, "gtol": 1e-10}}
    smooth = minimize(value_and_gradient, best, jac=True, **options).x
    if np.abs(value_and_gradient(smooth)[1]).max() < _FLAT:
        return torch.from_numpy(smooth)
    best = min(best, smooth, key=value)
    polished = minimize(value, best, method="Powell", options={"xtol": 1e-9, "ftol": 1e-12}).x
    return torch.from_numpy(min(best, np.atleast_1d(polished), key=value))


def best_constant(
    losses: RowLosses,
    targets: Tensor,
    n_outputs: int,
    name: str = "",
    weights: Sequence[float] = (),
) -> Tensor:
    """Return the outputs (output,), float64, with the least mean loss if all rows have them.

    Parameters
    ----------
    losses
        The loss of each row, weights included.
    targets
        Those of the training rows.
    name
        The name of the loss, if it is one of this package: the mean, the medians and the logarithms
        of the (weighted) class frequencies are known minima.
    weights
        The weight of each class, if classes have weights.
    """
    if targets.is_floating_point():
        amounts = targets.to("cpu", torch.float64)
        mean = amounts.mean(0)
        if name == "mse":
            return mean
        median = torch.from_numpy(np.median(amounts.numpy(), 0))
        if name == "l1":
            return median
        return minimise(lambda x: losses(x.expand_as(amounts), amounts).mean(), [mean, median])
    counts = torch.bincount(targets.cpu(), minlength=n_outputs).to(torch.float64)
    if name in _CLASSIFICATION:
        shares = counts * torch.tensor(weights or [1.0], dtype=torch.float64)
        logits = _best_logits(name, tuple((shares / shares.sum()).tolist()))
    else:
        logits = _minimise_by_class(losses, counts / counts.sum())
    if weights:  # weights may make classes equal up to rounding: prefer the more frequent one
        logits = logits.round(decimals=9) + 1e-9 * counts / counts.sum()
    return logits


@lru_cache(maxsize=1024)
def _best_logits(name: str, shares: tuple[float, ...]) -> Tensor:
    """Return the best constant of a loss of this package, for the share of each class."""
    array = torch.tensor(shares, dtype=torch.float64)
    is_exact = name == "cross_entropy"
    return _log(array) if is_exact else _minimise_by_class(_CLASSIFICATION[name], array)


def class_logits(targets: Tensor, n_classes: int) -> Tensor:
    """Return the logarithms of the class frequencies, float64 (class,)."""
    counts = torch.bincount(targets.cpu(), minlength=n_classes).to(torch.float64)
    return _log(counts / counts.sum())


def _log(shares: Tensor) -> Tensor:
    # A class without rows would have an infinite loss where it occurs later.
    return shares.clamp(min=torch.finfo(torch.float64).eps).log()


def _minimise_by_class(losses: RowLosses, shares: Tensor) -> Tensor:
    n_classes = len(shares)
    classes = torch.arange(n_classes)

    def mean_loss(outputs: Tensor) -> Tensor:
        return (losses(outputs.expand(n_classes, n_classes), classes) * shares).sum()

    zeros, corners = torch.zeros_like(shares), torch.eye(n_classes, dtype=torch.float64)
    return minimise(mean_loss, [_log(shares), zeros, *corners])
