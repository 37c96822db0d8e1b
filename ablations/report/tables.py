"""The report's tables of effects, and of all that is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import pandas as pd

from ablations.analysis import Scale, strongest_pairs
from ablations.analysis.costs import NO_SLOWER, TOO_FEW, run_costs
from ablations.analysis.interactions import UNKNOWN
from ablations.analysis.robustness import LEVEL
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
    NOTHING,
    TIMES,
    format_count,
    format_differences,
    format_number,
    format_p,
    format_percent,
    format_ratio,
    format_share,
    format_signed,
    format_spread,
    name_interval,
)
from ablations.report.strengths import name_axes, name_axis, name_level, name_source
from ablations.report.texts import describe_noise_floor, describe_unpaired
from ablations.report.trust_tables import describe_ending
from ablations.results.metadata import StudyMetadata

MOST_SIMPLE = 3
"""Pairs of axes whose simple effects are shown."""
MOST_DOUBLES = 60
"""Pairs of levels in the table of interactions."""


def render_ablation_table(data: ReportData) -> Table | None:
    """Each level against its control: what changed, how certain that is, and what the level is."""
    endings = {
        (row["axis"], row["level"]): describe_ending(row)
        for row in data.ablation.endings.to_dict("records")
    }
    verdict = partial(_verdict_cell, is_higher_better=data.design.higher_is_better)
    rows, scale, heading = data.effects, data.design.scale, f"change of {data.outcome}"
    columns = [
        Column(
            "technique or setting", partial(_level_cell, metadata=data.metadata, endings=endings)
        ),
        Column("verdict", verdict),
        Column.change(heading, scale, lambda row: row["conditional"] and row["seeds"]),
        Column(name_interval(data.design.confidence), partial(_interval_cell, scale=scale)),
        Column(
            "adjusted p", format_p,
            lambda row: row["p_adjusted"] if row["reachable"] else math.nan, "number",
        ),
        Column.number("P(better)", "better", partial(format_share, form=".2f")),
        Column.number("settings helped", "helped", partial(format_share, form=".0%")),
    ]  # fmt: skip
    levels = ["axis", "level"]
    if (second := data.by_outcome.get(data.second)) is not None and len(second):
        columns.append(_second_change(f"change of {data.name(data.second)}", second))
        numbers = second[[*levels, "effect", "change"]]
        rows = rows.merge(numbers, how="left", on=levels, suffixes=("", "_second"))
    costs = run_costs(data.costs, data.untuned)
    if len(costs):
        rows = rows.merge(costs, how="left", on=levels, suffixes=("", "_run"))
        columns.append(Column("cost of a run", _run_cost_cell))
    if len(costs) and costs["step_ratio"].notna().any():
        columns.append(Column.number("time of a step", "step_ratio", format_ratio))
    parts = (("", "diverged"), ("of", "pairs"), ("at the control", "control_diverged"))
    columns.append(Column("diverged", _diverged_text, "diverged", "number", parts))
    columns.append(Column(f"settings {TIMES} seeds", _size_cell))
    return build_table(
        "ablation",
        columns,
        rows,
        outcome=data.outcome,
        is_higher_better=data.design.higher_is_better,
        constant=data.constant,
    )


def _second_change(heading: str, effects: pd.DataFrame) -> Column:
    """A column of the change of another outcome, in percent if it has a ratio."""
    if effects["change"].notna().any():
        return Column.number(heading, "change_second", format_percent)
    return Column.number(heading, "effect_second", format_signed)


def _level_cell(row: Row, metadata: StudyMetadata, endings: Mapping[tuple[str, str], str]) -> Cell:
    notes = [metadata.captions.get(row["axis"], {}).get(row["level"], "")]
    if n_identical := int(row["identical"]):
        subject = "All" if n_identical == row["pairs"] else f"{n_identical} of"
        notes.append(f"{subject} {row['pairs']} pairs are identical to the last bit.")
    if row["depends_on"] not in ("", UNKNOWN):
        notes.append(f"An average: its effect depends on {name_axes(row['depends_on'])}.")
    text = name_level(row["axis"], row["level"], metadata)
    parts = (("axis", row["axis"]), ("level", row["level"]))
    ending = endings.get((row["axis"], row["level"]), "")
    return Cell(text, None, "name technique", " ".join(filter(None, notes)), parts, ending)


def _verdict_cell(row: Row, *, is_higher_better: bool) -> Cell:
    text, note = (row["verdict"], "") if row["pairs"] else ("not compared", describe_unpaired(row))
    style_class = "verdict up" if is_higher_better else "verdict"
    style_class = f"{style_class} {row['verdict'].replace(' ', '-')}"
    return Cell(text, None, style_class, note, warning=str(row["caution"]))


def _interval_cell(row: Row, *, scale: Scale) -> Cell:
    """The interval, and below it the robust estimate where seeds are skewed or in doubt."""
    cell = Column.change_interval(scale).cell(row)
    is_skewed = min(row["p_skewed"], row["p_shared_skew"]) <= LEVEL
    if math.isnan(row["robust_low"]) or not (is_skewed or row["carrier"]):
        return cell
    names = ("robust", "robust_low", "robust_high")
    estimate, low, high = format_differences([row[name] for name in names], scale)
    note = ("robust: ", estimate, ", ", low, " to ", high)
    return replace(cell, note="".join(note), note_pieces=note)


def _run_cost_cell(row: Row) -> Cell:
    ratio = row["ratio"]
    if math.isnan(ratio):
        return Cell(NOTHING, style_class="number")
    note = "" if row["is_certain"] else TOO_FEW if math.isnan(row["low_run"]) else NO_SLOWER
    parts = (("", ratio), ("low", row["low_run"]), ("high", row["high_run"]))
    return Cell(format_ratio(ratio), ratio, "number", note, parts)


def _diverged_text(row: Row) -> str:
    has_diverged = row["diverged"] or row["control_diverged"]
    control = f" (control {row['control_diverged']})" if has_diverged else ""
    return f"{row['diverged']}/{row['pairs']}{control}"


def _size_cell(row: Row) -> Cell:
    pairs, survivors = row["pairs"], row["survivors"]
    text, note = f"{row['cells']} {TIMES} {row['seeds']}", f"{survivors} of {pairs} pairs survived"
    parts = (("settings", row["cells"]), ("seeds", row["seeds"]))
    return Cell(text, float(pairs), "number interval", note if survivors < pairs else "", parts)


def shares_table(data: ReportData) -> Table | None:
    """Each source's share of the variance, and the test of it."""
    if not data.shares["eta2"].notna().any():
        return None
    names = {"blocks": "seed", "residual": "residual (chance)"}
    rows = data.shares.assign(source=data.shares["source"].replace(names).map(name_source))
    percent = partial(format_share, form=".2%")
    columns = (
        Column.name("source"),
        Column.number("η²", "eta2", percent),
        Column.number("ω²", "omega2", percent),
        Column.number("df", "df", "{:.0f}".format),
        Column.number("F", "f", format_number),
        Column.number("p", "p", write_p),
        Column.number("epsilon (Greenhouse-Geisser)", "epsilon", two_digits),
        Column.number("p with epsilon", "p_epsilon", write_p),
    )
    return build_table("shares", columns, rows, first=rows.iloc[0])


