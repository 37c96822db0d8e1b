"""Reserved column names of the runs table, and the values of its column ``status``."""

from __future__ import annotations

RUN_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "study": "string",
    "task": "string",
    "model": "string",
    "regularizer": "string",
    "norm": "string",
    "init": "string",
    "schedule": "string",
    "device": "string",
    "seed": "int64",
    "optimizer": "string",
    "lr": "float64",
    "batch_size": "string",
    "dtype": "string",
    "status": "string",
    "reason": "string",
    "engine": "string",
    "cohort_size": "int64",
    "epochs": "int64",
    "parameters": "int64",
    "objective": "float64",
    "train_loss": "float64",
    "val_loss": "float64",
    "best_epoch": "int64",
    "best_val_loss": "float64",
    "test_loss": "float64",
    "baseline": "float64",
    "metric": "float64",
    "metric_name": "string",
    "train_seconds": "float64",
    "environment_id": "string",
    "traceback": "string",
}
"""Columns of every runs table, whatever the study, with the name of their Arrow type.

From ``status`` on they are results, which cannot be axes.
"""

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

STATUS_RANK = {"ok": 0, "diverged": 0, "failed": 1, "skipped": 2}
"""Rank of a status: of two rows of one run, the row with the lower rank replaces the other."""

TRAINED = ("ok", "diverged")
"""The statuses of a run that needs no further training."""
