"""The techniques: one module per axis, one small class per technique."""

from ablations.core.registry import discover

discover(__name__)
