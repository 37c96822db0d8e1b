"""The first screen in words: the one thing to do, two or three sentences, and badges, as links.

What may be said is chosen by ``answer_drafts`` and ``support_drafts``, and written by the patterns
of ``headline.txt.j2``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ablations.analysis.ablation import Effects
from ablations.report.answer_drafts import CAUTIONS, draft_headline
from ablations.report.caveats import audit_caveats, find_caveats
from ablations.report.data import ReportData
from ablations.report.drafts import HEADLINE_WORDS, HEADLINES, SENTENCE_WORDS, Draft, Subject
from ablations.report.support_drafts import draft_sentences
from ablations.report.texts import Caveat, write_text
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
    badges: tuple[Badge, ...] = ()
    question: str = ""
    """The study's own question, where the headline answers it."""

    @property
    def meaning(self) -> str:
        """What a word of these sentences means that says how certain they are; "" without it."""
        texts = " ".join(each.text for each in (self.headline, *self.sentences))
        return write_text("meaning", HEADLINES) if "surely" in texts.split() else ""


def write_screen(
    headline: Draft, sentences: Iterable[Draft], badges: Iterable[Badge] = ()
) -> FirstScreen:
    """Write the drafts of a first screen."""
    return FirstScreen(
        Sentence(headline.write(HEADLINE_WORDS), headline.href),
        tuple(Sentence(each.write(SENTENCE_WORDS), each.href) for each in sentences),
        tuple(badges),
    )


def make_badges(caveats: Iterable[Caveat], metadata: StudyMetadata | None = None) -> list[Badge]:
    """Make the badges of a study and of what limits its answer."""
    badges = list(zip_badges(metadata)) if metadata else []
    return badges + [
        Badge(caveat.badge, caveat.text, CAUTIONS) for caveat in caveats if caveat.badge
    ]


def zip_badges(metadata: StudyMetadata) -> Iterable[Badge]:
    """Yield the badges of a study; only a single one surely belongs to the first caution."""
    for badge in metadata.badges:
        is_single = len(metadata.badges) == 1 and len(metadata.cautions) == 1
        yield Badge(badge, metadata.cautions[0] if is_single else "", CAUTIONS)


def write_first_screen(data: ReportData) -> FirstScreen:
    """Say the answer of a study for the first screen of its page."""
    caveats = [*find_caveats(data.ablation), *audit_caveats(data.results.audit)]
    return outline_answer(data.ablation, data.metadata, make_badges(caveats, data.metadata))


def outline_answer(
    ablation: Effects, metadata: StudyMetadata | None, badges: Iterable[Badge] = ()
) -> FirstScreen:
    """Say the answer of a study: the same for the page and for the terminal."""
    subject = Subject(ablation, metadata)
    headline = draft_headline(subject)
    screen = write_screen(headline, draft_sentences(subject), badges)
    is_answer = headline.pattern.startswith("answer_")
    question = metadata.question if metadata and is_answer else None
    return replace(screen, question=question.text) if question else screen


def write_headline(ablation: Effects, metadata: StudyMetadata | None) -> str:
    """Say the answer of a study in one sentence."""
    return draft_headline(Subject(ablation, metadata)).write(HEADLINE_WORDS)
