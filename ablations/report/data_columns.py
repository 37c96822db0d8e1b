"""The columns of the data: what each was read as, and what a network sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ablations.core.printing import printable
from ablations.core.schema import TableColumn
from ablations.report.columns import Column, Table, build_table
from ablations.report.data import ReportData
from ablations.report.formatting import format_count

MOST_COLUMNS = 30
"""Columns that a terminal shows one by one."""
_WIDTHS = (24, 8, 17, 24)
"""Characters of name, role, type and missing values in a terminal."""


def columns_table(data: ReportData) -> Table | None:
    """One row per column of the table that the task read."""
    columns = (
        Column.text("column", "name", "name"),
        Column.text("role", "role"),
        Column.text("type", "type"),
        Column.text("taken as missing, in rows", "missing"),
        Column.text("what it becomes", "treatment", "caption"),
    )
    rows = [asdict(column) for column in data.metadata.columns]
    return build_table("columns", columns, rows, summary=summarise(data.metadata.columns))


def summarise(columns: Sequence[TableColumn]) -> str:
    """Count the columns by role, and the features by type."""
    roles = Counter(column.role for column in columns)
    types = Counter(column.type.partition(" ")[0] for column in columns if column.role == "feature")
    parts = [f"{count:,} {role}" for role, count in roles.items() if role != "feature"]
    features = ", ".join(f"{count:,} {type_}" for type_, count in types.items())
    return ", ".join([f"{format_count(types.total(), 'feature')} ({features})", *parts])


def describe_columns(columns: Sequence[TableColumn]) -> list[str]:
    """Return lines for a terminal: the columns, or their count and the target if they are many."""
    if not columns:
        return []
    lines = [f"data: {format_count(len(columns), 'column')}, {summarise(columns)}"]
    few = columns
    if len(columns) > MOST_COLUMNS:
        few = [column for column in columns if column.role not in ("feature", "left out")]
        few = few[:MOST_COLUMNS]
        lines[0] += "; the report has all"
    rows = [("column", "role", "type", "missing", "becomes")]
    rows += [(c.name, c.role, c.type, c.missing or "-", c.treatment) for c in few]
    for *cells, treatment in rows:
        texts = (_fit(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True))
        lines.append(f"  {'  '.join(texts)}  {printable(treatment)}".replace("\n", " "))
    return lines


def _fit(text: str, width: int) -> str:
    text = printable(text).replace("\n", " ").replace("\t", " ")
    return (text if len(text) <= width else f"{text[: width - 1]}…").ljust(width)
