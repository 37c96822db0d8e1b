"""Convolutional networks."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import nn

from ablations.models.base import (
    Activation,
    BlockModel,
    Layers,
    NormPosition,
    Width,
    hidden_block,
    linear,
    model,
    to_sequential,
)
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, Regularizer

_CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("must be odd, so that it has a middle")
    return size


@model
class CNN(BlockModel):
    """Convolutions, which by default halve an image or sequence, and a linear output layer (LeCun
    et al., 1998).
    """

    name = "cnn"
    needs_shape = True
    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = (16, 32)
    kernel: Annotated[int, Field(gt=0, le=99), AfterValidator(_odd)] = 3
    stride: Annotated[int, Field(gt=0, le=99)] = 2
    activation: Activation = "relu"
    norm_position: NormPosition = "before"

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        inputs, *space = task.shape
        convolution = _CONVOLUTIONS[len(space) - 1]
        layers: Layers = {"regularizer0": regularizer.layer(0)}
        layers["maps"] = nn.Unflatten(1, task.shape)
        window = (self.kernel, self.stride, self.kernel // 2)
        for position, width in enumerate(self.channels, start=1):
            layer = convolution(inputs, width, *window, dtype=torch.float32)
            normal = norm.maps(width, len(space))
            layers |= hidden_block(
                position, layer, normal, self.activation, self.norm_position, regularizer
            )
            inputs = width
        layers["flat"] = nn.Flatten()
        layers["output"] = linear(inputs * math.prod(self._sizes(task)[-1]), task.outputs)
        return to_sequential(layers)

    def widths(self, task: Task) -> tuple[int, ...]:
        return self.channels

    def _sizes(self, task: Task) -> list[tuple[int, ...]]:
        """Return the size of an image, and of the maps after each convolution."""
        sizes = [task.shape[1:]]
        for _ in self.channels:
            sizes.append(tuple(-(-size // self.stride) for size in sizes[-1]))
        return sizes

    def activations(self, task: Task) -> int:
        window = self.kernel ** (len(task.shape) - 1)
        before, after = (task.shape[0], *self.channels), self._sizes(task)[1:]
        sizes = zip(before, self.channels, after, strict=False)
        return sum((inputs * window + width) * math.prod(size) for inputs, width, size in sizes)
