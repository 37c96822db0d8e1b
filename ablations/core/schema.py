"""Reserved column names of the runs table, and the values of its column ``status``."""

from __future__ import annotations


def columns_by_type(*groups: tuple[str, str]) -> dict[str, str]:
    """Map columns to the name of their Arrow type, from pairs of a type and column names."""
    return {name: kind for kind, names in groups for name in names.split()}


RUN_COLUMNS = columns_by_type(
    ("string", "run_id study task model regularizer norm init schedule device"),
    ("int64", "seed"),
    ("string", "optimizer"),
    ("float64", "lr"),
    ("string", "batch_size dtype status reason engine"),
    ("int64", "cohort_size epochs parameters"),
    ("float64", "objective train_loss val_loss metric"),
    ("string", "metric_name"),
    ("float64", "train_seconds"),
    ("string", "environment_id traceback"),
)
"""Columns of every runs table, whatever the study, with the name of their Arrow type.

From ``status`` on they are results, which cannot be axes.
"""

STATUS_RANK = {"ok": 0, "diverged": 0, "failed": 1, "skipped": 2}
"""Rank of a status: of two rows of one run, the row with the lower rank replaces the other."""

TRAINED = ("ok", "diverged")  # the statuses of a run that needs no further training
