"""Networks of many runs at once.

Two ways lead there.  A sequence of layers that have a stacked form becomes one program of batched
matrix products; any other module runs through ``torch.func.vmap`` where that works.

All parameters of a member lie side by side in one row of numbers, so that what an optimizer does
is a few operations on one tensor.

Letters in names: M member, B batch, I inputs, O outputs, P all parameters of a member.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from ablations.techniques.base import RandomLayer
from ablations.training.fused.layers import (
    ALIGNED,
    Layer,
    NotStackableError,
    Shape,
    Tensors,
    known,
    stacked,
)

__all__ = [
    "Network",
    "ParamSlot",
    "StochasticLayer",
    "flatten",
    "join",
    "sequence",
    "split",
    "vmapped",
]

Drawn = Sequence[tuple[Tensor, tuple[Tensor, ...]]]
"""For each layer that draws: what it prepared, and its numbers (M, 1, …)."""


@dataclass(frozen=True)
class ParamSlot:
    """Where a parameter lies among the P numbers of a member, and its shape there."""

    name: str
    start: int
    shape: tuple[int, ...]
    lay: Callable[[Tensor], Tensor]
    """From the parameter as PyTorch holds it to the shape stored here."""

    @property
    def stop(self) -> int:
        """One past its last number."""
        return self.start + torch.Size(self.shape).numel()


@dataclass(frozen=True)
class StochasticLayer:
    """A layer that draws, and how its inputs lie."""

    layer: RandomLayer
    shape: Shape
    """Shape of a row there, in PyTorch's order."""
    turned: bool | None = None
    """Whether features come before rows; None where rows keep their shape."""

    @property
    def dims(self) -> int:
        """Dimensions of its inputs, that of the members counted."""
        return 2 + (len(self.shape) if self.turned is None else 1)

    def prepared(
        self, drawn_S: Tensor, seed_U: Tensor, numbers_U: Sequence[Tensor], unique_M: Tensor
    ) -> Tensor:
        """What the layer makes of its draws, for each member, lying as its inputs do.

        Parameters
        ----------
        drawn_S
            The draws of each seed, (S, B, …).
        seed_U, numbers_U
            The place among the seeds, and the numbers, of members without their equals.
        unique_M
            The place of each member among those.
        """
        drawn = drawn_S if self.turned is None else drawn_S.flatten(2)
        prepared_U = self.layer.transform(drawn.index_select(0, seed_U), *numbers_U)
        if self.turned:
            prepared_U = prepared_U.transpose(1, 2).contiguous()
        return prepared_U.index_select(0, unique_M)


