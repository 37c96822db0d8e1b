"""The outline of a page: its open sections, and the evidence folded below them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.analysis.design import OUTCOME
from ablations.report.figures.gallery import RenderedFigure
from ablations.report.formatting import name_outcome
from ablations.report.headline import FirstScreen
from ablations.report.style import theme_declarations
from ablations.report.texts import load_templates
from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Section:
    """A section of a page: its address, its heading, and its parts, templates to headings.

    A part without a heading stands below the heading of its section.
    """

    id: str
    title: str
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """The place of a page among those of a study of several tasks: its task, and the file of the
    page of all of them.
    """

    task: str
    overview: str


def name_page(results: StoredResults, metadata: StudyMetadata, place: Place | None = None) -> str:
    """Name a page for the tab of a browser: study, task, outcome and folder, so that no two pages
    of a study have one name.
    """
    folder = results.folder.resolve().name
    parts = [
        metadata.study,
        place.task if place else "",
        f"by {name_outcome(metadata.outcome)}" if metadata.outcome != OUTCOME else "",
        folder if folder != metadata.study else "",
    ]
    return " \N{MIDDLE DOT} ".join(filter(None, parts))


@dataclass(frozen=True)
class Outline:
    """What a page can show, in its order.

    A part ``curves`` is filled in from ``sections/curves.html.j2`` and has the address
    ``#curves``; a folded one has ``#evidence-curves``.
    """

    open: tuple[Section, ...]
    folded: Mapping[str, str]
    """Template to heading of each piece of evidence."""

    def list_open(self, present: Collection[str]) -> list[Section]:
        """List the sections that have anything to show, with the parts that are present."""
        sections = []
        for section in self.open:
            parts = {name: text for name, text in section.parts.items() if name in present}
            if len(parts) == 1:
                parts = dict.fromkeys(parts, "")
            if parts:
                sections.append(Section(section.id, section.title, parts))
        return sections

    def list_folded(self, present: Collection[str]) -> list[tuple[str, str]]:
        """List templates and headings of the evidence that is present."""
        return [(name, title) for name, title in self.folded.items() if name in present]


def fill_page(
    outline: Outline,
    screen: FirstScreen,
    present: Collection[str],
    drawings: Sequence[RenderedFigure] = (),
    **content: Any,
) -> str:
    """Fill the template of all pages.

    Parameters
    ----------
    outline
        What the page can show.
    screen
        The words of the first screen.
    present
        The parts for which there is something to show, besides those that have figures.
    drawings
        The figures, each in the part that its specification names.
    content
        What the templates of the parts need.
    """
    figures: dict[str, list[RenderedFigure]] = {}
    for figure in drawings:
        figures.setdefault(figure.spec.section, []).append(figure)
    present = {*present, *figures}
    optional = {
        "description": "",
        "place": None,
        "tab_title": content.get("title"),
        "forest": None,
        "explorer": None,
        "figures_folder": "",
    }
    return (
        load_templates()
        .get_template(TEMPLATE)
        .render(
            **optional | content,
            screen=_link_badges(screen, content.get("cautions", ())),
            theme=theme_declarations(),
            sections=outline.list_open(present),
            evidence=outline.list_folded(present),
            figures=figures,
        )
    )


def _link_badges(screen: FirstScreen, cautions: Sequence[str]) -> FirstScreen:
    """Let each badge lead to the caution that it stands for, where the page has that."""
    ids = {text: f"#caution-{i}" for i, text in enumerate(cautions, start=1)}
    badges = (replace(badge, href=ids.get(badge.title, badge.href)) for badge in screen.badges)
    return replace(screen, badges=tuple(badges))
