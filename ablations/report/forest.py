"""The forest plot-table: every level against its control, a line each, on one common scale."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Design
from ablations.report.data import ReportData
from ablations.report.forest_notes import (
    NOT_COMPARED,
    Cost,
    Note,
    describe_missing,
    find_reversal,
    list_conditions,
    list_costs,
    list_notes,
)
from ablations.report.forest_scale import (
    MeasureName,
    Scale,
    Strip,
    Unit,
    Writer,
    choose_scale,
    choose_unit,
)
from ablations.report.formatting import (
    NOTHING,
    describe_intervals,
    format_count,
    format_margin,
    join_words,
    name_interval,
)
from ablations.report.strengths import name_axis, name_kind, name_level, name_within, row_id

Row = Mapping[str, Any]
Key = tuple[str, str]
Conditions = Mapping[str, Mapping[str, Row]]

STYLES = {HELPS: "helps", HURTS: "hurts", EQUAL: "equal", UNDECIDED: "undecided"}
"""Verdict to the CSS class that has its colour."""
MOST_LINES = 26
"""Lines that the first screen has room for, with those that name the axes."""
FEWEST_FOLDED = 3
"""Rows from which on folding saves room."""


AVERAGE = ", averaged over everything else"


@dataclass(frozen=True)
class ForestRow:
    """One level: its name with its strength, its strips by measure, what a run costs, and notes."""

    id: str
    axis: str
    level: str
    name: str
    verdict: str
    style: str
    strips: Mapping[MeasureName, Strip]
    """Without an effect by a measure it has no strip."""
    missing: str
    """What stands in place of a strip: why there is no effect."""
    cost: str
    is_cost_certain: bool
    """Whether the cost differs from the control's beyond the noise."""
    notes: tuple[Note, ...]
    moderators: str
    """The axes that the effect depends on."""
    reversed_by: str = ""
    """The axis at some of whose levels it surely helps, and at others surely hurts."""

    @property
    def sign(self) -> str:
        """The name of its glyph."""
        return "mixed" if self.reversed_by else self.style

    @property
    def judgement(self) -> str:
        """The verdict in words."""
        if not self.reversed_by:
            return self.verdict
        axis = name_axis(self.reversed_by)
        return f"helps or hurts, depending on the {axis}; on average: {self.verdict}"


@dataclass(frozen=True)
class ForestGroup:
    """The levels of one axis: those that are shown, and those that are folded."""

    axis: str
    control: str
    rows: tuple[ForestRow, ...]
    folded: tuple[ForestRow, ...]
    fold: str
    """What is folded, in words."""


@dataclass(frozen=True)
class Measure:
    """What strips show: its name, its scale, and the end at which it is better."""

    key: MeasureName
    name: str
    scale: Scale
    is_higher_better: bool
    band_text: str = ""
    """What the equivalence band means, if it is not that of the table."""


@dataclass(frozen=True)
class Forest:
    """A forest plot-table; ``unit`` is the one that suits all of its changes."""

    measures: tuple[Measure, ...]
    groups: tuple[ForestGroup, ...]
    unit: Unit
    cost_heading: str
    """Heading of the costs; empty where nothing is known of them."""
    band_text: str
    """What the equivalence band means."""
    scope: str
    """What the changes are of."""
    intervals: str = "Bars are 95 % intervals"
    """What the intervals are."""
    points_text: str = ""
    """What the dots beside those of the levels are."""

    @property
    def rows(self) -> Iterator[ForestRow]:
        """All rows, in the order of the page."""
        for group in self.groups:
            yield from (*group.rows, *group.folded)

    @property
    def verdicts(self) -> tuple[tuple[str, str], ...]:
        """The verdicts that occur, with their CSS classes."""
        words = {row.style: row.verdict for row in self.rows}
        words |= {
            strip.style: strip.verdict
            for row in self.rows
            for name, strip in row.strips.items()
            if name == "second"
        }
        return tuple((words[style], style) for style in STYLES.values() if style in words)

    @property
    def has_reversals(self) -> bool:
        """Whether some level helps at some levels of another axis, and hurts at others."""
        return any(row.reversed_by for row in self.rows)

    @property
    def has_moderators(self) -> bool:
        """Whether some effect is known to depend on another axis."""
        return any(row.moderators for row in self.rows)


