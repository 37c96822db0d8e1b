"""What a model defines, and how the network of a run is built from it.

A model is one class: its annotated fields are its parameters, which a study can set and vary; its
docstring is its caption.  It asks the levels of the axes ``norm`` and ``regularizer`` for their
layers, and names the layers whose weights the axis ``init`` fills::

    from ablations.models.base import Model, Width, feedforward, hidden_weights, model


    @model
    class Shallow(Model):
        \"\"\"One hidden layer of tanh units (Cybenko, 1989).\"\"\"

        name = "shallow"
        units: Width = 32

        def build(self, task, norm, regularizer):
            return feedforward(task, (self.units,), "tanh", "before", norm, regularizer)

        def widths(self, task):
            return (self.units,)

        def weights(self, network):
            return hidden_weights(network, "tanh")

A model of this package is a module of this folder, and nothing else is edited.  A model of your own
stands in a file of yours: a study names it ``model = "python:my_module:Shallow"``.  Where a study
needs a network and no more, ``"python:my_module:build"`` names a function that returns one (see
``ablations.models.function``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeVar, dataclass_transform

import pydantic
import torch
from pydantic import Field
from torch import Tensor, nn

from ablations.core.deprecation import renamed_attributes
from ablations.core.random import Streams
from ablations.core.registry import Component, register
from ablations.core.schema import BASELINE_COLUMNS, METRIC_COLUMNS, RUN_COLUMNS
from ablations.tasks.base import Task
from ablations.techniques.base import Device, Init, Norm, Regularizer, TrainingContext

M = TypeVar("M", bound="Model")
Layers = dict[str, nn.Module | None]
Weighted = tuple[str, Any, str]
"""Name of a linear or convolutional layer, the layer, and the nonlinearity that follows it
(``"linear"`` for the output layer)."""

__getattr__ = renamed_attributes(
    __name__,
    {
        "hidden": "hidden_block",
        "layers_of": "to_sequential",
        "without_a_shape": "explain_missing_shape",
    },
)


@dataclass_transform(frozen_default=True, field_specifiers=(pydantic.Field,))
def model(cls: type[M]) -> type[M]:
    """Register a model (``core.registry.register``).

    Raises
    ------
    ValueError
        If a parameter has the name of a column of the runs table.
    """
    if columns := {*RUN_COLUMNS, *METRIC_COLUMNS, *BASELINE_COLUMNS} & set(cls.__annotations__):
        message = f"model '{cls.name}' has a parameter named like a column: {sorted(columns)}"
        raise ValueError(message)
    return register(cls)


class NetworkContext(TrainingContext, Protocol):
    """What ``Model.skip`` and the functions that build a network may read of a configuration.

    ``ablations.Configuration`` has it; ``torch_dtype`` is the precision of parameters and data.
    """

    @property
    def model(self) -> Model: ...
    @property
    def init(self) -> Init: ...
    @property
    def device(self) -> Device: ...
    @property
    def torch_dtype(self) -> torch.dtype: ...


class Model(Component):
    """A network architecture; its parameters can be axes of a study."""

    role = "model"
    deprecated_names: ClassVar[Mapping[str, str]] = {
        "draws": "has_random_build",
        "places": "n_regularizer_sites",
    }
    has_random_build: ClassVar[bool] = False
    """Whether ``build`` itself draws initial parameters, beside those that ``fill`` draws."""
    needs_shape: ClassVar[bool] = False
    """Whether rows must have a shape (channel, …), as those of images and sequences."""

    @property
    def title(self) -> str:
        """The model's entry in the column ``model``."""
        return self.name

    def build(self, task: Task, norm: Norm, regularizer: Regularizer) -> nn.Module:
        """Return the network from (batch, task.inputs) to (batch, task.outputs), not filled."""
        raise NotImplementedError

    def widths(self, task: Task) -> tuple[int, ...]:
        """Return the widths of the layers that a norm acts on."""
        raise NotImplementedError

    def n_regularizer_sites(self, task: Task) -> int:
        """Return how many layers of a regularizer the network takes behind its input."""
        return len(self.widths(task))

    def activations(self, task: Task) -> int:
        """Estimate how many numbers a row leaves in the hidden layers for the gradient."""
        return sum(self.widths(task))

    def skip(self, context: NetworkContext) -> str | None:
        """Return the reason why this model cannot be used in a configuration, or None."""
        return explain_missing_shape(self, context.task) if self.needs_shape else None

    def with_(self, **levels: Any) -> Self:
        """Return a copy with other values of some parameters, validated."""
        return type(self)(**(self.parameters() | levels))

    def fill(self, network: nn.Module, init: Init, streams: Streams) -> None:
        """Fill the initial weights and biases of a network in place.

        Each parameter has its own random stream, named by the parameter: a network with a norm
        starts from the same weights as one without.  Weights are drawn in float32 for every
        precision: a run in float64 starts from the same weights.
        """
        for name, layer, nonlinearity in self.weights(network):
            generator = streams.generator(f"init/{name}.weight")
            self.fill_weight(layer.weight, nonlinearity, init, generator)
            bound = 1 / math.sqrt(layer.weight[0].numel())
            layer.bias.uniform_(-bound, bound, generator=streams.generator(f"init/{name}.bias"))

    def fill_weight(
        self, weight: Tensor, nonlinearity: str, init: Init, generator: torch.Generator
    ) -> None:
        """Fill the weight (out, …) of one layer in place."""
        init.fill(weight, nonlinearity, generator)

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        """Yield the layers whose weights an init fills, hidden layers first, the output last."""
        raise NotImplementedError

    def weighted_layers(self, network: nn.Module) -> list[Any]:
        """Return the layers of ``weights``."""
        return [layer for _, layer, _ in self.weights(network)]

    def hidden_layers(self, network: nn.Module) -> list[Any]:
        """Return the layers of ``weights`` without the output layer."""
        return [layer for _, layer, kind in self.weights(network) if kind != "linear"]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer in float32, independent of PyTorch's default."""
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
"""Name to layer and nonlinearity as ``torch.nn.init.calculate_gain`` names it; activations close
to a ReLU have its gain."""
Activation = Literal["relu", "leaky_relu", "tanh", "selu", "elu", "gelu", "silu"]
Width = Annotated[int, Field(gt=0, le=1_000_000)]
NormPosition = Literal["after", "before"]


