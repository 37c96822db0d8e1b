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
    NotStackableError,
    Shape,
    StackedLayer,
    Tensors,
    add_prefix,
    as_row,
    select_prefix,
    stack_layer,
    stacked_form,
)

BATCH_NORM_BLOCK = 8
"""PyTorch's batch norm sums channels in blocks; the members of a program fill whole blocks if the
number of features is a multiple of this."""


def _feature_norm(
    module: nn.Module, shape: Shape, normalise: Callable[[Tensor], Tensor], *names: str
) -> StackedLayer:
    """A stateless norm over the features of a row, with scale and shift of each member."""
    if {name for name, _ in module.named_parameters()} != set(names):
        raise NotStackableError(f"there is no stacked form of {module}")
    if len(shape) != 1 or module.normalized_shape != shape:
        raise NotStackableError(f"there is no stacked form of {module} on rows {shape}")

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        y = normalise(x)
        return (torch.addcmul(p["bias"], y, p["weight"]) if "bias" in p else y * p["weight"]), {}

    return StackedLayer(forward, dict.fromkeys(names, as_row))


@stacked_form(nn.LayerNorm)
def _(module: nn.LayerNorm, shape: Shape, feature_major: bool) -> StackedLayer:
    def normalise(x: Tensor) -> Tensor:
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)

    return _feature_norm(module, shape, normalise, "weight", "bias")


@stacked_form(nn.RMSNorm)
def _(module: nn.RMSNorm, shape: Shape, feature_major: bool) -> StackedLayer:
    def normalise(x: Tensor) -> Tensor:
        epsilon = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        return x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()

    return _feature_norm(module, shape, normalise, "weight")


class _Standardise(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + epsilon)`` along one dimension.

    The gradient in closed form (Ba, Kiros & Hinton, 2016) needs a third of the passes over memory
    that automatic differentiation needs.
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
        total, along = (term.sum(ctx.dim, keepdim=True) for term in (gradient, gradient * y))
        centred = torch.sub(gradient, total, alpha=share)
        return torch.addcmul(centred, y, along, value=-share) * inverse, None, None


@stacked_form(nn.GroupNorm)
def _(module: nn.GroupNorm, shape: Shape, feature_major: bool) -> StackedLayer:
    groups, channels = module.num_groups, module.num_channels

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members, rows = x.shape[0], x.shape[2]
        x_MGFB = x.reshape(members, groups, -1, rows)
        normal: Tensor = _Standardise.apply(x_MGFB, 2, module.eps)  # type: ignore[no-untyped-call]
        weight, bias = (p[name].view(members, channels, 1, 1) for name in ("weight", "bias"))
        y = (normal.view(members, channels, -1, rows) * weight).add_(bias)
        return y.view(x.shape), {}

    if not module.affine:
        raise NotStackableError(f"there is no stacked form of {module}")
    return StackedLayer(forward, dict.fromkeys(("weight", "bias"), as_row), feature_major=True)


@stacked_form(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def _(module: nn.BatchNorm1d, shape: Shape, feature_major: bool) -> StackedLayer:
    if not (module.affine and module.track_running_stats and module.momentum is not None):
        raise NotStackableError(f"there is no stacked form of {module}")
    names = ("running_mean", "running_var")
    width, momentum = module.num_features, module.momentum
    feature_major = feature_major or len(shape) > 1

    def running_affine(p: Tensors, state: Tensors) -> tuple[Tensor, Tensor]:
        scale = p["weight"] * (state["running_var"] + module.eps).rsqrt()
        return scale, p["bias"] - state["running_mean"] * scale

    def kernel(x: Tensor, p: Tensors, state: Tensors) -> tuple[Tensor, Tensors]:
        """PyTorch's batch norm, with the features of all members as its channels."""
        weight, bias = p["weight"].flatten(), p["bias"].flatten()
        if state:
            mean, variance = (state[name].flatten().clone() for name in names)
        else:
            mean, variance = (torch.zeros_like(bias) for _ in names)
        share = momentum if state else 1.0
        y = F.batch_norm(x, mean, variance, weight, bias, True, share, module.eps)
        running = (tensor.view(-1, 1, width) for tensor in (mean, variance))
        return y, dict(zip(names, running, strict=True))

    def by_row(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        if not training:
            scale, shift = running_affine(p, state)
            return torch.addcmul(shift, x, scale), {}
        members, count, _ = x.shape
        if width % BATCH_NORM_BLOCK == 0:
            y_BN, running = kernel(x.transpose(0, 1).flatten(1), p, state)
            return y_BN.view(count, members, width).transpose(0, 1), running
        # PyTorch's kernel would sum the features of the last members in another order.
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(1, keepdim=True)
        y = torch.addcmul(p["bias"], centred * (variance + module.eps).rsqrt(), p["weight"])
        batch = mean.detach(), variance.detach() * (count / (count - 1))
        statistics = dict(zip(names, batch, strict=True))
        if not state:
            return y, statistics
        return y, {n: torch.lerp(state[n], new, momentum) for n, new in statistics.items()}

    def by_feature(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members = x.shape[0]
        if training:
            y, running = kernel(x.reshape(1, members * width, -1), p, state)
            return y.view(x.shape), running
        scale, shift = (term.view(members, width, 1, 1) for term in running_affine(p, state))
        y = torch.addcmul(shift, x.reshape(members, width, -1, x.shape[2]), scale)
        return y.view(x.shape), {}

    to_stacked = dict.fromkeys(("weight", "bias", *names), as_row)
    forward = by_feature if feature_major else by_row
    return StackedLayer(forward, to_stacked, feature_major=feature_major)


@stacked_form(PerPosition)
def _(module: PerPosition, shape: Shape, feature_major: bool) -> StackedLayer:
    """Each position of an image or a series is a row; feature-major, they lie side by side."""
    inner = stack_layer(module.layer, shape[:1], feature_major=True)

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        positions_MCR = x.reshape(x.shape[0], shape[0], -1)
        params, buffers = (select_prefix("layer", inner.to_stacked, t) for t in (p, state))
        y, changed = inner.apply(positions_MCR, params, buffers, training, feature_major=True)
        return y.reshape(x.shape), add_prefix("layer", changed)

    to_stacked = {f"layer.{name}": function for name, function in inner.to_stacked.items()}
    return StackedLayer(forward, to_stacked, feature_major=True)
