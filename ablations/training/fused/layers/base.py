"""The stacked form of a layer: one layer of many members, with a leading member dimension.

Activations are row-major, (M, B, F), or feature-major, (M, F, B).  The feature-major layout turns
operations on few features, as in a group norm or a convolution, into operations on long vectors
of rows.  The features of an image or a series are in PyTorch's order: channel by channel, and
position by position within a channel.

Letters in names: M member, B row of the batch, F feature, C channel, S position, I and O inputs
and outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

Tensors = dict[str, Tensor]
Shape = tuple[int, ...]
ToStacked = Callable[[Tensor], Tensor]

ALIGNMENT = 4
"""A matrix whose size is a multiple of this begins at a multiple of 16 bytes for every member."""


class NotStackableError(Exception):
    """The fused engine cannot train a network, for the reason in the message."""


Forward = Callable[[Tensor, Tensors, Tensors, bool], tuple[Tensor, Tensors]]
"""``(x, parameters, state, training) -> (y, changed state)``, with the layer's own names.

In training, a layer with running statistics that receives no state returns those of the batch."""


@dataclass(frozen=True)
class StackedLayer:
    """The stacked form of one layer; names are those of the layer's own parameters."""

    forward: Forward
    to_stacked: Mapping[str, ToStacked] = field(default_factory=dict)
    """For each parameter and buffer, the map from one member's tensor to its stored shape."""
    unit_weights: tuple[str, ...] = ()
    """Parameters that hold the incoming weights of the units, one unit per column."""
    feature_major: bool | None = False
    """Layout of inputs and outputs; None if the layer accepts and preserves both."""
    depth: int = 1
    """About how many layers run one after the other."""

    def apply(
        self, x: Tensor, parameters: Tensors, state: Tensors, training: bool, feature_major: bool
    ) -> tuple[Tensor, Tensors]:
        """Run the layer on inputs of either layout; the outputs have the layout of the inputs."""
        differs = self.feature_major not in (None, feature_major)
        x = x.transpose(1, 2) if differs else x
        y, changed = self.forward(x, parameters, state, training)
        return (y.transpose(1, 2) if differs else y), changed


Form = Callable[[Any, Shape, bool], StackedLayer]
_FORMS: dict[type[nn.Module], Form] = {}


def stacked_form(*layer_types: type[nn.Module]) -> Callable[[Form], Form]:
    """Register the function that builds the stacked form of layers of these types.

    The function receives the layer, the shape of one row of its inputs in PyTorch's order, and
    the preferred layout (True for feature-major).  It raises NotStackableError for a layer that
    it cannot represent.
    """

    def register(form: Form) -> Form:
        _FORMS.update(dict.fromkeys(layer_types, form))
        return form

    return register


def has_stacked_form(module: nn.Module) -> bool:
    """Whether a form is registered for exactly the layer's type; a subclass has none."""
    return _layer_type(module) in _FORMS


def _layer_type(module: nn.Module) -> type[nn.Module]:
    return type(module).__mro__[1] if is_parametrized(module) else type(module)


def stack_layer(module: nn.Module, shape: Shape, feature_major: bool = False) -> StackedLayer:
    """Build the stacked form of a layer; NotStackableError if it has none.

    ``shape`` is that of one row of its inputs, in PyTorch's order; ``feature_major`` is the layout
    for layers that support both.
    """
    if not has_stacked_form(module):
        raise NotStackableError(f"there is no stacked form of {type(module).__name__}")
    return _FORMS[_layer_type(module)](module, shape, feature_major)


def select_prefix(prefix: str, names: Iterable[str], tensors: Mapping[str, Tensor]) -> Tensors:
    """Select the tensors ``prefix.name`` for the given names, with the prefix removed."""
    return {name: tensors[f"{prefix}.{name}"] for name in names if f"{prefix}.{name}" in tensors}


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Name the tensors ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def as_row(tensor: Tensor) -> Tensor:
    """One number per feature as a row (1, F)."""
    return tensor.reshape(1, -1)
