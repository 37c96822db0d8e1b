"""Figures that respond and can be read: their marks, their texts, their colours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ablations.analysis.results import Results
from ablations.report.data import ReportData, build_report_data
from ablations.report.datasets import TasksData, build_tasks_data
from ablations.report.figures.gallery import RenderedFigure, draw_figures, list_figures
from ablations.report.figures.lines import spread_out
from ablations.report.figures.panels import NARROW, WIDE, Canvas, FigureSpec
from ablations.report.style import (
    COLOURS,
    HEAT,
    ON_DARK,
    ON_LIGHT,
    PAPER,
    SEED,
    SKY,
    THEME,
    TIMED,
    VERDICT_COLOURS,
    freeze_layout,
    is_light,
    style_context,
    wrap_name,
)
from ablations.report.tasks_page import list_tasks_figures

from .studies import end_runs, make_metadata, make_results, several_tasks
from .test_figures import UNUSUAL, metadata_of

AXES: dict[str, tuple[object, ...]] = {
    "regularizer": ("none", "l1", "dropout(p=[0.5, 0.2])"),
    "norm": ("none", "layer", "batch"),
    "init": ("default", "kaiming_uniform"),
}
SVG = "{http://www.w3.org/2000/svg}"
Row = tuple[str, str, float | None, float | None, float | None]
"""Axis, level, value, low and high; None where there is no number."""


def crossed(folder: Path) -> ReportData:
    """A study in which layer norm helps without a regularizer and hurts with l1."""
    results = make_results(folder, AXES, seeds=8)
    runs = results.runs
    is_both = (runs["norm"] == "layer") & (runs["regularizer"] == "l1")
    losses = runs["val_loss"] * (1.0 + 0.8 * is_both)
    results = replace(results, runs=runs.assign(val_loss=losses))
    return build_report_data(results, make_metadata(AXES))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return crossed(tmp_path_factory.mktemp("crossed"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TasksData:
    stored, metadata = several_tasks(tmp_path_factory.mktemp("tasks"), ("a", "b", "c"))
    return build_tasks_data(Results.from_stored(stored, metadata), dict.fromkeys("abc", ""))


@pytest.fixture(scope="module")
def figures(data: ReportData, tasks: TasksData) -> dict[str, RenderedFigure]:
    specs = [*list_figures(data), *list_tasks_figures(tasks)]
    return {figure.spec.name: figure for figure in draw_figures(specs)}


def elements(svg: str, style_class: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if e.get("class") == style_class]


def row_of(element: ElementTree.Element) -> Row:
    numbers = (element.get(f"data-{name}") for name in ("value", "low", "high"))
    value, low, high = (None if text is None else float(text) for text in numbers)
    return element.get("data-axis") or "", element.get("data-level") or "", value, low, high


def rows_of(table: pd.DataFrame, *names: str) -> list[Row]:
    """Rows of an analysis, with the names of axis, level, value, low and high."""
    axis, level, value, low, high = (*names, "", "")[:5]

    def number(row: dict[str, Any], name: str) -> float | None:
        return None if name not in row or math.isnan(row[name]) else float(row[name])

    return [
        (
            str(row.get(axis, "")), str(row.get(level, "")), number(row, value), number(row, low),
            number(row, high),
        )
        for row in table.to_dict("records")
    ]  # fmt: skip


def last(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["epoch"] == table["epoch"].max()]


EFFECT = ("axis", "level", "effect", "low", "high")
CURVE = ("axis", "level", "mean", "low", "high")


def expected_rows(data: ReportData, tasks: TasksData) -> dict[str, list[Row]]:
    """What the marks of each figure say by the tables of the analysis."""
    shares = data.shares.assign(
        axis=data.shares["source"].where(data.shares["kind"] == "factor", "")
    )
    simple = data.simple[(data.simple["axis"] == "regularizer") & (data.simple["given"] == "norm")]
    configurations = data.configurations.assign(axis="configuration")
    configurations["level"] = [str(i) for i in range(len(configurations))]
    by_levels = configurations.set_index(list(data.design.factors))["level"]
    keys = pd.MultiIndex.from_frame(data.ranked[list(data.design.factors)])
    ranked = data.ranked.assign(axis="configuration", configuration=by_levels[keys].to_numpy())
    by_task = tasks.effects.dropna(subset="relative")
    forest = [
        *rows_of(by_task, "axis", "level", "relative", "relative_low", "relative_high"),
        *rows_of(tasks.over, "axis", "level", "effect", "here_low", "here_high"),
        *rows_of(tasks.over, *EFFECT),
    ]
    curves = {
        f"curves-{axis}": [
            row
            for table in tables.values()
            for row in rows_of(
                last(table).assign(axis=axis), "axis", "level", "mean", "low", "high"
            )
        ]
        for axis, tables in data.curves.items()
    }
    return curves | {
        "variance-shares": rows_of(shares, "axis", "", "eta2"),
        "simple-effects-regularizer-by-norm": rows_of(simple, *EFFECT),
        "interactions": rows_of(data.interactions, "axis_a", "level_a", "effect", "low", "high"),
        "effect-over-time": rows_of(last(data.trajectory), *EFFECT),
        "time": rows_of(configurations, *CURVE),
        "seed-spread": rows_of(data.spread, "axis", "level", "spread", "low", "high"),
        "ranking": rows_of(ranked, "axis", "configuration", "mean_rank"),
        "datasets": forest,
        "dataset-ranks": rows_of(tasks.ranks, "axis", "level", "mean_rank"),
    }


def test_the_marks_say_the_numbers_of_the_analysis(
    data: ReportData, tasks: TasksData, figures: dict[str, RenderedFigure]
) -> None:
    expected = expected_rows(data, tasks)
    on_page = {name: figure for name, figure in figures.items() if figure.spec.is_on_page}
    assert {*expected, "profiles"} == set(on_page)
    for name, rows in expected.items():
        marks = [row_of(mark) for mark in elements(on_page[name].inline, "mark")]
        assert sorted(marks, key=str) == sorted(rows, key=str), name
        narrow = [row_of(mark) for mark in elements(on_page[name].narrow, "mark")]
        assert narrow
        assert {*narrow} <= {*rows}, name


def test_each_mark_has_its_words_also_without_a_script(
    figures: dict[str, RenderedFigure],
) -> None:
    for figure in figures.values():
        for svg in filter(None, (figure.inline, figure.narrow)):
            for mark in elements(svg, "mark"):
                title = mark.find("{http://www.w3.org/2000/svg}title")
                assert title is not None
                assert title.text == mark.get("data-text")
                assert len(title.text or "") > 10


def test_lines_carry_the_points_that_are_drawn(
    data: ReportData, figures: dict[str, RenderedFigure]
) -> None:
    svg = figures["effect-over-time"].inline
    box = [float(x) for x in (ElementTree.fromstring(svg).get("viewBox") or "").split()]
    for mark in elements(svg, "mark"):
        points = json.loads(mark.get("data-series") or "")
        rows = data.trajectory[
            (data.trajectory["axis"] == mark.get("data-axis"))
            & (data.trajectory["level"] == mark.get("data-level"))
        ]
        assert len(points) == len(rows)
        assert [x for x, _, _ in points] == sorted(x for x, _, _ in points)
        assert all(0 <= x <= box[2] and 0 <= y <= box[3] for x, y, _ in points)
        assert all("%" in text for _, _, text in points)


def test_levels_are_named_where_they_can_be_hidden(figures: dict[str, RenderedFigure]) -> None:
    for name in ("curves-norm", "effect-over-time", "time", "profiles"):
        svg, prefix = figures[name].inline, "data-other-" if name == "time" else "data-"
        marks = elements(svg, "mark")
        levels = {(m.get(f"{prefix}axis"), m.get(f"{prefix}level")) for m in marks}
        entries = elements(svg, "legend-entry")
        assert {(e.get("data-axis"), e.get("data-level")) for e in entries} == levels
        assert not any(e.get("data-text") for e in entries)


def test_rings_and_names_are_hidden_with_their_points(
    data: ReportData, figures: dict[str, RenderedFigure]
) -> None:
    front = int(data.configurations["pareto"].sum())
    svg = figures["time"].inline
    points = {
        mark.get("data-level"): (mark.get("data-other-axis"), mark.get("data-other-level"))
        for mark in elements(svg, "mark")
    }
    companions = elements(svg, "mark-part")
    for each in companions:
        level = (each.get("data-other-axis"), each.get("data-other-level"))
        assert points[each.get("data-level")] == level
    names = [each for each in companions if each.find(f"{SVG}text") is not None]
    assert len(names) >= 2
    assert len(companions) == front + 2 * len(names)  # rings, names and the lines to these


def test_cells_say_both_of_their_levels(figures: dict[str, RenderedFigure]) -> None:
    marks = elements(figures["interactions"].inline, "mark")
    assert all(mark.get("data-other-axis") and mark.get("data-other-level") for mark in marks)
    assert any("beyond what both do alone" in (mark.get("data-text") or "") for mark in marks)


def test_cells_without_a_number_have_no_data(tmp_path: Path) -> None:
    results = make_results(tmp_path, AXES, seeds=4)
    runs = results.runs
    is_missing = (runs["norm"] == "batch") & (runs["regularizer"] == "l1")
    data = build_report_data(replace(results, runs=runs[~is_missing]), make_metadata(AXES))
    (spec,) = [spec for spec in list_figures(data) if spec.name == "interactions"]
    (figure,) = draw_figures([spec])
    marks = elements(figure.inline, "mark")
    finite = data.interactions["effect"].notna()
    assert len(marks) == int(finite.sum()) < 9 + 6 + 6
    inks = {float(m.get("data-value") or ""): m.get("style") for m in marks}
    lowest, highest = (inks[end] for end in (min(inks), max(inks)))
    assert lowest != highest
    for mark in marks:  # no change has the colour of no change, wherever a cell is missing
        if mark.get("data-value") == "0.0":
            assert "fill:var(--fig-heat-g)" in (mark.get("style") or "")


def contrast(first: str, second: str) -> float:
    """WCAG's contrast of two colours."""
    values = []
    for colour in (first, second):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        values.append(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(values) + 0.05) / (min(values) + 0.05)


