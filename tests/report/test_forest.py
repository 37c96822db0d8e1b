"""The forest plot-table: its numbers, its order, its scale, and what it is in characters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from rich.cells import cell_len

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED
from ablations.report.data import ReportData, build_report_data
from ablations.report.forest import MOST_LINES, Forest, build_forest
from ablations.report.forest_scale import Scale, Writer, choose_scale
from ablations.report.forest_text import draw_chart, outline_effects
from ablations.report.formatting import OVER_LOOKS
from ablations.report.strengths import name_level, row_id
from ablations.report.summary import summarise
from ablations.report.texts import load_templates
from ablations.results.answer import Chart
from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

from .studies import SMALL, end_runs, make_metadata, make_results, metadata_by, with_metrics

STRENGTHS = {"regularizer": {"l1": "l1 (weight 0.01)", "dropout(p=[0.5, 0.2])": "dropout (p 0.5)"}}


class Marks(HTMLParser):
    """The attributes of all marks."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.marks: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if "mark" in (attributes.get("class") or "").split():
            self.marks.append(attributes)
        if tag == "tr" and attributes.get("id"):
            self.ids.append(str(attributes["id"]))


def render(forest: Forest) -> str:
    template = load_templates().get_template("forest.html.j2")
    return str(template.module.forest(forest))  # type: ignore[attr-defined]


def build(results: StoredResults, metadata: StudyMetadata) -> tuple[ReportData, Forest]:
    data = build_report_data(results, metadata)
    forest = build_forest(data)
    assert forest is not None
    return data, forest


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportData, Forest]:
    folder = tmp_path_factory.mktemp("metrics")
    return build(with_metrics(folder), metadata_by("val_loss", strengths=STRENGTHS))


def scale_of(effects: Sequence[float], bound: float = 0.02, *, is_log: bool = True) -> Scale:
    rows = [{"effect": x, "low": x - 0.01, "high": x + 0.01} for x in effects]
    return choose_scale(rows, bound, is_log=is_log)


def test_marks_hold_the_numbers_of_the_tables(metrics: tuple[ReportData, Forest]) -> None:
    data, forest = metrics
    marks = Marks(render(forest)).marks
    assert len(marks) == 2 * len(data.effects)
    tables = {"outcome": data.effects, "second": data.by_outcome[data.second]}
    for mark in marks:
        table = tables[mark["data-measure"]].set_index(["axis", "level"])
        row = table.loc[(mark["data-axis"], mark["data-level"])]
        is_log = not math.isnan(row["change"])
        names = ("change", "change_low", "change_high") if is_log else ("effect", "low", "high")
        ends = tuple(float(mark[f"data-{name}"]) for name in ("value", "low", "high"))
        assert ends == tuple(row[list(names)])
        assert row["verdict"] in mark["data-text"]


def test_every_level_has_a_row_that_links_can_name(metrics: tuple[ReportData, Forest]) -> None:
    data, forest = metrics
    ids = Marks(render(forest)).ids
    levels = data.effects[["axis", "level"]].itertuples(index=False)
    assert sorted(ids) == sorted(row_id(*level) for level in levels)
    assert row_id("lr", "-1") != row_id("lr", "1")


def test_rows_are_sorted_best_first(metrics: tuple[ReportData, Forest], tmp_path: Path) -> None:
    _, forest = metrics
    _, reverse = build(with_metrics(tmp_path), metadata_by("f1_macro"))
    for by, sign in ((forest, 1), (reverse, -1)):
        for group in by.groups:
            values = [sign * row.strips["outcome"].value for row in group.rows]
            assert values == sorted(values)
    assert [measure.is_higher_better for measure in forest.measures] == [False, True]


def test_levels_are_shown_with_their_strength(metrics: tuple[ReportData, Forest]) -> None:
    _, forest = metrics
    names = {row.name for row in forest.rows}
    assert names == {"l1 (weight 0.01)", "dropout (p 0.5)", "layer norm"}
    metadata = make_metadata(strengths=STRENGTHS)
    assert name_level("regularizer", "l1", metadata) == "l1 (weight 0.01)"
    assert name_level("regularizer", "l1", make_metadata()) == "l1"
    assert name_level("lr", "0.01") == "learning rate 0.01"
    assert name_level("batch_size", "full") == "batch size full"
    assert name_level("init", "xavier_uniform") == "xavier uniform init"
    assert name_level("regularizer", "dropout(p=0.9)") == "dropout (p 0.9)"


