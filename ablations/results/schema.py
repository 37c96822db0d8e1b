"""The tables of a results folder: their columns on disk, and what makes a row unique."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from ablations.core.schema import RUN_COLUMNS

_NAMES = list(RUN_COLUMNS)
RESULT_COLUMNS = {"run_id", "study", "seed", *_NAMES[_NAMES.index("status") :]} - {"epochs"}
"""Columns of the runs table that cannot be axes."""


@dataclass(frozen=True)
class TableSpec:
    """A table of a results folder.

    Attributes
    ----------
    name
        Name of the table and of its folder.
    columns
        Reserved columns with their Arrow types; the values of other columns decide their types.
    key
        Columns that identify a row.
    keep
        Which of several rows with the same key is valid, in the order of writing.
    order
        Columns to sort by; empty keeps the order of writing.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    key: tuple[str, ...]
    keep: Literal["first", "last"] = "last"
    order: tuple[str, ...] = ()


RUNS = TableSpec(
    "runs", {name: pa.type_for_alias(alias) for name, alias in RUN_COLUMNS.items()}, ("run_id",)
)

CURVES = TableSpec(
    "curves",
    {
        "run_id": pa.string(),
        "epoch": pa.int64(),
        "objective": pa.float64(),
        "train_loss": pa.float64(),
        "val_loss": pa.float64(),
        "lr": pa.float64(),
    },
    key=("run_id", "epoch"),
    order=("run_id", "epoch"),
)

TIMINGS = TableSpec(
    "timings",
    {
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
    },
    key=("environment_id", "block", "cost_id", "alias"),
    keep="first",
)

AUDIT = TableSpec(
    "audit",
    {
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
    },
    key=("run_id",),
)

TABLES = (RUNS, CURVES, TIMINGS, AUDIT)
