"""Layers of many runs at once: each over a leading member dimension.

``stacked`` gives the stacked form of a layer by its type; register one for another type, and
networks that hold such layers become one program.

Features lie innermost, (M, B, F), but in a network with a group norm: turned, (M, F, B), what it
does to the few features of a group is done to whole vectors of rows.

Letters in names: M member, B batch, I and O a layer's inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["ALIGNED", "Layer", "NotStackableError", "Tensors", "product", "stacked"]

Tensors = dict[str, Tensor]


class NotStackableError(Exception):
    """Why a network has no stacked form."""


Forward = Callable[[Tensor, Tensors, Tensors, bool], tuple[Tensor, Tensors]]
"""``(x_MBI, parameters, state, training) -> (y_MBO, changed state)``, names as in the layer."""


@dataclass(frozen=True)
class Layer:
    """One layer's stacked form; names are those of the layer's own parameters."""

    forward: Forward
    lay: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    """For each parameter, from one member's to its stored shape, features in order."""
    rows: str | None = None
    """The parameter that holds the units' incoming weights, one unit a column."""
    turned: bool | None = False
    """Whether inputs and outputs are, (M, F, B); None where outputs are as inputs."""


@singledispatch
def stacked(module: nn.Module, turned: bool = False) -> Layer:
    """The stacked form of a layer; ``stacked.register`` adds one for another type of layer.

    Parameters
    ----------
    turned
        Whether a layer that can choose should work on turned inputs.

    Raises
    ------
    NotStackableError
        If its type has none.
    """
    raise NotStackableError(f"there is no stacked form of {type(module).__name__}")


def _row(tensor: Tensor) -> Tensor:
    return tensor.reshape(1, -1)


@stacked.register(nn.Linear)
def _(module: nn.Linear, turned: bool = False) -> Layer:
    def plain(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return product(x, p["weight"], p["bias"], turned), {}

    def weight_normed(
        x: Tensor, p: Tensors, state: Tensors, training: bool
    ) -> tuple[Tensor, Tensors]:
        length_M1O, direction_MIO = (p[f"parametrizations.weight.original{n}"] for n in (0, 1))
        norm_M1O = torch.linalg.vector_norm(direction_MIO, dim=1, keepdim=True)
        weight_MIO = direction_MIO * (length_M1O / norm_M1O)
        return product(x, weight_MIO, p["bias"], turned), {}

    if module.bias is None:
        raise NotStackableError("there is no stacked form of a linear layer without bias")
    if is_parametrized(module):
        names = {name for name, _ in module.named_parameters()}
        length, direction = (f"parametrizations.weight.original{n}" for n in (0, 1))
        kinds = [type(part).__name__ for part in module.parametrizations["weight"]]  # type: ignore[index]
        if names != {"bias", length, direction} or kinds != ["_WeightNorm"]:
            raise NotStackableError("there is no stacked form of this parametrization")
        return Layer(
            weight_normed, {"bias": _row, length: _row, direction: Tensor.t}, length, turned
        )
    return Layer(plain, {"weight": Tensor.t, "bias": _row}, "weight", turned)


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


BLOCK = 8
"""So many features of eight members are a whole number of the blocks in which sums are taken."""

ALIGNED = 4
"""Matrices of numbers in a multiple of this begin alike: at a multiple of 16 bytes."""


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


def _elementwise(module: nn.Module, turned: bool = False) -> Layer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y: Tensor = module(x)
        return y, {}

    return Layer(forward, turned=None)


for _kind in (
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.ReLU6, nn.LogSigmoid),
):
    stacked.register(_kind, _elementwise)


def _affine(module: nn.Module, normal: Callable[[Tensor], Tensor], *names: str) -> Layer:
    """A norm without state: scale and shift of each feature are the members' own."""
    if {name for name, _ in module.named_parameters()} != set(names):
        raise NotStackableError(f"there is no stacked form of {module}")

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y = normal(x)
        return (torch.addcmul(p["bias"], y, p["weight"]) if "bias" in p else y * p["weight"]), {}

    return Layer(forward, dict.fromkeys(names, _row))


