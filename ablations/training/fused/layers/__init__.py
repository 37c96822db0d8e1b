"""Layers of many runs at once.

``stacked`` gives the stacked form of a layer by its type; ``stacks`` registers one for another
type, and networks that hold such layers become one program.
"""

from ablations.training.fused.layers import conv, dense, norms, recurrent
from ablations.training.fused.layers.base import (
    ALIGNED,
    Layer,
    NotStackableError,
    Shape,
    Tensors,
    known,
    stacked,
    stacks,
)

__all__ = [
    "ALIGNED",
    "Layer",
    "NotStackableError",
    "Shape",
    "Tensors",
    "conv",
    "dense",
    "known",
    "norms",
    "recurrent",
    "stacked",
    "stacks",
]
