"""Networks of many members.

A sequence of layers that have a stacked form becomes a ``StackedNetwork`` of batched matrix
products.  Any other module becomes a ``MappedNetwork``, which runs through ``torch.func.vmap``.
All parameters of a member lie side by side in one vector, so that an optimizer step is a few
operations on one tensor.

Letters in names: M member, B row of the batch, I input, O output, P parameter of a member, S seed,
U unique pair of a seed and layer parameters.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from ablations.techniques.base import RandomLayer
from ablations.training.fused.layers.base import (
    ALIGNMENT,
    NotStackableError,
    Shape,
    StackedLayer,
    Tensors,
    ToStacked,
    has_stacked_form,
    select_prefix,
    stack_layer,
)
from ablations.training.statistics import averaged_statistics

Perturbations = Sequence[tuple[Tensor, tuple[Tensor, ...]]]
"""For each stochastic layer: its transformed draws, and its parameters (M, 1, …)."""


@dataclass(frozen=True)
class ParamSlot:
    """Position and stored shape of a parameter in the vector of a member."""

    name: str
    start: int
    shape: tuple[int, ...]
    to_stacked: ToStacked
    """From PyTorch's parameter to the stored shape."""

    @property
    def stop(self) -> int:
        return self.start + torch.Size(self.shape).numel()


