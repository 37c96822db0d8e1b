"""Optimizers, a hyper-parameter that every study can vary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ablations.core.optimizers import without_compiler
from ablations.core.strengths import list_parameters
from ablations.techniques.base import (
    Decay,
    Optimizer,
    Tensors,
    TrainingContext,
    Update,
    technique,
)

Beta = Annotated[float, Field(ge=0, lt=1)]

_EPSILON = 1e-8  # PyTorch's default


class _Adaptive(Optimizer):
    """Adam's rule; subclasses differ in the weight decay."""

    beta1: float
    beta2: float
    moments = 2

    def describe_strength(self) -> str:
        betas = {"beta1": self.beta1, "beta2": self.beta2}
        changes = self.changed_parameters()
        others = {k: v for k, v in self.parameters().items() if k not in betas}
        return list_parameters({k: v for k, v in betas.items() if k in changes} | others)

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        decay = self.decay(decay)
        cls = torch.optim.AdamW if decay.decoupled else torch.optim.Adam
        optimizer = without_compiler(cls)
        return optimizer(
            parameters, lr=lr, betas=(self.beta1, self.beta2), weight_decay=decay.amount
        )

    def factors(self, step: int) -> tuple[float, ...]:
        return 1 - self.beta1**step, math.sqrt(1 - self.beta2**step)

    def update(self, gradient: Tensor, moments: Tensors, factors: Tensors) -> Update:
        first = torch.lerp(moments[0], gradient, 1 - self.beta1)
        second = torch.addcmul(self.beta2 * moments[1], gradient, gradient, value=1 - self.beta2)
        rate, size = factors
        return first / ((second.sqrt() / size + _EPSILON) * rate), (first, second)


@technique
class Adam(_Adaptive):
    """Steps scaled by running moments of the gradient (Kingma & Ba, 2015)."""

    name = "adam"
    beta1: Beta = 0.9
    beta2: Beta = 0.999


@technique
class AdamW(_Adaptive):
    """Adam with decoupled weight decay of its own, 0.01 as in PyTorch (Loshchilov & Hutter,
    2019).
    """

    name = "adamw"
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: Annotated[float, Field(ge=0)] = 0.01

    def decay(self, requested: Decay) -> Decay:
        return Decay(self.weight_decay, decoupled=True)

    def skip(self, context: TrainingContext) -> str | None:
        if context.regularizer.penalties().decay == Decay():
            return None
        return f"adamw has its own weight decay; use '{context.regularizer.name}' with adam"


class _Coupled(Optimizer):
    """A rule with one moment, to which PyTorch offers only coupled weight decay."""

    moments = 1

    def skip(self, context: TrainingContext) -> str | None:
        if not context.regularizer.penalties().decay.decoupled:
            return None
        name = type(self).__name__
        return f"PyTorch's {name} has no decoupled weight decay; use adam, or the regularizer 'l2'"


@technique
class RMSprop(_Coupled):
    """Steps scaled by a running mean square of the gradient (Tieleman & Hinton, 2012)."""

    name = "rmsprop"
    alpha: Beta = 0.99

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        return without_compiler(torch.optim.RMSprop)(
            parameters, lr=lr, alpha=self.alpha, eps=_EPSILON, weight_decay=decay.amount
        )

    def update(self, gradient: Tensor, moments: Tensors, factors: Tensors) -> Update:
        square = torch.addcmul(self.alpha * moments[0], gradient, gradient, value=1 - self.alpha)
        return gradient / (square.sqrt() + _EPSILON), (square,)


@technique
class SGD(_Coupled):
    """Stochastic gradient descent with momentum (Polyak, 1964)."""

    name = "sgd"
    momentum: Beta = 0.9

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        cls = without_compiler(torch.optim.SGD)
        return cls(parameters, lr=lr, momentum=self.momentum, weight_decay=decay.amount)

    def update(self, gradient: Tensor, moments: Tensors, factors: Tensors) -> Update:
        velocity = self.momentum * moments[0] + gradient
        return velocity, (velocity,)
