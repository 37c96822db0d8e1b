"""The report: a self-contained HTML file (no HTTP requests) of figures and tables."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.analysis.results import Results
from ablations.core.files import file_names
from ablations.report import summary
from ablations.report.best import best_set_table
from ablations.report.data import ReportData, build_report_data
from ablations.report.data_columns import columns_table
from ablations.report.datasets import build_tasks_data, summarise_datasets
from ablations.report.explorer import build_explorer
from ablations.report.figures.gallery import RenderedFigure, draw_figures, list_figures
from ablations.report.forest import build_forest
from ablations.report.formatting import format_margin
from ablations.report.headline import write_first_screen
from ablations.report.run_tables import RUN_TABLES
from ablations.report.scope import SCOPE_TABLES
from ablations.report.sections import Outline, Place, Section, fill_page, name_page
from ablations.report.tables import EFFECT_TABLES, simple_tables
from ablations.report.tasks_page import (
    list_tasks_figures,
    render_tasks_page,
)
from ablations.report.texts import describe_audit
from ablations.report.trust_tables import TRUST_TABLES
from ablations.results.answer import Answer
from ablations.results.metadata import StudyMetadata
from ablations.results.outputs import write_outputs

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

FIGURES_FOLDER = "figures"
OUTLINE = Outline(
    (
        Section(
            "depends",
            "Where it depends",
            {"simple": "What it depends on", "interactions": "All pairs"},
        ),
        Section("over-time", "Over time", {"trajectory": ""}),
        Section("cost", "Cost", {"time": "Loss against time", "timings": "What a step costs"}),
        Section("explorer", "Explorer", {"explorer": ""}),
    ),
    {
        "cautions": "Cautions",
        "published": "Published curves",
        "curves": "Loss curves",
        "ablation": "All numbers",
        "metrics": "By other metrics",
        "constant": "Against a constant",
        "scope": "What the verdicts are about",
        "training": "Trained enough?",
        "shares": "Variance shares",
        "ranking": "Ranking",
        "best": "Best configurations",
        "spread": "Seed variance",
        "endings": "Diverged, failed, skipped",
        "audit": "Audit of the fused engine",
        "columns": "Columns of the data",
        "environment": "Environment",
        "study": "Study",
    },
)
"""What the page of a task shows, in its order; what has no content is left out."""


def write_report(
    results: StoredResults, metadata: StudyMetadata, outcome: str = ""
) -> tuple[Path, Callable[[], Answer]]:
    """Write ``report.html`` and its figures, PNG and SVG, into the folder of ``results``.

    No file is ever visible half-written.  Of several tasks each has a page too,
    ``report-of-TASK.html``, with its figures.  Returns the page, and a function that makes the
    answer of the same effects.

    Parameters
    ----------
    outcome
        The outcome of ``metadata``, where it is not the study's: the page is
        ``report-OUTCOME.html`` then, its figures lie in ``figures-OUTCOME``, and the report of the
        study stays.
    """
    suffix = f"-{re.sub(r'[^A-Za-z0-9_.]+', '-', outcome)}" if outcome else ""
    if metadata.tasks:
        return _write_tasks(Results.from_stored(results, metadata), suffix)
    return _write_task(results, metadata, suffix)


def _write_task(
    results: StoredResults, metadata: StudyMetadata, suffix: str, place: Place | None = None
) -> tuple[Path, Callable[[], Answer]]:
    """Write the page of one task and its figures; ``suffix`` ends their names."""
    data = build_report_data(results, metadata)
    figures = draw_figures(list_figures(data))
    pictures = f"{FIGURES_FOLDER}{suffix}"
    page = render_page(data, figures, pictures, place)
    path = _write_page(results.folder, suffix, page, figures)
    return path, partial(summary.summarise, data.ablation, metadata)


def _write_tasks(results: Results, suffix: str) -> tuple[Path, Callable[[], Answer]]:
    """Write a page of each task, and the page of all of them, which links to these."""
    ends = [f"-of-{name}{suffix}" for name in file_names(list(results.by_task))]
    overview = f"report{suffix}.html"
    for end, (name, each) in zip(ends, results.by_task.items(), strict=True):
        _write_task(each, each.require_metadata(), end, Place(name, overview))
        gc.collect()  # the figures of a page, of which a command may draw hundreds
    pages = {name: f"report{end}.html" for name, end in zip(results.by_task, ends, strict=True)}
    data = build_tasks_data(results, pages)
    figures = draw_figures(list_tasks_figures(data))
    page = render_tasks_page(data, figures, f"{FIGURES_FOLDER}{suffix}")
    path = _write_page(results.folder, suffix, page, figures)
    return path, partial(summarise_datasets, results, data.over)


def _write_page(folder: Path, suffix: str, page: str, figures: Sequence[RenderedFigure]) -> Path:
    """Write a page, and its figures as PNG and SVG in place of those of an earlier report."""
    pictures, name = f"{FIGURES_FOLDER}{suffix}", f"report{suffix}.html"
    files = {f"{pictures}/{figure.spec.name}.png": figure.png for figure in figures}
    files |= {f"{pictures}/{figure.spec.name}.svg": figure.svg.encode() for figure in figures}
    write_outputs(folder, files | {name: page.encode()}, pictures)
    return folder / name


def render_page(
    data: ReportData,
    drawings: Sequence[RenderedFigure],
    folder: str = FIGURES_FOLDER,
    place: Place | None = None,
) -> str:
    """Fill the template of the page, whose figures lie in ``folder``; ``place``: its place among
    the pages of a study of several tasks.
    """
    results, design, metadata = data.results, data.design, data.metadata
    builders = EFFECT_TABLES | TRUST_TABLES | RUN_TABLES | SCOPE_TABLES
    tables = {name: build(data) for name, build in builders.items()}
    tables |= {"columns": columns_table(data), "best_set": best_set_table(data)}
    explorer = build_explorer(data) if len(results.runs) else None
    audit, cost = results.audit, data.winner_cost
    texts = summary.list_cautions(data.ablation, metadata, audit=audit, cost=cost)
    simple_effects = simple_tables(data)
    contents = {"cautions": texts, "explorer": explorer, "simple": simple_effects, "study": True}
    present = {name for name, content in (tables | contents).items() if content}
    if any(figure.spec.section == "time" for figure in drawings):
        present -= {"best"}
    return fill_page(
        OUTLINE,
        write_first_screen(data),
        present,
        drawings,
        title=metadata.study,
        tab_title=name_page(results, metadata, place),
        place=place,
        description=metadata.description,
        metadata=metadata,
        toml=results.study_toml,
        band=format_margin(design.margin, design.scale),
        alpha=f"{design.alpha:.2g}",
        facts=summary.run_counts(data),
        cautions=texts,
        figures_folder=folder,
        explorer=explorer,
        forest=build_forest(data),
        geometric=design.scale == "log",
        audit_said=describe_audit(results.audit) if len(results.audit) else "",
        simple_effects=simple_effects,
        **tables,
    )
