"""Tables beside the figures of the whole: shares, interactions, curves, spreads, ranks."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from ablations.analysis import strongest_pairs
from ablations.report import words
from ablations.report.reading import Reading
from ablations.report.tables import Cell, Table, interval, numeric

OPENED = 3
"""Pairs of axes whose interaction is opened up."""
MOST_DOUBLES = 60
"""Pairs of levels that a table has room for."""
TIMES = "\N{MULTIPLICATION SIGN}"


def shares_table(reading: Reading) -> Table:
    """Each source's share of the variance, and the test of it."""
    rows = []
    for row in reading.shares.itertuples():
        name = {"blocks": "seed", "residual": "residual (chance)"}.get(row.source, row.source)
        rows.append(
            (
                Cell(name, look="name"),
                numeric(words.share(row.eta2, ".2%"), row.eta2),
                numeric(words.share(row.omega2, ".2%"), row.omega2),
                numeric(str(int(row.df)), row.df),
                numeric(words.number(row.f), row.f),
                numeric(words.number(row.p, 2), row.p),
                numeric(words.number(row.epsilon, 2), row.epsilon),
                numeric(words.number(row.p_epsilon, 2), row.p_epsilon),
            )
        )
    first = reading.shares.iloc[0]
    caption = f"Shares of the variance, over {first['n']} seeds: {first['procedure']}."
    headings = (
        *("source", "η²", "ω²", "df", "F", "p"),
        *("epsilon (Greenhouse-Geisser)", "p with epsilon"),
    )
    return Table(caption, headings, tuple(rows))


def simple_tables(reading: Reading) -> list[Table]:
    """The strongest interactions opened up: each level's effect at each level of the other axis."""
    if reading.interactions.empty:
        return []
    ranked = strongest_pairs(reading.interactions).dropna()
    certain = reading.interactions[reading.interactions["p_adjusted"] <= 0.05]
    known = set(zip(certain["axis_a"], certain["axis_b"], strict=True))
    pairs = [
        (a, b) for a, b in zip(ranked["axis_a"], ranked["axis_b"], strict=True) if (a, b) in known
    ]
    return [_simple(reading, a, b) for a, b in pairs[:OPENED]]


def _simple(reading: Reading, given: str, axis: str) -> Table:
    """Rows: levels of one axis; columns: the effect of each level of the axis that has fewer."""
    if len(reading.levels[axis]) > len(reading.levels[given]):
        axis, given = given, axis
    table = reading.simple[(reading.simple["axis"] == axis) & (reading.simple["given"] == given)]
    levels = [level for level in reading.levels[axis] if level in set(table["level"])]
    by_key = table.set_index(["given_level", "level"])
    rows = []
    for at in reading.levels[given]:
        if at not in set(table["given_level"]):
            continue
        cells = [Cell(f"{given} {at}", look="name")]
        for level in levels:
            if (at, level) not in by_key.index:
                cells.append(Cell(words.NOTHING, look="number"))
                continue
            row = by_key.loc[(at, level)]
            low, high = (words.change(row, reading.scale, part) for part in ("low", "high"))
            names = {"": "effect", "low": "low", "high": "high"}
            if reading.scale == "log":
                names = {"": "change", "low": "change_low", "high": "change_high"}
            parts = tuple((part, float(row[name])) for part, name in names.items())
            shown = numeric(words.change(row, reading.scale), parts[0][1])
            note = f"{low} to {high}" if row["seeds"] > 1 else ""
            cells.append(replace(shown, note=note, parts=parts))
        rows.append(tuple(cells))
    caption = (
        f"{axis} {TIMES} {given}: the change that each level of {axis} makes against "
        f"{reading.controls[axis]}, at each level of {given}, with its 95 % interval."
    )
    return Table(caption, ("at", *levels), tuple(rows))


