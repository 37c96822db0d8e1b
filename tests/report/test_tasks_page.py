"""The page of a study of several data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.analysis.results import Results
from ablations.report.datasets import build_tasks_data, summarise_datasets
from ablations.report.headline import FirstScreen, Sentence
from ablations.report.sections import Outline, Place, fill_page, name_page
from ablations.report.tasks_page import list_tasks_figures, render_tasks_page
from ablations.report.tasks_screen import build_tasks_forest

from .pages import Page
from .studies import several_tasks


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results.from_stored(*several_tasks(tmp_path_factory.mktemp("six")))


@pytest.fixture(scope="module")
def page(results: Results) -> Page:
    data = build_tasks_data(results, {name: f"report-of-{name}.html" for name in results.by_task})
    return Page(render_tasks_page(data, (), "figures"))


def test_the_first_screen_says_what_holds_on_others_and_on_how_many_of_these(page: Page) -> None:
    head = " ".join(page.words.split("A page for each data set")[0].split())
    assert "Use l1: on data sets like these it cuts the validation loss by 4.7" in head
    assert "L1: validation loss \N{MINUS SIGN}4.7" in head
    assert "over 6 data sets; one by one it helps on 1 of 6 and is undecided on 5." in head
    assert "over 6 data sets; one by one it hurts on 6 of 6." in head
    scope = "only more data sets tell more about data sets like these"
    assert scope in " ".join(page.words.split("Cautions")[-1].split())


def test_tables_hold_the_numbers_of_the_answers(page: Page, results: Results) -> None:
    over = results.datasets()
    rows = page.rows("datasets")
    assert [row["data sets like these"].text for row in rows] == list(over["verdict"])
    changes = [row["change of validation loss"].value for row in rows]
    assert changes == pytest.approx(over["change"].tolist())
    assert [row["mean rank"].value for row in rows] == pytest.approx(over["mean_rank"].tolist())
    assert len(page.rows("each")) == 6 * 3


def test_no_loss_is_averaged_over_data_sets_and_each_has_a_page(page: Page) -> None:
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert {f"report-of-{name}.html" for name in "abcdef"} <= set(links)
    for section in ("Ranking", "Best configurations", "Loss curves", "Explorer"):
        assert section not in page.words


def test_each_page_of_a_study_has_a_title_of_its_own_and_links_back(results: Results) -> None:
    titles = set()
    screen = FirstScreen(Sentence("Nothing.", ""), ())
    for name, each in results.by_task.items():
        place = Place(name, "report.html")
        tab_title = name_page(each, each.require_metadata(), place)
        html = fill_page(
            Outline((), {}), screen, [], title="s", tab_title=tab_title, place=place, facts=()
        )
        assert '<a href="report.html">All data sets of s</a>' in html
        titles.add(html.split("<title>")[1].split("</title>")[0])
    assert len(titles) == len(results.by_task)
    folder = replace(results, folder=results.folder / "elsewhere")
    names = [name_page(each, results.require_metadata()) for each in (results, folder)]
    assert names[0] != names[1]


def test_the_forest_has_a_dot_for_each_data_set(results: Results) -> None:
    data = build_tasks_data(results, {})
    forest = build_tasks_forest(data)
    assert forest is not None
    over = data.over.set_index(["axis", "level"])
    each = data.effects.set_index(["axis", "level"])
    for row in forest.rows:
        strip, effect = row.strips["outcome"], over.loc[(row.axis, row.level)]
        assert strip.value == pytest.approx(effect["change"])
        assert (strip.low, strip.high) == pytest.approx(
            (effect["change_low"], effect["change_high"])
        )
        changes = np.expm1(each.loc[(row.axis, row.level), "relative"])
        assert [point.value for point in strip.points] == pytest.approx(changes.tolist())
    assert forest.band_text == "within \N{PLUS-MINUS SIGN}2\N{NARROW NO-BREAK SPACE}%"


def test_figures_are_drawn(results: Results) -> None:
    data = build_tasks_data(results, {})
    figures = {spec.name: spec for spec in list_tasks_figures(data)}
    assert list(figures) == ["datasets", "dataset-ranks", "profiles"]
    assert "layer norm hurts on 6 of 6 data sets" in figures["datasets"].alt
    panels = [ax for ax in figures["datasets"].draw().axes if ax.get_visible()]
    assert len(panels) == 3


def test_few_data_sets_are_said_to_be_too_few(tmp_path: Path) -> None:
    results = Results.from_stored(*several_tasks(tmp_path, ("a", "b")))
    answer = summarise_datasets(results)
    few = "2 data sets are too few to tell what holds on others: at least 6 are needed."
    assert answer.sentences[-1] == few
    assert {row[3] for row in answer.rows} == {"not enough evidence"}
    assert {row[6] for row in answer.rows} == {"out of reach"}


def test_the_caption_of_the_forest_claims_nothing_of_other_data_sets(results: Results) -> None:
    forest = build_tasks_forest(build_tasks_data(results, {}))
    assert forest is not None
    scope = "with each technique against its control, averaged over 6 data sets"
    assert forest.scope == scope
