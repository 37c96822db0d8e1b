"""Layers of many runs at once: each over a leading member dimension.

``stacked`` gives the stacked form of a layer by its type; register one for another type, and
networks that hold such layers become one program.

Letters in names: M member, B batch, I and O a layer's inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["ALIGNED", "Layer", "NotStackableError", "Orders", "Tensors", "product", "stacked"]

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


@dataclass(frozen=True)
class Orders:
    """How the features before and after a layer are ordered; None as PyTorch has them."""

    before: Tensor | None
    after: Tensor | None


def _ordered(tensor: Tensor, order: Tensor | None, dim: int) -> Tensor:
    return tensor if order is None else tensor.index_select(dim, order)


@singledispatch
def stacked(module: nn.Module, orders: Orders) -> Layer:
    """The stacked form of a layer; ``stacked.register`` adds one for another type of layer.

    Raises
    ------
    NotStackableError
        If its type has none.
    """
    raise NotStackableError(f"there is no stacked form of {type(module).__name__}")


@stacked.register(nn.Linear)
def _(module: nn.Linear, orders: Orders) -> Layer:
    def weight(tensor: Tensor) -> Tensor:
        return _ordered(_ordered(tensor, orders.after, 0), orders.before, 1).t()

    def unit(tensor: Tensor) -> Tensor:
        return _ordered(tensor.reshape(-1), orders.after, 0)[None]

    def plain(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        return product(x, p["weight"], p["bias"]), {}

    def weight_normed(
        x: Tensor, p: Tensors, state: Tensors, training: bool
    ) -> tuple[Tensor, Tensors]:
        length_M1O, direction_MIO = (p[f"parametrizations.weight.original{n}"] for n in (0, 1))
        norm_M1O = torch.linalg.vector_norm(direction_MIO, dim=1, keepdim=True)
        return product(x, direction_MIO * (length_M1O / norm_M1O), p["bias"]), {}

    if module.bias is None:
        raise NotStackableError("there is no stacked form of a linear layer without bias")
    if is_parametrized(module):
        names = {name for name, _ in module.named_parameters()}
        length, direction = (f"parametrizations.weight.original{n}" for n in (0, 1))
        kinds = [type(part).__name__ for part in module.parametrizations["weight"]]  # type: ignore[index]
        if names != {"bias", length, direction} or kinds != ["_WeightNorm"]:
            raise NotStackableError("there is no stacked form of this parametrization")
        return Layer(weight_normed, {"bias": unit, length: unit, direction: weight}, length)
    return Layer(plain, {"weight": weight, "bias": unit}, "weight")


ALIGNED = 4
"""Matrices of numbers in a multiple of this begin alike: at a multiple of 16 bytes."""


def product(x_MBI: Tensor, weight_MIO: Tensor, bias_M1O: Tensor) -> Tensor:
    """``x @ weight + bias`` of every member, rounded alike wherever a member lies.

    Libraries round the product of matrices by how these lie in memory, so where members would
    begin at different offsets from 16 bytes their matrices are filled up with zeros.
    """
    (_, rows, inputs), outputs = x_MBI.shape, weight_MIO.shape[2]
    if outputs == 1:
        # A product with one column is a sum, which fuses with what surrounds it.
        return (x_MBI * weight_MIO.transpose(1, 2)).sum(-1, keepdim=True) + bias_M1O
    sizes = (rows * inputs, inputs * outputs, rows * outputs)
    if not any(size % ALIGNED for size in sizes):
        return torch.baddbmm(bias_M1O, x_MBI, weight_MIO)
    more_inputs, more_outputs = -inputs % ALIGNED, -outputs % ALIGNED
    x = F.pad(x_MBI, (0, more_inputs))
    weight = F.pad(weight_MIO, (0, more_outputs, 0, more_inputs))
    bias = F.pad(bias_M1O, (0, more_outputs))
    return torch.baddbmm(bias, x, weight)[..., :outputs]


def _elementwise(module: nn.Module, orders: Orders) -> Layer:
    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y: Tensor = module(x)
        return y, {}

    return Layer(forward)


for _kind in (
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.ReLU6, nn.LogSigmoid),
):
    stacked.register(_kind, _elementwise)


def _affine(
    module: nn.Module, orders: Orders, normal: Callable[[Tensor], Tensor], names: Sequence[str]
) -> Layer:
    """A norm without state: scale and shift of each feature are the members' own."""
    if {name for name, _ in module.named_parameters()} != set(names):
        raise NotStackableError(f"there is no stacked form of {module}")

    def lay(tensor: Tensor) -> Tensor:
        return _ordered(tensor, orders.after, 0)[None]

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y = normal(x)
        return (torch.addcmul(p["bias"], y, p["weight"]) if "bias" in p else y * p["weight"]), {}

    return Layer(forward, dict.fromkeys(names, lay))


