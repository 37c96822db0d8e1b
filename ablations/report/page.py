"""The report: a self-contained HTML file (no HTTP requests) of figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ablations.core.errors import RequestError
from ablations.core.files import write_bytes
from ablations.report.columns import Table
from ablations.report.data import ReportData, build_report_data
from ablations.report.explorer import build_explorer
from ablations.report.figures.gallery import RenderedFigure, draw_figures, list_figures
from ablations.report.formatting import describe_audit, format_margin
from ablations.report.run_tables import (
    audit_table,
    best_table,
    endings_table,
    environment_table,
    published_table,
    rates_table,
)
from ablations.report.style import theme_declarations
from ablations.report.summary import (
    answer_sentences,
    audit_caveats,
    find_caveats,
    run_counts,
    summarise,
)
from ablations.report.tables import (
    ablation_table,
    costs_table,
    doubles_table,
    ends_table,
    ranking_table,
    shares_table,
    simple_tables,
    spread_table,
)
from ablations.results.answer import Answer
from ablations.results.metadata import StudyMetadata

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

SECTIONS = {
    "published": "Published curves",
    "ablation": "Ablation table",
    "effects": "Main effects",
    "shares": "Variance shares",
    "interactions": "Interactions",
    "curves": "Loss curves",
    "time": "Loss against time",
    "spread": "Seed variance",
    "timings": "What a step costs",
    "ranking": "Ranking",
    "best": "Best configurations",
    "endings": "Diverged, failed, skipped",
    "audit": "Audit of the fused engine",
    "explorer": "Explorer",
    "environment": "Environment",
    "study": "Study",
}
"""Section id to title, in the order of the page; empty sections are left out."""


def write_report(results: StoredResults, metadata: StudyMetadata) -> tuple[Path, Answer]:
    """Write ``report.html`` and its figures, PNG and SVG, into the folder of ``results``.

    The same results and metadata give the same bytes. No file is ever visible half-written.

    Returns
    -------
    Path
        The page.
    Answer
        The ablation table and its summary in sentences, from the same effects as the page.

    Raises
    ------
    KeyError
        If ``metadata`` names a column that the runs do not have.
    """
    data = build_report_data(results, metadata)
    figures = draw_figures(list_figures(data))
    _write_figures(figures, results.folder / "figures")
    page = results.folder / "report.html"
    write_bytes(page, render_page(data, results, metadata, figures).encode())
    return page, summarise(data.ablation, metadata.cautions)


def _write_figures(figures: Sequence[RenderedFigure], folder: Path) -> None:
    """Write figures as PNG and SVG, and remove those of an earlier report."""
    if folder.is_symlink():  # in a folder from elsewhere, it could lead anywhere
        raise RequestError("is a link, and the figures in it would be replaced", source=str(folder))
    for figure in figures:
        write_bytes(folder / f"{figure.spec.name}.png", figure.png)
        write_bytes(folder / f"{figure.spec.name}.svg", figure.svg.encode())
    names = {figure.spec.name for figure in figures}
    for path in (path for pattern in ("*.png", "*.svg") for path in folder.glob(pattern)):
        if path.stem not in names:
            path.unlink()


def load_templates() -> jinja2.Environment:
    """Load the page's templates, in which every text is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(
    data: ReportData,
    results: StoredResults,
    metadata: StudyMetadata,
    drawings: Sequence[RenderedFigure],
) -> str:
    """Fill the template of the page."""
    figures: dict[str, list[RenderedFigure]] = {}
    for figure in drawings:
        figures.setdefault(figure.spec.section, []).append(figure)
    page_tables = _page_tables(data, results, metadata)
    explorer = build_explorer(data, results.curves, metadata) if len(results.runs) else None
    sections = {*figures, *(name for name, table in page_tables.items() if table), "study"}
    sections |= {"explorer"} if explorer else set()
    sections -= {"best"} if "time" in figures else set()
    return (
        load_templates()
        .get_template("report.html.j2")
        .render(
            metadata=metadata,
            toml=results.study_toml,
            theme=theme_declarations(),
            band=format_margin(data.design.margin, data.design.scale),
            alpha=f"{data.design.alpha:.2g}",
            answers=answer_sentences(data),
            facts=run_counts(data),
            caveats=[*find_caveats(data.ablation), *audit_caveats(results.audit)],
            sections=[(name, title) for name, title in SECTIONS.items() if name in sections],
            figures=figures,
            explorer=explorer,
            geometric=data.design.scale == "log",
            audit_said=describe_audit(results.audit) if len(results.audit) else "",
            simple_effects=simple_tables(data),
            **page_tables,
        )
    )


def _page_tables(
    data: ReportData, results: StoredResults, metadata: StudyMetadata
) -> dict[str, Table | None]:
    """Return each table of the page, None where it would be empty."""
    return {
        "ablation": ablation_table(data, metadata),
        "shares": shares_table(data),
        "doubles": doubles_table(data),
        "ends": ends_table(data),
        "spread": spread_table(data),
        "timings": costs_table(data),
        "ranking": ranking_table(data),
        "best": best_table(data, metadata),
        "endings": endings_table(data),
        "rates": rates_table(data),
        "published": published_table(data),
        "audit": audit_table(results.audit, data.design.untuned.runs, metadata),
        "environment": environment_table(results.environment, results.runs),
    }