def simple_tables(data: ReportData) -> list[Table]:
    """Each level's effect at each level of another axis, for the strongest interactions."""
    if data.interactions.empty:
        return []
    ranked = strongest_pairs(data.interactions).dropna()
    certain = data.interactions[data.interactions["p_adjusted"] <= 0.05]
    pairs = ranked[["axis_a", "axis_b"]].merge(certain[["axis_a", "axis_b"]].drop_duplicates())
    rows = pairs.head(MOST_SIMPLE).itertuples(index=False)
    return [table for row in rows if (table := _simple_table(data, row.axis_a, row.axis_b))]


def _simple_table(data: ReportData, condition: str, axis: str) -> Table | None:
    """Rows: levels of one axis; columns: the effect of each level of the axis that has fewer."""
    design = data.design
    if len(design.levels[axis]) > len(design.levels[condition]):
        axis, condition = condition, axis
    effects = data.simple[(data.simple["axis"] == axis) & (data.simple["given"] == condition)]
    records = {(row["given_level"], row["level"]): row for row in effects.to_dict("records")}
    conditions, levels = (
        [level for level in design.levels[name] if level in set(effects[column])]
        for name, column in ((condition, "given_level"), (axis, "level"))
    )
    cells = (partial(_simple_cell, level=level, scale=design.scale) for level in levels)
    headings = [name_level(axis, level) for level in levels]
    columns = [Column("with", _condition_cell), *map(Column, headings, cells)]
    rows = [{"condition": condition, "at": at, "effects": records} for at in conditions]
    return build_table(
        "simple",
        columns,
        rows,
        axis=name_axis(axis),
        condition=name_axis(condition),
        control=name_level(axis, design.controls[axis]),
        interval=name_interval(design.confidence),
    )


def _condition_cell(row: Row) -> Cell:
    return Cell(name_level(row["condition"], row["at"]), None, "name")


def _simple_cell(row: Row, level: str, scale: Scale) -> Cell:
    effect = row["effects"].get((row["at"], level))
    if effect is None:
        return Cell(NOTHING, style_class="number")
    change = Column.change(level, scale).cell(effect)
    ends = Column.change_interval(scale).cell(effect)
    note = ends.pieces if effect["seeds"] > 1 else ()
    parts = (("", effect["change" if scale == "log" else "effect"]), *ends.parts)
    return replace(change, note="".join(note), note_pieces=note, parts=parts)


def doubles_table(data: ReportData) -> Table | None:
    """Every pair of levels: what the two do together beyond the sum of both."""
    doubles = data.interactions.dropna(subset="double")
    furthest = doubles["double"].abs().sort_values(ascending=False, kind="stable").index
    shown = doubles.loc[doubles.index.isin(furthest[:MOST_DOUBLES])]
    write = partial(format_differences, scale=data.design.scale)
    columns = (
        Column("two together", _both_cell),
        *Column.estimate(
            "beyond the sum",
            ("double", "double_low", "double_high"),
            write,
            interval=name_interval(data.design.confidence),
        ),
        Column.number("p", "p", write_p),
        Column.number("adjusted p", "p_adjusted", write_p),
        Column.number("seeds", "double_seeds", "{:.0f}".format),
    )
    return build_table("doubles", columns, shown, shown=len(shown), total=len(doubles))


