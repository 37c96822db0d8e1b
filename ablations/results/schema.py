"""Arrow schemas of the tables on disk: runs, curves, timings and audit."""

from __future__ import annotations

import pyarrow as pa

from ablations.core.schema import RUN_COLUMNS

_RUNS: dict[str, pa.DataType] = {
    name: pa.type_for_alias(alias) for name, alias in RUN_COLUMNS.items()
}

_NAMES = list(RUN_COLUMNS)
RESULT_COLUMNS = {"run_id", "study", "seed", *_NAMES[_NAMES.index("status") :]} - {"epochs"}
"""Columns of the runs table that cannot be axes."""

_CURVES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "epoch": pa.int64(),
    "objective": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "lr": pa.float64(),
}

_TIMINGS: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "cost_id": pa.string(),
    "alias": pa.string(),
    "block": pa.int64(),
    "place": pa.int64(),
    "threads": pa.int64(),
    "seconds": pa.float64(),
    "forward_seconds": pa.float64(),
    "backward_seconds": pa.float64(),
    "update_seconds": pa.float64(),
    "steps": pa.int64(),
    "run_steps": pa.int64(),
    "memory": pa.int64(),
    "parameters": pa.int64(),
    "environment_id": pa.string(),
}

_AUDIT: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "engine": pa.string(),
    "cohort_size": pa.int64(),
    "epochs_compared": pa.int64(),
    "deviation": pa.float64(),
    "tolerance": pa.float64(),
    "deviation_float64": pa.float64(),
    "tolerance_float64": pa.float64(),
    "repeated": pa.bool_(),
    "drift": pa.float64(),
    "reason": pa.string(),
    "environment_id": pa.string(),
}

_TABLES = {"runs": _RUNS, "curves": _CURVES, "timings": _TIMINGS, "audit": _AUDIT}

_TIMED = ["environment_id", "block", "cost_id", "alias"]
"""What tells timed repetitions apart."""
