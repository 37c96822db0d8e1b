"""Tables of how far to trust the effects: training, the constant, and other metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from ablations.analysis import HELPS, HURTS, UNDECIDED, Scale
from ablations.analysis.baseline import BEST
from ablations.analysis.outcomes import find_missing
from ablations.analysis.trajectory import NOT_FINISHED, OVERFITTED
from ablations.report.columns import Cell, Column, Row, Table, build_table, four_digits, write_p
from ablations.report.data import ReportData
from ablations.report.formatting import (
    Unit,
    bracket,
    choose_unit,
    format_change,
    format_differences,
    format_effect,
    format_fractions,
    format_margin,
    list_ends,
    name_interval,
)
from ablations.report.strengths import name_level


def training_table(data: ReportData) -> Table | None:
    """How the validation curves of every level end."""
    rows = data.ablation.endings
    if rows.empty or rows["epochs"].max() < 2:
        return None
    columns = (
        Column.level(),
        Column.number("epochs", "epochs"),
        Column.number("best epoch", "best_epoch"),
        *_ending_columns("change over the last fifth", "late", rows),
        *_ending_columns("last epoch against the best", "excess", rows),
        Column("ending", lambda row: row["ending"], style_class="ending"),
        Column.number("seeds", "n"),
    )
    margin = format_margin(data.metadata.margin, "log").lstrip("\N{PLUS-MINUS SIGN}")
    if rows["late_change"].isna().all():  # some losses are zero or negative
        margin = f"{margin} of the curve's mean size"
    return build_table("training", columns, rows, margin=margin)


def _ending_columns(heading: str, prefix: str, rows: pd.DataFrame) -> tuple[Column, Column]:
    """A change of the validation loss and its interval, in percent where losses have a ratio."""
    is_log = bool(rows[f"{prefix}_change"].notna().any())
    name = f"{prefix}_change" if is_log else prefix
    names = name if is_log else f"{prefix}_effect", f"{name}_low", f"{name}_high"
    write = partial(format_differences, scale="difference") if not is_log else format_fractions
    return Column.estimate(heading, names, write, lambda row: row[names[1]] == row[names[1]])


def describe_ending(row: Row) -> str:
    """Say of a row of ``curve_endings`` how the level's curves end, if that is remarkable."""
    if row["ending"] == NOT_FINISHED:
        return f"Not finished: its validation loss still falls at epoch {row['epochs']}."
    if row["ending"] == OVERFITTED:
        return f"Overfitted after epoch {row['best_epoch']} of {row['epochs']}."
    return ""


def constant_table(data: ReportData) -> Table | None:
    """The control and the best configuration against the best constant prediction."""
    rows = data.ablation.baseline
    if rows.empty:
        return None
    settings = [
        name for name in data.design.untuned.factors if name in rows and name in data.design.axes
    ]
    columns = (
        Column("configuration", partial(_configuration_cell, settings=settings)),
        Column("by", lambda row: data.name(row["outcome"]), style_class="name"),
        Column.number("value", "value", four_digits),
        Column.number("constant", "baseline", four_digits),
        Column(
            "against constant", lambda row: format_change(row, _row_scale(row)), "gain", "number"
        ),
        Column(
            name_interval(data.design.confidence),
            lambda row: list_ends(row, _row_scale(row)),
            "gain_low",
            "number interval",
            (("low", "gain_low"), ("high", "gain_high")),
        ),
        Column.number("adjusted p", "p_adjusted", write_p),
        Column("beats it", lambda row: "surely" if row["learned"] else "not surely"),
        Column.number("seeds", "n"),
    )
    best = rows[rows["configuration"] == BEST]
    return build_table(
        "constant",
        columns,
        rows.assign(
            seeds=rows["n"],
            gain=rows["change"].fillna(rows["effect"]),
            gain_low=rows["change_low"].fillna(rows["low"]),
            gain_high=rows["change_high"].fillna(rows["high"]),
        ),
        candidates=int(rows["candidates"].max()),
        learning=[
            f"{row.learning:,} by {data.name(row.outcome)}"
            for row in best.itertuples()
            if row.candidates > 1
        ],
    )


def _row_scale(row: Row) -> Scale:
    """Return how a row is compared: positive losses by ratio, metrics by difference."""
    return "difference" if pd.isna(row["change"]) else "log"


def _configuration_cell(row: Row, settings: list[str]) -> Cell:
    levels = ", ".join(name_level(name, row[name]) for name in settings)
    return Cell(str(row["configuration"]), None, "name technique", levels)


def metrics_table(data: ReportData) -> Table | None:
    """The change and the verdict of every level by the outcome and all recorded metrics."""
    tables = {name: table for name, table in data.by_outcome.items() if len(table)}
    if len(tables) < 2:
        return None
    by_level = [
        {(row["axis"], row["level"]): row for row in table.to_dict("records")}
        for table in tables.values()
    ]
    columns = [Column.level()]
    for (name, table), rows in zip(tables.items(), by_level, strict=True):
        scale: Scale = "log" if table["change"].notna().any() else "difference"
        style = "verdict up" if data.results.is_higher_better(name) else "verdict"
        unit = choose_unit(table["change"].dropna())
        cell = partial(_effect_cell, rows=rows, scale=scale, unit=unit, verdict_class=style)
        columns.append(Column(data.name(name), cell))
    columns.append(Column("agree", partial(_agreement, tables=by_level)))
    higher = [data.name(name) for name in tables if data.results.is_higher_better(name)]
    missing = list(map(str, find_missing(data.results.runs, tables)))
    return build_table(
        "metrics",
        columns,
        data.effects,
        higher=higher,
        missing=missing,
        interval=name_interval(data.design.confidence),
    )


def _effect_cell(
    row: Row, rows: Mapping[tuple[str, str], Row], scale: Scale, unit: Unit, verdict_class: str
) -> Cell:
    """The verdict on a level by one outcome, and below it the change with its interval."""
    effect = rows.get((row["axis"], row["level"]))
    if effect is None or not effect["pairs"]:
        return Cell("not compared", parts=(("", "not compared"),))
    change, low, high = format_effect(effect, scale, unit=unit)
    names = ("change", "change_low", "change_high") if scale == "log" else ("effect", "low", "high")
    parts = tuple(zip(("change", "low", "high"), (effect[name] for name in names), strict=True))
    style_class = f"{verdict_class} {effect['verdict'].replace(' ', '-')}"
    note = bracket(change, low, high) if effect["seeds"] > 1 else change
    return Cell(str(effect["verdict"]), None, style_class, note, (("", effect["verdict"]), *parts))


def _agreement(row: Row, tables: Sequence[Mapping[tuple[str, str], Row]]) -> str:
    """Say whether all outcomes give a level the same verdict."""
    effects = [rows.get((row["axis"], row["level"])) for rows in tables]
    words = {effect["verdict"] for effect in effects if effect is not None and effect["pairs"]}
    if {HELPS, HURTS} <= words:
        return "no, the opposite"
    if len(words - {UNDECIDED}) > 1:
        return "in part"
    return "" if not words else "yes" if len(words) == 1 else "as far as decided"


TRUST_TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "training": training_table,
    "constant": constant_table,
    "metrics": metrics_table,
}
"""By the names that the templates use."""
