"""Stacked forms of PyTorch's layers.

``stack_layer`` builds the stacked form of a layer by its type; ``stacked_form`` registers one for
another type, so that networks with such layers become one program.
"""

from ablations.training.fused.layers import conv, dense, norms, recurrent
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
    stacked_form,
)

__all__ = [
    "ALIGNMENT",
    "NotStackableError",
    "Shape",
    "StackedLayer",
    "Tensors",
    "ToStacked",
    "conv",
    "dense",
    "has_stacked_form",
    "norms",
    "recurrent",
    "select_prefix",
    "stack_layer",
    "stacked_form",
]
