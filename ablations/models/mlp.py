"""Fully connected networks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from ablations.models.base import Activation, BlockModel, NormPosition, Width, feedforward, model
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, Regularizer


class _FullyConnected(BlockModel):
    """Fully connected layers; subclasses differ in parameters, widths and defaults."""

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        widths = self.widths(task)
        return feedforward(task, widths, self.activation, self.norm_position, norm, regularizer)


@model
class DeepMLP(_FullyConnected):
    """Many fully connected layers of one width without shortcuts, the norm before the activation
    (He et al., 2015).
    """

    name = "deep_mlp"
    depth: Annotated[int, Field(gt=0, le=1_000)] = 12
    width: Width = 32
    activation: Activation = "relu"
    norm_position: NormPosition = "before"

    def widths(self, task: Task) -> tuple[int, ...]:
        return (self.width,) * self.depth


@model
class MLP(_FullyConnected):
    """Fully connected layers, as in the notebook the norm after the activation (Rosenblatt,
    1962).
    """

    name = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = (64, 32)
    activation: Activation = "relu"
    norm_position: NormPosition = "after"

    def widths(self, task: Task) -> tuple[int, ...]:
        return self.hidden
