"""Pages of a report, read back: tables, pictures, links and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from ablations.report.data import build_report_data
from ablations.report.figures.gallery import RenderedFigure, list_figures
from ablations.report.page import render_page
from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}


@dataclass
class Cell:
    text: str = ""
    value: float | None = None
    note: str = ""


@dataclass
class Page(HTMLParser):
    """What a reader finds on a page."""

    source: str
    tables: dict[str, list[list[Cell]]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    words: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._table = ""
        self.feed(self.source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._table = attributes["id"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            value = attributes.get("data-value")
            self.tables[self._table][-1].append(Cell(value=None if value is None else float(value)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"script", "style"} & set(self._open):
            return
        self.words += data
        if {"td", "th"} & set(self._open):
            cell = self.tables[self._table][-1][-1]
            if self._open[-1] == "small":
                cell.note += data
            else:
                cell.text += data

    def rows(self, table: str) -> list[dict[str, Cell]]:
        """The body of a table by its headings."""
        head, *body = self.tables[f"table-{table}"]
        return [dict(zip((h.text for h in head), row, strict=True)) for row in body]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def render_undrawn(results: StoredResults, metadata: StudyMetadata) -> Page:
    """The page with an empty picture in place of every figure, which takes most of the time."""
    data = build_report_data(results, metadata)
    figures = [RenderedFigure(spec, b"", "", "<svg></svg>") for spec in list_figures(data)]
    return Page(render_page(data, figures))