@stacked.register(nn.LayerNorm)
def _(module: nn.LayerNorm, orders: Orders) -> Layer:
    def normal(x: Tensor) -> Tensor:
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)

    if len(module.normalized_shape) != 1:
        raise NotStackableError("there is no stacked form of a layer norm over several dimensions")
    return _affine(module, orders, normal, ("weight", "bias"))


@stacked.register(nn.RMSNorm)
def _(module: nn.RMSNorm, orders: Orders) -> Layer:
    def normal(x: Tensor) -> Tensor:
        epsilon = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        return x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()

    if len(module.normalized_shape) != 1:
        raise NotStackableError("there is no stacked form of an RMS norm over several dimensions")
    return _affine(module, orders, normal, ("weight",))


@stacked.register(nn.GroupNorm)
def _(module: nn.GroupNorm, orders: Orders) -> Layer:
    groups, channels = module.num_groups, module.num_channels // module.num_groups

    def slices(x: Tensor) -> Tensor:
        # With the groups innermost, sums over a group are sums of whole slices, which compiled
        # code does sixteen groups at a time.
        parts = x.reshape(*x.shape[:-1], channels, groups).unbind(-2)
        mean = sum(parts[1:], parts[0]) / channels
        centred = [part - mean for part in parts]
        squares = [part * part for part in centred]
        inverse = (sum(squares[1:], squares[0]) / channels + module.eps).rsqrt()
        return torch.stack([part * inverse for part in centred], -2).flatten(-2)

    def plain(x: Tensor) -> Tensor:
        parts = x.reshape(*x.shape[:-1], groups, channels)
        centred = parts - parts.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        normal: Tensor = (centred * (variance + module.eps).rsqrt()).flatten(-2)
        return normal

    return _affine(module, orders, plain if orders.after is None else slices, ("weight", "bias"))


@stacked.register(nn.BatchNorm1d)
def _(module: nn.BatchNorm1d, orders: Orders) -> Layer:
    if not (module.affine and module.track_running_stats and module.momentum is not None):
        raise NotStackableError(f"there is no stacked form of {module}")
    share = module.momentum

    def lay(tensor: Tensor) -> Tensor:
        return _ordered(tensor, orders.after, 0)[None]

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        if not training:
            scale = p["weight"] * (state["running_var"] + module.eps).rsqrt()
            return torch.addcmul(p["bias"] - state["running_mean"] * scale, x, scale), {}
        # A feature of a member is a channel: PyTorch's own kernel does not mind how many there are.
        members, _, width = x.shape
        mean, variance = (state[name].flatten().clone() for name in ("running_mean", "running_var"))
        y_BN = F.batch_norm(
            x.transpose(0, 1).flatten(1),
            *(mean, variance, p["weight"].flatten(), p["bias"].flatten()),
            training=True,
            momentum=share,
            eps=module.eps,
        )
        seen = {"running_mean": mean, "running_var": variance}
        after = {name: tensor.view(members, 1, width) for name, tensor in seen.items()}
        return y_BN.view(-1, members, width).transpose(0, 1), after

    return Layer(forward, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), lay))
