"""Stacked forms of convolutions: matrix products with the windows of images and series."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablations.training.fused.layers.base import (
    NotStackableError,
    Shape,
    StackedLayer,
    Tensors,
    stacked_form,
)
from ablations.training.fused.layers.dense import StackedWeights, affine_map

Sizes = Sequence[int]


@torch.library.custom_op("ablations::windows", mutates_args=())
def _windows(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    """Copy the windows of maps (M, C, space…, B) to columns (M, C · kernel, output space · B)."""
    margins = [amount for side in reversed(padding) for amount in (side, side)]
    windows = F.pad(x, (0, 0, *margins)) if any(padding) else x
    for dim, (size, step) in enumerate(zip(kernel, stride, strict=True), start=2):
        windows = windows.unfold(dim, size, step)
    dims = len(kernel)
    kernel_dims = range(dims + 3, 2 * dims + 3)
    # M, C, kernel…, output space…, B
    ordered = windows.permute(0, 1, *kernel_dims, *range(2, dims + 3))
    columns = ordered.reshape(x.shape[0], x.shape[1] * math.prod(kernel), -1)
    if columns.data_ptr() == x.data_ptr():  # a custom operation must not return its input
        return columns.clone(memory_format=torch.contiguous_format)
    return columns


@_windows.register_fake
def _(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    members, channels, *space, rows = x.shape
    columns = math.prod(_output_space(space, kernel, stride, padding)) * rows
    return x.new_empty(members, channels * math.prod(kernel), columns)


@torch.library.custom_op("ablations::fold", mutates_args=())
def _fold(gradient: Tensor, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    """Sum the gradient of the windows into that of the maps, one kernel position at a time."""
    members, channels, *space, rows = shape
    padded_space = [size + 2 * side for size, side in zip(space, padding, strict=True)]
    outputs = _output_space(space, kernel, stride, padding)
    windows = gradient.reshape(members, channels, *kernel, *outputs, rows)
    maps = gradient.new_zeros(members, channels, *padded_space, rows)
    every = (slice(None), slice(None))
    for position in itertools.product(*map(range, kernel)):
        target = tuple(
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(position, stride, outputs, strict=True)
        )
        maps[every + target] += windows[every + position]
    inner = tuple(slice(side, side + size) for side, size in zip(padding, space, strict=True))
    return maps[every + inner].contiguous()


@_fold.register_fake
def _(gradient: Tensor, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    return gradient.new_empty(shape)


class _Windows(torch.autograd.Function):
    """``_windows`` with its gradient; a compiler calls both custom operations as they are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
        ctx.fold_arguments = x.shape, kernel, stride, padding
        columns: Tensor = _windows(x, kernel, stride, padding)
        return columns

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return _fold(gradients[0], *ctx.fold_arguments), None, None, None


def _output_space(space: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> list[int]:
    sides = zip(space, kernel, stride, padding, strict=True)
    return [(size + 2 * pad - window) // step + 1 for size, window, step, pad in sides]


@stacked_form(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def _(module: nn.Conv2d, shape: Shape, feature_major: bool) -> StackedLayer:
    plain = module.groups == 1 and set(module.dilation) == {1} and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str) or len(shape) != len(module.kernel_size) + 1:
        raise NotStackableError(f"there is no stacked form of {module} on rows {shape}")
    weights = StackedWeights(module)
    kernel, stride, padding = module.kernel_size, module.stride, module.padding

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members, _, rows = x.shape
        maps = x.reshape(members, *shape, rows)
        columns: Tensor = _Windows.apply(maps, kernel, stride, padding)  # type: ignore[no-untyped-call]
        y = affine_map(columns, weights(p), p["bias"], feature_major=True)
        return y.reshape(members, -1, rows), {}

    return StackedLayer(forward, weights.to_stacked, weights.unit_weights, feature_major=True)
