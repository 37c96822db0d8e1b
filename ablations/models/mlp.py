"""Multi-layer perceptrons."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from ablations.models.base import Model, linear, model
from ablations.tasks.base import Task
from ablations.techniques.base import Norm, Regularizer

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
}
Width = Annotated[int, Field(gt=0, le=1_000_000)]


@model
class MLP(Model):
    """Fully connected layers, as in the notebook the norm after the activation (Rosenblatt,
    1962).
    """

    name = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = (64, 32)
    activation: Literal["relu", "leaky_relu", "tanh", "selu"] = "relu"
    norm_position: Literal["after", "before"] = "after"

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        inputs = task.inputs
        layers: OrderedDict[str, nn.Module | None] = OrderedDict()
        layers["regularizer0"] = regularizer.layer(0)
        for place, width in enumerate(self.hidden, start=1):
            layers[f"hidden{place}"] = linear(inputs, width)
            after: dict[str, nn.Module | None] = {f"norm{place}": norm.layer(width)}
            act: dict[str, nn.Module | None] = {
                f"activation{place}": _ACTIVATIONS[self.activation]()
            }
            layers.update(act | after if self.norm_position == "after" else after | act)
            layers[f"regularizer{place}"] = regularizer.layer(place)
            inputs = width
        layers["output"] = linear(inputs, task.outputs)
        return nn.Sequential(
            OrderedDict((name, layer) for name, layer in layers.items() if layer is not None)
        )

    def widths(self, task: Task) -> tuple[int, ...]:
        return self.hidden

    def weights(self, network: nn.Module) -> Iterator[tuple[str, nn.Linear, str]]:
        for name, layer in network.named_children():
            if isinstance(layer, nn.Linear):
                yield name, layer, "linear" if name == "output" else self.activation
