"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from torch import nn

from ablations.models.base import (
    Activation,
    Model,
    NormPosition,
    Weighted,
    Width,
    feedforward,
    hidden_weights,
    model,
)
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, Regularizer


@model
class MLP(Model):
    """Fully connected layers, as in the notebook the norm after the activation (Rosenblatt,
    1962).
    """

    name = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = (64, 32)
    activation: Activation = "relu"
    norm_position: NormPosition = "after"

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return feedforward(
            task, self.hidden, self.activation, self.norm_position, norm, regularizer
        )

    def widths(self, task: Task) -> tuple[int, ...]:
        return self.hidden

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        return hidden_weights(network, self.activation)
