"""The configurations that cannot be told from the best: in words, as a table, and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from ablations.analysis import Design, Scale
from ablations.analysis.ablation import Effects
from ablations.analysis.best_set import EFFECT_COLUMNS, SAME_COST
from ablations.analysis.power import fewest_seeds
from ablations.report.columns import (
    Cell,
    Column,
    Row,
    Table,
    build_table,
    four_digits,
    two_digits,
    write_p,
)
from ablations.report.data import ReportData
from ablations.report.formatting import (
    format_effect,
    format_estimate,
    format_number,
    format_ratio,
    join_words,
    name_outcome,
)
from ablations.report.strengths import name_level
from ablations.report.texts import write_text
from ablations.results.metadata import NOT_SET

MOST_MEMBERS = 25
"""Members of the set that the table shows; the cheapest one is always among them."""


def describe_best(ablation: Effects, time_ratio: float | None = None) -> str:
    """Say how many configurations cannot be told from the best, which of them has the best mean and
    which is cheapest to run; the best one's name only if no other is left.  Empty where there is
    nothing to choose.

    ``time_ratio``: the step time of the configuration with the best mean over that of the controls.
    """
    members, design = ablation.best_set, ablation.design
    if members.empty or members["candidates"].iloc[0] < 2 or not design.verdict_level:
        return ""
    first, cheapest = members.iloc[0], members[members["cheapest"]]
    return write_text(
        "best_set",
        first=first,
        shared=name_shared(members, design) if first["shared"] else "",
        outcome=name_outcome(design.outcome),
        seeds=int(first["n"]),
        min_seeds=fewest_seeds(design),
        leader=_describe_leader(ablation, time_ratio),
        cheapest=_describe_cheapest(cheapest.iloc[0], design)
        if len(cheapest) and has_cheapest(members, design)
        else None,
    )


def name_shared(members: pd.DataFrame, design: Design) -> str:
    """Name what all of the set have, and not all configurations."""
    runs = design.untuned.runs
    names = [name for name in design.factors if name in members and len(set(runs[name])) > 1]
    shared = [name for name in names if len(set(members[name])) == 1]
    return join_words([name_level(name, members[name].iloc[0]) for name in shared])


def has_cheapest(members: pd.DataFrame, design: Design) -> bool:
    """Whether one of the set takes less time than another of it, by more than chance can do."""
    seconds = members["seconds"]
    return bool(seconds.max() > max(SAME_COST, design.cost_noise) * seconds.min())


def name_configuration(row: Mapping[str, Any] | pd.Series, design: Design) -> str:
    """Name what a configuration has that the control has not: ``batch norm with l1 and orthogonal
    init``; "" at the control of a design whose every factor has one.
    """
    controls = design.controls
    settings = [*controls, *(name for name in design.factors if name not in controls)]
    first, *others = [
        name_level(axis, row[axis])
        for axis in sorted(settings, key=lambda axis: axis != "norm")
        if axis in row and row[axis] not in (controls.get(axis), NOT_SET)
    ] or [""]
    return " with ".join(filter(None, [first, join_words(others)]))


def _describe_leader(ablation: Effects, time_ratio: float | None) -> dict[str, Any]:
    """What is said of the configuration with the best mean: its number without the luck of that."""
    row, design = ablation.winner.iloc[0], ablation.design
    return {
        "name": name_configuration(row, design),
        "gain": _write_gain(
            row, row["naive" if math.isnan(row["held_out"]) else "held_out"], design
        ),
        "is_certain": row["low"] > 0 if design.higher_is_better else row["high"] < 0,
        "time": "" if time_ratio is None else format_ratio(time_ratio),
    }


def _describe_cheapest(row: pd.Series, design: Design) -> dict[str, Any]:
    """What is said of the cheapest member: its cost, and its number over all seeds."""
    return {
        "name": name_configuration(row, design),
        "seconds": format_number(row["seconds"], 2),
        "gain": _write_gain(_with_prefix(row, "control_"), row["mean"], design),
    }


def _write_gain(effect: Mapping[str, Any] | pd.Series, mean: float, design: Design) -> str:
    """Write a difference from the controls, or the mean where there is none."""
    outcome = name_outcome(design.outcome)
    if pd.isna(effect["low"]):
        return f"mean {outcome} {format_number(mean)}"
    return f"{outcome} {format_estimate(effect, design.scale)} against the control"


def _with_prefix(row: Row | pd.Series, prefix: str) -> dict[str, Any]:
    """The columns of an effect under their usual names."""
    return {name: row[f"{prefix}{name}"] for name in EFFECT_COLUMNS}


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
    settings = [name for name in design.factors if name in rows and len(set(rows[name])) > 1]
    settings = settings or [name for name in design.factors if name in rows]
    columns = [
        Column.number("rank", "place"),
        *map(Column.setting, settings),
        Column.number(data.outcome, "mean", four_digits),
        Column(
            "against the first", partial(_effect_cell, scale=design.scale), style_class="number"
        ),
        Column.number("p", "p", write_p),
    ]
    has_control = bool(rows["control_low"].notna().any())
    if has_control:
        cell = partial(_effect_cell, prefix="control_", scale=design.scale)
        columns.append(Column("against the controls", cell))
    if rows["seconds"].notna().any():
        columns.append(Column("seconds", _seconds_cell, "seconds", "number"))
    return build_table(
        "best_set",
        columns,
        rows,
        outcome=data.outcome,
        first=table.iloc[0],
        shared=name_shared(table, design) if table["shared"].iloc[0] else "",
        shown=len(rows),
        alpha=design.verdict_level,
        has_control=has_control,
        has_cheapest=bool(rows["cheapest"].any()),
    )


def _effect_cell(row: Row, scale: Scale, prefix: str = "") -> Cell:
    """A difference, and its interval below it where it has one."""
    effect = _with_prefix(row, prefix)
    change, low, high = format_effect(effect, scale)
    note = () if pd.isna(effect["low"]) else (low, " to ", high)
    names = EFFECT_COLUMNS[3:] if scale == "log" else EFFECT_COLUMNS[:3]
    parts = tuple(zip(("", "low", "high"), (effect[name] for name in names), strict=True))
    value = float(effect[names[0]])
    number = None if math.isnan(value) else value
    return Cell(change, number, "number interval", "".join(note), parts, note_pieces=note)


def _seconds_cell(row: Row) -> Cell:
    note = "the cheapest" if row["cheapest"] else ""
    return Cell(two_digits(row["seconds"]), row["seconds"], "number", note)
