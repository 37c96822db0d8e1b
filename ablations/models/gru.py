"""Recurrent networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ablations.models.base import (
    Model,
    NetworkContext,
    Weighted,
    Width,
    layers_of,
    linear,
    model,
    without_a_shape,
)
from ablations.tasks.base import Task
from ablations.techniques.base import Init, Norm, Regularizer

_GATES = 3


class Recurrence(nn.Module):
    """The state of gated recurrent units after the last step of a series.

    Both products, with a step's inputs and with the state, are normalised before the gates (Ba,
    Kiros & Hinton, 2016).  One layer of each serves all steps, so that batch norm has one running
    mean for all of them, where Cooijmans et al. (2017) keep one for each step.

    Parameters
    ----------
    shape
        Of a row: (channel, step, …), all that a step holds being its inputs.
    width
        Units.
    norm
        Gives the layers that normalise rows of three times the width.
    """

    def __init__(self, shape: tuple[int, ...], width: int, norm: Norm) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.input = linear(math.prod(shape) // shape[1], _GATES * width)
        self.hidden = linear(width, _GATES * width)
        self.input_norm = norm.layer(_GATES * width) or nn.Identity()
        self.hidden_norm = norm.layer(_GATES * width) or nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """From (batch, channel · step · …) to (batch, width)."""
        steps = inputs.view(-1, *self.shape).movedim(2, 0).flatten(2)
        products = self.input_norm(self.input(steps).flatten(0, 1))
        weight, bias = self.hidden.weight, self.hidden.bias
        h = inputs.new_zeros(len(inputs), self.width)
        for a in products.view(*steps.shape[:2], -1):
            b = self.hidden_norm(nn.functional.linear(h, weight, bias))
            h = self.next(h, a, b)
        return h

    @staticmethod
    def next(h: Tensor, a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
        """The state after a step (Cho et al., 2014), in PyTorch's form of it.

        Parameters
        ----------
        h
            The state before.
        a, b
            The products with the inputs and with the state: reset gate, update gate, and
            candidate, side by side along ``dim``.
        """
        width = h.shape[dim]
        parts = [2 * width, width]
        (a_gates, a_last), (b_gates, b_last) = (
            torch.split(a, parts, dim),
            torch.split(b, parts, dim),
        )
        reset, update = (a_gates + b_gates).sigmoid().chunk(2, dim)
        candidate = torch.tanh(a_last + reset * b_last)
        return torch.lerp(candidate, h, update)


@model
class GRU(Model):
    """Gated recurrent units over the steps of a series or the lines of a picture, and a linear
    layer on their last state (Cho et al., 2014).
    """

    name = "gru"
    width: Width = 32

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        return layers_of(
            OrderedDict(
                regularizer0=regularizer.layer(0),
                recurrence=Recurrence(task.shape, self.width, norm),
                regularizer1=regularizer.layer(1),
                output=linear(self.width, task.outputs),
            )
        )

    def widths(self, task: Task) -> tuple[int, ...]:
        return (_GATES * self.width,) * 2

    def n_regularizer_sites(self, task: Task) -> int:
        return 1

    def activations(self, task: Task) -> int:
        return task.shape[1] * 2 * _GATES * self.width

    def skip(self, context: NetworkContext) -> str | None:
        return without_a_shape(self, context.task)

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        recurrence = network.get_submodule("recurrence")
        for name in ("input", "hidden"):
            # A gate's gain is 1, as that of the output.
            yield f"recurrence.{name}", recurrence.get_submodule(name), "sigmoid"
        yield "output", network.get_submodule("output"), "linear"

    def fill_weight(
        self, weight: Tensor, nonlinearity: str, init: Init, generator: torch.Generator
    ) -> None:
        # Gate by gate: each is a layer of its own, whose fan-out is the width.
        parts = weight.chunk(_GATES) if nonlinearity == "sigmoid" else (weight,)
        for part in parts:
            init.fill(part, nonlinearity, generator)
