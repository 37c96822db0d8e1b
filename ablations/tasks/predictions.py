"""Predictions of a split, from which metrics are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Outputs and targets of the same rows, and what several metrics need of them.

    Parameters
    ----------
    outputs
        Shape (…, row, output), float64 on the CPU; logits in classification.
    targets
        Shape (…, row), int64, in classification; (…, row, output), float64, in regression.
    scale, mean
        Shape (…, output): the target's own unit is ``scale * target + mean``.
    """

    outputs: Tensor
    targets: Tensor
    scale: Tensor | None = None
    mean: Tensor | None = None

    @cached_property
    def probabilities(self) -> Tensor:
        """Shape (…, row, class)."""
        return self.outputs.softmax(-1)

    @cached_property
    def classes(self) -> Tensor:
        """The predicted classes, shape (…, row)."""
        return self.outputs.argmax(-1)

    @cached_property
    def confusion(self) -> Tensor:
        """Number of rows by class and predicted class, float64 (…, class, predicted class)."""
        n_classes = self.outputs.shape[-1]
        cells = self.targets * n_classes + self.classes
        counts = self.outputs.new_zeros((*cells.shape[:-1], n_classes**2))
        counts.scatter_add_(-1, cells, torch.ones_like(cells, dtype=counts.dtype))
        return counts.view(*cells.shape[:-1], n_classes, n_classes)

    @cached_property
    def ranking(self) -> _Ranking:
        """The rows by their score for each class; for class 1 alone if there are two."""
        scores, classes = self.probabilities, torch.arange(self.outputs.shape[-1])
        if len(classes) == 2:
            scores, classes = scores[..., 1:], classes[1:]
        ordered, order = scores.transpose(-1, -2).contiguous().sort(-1)
        is_class = self.targets[..., None, :] == classes[:, None]
        positive = is_class.gather(-1, order).to(ordered.dtype)
        first, last = (torch.searchsorted(ordered, ordered, right=end) for end in (False, True))
        return _Ranking(positive, positive.sum(-1), first, last)

    @cached_property
    def in_own_unit(self) -> tuple[Tensor, Tensor]:
        """Outputs and targets of a regression in the target's own unit."""
        outputs, targets = self.outputs, self.targets
        if self.scale is not None:
            outputs, targets = (values * self.scale[..., None, :] for values in (outputs, targets))
        if self.mean is not None:
            outputs, targets = (values + self.mean[..., None, :] for values in (outputs, targets))
        return outputs, targets

    @cached_property
    def errors(self) -> Tensor:
        """Outputs less targets in the target's own unit, shape (…, row, output)."""
        errors = self.outputs - self.targets
        return errors if self.scale is None else errors * self.scale[..., None, :]


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Rows in the order of their score for a class, shape (…, class, row)."""

    positive: Tensor
    """1 for rows of the class, 0 for others."""
    count: Tensor
    """Number of rows of the class, shape (…, class)."""
    first: Tensor
    """Number of rows with a lower score."""
    last: Tensor
    """Number of rows with a score that is not higher."""