def test_marks_and_the_texts_on_them_can_be_seen_in_both_modes() -> None:
    dark_paper = THEME[PAPER.lower()][1]
    for colour in (*COLOURS, *VERDICT_COLOURS.values(), SEED, SKY, TIMED):
        assert contrast(colour, PAPER) >= 3, colour
        assert contrast(THEME[colour.lower()][1], dark_paper) >= 3, colour
    for colour in COLOURS:  # names stand in these
        assert contrast(colour, PAPER) >= 4.5
        assert contrast(THEME[colour.lower()][1], dark_paper) >= 4.5
    for colour in HEAT:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        ink = ON_LIGHT if is_light((red, green, blue, 1.0)) else ON_DARK
        assert contrast(ink, colour) >= 4.5, colour
        assert contrast(THEME[ink][1], THEME[colour][1]) >= 4.5, colour


def shown_texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that a figure shows, and its box in dots."""
    canvas: Any = FigureCanvasAgg(figure)
    with style_context():
        canvas.draw()  # places the labels, with letters as wide as they are drawn
    hidden = {id(text) for panel in figure.axes for text in hidden_texts(panel)}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    shown = [
        text
        for text in texts
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]
    renderer = canvas.get_renderer()  # of an annotation its text alone, without its line
    with style_context():
        return [(text, Text.get_window_extent(text, renderer)) for text in shown]


def hidden_texts(panel: Axes) -> Iterator[Artist]:
    """Texts that a panel has and does not draw: labels of ticks out of view above all."""
    if not panel.get_visible():
        yield from panel.findobj(Text)
        return
    for axis in (panel.xaxis, panel.yaxis):
        low, high = sorted(axis.get_view_interval())
        room, ticks = 1e-9 * (high - low), axis.get_major_ticks()
        for tick in (*axis.majorTicks, *axis.minorTicks):
            is_in_view = low - room <= tick.get_loc() <= high + room
            if not (panel.axison and tick in ticks and is_in_view):
                yield from (tick.label1, tick.label2)


def faults(specs: Iterable[FigureSpec], canvas: Canvas) -> list[str]:
    """Texts over texts, texts outside of their figure, and names broken inside a word."""
    problems = []
    for spec in specs:
        if canvas.is_narrow and not spec.is_on_page:
            continue
        figure = freeze_layout(spec.draw(canvas=canvas))
        texts = shown_texts(figure)
        for (a, box), (b, other) in combinations(texts, 2):
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            if a.get_rotation() and a.get_rotation() == b.get_rotation():
                distance = abs(box.x1 - other.x1) * math.sin(math.radians(a.get_rotation()))
                width = a.get_fontsize() - distance
            if width > 1 and height > 1.5:
                names = f"{a.get_text()!r} and {b.get_text()!r}"
                problems.append(f"{spec.name}: {names} by {width:.0f} x {height:.0f}")
        inside = figure.bbox.padded(3)
        problems += [
            f"{spec.name}: {text.get_text()!r} reaches outside"
            for text, box in texts
            if not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
        ]
    return problems


@pytest.mark.parametrize("canvas", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_text_covers_another(data: ReportData, tasks: TasksData, canvas: Canvas) -> None:
    assert faults([*list_figures(data), *list_tasks_figures(tasks)], canvas) == []


@pytest.mark.slow
@pytest.mark.parametrize("canvas", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", UNUSUAL)
def test_no_text_covers_another_in_an_unusual_study(
    name: str, canvas: Canvas, tmp_path: Path
) -> None:
    data = build_report_data(UNUSUAL[name](tmp_path), metadata_of(name))
    assert faults(list_figures(data), canvas) == []


@given(
    places=st.lists(st.floats(0, 2), min_size=1, max_size=12),
    size=st.floats(0.05, 0.15),
)
def test_names_at_the_ends_of_lines_are_moved_apart(places: list[float], size: float) -> None:
    moved = spread_out(places, [size] * len(places), 2.0)
    ordered = sorted(moved)
    assert all(b - a >= size - 1e-9 for a, b in pairwise(ordered))
    assert ordered[0] >= size / 2 - 1e-9
    assert ordered[-1] <= 2.0 - size / 2 + 1e-9
    ranks = sorted(range(len(places)), key=lambda i: (places[i], i))
    assert [moved[i] for i in ranks] == ordered


def test_names_that_have_room_stay_where_they_are() -> None:
    assert spread_out([0.5, 1.0, 1.5], [0.2] * 3, 2.0) == pytest.approx([0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("kaiming_uniform", ["kaiming_", "uniform"]),
        ("dropout (p 0.5)", ["dropout", "(p 0.5)"]),
        ("indivisible", ["indivisible"]),
    ],
)
def test_names_break_between_words_only(name: str, lines: list[str]) -> None:
    assert wrap_name(name, 10).split("\n") == lines


def test_a_cell_without_an_effect_shifts_no_other_cell(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {
        "norm": ("none", "layer", "batch"),
        "init": ("default", "small", "large"),
    }
    results = make_results(tmp_path, axes, seeds=6)
    runs = results.runs
    is_both = (runs["norm"] == "layer") & (runs["init"] == "large")
    results = replace(results, runs=runs.assign(val_loss=runs["val_loss"] * (1.0 + is_both)))
    is_missing = (runs["norm"] == "batch") & (runs["init"] == "small")
    data = build_report_data(
        end_runs(results, is_missing, "diverged", "not finite"), make_metadata(axes)
    )
    specs = [spec for spec in list_figures(data) if spec.name == "interactions"]
    (figure,) = draw_figures(specs)
    table = data.interactions.dropna(subset="effect")
    cells = re.findall(r"<path[^>]*data-value=\"([^\"]+)\"", figure.inline)
    values = [float(value) for value in cells]
    assert set(table["effect"]) <= set(values)
    fills = re.findall(r"<path[^>]*data-value=[^>]*fill: none", figure.inline)
    assert fills == []
