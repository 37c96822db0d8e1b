"""Stacked forms of fully connected layers, activation functions and reshaping layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from ablations.training.fused.layers.base import (
    ALIGNMENT,
    NotStackableError,
    Shape,
    StackedLayer,
    Tensors,
    ToStacked,
    as_row,
    stacked_form,
)


class StackedWeights:
    """The weights of a linear layer or a convolution, plain or with PyTorch's weight norm."""

    def __init__(self, module: nn.Module) -> None:
        if getattr(module, "bias", None) is None:
            kind = "linear layer" if isinstance(module, nn.Linear) else "convolution"
            raise NotStackableError(f"there is no stacked form of a {kind} without bias")
        self.to_stacked: dict[str, ToStacked] = {"weight": _as_columns, "bias": as_row}
        self.unit_weights: tuple[str, ...] = ("weight",)
        self._weight_norm: tuple[str, ...] = ()
        if is_parametrized(module):
            length, direction = (f"parametrizations.weight.original{n}" for n in (0, 1))
            parametrizations: Any = module.parametrizations
            forms = [(type(p).__name__, getattr(p, "dim", 0)) for p in parametrizations["weight"]]
            names = {name for name, _ in module.named_parameters()}
            if names != {"bias", length, direction} or forms != [("_WeightNorm", 0)]:
                raise NotStackableError("there is no stacked form of this parametrization")
            self.to_stacked = {"bias": as_row, length: as_row, direction: _as_columns}
            self.unit_weights, self._weight_norm = (length,), (length, direction)

    def __call__(self, parameters: Tensors) -> Tensor:
        if not self._weight_norm:
            return parameters["weight"]
        length_M1O, direction_MIO = (parameters[name] for name in self._weight_norm)
        norm_M1O: Tensor = torch.linalg.vector_norm(direction_MIO, dim=1, keepdim=True)
        return direction_MIO * (length_M1O / norm_M1O)


def _as_columns(weight: Tensor) -> Tensor:
    """Weights (O, …) as (I, O)."""
    return weight.flatten(1).t()


@stacked_form(nn.Linear)
def _(module: nn.Linear, shape: Shape, feature_major: bool) -> StackedLayer:
    weights = StackedWeights(module)
    if len(shape) != 1:
        raise NotStackableError(f"there is no stacked form of a linear layer on rows {shape}")

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return affine_map(x, weights(p), p["bias"], feature_major), {}

    return StackedLayer(forward, weights.to_stacked, weights.unit_weights, feature_major)


class _FeatureMajorProduct(torch.autograd.Function):
    """``weight.T @ x``, with the gradient of the weight in the memory layout of the weight.

    The transposed gradient would have the inputs as columns.  A first layer has few inputs, and
    libraries multiply by such a narrow matrix at a fifth of their speed.
    """

    @staticmethod
    def forward(ctx: Any, x_MIB: Tensor, weight_MIO: Tensor) -> Tensor:
        ctx.save_for_backward(x_MIB, weight_MIO)
        return torch.bmm(weight_MIO.transpose(1, 2), x_MIB)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor]:
        (gradient_MOB,) = gradients
        x_MIB, weight_MIO = ctx.saved_tensors
        gradient_MIB = torch.bmm(weight_MIO, gradient_MOB) if ctx.needs_input_grad[0] else None
        return gradient_MIB, torch.bmm(x_MIB, gradient_MOB.transpose(1, 2))


def affine_map(
    x: Tensor, weight_MIO: Tensor, bias_M1O: Tensor, feature_major: bool = False
) -> Tensor:
    """``x @ weight + bias`` of every member, rounded alike in every slot.

    Libraries round a matrix product depending on how the matrices lie in memory.  Matrices that
    would begin at different offsets from 16 bytes in different slots are padded with zeros.  ``x``
    is (M, B, I), or (M, I, B) if feature-major; the result has the same layout.
    """
    weight, bias = weight_MIO, bias_M1O
    (_, inputs, outputs), rows = weight.shape, x.shape[2 if feature_major else 1]
    if outputs == 1:
        # A product with one column is a sum, which the compiler fuses with its neighbours.
        if feature_major:
            return (x * weight).sum(1, keepdim=True) + bias
        return (x * weight.transpose(1, 2)).sum(-1, keepdim=True) + bias
    if any(size % ALIGNMENT for size in (rows * inputs, inputs * outputs, rows * outputs)):
        more_inputs, more_outputs = -inputs % ALIGNMENT, -outputs % ALIGNMENT
        x = F.pad(x, (0, 0, 0, more_inputs) if feature_major else (0, more_inputs))
        weight = F.pad(weight, (0, more_outputs, 0, more_inputs))
        bias = F.pad(bias, (0, more_outputs))
    if feature_major:
        y_MOB: Tensor = _FeatureMajorProduct.apply(x, weight)  # type: ignore[no-untyped-call]
        return y_MOB.add_(bias.transpose(1, 2))[:, :outputs]
    return torch.baddbmm(bias, x, weight)[..., :outputs]


@stacked_form(
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.ReLU6, nn.LogSigmoid),
)
def _(module: nn.Module, shape: Shape, feature_major: bool) -> StackedLayer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y: Tensor = module(x)
        return y, {}

    return StackedLayer(forward, feature_major=None)


@stacked_form(nn.Flatten, nn.Unflatten)
def _(module: nn.Flatten | nn.Unflatten, shape: Shape, feature_major: bool) -> StackedLayer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return x, {}  # stacked features are flat and in order already

    start = module.start_dim if isinstance(module, nn.Flatten) else module.dim
    if start != 1 or (isinstance(module, nn.Flatten) and module.end_dim not in (-1, len(shape))):
        raise NotStackableError(f"there is no stacked form of {module}")
    return StackedLayer(forward, feature_major=None)
