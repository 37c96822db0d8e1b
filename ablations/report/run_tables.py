"""The report's tables of runs: the best, the failed, the audited, and where they were trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from ablations.analysis import Scale
from ablations.analysis.baseline import scale_losses
from ablations.report.columns import Cell, Column, Row, Table, build_table, four_digits, two_digits
from ablations.report.data import EXCESS, ReportData
from ablations.report.formatting import NARROW, format_count, format_difference, format_number
from ablations.report.precision import MINUS, Number
from ablations.results.store import StoredResults

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
        for name in data.untuned.factors
        if len(set(best[name])) > 1 or name in data.design.axes
    ]
    columns = [
        Column.number("rank", "rank"),
        *map(Column.setting, settings),
        Column.number(data.outcome, "mean", four_digits),
        Column.interval("95 % interval", "low", "high", format_number, lambda row: row["ok"] > 1),
    ]
    has_constant = EXCESS in best and bool(best[EXCESS].notna().any())
    if has_constant:
        columns.append(_constant_column(data.untuned.runs))
    if best["metric"].notna().any():
        columns.append(Column.number(data.name(data.second), "metric", format_number))
    columns += [Column.number("seconds", "seconds", two_digits), Column.number("seeds", "ok")]
    rows = best.assign(rank=range(1, len(best) + 1))
    return build_table(
        "best",
        columns,
        rows,
        complete=len(complete),
        others=len(data.configurations) - len(complete),
        outcome=data.outcome,
        is_geometric=data.design.scale == "log",
        has_constant=has_constant,
    )


def _constant_column(runs: pd.DataFrame) -> Column:
    """A column of the mean loss against the constant's: in percent where all are positive."""
    scale: Scale = "log" if scale_losses(runs)[1] else "difference"
    write = partial(format_difference, scale=scale)
    return Column.number("against constant", EXCESS, write)


def endings_table(data: ReportData) -> Table | None:
    """Why runs diverged, failed or were skipped, grouped."""
    columns = (
        Column("status", lambda row: Cell(row["status"], None, f"status {row['status']}")),
        Column.number("runs", "runs", "{:,}".format),
        Column.number("seeds", "seeds"),
        Column("reason", _describe_reason, style_class="caption"),
        Column.text("in common", "shared", "name"),
    )
    rows = data.endings.head(MOST_REASONS)
    return build_table("endings", columns, rows, hidden=len(data.endings) - MOST_REASONS)


def _describe_reason(row: Row) -> str:
    alike = f" (and {row['reasons'] - 1:,} alike)" if row["reasons"] > 1 else ""
    return f"{row['reason']}{alike}"


def rates_table(data: ReportData) -> Table | None:
    """The divergence rate of every level of the axes on which runs diverged."""
    rates = data.rates
    rates = rates[rates.groupby("axis")["diverged"].transform("sum") > 0]
    parts = (("", "diverged"), ("of", "runs"))
    columns = (
        Column.level(),
        Column.count("diverged", "{diverged}/{runs}", "diverged", parts),
        Column.number("rate", "rate", "{:.1%}".format),
        Column.interval("95 % interval", "low", "high", "{:.1%}".format),
        Column.number("seeds", "seeds"),
    )
    return build_table("rates", columns, rates)


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
        Column.name("curve"),
        Column.count("inside", "{inside} of {total}", "inside"),
        Column.text("epochs outside", "outside"),
        Column.number("runs", "runs", "{:,}".format),
    )
    return build_table("published", columns, rows)


def environment_table(data: ReportData) -> Table | None:
    """One column per environment, one row per fact."""
    return environments_table(data.results)


def environments_table(results: StoredResults) -> Table | None:
    """One column per environment of a folder, one row per fact."""
    environments, runs = results.environment, results.runs
    counts = runs["environment_id"].value_counts()
    facts = {
        f"{name} ({format_count(int(counts.get(name, 0)), 'run')})": flatten(environments[name])
        for name in sorted(environments)
    }
    return facts_table("environment", facts)


def facts_table(name: str, facts: Mapping[str, Mapping[str, str]]) -> Table | None:
    """One column per mapping of facts, one row per fact."""
    rows = [{"fact": key} for key in dict.fromkeys(key for keys in facts.values() for key in keys)]
    columns = [Column("", lambda row: row["fact"], style_class="name")] + [
        Column(
            heading,
            partial(lambda row, values: values.get(row["fact"], ""), values=values),
            style_class="caption",
        )
        for heading, values in facts.items()
    ]
    return build_table(name, columns, rows)


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
    audit, runs = data.results.audit, data.untuned.runs
    if audit.empty:
        return None
    axes = [name for name in data.metadata.axes if len(set(runs[name])) > 1]
    rows = audit.merge(runs[["run_id", "seed", *axes]], on="run_id")
    rows["finding"] = rows["reason"].astype(object).fillna("as it should be")
    columns = (
        Column.text("run", "run_id", "name"),
        *map(Column.setting, axes),
        Column.number("seed", "seed"),
        Column.text("engine", "engine"),
        Column.number("epochs compared", "epochs_compared"),
        Column.number("deviation", "deviation", _write_tiny),
        Column.number("tolerance", "tolerance", _write_tiny),
        Column.number("in float64", "deviation_float64", _write_tiny),
        Column("repeats", lambda row: "yes" if row["repeated"] else "no"),
        Column.number(
            "end, against the loop", "drift",
            _write_drift,
        ),
        Column.text("finding", "finding"),
    )  # fmt: skip
    return build_table("audit", columns, rows.sort_values("deviation", ascending=False))


def _write_drift(drift: float) -> str:
    if pd.isna(drift):
        return ""
    return Number(100 * math.expm1(drift), 1, after=f"{NARROW}%", is_signed=True)


def _write_tiny(value: float) -> str:
    if pd.isna(value):
        return ""
    return "any" if math.isinf(value) else f"{value:.1e}".replace("-", MINUS)


RUN_TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "best": best_table,
    "endings": endings_table,
    "rates": rates_table,
    "published": published_table,
    "audit": audit_table,
    "environment": environment_table,
}
"""By the names that the templates use."""
