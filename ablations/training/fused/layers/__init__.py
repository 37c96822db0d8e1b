"""Stacked forms of PyTorch's layers.

``base.stack_layer`` builds the stacked form of a layer by its type; ``base.stacked_form`` registers
one for another type, so that networks with such layers become one program.
"""

from ablations.training.fused.layers import conv, dense, norms, recurrent

__all__ = ["conv", "dense", "norms", "recurrent"]
