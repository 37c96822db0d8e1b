"""The techniques under test, one module an axis, one small class a technique."""

from ablations.core.registry import discover

discover(__name__)
