"""Whether the rows of a file are what its table can hold, and these rows with the table's types.

Whoever can write a file can give it the right digest.  What is in it is taken for nothing but the
values of its columns: metadata of pandas, types of extensions and indexes do not count.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ablations.core.schema import STATUS_RANK
from ablations.results.schema import AUDIT, CURVES, RUNS, TIMINGS, TableSpec, is_result

_COMPLETE = {
    RUNS.name: ("run_id", "seed", "status"),
    CURVES.name: ("run_id", "epoch"),
    TIMINGS.name: (*TIMINGS.key, "place", "steps", "seconds"),
    AUDIT.name: ("run_id",),
}
"""Columns without which a row means nothing: a file has them, without a missing value."""
_COUNTS = {
    RUNS.name: ("cohort_size", "epochs", "parameters", "best_epoch"),
    CURVES.name: ("epoch",),
    TIMINGS.name: ("block", "place", "threads", "steps", "run_steps", "memory", "parameters"),
    AUDIT.name: ("cohort_size", "epochs_compared"),
}
"""Columns of whole numbers that are not negative."""
_MOST = 1 << 53
"""The largest whole number that every reader holds exactly."""


def find_misfit(schema: pa.Schema, spec: TableSpec) -> str:
    """Return why columns of this schema are none of the table; "" if they are."""
    names = schema.names
    for name in names:
        if names.count(name) > 1:
            return f"has two columns '{name}'"
    for name in _COMPLETE[spec.name]:
        if name not in names:
            return f"has no column {name}"
    for field in schema:
        expected = _expected(field.name, spec)
        if not _fits(field.type, expected):
            return f"column '{field.name}' holds {field.type}; expected {_WORDS[expected]}"
    return ""


def _expected(name: str, spec: TableSpec) -> str:
    """Return the type of a column; "level" for that of an axis."""
    if name in spec.columns:
        return spec.columns[name]
    return "float64" if spec is RUNS and is_result(name) else "level"


_WORDS = {
    "string": "text",
    "int64": "whole numbers",
    "float64": "numbers",
    "bool": "truth values",
    "level": "numbers, text or truth values",
}


def _fits(kind: pa.DataType, expected: str) -> bool:
    types = pa.types
    is_text = types.is_string(kind) or types.is_large_string(kind)
    is_number = types.is_integer(kind) or types.is_floating(kind)
    return bool(
        types.is_null(kind)
        or {
            "string": is_text,
            "int64": types.is_integer(kind),
            "float64": is_number,
            "bool": types.is_boolean(kind),
            "level": is_text or is_number or types.is_boolean(kind),
        }[expected]
    )


def conform(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Return columns that ``find_misfit`` accepts with the types of the table, and nothing else.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a number does not fit into its type.
    """
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        expected = _expected(field.name, spec)
        if expected == "level":
            is_text = pa.types.is_large_string(field.type)
            is_unsigned = pa.types.is_unsigned_integer(field.type)
            kind = pa.string() if is_text else pa.int64() if is_unsigned else field.type
        else:
            kind = pa.type_for_alias(expected)
        columns[field.name] = column.cast(kind)
    return pa.table(columns)


def check_values(table: pa.Table, spec: TableSpec) -> str:
    """Return which value no row can have; "" if there is none."""
    for name in _COMPLETE[spec.name]:
        if name in table.column_names and table[name].null_count:
            return f"column '{name}' lacks values"
    for name in _COUNTS[spec.name]:
        if name in table.column_names and _is_outside(table[name], 0):
            return f"column '{name}' holds a number that counts nothing"
    if "seed" in table.column_names and _is_outside(table["seed"], -_MOST):
        return "column 'seed' holds a number that no seed has"
    if spec is RUNS and "status" in table.column_names:
        statuses = set(pc.unique(table["status"]).to_pylist())
        if unknown := statuses - STATUS_RANK.keys():
            return f"the status of a run is {min(unknown)!r}; expected {', '.join(STATUS_RANK)}"
    return ""


def _is_outside(column: pa.ChunkedArray, least: int) -> bool:
    limits = pc.min_max(column).as_py()
    return limits["min"] is not None and not least <= limits["min"] <= limits["max"] <= _MOST
