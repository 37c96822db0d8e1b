"""The configurations that cannot be told from the best: in words, as a table, and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.analysis import Design, Scale
from ablations.analysis.ablation import Effects
from ablations.analysis.best_set import EFFECT_COLUMNS, fewest_seeds
from ablations.report.columns import Cell, Column, Row, Table, build_table, four_digits, two_digits
from ablations.report.data import ReportData
from ablations.report.formatting import (
    format_change,
    format_number,
    format_percent,
    format_ratio,
    format_signed,
    name_outcome,
)
from ablations.report.texts import write_text
from ablations.results.metadata import NOT_SET

MOST_MEMBERS = 25
"""Members of the set that the table shows; the cheapest one is always among them."""


def describe_best(ablation: Effects, time_ratio: float | None = None) -> str:
    """Say how many configurations cannot be told from the best, and which of them is cheapest to
    run; the best one's name only if no other is left.  Empty where there is nothing to choose.

    ``time_ratio``: the step time of the configuration with the best mean over that of the controls.
    """
    members, design = ablation.best_set, ablation.design
    if members.empty or members["candidates"].iloc[0] < 2:
        return ""
    first, cheapest = members.iloc[0], members[members["cheapest"]]
    return write_text(
        "best_set",
        first=first,
        outcome=name_outcome(design.outcome),
        seeds=int(first["n"]),
        min_seeds=fewest_seeds(design.alpha),
        has_control=any(not name_levels(row, design) for _, row in members.iterrows()),
        single=_describe_single(ablation, time_ratio) if len(members) == 1 else None,
        cheapest=_describe_cheapest(cheapest.iloc[0], design) if len(cheapest) else None,
    )


def name_levels(row: Mapping[str, Any] | pd.Series, design: Design) -> list[str]:
    """Write the levels of a configuration that are not those of the control: none, at the control
    of a design whose every factor has one.
    """
    controls = design.controls
    settings = [*controls, *(name for name in design.factors if name not in controls)]
    return [
        f"{name} {row[name]}"
        for name in settings
        if name in row and row[name] not in (controls.get(name), NOT_SET)
    ]


def _describe_single(ablation: Effects, time_ratio: float | None) -> dict[str, Any]:
    """What the sentence about the only member says: its number without the luck of the choice."""
    row, design = ablation.winner.iloc[0], ablation.design
    change, low, high = (format_change(row, design.scale, end) for end in ("", "low", "high"))
    return {
        "names": name_levels(row, design),
        "value": row["naive"] if math.isnan(row["held_out"]) else row["held_out"],
        "gain": "" if pd.isna(row["low"]) else f"{change} [{low}, {high}]",
        "is_certain": row["low"] > 0 if design.higher_is_better else row["high"] < 0,
        "time": "" if time_ratio is None else format_ratio(time_ratio),
    }


def _describe_cheapest(row: pd.Series, design: Design) -> dict[str, Any]:
    """What the sentence about the cheapest member says: its cost, and its mean over all seeds."""
    effect = _against_control(row)
    change, low, high = (format_change(effect, design.scale, end) for end in ("", "low", "high"))
    return {
        "names": name_levels(row, design),
        "seconds": format_number(row["seconds"], 2),
        "value": row["mean"],
        "gain": "" if pd.isna(effect["low"]) else f"{change} [{low}, {high}]",
    }


def _against_control(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    """The difference of a row from the control, under the names of an effect."""
    return {name: row[f"control_{name}"] for name in EFFECT_COLUMNS}


def outline_best(ablation: Effects) -> dict[str, Any] | None:
    """Return the set as plain numbers and texts, for ``answer.json``; None where there is none.

    Keys: ``members``, ``candidates``: their numbers; ``is_reachable``: whether seeds are enough to
    leave any out; ``shared``: the levels that all members have; ``cheapest``: the levels of the
    cheapest member by factor; ``configurations``: the levels of all members, best mean first.
    """
    table, factors = ablation.best_set, ablation.design.factors
    if table.empty:
        return None
    names = [name for name in factors if name in table]
    levels = table[names].astype(str).to_dict("records")
    cheapest = [
        row for row, is_cheapest in zip(levels, table["cheapest"], strict=True) if is_cheapest
    ]
    first = table.iloc[0]
    return {
        "members": int(first["members"]),
        "candidates": int(first["candidates"]),
        "is_reachable": bool(first["is_reachable"]),
        "shared": str(first["shared"]),
        "cheapest": cheapest[0] if cheapest else None,
        "configurations": levels,
    }


def best_set_table(data: ReportData) -> Table | None:
    """The configurations that cannot be told from the best, and what they cost."""
    table, design = data.ablation.best_set, data.design
    if table.empty or table["candidates"].iloc[0] < 2 or not table["is_reachable"].iloc[0]:
        return None
    rows = table[(table["place"] <= MOST_MEMBERS) | table["cheapest"]]
    # The first one has no difference from itself, and a dash for an interval.
    rows = rows.assign(seeds=rows["n"].where(rows["low"].notna(), 0))
    settings = [name for name in design.factors if name in rows and len(set(rows[name])) > 1]
    settings = settings or [name for name in design.factors if name in rows]
    columns = [
        Column.number("rank", "place"),
        *map(Column.name, settings),
        Column.number(data.outcome, "mean", four_digits),
        Column.change("against the first", design.scale),
        Column.change_interval(design.scale),
        Column.number("p", "p", two_digits),
        *_control_columns(rows, design.scale),
    ]
    if rows["seconds"].notna().any():
        columns.append(Column("seconds", _seconds_cell, "seconds", "number"))
    return build_table(
        "best_set",
        columns,
        rows,
        outcome=data.outcome,
        first=table.iloc[0],
        shown=len(rows),
        alpha=design.alpha,
        has_gain=bool(rows["control_low"].notna().any()),
        has_cheapest=bool(rows["cheapest"].any()),
    )


def _control_columns(rows: pd.DataFrame, scale: Scale) -> list[Column]:
    """Columns of the difference from the control, where there is one."""
    name, write = ("change", format_percent) if scale == "log" else ("effect", format_signed)
    low, high = ("change_low", "change_high") if scale == "log" else ("low", "high")
    if rows["control_low"].isna().all():
        return []
    return [
        Column.number("against the controls", f"control_{name}", write),
        Column.interval("95 % interval of that", f"control_{low}", f"control_{high}", write),
    ]


def _seconds_cell(row: Row) -> Cell:
    note = "the cheapest" if row["cheapest"] else ""
    return Cell(two_digits(row["seconds"]), row["seconds"], "number", note)