def build_forest(data: ReportData) -> Forest | None:
    """Build the forest plot-table of a report; None where nothing is compared."""
    effects = data.effects.to_dict("records")
    if not effects:
        return None
    tables: dict[MeasureName, list[dict[str, Any]]] = {"outcome": effects}
    designs = {"outcome": data.design}
    if (second := data.by_outcome.get(data.second)) is not None and len(second):
        tables["second"] = second.to_dict("records")
        designs["second"] = data.results.design(data.second)
    logs = [row for key in tables if designs[key].scale == "log" for row in tables[key]]
    unit = choose_unit(row["effect"] for row in logs)
    conditions = list_conditions(data)
    drawings = {
        key: _draw_measure(key, tables[key], designs[key], data, unit, conditions) for key in tables
    }
    costs = list_costs(data)
    groups: dict[str, list[ForestRow]] = {}
    ids = Counter[str]()
    for row in sorted(effects, key=lambda row: _sort_key(row, data.design)):
        key = row["axis"], row["level"]
        ids.update([name := row_id(*key)])
        strips = {
            name: by_level[key] for name, (_, by_level) in drawings.items() if key in by_level
        }
        cost, moderators = costs.get(key), conditions.get(key, {})
        groups.setdefault(row["axis"], []).append(
            ForestRow(
                id=name if ids[name] == 1 else f"{name}-{ids[name]}",
                axis=row["axis"],
                level=row["level"],
                name=name_level(*key, data.metadata),
                verdict=row["verdict"] if row["pairs"] else NOT_COMPARED,
                style=STYLES[row["verdict"]] if row["pairs"] else "missing",
                strips=strips,
                missing="" if "outcome" in strips else describe_missing(row),
                cost=cost.text if cost else _describe_unknown_cost(key[0], costs, data),
                is_cost_certain=cost is not None and cost.is_certain,
                notes=tuple(list_notes(row, data, strips, moderators, cost)),
                moderators=", ".join(moderators),
                reversed_by=find_reversal(moderators, data.design),
            )
        )
    most = _share_lines({axis: len(groups[axis]) for axis in data.design.axes if axis in groups})
    return Forest(
        measures=tuple(measure for measure, _ in drawings.values()),
        groups=tuple(_fold(axis, groups[axis], n, data) for axis, n in most.items()),
        unit=unit,
        cost_heading="run cost" if costs else "",
        band_text=f"within {format_margin(data.design.margin, data.design.scale)}",
        scope=f"with each {name_kind(groups)} against its control"
        + (AVERAGE if (data.effects["cells"] > 1).any() else ""),
        intervals=describe_intervals(data.design.confidence),
    )


def _sort_key(row: Row, design: Design) -> float:
    """Sort the best effect first; what has no effect comes last."""
    effect = row["effect"]
    if not math.isfinite(effect):
        return math.inf
    return float(-effect if design.higher_is_better else effect)


def _describe_unknown_cost(axis: str, costs: Mapping[Key, Cost], data: ReportData) -> str:
    """Say that a level costs the same where its axis does not change what is computed."""
    return "same" if costs and axis in data.metadata.costless else NOTHING


def _draw_measure(
    key: MeasureName,
    rows: Sequence[Row],
    design: Design,
    data: ReportData,
    unit: Unit,
    conditions: Mapping[Key, Conditions],
) -> tuple[Measure, dict[Key, Strip]]:
    """Return a measure with its scale, and the strip of each level that has an effect by it."""
    is_log = design.scale == "log"
    compared = [row for row in rows if row["pairs"] and math.isfinite(row["effect"])]
    simple = {
        level: [each["effect"] for each in next(iter(moderators.values()), {}).values()]
        for level, moderators in (conditions.items() if key == "outcome" else ())
    }
    points = [effect for effects in simple.values() for effect in effects]
    scale = choose_scale(compared, design.bound, is_log=is_log, points=points)
    names = ("change", "change_low", "change_high") if is_log else ("effect", "low", "high")
    changes = (row[names[0]] for row in compared)
    writer = Writer.from_margin(design.margin, changes, is_log=is_log)
    outcome = data.name(design.outcome)
    strips: dict[Key, Strip] = {}
    for row in compared:
        strips[row["axis"], row["level"]] = Strip.draw(
            row,
            [float(row[name]) for name in names],
            scale,
            writer,
            unit,
            measure=key,
            verdict=row["verdict"],
            style=STYLES[row["verdict"]],
            name=name_level(row["axis"], row["level"], data.metadata),
            outcome=outcome,
            count=format_count(int(row["seeds"]), "seed"),
            interval_name=name_interval(design.confidence),
            conditions=simple.get((row["axis"], row["level"]), []),
        )
    band = f"within {format_margin(design.margin, design.scale)}"
    return Measure(key, outcome, scale, design.higher_is_better, band), strips


def _share_lines(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the number of rows that each axis may show, where there are too many for all."""
    total, room = sum(sizes.values()), MOST_LINES - len(sizes)
    if total <= room:
        return dict(sizes)
    return {axis: max(FEWEST_FOLDED, round(room * size / total)) for axis, size in sizes.items()}


def _fold(axis: str, rows: Sequence[ForestRow], most: int, data: ReportData) -> ForestGroup:
    """Fold the rows beyond ``most``: first the undecided, then those that equal the control."""
    order = {"helps": 0, "hurts": 0, "equal": 1}
    ranked = sorted(range(len(rows)), key=lambda i: order.get(rows[i].style, 2))
    is_long = len(rows) >= most + FEWEST_FOLDED
    shown = set(ranked[:most] if is_long else ranked)
    folded = tuple(row for i, row in enumerate(rows) if i not in shown)
    counts = Counter(row.verdict for row in folded)
    words = join_words([f"{count:,} {verdict}" for verdict, count in counts.items()])
    words = next(iter(counts)) if len(counts) == 1 else words
    return ForestGroup(
        axis=axis,
        control=name_within(axis, data.design.controls[axis], data.metadata),
        rows=tuple(row for i, row in enumerate(rows) if i in shown),
        folded=folded,
        fold=f"{len(folded):,} more: {words}" if folded else "",
    )
