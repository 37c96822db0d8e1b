"""What the verdicts are about, in words and as a table: new data, this table, or these rows."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ablations.analysis import UNDECIDED, Scale
from ablations.analysis.ablation import Effects
from ablations.report.columns import Cell, Column, Row, Table, build_table
from ablations.report.data import ReportData
from ablations.report.formatting import (
    NOTHING,
    Unit,
    bracket,
    choose_unit,
    format_effect,
    join_words,
)
from ablations.report.strengths import name_rows
from ablations.report.texts import VERBS, shorten, write_text
from ablations.results.metadata import Judging

_MOST_NAMES = 4


def describe_scope(ablation: Effects, judging: Judging | None = None) -> str:
    """Say what the seeds vary, what the verdicts are about, and which are narrower."""
    rows = ablation.scope
    if rows.empty:
        return ""
    is_open = (rows["verdict"] == UNDECIDED) & (rows["n"] > 0)
    is_open &= rows["table_verdict"].notna() & (rows["table_verdict"] != UNDECIDED)
    parts = []
    for verdict, group in rows[is_open].groupby("table_verdict", sort=False):
        names = name_rows(group)
        singular, plural = VERBS[str(verdict)]
        verb = singular if len(names) == 1 else plural
        parts.append(f"{join_words(shorten(names, _MOST_NAMES))} {verb}")
    return write_text(
        "scope",
        scope=ablation.design.scope,
        rows="" if judging is None else f"{judging.rows:,} ",
        parts=join_words(parts),
        n=int(is_open.sum()),
    )


def scope_table(data: ReportData) -> Table | None:
    """Every level for new data like the table that the seeds split, and for this table alone."""
    rows, scale = data.ablation.scope, data.design.scale
    if rows.empty or not data.design.overlap:
        return None
    unit = choose_unit(rows["change"].dropna())
    rows = rows[rows["n"] > 0]
    columns = [
        Column.level(),
        Column("new data like this table", lambda row: _verdict_cell(row, scale, unit, "")),
        Column("this table alone", lambda row: _verdict_cell(row, scale, unit, "table_")),
    ]
    if rows["split_share"].notna().any():
        columns.append(
            Column(
                "the split's part of the variance",
                _share_text,
                "split_share",
                "number",
                (("share", "split_share"), ("low", "split_low"), ("high", "split_high")),
            )
        )
    columns.append(Column.number("seeds", "n"))
    return build_table(
        "scope",
        columns,
        rows.assign(seeds=rows["n"]),
        has_shares=len(columns) > 4,
        overlap=f"{data.design.overlap:.2g}",
        may_repeat=data.design.may_repeat_splits,
    )


def _verdict_cell(row: Row, scale: Scale, unit: Unit, prefix: str) -> Cell:
    """The verdict in one scope, and below it the change with its interval."""
    effect = {name: row.get(f"{prefix}{name}", value) for name, value in row.items()}
    effect["seeds"] = row["n"]
    change, low, high = format_effect(effect, scale, unit=unit)
    names = ("change", "change_low", "change_high") if scale == "log" else ("effect", "low", "high")
    parts = tuple(zip(("change", "low", "high"), (effect[name] for name in names), strict=True))
    style_class = f"verdict {str(effect['verdict']).replace(' ', '-')}"
    note = bracket(change, low, high) if row["n"] > 1 else change
    return Cell(str(effect["verdict"]), None, style_class, note, (("", effect["verdict"]), *parts))


def _share_text(row: Row) -> str:
    if pd.isna(row["split_share"]):
        return NOTHING
    share, low, high = (100 * row[name] for name in ("split_share", "split_low", "split_high"))
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


SCOPE_TABLES: dict[str, Callable[[ReportData], Table | None]] = {"scope": scope_table}
"""By the names that the templates use."""
