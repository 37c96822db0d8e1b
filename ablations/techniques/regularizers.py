"""Regularizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ablations.streams import Draws
from ablations.techniques.base import Decay, Loss, RandomLayer, Regularizer, technique

if TYPE_CHECKING:
    from ablations.grid import Configuration

Rate = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]


def l1_norm(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of all absolute values, a scalar."""
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


@technique
class NoRegularizer(Regularizer):
    """No regularization: the control."""

    name = "none"


@technique
class L1(Regularizer):
    """Add weight × Σ|p| over all parameters to the objective (Tibshirani, 1996)."""

    name = "l1"
    weight: Amount = 0.01

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        return loss(outputs, targets) + self.weight * l1_norm(parameters)


@technique
class L2(Regularizer):
    """Add weight × p to the gradient, the optimizer's coupled weight decay (Hoerl & Kennard,
    1970).
    """

    name = "l2"
    weight: Amount = 0.01

    def decay(self) -> Decay:
        return Decay(self.weight)


@technique
class Elastic(Regularizer):
    """L1 in the objective and L2 in the gradient together (elastic net, Zou & Hastie, 2005)."""

    name = "elastic"
    l1: Amount = 0.01
    l2: Amount = 0.01

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        return loss(outputs, targets) + self.l1 * l1_norm(parameters)

    def decay(self) -> Decay:
        return Decay(self.l2)


class _DropoutLayer(RandomLayer):
    def __init__(self, purpose: str, rate: float) -> None:
        super().__init__(purpose)
        self.rate = rate

    def draw(self, inputs: Tensor, draws: Draws) -> Tensor:
        mask = draws.streams.mask(
            inputs.shape, self.rate, self.purpose, draws.step, device=inputs.device
        )
        return inputs * mask.to(inputs.dtype)


@technique
class Dropout(Regularizer):
    """Set random activations of the hidden layers to zero while training (Srivastava et al., 2014).

    ``p`` holds a rate for each hidden layer; the last one serves all deeper layers.
    """

    name = "dropout"
    p: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)] = (0.5, 0.2)

    def layer(self, place: int) -> RandomLayer | None:
        if place == 0:
            return None
        return _DropoutLayer(f"dropout/{place}", self.p[min(place, len(self.p)) - 1])


@technique
class DecoupledWeightDecay(Regularizer):
    """Shrink the weights by lr × weight at every step, outside the gradient (AdamW, Loshchilov
    & Hutter, 2019).
    """

    name = "decoupled_weight_decay"
    weight: Amount = 0.01

    def decay(self) -> Decay:
        return Decay(self.weight, decoupled=True)


class _NoiseLayer(RandomLayer):
    def __init__(self, purpose: str, std: float) -> None:
        super().__init__(purpose)
        self.std = std

    def draw(self, inputs: Tensor, draws: Draws) -> Tensor:
        noise = draws.streams.normal(inputs.shape, self.purpose, draws.step)
        return inputs + self.std * noise.to(inputs.dtype).to(inputs.device)


@technique
class InputNoise(Regularizer):
    """Add Gaussian noise to the inputs while training (Bishop, 1995)."""

    name = "input_noise"
    std: Positive = 0.1

    def layer(self, place: int) -> RandomLayer | None:
        return _NoiseLayer("noise/input", self.std) if place == 0 else None


@technique
class MaxNorm(Regularizer):
    """Scale back each unit's incoming weights to at most c in length after a step (Srivastava
    et al., 2014).
    """

    name = "max_norm"
    c: Positive = 1.0

    def shrink(self, weight: Tensor) -> Tensor | None:
        length: Tensor = torch.linalg.vector_norm(weight, dim=-1, keepdim=True)
        return self.c / length.clamp(min=self.c)


@technique
class LabelSmoothing(Regularizer):
    """Mix the one-hot targets with the uniform distribution (Szegedy et al., 2016)."""

    name = "label_smoothing"
    epsilon: Rate = 0.1

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        uniform = -F.log_softmax(outputs, dim=-1).mean()
        return (1 - self.epsilon) * loss(outputs, targets) + self.epsilon * uniform

    def skip(self, configuration: Configuration) -> str | None:
        if configuration.task.classification:
            return None
        return f"label smoothing needs classes; the task '{configuration.task.name}' is regression"