def test_outliers_do_not_flatten_the_rest() -> None:
    scale = scale_of([-0.05, -0.02, 0.01, 0.08, math.log(144)])
    assert scale.high < 0.2
    assert scale.side(math.log(144)) == "right"
    assert scale.side(0.08) == ""
    assert scale.place(math.log(144)) == 100
    # Effects without a gap between them are no outliers.
    assert scale_of([0.05, 0.2, 0.6, 1.5, 3.0]).side(3.0) == ""
    assert scale_of([0.004, 0.1]).side(0.1) == ""


@pytest.mark.parametrize("is_log", [True, False])
def test_ticks_are_round_apart_and_have_no_change_among_them(*, is_log: bool) -> None:
    random = np.random.default_rng(0)
    for size in (1e-3, 0.02, 0.1, 0.5, 2.0, 8.0):
        for _ in range(20):
            scale = scale_of((size * random.normal(size=5)).tolist(), is_log=is_log)
            places = [tick.at for tick in scale.ticks]
            assert scale.zero in places
            assert len(places) <= 7
            assert all(b - a >= 15.9 for a, b in pairwise(places))
            assert all(min(map(count_digits, tick.text.texts)) <= 2 for tick in scale.ticks)


def count_digits(text: str) -> int:
    digits = "".join(character for character in text if character.isdigit())
    return len(digits.strip("0"))


def test_a_column_has_one_precision_and_one_unit() -> None:
    writer = Writer.from_margin(0.02, [0.1], is_log=True)
    assert [writer.write(x).percent for x in (0.05, -0.123456, 0.0, 12.0)] == [
        "+5.0\u202f%", "−12.3\u202f%", "0.0\u202f%", "+1,200.0\u202f%",
    ]  # fmt: skip
    assert [writer.write(x).ratio for x in (0.05, -0.5, 143)] == ["×1.05", "×0.50", "×144.00"]
    assert writer.write_interval(-0.5, 0.5).ratio == "×0.50 to ×1.50"
    difference = Writer.from_margin(0.01, [0.2], is_log=False)
    assert difference.write(0.1234).percent == difference.write(0.1234).ratio == "+0.123"
    assert difference.write(math.nan).percent == "–"