def hidden_block(
    position: int,
    layer: nn.Module,
    norm: nn.Module | None,
    activation: Activation,
    norm_position: NormPosition,
    regularizer: Regularizer,
) -> Layers:
    """Return hidden layer ``position`` (from 1), its norm, activation and regularizer, in order."""
    normal: Layers = {f"norm{position}": norm}
    act: Layers = {f"activation{position}": ACTIVATIONS[activation][0]()}
    last: Layers = {f"regularizer{position}": regularizer.layer(position)}
    middle = act | normal if norm_position == "after" else normal | act
    return {f"hidden{position}": layer} | middle | last


def to_sequential(layers: Layers) -> nn.Sequential:
    """Return the layers that are not None as one module."""
    return nn.Sequential(OrderedDict((k, v) for k, v in layers.items() if v is not None))


def hidden_weights(network: nn.Module, activation: Activation) -> Iterator[Weighted]:
    """Return ``Model.weights`` of a network of ``hidden_block``s and a layer ``output``."""
    for name, layer in network.named_children():
        if name.startswith("hidden"):
            yield name, layer, ACTIVATIONS[activation][1]
    yield "output", network.get_submodule("output"), "linear"


class BlockModel(Model):
    """A model of ``hidden_block``s; subclasses give the two fields a default."""

    activation: Activation
    norm_position: NormPosition

    def weights(self, network: nn.Module) -> Iterator[Weighted]:
        return hidden_weights(network, self.activation)


def feedforward(
    task: Task,
    widths: Sequence[int],
    activation: Activation,
    norm_position: NormPosition,
    norm: Norm,
    regularizer: Regularizer,
) -> nn.Sequential:
    """Return fully connected layers of these widths, each with activation, norm, regularizer."""
    inputs = task.inputs
    layers: Layers = {"regularizer0": regularizer.layer(0)}
    for position, width in enumerate(widths, start=1):
        layer, normal = linear(inputs, width), norm.layer(width)
        layers |= hidden_block(position, layer, normal, activation, norm_position, regularizer)
        inputs = width
    layers["output"] = linear(inputs, task.outputs)
    return to_sequential(layers)


def explain_missing_shape(model: Model, task: Task) -> str | None:
    """Return why a model for images and sequences cannot use a task's rows, or None."""
    dimensions = len(task.shape)
    if 1 < dimensions <= 4:
        return None
    rows = f"has {dimensions} dimensions" if dimensions > 4 else f"is {task.inputs} numbers"
    message = f"the model '{model.name}' needs rows of shape (channel, …) with 2 to 4 dimensions"
    return f"{message}; a row of the task '{task.name}' {rows}"


def build_network(context: NetworkContext) -> nn.Module:
    """Return a configuration's network on the CPU, before its weights are filled."""
    return context.model.build(context.task, context.norm, context.regularizer)


@torch.no_grad()
def fill_network(network: nn.Module, context: NetworkContext, streams: Streams) -> None:
    """Fill the initial weights and biases of a network in place (``Model.fill``)."""
    context.model.fill(network, context.init, streams)


def finish_network(network: nn.Module, context: NetworkContext) -> nn.Module:
    """Move a filled network to its device, and apply ``Norm.wrap`` to its hidden layers."""
    layers = context.model.hidden_layers(network)
    network.to(context.device.torch_device(), context.torch_dtype)
    for layer in layers:
        context.norm.wrap(layer)
    return network


def initialise_network(context: NetworkContext, streams: Streams) -> nn.Module:
    """Return the network of a run, initialised and on its device."""
    network = build_network(context)
    fill_network(network, context, streams)
    return finish_network(network, context)