def doubles_table(reading: Reading) -> Table:
    """Every pair of levels: what the two do together beyond the sum of both."""
    every = reading.interactions.dropna(subset="double")
    furthest = every["double"].abs().sort_values(ascending=False, kind="stable").index
    found = every.loc[every.index.isin(furthest[:MOST_DOUBLES])]
    rows = []
    for row in found.itertuples():
        parts = [row.double, row.double_low, row.double_high]
        shown = [
            words.percent(math.expm1(x))
            if reading.scale == "log" and not math.isnan(x)
            else words.signed(x)
            for x in parts
        ]
        rows.append(
            (
                Cell(f"{row.axis_a} {row.level_a} {TIMES} {row.axis_b} {row.level_b}", look="name"),
                numeric(shown[0], row.double),
                interval(f"{shown[1]} to {shown[2]}", row.double_low, row.double_high),
                numeric(words.number(row.p, 2), row.p),
                numeric(words.number(row.p_adjusted, 2), row.p_adjusted),
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


def ends_table(reading: Reading) -> Table:
    """The last epoch of every curve."""
    rows = [
        (
            Cell(f"{axis} {row.level}", look="name"),
            numeric(str(row.epoch), row.epoch),
            numeric(words.number(row.mean, 4), row.mean),
            interval(
                f"{words.number(row.low, 4)} to {words.number(row.high, 4)}", row.low, row.high
            ),
            replace(
                numeric(f"{row.survivors:g} of {row.runs:g}", row.survivors),
                parts=(("", row.survivors), ("of", row.runs)),
            ),
        )
        for axis, tables in reading.curves.items()
        for row in tables["val_loss"].itertuples()
        if row.epoch == tables["val_loss"]["epoch"].max()
    ]
    caption = (
        "Validation loss where the curves end, over the cells that all levels of an axis have."
    )
    headings = ("level", "epoch", "validation loss", "95 % interval", "runs in the curve")
    return Table(caption, headings, tuple(rows))


def spread_table(reading: Reading) -> Table:
    """The spread over seeds, level by level."""

    def shown(value: float) -> str:
        if reading.scale == "log":
            return words.percent(math.expm1(value)).lstrip("+")
        return words.number(value)

    rows = tuple(
        (
            Cell(f"{row.axis} {row.level}", look="name"),
            numeric(shown(row.spread), row.spread),
            interval(f"{shown(row.low)} to {shown(row.high)}", row.low, row.high),
            numeric(str(int(row.cells)), row.cells),
            numeric(str(int(row.seeds)), row.seeds),
        )
        for row in reading.spread[reading.spread["cells"] > 0].itertuples()
    )
    caption = "Standard deviation of the validation loss over seeds within a configuration."
    headings = ("level", "median", "middle half", "configurations", "seeds")
    return Table(caption, headings, rows)


def costs_table(reading: Reading) -> Table:
    """What a training step costs at each level, timed alone."""
    rows = tuple(
        (
            Cell(f"{row.axis} {row.level}", look="name"),
            Cell(row.verdict),
            numeric(words.times(row.ratio), row.ratio),
            interval(f"{words.times(row.low)} to {words.times(row.high)}", row.low, row.high),
            numeric(f"{1e3 * row.seconds:.3g}", 1e3 * row.seconds),
            numeric(f"{1e3 * row.control_seconds:.3g}", 1e3 * row.control_seconds),
            *(
                numeric(f"{1e3 * seconds:.3g}", 1e3 * seconds)
                for seconds in (row.forward_seconds, row.backward_seconds, row.update_seconds)
            ),
            numeric(words.times(row.memory_ratio), row.memory_ratio),
            numeric(str(row.cells), row.cells),
            numeric(str(row.blocks), row.blocks),
            Cell(f"{row.environment_id}, {words.count(row.threads, 'thread')}"),
        )
        for row in reading.costs.itertuples()
    )
    headings = (
        *("level", "verdict", "time", "95 % interval", "ms a step", "ms at the control"),
        *("of it forward", "backward", "update"),
    )
    floors = " ".join(map(words.floor, reading.floors.itertuples()))
    caption = (
        "The plain PyTorch step that a person would write, against that of the control, all else "
        f"equal, timed alone and in random order, paired within blocks. {floors}"
    )
    return Table(caption, (*headings, "memory", "cells", "blocks", "machine"), rows)


def ranking_table(reading: Reading) -> Table:
    """The best configurations by seed."""
    found = reading.ranked
    settings = [name for name in reading.contrasted if len(set(found[name])) > 1]
    rows = tuple(
        (
            numeric(str(row["place"]), row["place"]),
            *(Cell(str(row[name]), look="name") for name in settings),
            numeric(words.number(row["mean"], 4), row["mean"]),
            numeric(words.number(row["iqm"], 4), row["iqm"]),
            interval(
                f"{words.number(row['iqm_low'], 4)} to {words.number(row['iqm_high'], 4)}",
                row["iqm_low"],
                row["iqm_high"],
            ),
            numeric(f"{row['mean_rank']:.2f}", row["mean_rank"]),
            numeric(words.share(row["first_better"], ".2f"), row["first_better"]),
            numeric(words.number(row["p_first"], 2), row["p_first"]),
            Cell("yes" if row["apart"] else "no") if reading.ranks_tell else Cell("too few seeds"),
        )
        for _, row in found.iterrows()
    )
    mean = "geometric mean" if reading.scale == "log" else "mean"
    caption = (
        f"The best {len(found)} by {mean} validation loss, over {found['n'].iloc[0]} seeds. "
        "P(first better): share of seeds in which the first one is better; p: of the difference "
        "from the first one, by sign flips, adjusted (max-T). Apart: mean ranks farther from the "
        "first one's than Nemenyi's critical difference, "
        f"{words.number(found['critical_difference'].iloc[0])}, among as many as these."
    )
    if len(reading.winner):
        caption += _luck(reading.winner.iloc[0], reading)
    headings = ("rank", *settings, mean, "interquartile mean", "95 % (bootstrap)", "mean rank")
    return Table(caption, (*headings, "P(first better)", "p", "apart"), rows)


def _luck(row: pd.Series, reading: Reading) -> str:
    if math.isnan(row["optimism"]):
        return ""
    gap = (
        words.percent(row["optimism"]) if reading.scale == "log" else words.signed(row["optimism"])
    )
    size = row["optimism"] if reading.scale == "log" else row["optimism"] / (abs(row["naive"]) or 1)
    gap = "no" if abs(size) < 0.0005 else gap
    return (
        f" Chosen from {words.count(int(row['candidates']), 'configuration')}, the first one looks "
        f"{gap.lstrip('+')} better than what half of the seeds choose gives on the other half; "
        f"{row['chosen']:.0%} of the halves choose the same one."
    )
