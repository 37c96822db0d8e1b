"""Tasks: data, loss and metric, one module a task."""

from ablations.registry import discover

discover(__name__)
