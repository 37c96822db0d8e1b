"""The tables of a results folder: their columns on disk, and what makes a row unique."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ablations.core.schema import (
    BASELINE_COLUMNS,
    METRIC_COLUMNS,
    RUN_COLUMNS,
    baseline_column,
    columns_by_type,
)

_NAMES = list(RUN_COLUMNS)
_RESULTS = {"run_id", "study", "seed", "split", *_NAMES[_NAMES.index("status") :], *METRIC_COLUMNS}
_RESULTS |= {*BASELINE_COLUMNS}
_RESULTS -= {"epochs"}


def is_result(column: str) -> bool:
    """Whether a column of the runs table holds results, and so cannot be an axis."""
    return column in _RESULTS or column.startswith(("python:", baseline_column("python:")))


@dataclass(frozen=True)
class TableSpec:
    """A table of a results folder, and of the same name its folder of shards."""

    name: str
    columns: Mapping[str, str]  # reserved ones to Arrow types; values decide the types of others
    key: tuple[str, ...]  # columns that identify a row
    keep: Literal["first", "last"] = "last"  # of rows with the same key, in the order of writing
    order: tuple[str, ...] = ()  # columns to sort by; empty keeps the order of writing


RUNS = TableSpec("runs", RUN_COLUMNS, key=("run_id",))

CURVES = TableSpec(
    "curves",
    columns_by_type(
        ("string", "run_id"), ("int64", "epoch"), ("float64", "objective train_loss val_loss lr")
    ),
    key=("run_id", "epoch"),
    order=("run_id", "epoch"),
)

TIMINGS = TableSpec(
    "timings",
    columns_by_type(
        ("string", "run_id cost_id alias"),
        ("int64", "block place threads"),
        ("float64", "seconds forward_seconds backward_seconds update_seconds"),
        ("int64", "steps run_steps memory parameters"),
        ("string", "environment_id"),
    ),
    key=("environment_id", "block", "cost_id", "alias"),
    keep="first",
)

AUDIT = TableSpec(
    "audit",
    columns_by_type(
        ("string", "run_id engine"),
        ("int64", "cohort_size epochs_compared"),
        ("float64", "deviation tolerance deviation_float64 tolerance_float64"),
        ("bool", "repeated"),
        ("float64", "drift"),
        ("string", "reason environment_id"),
    ),
    key=("run_id",),
)

TABLES = (RUNS, CURVES, TIMINGS, AUDIT)
