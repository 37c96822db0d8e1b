"""Regularizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ablations.core.random import LEVELS, AnyStreams
from ablations.techniques.base import (
    Decay,
    Penalties,
    RandomLayer,
    Regularizer,
    TrainingContext,
    technique,
)

Rate = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]


@technique
class NoRegularizer(Regularizer):
    """No regularization: the control."""

    name = "none"


@technique
class L1(Regularizer):
    """Add weight × Σ|p| over all parameters to the objective (Tibshirani, 1996)."""

    name = "l1"
    weight: Amount = 0.01

    def penalties(self) -> Penalties:
        return Penalties(l1=self.weight)


@technique
class L2(Regularizer):
    """Add weight × p to the gradient, the optimizer's coupled weight decay (Hoerl & Kennard,
    1970).
    """

    name = "l2"
    weight: Amount = 0.01

    def penalties(self) -> Penalties:
        return Penalties(decay=Decay(self.weight))


@technique
class Elastic(Regularizer):
    """L1 in the objective and L2 in the gradient together (elastic net, Zou & Hastie, 2005)."""

    name = "elastic"
    l1: Amount = 0.01
    l2: Amount = 0.01

    def penalties(self) -> Penalties:
        return Penalties(l1=self.l1, decay=Decay(self.l2))


class DropoutLayer(RandomLayer):
    """Dropout with 16 random bits for each entry.

    The rate is rounded to a multiple of 1/65536, and the scale is that of the rounded rate: the
    expectation of the mask is exactly 1.
    """

    def __init__(self, purpose: str, rate: float) -> None:
        super().__init__(purpose)
        self.rate = rate
        # Never all levels: the scale would be infinite.
        self.dropped = min(round(rate * LEVELS), LEVELS - 1)

    def plain(self) -> nn.Module:
        return nn.Dropout(self.rate)

    def numbers(self) -> tuple[Tensor, ...]:
        threshold = torch.tensor(self.dropped - LEVELS // 2, dtype=torch.int16)
        return threshold, torch.tensor(LEVELS / (LEVELS - self.dropped), dtype=torch.float64)

    @staticmethod
    def sample(streams: AnyStreams, shape: Sequence[int], purpose: str, step: int) -> Tensor:
        return streams.lanes(shape, purpose, step)

    @staticmethod
    def transform(sample: Tensor, *numbers: Tensor) -> Tensor:
        return (sample >= numbers[0]) * numbers[1]

    @staticmethod
    def perturb(inputs: Tensor, transformed: Tensor, *numbers: Tensor) -> Tensor:  # noqa: ARG004
        return inputs * transformed


@technique
class Dropout(Regularizer):
    """Set random activations of the hidden layers to zero while training (Srivastava et al., 2014).

    ``p`` holds a rate for each hidden layer; deeper layers have the last rate.
    """

    name = "dropout"
    p: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)] = (0.5, 0.2)

    def layer(self, position: int) -> RandomLayer | None:
        if position == 0:
            return None
        return DropoutLayer(f"dropout/{position}", self.p[min(position, len(self.p)) - 1])


@technique
class DecoupledWeightDecay(Regularizer):
    """Shrink the weights by lr × weight at every step, outside the gradient (AdamW, Loshchilov
    & Hutter, 2019).
    """

    name = "decoupled_weight_decay"
    weight: Amount = 0.01

    def penalties(self) -> Penalties:
        return Penalties(decay=Decay(self.weight, decoupled=True))


class PlainNoise(nn.Module):
    """Noise in plain PyTorch, to time its cost."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.std * torch.randn_like(inputs) if self.training else inputs


class NoiseLayer(RandomLayer):
    """Add std times a standard normal number to each entry."""

    def __init__(self, purpose: str, std: float) -> None:
        super().__init__(purpose)
        self.std = std

    def plain(self) -> nn.Module:
        return PlainNoise(self.std)

    def numbers(self) -> tuple[Tensor, ...]:
        return (torch.tensor(self.std, dtype=torch.float64),)

    @staticmethod
    def sample(streams: AnyStreams, shape: Sequence[int], purpose: str, step: int) -> Tensor:
        return streams.normal(shape, purpose, step)

    @staticmethod
    def perturb(inputs: Tensor, transformed: Tensor, *numbers: Tensor) -> Tensor:
        return inputs + numbers[0] * transformed.to(inputs.dtype)


@technique
class InputNoise(Regularizer):
    """Add Gaussian noise to the inputs while training (Bishop, 1995)."""

    name = "input_noise"
    std: Positive = 0.1

    def layer(self, position: int) -> RandomLayer | None:
        return NoiseLayer("noise/input", self.std) if position == 0 else None


@technique
class MaxNorm(Regularizer):
    """Scale back each unit's incoming weights to at most c in length after a step (Srivastava
    et al., 2014).
    """

    name = "max_norm"
    c: Positive = 1.0

    def penalties(self) -> Penalties:
        return Penalties(max_norm=self.c)


@technique
class LabelSmoothing(Regularizer):
    """Mix the one-hot targets with the uniform distribution (Szegedy et al., 2016)."""

    name = "label_smoothing"
    epsilon: Rate = 0.1

    def penalties(self) -> Penalties:
        return Penalties(smoothing=self.epsilon)

    def skip(self, context: TrainingContext) -> str | None:
        if not context.task.classification:
            return f"label smoothing needs classes; the task '{context.task.name}' is regression"
        if (loss := getattr(context.task, "loss", "")) in ("focal", "multi_margin"):
            return f"label smoothing is defined for cross-entropy, not for the loss '{loss}'"
        return None
