"""What a model is, and how a run's network is made from one."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeVar,
    dataclass_transform,
)

import pydantic
import torch
from pydantic import Field
from torch import Tensor, nn

from ablations.core.random import Streams
from ablations.core.registry import Component, register
from ablations.core.schema import RUN_COLUMNS
from ablations.tasks.base import Task
from ablations.techniques.base import Device, Init, Norm, Regularizer, TrainingContext

M = TypeVar("M", bound="Model")

Weighted = tuple[str, Any, str]
"""Name, a linear layer or a convolution, and the nonlinearity that follows it (``"linear"`` for the
output)."""

__all__ = [
    "Activation",
    "Model",
    "NetworkContext",
    "NormPosition",
    "Weighted",
    "Width",
    "build_network",
    "feedforward",
    "fill_network",
    "finish_network",
    "hidden",
    "hidden_weights",
    "initialise_network",
    "layers_of",
    "linear",
    "model",
    "without_a_shape",
]


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field,))
def model(cls: type[M]) -> type[M]:
    """``@register`` for models.

    Raises
    ------
    ValueError
        If a parameter has the name of a column of the runs table.
    """
    taken = set(RUN_COLUMNS) & set(cls.__annotations__)
    if taken:
        raise ValueError(f"model '{cls.name}' has a parameter named like a column: {sorted(taken)}")
    return register(cls)


class NetworkContext(TrainingContext, Protocol):
    """What a model, and what builds a network, may ask of the configuration of a run.

    ``study.configuration.Configuration`` has all of it.
    """

    @property
    def task(self) -> Task:
        """The task."""
        ...

    @property
    def model(self) -> Model:
        """The model."""
        ...

    @property
    def device(self) -> Device:
        """The level of the axis ``device``."""
        ...

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of parameters and data."""
        ...


class Model(Component):
    """A network architecture; its parameters may be axes of a study."""

    role = "model"

    deprecated_names: ClassVar[Mapping[str, str]] = {
        "draws": "has_random_build",
        "places": "n_regularizer_sites",
    }
    has_random_build: ClassVar[bool] = False
    """Whether building a network draws numbers that it starts from, beyond what an init fills."""

    @property
    def title(self) -> str:
        """What stands in the column ``model``."""
        return self.name

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        """The network, from (batch, task.inputs) to (batch, task.outputs), its weights not yet
        filled.
        """
        raise NotImplementedError

    def widths(self, task: Task) -> tuple[int, ...]:
        """The widths of the layers that a norm acts on."""
        raise NotImplementedError

    def n_regularizer_sites(self, task: Task) -> int:
        """How many places there are for a regularizer's layers, that at the input not counted."""
        return len(self.widths(task))

    def activations(self, task: Task) -> int:
        """About how many numbers its hidden layers keep of each row for the gradient."""
        return sum(self.widths(task))

    def skip(self, context: NetworkContext) -> str | None:
        """Why this model cannot be had in a configuration; None where it can."""
        return None

    def with_(self, **levels: Any) -> Self:
        """The same model with other values of some parameters, checked like those it has."""
        return type(self)(**(self.parameters() | levels))

    def fill(self, network: nn.Module, init: Init, streams: Streams) -> None:
        """Give a network its initial weights and biases.

        Each parameter has a stream of its own, named by the parameter, so that a network
        with a norm starts from the same weights as one without.  Weights are drawn
        in float32 whatever the run's precision, so that a run in float64 starts there too.
        """
        for name, layer, nonlinearity in self.weights(network):
            generator = streams.generator(f"init/{name}.weight")
            self.fill_weight(layer.weight, nonlinearity, init, generator)
            bound = 1 / math.sqrt(layer.weight[0].numel())
            layer.bias.uniform_(-bound, bound, generator=streams.generator(f"init/{name}.bias"))

    def fill_weight(
        self, weight: Tensor, nonlinearity: str, init: Init, generator: torch.Generator
    ) -> None:
        """Fill the weight (out, …) of one layer."""
        init.fill(weight, nonlinearity, generator)

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        """Name, layer, and the nonlinearity that follows it (``"linear"`` for the output)."""
        raise NotImplementedError


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer in float32, whatever PyTorch's default is."""
    return nn.Linear(inputs, outputs, dtype=torch.float32)


