"""Rows of the page's tables: the text to show, and beside it the number to sort by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ablations.report import words
from ablations.report.reading import Reading
from ablations.report.story import Story

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
    look: str = ""
    note: str = ""
    parts: tuple[tuple[str, float | str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A caption, headings and rows of cells."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def numeric(text: str, value: float, look: str = "number") -> Cell:
    """Make a cell of a number: ``text`` is shown, ``value`` sorts."""
    value = float(value)
    return Cell(text, None if math.isnan(value) else value, look)


def interval(text: str, low: float, high: float) -> Cell:
    """Make a cell of an interval, which is sorted by its lower end."""
    return replace(
        numeric(text, low, "number interval"), parts=(("low", float(low)), ("high", float(high)))
    )


def spelled(parts: Sequence[tuple[str, float | str]]) -> str:
    """Spell the parts of a cell for the page's scripts, as JSON, a missing one empty."""
    told = {name: "" if pd.isna(value) else str(value) for name, value in parts}
    return json.dumps(told, ensure_ascii=False)


def best_table(reading: Reading, story: Story) -> Table:
    """List the ten best configurations that never diverged nor failed."""
    found = reading.configurations
    best = found[found["complete"]].head(BEST)
    settings = [
        name for name in reading.factors if len(set(best[name])) > 1 or name in reading.axes
    ]
    metric = [story.metric_name] if best["metric"].notna().any() else []
    headings = ["rank", *settings, "validation loss", "95 % interval", *metric, "seconds", "seeds"]
    rows = []
    for place, (_, row) in enumerate(best.iterrows(), 1):
        ends = (
            f"{words.number(row['low'])} to {words.number(row['high'])}"
            if row["ok"] > 1
            else "\N{EN DASH}"
        )
        cells = [
            numeric(str(place), place),
            *(Cell(str(row[name]), look="name") for name in settings),
        ]
        cells += [
            numeric(words.number(row["mean"], 4), row["mean"]),
            interval(ends, row["low"], row["high"]),
        ]
        cells += [numeric(words.number(row["metric"]), row["metric"])] if metric else []
        cells += [
            numeric(words.number(row["seconds"], 2), row["seconds"]),
            numeric(str(row["ok"]), row["ok"]),
        ]
        rows.append(tuple(cells))
    return Table(_best_caption(found), tuple(headings), tuple(rows))


def _best_caption(found: pd.DataFrame) -> str:
    complete = int(found["complete"].sum())
    best = words.count(complete, "configuration")
    text = (
        f"The best of {best} whose runs all ended well, by validation loss: its geometric mean "
        "over seeds."
    )
    if complete < len(found):
        text += f" Left out: {len(found) - complete:,} with diverged, failed or skipped runs."
    return f"{text} Chosen and judged on the same seeds, the first rows look better than they are."


def endings_table(reading: Reading) -> Table:
    """List why runs diverged, failed or were skipped, grouped."""
    rows = []
    for _, row in reading.endings.head(MOST_REASONS).iterrows():
        alike = f" (and {row['reasons'] - 1:,} alike)" if row["reasons"] > 1 else ""
        rows.append(
            (
                Cell(row["status"], look=f"status {row['status']}"),
                numeric(f"{row['runs']:,}", row["runs"]),
                numeric(str(row["seeds"]), row["seeds"]),
                Cell(row["reason"] + alike, look="caption"),
                Cell(row["shared"], look="name"),
            )
        )
    left = len(reading.endings) - len(rows)
    caption = "Runs that did not end well, grouped by reason."
    caption += f" {left:,} rarer reasons are not shown." if left else ""
    return Table(caption, ("status", "runs", "seeds", "reason", "in common"), tuple(rows))


def rates_table(reading: Reading) -> Table:
    """List the divergence rate of every level that diverged at all, and of its axis' other
    levels.
    """
    rates = reading.rates
    rates = rates[rates.groupby("axis")["diverged"].transform("sum") > 0]
    rows = tuple(
        (
            Cell(f"{row['axis']} \N{RIGHTWARDS ARROW} {row['level']}", look="name"),
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
                Cell(str(name), look="name"),
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
    headings = ("", *(f"{name} ({words.count(int(counts.get(name, 0)), 'run')})" for name in names))
    keys = dict.fromkeys(key for fact in facts for key in fact)
    rows = tuple(
        (Cell(key, look="name"), *(Cell(fact.get(key, ""), look="caption") for fact in facts))
        for key in keys
    )
    return Table("Where the runs were trained.", headings, rows)


def audit_table(audit: pd.DataFrame, runs: pd.DataFrame, story: Story) -> Table:
    """One row a run that the plain loop judged."""
    axes = [name for name in story.axes if len(set(runs[name])) > 1]
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
                Cell(str(row["run_id"]), look="name"),
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