def _both_cell(row: Row) -> Cell:
    both = (name_level(row[f"axis_{x}"], row[f"level_{x}"]) for x in "ab")
    return Cell(f" {TIMES} ".join(both), None, "name")


def ends_table(data: ReportData) -> Table | None:
    """The last epoch of every curve."""
    ends = [
        {"axis": axis, **row}
        for axis, tables in data.curves.items()
        if len(table := tables["val_loss"])
        for row in table[table["epoch"] == table["epoch"].max()].to_dict("records")
    ]
    parts = (("", "survivors"), ("of", "runs"))
    columns = (
        Column.level(),
        Column.number("epoch", "epoch"),
        Column.number("validation loss", "mean", four_digits),
        Column.interval("95 % interval", "low", "high", four_digits),
        Column.count("runs in the curve", "{survivors:g} of {runs:g}", "survivors", parts),
    )
    return build_table("ends", columns, ends)


def spread_table(data: ReportData) -> Table | None:
    """The spread over seeds, level by level."""
    rows = data.spread[data.spread["cells"] > 0]
    write = partial(format_spread, scale=data.design.scale)
    columns = (
        Column.level(),
        Column.number("median", "spread", write),
        Column.interval("middle half", "low", "high", write),
        Column.number("configurations", "cells", "{:.0f}".format),
        Column.number("seeds", "seeds", "{:.0f}".format),
    )
    return build_table("spread", columns, rows, outcome=data.outcome)


def costs_table(data: ReportData) -> Table | None:
    """What a training step costs at each level, timed alone."""
    if data.costs.empty:
        return None
    seconds = {
        "ms a step": "seconds", "ms at the control": "control_seconds",
        "of it forward": "forward_seconds", "backward": "backward_seconds",
        "update": "update_seconds",
    }  # fmt: skip
    rows = data.costs.assign(
        machine=[
            f"{row.environment_id}, {format_count(row.threads, 'thread')}"
            for row in data.costs.itertuples()
        ],
        **{name: 1e3 * data.costs[name] for name in seconds.values()},
    )
    columns = (
        Column.level(),
        Column.text("verdict", "verdict"),
        Column.number("time", "ratio", format_ratio),
        Column.interval("95 % interval", "low", "high", format_ratio),
        *(Column.number(heading, name, format_number) for heading, name in seconds.items()),
        Column.number("memory", "memory_ratio", format_ratio),
        Column.number("settings", "cells"),
        Column.number("rounds", "blocks"),
        Column.text("machine", "machine"),
    )
    floors = " ".join(map(describe_noise_floor, data.floors.itertuples()))
    return build_table("timings", columns, rows, floors=floors)


def ranking_table(data: ReportData) -> Table | None:
    """The best configurations, ranked in each seed."""
    ranked = data.ranked
    if len(ranked) < 2 or ranked["seeds"].iloc[0] < 2:
        return None
    mean = "geometric mean" if data.design.scale == "log" else "mean"
    words = ("no", "yes") if data.ranks_tell else ("too few seeds",) * 2
    columns = (
        Column.number("rank", "place"),
        *(Column.setting(name) for name in data.design.factors if len(set(ranked[name])) > 1),
        Column.number(mean, "mean", four_digits),
        Column.number("interquartile mean", "iqm", four_digits),
        Column.interval("95 % (bootstrap)", "iqm_low", "iqm_high", four_digits),
        Column.number("mean rank", "mean_rank", "{:.2f}".format),
        Column.number("P(first better)", "first_better", partial(format_share, form=".2f")),
        Column.number("p", "p_first", write_p),
        Column("apart", lambda row: words[bool(row["apart"])]),
    )
    winner = data.winner.iloc[0] if len(data.winner) else None
    return build_table(
        "ranking",
        columns,
        ranked,
        outcome=data.outcome,
        n=len(ranked),
        mean=mean,
        first=ranked.iloc[0],
        winner=winner,
        gap="" if winner is None else _format_optimism(winner, data.design.scale),
    )


def _format_optimism(winner: pd.Series, scale: Scale) -> str:
    """Write how much better the winner looks than it is on other seeds; empty if not known."""
    optimism = winner["optimism"]
    if math.isnan(optimism):
        return ""
    size = optimism if scale == "log" else optimism / (abs(winner["naive"]) or 1)
    gap = format_percent(optimism) if scale == "log" else format_signed(optimism)
    return "no" if abs(size) < 0.0005 else gap.lstrip("+")


EFFECT_TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "ablation": render_ablation_table,
    "shares": shares_table,
    "doubles": doubles_table,
    "ends": ends_table,
    "spread": spread_table,
    "timings": costs_table,
    "ranking": ranking_table,
}
"""By the names that the templates use."""