def test_ten_fold_changes_make_a_table_of_ratios(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    factor = np.where(results.runs["norm"] == "layer", 144, 1)
    runs = results.runs.assign(val_loss=results.runs["val_loss"] * factor)
    _, forest = build(replace(results, runs=runs), make_metadata())
    assert forest.unit == "ratio"
    row = next(row for row in forest.rows if row.level == "layer")
    assert row.strips["outcome"].change.ratio.startswith("×1")


def test_many_levels_show_the_decided_first(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", *(f"norm{i}" for i in range(30)))}
    results = make_results(tmp_path, axes, seeds=6)
    effects = {f"norm{i}": 0.3 if i < 4 else 0.0 for i in range(30)}
    shift = np.exp(results.runs["norm"].map(effects).fillna(0).to_numpy(dtype=float))
    runs = results.runs.assign(val_loss=results.runs["val_loss"] * shift)
    _, forest = build(replace(results, runs=runs), make_metadata(axes))
    (first,) = forest.groups
    assert len(first.rows) + 1 <= MOST_LINES
    assert len(first.rows) + len(first.folded) == 30
    assert {f"norm{i}" for i in range(4)} <= {row.level for row in first.rows}
    assert not {row.verdict for row in first.folded} & {HELPS, HURTS}
    assert first.fold.startswith(f"{len(first.folded)} more: ")
    assert len(Marks(render(forest)).ids) == 30


def test_a_level_that_always_diverged_says_so(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    diverged = end_runs(results, results.runs["regularizer"] == "l1", "diverged", "not finite")
    _, forest = build(diverged, make_metadata())
    row = next(row for row in forest.rows if row.level == "l1")
    assert (row.verdict, row.strips, row.missing) == (HURTS, {}, "diverged in 16 of 16 runs")
    assert "diverged in 16 of 16 runs" in render(forest)


def notes(forest: Forest, level: str) -> Mapping[str, str]:
    row = next(row for row in forest.rows if row.level == level)
    return {note.term: note.text.percent for note in row.notes}


def test_an_open_row_says_what_its_verdict_rests_on(metrics: tuple[ReportData, Forest]) -> None:
    _, forest = metrics
    facts = notes(forest, "layer")
    assert facts["compared"] == "24 pairs of runs in 8 seeds"
    assert facts["what it is"] == "What layer is (Author, 2014)."
    assert f"validation loss: {OVER_LOOKS}" in facts
    assert f"f1_macro: {OVER_LOOKS}" in facts
    assert "robust estimate" in facts
    assert float(facts["adjusted p"].strip("< ")) < 0.05


def test_an_average_over_different_effects_shows_them(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    runs = results.runs
    both = (runs["norm"] == "layer") & (runs["regularizer"] == "l1")
    results = replace(results, runs=runs.assign(val_loss=runs["val_loss"] * np.where(both, 2, 1)))
    data, forest = build(results, make_metadata())
    row = next(row for row in forest.rows if row.level == "l1")
    assert row.moderators == "norm"
    note = next(note for note in row.notes if note.term == "depends on the norm")
    assert [level for level, _ in note.lines] == ["no norm", "layer norm"]
    strip = row.strips["outcome"]
    simple = data.simple[(data.simple["level"] == "l1") & (data.simple["given"] == "norm")]
    scale = forest.measures[0].scale
    assert strip.conditions == tuple(scale.place(effect) for effect in simple["effect"])
    assert 'class="spread"' in render(forest)


def test_a_level_that_helps_here_and_hurts_there_is_neither(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    runs = results.runs
    is_l1, is_layer = runs["regularizer"] == "l1", runs["norm"] == "layer"
    factor = np.where(is_l1 & is_layer, 0.5, np.where(is_l1, 2.5, 1))
    results = replace(results, runs=runs.assign(val_loss=runs["val_loss"] * factor))
    data, forest = build(results, make_metadata())
    row = next(row for row in forest.rows if row.level == "l1")
    assert (row.sign, row.reversed_by) == ("mixed", "norm")
    assert row.judgement.startswith("helps or hurts, depending on the norm")
    assert forest.has_reversals
    assert "helps or hurts, depending on another setting" in render(forest)
    chart = summarise(data.ablation, data.metadata).chart
    assert chart is not None
    lines = [line.plain for line in draw_chart(chart, 80)]
    assert any(line.startswith("± l1 ") for line in lines)
    assert any(line.endswith("± helps or hurts, depending on another setting") for line in lines)


def chart_of(data: ReportData) -> Chart:
    return outline_effects(data.effects, data.design, data.metadata)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_no_line_in_characters_is_too_long_or_breaks_a_number(
    metrics: tuple[ReportData, Forest], width: int
) -> None:
    chart = chart_of(metrics[0])
    lines = [line.plain for line in draw_chart(chart, width)]
    assert max(map(cell_len, lines)) <= width
    for row in chart.rows:
        line = next(line for line in lines if f" {row.name} " in line)
        assert row.change in line
        assert row.interval in line
        assert line.rstrip().endswith(row.p)
        assert any(dot in line for dot in "●■◆○")
    ends = {cell_len(line) for line in lines if " to " in line}
    assert len(ends) == 1


def test_an_answer_remembers_its_chart(metrics: tuple[ReportData, Forest]) -> None:
    chart = chart_of(metrics[0])
    load = TypeAdapter(Chart).validate_python
    content = json.loads(json.dumps(asdict(chart)))
    assert load(content) == chart
    for ticks in ([[1]], "ab", [[0.5, 3]], None):
        with pytest.raises(ValidationError):
            load({**content, "ticks": ticks})


def test_glyphs_stand_for_verdicts(metrics: tuple[ReportData, Forest]) -> None:
    glyphs = {HELPS: "✓", HURTS: "✗", EQUAL: "=", UNDECIDED: "?"}
    chart = chart_of(metrics[0])
    lines = [line.plain for line in draw_chart(chart, 80)]
    for row in chart.rows:
        assert any(line.startswith(f"{glyphs[row.verdict]} {row.name}") for line in lines)


def test_a_long_name_goes_on_below(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", "a long name of many words " * 3)}
    data = build_report_data(make_results(tmp_path, axes), make_metadata(axes))
    lines = [line.plain for line in draw_chart(chart_of(data), 80)]
    assert max(map(cell_len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("many words") == 3


def test_an_axis_of_small_studies_is_a_forest_too(tmp_path: Path) -> None:
    for seeds in (1, 2):
        _, forest = build(make_results(tmp_path, SMALL, seeds=seeds), make_metadata())
        assert {row.verdict for row in forest.rows} == {UNDECIDED}
        assert all(row.strips["outcome"].has_interval == (seeds > 1) for row in forest.rows)
