"""Networks, which ask the techniques for their layers; one module per model or family."""

from ablations.core.registry import discover

discover(__name__)
