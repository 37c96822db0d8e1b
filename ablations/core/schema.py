"""Reserved column names of the runs table, the values of its column ``status``, and the columns
of a table of data.
"""

from __future__ import annotations

from dataclasses import dataclass


def columns_by_type(*groups: tuple[str, str]) -> dict[str, str]:
    """Map columns to the name of their Arrow type, from pairs of a type and column names."""
    return {name: kind for kind, names in groups for name in names.split()}


RUN_COLUMNS = columns_by_type(
    ("string", "run_id study task model regularizer norm init schedule device"),
    ("int64", "seed split"),
    ("string", "optimizer"),
    ("float64", "lr"),
    ("string", "batch_size dtype status reason engine"),
    ("int64", "cohort_size epochs parameters"),
    ("float64", "objective train_loss val_loss"),
    ("int64", "best_epoch"),
    ("float64", "best_val_loss test_loss baseline metric"),
    ("string", "metric_name"),
    ("float64", "train_seconds"),
    ("string", "environment_id traceback"),
)
"""Columns of every runs table, whatever the study, with the name of their Arrow type.

From ``status`` on they are results, which cannot be axes.
"""

LOSS_COLUMNS = ("val_loss", "test_loss", "best_val_loss", "train_loss", "objective")
"""Columns of losses, of which lower is better; any of them may be the outcome of a study."""

METRIC_COLUMNS = (
    *("accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "average_precision", "log_loss"),
    *("f1_micro", "f1_weighted", "precision_macro", "precision_micro", "precision_weighted"),
    *("recall_macro", "recall_micro", "recall_weighted", "matthews_corrcoef", "cohen_kappa"),
    *("brier_score", "top_2_accuracy", "top_3_accuracy", "top_5_accuracy"),
    *("r2", "mae", "rmse", "mse", "median_absolute_error", "mape", "max_error"),
    "explained_variance",
)
"""Columns of the metrics that this package computes; a table has those that its runs recorded.

A metric of one's own has the column ``python:module:function``.
"""


def baseline_column(metric: str) -> str:
    """Return the column with the best constant's value of a metric: ``baseline_accuracy``."""
    return f"baseline_{metric}"


BASELINE_COLUMNS = tuple(baseline_column(name) for name in ("metric", *METRIC_COLUMNS))
"""Columns with what the best constant prediction scores by each recorded metric."""

STATUS_RANK = {"ok": 0, "diverged": 0, "failed": 1, "skipped": 2}
"""Rank of a status: of two rows of one run, the row with the lower rank replaces the other."""

TRAINED = ("ok", "diverged")  # the statuses of a run that needs no further training


@dataclass(frozen=True)
class TableColumn:
    """What became of a column of the table that a task reads."""

    name: str
    role: str
    """``target``, ``feature``, ``group``, ``split`` or ``left out``."""
    type: str
    """``number``, ``category``, ``text`` or ``date``; with ``(stated)`` if the study says so."""
    missing: str
    """What was taken as missing, and in how many rows."""
    treatment: str
    """How it is encoded and filled, or why it is left out."""
