"""The splits of one seed, and how they are drawn and scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ablations.core.errors import RequestError
from ablations.core.random import Streams

__all__ = ["Data", "check_split_sizes", "cut_test_rows", "describe_thin_shape", "split"]

_COLOURS = (3, 4)
"""Counts of channels of a picture in colour."""


@dataclass(frozen=True)
class Data:
    """The splits of one seed.

    Inputs are float32 (row, feature); targets are float32 (row, output) in regression and int64
    (row,) in classification.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor | None = None
    """Rows that judge a run whose epoch was chosen on validation rows; None without such rows."""
    y_test: Tensor | None = None
    target_scale: Tensor | None = None
    """Shape (output,): the targets' own unit per unit of ``y_train``; None if they are the same."""
    target_mean: Tensor | None = None
    """Shape (output,): the number that is 0 in ``y_train``, in the targets' own unit; None if it
    is 0."""


def split(
    inputs: Tensor,
    targets: Tensor,
    rows: int,
    streams: Streams,
    *,
    together: bool = False,
    test_rows: int = 0,
) -> Data:
    """Draw ``rows`` training rows, and scale all rows by the statistics of the training rows.

    Parameters
    ----------
    inputs
        Shape (row, feature).  Each feature gets mean 0 and standard deviation 1 on the training
        rows; a feature that is constant there gets mean 0.
    targets
        Shape (row, output), floating point, scaled like the inputs; or (row,), classes.
    together
        Scale all features by one mean and deviation, as for the points of a sequence.
    test_rows
        How many rows are test rows; those that are neither training nor test rows validate.
    """
    order = streams.permutation(len(inputs), "split")
    train, val, test = order.tensor_split([rows, len(order) - test_rows])
    x = _scaled(inputs, train, together)
    is_amount = targets.is_floating_point()
    y = _scaled(targets, train) if is_amount else targets
    data = Data(x[train], y[train], x[val], y[val])
    if is_amount:
        mean, scale = _mean_and_scale(targets, train)
        data = replace(data, target_scale=scale, target_mean=mean)
    return replace(data, x_test=x[test], y_test=y[test]) if test_rows else data


def check_split_sizes(n_all: int, n_validation: int, n_test: int) -> None:
    """Raise a ``RequestError`` if a split would have fewer than two rows; none tests is fine."""
    n_train = n_all - n_validation - n_test
    if min(n_train, n_validation) < 2 or n_test == 1:
        counts = f"{n_train:,} to train on, {n_validation:,} to validate and {n_test:,} to test"
        message = f"of {n_all:,} rows these shares leave {counts}; each split needs two rows"
        raise RequestError(message, "test" if n_test else "validation")


def cut_test_rows(data: Data, share: float, streams: Streams) -> Data:
    """Return the data with a random part of the validation rows, ``share`` of all, as test rows."""
    n_all, n_validation = len(data.x_train) + len(data.x_val), len(data.x_val)
    n_test = round(share * n_all)
    check_split_sizes(n_all, n_validation - n_test, n_test)
    order = streams.permutation(n_validation, "split/test")
    test, val = order[:n_test], order[n_test:]
    return replace(
        data,
        x_val=data.x_val[val],
        y_val=data.y_val[val],
        x_test=data.x_val[test],
        y_test=data.y_val[test],
    )


def describe_thin_shape(shape: tuple[int, ...]) -> str:
    """Return a warning if a sequence has one step, or channels seem to be last; "" otherwise."""
    if len(shape) == 2 and shape[1] == 1:
        message = f"Channels come first: a row of shape {list(shape)} is a sequence of one step"
        advice = f"; {shape[0]:,} steps of one channel are [1, {shape[0]}]"
        return f"{message}{advice if shape[0] > 1 else ''}."
    if len(shape) > 2 and shape[-1] in (1, *_COLOURS) and shape[0] > shape[-1]:
        pixels = " × ".join(map(str, shape[1:]))
        meaning = f"{shape[0]:,} channels of {pixels} pixels"
        return f"Channels come first: a row of shape {list(shape)} is {meaning}."
    return ""


def _scaled(values: Tensor, train: Tensor, together: bool = False) -> Tensor:
    mean, scale = _mean_and_scale(values, train, together)
    return ((values - mean) / scale).to(torch.float32)


def _mean_and_scale(values: Tensor, train: Tensor, together: bool = False) -> tuple[Tensor, Tensor]:
    dims = (0, 1) if together else 0
    mean, std = values[train].mean(dims), values[train].std(dims, correction=0)
    # A constant feature would be divided by zero.
    return mean, torch.where(std > 0, std, torch.ones_like(std))