@stacked.register(nn.LayerNorm)
def _(module: nn.LayerNorm, turned: bool = False) -> Layer:
    def normal(x: Tensor) -> Tensor:
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)

    if len(module.normalized_shape) != 1:
        raise NotStackableError("there is no stacked form of a layer norm over several dimensions")
    return _affine(module, normal, "weight", "bias")


@stacked.register(nn.RMSNorm)
def _(module: nn.RMSNorm, turned: bool = False) -> Layer:
    def normal(x: Tensor) -> Tensor:
        epsilon = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        return x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()

    if len(module.normalized_shape) != 1:
        raise NotStackableError("there is no stacked form of an RMS norm over several dimensions")
    return _affine(module, normal, "weight")


class _GroupNormal(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + epsilon)`` along a dimension.

    Its gradient in closed form (Ba, Kiros & Hinton, 2016) takes a third of the passes that the
    gradients of its parts do.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, epsilon: float) -> Tensor:
        count = x.shape[dim]
        centred = x - x.sum(dim, keepdim=True) / count
        inverse = (centred.square().sum(dim, keepdim=True) / count + epsilon).rsqrt()
        y = centred * inverse
        ctx.save_for_backward(y, inverse)
        ctx.dim = dim
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        y, inverse = ctx.saved_tensors
        share = 1 / y.shape[ctx.dim]
        total, along = (part.sum(ctx.dim, keepdim=True) for part in (gradient, gradient * y))
        centred = torch.sub(gradient, total, alpha=share)
        return torch.addcmul(centred, y, along, value=-share) * inverse, None, None


@stacked.register(nn.GroupNorm)
def _(module: nn.GroupNorm, turned: bool = False) -> Layer:
    groups, channels = module.num_groups, module.num_channels // module.num_groups

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        parts = x.reshape(x.shape[0], groups, channels, x.shape[2])
        normal: Tensor = _GroupNormal.apply(parts, 2, module.eps)  # type: ignore[no-untyped-call]
        weight_MF1, bias_MF1 = p["weight"].transpose(1, 2), p["bias"].transpose(1, 2)
        return (normal.view(x.shape) * weight_MF1).add_(bias_MF1), {}

    if not module.affine:
        raise NotStackableError(f"there is no stacked form of {module}")
    return Layer(forward, dict.fromkeys(("weight", "bias"), _row), turned=True)


@stacked.register(nn.BatchNorm1d)
def _(module: nn.BatchNorm1d, turned: bool = False) -> Layer:
    if not (module.affine and module.track_running_stats and module.momentum is not None):
        raise NotStackableError(f"there is no stacked form of {module}")
    share = module.momentum

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        if not training:
            scale = p["weight"] * (state["running_var"] + module.eps).rsqrt()
            return torch.addcmul(p["bias"] - state["running_mean"] * scale, x, scale), {}
        own = (state["running_mean"], state["running_var"], p["weight"], p["bias"])
        members, rows, width = x.shape
        if width % BLOCK:
            # PyTorch's kernel would add up the features of the last members in another order.
            mean = x.mean(1, keepdim=True)
            centred = x - mean
            variance = centred.square().mean(1, keepdim=True)
            y = torch.addcmul(own[3], centred * (variance + module.eps).rsqrt(), own[2])
            seen = (mean.detach(), variance.detach() * (rows / (rows - 1)))
            after = [torch.lerp(old, new, share) for old, new in zip(own[:2], seen, strict=True)]
        else:
            # A feature of a member is a channel: the kernel does not mind how many there are.
            mean, variance, weight, bias = (part.flatten() for part in own)
            after = [mean.clone(), variance.clone()]
            y_BN = F.batch_norm(
                x.transpose(0, 1).flatten(1),
                after[0],
                after[1],
                weight,
                bias,
                training=True,
                momentum=share,
                eps=module.eps,
            )
            y = y_BN.view(rows, members, width).transpose(0, 1)
        names = ("running_mean", "running_var")
        return y, {n: t.view(members, 1, width) for n, t in zip(names, after, strict=True)}

    return Layer(forward, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), _row))