@dataclass(frozen=True)
class StochasticLayer:
    """A random layer, and the layout of its inputs in the network."""

    layer: RandomLayer
    shape: Shape
    """Shape of one row of its inputs, in PyTorch's order."""
    feature_major: bool | None = None
    """Layout of its inputs; None if rows keep their shape."""

    @property
    def n_dims(self) -> int:
        """Dimensions of its inputs, with the member dimension."""
        return 2 + (len(self.shape) if self.feature_major is None else 1)

    def transform(
        self, draws_S: Tensor, seed_U: Tensor, params_U: Sequence[Tensor], unique_M: Tensor
    ) -> Tensor:
        """Transform draws (S, B, …) to what perturbs the inputs of each member, in their layout.

        ``seed_U`` and ``params_U`` are the index of the seed and the layer parameters of each
        unique pair; ``unique_M`` is the index of each member's pair.
        """
        draws_S = draws_S if self.feature_major is None else draws_S.flatten(2)
        transformed_U = self.layer.transform(draws_S.index_select(0, seed_U), *params_U)
        if self.feature_major:
            transformed_U = transformed_U.transpose(1, 2).contiguous()
        return transformed_U.index_select(0, unique_M)


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """A network of M members."""

    slots: tuple[ParamSlot, ...]
    stochastic_layers: tuple[StochasticLayer, ...]
    unit_weights: tuple[tuple[str, tuple[int, ...]], ...]
    """Parameters that hold the incoming weights of units, and the dimensions of these vectors."""
    depth: int = 1
    """About how many layers run one after the other."""
    same_in_training: bool = False
    """Whether training and evaluation mode give the same outputs."""

    engine: ClassVar[str]
    slot_groups: ClassVar[int]
    """Number of interleaved groups of member slots between which rounding may differ."""

    @abstractmethod
    def forward(
        self, params: Tensors, state: Tensors, x_MBI: Tensor, noise: Perturbations, training: bool
    ) -> tuple[Tensor, Tensors]:
        """Return outputs (M, B, O) and the next state; a pure function."""

    @abstractmethod
    def statistics(self, params: Tensors, state: Tensors, x_MBI: Tensor) -> Tensors:
        """Return the state with the statistics of ``x_MBI`` in batch norm layers."""

    @abstractmethod
    def initial_state(self, module: nn.Module) -> Tensors:
        """Return the buffers of one member."""

    def flatten(self, module: nn.Module) -> Tensor:
        """Return the parameters of one member, shape (P,)."""
        parameters = dict(module.named_parameters())
        stacked_parameters = {
            slot.name: slot.to_stacked(parameters[slot.name].detach())[None] for slot in self.slots
        }
        return self.join(stacked_parameters)[0]

    def split(self, flat_MP: Tensor) -> Tensors:
        """Return views of each parameter, shape (M, …)."""
        return {
            slot.name: flat_MP[:, slot.start : slot.stop].view(-1, *slot.shape)
            for slot in self.slots
        }

    def join(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Concatenate parameters or gradients to shape (M, P), with zeros as padding."""
        columns = [parameters[slot.name].flatten(1) for slot in self.slots]
        missing = [-column.shape[1] % ALIGNMENT for column in columns]
        padded = [F.pad(c, (0, n)) if n else c for c, n in zip(columns, missing, strict=True)]
        return torch.cat(padded, 1)


def _param_slots(parameters: Iterable[tuple[str, Tensor, ToStacked]]) -> tuple[ParamSlot, ...]:
    slots, start = list[ParamSlot](), 0
    for name, parameter, to_stacked in parameters:
        shape = tuple(to_stacked(parameter.detach()).shape)
        slots.append(ParamSlot(name, start, shape, to_stacked))
        start = slots[-1].stop + -slots[-1].stop % ALIGNMENT
    return tuple(slots)


# ---------------------------------------------------------------- a sequence of stacked layers


@dataclass(frozen=True, kw_only=True)
class StackedNetwork(Network):
    """A sequence of layers in their stacked form."""

    layers: tuple[tuple[str, StackedLayer | int], ...]
    """Name in the module, and the layer; an integer is the index of a stochastic layer."""

    engine = "fused"
    slot_groups = 1

    def forward(
        self, params: Tensors, state: Tensors, x_MBI: Tensor, noise: Perturbations, training: bool
    ) -> tuple[Tensor, Tensors]:
        x, next_state, feature_major = x_MBI, dict(state), False
        for name, layer in self.layers:
            if isinstance(layer, int):
                if training and noise:
                    draws, scalars = noise[layer]
                    x = self.stochastic_layers[layer].layer.perturb(x, draws, *scalars)
                continue
            if layer.feature_major not in (None, feature_major):
                x, feature_major = x.transpose(1, 2), not feature_major
            layer_params = select_prefix(name, layer.to_stacked, params)
            buffers = select_prefix(name, layer.to_stacked, state)
            x, changed = layer.forward(x, layer_params, buffers, training)
            next_state.update({f"{name}.{key}": value for key, value in changed.items()})
        return x.transpose(1, 2) if feature_major else x, next_state

    def statistics(self, params: Tensors, state: Tensors, x_MBI: Tensor) -> Tensors:
        # Layers without running statistics return those of the batch.
        return state | self.forward(params, {}, x_MBI, (), True)[1]

    def initial_state(self, module: nn.Module) -> Tensors:
        buffers = dict(module.named_buffers())
        return {
            f"{name}.{key}": to_stacked(buffers[f"{name}.{key}"])
            for name, layer in self.layers
            if isinstance(layer, StackedLayer)
            for key, to_stacked in layer.to_stacked.items()
            if f"{name}.{key}" in buffers
        }


_FEATURE_MAJOR_TYPES = (nn.GroupNorm, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""With one of these in a network, layers that support both layouts are feature-major."""


def stack_sequence(module: nn.Module, row: Tensor) -> StackedNetwork:
    """Build the stacked form of a nested ``nn.Sequential``, from one row of its inputs."""
    leaves = _sequence_leaves(module)
    shapes = _input_shapes(module, [leaf for _, leaf in leaves], row)
    prefer = any(isinstance(layer, _FEATURE_MAJOR_TYPES) for layer in module.modules())
    layers, stochastic_layers = list[tuple[str, StackedLayer | int]](), list[StochasticLayer]()
    feature_major = False
    for (name, leaf), (_, shape) in zip(leaves, shapes, strict=True):
        if isinstance(leaf, RandomLayer):
            layers.append((name, len(stochastic_layers)))
            stochastic_layers.append(StochasticLayer(leaf, shape, feature_major))
            continue
        layer = stack_layer(leaf, shape, prefer)
        feature_major = feature_major if layer.feature_major is None else layer.feature_major
        layers.append((name, layer))
    stacked_layers = {name: layer for name, layer in layers if isinstance(layer, StackedLayer)}
    to_stacked = {
        f"{name}.{key}": function
        for name, layer in stacked_layers.items()
        for key, function in layer.to_stacked.items()
    }
    for name, _ in module.named_parameters():
        if name not in to_stacked:
            raise NotStackableError(f"there is no stacked form of the parameter {name}")
    return StackedNetwork(
        layers=tuple(layers),
        slots=_param_slots((name, p, to_stacked[name]) for name, p in module.named_parameters()),
        stochastic_layers=tuple(stochastic_layers),
        unit_weights=tuple(
            (f"{name}.{weight}", (-2,))
            for name, layer in stacked_layers.items()
            for weight in layer.unit_weights
        ),
        depth=sum(layer.depth if isinstance(layer, StackedLayer) else 1 for _, layer in layers),
        same_in_training=not stochastic_layers and not any(True for _ in module.buffers()),
    )


def _sequence_leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        raise NotStackableError(f"{type(module).__name__} is no sequence of layers")
    leaves = list(_walk_sequence("", module))
    with_parameters = [leaf for _, leaf in leaves if any(True for _ in leaf.parameters())]
    if len(set(with_parameters)) < len(with_parameters):
        raise NotStackableError("there is no stacked form of a layer that stands in two places")
    every_use = list(module.named_parameters(remove_duplicate=False))
    if len(every_use) > sum(1 for _ in module.parameters()):
        raise NotStackableError("there is no stacked form of layers that share a parameter")
    for _, leaf in leaves:
        if not (isinstance(leaf, RandomLayer) or has_stacked_form(leaf)):
            raise NotStackableError(f"there is no stacked form of {type(leaf).__name__}")
    return leaves


def _walk_sequence(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield prefix, module
        return
    for name, child in module._modules.items():  # named_children omits repeated modules
        if child is not None:
            yield from _walk_sequence(f"{prefix}.{name}" if prefix else name, child)


def _input_shapes(
    module: nn.Module, layers: Sequence[nn.Module], row: Tensor
) -> list[tuple[nn.Module, Shape]]:
    """Return the layers in the order of their calls, with the shape of one row of their inputs."""
    shapes: list[tuple[nn.Module, Shape]] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes.append((layer, tuple(inputs[0].shape[1:])))

    hooks = [layer.register_forward_pre_hook(record) for layer in dict.fromkeys(layers)]
    training = module.training
    module.eval()
    with torch.no_grad():
        module(row)
    module.train(training)
    for hook in hooks:
        hook.remove()
    return shapes


# ---------------------------------------------------------------------------- any other module


@dataclass(frozen=True, kw_only=True)
class MappedNetwork(Network):
    """Any module, its forward pass mapped over members by ``torch.func.vmap``."""

    module: nn.Module

    engine = "vmap"
    slot_groups = ALIGNMENT

    def forward(
        self, params: Tensors, state: Tensors, x_MBI: Tensor, noise: Perturbations, training: bool
    ) -> tuple[Tensor, Tensors]:
        self.module.train(training)
        return self._map(params, state, x_MBI, noise)

    def statistics(self, params: Tensors, state: Tensors, x_MBI: Tensor) -> Tensors:
        with averaged_statistics(self.module):
            return self._map(params, state, x_MBI, ())[1]

    def _map(
        self, params: Tensors, state: Tensors, x_MBI: Tensor, noise: Perturbations
    ) -> tuple[Tensor, Tensors]:
        def forward_member(
            params: Tensors, state: Tensors, x_BI: Tensor, noise: Perturbations
        ) -> tuple[Tensor, Tensors]:
            for random, layer_noise in zip(self.stochastic_layers, noise, strict=False):
                random.layer.precomputed = layer_noise
            next_state = dict(state)
            outputs = torch.func.functional_call(self.module, (params, next_state), (x_BI,))
            return outputs, next_state

        # Layers change their buffers in place, but this function must not change its arguments.
        copies = {name: tensor.clone() for name, tensor in state.items()}
        try:
            mapped = torch.func.vmap(forward_member, in_dims=0, randomness="error")
            with warnings.catch_warnings():
                # Operations without a batched form run member by member, with correct numbers.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                outputs, next_state = mapped(params, copies, x_MBI, tuple(noise))
        finally:
            for random in self.stochastic_layers:
                random.layer.precomputed = None
        return outputs, next_state

    def initial_state(self, module: nn.Module) -> Tensors:
        return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def map_module(module: nn.Module, linears: Sequence[nn.Linear], row: Tensor) -> MappedNetwork:
    """Map any module over members.

    A regularizer may limit the lengths of the units' incoming weights in ``linears``; ``row`` is
    one row of inputs.
    """
    random_layers = [layer for layer in module.modules() if isinstance(layer, RandomLayer)]
    shapes = dict(_input_shapes(module, random_layers, row))
    return MappedNetwork(
        module=module,
        slots=_param_slots(
            (name, p, lambda tensor: tensor) for name, p in module.named_parameters()
        ),
        stochastic_layers=tuple(
            StochasticLayer(layer, shapes[layer]) for layer in random_layers if layer in shapes
        ),
        unit_weights=tuple(
            (_length_parameter(module, linear), tuple(range(1 - linear.weight.ndim, 0)))
            for linear in linears
        ),
    )


def _length_parameter(module: nn.Module, layer: nn.Linear) -> str:
    """Name the parameter that holds the lengths of a layer's weight vectors."""
    # With weight norm, the lengths are (O, 1): their norm along the last dimension is |g|.
    parameter = layer.weight
    if is_parametrized(layer, "weight"):
        parameter = layer.parametrizations.weight.original0  # type: ignore[union-attr,assignment]
    return next(name for name, p in module.named_parameters() if p is parameter)
