"""What the first screen may say: a pattern of ``headline.txt.j2``, its facts, and its evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ablations.analysis import Design
from ablations.analysis.ablation import Effects
from ablations.report.best import name_configuration
from ablations.report.findings import Finding, Row, list_findings, sort_by_size
from ablations.report.forest_scale import Unit, choose_unit
from ablations.report.formatting import NARROW, format_count, format_number
from ablations.report.phrases import Wording, describe_conditions, pluralise
from ablations.report.strengths import name_axis, name_level, row_id
from ablations.report.texts import capitalise, write_text
from ablations.results.metadata import StudyMetadata

HEADLINE_WORDS, SENTENCE_WORDS = 20, 25
"""Most words of a headline, and of a sentence."""
HEADLINES = "headline.txt.j2"
BEST_VAL_LOSS = "best_val_loss"


def count_words(text: str) -> int:
    """Count the words between spaces; a number with its unit is one."""
    return len([word for word in text.replace("\n", " ").split(" ") if word])


@dataclass(frozen=True)
class Draft:
    """A sentence to write: its pattern, the address of its evidence, and its facts.

    ``facts`` are in order of preference: the first that keeps the limit of words is used.
    """

    pattern: str
    href: str
    facts: tuple[Mapping[str, Any], ...]

    def write(self, most_words: int) -> str:
        """Write the sentence with the facts that fit, the last ones if none do."""
        text = ""
        for facts in self.facts:
            text = write_text(self.pattern, HEADLINES, **facts)
            if count_words(text) <= most_words:
                break
        # The name of a folder stays as it is.
        is_folder = text.startswith(str(self.facts[0].get("second", "\n")))
        return text if is_folder else capitalise(text)


def draft(pattern: str, href: str, facts: Mapping[str, Any], *shorter: Mapping[str, Any]) -> Draft:
    """Draft a sentence; each of ``shorter`` replaces facts of the one before it."""
    variants = [dict(facts)]
    for changes in shorter:
        variants.append(variants[-1] | dict(changes))
    return Draft(pattern, href, tuple(variants))


@dataclass(frozen=True)
class Subject:
    """An ablation with the words for its numbers and names."""

    ablation: Effects
    metadata: StudyMetadata | None

    @property
    def design(self) -> Design:
        """What is compared with what."""
        return self.ablation.design

    @cached_property
    def findings(self) -> list[Finding]:
        """What every compared level does."""
        return list_findings(self.ablation)

    @cached_property
    def wording(self) -> Wording:
        """How the effects by the study's outcome are said."""
        return Wording.from_table(self.ablation.effects, self.design, self.unit, self.metadata)

    @cached_property
    def unit(self) -> Unit:
        """The unit of all relative changes, that of the forest plot."""
        tables = [(self.ablation.effects, self.design), *(self.measures.values())]
        logs = [table["effect"] for table, each in tables if each.scale == "log" and len(table)]
        return choose_unit(float(effect) for effects in logs for effect in effects)

    @cached_property
    def measures(self) -> dict[str, tuple[pd.DataFrame, Design]]:
        """The effects by the other measure, the metric or the loss, and their design."""
        designs = self.ablation.other_designs
        return {
            name: (table, designs[name])
            for name, table in self.ablation.others.items()
            if name != BEST_VAL_LOSS and name in designs
        }

    @property
    def seeds(self) -> str:
        """How many seeds there are, in words."""
        return format_count(self.design.n_blocks, self.design.unit)

    @property
    def margin(self) -> str:
        """The margin in words: ``2 %``, or a size in the outcome's unit."""
        margin = self.design.margin
        return f"{100 * margin:g}{NARROW}%" if self.wording.is_log else format_number(margin)

    def with_verdict(self, verdict: str) -> list[Finding]:
        """The findings with a verdict, the largest effects first."""
        return sort_by_size([each for each in self.findings if each.verdict == verdict])

    def name(self, finding: Finding) -> str:
        """Name the level of a finding with its strength."""
        return self.wording.name(*finding.key)

    def title(self, finding: Finding) -> str:
        """Name the level of a finding for a headline: with its strength if that is all there is to
        it, as of a regularizer.
        """
        return self.name(finding) if finding.key[0] == "regularizer" else self.short_name(finding)

    def short_name(self, finding: Finding) -> str:
        """Name the level of a finding without its strength."""
        return name_level(*finding.key)

    def change(self, row: Row) -> str:
        """Write the change of a row: ``−12.3 %``; or that its runs diverged."""
        if row["diverged"] > row["control_diverged"]:
            return f"{row['diverged']:,} of {row['pairs']:,} runs diverged"
        return self.wording.write(row)

    def size(self, row: Row, most: str = "") -> str:
        """Write the change of a row with its outcome: ``validation loss −12.3 %``."""
        change = self.change(row)
        return change if change.endswith("diverged") else f"{self.wording.outcome} {change}{most}"

    def largest(self, finding: Finding, verdict: str, *, with_outcome: bool = False) -> str:
        """Write the largest simple effect with a verdict: ``−16.9 % at most``; "" without any."""
        levels = finding.levels_with(verdict)
        if not levels:
            return ""
        row, most = finding.largest(verdict)[1], " at most" if len(levels) > 1 else ""
        if with_outcome:
            return self.size(row, most)
        change = self.change(row)
        return change if change.endswith("diverged") else f"{change}{most}"

    def condition(
        self,
        axis: str,
        levels: Sequence[str],
        all_levels: Iterable[str],
        quantifier: str = "every",
    ) -> str:
        """Say at which levels of an axis something holds."""
        control = str(self.design.controls.get(axis, ""))
        return describe_conditions(axis, levels, list(all_levels), control, quantifier)

    def scope(self, finding: Finding) -> str:
        """Say that an effect points one way at every level of the axis that it depends on, or that
        it is an average where it is not certain at every level.
        """
        if finding.kind != "steady" or not finding.across:
            return ""
        if set(finding.verdicts.values()) == {finding.verdict}:
            return self.condition(finding.across, list(finding.parts), finding.parts)
        return f"on average over {pluralise(name_axis(finding.across))}"

    def where(self, finding: Finding, verdict: str) -> str:
        """Say where a level does something."""
        return self.condition(finding.across, finding.levels_with(verdict), finding.parts)

    def second(self, finding: Finding) -> str:
        """Write the effect by the other measure, the metric or the loss, with its interval."""
        for table, design in self.measures.values():
            rows = table[(table["axis"] == finding.key[0]) & (table["level"] == finding.key[1])]
            rows = rows[rows["effect"].notna()]
            if len(rows):
                wording = Wording.from_table(table, design, self.unit, self.metadata)
                return f"{wording.outcome} {wording.estimate(rows.iloc[0].to_dict())}"
        return ""

    def more_seeds(self, finding: Finding, most: float = math.inf) -> str:
        """Say how many more seeds would decide a level; "" where nobody knows, or too many."""
        more = finding.row.get("more")
        if more is None or not 0 < more <= most or finding.row["seeds"] < 2:
            return ""
        return format_count(int(more), f"more {self.design.unit}")

    def evidence(self, finding: Finding) -> str:
        """The address of a level's row."""
        return f"#{row_id(*finding.key)}"

    def name_configuration(self, row: Mapping[str, Any] | pd.Series) -> str:
        """Name what a configuration has that the control has not; "" at the control."""
        return name_configuration(row, self.design)
