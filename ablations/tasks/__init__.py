"""Tasks: data, loss and metric; one module per task or source of data."""

from ablations.core.registry import discover

discover(__name__)