class Network(Protocol):
    """A network of M members."""

    @property
    def slots(self) -> tuple[ParamSlot, ...]:
        """The parameters, as they lie side by side."""

    @property
    def places(self) -> tuple[StochasticLayer, ...]:
        """The layers that draw."""

    @property
    def rows(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Parameters that hold the units' incoming weights, and the dimensions along which."""

    @property
    def engine(self) -> str:
        """``fused`` or ``vmap``."""

    @property
    def lanes(self) -> int:
        """How many kinds of places there are, in turn, where numbers may be rounded otherwise."""

    @property
    def depth(self) -> int:
        """About how many layers numbers go through one after the other."""

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation mode give the same outputs."""

    def forward(
        self, parameters: Tensors, state: Tensors, x_MBI: Tensor, drawn: Drawn, training: bool
    ) -> tuple[Tensor, Tensors]:
        """Outputs (M, B, O) and the next state; a pure function."""

    def state(self, module: nn.Module) -> Tensors:
        """One member's buffers at the start."""


def flatten(network: Network, module: nn.Module) -> Tensor:
    """One member's parameters, shape (P,)."""
    found = dict(module.named_parameters())
    parameters = {slot.name: slot.lay(found[slot.name].detach())[None] for slot in network.slots}
    return join(network, parameters)[0]


def split(network: Network, flat_MP: Tensor) -> Tensors:
    """Views of each parameter, shape (M, …)."""
    return {
        slot.name: flat_MP[:, slot.start : slot.stop].view(-1, *slot.shape)
        for slot in network.slots
    }


def join(network: Network, parameters: Mapping[str, Tensor]) -> Tensor:
    """The parameters (or their gradients) side by side, shape (M, P), with zeros between."""
    parts: list[Tensor] = []
    for slot in network.slots:
        part = parameters[slot.name].flatten(1)
        missing = -part.shape[1] % ALIGNED
        parts.append(F.pad(part, (0, missing)) if missing else part)
    return torch.cat(parts, 1)


# --------------------------------------------------------------------- a sequence of such layers


@dataclass(frozen=True)
class StackedNetwork:
    """A sequence of layers, each in its stacked form."""

    layers: tuple[tuple[str, Layer | int], ...]
    """Name in the module, and the layer; a number stands for a layer that draws, a place."""
    slots: tuple[ParamSlot, ...]
    places: tuple[StochasticLayer, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    same_in_training: bool
    engine: str = "fused"
    lanes: int = 1

    @property
    def depth(self) -> int:
        """About how many layers numbers go through one after the other."""
        return sum(layer.depth if isinstance(layer, Layer) else 1 for _, layer in self.layers)

    def forward(
        self, parameters: Tensors, state: Tensors, x_MBI: Tensor, drawn: Drawn, training: bool
    ) -> tuple[Tensor, Tensors]:
        """Outputs (M, B, O) and the next state."""
        x, after, turned = x_MBI, dict(state), False
        for name, layer in self.layers:
            if isinstance(layer, int):
                if training:
                    prepared, numbers = drawn[layer]
                    x = self.places[layer].layer.perturb(x, prepared, *numbers)
                continue
            if layer.turned not in (None, turned):
                x, turned = x.transpose(1, 2), not turned
            own, kept = _own(parameters, name, layer), _own(state, name, layer)
            x, changed = layer.forward(x, own, kept, training)
            after.update({f"{name}.{key}": value for key, value in changed.items()})
        return x.transpose(1, 2) if turned else x, after

    def state(self, module: nn.Module) -> Tensors:
        """One member's buffers at the start."""
        found = dict(module.named_buffers())
        return {
            f"{name}.{key}": lay(found[f"{name}.{key}"])
            for name, layer in self.layers
            if isinstance(layer, Layer)
            for key, lay in layer.lay.items()
            if f"{name}.{key}" in found
        }


def _own(tensors: Mapping[str, Tensor], name: str, layer: Layer) -> Tensors:
    """Those of a layer, by its own names for them."""
    return {key: tensors[f"{name}.{key}"] for key in layer.lay if f"{name}.{key}" in tensors}


def sequence(module: nn.Module, row: Tensor) -> StackedNetwork:
    """The stacked form of an ``nn.Sequential``, nested or not.

    Parameters
    ----------
    row
        One row of inputs, to learn the shapes that its layers are given.

    Raises
    ------
    NotStackableError
        If it is something else, or a layer in it has no stacked form.
    """
    if type(module) is not nn.Sequential:
        raise NotStackableError(f"{type(module).__name__} is no sequence of layers")
    leaves = list(_leaves("", module))
    with_parameters = [leaf for _, leaf in leaves if any(True for _ in leaf.parameters())]
    if len(set(with_parameters)) < len(with_parameters):
        raise NotStackableError("there is no stacked form of a layer that stands in two places")
    every = list(module.named_parameters(remove_duplicate=False))
    if len(every) > sum(1 for _ in module.parameters()):
        raise NotStackableError("there is no stacked form of layers that share a parameter")
    for _, leaf in leaves:
        if not (isinstance(leaf, RandomLayer) or known(leaf)):
            raise NotStackableError(f"there is no stacked form of {type(leaf).__name__}")
    shapes = _shapes(module, [leaf for _, leaf in leaves], row)
    layers: list[tuple[str, Layer | int]] = []
    places: list[StochasticLayer] = []
    prefer_turned = any(isinstance(part, _TURNED) for part in module.modules())
    turned = False
    for (name, leaf), (_, shape) in zip(leaves, shapes, strict=True):
        if isinstance(leaf, RandomLayer):
            layers.append((name, len(places)))
            places.append(StochasticLayer(leaf, shape, turned))
            continue
        form = stacked(leaf, shape, prefer_turned)
        turned = turned if form.turned is None else form.turned
        layers.append((name, form))
    slots: list[ParamSlot] = []
    for name, parameter in module.named_parameters():
        owner, layer = next((n, la) for n, la in layers if name.startswith(f"{n}."))
        lay = layer.lay[name.removeprefix(f"{owner}.")] if isinstance(layer, Layer) else None
        if lay is None:
            raise NotStackableError(f"there is no stacked form of the parameter {name}")
        slots.append(_slot(name, parameter, lay, slots))
    rows = [
        (f"{name}.{weight}", (-2,))
        for name, layer in layers
        if isinstance(layer, Layer)
        for weight in layer.rows
    ]
    same = not places and not any(True for _ in module.buffers())
    return StackedNetwork(tuple(layers), tuple(slots), tuple(places), tuple(rows), same)


_TURNED = (nn.GroupNorm, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Where one of these is, features lie before rows wherever that can be chosen."""


def _shapes(
    module: nn.Module, layers: Sequence[nn.Module], row: Tensor
) -> list[tuple[nn.Module, Shape]]:
    """The layers in the order in which inputs came to them, and the shape of a row there."""
    found: list[tuple[nn.Module, Shape]] = []

    def seen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((layer, tuple(inputs[0].shape[1:])))

    hooks = [layer.register_forward_pre_hook(seen) for layer in dict.fromkeys(layers)]
    training = module.training
    module.eval()
    with torch.no_grad():
        module(row)
    module.train(training)
    for hook in hooks:
        hook.remove()
    return found


def _slot(
    name: str, parameter: Tensor, lay: Callable[[Tensor], Tensor], before: Sequence[ParamSlot]
) -> ParamSlot:
    start = before[-1].stop + -before[-1].stop % ALIGNED if before else 0
    return ParamSlot(name, start, tuple(lay(parameter.detach()).shape), lay)


def _leaves(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield prefix, module
        return
    for name, child in module._modules.items():  # named_children leaves out what comes again
        if child is not None:
            yield from _leaves(f"{prefix}.{name}" if prefix else name, child)


# ------------------------------------------------------------------------------ any other module


@dataclass(frozen=True)
class Vmapped:
    """A module of somebody else, its forward pass mapped over members."""

    module: nn.Module
    slots: tuple[ParamSlot, ...]
    places: tuple[StochasticLayer, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    engine: str = "vmap"
    lanes: int = ALIGNED
    depth: int = 1
    same_in_training: bool = False

    def forward(
        self, parameters: Tensors, state: Tensors, x_MBI: Tensor, drawn: Drawn, training: bool
    ) -> tuple[Tensor, Tensors]:
        """Outputs (M, B, O) and the next state."""
        self.module.train(training)

        def one(
            parameters: Tensors, state: Tensors, x_BI: Tensor, drawn: Drawn
        ) -> tuple[Tensor, Tensors]:
            for place, given in zip(self.places, drawn, strict=False):
                place.layer.precomputed = given
            after = dict(state)
            outputs = torch.func.functional_call(self.module, (parameters, after), (x_BI,))
            return outputs, after

        # Layers change their buffers in place, which must not reach the caller's.
        copies = {name: tensor.clone() for name, tensor in state.items()}
        try:
            mapped = torch.func.vmap(one, in_dims=0, randomness="error")
            with warnings.catch_warnings():
                # Operations without a batched form run member by member; the numbers are right.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                outputs, after = mapped(parameters, copies, x_MBI, tuple(drawn))
        finally:
            for place in self.places:
                place.layer.precomputed = None
        return outputs, after

    def state(self, module: nn.Module) -> Tensors:
        """One member's buffers at the start."""
        return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def vmapped(module: nn.Module, linears: Sequence[nn.Linear], row: Tensor) -> Vmapped:
    """Any module, mapped over members.

    Parameters
    ----------
    linears
        Its layers whose units a limit on the length of incoming weights is about.
    row
        One row of inputs, to learn the shapes that its layers are given.
    """
    slots: list[ParamSlot] = []
    for name, parameter in module.named_parameters():
        slots.append(_slot(name, parameter, lambda tensor: tensor, slots))
    rows = tuple((_lengths(module, one), tuple(range(1 - one.weight.ndim, 0))) for one in linears)
    return Vmapped(module, tuple(slots), _places(module, row), rows)


def _lengths(module: nn.Module, layer: nn.Linear) -> str:
    # The lengths of weight norm are (O, 1): their own length along the last dimension is |g|.
    wanted = layer.weight
    if is_parametrized(layer, "weight"):
        wanted = layer.parametrizations.weight.original0  # type: ignore[union-attr,assignment]
    return next(name for name, found in module.named_parameters() if found is wanted)


def _places(module: nn.Module, row: Tensor) -> tuple[StochasticLayer, ...]:
    layers = [layer for layer in module.modules() if isinstance(layer, RandomLayer)]
    shapes = dict(_shapes(module, layers, row))
    return tuple(StochasticLayer(layer, shapes[layer]) for layer in layers if layer in shapes)
