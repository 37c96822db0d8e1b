"""Recurrent networks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ablations.models.base import Layers, Model, Weighted, Width, linear, model, to_sequential
from ablations.tasks.base import Task
from ablations.techniques.base import Init, Norm, Regularizer

_GATES = 3


class Recurrence(nn.Module):
    """The state of gated recurrent units after the last step of a sequence.

    The products with a step's inputs and with the state are both normalised before the gates (Ba,
    Kiros & Hinton, 2016).  All steps share the two norm layers, so that batch norm has one running
    mean for all steps, while Cooijmans et al. (2017) have one for each step.  The inputs of a step
    are all numbers of a row (channel, step, …) at that step.
    """

    def __init__(self, shape: tuple[int, ...], width: int, norm: Norm) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.input = linear(math.prod(shape) // shape[1], _GATES * width)
        self.hidden = linear(width, _GATES * width)
        self.input_norm = norm.layer(_GATES * width) or nn.Identity()
        self.hidden_norm = norm.layer(_GATES * width) or nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, channel · step · …) to (batch, width)."""
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
        """Return the state that follows the state ``h`` (Cho et al., 2014), in PyTorch's form.

        ``a`` and ``b`` are the products with the inputs and with the state: reset gate, update
        gate and candidate, concatenated along ``dim``.
        """
        sizes = [2 * h.shape[dim], h.shape[dim]]
        a_gates, a_last = torch.split(a, sizes, dim)
        b_gates, b_last = torch.split(b, sizes, dim)
        reset, update = (a_gates + b_gates).sigmoid().chunk(2, dim)
        candidate = torch.tanh(a_last + reset * b_last)
        return torch.lerp(candidate, h, update)


@model
class GRU(Model):
    """Gated recurrent units over the steps of a sequence or the lines of an image, and a linear
    output layer on their last state (Cho et al., 2014).
    """

    name = "gru"
    needs_shape = True
    width: Width = 32

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        layers: Layers = {"regularizer0": regularizer.layer(0)}
        layers["recurrence"] = Recurrence(task.shape, self.width, norm)
        layers["regularizer1"] = regularizer.layer(1)
        layers["output"] = linear(self.width, task.outputs)
        return to_sequential(layers)

    def widths(self, task: Task) -> tuple[int, ...]:
        return (_GATES * self.width,) * 2

    def n_regularizer_sites(self, task: Task) -> int:
        return 1

    def activations(self, task: Task) -> int:
        return task.shape[1] * 2 * _GATES * self.width

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        recurrence = network.get_submodule("recurrence")
        for name in ("input", "hidden"):
            # A gate's gain is 1, like that of the output.
            yield f"recurrence.{name}", recurrence.get_submodule(name), "sigmoid"
        yield "output", network.get_submodule("output"), "linear"

    def fill_weight(
        self, weight: Tensor, nonlinearity: str, init: Init, generator: torch.Generator
    ) -> None:
        # Gate by gate: the fan-out of a gate is the width.
        for gate in weight.chunk(_GATES) if nonlinearity == "sigmoid" else (weight,):
            init.fill(gate, nonlinearity, generator)
