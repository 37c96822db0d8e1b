"""schema."""

from __future__ import annotations

import pyarrow as pa

_RUNS: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "study": pa.string(),
    "task": pa.string(),
    "model": pa.string(),
    "regularizer": pa.string(),
    "norm": pa.string(),
    "init": pa.string(),
    "schedule": pa.string(),
    "device": pa.string(),
    "seed": pa.int64(),
    "optimizer": pa.string(),
    "lr": pa.float64(),
    "batch_size": pa.string(),
    "dtype": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "engine": pa.string(),
    "cohort_size": pa.int64(),
    "epochs": pa.int64(),
    "parameters": pa.int64(),
    "objective": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "metric": pa.float64(),
    "metric_name": pa.string(),
    "train_seconds": pa.float64(),
    "environment_id": pa.string(),
    "traceback": pa.string(),
}


_CURVES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "epoch": pa.int64(),
    "objective": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "lr": pa.float64(),
}


COLUMNS = tuple(_RUNS)
"""Columns of every runs table, whatever the study."""


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


# What a later attempt may replace: the first of two rows of one run in this order is kept.
RANK = {"ok": 0, "diverged": 0, "failed": 1, "skipped": 2}


TRAINED = ("ok", "diverged")
