"""The first screen of a study of several data sets: what holds over them, each data set a dot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.report.columns import two_digits
from ablations.report.datasets import TasksData, format_p_over, write_sentences
from ablations.report.forest import STYLES, Forest, ForestGroup, ForestRow, Measure
from ablations.report.forest_notes import Note
from ablations.report.forest_scale import (
    Point,
    Scale,
    Strip,
    Unit,
    Writer,
    choose_scale,
    choose_unit,
)
from ablations.report.formatting import NOTHING, format_count, format_margin
from ablations.report.headline import Badge, FirstScreen
from ablations.report.strengths import name_kind, name_level, name_within, row_id
from ablations.report.texts import Caveat

Row = Mapping[str, Any]


def write_first_screen(data: TasksData, caveats: Sequence[Caveat]) -> FirstScreen:
    """Say the answer over data sets for the first screen of the page."""
    headline, *others = write_sentences(data.results, data.over, data.effects)
    counts = Counter(caveat.badge.rsplit(": ", 1)[-1] for caveat in caveats if caveat.badge)
    badges = (
        Badge(
            text if n == 1 else f"{text} ({format_count(n, 'data set')})",
            next(each.text for each in caveats if each.badge.endswith(text)),
            "#evidence-cautions",
        )
        for text, n in counts.items()
    )
    of_study = (
        Badge(text, "", "#evidence-cautions") for text in data.results.require_metadata().badges
    )
    return FirstScreen(headline, tuple(others), (*of_study, *badges))


def build_tasks_forest(data: TasksData) -> Forest | None:
    """Build the forest plot-table of the levels over data sets."""
    rows = [row for row in data.over.to_dict("records") if row["n"]]
    if not rows:
        return None
    is_log, metadata = data.scale == "log", data.results.require_metadata()
    each = data.effects[data.effects["pairs"] > 0].rename(columns={"relative": "effect_here"})
    points = {
        key: [row for row in table.to_dict("records") if math.isfinite(row["effect_here"])]
        for key, table in each.groupby(["axis", "level"])
    }
    dots = [
        {"effect": row["effect_here"], "low": math.nan, "high": math.nan}
        for dots in points.values()
        for row in dots
    ]
    scale = choose_scale([*rows, *dots], data.bound, is_log=is_log)
    writer = Writer.from_margin(metadata.margin, (), is_log=True)
    unit = choose_unit(row["effect"] for row in (*rows, *dots)) if is_log else "percent"
    groups: dict[str, list[ForestRow]] = {}
    sign = -1 if data.is_higher_better else 1
    for row in sorted(rows, key=lambda row: sign * row["effect"]):
        here = points.get((row["axis"], row["level"]), [])
        strip = _draw_strip(row, here, data, scale, writer, unit)
        groups.setdefault(row["axis"], []).append(_build_row(row, strip, data))
    n_tasks = format_count(len(data.results.by_task), "data set")
    controls = {row["axis"]: name_within(row["axis"], row["control"], metadata) for row in rows}
    return Forest(
        measures=(Measure("outcome", data.outcome, scale, data.is_higher_better),),
        groups=tuple(
            ForestGroup(axis, controls[axis], tuple(groups[axis]), (), "")
            for axis in metadata.axes
            if axis in groups
        ),
        unit=unit,
        cost_heading="",
        band_text=f"within {format_margin(metadata.margin, 'log')}",
        scope=f"with each {name_kind(groups)} against its control, averaged over {n_tasks}",
        points_text="a data set",
    )


def _draw_strip(
    row: Row, here: Sequence[Row], data: TasksData, scale: Scale, writer: Writer, unit: Unit
) -> Strip:
    is_log = data.scale == "log"
    name = name_level(row["axis"], row["level"], data.results.require_metadata())

    def change(effect: float) -> float:
        return math.expm1(effect) if is_log else effect

    dots = []
    for each in here:
        value = change(each["effect_here"])
        text = f"{name} on {each['task']}: {writer.write(value).by(unit)}, {each['verdict']}"
        dots.append(Point(scale.place(each["effect_here"]), value, text))
    ends = ("effect", "low", "high")
    return Strip.draw(
        row if row["n"] > 1 else {**row, "low": math.nan, "high": math.nan},
        [change(row[end]) if end == "effect" or row["n"] > 1 else math.nan for end in ends],
        scale,
        writer,
        unit,
        verdict=row["verdict"],
        style=STYLES[row["verdict"]],
        name=name,
        outcome=data.outcome,
        count=format_count(int(row["n"]), "data set"),
        points=tuple(dots),
    )


def _build_row(row: Row, strip: Strip, data: TasksData) -> ForestRow:
    notes = [Note.plain("on these", row["sentence"])]
    if strip.has_interval:
        notes.append(Note("95 % interval", strip.interval))
    notes.append(Note.plain("adjusted p", format_p_over(row)))
    if math.isfinite(row["improvement"]):
        notes.append(Note.plain("probability that a run is better", two_digits(row["improvement"])))
    if math.isfinite(row["mean_rank"]):
        notes.append(Note.plain("mean rank on its axis", f"{row['mean_rank']:.2f}"))
    caption = data.results.require_metadata().captions.get(row["axis"], {}).get(row["level"], "")
    if caption:
        notes.append(Note.plain("what it is", caption))
    return ForestRow(
        id=row_id(row["axis"], row["level"]),
        axis=row["axis"],
        level=row["level"],
        name=name_level(row["axis"], row["level"], data.results.require_metadata()),
        verdict=row["verdict"],
        style=STYLES[row["verdict"]],
        strips={"outcome": strip},
        missing="",
        cost=NOTHING,
        is_cost_certain=False,
        notes=tuple(notes),
        moderators="",
    )
