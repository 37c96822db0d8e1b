"""What each level does, and at which levels of another axis: what the first screen speaks of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Design
from ablations.analysis.ablation import Effects
from ablations.analysis.interactions import UNKNOWN

Row = Mapping[str, Any]
Kind = Literal["steady", "reversed", "partial"]
ALPHA = 0.05
"""Level of the simple effects, whose p is adjusted for all of them (Benjamini-Hochberg)."""


@dataclass(frozen=True)
class Finding:
    """What a level does: its row of the effects, and the simple effects that the answer needs.

    A finding is ``steady`` where one effect says it all, or where the simple effects point one way
    at all levels of ``across``; ``reversed`` where the level surely helps at some levels of
    ``across`` and surely hurts at others; else ``partial``.
    """

    row: Row
    kind: Kind = "steady"
    across: str = ""
    parts: Mapping[str, Row] = field(default_factory=dict)
    """Level of ``across`` to the simple effect there."""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Level of ``across`` to what the level does there."""

    @property
    def key(self) -> tuple[str, str]:
        """Axis and level."""
        return str(self.row["axis"]), str(self.row["level"])

    @property
    def verdict(self) -> str:
        """The verdict on the mean effect."""
        return str(self.row["verdict"])

    def levels_with(self, verdict: str) -> list[str]:
        """The levels of ``across`` at which the level does something."""
        return [level for level, word in self.verdicts.items() if word == verdict]

    def largest(self, verdict: str) -> tuple[str, Row]:
        """The level of ``across`` at which it does so most, and its simple effect there."""
        levels = self.levels_with(verdict)
        level = max(levels, key=lambda name: abs(self.parts[name]["effect"]))
        return level, self.parts[level]


def judge_simple_effect(row: Row, design: Design) -> str:
    """Say what a level does at one level of another axis: a verdict by its adjusted p alone."""
    if row["diverged"] > row["control_diverged"] and row["diverged"] >= row["pairs"] / 2:
        return HURTS
    effect = row["effect"] if design.higher_is_better else -row["effect"]
    is_certain = row["p_adjusted"] <= ALPHA and design.verdict_level > 0
    if is_certain and effect > 0 and row["diverged"] <= row["control_diverged"]:
        return HELPS
    if is_certain and effect < 0 and row["diverged"] >= row["control_diverged"]:
        return HURTS
    is_within = max(abs(row["low"]), abs(row["high"])) <= design.bound
    return EQUAL if is_within and row["diverged"] == row["control_diverged"] else UNDECIDED


def list_findings(ablation: Effects) -> list[Finding]:
    """Describe every level that was compared, in the study's order."""
    effects = ablation.effects
    effects = effects[effects["pairs"] > 0] if len(effects) else effects
    return [_describe(row, ablation) for row in effects.to_dict("records")]


def _describe(row: Row, ablation: Effects) -> Finding:
    axes = "" if row["depends_on"] == UNKNOWN else row["depends_on"]
    findings = [
        describe_across(row, axis, ablation) for axis in filter(None, str(axes).split(", "))
    ]
    for kind in ("reversed", "partial"):
        for finding in findings:
            if finding.kind == kind:
                return finding
    return findings[0] if findings else Finding(row)


def describe_across(row: Row, axis: str, ablation: Effects) -> Finding:
    """Describe a level at each level of another axis."""
    simple = ablation.simple
    rows = simple[
        (simple["axis"] == row["axis"])
        & (simple["level"].astype(str) == str(row["level"]))
        & (simple["given"] == axis)
    ]
    parts = {str(each["given_level"]): each for each in rows.to_dict("records")}
    verdicts = {level: judge_simple_effect(each, ablation.design) for level, each in parts.items()}
    words = set(verdicts.values())
    kind: Kind = "partial"
    if {HELPS, HURTS} <= words:
        kind = "reversed"
    elif len(parts) < 2 or _point_one_way(row, list(parts.values())):
        kind = "steady"
    return Finding(row, kind, axis if len(parts) > 1 else "", parts, verdicts)


def _point_one_way(row: Row, parts: Sequence[Row]) -> bool:
    """Whether all simple effects have the sign of the mean."""
    effects = np.array([row["effect"] for row in parts], dtype=float)
    return bool((effects[np.isfinite(effects)] * row["effect"] > 0).all())


def sort_by_size(findings: Sequence[Finding]) -> list[Finding]:
    """Sort by the size of the mean effect, the largest first; those without one last."""

    def size(finding: Finding) -> float:
        effect = abs(float(finding.row["effect"]))
        return -1.0 if np.isnan(effect) else effect

    return sorted(findings, key=size, reverse=True)


def count_verdicts(findings: Sequence[Finding]) -> pd.Series:
    """Count the verdicts."""
    counts = pd.Series([finding.verdict for finding in findings], dtype=object).value_counts()
    return counts.reindex([HELPS, HURTS, EQUAL, UNDECIDED], fill_value=0)
