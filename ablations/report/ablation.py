"""The ablation table: each level against its control, with its verdict in words."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from ablations.analysis.costs import NO_SLOWER
from ablations.analysis.interactions import UNKNOWN
from ablations.report.data import ReportData
from ablations.report.formatting import (
    NOTHING,
    format_change,
    format_p,
    format_ratio,
    format_share,
    format_signed,
)
from ablations.report.tables import Cell, Table, interval, numeric
from ablations.results.metadata import StudyMetadata

TIMES = "\N{MULTIPLICATION SIGN}"


def ablation_table(data: ReportData, metadata: StudyMetadata) -> Table:
    """Each level against its control: what changed, how sure that is, and what the level is."""
    metric = data.metric_effects.set_index(["axis", "level"])
    headings = ["technique", "verdict", "change of loss", "95 % interval", "adjusted p"]
    headings += ["P(better)", "cells helped"]
    headings += [f"change of {metadata.metric_name}"] if len(metric) else []
    costs = _costs(data)
    headings += ["time of a step"] if len(costs) else []
    headings += ["diverged", f"cells {TIMES} seeds"]
    rows = []
    for _, row in data.effects.iterrows():
        cells = [_name(row, metadata), *_effect(row, data)]
        if len(metric):
            cells.append(_metric(row, metric))
        if len(costs):
            cells.append(_cost(row, costs))
        rows.append((*cells, *_counts(row)))
    caption = (
        "Each level against its control, paired on everything else and the seed: the change of "
        "the validation loss. Copied as CSV, a change is a fraction: 0.1 is +10 %."
    )
    return Table(caption, tuple(headings), tuple(rows))


def _name(row: pd.Series, metadata: StudyMetadata) -> Cell:
    name = f"{row['axis']} \N{RIGHTWARDS ARROW} {row['level']}"
    note = metadata.captions.get(row["axis"], {}).get(row["level"], "")
    same = int(row["identical"])
    if same:
        which = "All" if same == row["pairs"] else f"{same} of"
        note = f"{note} {which} {row['pairs']} pairs are identical to the last bit.".strip()
    if row["depends_on"] not in ("", UNKNOWN):
        note = f"{note} An average: its effect depends on {row['depends_on']}.".strip()
    parts = (("axis", row["axis"]), ("level", row["level"]))
    return Cell(name, style_class="name technique", note=note, parts=parts)


def _effect(row: pd.Series, data: ReportData) -> list[Cell]:
    scale = data.design.scale
    prefix = "change_" if scale == "log" else ""
    ends = [format_change(row, scale, part) for part in ("low", "high")]
    shown = " to ".join(ends) if row["seeds"] >= 2 else NOTHING
    return [
        Cell(
            row["verdict"] if row["pairs"] else "not compared",
            style_class="verdict " + row["verdict"].replace(" ", "-"),
            note="" if row["pairs"] else str(row["left_out"]),
        ),
        numeric(
            format_change(row, scale) + " *" * (row["conditional"] and row["seeds"] > 0),
            row["change" if scale == "log" else "effect"],
        ),
        interval(shown, row[f"{prefix}low"], row[f"{prefix}high"]),
        numeric(format_p(row), row["p_adjusted"] if row["reachable"] else math.nan),
        numeric(format_share(row["better"], ".2f"), row["better"]),
        numeric(format_share(row["helped"], ".0%"), row["helped"]),
    ]


def _metric(row: pd.Series, metric: pd.DataFrame) -> Cell:
    key = (row["axis"], row["level"])
    value = float(metric.loc[key, "effect"]) if key in metric.index else math.nan
    return numeric(format_signed(value), value)


def _costs(data: ReportData) -> pd.DataFrame:
    """What was timed on the machine that timed most, one row a level."""
    table = data.costs
    if table.empty:
        return table
    blocks = table.groupby(["environment_id", "threads"])["blocks"].transform("max")
    first = table[blocks == blocks.max()].drop_duplicates(["axis", "level"])
    return first.set_index(["axis", "level"])


def _cost(row: pd.Series, costs: pd.DataFrame) -> Cell:
    key = (row["axis"], row["level"])
    if key not in costs.index:
        return Cell(NOTHING, style_class="number")
    found = costs.loc[key]
    note = "" if found["verdict"] != NO_SLOWER else NO_SLOWER
    ends = (("", found["ratio"]), ("low", found["low"]), ("high", found["high"]))
    return replace(numeric(format_ratio(found["ratio"]), found["ratio"]), note=note, parts=ends)


def _counts(row: pd.Series) -> list[Cell]:
    text = f"{row['diverged']}/{row['pairs']}"
    if row["diverged"] or row["control_diverged"]:
        text += f" (control {row['control_diverged']})"
    diverged = (
        ("", row["diverged"]),
        ("of", row["pairs"]),
        ("at the control", row["control_diverged"]),
    )
    size = f"{row['cells']} {TIMES} {row['seeds']}"
    some = row["survivors"] < row["pairs"]
    return [
        replace(numeric(text, row["diverged"]), parts=diverged),
        replace(
            numeric(size, row["pairs"], "number interval"),
            note=f"{row['survivors']} of {row['pairs']} pairs survived" if some else "",
            parts=(("cells", row["cells"]), ("seeds", row["seeds"])),
        ),
    ]