ACTIVATIONS: dict[str, tuple[type[nn.Module], str]] = {
    "relu": (nn.ReLU, "relu"),
    "leaky_relu": (nn.LeakyReLU, "leaky_relu"),
    "tanh": (nn.Tanh, "tanh"),
    "selu": (nn.SELU, "selu"),
    "elu": (nn.ELU, "relu"),
    "gelu": (nn.GELU, "relu"),
    "silu": (nn.SiLU, "relu"),
}
"""Name to layer, and to the word by which inits know its gain; those near a ReLU are taken for
one."""
Activation = Literal["relu", "leaky_relu", "tanh", "selu", "elu", "gelu", "silu"]
Width = Annotated[int, Field(gt=0, le=1_000_000)]
NormPosition = Literal["after", "before"]


def hidden(
    place: int,
    layer: nn.Module,
    norm: nn.Module | None,
    activation: Activation,
    norm_position: NormPosition,
    regularizer: Regularizer,
) -> OrderedDict[str, nn.Module | None]:
    """The n-th hidden layer with its norm, activation and regularizer, by name."""
    normal: dict[str, nn.Module | None] = {f"norm{place}": norm}
    act: dict[str, nn.Module | None] = {f"activation{place}": ACTIVATIONS[activation][0]()}
    return OrderedDict(
        {f"hidden{place}": layer}
        | (act | normal if norm_position == "after" else normal | act)
        | {f"regularizer{place}": regularizer.layer(place)}
    )


def layers_of(named: OrderedDict[str, nn.Module | None]) -> nn.Sequential:
    """Layers in their order, those that are None left out."""
    return nn.Sequential(
        OrderedDict((name, layer) for name, layer in named.items() if layer is not None)
    )


def hidden_weights(network: nn.Module, activation: Activation) -> Iterator[Weighted]:
    """What ``Model.weights`` gives for a sequence of such layers and an output layer."""
    for name, layer in network.named_children():
        if name.startswith("hidden"):
            yield name, layer, ACTIVATIONS[activation][1]
    yield "output", network.get_submodule("output"), "linear"


def feedforward(
    task: Task,
    widths: Sequence[int],
    activation: Activation,
    norm_position: NormPosition,
    norm: Norm,
    regularizer: Regularizer,
) -> nn.Sequential:
    """Fully connected layers of these widths, each with activation, norm and regularizer."""
    inputs = task.inputs
    layers: OrderedDict[str, nn.Module | None] = OrderedDict()
    layers["regularizer0"] = regularizer.layer(0)
    for place, width in enumerate(widths, start=1):
        layer, normal = linear(inputs, width), norm.layer(width)
        layers |= hidden(place, layer, normal, activation, norm_position, regularizer)
        inputs = width
    layers["output"] = linear(inputs, task.outputs)
    return layers_of(layers)


def without_a_shape(model: Model, task: Task) -> str | None:
    """Why a model for pictures and series can do nothing with a task; None where it can."""
    if 1 < len(task.shape) <= 4:
        return None
    found = f"those of the task '{task.name}' are {task.inputs} numbers without one"
    if len(task.shape) > 4:
        found = f"those of the task '{task.name}' have {len(task.shape)} dimensions"
    return f"the model '{model.name}' wants rows with a shape, (channel, …, …); {found}"


def build_network(context: NetworkContext) -> nn.Module:
    """A configuration's network on the CPU, its weights not yet filled."""
    c = context
    return c.model.build(c.task, c.norm, c.regularizer)


@torch.no_grad()
def fill_network(network: nn.Module, context: NetworkContext, streams: Streams) -> None:
    """Give a network its initial weights and biases (``Model.fill``)."""
    context.model.fill(network, context.init, streams)


def finish_network(network: nn.Module, context: NetworkContext) -> nn.Module:
    """Bring a filled network to its device, and wrap its hidden layers."""
    layers = list(context.model.weights(network))
    network.to(context.device.torch_device(), context.torch_dtype)
    for _, layer, nonlinearity in layers:
        if nonlinearity != "linear":
            context.norm.wrap(layer)
    return network


def initialise_network(context: NetworkContext, streams: Streams) -> nn.Module:
    """The network of one run, initialised and on its device."""
    network = build_network(context)
    fill_network(network, context, streams)
    return finish_network(network, context)
