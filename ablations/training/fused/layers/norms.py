"""Stacked forms of norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ablations.techniques.base import PerPosition
from ablations.training.fused.layers.base import (
    Layer,
    NotStackableError,
    Shape,
    Tensors,
    lying,
    select_prefix,
    stacked,
    stacks,
)

BLOCK = 8
"""So many features of eight members are a whole number of the blocks in which sums are taken."""


def _affine(
    module: nn.Module, shape: Shape, normal: Callable[[Tensor], Tensor], *names: str
) -> Layer:
    """A norm over a row's features, without state: scale and shift of each are the members' own."""
    if {name for name, _ in module.named_parameters()} != set(names):
        raise NotStackableError(f"there is no stacked form of {module}")
    if len(shape) != 1 or module.normalized_shape != shape:
        raise NotStackableError(f"there is no stacked form of {module} on rows {shape}")

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y = normal(x)
        return (torch.addcmul(p["bias"], y, p["weight"]) if "bias" in p else y * p["weight"]), {}

    return Layer(forward, dict.fromkeys(names, lying))


@stacks(nn.LayerNorm)
def _(module: nn.LayerNorm, shape: Shape, turned: bool) -> Layer:
    def normal(x: Tensor) -> Tensor:
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)

    return _affine(module, shape, normal, "weight", "bias")


@stacks(nn.RMSNorm)
def _(module: nn.RMSNorm, shape: Shape, turned: bool) -> Layer:
    def normal(x: Tensor) -> Tensor:
        epsilon = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        return x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()

    return _affine(module, shape, normal, "weight")


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


@stacks(nn.GroupNorm)
def _(module: nn.GroupNorm, shape: Shape, turned: bool) -> Layer:
    groups, channels = module.num_groups, module.num_channels

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members, rows = x.shape[0], x.shape[2]
        parts = x.reshape(members, groups, -1, rows)
        normal: Tensor = _GroupNormal.apply(parts, 2, module.eps)  # type: ignore[no-untyped-call]
        weight, bias = (p[n].view(members, channels, 1, 1) for n in ("weight", "bias"))
        y = (normal.view(members, channels, -1, rows) * weight).add_(bias)
        return y.view(x.shape), {}

    if not module.affine:
        raise NotStackableError(f"there is no stacked form of {module}")
    return Layer(forward, dict.fromkeys(("weight", "bias"), lying), turned=True)


@stacks(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def _(module: nn.BatchNorm1d, shape: Shape, turned: bool) -> Layer:
    if not (module.affine and module.track_running_stats and module.momentum is not None):
        raise NotStackableError(f"there is no stacked form of {module}")
    names = ("running_mean", "running_var")
    lay = dict.fromkeys(("weight", "bias", *names), lying)
    width, share = module.num_features, module.momentum
    turned = turned or len(shape) > 1

    def running(p: Tensors, state: Tensors) -> tuple[Tensor, Tensor]:
        scale = p["weight"] * (state["running_var"] + module.eps).rsqrt()
        return scale, p["bias"] - state["running_mean"] * scale

    def kernel(x: Tensor, p: Tensors, state: Tensors) -> tuple[Tensor, Tensors]:
        """PyTorch's batch norm with the members' features as channels: it does not mind how many
        there are.
        """
        mean, variance = (state[name].flatten().clone() for name in names)
        weight, bias = p["weight"].flatten(), p["bias"].flatten()
        y = F.batch_norm(x, mean, variance, weight, bias, True, share, module.eps)
        after = (tensor.view(-1, 1, width) for tensor in (mean, variance))
        return y, dict(zip(names, after, strict=True))

    def rows(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        if not training:
            scale, shift = running(p, state)
            return torch.addcmul(shift, x, scale), {}
        members, count, _ = x.shape
        if width % BLOCK == 0:
            y_BN, after = kernel(x.transpose(0, 1).flatten(1), p, state)
            return y_BN.view(count, members, width).transpose(0, 1), after
        # PyTorch's kernel would add up the features of the last members in another order.
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(1, keepdim=True)
        y = torch.addcmul(p["bias"], centred * (variance + module.eps).rsqrt(), p["weight"])
        seen = (mean.detach(), variance.detach() * (count / (count - 1)))
        left = [torch.lerp(state[n], new, share) for n, new in zip(names, seen, strict=True)]
        return y, dict(zip(names, left, strict=True))

    def columns(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members = x.shape[0]
        if training:
            y, after = kernel(x.reshape(1, members * width, -1), p, state)
            return y.view(x.shape), after
        scale, shift = (part.view(members, width, 1, 1) for part in running(p, state))
        y = torch.addcmul(shift, x.reshape(members, width, -1, x.shape[2]), scale)
        return y.view(x.shape), {}

    return Layer(columns if turned else rows, lay, turned=turned)


@stacks(PerPosition)
def _(module: PerPosition, shape: Shape, turned: bool) -> Layer:
    """Each place of a picture or a series as a row: turned, they lie side by side."""
    inner = stacked(module.layer, shape[:1], turned=True)

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        places_MCR = x.reshape(x.shape[0], shape[0], -1)
        rows = places_MCR.transpose(1, 2) if inner.turned is False else places_MCR
        y, changed = inner.forward(
            rows, select_prefix("layer", p), select_prefix("layer", state), training
        )
        y = y.transpose(1, 2) if inner.turned is False else y
        return y.reshape(x.shape), {f"layer.{name}": part for name, part in changed.items()}

    return Layer(forward, {f"layer.{name}": lay for name, lay in inner.lay.items()}, turned=True)
