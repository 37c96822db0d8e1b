"""The one caution that matters most, for the last sentence of the first screen."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

from ablations.analysis import HELPS, HURTS
from ablations.analysis.trajectory import CONTROL, NOT_FINISHED, OVERFITTED
from ablations.report.answer_drafts import CAUTIONS, CONSTANT, ENDINGS
from ablations.report.drafts import SENTENCE_WORDS, Draft, Subject, count_words, draft
from ablations.report.findings import sort_by_size
from ablations.report.formatting import (
    format_count,
    format_fractions,
    format_number,
    name_outcome,
)
from ablations.report.soundness import judge_learning
from ablations.report.strengths import name_axis

TRAINING = "#evidence-training"
_MOST_DIVERGED = 0.02
"""Share of diverged runs from which on the first screen speaks of them."""


def draft_caution(subject: Subject, *, is_learned: bool = True) -> Draft | None:
    """Choose the one caution that matters most."""
    choices = [_caution_repair, _caution_diverged, _caution_ending, _caution_opposite]
    choices = [*choices, _caution_rows, _caution_data, _caution_average]
    for choose in choices if is_learned else [_caution_data, _caution_ending]:
        if caution := choose(subject):
            return caution
    return None


def _caution_repair(subject: Subject) -> Draft | None:
    metric = subject.metadata.metric_name if subject.metadata else ""
    learning = judge_learning(subject.ablation, metric)
    control = learning.control
    if control is None or control["learned"]:
        return None
    facts = {
        "outcome": learning.outcome,
        "value": format_number(control["value"]),
        "constant": format_number(control["baseline"]),
    }
    return draft("caution_repair", CONSTANT, facts)


def _caution_diverged(subject: Subject) -> Draft | None:
    runs = subject.design.untuned.runs
    n = Counter(runs["status"])["diverged"]
    if n <= _MOST_DIVERGED * len(runs):
        return None
    return draft("caution_diverged", ENDINGS, {"n": f"{n:,} of {format_count(len(runs), 'run')}"})


def _caution_ending(subject: Subject) -> Draft | None:
    """Say that the control was not finished, or overfitted."""
    endings, metadata = subject.ablation.endings, subject.metadata
    if endings.empty:
        return None
    rows = endings[(endings["axis"] == "") & (endings["level"] == CONTROL)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    if row["ending"] == NOT_FINISHED:
        facts = {"outcome": "validation loss", "late": _write_change(row, "late_change")}
        return draft("caution_unfinished", TRAINING, facts)
    if row["ending"] == OVERFITTED and (metadata is None or metadata.judge == "last"):
        excess = _write_change(row, "excess_change")
        facts = {"best": f"{row['best_epoch']:,}", "epochs": f"{row['epochs']:,}"}
        return draft("caution_overfitted", TRAINING, {**facts, "excess": excess})
    return None


def _write_change(row: pd.Series, name: str) -> str:
    value = row[name]
    return "" if pd.isna(value) else format_fractions([float(value)])[0]


def _caution_opposite(subject: Subject) -> Draft | None:
    """Say that another measure gives the opposite verdict, or that it shows nothing learned."""
    verdicts = {each.key: each.verdict for each in subject.findings}
    for name, (table, _) in subject.measures.items():
        names = [
            subject.short_name(finding)
            for finding in subject.findings
            for row in table.to_dict("records")
            if (row["axis"], row["level"]) == finding.key
            and {row["verdict"], verdicts[finding.key]} == {HELPS, HURTS}
        ]
        if names:
            shown = [*names[:2], *([f"{len(names) - 2} more"] * (len(names) > 2))]
            facts = {"outcome": name_outcome(name), "names": shown}
            return draft("caution_opposite", "#evidence-metrics", facts)
    return None


def _caution_rows(subject: Subject) -> Draft | None:
    if subject.ablation.scope.empty or subject.design.scope != "rows":
        return None
    judging = subject.metadata.judging if subject.metadata else None
    facts = {"rows": f"{judging.rows:,} " if judging else ""}
    return draft("caution_rows", "#evidence-scope", facts)


def _caution_data(subject: Subject) -> Draft | None:
    """The first sentence of what the task says of its data."""
    for caution in subject.metadata.cautions if subject.metadata else ():
        first = re.split(r"(?<=[.!?]) (?=[A-Z“])", caution)[0]
        for text in (first, f"{re.split(r'[:;,] ', first)[0].rstrip('.')}."):
            if count_words(text) <= SENTENCE_WORDS:
                return draft("caution_data", CAUTIONS, {"text": text})
    return None


def _caution_average(subject: Subject) -> Draft | None:
    """Say which large effect is an average over different ones."""
    findings = [each for each in subject.findings if each.kind == "reversed"]
    if not findings:
        return None
    finding = sort_by_size(findings)[0]
    facts = {"name": subject.short_name(finding), "axis": name_axis(finding.across)}
    return draft("caution_average", "#depends", facts)
