"""Stacked forms of convolutions: products with the windows of pictures and series."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablations.training.fused.layers.base import Layer, NotStackableError, Shape, Tensors, stacks
from ablations.training.fused.layers.dense import Weights, product

Sizes = Sequence[int]


@torch.library.custom_op("ablations::windows", mutates_args=())
def _windows(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    """The windows of maps (M, C, space…, B), as the columns that a convolution multiplies:
    (M, C · kernel, space' · B).
    """
    around = [amount for side in reversed(padding) for amount in (side, side)]
    windows = F.pad(x, (0, 0, *around)) if any(padding) else x
    for dim, (size, step) in enumerate(zip(kernel, stride, strict=True), start=2):
        windows = windows.unfold(dim, size, step)
    dims = len(kernel)
    last = range(dims + 3, 2 * dims + 3)
    ordered = windows.permute(0, 1, *last, *range(2, dims + 3))  # M, C, kernel…, space'…, B
    found = ordered.reshape(x.shape[0], x.shape[1] * math.prod(kernel), -1)
    return (
        found.clone(memory_format=torch.contiguous_format)
        if found.data_ptr() == x.data_ptr()
        else found
    )


@_windows.register_fake
def _(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    members, channels, *space, rows = x.shape
    columns = math.prod(_outputs(space, kernel, stride, padding)) * rows
    return x.new_empty(members, channels * math.prod(kernel), columns)


@torch.library.custom_op("ablations::fold", mutates_args=())
def _fold(gradient: Tensor, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    """The gradient of the maps from that of their windows: each place of the windows is added at
    once, for all of them.
    """
    members, channels, *space, rows = shape
    whole = [size + 2 * side for size, side in zip(space, padding, strict=True)]
    outputs = _outputs(space, kernel, stride, padding)
    parts = gradient.reshape(members, channels, *kernel, *outputs, rows)
    found = gradient.new_zeros(members, channels, *whole, rows)
    every = (slice(None), slice(None))
    for place in itertools.product(*map(range, kernel)):
        reached = tuple(
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(place, stride, outputs, strict=True)
        )
        found[every + reached] += parts[every + place]
    inner = tuple(slice(side, side + size) for side, size in zip(padding, space, strict=True))
    return found[every + inner].contiguous()


@_fold.register_fake
def _(gradient: Tensor, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    return gradient.new_empty(shape)


class _Windows(torch.autograd.Function):
    """``_windows`` with its gradient.  Both are operations of their own, so that a compiler takes
    them as they are.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
        ctx.asked = x.shape, kernel, stride, padding
        found: Tensor = _windows(x, kernel, stride, padding)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return _fold(gradients[0], *ctx.asked), None, None, None


def _outputs(space: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> list[int]:
    """The sizes of what a convolution makes of a space."""
    sides = zip(space, kernel, stride, padding, strict=True)
    return [(size + 2 * pad - window) // step + 1 for size, window, step, pad in sides]


@stacks(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def _(module: nn.Conv2d, shape: Shape, turned: bool) -> Layer:
    plain = module.groups == 1 and set(module.dilation) == {1} and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str) or len(shape) != len(module.kernel_size) + 1:
        raise NotStackableError(f"there is no stacked form of {module} on rows {shape}")
    weights = Weights(module)
    kernel, stride, padding = module.kernel_size, module.stride, module.padding

    def forward(x: Tensor, p: Tensors, state: Tensors, training: bool) -> tuple[Tensor, Tensors]:
        members, _, rows = x.shape
        maps = x.reshape(members, *shape, rows)
        windows: Tensor = _Windows.apply(maps, kernel, stride, padding)  # type: ignore[no-untyped-call]
        y = product(windows, weights(p), p["bias"], turned=True)
        return y.reshape(members, -1, rows), {}

    return Layer(forward, weights.names, weights.rows, turned=True)
