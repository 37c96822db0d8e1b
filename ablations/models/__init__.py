"""Networks that ask the techniques for their layers, one module a model."""

from ablations.core.registry import discover

discover(__name__)
