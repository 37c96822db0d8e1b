"""The page of a comparison: what changed from one folder to another, level by level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED
from ablations.analysis.inference import min_seeds
from ablations.report.columns import Column, build_table, write_p
from ablations.report.comparison import ALPHA, Comparison, find_caveats, write_sentences
from ablations.report.forest import STYLES, Forest, ForestGroup, ForestRow, Measure
from ablations.report.forest_notes import Note
from ablations.report.forest_scale import Scale, Strip, Unit, Writer, choose_scale, choose_unit
from ablations.report.formatting import NOTHING, format_count, format_margin, name_outcome
from ablations.report.headline import Badge, FirstScreen
from ablations.report.run_tables import facts_table
from ablations.report.sections import Outline, Section, fill_page
from ablations.report.strengths import name_level, row_id
from ablations.results.metadata import StudyMetadata

Row = Mapping[str, Any]

OUTLINE = Outline(
    (
        Section("verdicts", "Verdicts that changed", {"flipped": ""}),
        Section("endings", "Runs that ended otherwise", {"changed_endings": ""}),
    ),
    {"cautions": "Cautions", "levels": "All numbers", "environment": "Environments"},
)
"""What the page shows, in its order; what has no content is left out."""
WORDS = {HELPS: "better", HURTS: "worse", EQUAL: "practically equal", UNDECIDED: UNDECIDED}
"""Of each verdict, what the second folder is against the first."""
ALL = "all runs"


def render_comparison(comparison: Comparison, metadata: StudyMetadata) -> str:
    """Write the page of a comparison."""
    design, names = comparison.first.design, comparison.names
    facts = {
        name: {key: values[i] for key, values in comparison.changed.items()}
        for i, name in enumerate(names)
    }
    before, after = Column.text(names[0], "before"), Column.text(names[1], "after")
    runs = Column.number("runs", "runs", "{:,}".format)
    levels = (
        Column.level(),
        Column.change(f"change of {name_outcome(design.outcome)}", design.scale),
        Column.change_interval(design.scale),
        Column.number("adjusted p", "p_adjusted", write_p),
        Column.count(
            "diverged", "{diverged} ({control_diverged} before)", "diverged",
            (("", "diverged"), ("before", "control_diverged")),
        ),
        Column.number("pairs", "pairs", "{:,}".format),
    )  # fmt: skip
    tables: dict[str, Any] = {
        "by_level": build_table("levels", levels, comparison.by_level),
        "flipped": build_table("flipped", (Column.level(), before, after), comparison.flipped),
        "endings": build_table("changed_endings", (before, after, runs), comparison.endings),
        "environment": facts_table("changed_environment", facts),
    }
    parts = {"by_level": "levels", "endings": "changed_endings"}
    return fill_page(
        OUTLINE,
        write_first_screen(comparison),
        {parts.get(name, name) for name, table in tables.items() if table} | {"cautions"},
        title=f"{names[1]} against {names[0]}",
        description=metadata.study,
        facts=[f"{format_count(comparison.pairs, 'pair')} of runs"],
        forest=build_comparison_forest(comparison, metadata),
        cautions=[caveat.text for caveat in find_caveats(comparison)],
        band=format_margin(design.margin, design.scale),
        **tables,
    )


def write_first_screen(comparison: Comparison) -> FirstScreen:
    """Say what changed for the first screen of the page."""
    headline, *others = write_sentences(comparison)
    badges = (
        Badge(caveat.badge, caveat.text, "#evidence-cautions")
        for caveat in find_caveats(comparison)
        if caveat.badge
    )
    return FirstScreen(headline, tuple(others), tuple(badges))


def build_comparison_forest(comparison: Comparison, metadata: StudyMetadata) -> Forest:
    """Build the forest plot-table of the change over all runs and at each level."""
    design, names = comparison.first.design, comparison.names
    overall = pd.DataFrame([comparison.overall]).assign(axis=ALL, level="all pairs")
    table = pd.concat([overall, comparison.by_level], ignore_index=True)
    rows = table.assign(verdict=judge(table, comparison)).to_dict("records")
    is_log = design.scale == "log"
    compared = [row for row in rows if math.isfinite(row["effect"])]
    scale = choose_scale(compared, design.bound, is_log=is_log)
    changes = (row["change" if is_log else "effect"] for row in compared)
    writer = Writer.from_margin(design.margin, changes, is_log=is_log)
    unit = choose_unit(row["effect"] for row in compared) if is_log else "percent"
    groups: dict[str, list[ForestRow]] = {}
    for row in rows:
        strip = _draw_strip(row, comparison, metadata, scale, writer, unit)
        groups.setdefault(row["axis"], []).append(_build_row(row, strip, metadata))
    outcome = name_outcome(design.outcome)
    return Forest(
        measures=(Measure("outcome", outcome, scale, design.higher_is_better),),
        groups=tuple(ForestGroup(axis, "", tuple(each), (), "") for axis, each in groups.items()),
        unit=unit,
        cost_heading="",
        band_text=f"within {format_margin(design.margin, design.scale)}",
        scope=f"from {names[0]} to {names[1]}",
    )


def judge(table: pd.DataFrame, comparison: Comparison) -> np.ndarray:
    """Return the verdict of each row: beyond chance, within the margin, or neither."""
    design = comparison.first.design
    is_certain = table["p_adjusted"] <= ALPHA
    is_better = (table["effect"] > 0) == design.higher_is_better
    is_within = (table["low"] >= -design.bound) & (table["high"] <= design.bound)
    is_within &= table["seeds"] >= min_seeds(ALPHA)
    is_equal = is_within | (table["identical"] == table["pairs"])
    cases = [is_equal, is_certain & is_better, is_certain]
    return np.select(cases, [EQUAL, HELPS, HURTS], UNDECIDED)


def _draw_strip(
    row: Row,
    comparison: Comparison,
    metadata: StudyMetadata,
    scale: Scale,
    writer: Writer,
    unit: Unit,
) -> Strip | None:
    if not math.isfinite(row["effect"]):
        return None
    design = comparison.first.design
    names = ("change", "change_low", "change_high")
    return Strip.draw(
        row,
        [float(row[name]) for name in (names if writer.is_log else ("effect", "low", "high"))],
        scale,
        writer,
        unit,
        verdict=WORDS[row["verdict"]],
        style=STYLES[row["verdict"]],
        name=_name(row, metadata),
        outcome=name_outcome(design.outcome),
        count=format_count(int(row["pairs"]), "pair"),
    )


def _build_row(row: Row, strip: Strip | None, metadata: StudyMetadata) -> ForestRow:
    return ForestRow(
        id=row_id(row["axis"], row["level"]),
        axis=row["axis"],
        level=row["level"],
        name=_name(row, metadata),
        verdict=WORDS[row["verdict"]],
        style=STYLES[row["verdict"]],
        strips={"outcome": strip} if strip else {},
        missing="" if strip else "no pair survived",
        cost=NOTHING,
        is_cost_certain=False,
        notes=tuple(_list_notes(row, strip)),
        moderators="",
    )


def _name(row: Row, metadata: StudyMetadata) -> str:
    is_all = row["axis"] == ALL
    return str(row["level"]) if is_all else name_level(row["axis"], row["level"], metadata)


def _list_notes(row: Row, strip: Strip | None) -> list[Note]:
    notes = []
    if strip and strip.has_interval:
        notes.append(Note("95 % interval", strip.interval))
    if math.isfinite(row["p_adjusted"]):
        notes.append(Note.plain("adjusted p", write_p(row["p_adjusted"])))
    pairs, seeds = (format_count(int(row[f"{name}s"]), name) for name in ("pair", "seed"))
    notes.append(Note.plain("compared", f"{pairs} of runs in {seeds}"))
    if row["identical"]:
        notes.append(Note.plain("the same to the bit", f"{row['identical']:,} of {pairs}"))
    if row["diverged"] or row["control_diverged"]:
        text = f"{row['diverged']:,} now, {row['control_diverged']:,} before"
        notes.append(Note.plain("diverged", text))
    return notes
