"""Rows of the page's tables: the text to show, and beside it the number to sort by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ablations.analysis import strongest_pairs
from ablations.report.data import ReportData
from ablations.report.formatting import (
    NOTHING,
    describe_noise_floor,
    format_change,
    format_count,
    format_number,
    format_percent,
    format_ratio,
    format_share,
    format_signed,
)
from ablations.results.metadata import StudyMetadata

BEST = 10


MOST_REASONS = 20


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its number (None where it has none), its looks, a note below.

    A cell whose text holds several things has them as ``parts``, each with its name, for programs
    that read the table.
    """

    text: str
    value: float | None = None
    style_class: str = ""
    note: str = ""
    parts: tuple[tuple[str, float | str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A caption, headings and rows of cells."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def numeric(text: str, value: float, style_class: str = "number") -> Cell:
    """Make a cell of a number: ``text`` is shown, ``value`` sorts."""
    value = float(value)
    return Cell(text, None if math.isnan(value) else value, style_class)


def interval(text: str, low: float, high: float) -> Cell:
    """Make a cell of an interval, which is sorted by its lower end."""
    return replace(
        numeric(text, low, "number interval"), parts=(("low", float(low)), ("high", float(high)))
    )


def spelled(parts: Sequence[tuple[str, float | str]]) -> str:
    """Spell the parts of a cell for the page's scripts, as JSON, a missing one empty."""
    told = {name: "" if pd.isna(value) else str(value) for name, value in parts}
    return json.dumps(told, ensure_ascii=False)


def best_table(data: ReportData, metadata: StudyMetadata) -> Table:
    """List the ten best configurations that never diverged nor failed."""
    found = data.configurations
    best = found[found["complete"]].head(BEST)
    settings = [
        name
        for name in data.design.untuned.factors
        if len(set(best[name])) > 1 or name in data.design.axes
    ]
    metric = [metadata.metric_name] if best["metric"].notna().any() else []
    headings = ["rank", *settings, "validation loss", "95 % interval", *metric, "seconds", "seeds"]
    rows = []
    for place, (_, row) in enumerate(best.iterrows(), 1):
        ends = (
            f"{format_number(row['low'])} to {format_number(row['high'])}"
            if row["ok"] > 1
            else "\N{EN DASH}"
        )
        cells = [
            numeric(str(place), place),
            *(Cell(str(row[name]), style_class="name") for name in settings),
        ]
        cells += [
            numeric(format_number(row["mean"], 4), row["mean"]),
            interval(ends, row["low"], row["high"]),
        ]
        cells += [numeric(format_number(row["metric"]), row["metric"])] if metric else []
        cells += [
            numeric(format_number(row["seconds"], 2), row["seconds"]),
            numeric(str(row["ok"]), row["ok"]),
        ]
        rows.append(tuple(cells))
    return Table(_best_caption(found), tuple(headings), tuple(rows))


def _best_caption(found: pd.DataFrame) -> str:
    complete = int(found["complete"].sum())
    best = format_count(complete, "configuration")
    text = (
        f"The best of {best} whose runs all ended well, by validation loss: its geometric mean "
        "over seeds."
    )
    if complete < len(found):
        text += f" Left out: {len(found) - complete:,} with diverged, failed or skipped runs."
    return f"{text} Chosen and judged on the same seeds, the first rows look better than they are."


def endings_table(data: ReportData) -> Table:
    """List why runs diverged, failed or were skipped, grouped."""
    rows = []
    for _, row in data.endings.head(MOST_REASONS).iterrows():
        alike = f" (and {row['reasons'] - 1:,} alike)" if row["reasons"] > 1 else ""
        rows.append(
            (
                Cell(row["status"], style_class=f"status {row['status']}"),
                numeric(f"{row['runs']:,}", row["runs"]),
                numeric(str(row["seeds"]), row["seeds"]),
                Cell(row["reason"] + alike, style_class="caption"),
                Cell(row["shared"], style_class="name"),
            )
        )
    left = len(data.endings) - len(rows)
    caption = "Runs that did not end well, grouped by reason."
    caption += f" {left:,} rarer reasons are not shown." if left else ""
    return Table(caption, ("status", "runs", "seeds", "reason", "in common"), tuple(rows))


def rates_table(data: ReportData) -> Table:
    """List the divergence rate of every level that diverged at all, and of its axis' other
    levels.
    """
    rates = data.rates
    rates = rates[rates.groupby("axis")["diverged"].transform("sum") > 0]
    rows = tuple(
        (
            Cell(f"{row['axis']} \N{RIGHTWARDS ARROW} {row['level']}", style_class="name"),
            replace(
                numeric(f"{row['diverged']}/{row['runs']}", row["diverged"]),
                parts=(("", row["diverged"]), ("of", row["runs"])),
            ),
            numeric(f"{row['rate']:.1%}", row["rate"]),
            interval(f"{row['low']:.1%} to {row['high']:.1%}", row["low"], row["high"]),
            numeric(str(row["seeds"]), row["seeds"]),
        )
        for _, row in rates.iterrows()
    )
    caption = "Divergence by level, with Clopper-Pearson intervals that take runs as independent."
    return Table(caption, ("level", "diverged", "rate", "95 % interval", "seeds"), rows)


def published_table(published: pd.DataFrame) -> Table:
    """List every published curve: how many of its losses lie inside our band, and the worst of
    them.
    """
    rows = []
    for name, part in published.groupby("label", sort=False):
        outside = ", ".join(str(epoch) for epoch in part.loc[~part["inside"], "epoch"])
        rows.append(
            (
                Cell(str(name), style_class="name"),
                numeric(f"{part['inside'].sum()} of {len(part)}", part["inside"].sum()),
                Cell(outside or "none"),
                numeric(f"{part['runs'].max():,}", part["runs"].max()),
            )
        )
    return Table(
        "Printed losses against our runs.",
        ("curve", "inside", "epochs outside", "runs"),
        tuple(rows),
    )


def flat(description: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Flatten nested descriptions to dotted names."""
    found: dict[str, str] = {}
    for key, value in description.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = (
                ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            )
    return found


def environment_table(
    environments: Mapping[str, Mapping[str, object]], runs: pd.DataFrame
) -> Table:
    """One column an environment, one row a fact."""
    names = sorted(environments)
    facts = [flat(environments[name]) for name in names]
    counts = runs["environment_id"].value_counts()
    headings = (
        "",
        *(f"{name} ({format_count(int(counts.get(name, 0)), 'run')})" for name in names),
    )
    keys = dict.fromkeys(key for fact in facts for key in fact)
    rows = tuple(
        (
            Cell(key, style_class="name"),
            *(Cell(fact.get(key, ""), style_class="caption") for fact in facts),
        )
        for key in keys
    )
    return Table("Where the runs were trained.", headings, rows)


def audit_table(audit: pd.DataFrame, runs: pd.DataFrame, metadata: StudyMetadata) -> Table:
    """One row a run that the plain loop judged."""
    axes = [name for name in metadata.axes if len(set(runs[name])) > 1]
    whole = audit.merge(runs[["run_id", "seed", *axes]], on="run_id")
    headings = (
        *("run", *axes, "seed", "engine", "epochs compared", "deviation", "tolerance"),
        *("in float64", "repeats", "end, against the loop", "finding"),
    )
    rows = []
    for _, row in whole.sort_values("deviation", ascending=False).iterrows():
        drift = row["drift"]
        rows.append(
            (
                Cell(str(row["run_id"]), style_class="name"),
                *(Cell(str(row[name])) for name in axes),
                numeric(str(row["seed"]), row["seed"]),
                Cell(str(row["engine"])),
                numeric(str(row["epochs_compared"]), row["epochs_compared"]),
                *(_tiny(row[name]) for name in ("deviation", "tolerance", "deviation_float64")),
                Cell("yes" if row["repeated"] else "no"),
                numeric("" if pd.isna(drift) else f"{math.expm1(drift):+.1%}", drift),
                Cell("as it should be" if pd.isna(row["reason"]) else str(row["reason"])),
            )
        )
    caption = (
        "Runs of each kind, chosen by hash, trained again by the plain loop, one by one. "
        "Deviations are of losses, relative to the loop's, the largest over the epochs compared; "
        "the tolerance is what rounding can do there, measured on the loop in both precisions. "
        "“Repeats”: the program, run again in other company, gave the stored numbers bit for bit. "
        "Later, single runs may part, since training amplifies rounding: at the end only the mean "
        "over all runs counts."
    )
    return Table(caption, headings, tuple(rows))


def _tiny(value: float) -> Cell:
    return numeric("" if pd.isna(value) else f"{value:.1e}", value)


OPENED = 3
"""Pairs of axes whose interaction is opened up."""


MOST_DOUBLES = 60
"""Pairs of levels that a table has room for."""


TIMES = "\N{MULTIPLICATION SIGN}"


def shares_table(data: ReportData) -> Table:
    """Each source's share of the variance, and the test of it."""
    rows = []
    for row in data.shares.itertuples():
        name = {"blocks": "seed", "residual": "residual (chance)"}.get(row.source, row.source)
        rows.append(
            (
                Cell(name, style_class="name"),
                numeric(format_share(row.eta2, ".2%"), row.eta2),
                numeric(format_share(row.omega2, ".2%"), row.omega2),
                numeric(str(int(row.df)), row.df),
                numeric(format_number(row.f), row.f),
                numeric(format_number(row.p, 2), row.p),
                numeric(format_number(row.epsilon, 2), row.epsilon),
                numeric(format_number(row.p_epsilon, 2), row.p_epsilon),
            )
        )
    first = data.shares.iloc[0]
    caption = f"Shares of the variance, over {first['n']} seeds: {first['procedure']}."
    headings = (
        *("source", "η²", "ω²", "df", "F", "p"),
        *("epsilon (Greenhouse-Geisser)", "p with epsilon"),
    )
    return Table(caption, headings, tuple(rows))


def simple_tables(data: ReportData) -> list[Table]:
    """The strongest interactions opened up: each level's effect at each level of the other axis."""
    if data.interactions.empty:
        return []
    ranked = strongest_pairs(data.interactions).dropna()
    certain = data.interactions[data.interactions["p_adjusted"] <= 0.05]
    known = set(zip(certain["axis_a"], certain["axis_b"], strict=True))
    pairs = [
        (a, b) for a, b in zip(ranked["axis_a"], ranked["axis_b"], strict=True) if (a, b) in known
    ]
    return [_simple(data, a, b) for a, b in pairs[:OPENED]]


def _simple(data: ReportData, given: str, axis: str) -> Table:
    """Rows: levels of one axis; columns: the effect of each level of the axis that has fewer."""
    if len(data.design.levels[axis]) > len(data.design.levels[given]):
        axis, given = given, axis
    table = data.simple[(data.simple["axis"] == axis) & (data.simple["given"] == given)]
    levels = [level for level in data.design.levels[axis] if level in set(table["level"])]
    by_key = table.set_index(["given_level", "level"])
    rows = []
    for at in data.design.levels[given]:
        if at not in set(table["given_level"]):
            continue
        cells = [Cell(f"{given} {at}", style_class="name")]
        for level in levels:
            if (at, level) not in by_key.index:
                cells.append(Cell(NOTHING, style_class="number"))
                continue
            row = by_key.loc[(at, level)]
            low, high = (format_change(row, data.design.scale, part) for part in ("low", "high"))
            names = {"": "effect", "low": "low", "high": "high"}
            if data.design.scale == "log":
                names = {"": "change", "low": "change_low", "high": "change_high"}
            parts = tuple((part, float(row[name])) for part, name in names.items())
            shown = numeric(format_change(row, data.design.scale), parts[0][1])
            note = f"{low} to {high}" if row["seeds"] > 1 else ""
            cells.append(replace(shown, note=note, parts=parts))
        rows.append(tuple(cells))
    caption = (
        f"{axis} {TIMES} {given}: the change that each level of {axis} makes against "
        f"{data.design.controls[axis]}, at each level of {given}, with its 95 % interval."
    )
    return Table(caption, ("at", *levels), tuple(rows))


def doubles_table(data: ReportData) -> Table:
    """Every pair of levels: what the two do together beyond the sum of both."""
    every = data.interactions.dropna(subset="double")
    furthest = every["double"].abs().sort_values(ascending=False, kind="stable").index
    found = every.loc[every.index.isin(furthest[:MOST_DOUBLES])]
    rows = []
    for row in found.itertuples():
        parts = [row.double, row.double_low, row.double_high]
        shown = [
            format_percent(math.expm1(x))
            if data.design.scale == "log" and not math.isnan(x)
            else format_signed(x)
            for x in parts
        ]
        rows.append(
            (
                Cell(
                    f"{row.axis_a} {row.level_a} {TIMES} {row.axis_b} {row.level_b}",
                    style_class="name",
                ),
                numeric(shown[0], row.double),
                interval(f"{shown[1]} to {shown[2]}", row.double_low, row.double_high),
                numeric(format_number(row.p, 2), row.p),
                numeric(format_number(row.p_adjusted, 2), row.p_adjusted),
                numeric(str(int(row.double_seeds)), row.double_seeds),
            )
        )
    caption = (
        "What two levels do together beyond what each does alone, paired by seed; p adjusted by "
        "Benjamini-Hochberg, for exploring."
    )
    if len(found) < len(every):
        caption += f" Shown: the {len(found)} of {len(every)} that are farthest from the sum."
    headings = ("levels", "beyond the sum", "95 % interval", "p", "adjusted p", "seeds")
    return Table(caption, headings, tuple(rows))


def ends_table(data: ReportData) -> Table:
    """The last epoch of every curve."""
    rows = [
        (
            Cell(f"{axis} {row.level}", style_class="name"),
            numeric(str(row.epoch), row.epoch),
            numeric(format_number(row.mean, 4), row.mean),
            interval(
                " to ".join(format_number(end, 4) for end in (row.low, row.high)),
                row.low,
                row.high,
            ),
            replace(
                numeric(f"{row.survivors:g} of {row.runs:g}", row.survivors),
                parts=(("", row.survivors), ("of", row.runs)),
            ),
        )
        for axis, tables in data.curves.items()
        for row in tables["val_loss"].itertuples()
        if row.epoch == tables["val_loss"]["epoch"].max()
    ]
    caption = (
        "Validation loss where the curves end, over the cells that all levels of an axis have."
    )
    headings = ("level", "epoch", "validation loss", "95 % interval", "runs in the curve")
    return Table(caption, headings, tuple(rows))


def spread_table(data: ReportData) -> Table:
    """The spread over seeds, level by level."""

    def shown(value: float) -> str:
        if data.design.scale == "log":
            return format_percent(math.expm1(value)).lstrip("+")
        return format_number(value)

    rows = tuple(
        (
            Cell(f"{row.axis} {row.level}", style_class="name"),
            numeric(shown(row.spread), row.spread),
            interval(f"{shown(row.low)} to {shown(row.high)}", row.low, row.high),
            numeric(str(int(row.cells)), row.cells),
            numeric(str(int(row.seeds)), row.seeds),
        )
        for row in data.spread[data.spread["cells"] > 0].itertuples()
    )
    caption = "Standard deviation of the validation loss over seeds within a configuration."
    headings = ("level", "median", "middle half", "configurations", "seeds")
    return Table(caption, headings, rows)


def costs_table(data: ReportData) -> Table:
    """What a training step costs at each level, timed alone."""
    rows = tuple(
        (
            Cell(f"{row.axis} {row.level}", style_class="name"),
            Cell(row.verdict),
            numeric(format_ratio(row.ratio), row.ratio),
            interval(
                f"{format_ratio(row.low)} to {format_ratio(row.high)}",
                row.low,
                row.high,
            ),
            numeric(f"{1e3 * row.seconds:.3g}", 1e3 * row.seconds),
            numeric(f"{1e3 * row.control_seconds:.3g}", 1e3 * row.control_seconds),
            *(
                numeric(f"{1e3 * seconds:.3g}", 1e3 * seconds)
                for seconds in (row.forward_seconds, row.backward_seconds, row.update_seconds)
            ),
            numeric(format_ratio(row.memory_ratio), row.memory_ratio),
            numeric(str(row.cells), row.cells),
            numeric(str(row.blocks), row.blocks),
            Cell(f"{row.environment_id}, {format_count(row.threads, 'thread')}"),
        )
        for row in data.costs.itertuples()
    )
    headings = (
        *("level", "verdict", "time", "95 % interval", "ms a step", "ms at the control"),
        *("of it forward", "backward", "update"),
    )
    floors = " ".join(map(describe_noise_floor, data.floors.itertuples()))
    caption = (
        "The plain PyTorch step that a person would write, against that of the control, all else "
        f"equal, timed alone and in random order, paired within blocks. {floors}"
    )
    return Table(caption, (*headings, "memory", "cells", "blocks", "machine"), rows)


def ranking_table(data: ReportData) -> Table:
    """The best configurations by seed."""
    found = data.ranked
    settings = [name for name in data.design.factors if len(set(found[name])) > 1]
    rows = tuple(
        (
            numeric(str(row["place"]), row["place"]),
            *(Cell(str(row[name]), style_class="name") for name in settings),
            numeric(format_number(row["mean"], 4), row["mean"]),
            numeric(format_number(row["iqm"], 4), row["iqm"]),
            interval(
                " to ".join(format_number(row[end], 4) for end in ("iqm_low", "iqm_high")),
                row["iqm_low"],
                row["iqm_high"],
            ),
            numeric(f"{row['mean_rank']:.2f}", row["mean_rank"]),
            numeric(format_share(row["first_better"], ".2f"), row["first_better"]),
            numeric(format_number(row["p_first"], 2), row["p_first"]),
            Cell("yes" if row["apart"] else "no") if data.ranks_tell else Cell("too few seeds"),
        )
        for _, row in found.iterrows()
    )
    mean = "geometric mean" if data.design.scale == "log" else "mean"
    caption = (
        f"The best {len(found)} by {mean} validation loss, over {found['n'].iloc[0]} seeds. "
        "P(first better): share of seeds in which the first one is better; p: of the difference "
        "from the first one, by sign flips, adjusted (max-T). Apart: mean ranks farther from the "
        "first one's than Nemenyi's critical difference, "
        f"{format_number(found['critical_difference'].iloc[0])}, among as many as these."
    )
    if len(data.winner):
        caption += _luck(data.winner.iloc[0], data)
    headings = ("rank", *settings, mean, "interquartile mean", "95 % (bootstrap)", "mean rank")
    return Table(caption, (*headings, "P(first better)", "p", "apart"), rows)


def _luck(row: pd.Series, data: ReportData) -> str:
    if math.isnan(row["optimism"]):
        return ""
    gap = (
        format_percent(row["optimism"])
        if data.design.scale == "log"
        else format_signed(row["optimism"])
    )
    size = (
        row["optimism"]
        if data.design.scale == "log"
        else row["optimism"] / (abs(row["naive"]) or 1)
    )
    gap = "no" if abs(size) < 0.0005 else gap
    return (
        f" Chosen from {format_count(int(row['candidates']), 'configuration')}, the first one "
        "looks "
        f"{gap.lstrip('+')} better than what half of the seeds choose gives on the other half; "
        f"{row['chosen']:.0%} of the halves choose the same one."
    )
