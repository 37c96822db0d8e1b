"""What an open row of the forest plot says of its level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.analysis import HELPS, HURTS, UNDECIDED, Design
from ablations.analysis.ablation import Effects
from ablations.analysis.costs import run_costs
from ablations.analysis.interactions import UNKNOWN
from ablations.report.caveats import explain_intervals
from ablations.report.data import ReportData
from ablations.report.findings import judge_simple_effect
from ablations.report.forest_scale import MeasureName, Reading, Strip, Writer
from ablations.report.formatting import NARROW, TIMES, format_count, format_p, name_interval
from ablations.report.strengths import name_axis, name_level
from ablations.report.texts import describe_unpaired

Row = Mapping[str, Any]
Key = tuple[str, str]
NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Note:
    """A fact about a level: what it is about, the fact in either unit, and whether it warns."""

    term: str
    text: Reading
    is_warning: bool = False
    lines: tuple[tuple[str, Reading], ...] = ()
    """The fact level by level, in place of a text."""
    is_wide: bool = False
    """Whether it is a sentence, in a line of its own."""

    @classmethod
    def plain(cls, term: str, text: str, *, is_warning: bool = False) -> Note:
        """A fact that is the same in either unit."""
        return cls(term, Reading(text, text), is_warning)


@dataclass(frozen=True)
class Cost:
    """What a run costs at a level against its control."""

    ratio: float
    low: float
    high: float
    step_ratio: float
    is_certain: bool

    @property
    def text(self) -> str:
        """The ratio as the table shows it."""
        return f"{TIMES}{self.ratio:.2f}"

    def describe(self) -> str:
        """Say it in words, with its interval and the cost of one step."""
        ends = ""
        if math.isfinite(self.low):
            ends = f" ({TIMES}{self.low:.2f} to {TIMES}{self.high:.2f})"
        noise = "" if self.is_certain else ", no more than timings differ by chance"
        if not math.isfinite(self.low):
            noise = ", too few timings for an interval"
        step = "; by the seconds of training runs"
        if math.isfinite(self.step_ratio):
            step = f"; one step {TIMES}{self.step_ratio:.2f}"
        return f"{self.text} that of the control{ends}{noise}{step}"


def list_costs(data: ReportData) -> dict[Key, Cost]:
    """Return what a run costs at each level, as far as it was timed."""
    names = ("ratio", "low", "high", "step_ratio", "is_certain")
    return {
        (row["axis"], row["level"]): Cost(*(row[name] for name in names))
        for row in run_costs(data.costs, data.untuned).to_dict("records")
        if math.isfinite(row["ratio"])
    }


def list_conditions(data: ReportData | Effects) -> dict[Key, dict[str, dict[str, Row]]]:
    """Map each level to the axes that its effect depends on, most first, these to their levels, and
    these to the effect there: a row of ``simple_effects``.
    """
    moderators = {
        (row["axis"], row["level"]): row["depends_on"].split(", ")
        for row in data.effects.to_dict("records")
        if row["depends_on"] not in ("", UNKNOWN)
    }
    conditions: dict[Key, dict[str, dict[str, Row]]] = {key: {} for key in moderators}
    axes = {axis for names in moderators.values() for axis in names}
    simple = data.simple[data.simple["given"].isin(axes)] if axes else data.simple.iloc[:0]
    for row in simple.to_dict("records"):
        key = row["axis"], row["level"]
        if row["given"] in moderators.get(key, ()) and math.isfinite(row["effect"]):
            conditions[key].setdefault(row["given"], {})[row["given_level"]] = row
    return {key: _sort_axes(conditions[key], axes, data.design) for key, axes in moderators.items()}


def list_reversals(ablation: Effects) -> dict[Key, str]:
    """Map each level that helps or hurts, depending on another axis, to that axis."""
    reversals = {
        key: find_reversal(conditions, ablation.design)
        for key, conditions in list_conditions(ablation).items()
    }
    return {key: axis for key, axis in reversals.items() if axis}


def _sort_axes(
    conditions: Mapping[str, dict[str, Row]], axes: Sequence[str], design: Design
) -> dict[str, dict[str, Row]]:
    """Sort the axes that an effect depends on: first one that reverses it, then as they are."""
    present = [axis for axis in axes if axis in conditions]
    reverses = {axis: bool(find_reversal({axis: conditions[axis]}, design)) for axis in present}
    return {axis: conditions[axis] for axis in sorted(present, key=lambda axis: not reverses[axis])}


def find_reversal(conditions: Mapping[str, Mapping[str, Row]], design: Design) -> str:
    """Return the first axis at some of whose levels an effect surely helps, and at others surely
    hurts; "" if there is none.
    """
    for axis, rows in conditions.items():
        if {HELPS, HURTS} <= {judge_simple_effect(row, design) for row in rows.values()}:
            return axis
    return ""


def describe_missing(row: Row) -> str:
    """Say why a level has no effect: all its pairs diverged, or it has none."""
    if not row.get("pairs", 1):
        return "no pair of runs to compare"
    if row.get("diverged") and not row["survivors"]:
        return f"diverged in {row['diverged']:,} of {format_count(int(row['pairs']), 'run')}"
    return "no pair survived"


def list_notes(
    row: Row,
    data: ReportData,
    strips: Mapping[MeasureName, Strip],
    conditions: Mapping[str, Mapping[str, Row]],
    cost: Cost | None,
) -> Iterator[Note]:
    """Say what a row's level is, how certain its effect is, and what that rests on."""
    if caption := data.metadata.captions.get(row["axis"], {}).get(row["level"], ""):
        yield Note("what it is", Reading(caption, caption), is_wide=True)
    if row["caution"]:
        yield Note.plain("caution", row["caution"], is_warning=True)
    if not row["pairs"]:
        yield Note.plain("not compared", describe_unpaired(row), is_warning=True)
    if reasons := explain_intervals(data.effects, data.design.alpha, row):
        yield Note.plain("why undecided", reasons[0])
    yield from _describe_estimates(row, data, strips)
    yield from _describe_conditions(conditions, data)
    yield from _describe_counts(row)
    if cost:
        yield Note.plain("cost of a run", cost.describe())


