"""Figures and tables become one HTML file that asks nothing of any network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ablations.core.files import write_bytes
from ablations.report import tables
from ablations.report import tables as summary_tables
from ablations.report.ablation import ablation_table
from ablations.report.data import ReportData, build_report_data
from ablations.report.explorer import build_explorer
from ablations.report.figures.gallery import RenderedFigure, draw_figures
from ablations.report.formatting import describe_audit, format_margin
from ablations.report.style import theme_declarations
from ablations.report.summary import answer_sentences, audit_caveats, find_caveats, run_counts
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
"""Each has a template of its own; a study that has nothing to show in one has not got it."""


def write_report(results: StoredResults, metadata: StudyMetadata) -> Path:
    """Write ``report.html`` and its figures, PNG and SVG, into the folder of ``results``.

    The same results and metadata give the same bytes. Every file appears whole or not at all.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    KeyError
        If ``metadata`` names a column the runs do not have.
    """
    data = build_report_data(results, metadata)
    drawn = draw_figures(data)
    folder = results.folder / "figures"
    current = set()
    for figure in drawn:
        for suffix, content in (("png", figure.png), ("svg", figure.svg.encode())):
            write_bytes(folder / f"{figure.name}.{suffix}", content)
            current.add(f"{figure.name}.{suffix}")
    # A figure of an earlier, different study would pass for one of this report.
    for stale in (path for kind in ("*.png", "*.svg") for path in folder.glob(kind)):
        if stale.name not in current:
            stale.unlink()
    page = results.folder / "report.html"
    write_bytes(page, render_page(data, results, metadata, drawn).encode())
    return page


def load_templates() -> jinja2.Environment:
    """The page's templates, in which every name is escaped."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["parts"] = tables.spelled
    return found


def render_page(
    data: ReportData,
    results: StoredResults,
    metadata: StudyMetadata,
    drawn: tuple[RenderedFigure, ...],
) -> str:
    """Fill the template."""
    figures: dict[str, list[RenderedFigure]] = {}
    for figure in drawn:
        figures.setdefault(figure.section, []).append(figure)
    shown = _tables(data, results, metadata)
    explored = (
        build_explorer(data, results.curves, metadata) if len(data.design.untuned.runs) else None
    )
    known = {*figures, *(name for name, content in shown.items() if content), "study"}
    known |= {"explorer"} if explored else set()
    known |= {"ablation"} if shown["ablations"] else set()
    known -= {"best"} if "time" in figures else set()
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
            caveats=[*find_caveats(data), *audit_caveats(results.audit)],
            sections=[(name, title) for name, title in SECTIONS.items() if name in known],
            figures=figures,
            explorer=explored,
            geometric=data.design.scale == "log",
            audit_said=describe_audit(results.audit) if len(results.audit) else "",
            opened=summary_tables.simple_tables(data),
            **shown,
        )
    )


def _tables(data: ReportData, results: StoredResults, metadata: StudyMetadata) -> dict[str, Any]:
    """Each table of the page, None where it would be empty."""
    return {
        "ablations": ablation_table(data, metadata) if len(data.effects) else None,
        "shares": summary_tables.shares_table(data) if data.shares["eta2"].notna().any() else None,
        "doubles": summary_tables.doubles_table(data)
        if data.interactions["double"].notna().any()
        else None,
        "ends": summary_tables.ends_table(data) if data.curves else None,
        "spread": summary_tables.spread_table(data) if data.spread["cells"].sum() else None,
        "timings": summary_tables.costs_table(data) if len(data.costs) else None,
        "ranking": summary_tables.ranking_table(data)
        if len(data.ranked) > 1 and data.ranked["seeds"].iloc[0] > 1
        else None,
        "best": tables.best_table(data, metadata)
        if data.configurations["complete"].any()
        else None,
        "endings": tables.endings_table(data) if len(data.endings) else None,
        "rates": tables.rates_table(data) if data.rates["diverged"].sum() else None,
        "published": tables.published_table(data.published) if len(data.published) else None,
        "audit": tables.audit_table(results.audit, data.design.untuned.runs, metadata)
        if len(results.audit)
        else None,
        "environment": tables.environment_table(results.environment, results.runs),
    }
