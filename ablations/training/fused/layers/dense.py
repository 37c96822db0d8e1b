"""Stacked forms of fully connected layers, of what acts on each number by itself, and of what only
says how features lie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from ablations.training.fused.layers.base import (
    ALIGNED,
    Layer,
    NotStackableError,
    Shape,
    Tensors,
    lying,
    stacks,
)

__all__ = ["Weights", "product"]


class Weights:
    """The weights of a linear layer or a convolution, plain or by length and direction."""

    def __init__(self, module: nn.Module) -> None:
        if getattr(module, "bias", None) is None:
            kind = "linear layer" if isinstance(module, nn.Linear) else "convolution"
            raise NotStackableError(f"there is no stacked form of a {kind} without bias")
        names = {name for name, _ in module.named_parameters()}
        self.names = {"weight": _columns, "bias": lying}
        self.rows: tuple[str, ...] = ("weight",)
        self._parts: tuple[str, ...] = ()
        if is_parametrized(module):
            length, direction = (f"parametrizations.weight.original{n}" for n in (0, 1))
            found: Any = module.parametrizations
            kinds = [(type(part).__name__, getattr(part, "dim", 0)) for part in found["weight"]]
            if names != {"bias", length, direction} or kinds != [("_WeightNorm", 0)]:
                raise NotStackableError("there is no stacked form of this parametrization")
            self.names = {"bias": lying, length: lying, direction: _columns}
            self.rows, self._parts = (length,), (length, direction)

    def __call__(self, p: Tensors) -> Tensor:
        """The weights (M, I, O)."""
        if not self._parts:
            return p["weight"]
        length_M1O, direction_MIO = (p[name] for name in self._parts)
        norm_M1O: Tensor = torch.linalg.vector_norm(direction_MIO, dim=1, keepdim=True)
        return direction_MIO * (length_M1O / norm_M1O)


def _columns(weight: Tensor) -> Tensor:
    """Weights (O, …) as (I, O)."""
    return weight.flatten(1).t()


@stacks(nn.Linear)
def _(module: nn.Linear, shape: Shape, turned: bool) -> Layer:
    weights = Weights(module)
    if len(shape) != 1:
        raise NotStackableError(f"there is no stacked form of a linear layer on rows {shape}")

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return product(x, weights(p), p["bias"], turned), {}

    return Layer(forward, weights.names, weights.rows, turned)


class _Turned(torch.autograd.Function):
    """``weight.T @ x``; its gradient of the weight comes as the weight lies.

    The transposed one has the inputs as columns, which are few in a first layer: libraries
    multiply by a narrow matrix at a fifth of their speed.
    """

    @staticmethod
    def forward(ctx: Any, x_MIB: Tensor, weight_MIO: Tensor) -> Tensor:
        ctx.save_for_backward(x_MIB, weight_MIO)
        return torch.bmm(weight_MIO.transpose(1, 2), x_MIB)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor]:
        (gradient_MOB,) = gradients
        x_MIB, weight_MIO = ctx.saved_tensors
        of_x = torch.bmm(weight_MIO, gradient_MOB) if ctx.needs_input_grad[0] else None
        return of_x, torch.bmm(x_MIB, gradient_MOB.transpose(1, 2))


def product(x: Tensor, weight_MIO: Tensor, bias_M1O: Tensor, turned: bool = False) -> Tensor:
    """``x @ weight + bias`` of every member, rounded alike wherever a member lies.

    Libraries round the product of matrices by how these lie in memory, so where members would
    begin at different offsets from 16 bytes their matrices are filled up with zeros.

    Parameters
    ----------
    x
        Shape (M, B, I), or turned (M, I, B); the result likewise.
    """
    weight, bias = weight_MIO, bias_M1O
    (_, inputs, outputs), rows = weight.shape, x.shape[2 if turned else 1]
    if outputs == 1:
        # A product with one column is a sum, which fuses with what surrounds it.
        if turned:
            return (x * weight).sum(1, keepdim=True) + bias
        return (x * weight.transpose(1, 2)).sum(-1, keepdim=True) + bias
    if any(size % ALIGNED for size in (rows * inputs, inputs * outputs, rows * outputs)):
        more_inputs, more_outputs = -inputs % ALIGNED, -outputs % ALIGNED
        x = F.pad(x, (0, 0, 0, more_inputs) if turned else (0, more_inputs))
        weight = F.pad(weight, (0, more_outputs, 0, more_inputs))
        bias = F.pad(bias, (0, more_outputs))
    if turned:
        y_MOB: Tensor = _Turned.apply(x, weight)  # type: ignore[no-untyped-call]
        return y_MOB.add_(bias.transpose(1, 2))[:, :outputs]
    return torch.baddbmm(bias, x, weight)[..., :outputs]


@stacks(
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.ReLU6, nn.LogSigmoid),
)
def _(module: nn.Module, shape: Shape, turned: bool) -> Layer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y: Tensor = module(x)
        return y, {}

    return Layer(forward, turned=None)


@stacks(nn.Flatten, nn.Unflatten)
def _(module: nn.Flatten | nn.Unflatten, shape: Shape, turned: bool) -> Layer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return x, {}  # features are in order anyway

    first = module.start_dim if isinstance(module, nn.Flatten) else module.dim
    if first != 1 or (isinstance(module, nn.Flatten) and module.end_dim not in (-1, len(shape))):
        raise NotStackableError(f"there is no stacked form of {module}")
    return Layer(forward, turned=None)