def _describe_estimates(
    row: Row, data: ReportData, strips: Mapping[MeasureName, Strip]
) -> Iterator[Note]:
    """The interval of each measure, the robust estimate, and p."""
    for strip in strips.values():
        if strip.has_interval:
            name = name_interval(data.design.confidence)
            yield Note(f"{strip.outcome}: {name}", strip.interval)
    is_log = data.design.scale == "log"
    if "outcome" in strips and math.isfinite(row["robust_low"]):
        ends = [row[name] for name in ("robust", "robust_low", "robust_high")]
        estimate, low, high = map(math.expm1, ends) if is_log else ends
        writer = strips["outcome"].writer
        first, both = writer.write(estimate), writer.write_interval(low, high)
        texts = (f"{a}, {b}" for a, b in zip(first.texts, both.texts, strict=True))
        yield Note("robust estimate", Reading(*texts))
    if row["seeds"]:
        yield Note.plain("adjusted p", format_p(row))
    if row["verdict"] == UNDECIDED and row["seeds"] >= 2 and row["more"] > 0:
        more = format_count(int(row["more"]), "more seed")
        yield Note.plain("what would decide it", f"about {more}")


def _describe_conditions(
    conditions: Mapping[str, Mapping[str, Row]], data: ReportData
) -> Iterator[Note]:
    """The effect at each level of the axes that it depends on."""
    is_log = data.design.scale == "log"
    name = "change" if is_log else "effect"
    changes = [row[name] for rows in conditions.values() for row in rows.values()]
    writer = Writer.from_margin(data.design.margin, changes, is_log=is_log)
    for axis, rows in conditions.items():
        lines = tuple(
            (name_level(axis, level), writer.write(row[name])) for level, row in rows.items()
        )
        yield Note(f"depends on the {name_axis(axis)}", Reading("", ""), lines=lines)


def _share(value: float) -> str:
    return f"{100 * value:.0f}{NARROW}%"


def _describe_counts(row: Row) -> Iterator[Note]:
    """The pairs behind an effect, how many were better, diverged or are identical."""
    if not row["pairs"]:
        return
    pairs, seeds = (format_count(int(row[f"{name}s"]), name) for name in ("pair", "seed"))
    text = f"{pairs} of runs in {seeds}"
    if row["survivors"] < row["pairs"]:
        text += f"; both survived in {row['survivors']:,}"
    yield Note.plain("compared", text)
    if math.isfinite(row["better"]):
        cells = format_count(int(row["cells"]), "setting")
        yield Note.plain(
            "better in", f"{_share(row['better'])} of seeds, {_share(row['helped'])} of {cells}"
        )
    if row["diverged"] or row["control_diverged"]:
        text = f"{row['diverged']:,} of {format_count(int(row['pairs']), 'run')}"
        text += f", at the control {row['control_diverged']:,}"
        yield Note.plain("diverged", text)
    if row["identical"]:
        text = f"{row['identical']:,} of {pairs} are identical to the last bit"
        yield Note.plain("identical", text, is_warning=row["identical"] == row["pairs"])
    if row["confounded_with"]:
        text = f"cannot be told from {row['confounded_with']}"
        yield Note.plain("confounded", text, is_warning=True)
