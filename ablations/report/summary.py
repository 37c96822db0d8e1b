"""The answer of a study in words: for the command that prints it, and below the page's evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from ablations.analysis.ablation import Effects
from ablations.report.best import describe_best, outline_best
from ablations.report.caveats import audit_caveats, find_caveats
from ablations.report.data import ReportData
from ablations.report.forest_notes import list_reversals
from ablations.report.forest_text import outline_effects
from ablations.report.formatting import format_change, format_count, format_interval, format_p
from ablations.report.headline import outline_answer
from ablations.report.scope import describe_scope
from ablations.report.soundness import (
    describe_endings,
    describe_learning,
    describe_missing,
    describe_other_learning,
    describe_others,
    has_learned,
)
from ablations.results.answer import Answer
from ablations.results.metadata import StudyMetadata


def summarise(ablation: Effects, metadata: StudyMetadata | None = None) -> Answer:
    """The headline and the sentences of the first screen, every level against its control, and what
    limits the answer.
    """
    effects, scale = ablation.effects, ablation.design.scale
    screen = outline_answer(ablation, metadata)
    chart, cautions = None, list[str]()
    if len(effects):
        chart = outline_effects(effects, ablation.design, metadata, list_reversals(ablation))
        cautions = [*_leave_out(list_cautions(ablation, metadata), chart.notes)]
    rows = tuple(
        (
            *(str(row[name]) for name in ("axis", "level", "control")),
            _describe_verdict(row),
            format_change(row, scale),
            format_interval(row, scale),
            format_p(row),
        )
        for row in effects.to_dict("records")
    )
    return Answer(
        rows,
        tuple(sentence.text for sentence in screen.sentences),
        outline_best(ablation) if rows else None,
        headline=screen.headline.text,
        question=screen.question,
        chart=chart,
        cautions=tuple(cautions),
    )


def _leave_out(texts: Iterable[str], notes: Iterable[str]) -> Iterator[str]:
    """Yield texts without the sentences that stand below the forest plot."""
    for text in texts:
        for note in notes:
            text = text.replace(note, "").strip()
        if text:
            yield text


def _describe_verdict(row: Mapping[str, Any]) -> str:
    if row["pairs"] and row["identical"] == row["pairs"]:
        return "changed nothing at all"
    return str(row["verdict"]) if row["pairs"] else "not compared"


def list_cautions(
    ablation: Effects,
    metadata: StudyMetadata | None = None,
    *,
    audit: pd.DataFrame | None = None,
    cost: pd.DataFrame | None = None,
) -> list[str]:
    """Say all that the first screen leaves out: what puts the answer in doubt, and what limits it.

    ``cost`` is the ``best_configuration_cost``.
    """
    caveats = find_caveats(ablation) if len(ablation.effects) else []
    caveats += audit_caveats(audit) if audit is not None else []
    cautions, training = (metadata.cautions, metadata.training) if metadata else ((), "")
    texts = [
        *describe_trust(ablation, metadata),
        _describe_best(ablation, cost),
        *cautions,
        *(caveat.text for caveat in caveats),
        training,
    ]
    return [text for text in texts if text]


def _describe_best(ablation: Effects, cost: pd.DataFrame | None) -> str:
    """Say what may be chosen, where anything was learned."""
    ratio = None if cost is None or cost.empty else float(cost["ratio"].iloc[0])
    return describe_best(ablation, ratio) if has_learned(ablation) else ""


def describe_trust(ablation: Effects, metadata: StudyMetadata | None) -> list[str]:
    """Say how far to trust what the levels do: learning, training, scope, and other measures."""
    judge, metric = (metadata.judge, metadata.metric_name) if metadata else ("last", "")
    sentences = [
        describe_learning(ablation, metric),
        describe_other_learning(ablation, metric),
        describe_missing(ablation),
        describe_endings(ablation, judge),
    ]
    if has_learned(ablation) and len(ablation.effects):
        sentences.append(describe_scope(ablation, metadata.judging if metadata else None))
        sentences.append(describe_others(ablation))
    return [sentence for sentence in sentences if sentence]


def run_counts(data: ReportData) -> list[str]:
    """Count what was trained."""
    runs = data.design.untuned.runs
    endings = Counter(runs["status"])
    return [
        format_count(len(runs), "run"),
        format_count(len(data.configurations), "configuration"),
        format_count(runs["seed"].nunique(), "seed"),
        *_count_endings(endings, ("diverged", "failed", "skipped")),
    ]


def _count_endings(endings: Counter[str], words: Iterable[str]) -> list[str]:
    return [f"{endings[word]:,} {word}" for word in words if endings[word]]
