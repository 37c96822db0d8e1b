"""What the stacked form of a layer is: the layer over a leading member dimension.

Features lie innermost, (M, B, F), or turned, (M, F, B).  Turned, what is done to the few features
of a group, or to a window of a picture, is done to whole vectors of rows.  A picture or a series
is its features in PyTorch's order: channels, and within them its places.

Letters in names: M member, B batch, F features, C channels, S places, I and O a layer's inputs and
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

__all__ = [
    "ALIGNED",
    "Forward",
    "Layer",
    "NotStackableError",
    "Shape",
    "Tensors",
    "known",
    "lying",
    "select_prefix",
    "stacked",
    "stacks",
]

Tensors = dict[str, Tensor]
Shape = tuple[int, ...]

ALIGNED = 4
"""Matrices of numbers in a multiple of this begin alike: at a multiple of 16 bytes."""


class NotStackableError(Exception):
    """Why a network has no stacked form."""


Forward = Callable[[Tensor, Tensors, Tensors, bool], tuple[Tensor, Tensors]]
"""``(x_MBI, parameters, state, training) -> (y_MBO, changed state)``, names as in the layer."""


@dataclass(frozen=True)
class Layer:
    """One layer's stacked form; names are those of the layer's own parameters."""

    forward: Forward
    lay: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    """For each parameter, from one member's to its stored shape, features in order."""
    rows: tuple[str, ...] = ()
    """Parameters that hold the units' incoming weights, one unit a column."""
    turned: bool | None = False
    """Whether inputs and outputs are, (M, F, B); None where outputs are as inputs."""
    depth: int = 1
    """About how many layers it is, one after the other."""


Form = Callable[[Any, Shape, bool], Layer]
_FORMS: dict[type[nn.Module], Form] = {}


def stacks(*kinds: type[nn.Module]) -> Callable[[Form], Form]:
    """Register what gives the stacked form of layers of these types.

    It is given the layer, the shape of a row of its inputs in PyTorch's order, and whether a layer
    that can choose should work on turned inputs; it raises NotStackableError where there is no
    form.
    """

    def register(form: Form) -> Form:
        _FORMS.update(dict.fromkeys(kinds, form))
        return form

    return register


def known(module: nn.Module) -> bool:
    """Whether a layer is of a type with a stacked form, and no more than that type."""
    return _kind(module) in _FORMS


def _kind(module: nn.Module) -> type[nn.Module]:
    return type(module).__mro__[1] if is_parametrized(module) else type(module)


def stacked(module: nn.Module, shape: Shape, turned: bool = False) -> Layer:
    """The stacked form of a layer.

    Parameters
    ----------
    shape
        Of a row of its inputs, in PyTorch's order.
    turned
        Whether a layer that can choose should work on turned inputs.

    Raises
    ------
    NotStackableError
        If it has none.
    """
    if not known(module):
        raise NotStackableError(f"there is no stacked form of {type(module).__name__}")
    return _FORMS[_kind(module)](module, shape, turned)


def select_prefix(part: str, tensors: Tensors) -> Tensors:
    """Those of a layer within a layer, by its own names for them."""
    prefix = f"{part}."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def lying(tensor: Tensor) -> Tensor:
    """A feature's numbers as a row (1, F)."""
    return tensor.reshape(1, -1)
