"""The page of a study of several data sets: what holds over them, and a link to a page of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from ablations.analysis.results import Results
from ablations.report.caveats import audit_caveats
from ablations.report.columns import Cell, Column, Row, Table, build_table, two_digits
from ablations.report.datasets import TasksData, describe_scope, format_p_over, limit_caveats
from ablations.report.figures.datasets import forest_figures, profile_figures, rank_figures
from ablations.report.figures.gallery import RenderedFigure
from ablations.report.figures.panels import FigureSpec
from ablations.report.formatting import (
    NOTHING,
    format_count,
    format_fractions,
    format_margin,
    format_p,
    format_relatives,
    name_interval,
)
from ablations.report.run_tables import environments_table
from ablations.report.sections import Outline, Section, fill_page, name_page
from ablations.report.strengths import name_level
from ablations.report.tasks_screen import build_tasks_forest, write_first_screen
from ablations.results.metadata import StudyMetadata

OUTLINE = Outline(
    (
        Section("pages", "A page for each data set", {"pages": ""}),
        Section("over", "Over data sets", {"datasets": ""}),
        Section("by-data-set", "Data set by data set", {"each": ""}),
        Section("all", "All together", {"ranks": "Mean ranks", "profiles": "Profiles"}),
    ),
    {"cautions": "Cautions", "environment": "Environment", "study": "Study"},
)
"""What the page shows, in its order; what has no content is left out."""


def list_tasks_figures(data: TasksData) -> Iterator[FigureSpec]:
    """List the figures for which there are data, in the order of the page."""
    yield from forest_figures(
        data.over,
        data.effects,
        data.scale,
        data.bound,
        outcome=data.outcome,
        higher_is_better=data.is_higher_better,
    )
    yield from rank_figures(data.ranks)
    yield from profile_figures(data.profiles, data.scale, data.outcome)


def render_tasks_page(data: TasksData, drawings: Sequence[RenderedFigure], folder: str) -> str:
    """Fill the template of the page, whose figures lie in ``folder``."""
    results, metadata = data.results, data.results.require_metadata()
    tables = {
        "datasets": over_table(data),
        "each": each_table(data),
        "environment": environments_table(results),
    }
    caveats = [*limit_caveats(results), *audit_caveats(results.audit)]
    texts = [describe_scope(results, data.over).text, *(caveat.text for caveat in caveats)]
    return fill_page(
        OUTLINE,
        write_first_screen(data, caveats),
        {*(name for name, table in tables.items() if table), "pages", "cautions", "study"},
        drawings,
        title=metadata.study,
        tab_title=name_page(results, metadata),
        description=metadata.description,
        metadata=metadata,
        toml=results.study_toml,
        band=format_margin(metadata.margin, "log"),
        alpha=_level(data),
        facts=count_runs(results),
        forest=build_tasks_forest(data),
        cautions=[*metadata.cautions, *texts],
        figures_folder=folder,
        pages=data.pages,
        **tables,
    )


def count_runs(results: Results) -> list[str]:
    """Count what was trained."""
    endings = Counter(results.runs["status"])
    return [
        format_count(len(results.by_task), "data set"),
        format_count(len(results.runs), "run"),
        format_count(results.runs["seed"].nunique(), "seed"),
        *(f"{endings[w]:,} {w}" for w in ("diverged", "failed", "skipped") if endings[w]),
    ]


def over_table(data: TasksData) -> Table | None:
    """Each level over data sets: verdict, effect, aggregates, and on how many it does what."""
    write = partial(format_relatives, is_log=data.scale == "log")
    _, here = Column.estimate("", ("here_low", "here_low", "here_high"), write)
    columns = [
        Column(
            "technique or setting", partial(_level_cell, metadata=data.results.require_metadata())
        ),
        Column("data sets like these", partial(_verdict_cell, is_higher=data.is_higher_better)),
        *Column.estimate(
            f"change of {data.outcome}",
            ("change", "change_low", "change_high"),
            format_fractions,
            lambda row: row["n"] > 1,
        ),
        Column("adjusted p", format_p_over, _reachable_p, "number"),
        replace(here, heading="of these data sets"),
        Column("IQM", partial(_aggregate_cell, name="iqm", write=write)),
        Column("P(better)", partial(_aggregate_cell, name="improvement", write=_write_digits)),
        Column.number("mean rank", "mean_rank", _write_rank),
    ]
    return build_table(
        "datasets", columns, data.over, outcome=data.outcome, n=len(data.results.by_task)
    )


def _aggregate_cell(row: Row, name: str, write: Callable[[Sequence[float]], list[str]]) -> Cell:
    """An aggregate over all runs, with its interval below."""
    values = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
    text, low, high = write(values)
    note = "" if any(map(pd.isna, values[1:])) else f"{low} to {high}"
    return Cell(text, values[0], "number", note, (("low", values[1]), ("high", values[2])))


def _write_digits(values: Sequence[float]) -> list[str]:
    return [two_digits(value) for value in values]


def _write_rank(rank: float) -> str:
    return NOTHING if pd.isna(rank) else f"{rank:.2f}"


def _reachable_p(row: Row) -> float:
    return float(row["p_adjusted"]) if row["reachable"] else float("nan")


def _name_interval(data: TasksData) -> str:
    """Name the intervals on single data sets."""
    return name_interval(next(iter(data.results.by_task.values())).design().confidence)


def _level_cell(row: Row, metadata: StudyMetadata) -> Cell:
    note = f"{row['sentence'][0].upper()}{row['sentence'][1:]}."
    parts = (("axis", row["axis"]), ("level", row["level"]))
    text = name_level(row["axis"], row["level"], metadata)
    return Cell(text, None, "name technique", note, parts)


def _verdict_cell(row: Row, *, is_higher: bool) -> Cell:
    style_class = "verdict up" if is_higher else "verdict"
    return Cell(row["verdict"], None, f"{style_class} {row['verdict'].replace(' ', '-')}")


def _cautious_cell(row: Row, *, is_higher: bool) -> Cell:
    """The verdict, and why it is not what the other columns suggest."""
    return replace(_verdict_cell(row, is_higher=is_higher), note=row["caution"])


def _level(data: TasksData) -> str:
    """The level of the verdicts, which looks at fewer seeds before may have lowered."""
    return f"{next(iter(data.results.by_task.values())).design().alpha:.2g}"


def each_table(data: TasksData) -> Table | None:
    """Each level on each data set."""
    rows = data.effects[data.effects["pairs"] > 0]
    write = partial(format_relatives, is_log=data.scale == "log")
    names = ("relative", "relative_low", "relative_high")
    columns: list[Column] = [
        Column.name("task"),
        Column.level(),
        Column("verdict", partial(_cautious_cell, is_higher=data.is_higher_better)),
        *Column.estimate(
            "change", names, write, lambda row: row["seeds"] > 1, _name_interval(data)
        ),
        Column("adjusted p", format_p, _reachable_p, "number"),
        Column.number("seeds", "seeds"),
    ]
    facts: dict[str, Any] = {"outcome": data.outcome, "n": len(rows), "alpha": _level(data)}
    return build_table("each", columns, rows, **facts)
