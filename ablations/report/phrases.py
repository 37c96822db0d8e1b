"""Levels, conditions and changes in plain words: ``layer norm``, ``without a norm``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.analysis import Design
from ablations.report.forest_scale import Unit, Writer
from ablations.report.formatting import TIMES, bracket, join_words, name_outcome
from ablations.report.precision import MINUS
from ablations.report.strengths import (
    NOUNS,
    TECHNIQUE_AXES,
    is_number,
    name_axis,
    name_base,
    name_level,
)
from ablations.results.metadata import StudyMetadata

_CONTROLS = {
    ("norm", "none"): "without a norm",
    ("regularizer", "none"): "without a regularizer",
    ("init", "default"): "with the default init",
    ("schedule", "constant"): "with a constant schedule",
}
_MOST_NAMES = 3


def describe_conditions(
    axis: str,
    levels: Sequence[str],
    all_levels: Sequence[str],
    control: str = "",
    quantifier: str = "every",
) -> str:
    """Say at which levels of an axis something holds: ``without a norm``, ``with any norm``,
    ``at batch sizes of 12 and more``, ``at every batch size``.
    """
    word = name_axis(axis)
    is_setting = axis not in TECHNIQUE_AXES and all(map(is_number, all_levels))
    preposition = "on" if axis == "device" else "at" if is_setting else "with"
    if len(levels) == len(all_levels):
        return f"{preposition} {quantifier} {word}"
    if is_setting and (ends := _describe_range(levels, all_levels)):
        return f"at {word if len(levels) == 1 else pluralise(word)} {ends}"
    if len(levels) == 1 and (axis, levels[0]) in _CONTROLS:
        return _CONTROLS[axis, levels[0]]
    others = [level for level in all_levels if level != control]
    if axis in ("norm", "regularizer") and control == "none" and set(levels) == set(others):
        return f"with any {word}" if len(others) > 2 else f"with {_join(axis, levels)}"
    if axis in ("norm", "regularizer") and "none" in levels:
        others = [level for level in levels if level != "none"]
        return f"{_CONTROLS[axis, 'none']} or with {_join(axis, others)}"
    return f"{preposition} {_join(axis, levels)}"


def describe_place(axis: str, level: str, metadata: StudyMetadata | None = None) -> str:
    """Say where something holds: ``with batch norm``, ``without a norm``, ``at batch size 12``."""
    if (axis, level) in _CONTROLS:
        return _CONTROLS[axis, level]
    preposition = "on" if axis == "device" else "with" if axis in TECHNIQUE_AXES else "at"
    return f"{preposition} {name_level(axis, level, metadata)}"


def describe_rest(levels: Sequence[str], all_levels: Sequence[str]) -> str:
    """Say, after a range of numbers, that something holds for all others: ``at smaller ones``."""
    others = [level for level in all_levels if level not in levels]
    if len(others) < 2 or not all(map(is_number, all_levels)):
        return ""
    numbers, rest = [float(each) for each in levels], [float(each) for each in others]
    if max(numbers) < min(rest):
        return "at smaller ones"
    return "at larger ones" if min(numbers) > max(rest) else ""


def pluralise(word: str) -> str:
    """Write the plural of the name of an axis."""
    return word if word.endswith("s") else f"{word}s"


def _join(axis: str, levels: Sequence[str]) -> str:
    """Join levels of one axis, with its noun once: ``layer or group norm``."""
    shown, noun = [name_base(axis, level) for level in levels[:_MOST_NAMES]], NOUNS.get(axis, "")
    if axis not in TECHNIQUE_AXES:
        shown[0] = f"{name_axis(axis)} {shown[0]}"
    elif noun:
        shown = [name.removesuffix(noun).strip() or name for name in shown]
        shown[-1] = f"{shown[-1]} {noun}"
    hidden = len(levels) - len(shown)
    return join_words([*shown, f"{hidden} more"] if hidden else shown)


def _describe_range(levels: Sequence[str], all_levels: Sequence[str]) -> str:
    """Write numbers that are the smallest or the largest of all: ``of 12 and more``."""
    order = sorted(all_levels, key=float)
    if len(levels) == 1:
        return levels[0]
    size, subset = len(levels), set(levels)
    if subset == set(order[:size]):
        return f"of {order[size - 1]} and less"
    if subset == set(order[-size:]):
        return f"of {order[-size]} and more"
    return ""


@dataclass(frozen=True)
class Wording:
    """How the effects of a table are said: their outcome, unit and precision, and the names.

    The numbers are those of the rows of the forest plot.
    """

    outcome: str
    is_log: bool
    higher_is_better: bool
    writer: Writer
    unit: Unit
    metadata: StudyMetadata | None = None

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        design: Design,
        unit: Unit,
        metadata: StudyMetadata | None = None,
    ) -> Wording:
        """Choose the precision for a table of effects, as its column of the forest plot does."""
        is_log = design.scale == "log"
        outcome = name_outcome(design.outcome)
        if design.outcome == "metric" and metadata:
            outcome = metadata.metric_name
        rows = table[table["pairs"] > 0] if len(table) else table
        changes = rows["change" if is_log else "effect"].astype(float) if len(rows) else ()
        return cls(
            outcome=outcome,
            is_log=is_log,
            higher_is_better=design.higher_is_better,
            writer=Writer.from_margin(design.margin, changes, is_log=is_log),
            unit=unit,
            metadata=metadata,
        )

    def write(self, row: Mapping[str, Any], end: str = "", prefix: str = "") -> str:
        """Write the change of a row, or an end of its interval, as the forest plot does."""
        name = f"change{'_' if end else ''}{end}" if self.is_log else end or "effect"
        return self.writer.write(float(row[f"{prefix}{name}"])).by(self.unit)

    def estimate(self, row: Mapping[str, Any], prefix: str = "") -> str:
        """Write the change of a row with its interval."""
        change, low, high = (self.write(row, end, prefix) for end in ("", "low", "high"))
        return bracket(change, low, high)

    def say(self, row: Mapping[str, Any]) -> str:
        """Say a change with a verb: ``cuts the validation loss by 12.3 %``."""
        text = self.write(row)
        verb = "raises" if row["effect"] > 0 else "cuts"
        if self.unit == "ratio":
            return f"{verb} the {self.outcome} to {text.lstrip(TIMES)} times the control's"
        return f"{verb} the {self.outcome} by {text.lstrip(f'+{MINUS}')}"

    def name(self, axis: str, level: object) -> str:
        """Name a level with its strength."""
        return name_level(axis, level, self.metadata)
