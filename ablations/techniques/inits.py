"""Initial weights; biases have PyTorch's default in every init."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import init

from ablations.techniques.base import Init, calculate_gain, slope_of, technique

Positive = Annotated[float, Field(gt=0, le=1e6)]


@technique
class DefaultInit(Init):
    """PyTorch's own, the control: uniform within ±1/√fan_in, of variance 1/(3 fan_in)."""

    name = "default"
    keeps_user_weights = True

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)


@technique
class XavierUniform(Init):
    """Uniform of variance 2/(fan_in + fan_out) (Glorot & Bengio, 2010)."""

    name = "xavier_uniform"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        init.xavier_uniform_(weight, generator=generator)


@technique
class XavierNormal(Init):
    """Normal of variance 2/(fan_in + fan_out) (Glorot & Bengio, 2010)."""

    name = "xavier_normal"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        init.xavier_normal_(weight, generator=generator)


@technique
class KaimingUniform(Init):
    """Uniform of variance 2/fan_in before a ReLU, 1/fan_in in the output layer (He et al.,
    2015).
    """

    name = "kaiming_uniform"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        slope = slope_of(nonlinearity)
        init.kaiming_uniform_(weight, slope, nonlinearity=nonlinearity, generator=generator)


@technique
class KaimingNormal(Init):
    """Normal of variance 2/fan_in before a ReLU, 1/fan_in in the output layer (He et al., 2015)."""

    name = "kaiming_normal"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        slope = slope_of(nonlinearity)
        init.kaiming_normal_(weight, slope, nonlinearity=nonlinearity, generator=generator)


@technique
class Orthogonal(Init):
    """A random orthogonal matrix, times √2 before a ReLU (Saxe, McClelland & Ganguli, 2014)."""

    name = "orthogonal"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        init.orthogonal_(weight, gain=calculate_gain(nonlinearity), generator=generator)


@technique
class TruncNormal(Init):
    """Normal of a fixed deviation, cut at two deviations (Devlin et al., 2019)."""

    name = "trunc_normal"
    std: Positive = 0.02

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        # PyTorch's bounds are absolute: its defaults would not cut at this deviation.
        init.trunc_normal_(weight, 0.0, self.std, -2 * self.std, 2 * self.std, generator=generator)
