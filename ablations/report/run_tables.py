"""The report's tables of runs: the best, the failed, the audited, and where they were trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from ablations.report.columns import (
    Cell,
    Column,
    Table,
    build_table,
    four_digits,
    interval_column,
    level_column,
    name_column,
    number_column,
    text_column,
    two_digits,
)
from ablations.report.data import ReportData
from ablations.report.formatting import (
    ARROW,
    format_count,
    format_number,
)

BEST = 10
"""Configurations in the table of the best."""
MOST_REASONS = 20
"""Reasons in the table of runs that did not end well."""


def best_table(data: ReportData) -> Table | None:
    """The best configurations of which no run diverged or failed."""
    complete = data.configurations[data.configurations["complete"]]
    best = complete.head(BEST)
    settings = [
        name
        for name in data.design.untuned.factors
        if len(set(best[name])) > 1 or name in data.design.axes
    ]
    columns = [
        number_column("rank", "rank"),
        *map(name_column, settings),
        number_column("validation loss", "mean", four_digits),
        interval_column("95 % interval", "low", "high", format_number, lambda row: row["ok"] > 1),
    ]
    if best["metric"].notna().any():
        columns.append(number_column(data.metadata.metric_name, "metric", format_number))
    columns += [number_column("seconds", "seconds", two_digits), number_column("seeds", "ok")]
    caption = (
        f"The best of {format_count(len(complete), 'configuration')} whose runs all ended well, by "
        "validation loss: its geometric mean over seeds."
    )
    if len(complete) < len(data.configurations):
        n_others = len(data.configurations) - len(complete)
        caption += f" Left out: {n_others:,} with diverged, failed or skipped runs."
    caption += " Chosen and judged on the same seeds, the first rows look better than they are."
    return build_table(caption, columns, best.assign(rank=range(1, len(best) + 1)))


def endings_table(data: ReportData) -> Table | None:
    """Why runs diverged, failed or were skipped, grouped."""
    columns = (
        Column("status", lambda row: Cell(row["status"], style_class=f"status {row['status']}")),
        number_column("runs", "runs", "{:,}".format),
        number_column("seeds", "seeds"),
        Column(
            "reason",
            lambda row: (
                row["reason"] + (f" (and {row['reasons'] - 1:,} alike)" * (row["reasons"] > 1))
            ),
            style_class="caption",
        ),
        text_column("in common", "shared", "name"),
    )
    n_hidden = len(data.endings) - MOST_REASONS
    caption = "Runs that did not end well, grouped by reason."
    caption += f" {n_hidden:,} rarer reasons are not shown." if n_hidden > 0 else ""
    return build_table(caption, columns, data.endings.head(MOST_REASONS))


def rates_table(data: ReportData) -> Table | None:
    """The divergence rate of every level of the axes on which runs diverged."""
    rates = data.rates
    rates = rates[rates.groupby("axis")["diverged"].transform("sum") > 0]
    columns = (
        level_column(pattern="{axis} " + ARROW + " {level}"),
        Column(
            "diverged", lambda row: f"{row['diverged']}/{row['runs']}", "diverged", "number",
            parts=(("", "diverged"), ("of", "runs")),
        ),
        number_column("rate", "rate", "{:.1%}".format),
        interval_column("95 % interval", "low", "high", "{:.1%}".format),
        number_column("seeds", "seeds"),
    )  # fmt: skip
    caption = "Divergence by level, with Clopper-Pearson intervals that take runs as independent."
    return build_table(caption, columns, rates)


def published_table(data: ReportData) -> Table | None:
    """How many losses of every published curve lie inside the band of the runs."""
    if data.published.empty:
        return None
    rows = [
        {
            "curve": curve,
            "inside": int(epochs["inside"].sum()),
            "total": len(epochs),
            "outside": ", ".join(map(str, epochs.loc[~epochs["inside"], "epoch"])) or "none",
            "runs": epochs["runs"].max(),
        }
        for curve, epochs in data.published.groupby("label", sort=False)
    ]
    columns = (
        name_column("curve"),
        Column("inside", lambda row: f"{row['inside']} of {row['total']}", "inside", "number"),
        text_column("epochs outside", "outside"),
        number_column("runs", "runs", "{:,}".format),
    )
    return build_table("Printed losses against our runs.", columns, rows)


def environment_table(data: ReportData) -> Table | None:
    """One column per environment, one row per fact."""
    environments, runs = data.results.environment, data.results.runs
    facts = {name: flatten(environments[name]) for name in sorted(environments)}
    counts = runs["environment_id"].value_counts()
    titles = {name: f"{name} ({format_count(int(counts.get(name, 0)), 'run')})" for name in facts}
    return facts_table("Where the runs were trained.", facts, titles)


def facts_table(
    caption: str, facts: Mapping[str, Mapping[str, str]], titles: Mapping[str, str] | None = None
) -> Table | None:
    """One column per mapping of facts, one row per fact."""
    keys = dict.fromkeys(key for values in facts.values() for key in values)
    columns = [Column("", lambda key: key["fact"], style_class="name")] + [
        Column(
            titles[name] if titles else name,
            partial(lambda row, values: values.get(row["fact"], ""), values=values),
            style_class="caption",
        )
        for name, values in facts.items()
    ]
    return build_table(caption, columns, [{"fact": key} for key in keys])


def flatten(description: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Flatten nested descriptions to dotted names."""
    facts: dict[str, str] = {}
    for key, value in description.items():
        if isinstance(value, Mapping):
            facts |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            facts[f"{prefix}{key}"] = ", ".join(map(str, value))
        else:
            facts[f"{prefix}{key}"] = str(value)
    return facts


def audit_table(data: ReportData) -> Table | None:
    """One row per run that the plain loop trained again."""
    audit, runs = data.results.audit, data.design.untuned.runs
    if audit.empty:
        return None
    axes = [name for name in data.metadata.axes if len(set(runs[name])) > 1]
    rows = audit.merge(runs[["run_id", "seed", *axes]], on="run_id")
    columns = (
        text_column("run", "run_id", "name"),
        *(text_column(axis, axis) for axis in axes),
        number_column("seed", "seed"),
        text_column("engine", "engine"),
        number_column("epochs compared", "epochs_compared"),
        number_column("deviation", "deviation", _write_tiny),
        number_column("tolerance", "tolerance", _write_tiny),
        number_column("in float64", "deviation_float64", _write_tiny),
        Column("repeats", lambda row: "yes" if row["repeated"] else "no"),
        number_column(
            "end, against the loop", "drift",
            lambda drift: "" if pd.isna(drift) else f"{math.expm1(drift):+.1%}",
        ),
        Column(
            "finding",
            lambda row: "as it should be" if pd.isna(row["reason"]) else str(row["reason"]),
        ),
    )  # fmt: skip
    caption = (
        "Runs of each kind, chosen by hash, trained again by the plain loop, one by one. "
        "Deviations are of losses, relative to the loop's, the largest over the epochs compared; "
        "the tolerance is what rounding can do there, measured on the loop in both precisions. "
        "“Repeats”: the program, run again in other company, gave the stored numbers bit for bit. "
        "Later, single runs may part, since training amplifies rounding: at the end only the mean "
        "over all runs counts."
    )
    rows = rows.sort_values("deviation", ascending=False)
    return build_table(caption, columns, rows)


def _write_tiny(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1e}"


RUN_TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "best": best_table,
    "endings": endings_table,
    "rates": rates_table,
    "published": published_table,
    "audit": audit_table,
    "environment": environment_table,
}
"""By the names that the templates use."""
