"""Tasks: data, loss and metric, one module a task."""

from ablations.core.registry import discover

discover(__name__)
