"""The first screen in words: the one thing to do, two or three sentences, and badges, as links."""

from __future__ import annotations

from dataclasses import dataclass

from ablations.analysis.ablation import Effects
from ablations.report.data import ReportData
from ablations.report.summary import (
    answer_sentences,
    audit_caveats,
    effect_sentences,
    find_caveats,
)
from ablations.report.texts import write_text
from ablations.results.metadata import StudyMetadata


@dataclass(frozen=True)
class Sentence:
    """A sentence, and the address of its evidence on the page: ``#row-norm-layer``."""

    text: str
    href: str


@dataclass(frozen=True)
class Badge:
    """A limit of the answer in a few words and in a sentence, and where the page explains it."""

    text: str
    title: str
    href: str


@dataclass(frozen=True)
class FirstScreen:
    """What a reader takes home: a headline, two or three sentences, and what limits them."""

    headline: Sentence
    sentences: tuple[Sentence, ...]
    badges: tuple[Badge, ...]


def write_first_screen(data: ReportData) -> FirstScreen:
    """Say the answer of a study for the first screen of its page."""
    first, *others = answer_sentences(data)
    return FirstScreen(
        Sentence(first, "#forest"),
        tuple(Sentence(text, "#evidence-cautions") for text in others),
        (
            *(Badge(text, "", "#evidence-cautions") for text in data.metadata.badges),
            *(
                Badge(caveat.badge, caveat.text, "#evidence-cautions")
                for caveat in (
                    *find_caveats(data.ablation),
                    *audit_caveats(data.results.audit),
                )
                if caveat.badge
            ),
        ),
    )


def write_headline(ablation: Effects, metadata: StudyMetadata | None) -> str:
    """Say the answer of a study in one sentence."""
    if ablation.effects.empty:
        return write_text("no_result", counts=[])
    return effect_sentences(ablation, metadata, "level")[0]
