"""Figures and tables become one HTML file that asks nothing of any network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ablations.core.files import write_bytes
from ablations.report import formatting, style, summary, tables
from ablations.report import tables as summary_tables
from ablations.report.ablation import ablation_table
from ablations.report.data import ReportData, build_report_data
from ablations.report.explorer import explorer
from ablations.report.figures.gallery import RenderedFigure, gallery
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


def write(results: StoredResults, story: StudyMetadata) -> Path:
    """Write ``report.html`` and its figures, PNG and SVG, into the folder of ``results``.

    The same results and story give the same bytes. Every file appears whole or not at all.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    KeyError
        If ``story`` names a column the runs do not have.
    """
    reading = build_report_data(results, story)
    drawn = gallery(reading)
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
    write_bytes(page, render(reading, results, story, drawn).encode())
    return page


def templates() -> jinja2.Environment:
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


def render(
    reading: ReportData,
    results: StoredResults,
    story: StudyMetadata,
    drawn: tuple[RenderedFigure, ...],
) -> str:
    """Fill the template."""
    figures: dict[str, list[RenderedFigure]] = {}
    for figure in drawn:
        figures.setdefault(figure.section, []).append(figure)
    shown = _tables(reading, results, story)
    explored = explorer(reading, results.curves, story) if len(reading.runs) else None
    known = {*figures, *(name for name, content in shown.items() if content), "study"}
    known |= {"explorer"} if explored else set()
    known |= {"ablation"} if shown["ablations"] else set()
    known -= {"best"} if "time" in figures else set()
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            story=story,
            toml=results.study_toml,
            theme=style.theme(),
            band=formatting.margin(reading.margin, reading.scale),
            alpha=f"{reading.alpha:.2g}",
            answers=summary.answers(reading),
            facts=summary.facts(reading),
            tempers=[*summary.caveats(reading), *summary.distrust(results.audit)],
            sections=[(name, title) for name, title in SECTIONS.items() if name in known],
            figures=figures,
            explorer=explored,
            geometric=reading.scale == "log",
            audit_said=formatting.audit(results.audit) if len(results.audit) else "",
            opened=summary_tables.simple_tables(reading),
            **shown,
        )
    )


def _tables(reading: ReportData, results: StoredResults, story: StudyMetadata) -> dict[str, Any]:
    """Each table of the page, None where it would be empty."""
    return {
        "ablations": ablation_table(reading, story) if len(reading.effects) else None,
        "shares": summary_tables.shares_table(reading)
        if reading.shares["eta2"].notna().any()
        else None,
        "doubles": summary_tables.doubles_table(reading)
        if reading.interactions["double"].notna().any()
        else None,
        "ends": summary_tables.ends_table(reading) if reading.curves else None,
        "spread": summary_tables.spread_table(reading) if reading.spread["cells"].sum() else None,
        "timings": summary_tables.costs_table(reading) if len(reading.costs) else None,
        "ranking": summary_tables.ranking_table(reading)
        if len(reading.ranked) > 1 and reading.ranked["seeds"].iloc[0] > 1
        else None,
        "best": tables.best_table(reading, story)
        if reading.configurations["complete"].any()
        else None,
        "endings": tables.endings_table(reading) if len(reading.endings) else None,
        "rates": tables.rates_table(reading) if reading.rates["diverged"].sum() else None,
        "published": tables.published_table(reading.published) if len(reading.published) else None,
        "audit": tables.audit_table(results.audit, reading.runs, story)
        if len(results.audit)
        else None,
        "environment": tables.environment_table(results.environment, results.runs),
    }
