"""The figures of a report, on the page and beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ablations.report.data import build_report_data
from ablations.report.figures.gallery import draw_figures, list_figures
from ablations.report.page import render_page
from ablations.report.renderers import text_measurements
from ablations.report.style import THEME, freeze_layout, theme_declarations, to_png, to_svg
from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

from .pages import Page
from .studies import SMALL, end_runs, make_metadata, make_results

FIGURES = (
    *("curves-norm", "curves-regularizer", "effect-over-time", "interactions", "main-effects"),
    *("ranking", "seed-spread", "time", "variance-shares"),
)
ON_PAGE = [name for name in FIGURES if name != "main-effects"]
"""The first screen says what the main effects are, and better; the file is for papers."""


def test_every_figure_is_in_the_page_and_beside_it(usual: tuple[StoredResults, Page]) -> None:
    results, page = usual
    folder = results.folder / "figures"
    assert sorted(path.stem for path in folder.glob("*.svg")) == sorted(FIGURES)
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(FIGURES)
    pictures = [a for _, a in page.tags if (a.get("class") or "").startswith("picture ")]
    assert len(pictures) == 2 * len(page.attributes("figure")) == 2 * len(ON_PAGE)
    assert all(len(p["aria-label"] or "") > 40 for p in pictures)
    assert not page.attributes("img")


def test_a_figure_of_too_many_marks_is_a_picture_of_dots(
    usual: tuple[StoredResults, Page],
) -> None:
    results, _ = usual
    data = build_report_data(results, make_metadata())
    specs = {spec.name: spec for spec in list_figures(data)}
    figures = [*draw_figures([specs["interactions"]]), *draw_figures([specs["time"]], 1_000)]
    page = Page(render_page(data, figures))
    (picture,) = page.attributes("img")
    content = base64.b64decode((picture["src"] or "").partition("base64,")[2])
    assert content == (results.folder / "figures" / "time.png").read_bytes()
    assert len(picture["alt"] or "") > 40
    assert len(page.attributes("figure")) == 2


def test_a_figure_in_the_page_takes_its_colours(usual: tuple[StoredResults, Page]) -> None:
    results, page = usual
    light, dark = theme_declarations()
    assert light in page.source
    assert dark in page.source
    names = {name for name, _ in THEME.values()}
    assert {f"--{name}" for name in names} <= set(re.findall(r"--fig-[a-z-]+", light))
    inside = page.source[page.source.index("<figure") : page.source.rindex("</figure>")]
    assert set(re.findall(r"var\(--(fig-[a-z-]+)\)", inside)) <= names
    assert "#22262b" not in inside
    assert "#22262b" in (results.folder / "figures" / "main-effects.svg").read_text()


def test_drawing_leaves_the_users_settings_alone(
    settings: dict[Any, Any], usual: tuple[StoredResults, Page]
) -> None:
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == []


def _diverged(folder: Path) -> StoredResults:
    results = make_results(folder)
    selection = (results.runs["regularizer"] == "l1") & (results.runs["norm"] == "none")
    return end_runs(results, selection, "diverged", "not finite")


def _with_losses(folder: Path, losses: Callable[[pd.DataFrame], object]) -> StoredResults:
    results = make_results(folder)
    return replace(results, runs=results.runs.assign(val_loss=losses(results.runs)))


MANY = {f"axis{i}": tuple(f"level{j}" for j in range(11)) for i in range(2)}
UNUSUAL: dict[str, Callable[[Path], StoredResults]] = {
    "one seed": lambda folder: make_results(folder, seeds=1),
    "one run": lambda folder: make_results(folder, {"norm": ("none",)}, seeds=1, epochs=1),
    "some diverged": _diverged,
    "nothing changed": lambda folder: _with_losses(folder, lambda runs: runs["seed"] + 1.0),
    "one loss": lambda folder: _with_losses(folder, lambda runs: 0.7),
    "negative losses": lambda folder: _with_losses(folder, lambda runs: runs["val_loss"] - 0.1),
    "no curves": lambda folder: replace(
        make_results(folder), curves=make_results(folder).curves.iloc[:0]
    ),
    "many levels": lambda folder: make_results(folder, MANY, seeds=2, epochs=2),
}


def metadata_of(name: str) -> StudyMetadata:
    """The metadata of an unusual study."""
    return make_metadata(MANY if name == "many levels" else SMALL)


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_figures_of_an_unusual_study_can_be_drawn(name: str, tmp_path: Path) -> None:
    data = build_report_data(UNUSUAL[name](tmp_path), metadata_of(name))
    for spec in list_figures(data):
        assert to_svg(freeze_layout(spec.draw())).endswith("</svg>\n"), spec.name


def test_a_figure_that_was_laid_out_is_drawn_without_measuring_its_texts_again(
    tmp_path: Path,
) -> None:
    specs = list(list_figures(build_report_data(make_results(tmp_path, SMALL), metadata_of(""))))
    figure = freeze_layout(specs[0].draw())
    measurements = text_measurements()
    png, svg = to_png(figure), to_svg(figure)
    assert png.startswith(b"\x89PNG")
    assert svg.endswith("</svg>\n")
    assert 0 < measurements == text_measurements()
