"""The forest plot-table in a browser: rows, what opens in them, and how a narrow page shows it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ablations.report.data import build_report_data
from ablations.report.page import render_page

from .browsers import IN_BROWSER, Opened
from .studies import NOTEBOOK, make_metadata, make_results

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    data = build_report_data(make_results(folder, NOTEBOOK, seeds=6), make_metadata(NOTEBOOK))
    page = folder / "report.html"
    page.write_text(render_page(data, ()), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", *(f"norm{i}" for i in range(30)))}
    data = build_report_data(make_results(folder, axes, seeds=20), make_metadata(axes))
    page = folder / "report.html"
    page.write_text(render_page(data, ()), encoding="utf-8")
    return page


def heights(page: Any) -> set[int]:
    rows = "[...document.querySelectorAll('.forest tr.level')].filter(row => row.offsetHeight)"
    return set(page.evaluate(f"{rows}.map(row => Math.round(row.getBoundingClientRect().height))"))


def test_a_level_is_a_row_of_24_pixels_on_the_first_screen(
    browser: Any, notebook: Path, many: Path
) -> None:
    for path in (notebook, many):
        with Opened(browser, path, width=1440) as page:
            assert heights(page) == {24}
            box = page.locator("#forest table").bounding_box()
            assert box["y"] + box["height"] < 900


def test_a_row_opens_by_keyboard_without_a_script(browser: Any, notebook: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(notebook.as_uri())
    row = page.locator('tr.level[data-level="layer"]')
    more = page.locator('tr.level[data-level="layer"] + tr.more')
    assert more.is_hidden()
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    assert more.is_visible()
    assert "36 pairs" not in more.inner_text()
    assert "compared" in more.inner_text()
    page.keyboard.press("Enter")
    assert more.is_hidden()
    context.close()


def test_a_link_to_a_level_opens_its_row(browser: Any, notebook: Path) -> None:
    with Opened(browser, notebook, fragment="row-norm-layer") as page:
        assert page.locator('tr.level[data-level="layer"] + tr.more').is_visible()


def test_levels_that_are_folded_open_by_keyboard(browser: Any, many: Path) -> None:
    with Opened(browser, many, width=1440) as page:
        folded = page.locator("tbody.folded tr.level")
        assert folded.count() > 3
        assert folded.first.is_hidden()
        page.locator("tr.rest summary").focus()
        page.keyboard.press("Enter")
        assert folded.first.is_visible()


def test_units_and_measures_are_shown_one_at_a_time(browser: Any, notebook: Path) -> None:
    with Opened(browser, notebook) as page:
        row = page.locator('tr.level[data-level="layer"]')
        shown = "\N{PERCENT SIGN}"
        assert shown in row.locator("td.change:visible").first.inner_text()
        page.evaluate("document.documentElement.dataset.unit = 'ratio'")
        assert row.locator("td.change:visible").first.inner_text().startswith("×")
        assert row.locator("svg.strip:visible").count() == 1
        page.evaluate("document.documentElement.dataset.measure = 'second'")
        assert row.locator("svg.strip.by-second:visible").count() == 1
        assert row.locator("svg.strip.by-outcome:visible").count() == 0


def test_a_narrow_page_draws_a_strip_below_each_name(browser: Any, notebook: Path) -> None:
    with Opened(browser, notebook, width=390) as page:
        for row in page.locator("tr.level").all():
            name = row.locator("summary").bounding_box()
            strip = row.locator("svg.strip:visible").bounding_box()
            assert strip["y"] >= name["y"] + name["height"] - 1
            assert strip["width"] > 300
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_verdicts_and_ticks_stand_in_line(browser: Any, notebook: Path) -> None:
    for width in (1440, 390):
        with Opened(browser, notebook, width=width) as page:
            icons = "[...document.querySelectorAll('.forest td.verdict svg')]"
            visible = f"{icons}.map(icon => icon.getBoundingClientRect()).filter(box => box.width)"
            (x,) = page.evaluate(f"[...new Set({visible}.map(box => box.x))]")
            for row in page.locator(".forest tr.level summary").all():  # and not on a name
                box = row.bounding_box()
                assert not box["x"] - 13 < x < box["x"] + box["width"], width
            middles = (
                "[...document.querySelectorAll('.forest svg.scale text:not(.side)')]"
                ".filter(text => text.getClientRects().length).map(text => {"
                "const box = text.getBoundingClientRect(), line = text.previousElementSibling;"
                "return box.x + box.width / 2 - line.getBoundingClientRect().x})"
            )
            shifts = page.evaluate(middles)
            assert len(shifts) > 2
            assert max(map(abs, shifts)) < 1, width


@pytest.mark.parametrize("width", [1440, 1303])
def test_the_band_has_no_seam(width: int, browser: Any, notebook: Path) -> None:
    with Opened(browser, notebook, width=width) as page:
        bands = (
            "[...document.querySelectorAll('.forest .strip .band')]"
            ".filter(band => band.getClientRects().length && band.getBoundingClientRect().height)"
            ".map(band => band.getBoundingClientRect()).map(box => [box.top, box.bottom])"
        )
        ends = page.evaluate(bands)
        assert len(ends) > 10
        assert all(b[0] <= a[1] - 0.5 for a, b in pairwise(ends))


def test_names_break_only_between_words(browser: Any, notebook: Path) -> None:
    for width in (1440, 1024, 390):
        with Opened(browser, notebook, width=width) as page:
            broken = page.evaluate(
                "[...document.querySelectorAll('.forest summary b')]"
                ".filter(name => !/[ _]/.test(name.textContent))"
                ".filter(name => new Set([...name.getClientRects()].map(box => box.top)).size > 1)"
                ".map(name => name.textContent)"
            )
            assert broken == [], width
