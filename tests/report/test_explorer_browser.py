"""The explorer in a real browser: by mouse, by keyboard, and its numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations import analysis
from ablations.analysis.scope import MeanEffects
from ablations.core.splits import split_seed
from ablations.report.data import build_report_data
from ablations.report.page import render_page
from ablations.report.strengths import name_level, name_within
from ablations.results.metadata import Judging, StudyMetadata
from ablations.results.store import StoredResults

from .browsers import IN_BROWSER, Opened, list_violations
from .layouts import find_overlaps
from .studies import SMALL, end_runs, make_metadata, make_results

pytestmark = IN_BROWSER

LEVELS: dict[str, tuple[object, ...]] = {
    f"axis{i}": tuple(f"level{j}" for j in range(6)) for i in range(4)
}


def usual(folder: Path) -> tuple[StoredResults, StudyMetadata]:
    return make_results(folder), make_metadata()


def many(folder: Path) -> tuple[StoredResults, StudyMetadata]:
    return make_results(folder, LEVELS, seeds=3, epochs=3), make_metadata(LEVELS)


def splits(folder: Path) -> tuple[StoredResults, StudyMetadata]:
    results = make_results(folder, seeds=14)
    results.runs["split"] = results.runs["seed"].map(split_seed)
    judging = Judging(20, 0.25, is_fixed=False, is_likelihood=True, classification=False)
    return results, make_metadata(judging=judging)


def uneven(folder: Path) -> tuple[StoredResults, StudyMetadata]:
    results = make_results(folder)
    hit = (results.runs["norm"] == "layer") & (results.runs["seed"] < 3)
    return end_runs(results, hit, "diverged", "not finite"), make_metadata()


STUDIES = {function.__name__: function for function in (usual, many, splits, uneven)}


class Shelf:
    """Pages without figures, each rendered once, with the data that they show."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: dict[str, Any] = {}

    def path(self, name: str) -> Path:
        page = self.folder / f"{name}.html"
        if name not in self.data:
            self.data[name] = build_report_data(*STUDIES[name](self.folder))
            page.write_text(render_page(self.data[name], []), encoding="utf-8")
        return page


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="module")
def show(browser: Any, shelf: Shelf) -> Callable[..., Opened]:
    def open_page(name: str, **options: Any) -> Opened:
        return Opened(browser, shelf.path(name), **options)

    return open_page


Show = Callable[..., Opened]
HIDE_OTHERS = """() => {
    const explorer = document.getElementById("explorer-all");
    for (const node of document.querySelectorAll("body *"))
        if (!node.contains(explorer) && !explorer.contains(node)) node.style.visibility = "hidden";
}"""
ROWS = "#explorer-rows tr[data-configuration]"


def rows(page: Any) -> list[tuple[str, ...]]:
    """The levels of the rows that the table shows."""
    return [tuple(row.locator("td.level").all_inner_texts()) for row in page.locator(ROWS).all()]


def count(page: Any) -> str:
    return str(page.locator("#explorer-count").inner_text())


def option(page: Any, level: str) -> Any:
    return page.locator("[role=option]").filter(has_text=re.compile(f"^{re.escape(level)}$"))


def middle(box: dict[str, float]) -> tuple[float, float]:
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def test_levels_are_chosen_by_mouse_and_brushes_combine(show: Show) -> None:
    with show("many") as page:
        assert count(page) == "1,296 of 1,296 configurations"
        first, second = (page.locator("[role=listbox]").nth(i) for i in range(2))
        first.scroll_into_view_if_needed()
        first.locator("[role=option]").nth(4).click()
        assert count(page) == "216 of 1,296 configurations"
        first.locator("[role=option]").nth(0).click()
        assert count(page) == "432 of 1,296 configurations"
        boxes = [second.locator("[role=option]").nth(i).bounding_box() for i in (1, 3)]
        drag(page, *((box["x"], middle(box)[1]) for box in boxes))
        assert count(page) == "216 of 1,296 configurations"
        assert {row[:2] for row in rows(page)} <= {
            (f"level{i}", f"level{j}") for i in (0, 4) for j in (1, 2, 3)
        }
        chips = page.locator(".chip")
        assert [" ".join(text.split()) for text in chips.all_inner_texts()] == [
            "axis0 level0, level4 ×",
            "axis1 level1, level2, level3 ×",
        ]
        chips.first.click()
        assert count(page) == "648 of 1,296 configurations"
        page.locator("#explorer-clear").click()
        assert count(page) == "1,296 of 1,296 configurations"
        assert page.locator(".chip").count() == 0


def test_numbers_are_brushed_moved_and_cleared_by_mouse(show: Show, shelf: Shelf) -> None:
    with show("many") as page:
        table = shelf.data["many"].configurations
        strip = page.locator('.axis-strip[data-role="outcome"]')
        strip.scroll_into_view_if_needed()
        box = strip.bounding_box()
        x, top, height = box["x"], box["y"], box["height"]
        drag(page, (x, top + 0.25 * height), (x, top + 0.5 * height))
        low, high = (
            float(strip.locator("[role=slider]").nth(i).get_attribute("aria-valuenow"))
            for i in range(2)
        )
        inside = table["mean"].between(low, high)
        assert 0 < inside.sum() < len(table)
        assert count(page) == f"{inside.sum():,} of 1,296 configurations"
        quarter = np.exp(np.log(table["mean"]).agg(lambda x: x.min() + 0.25 * np.ptp(x)))
        assert low == pytest.approx(quarter, rel=0.02)
        # The brush moves as a whole, then by one end.
        drag(page, (x, top + 0.4 * height), (x, top + 0.6 * height))
        moved = float(strip.locator("[role=slider]").nth(0).get_attribute("aria-valuenow"))
        assert moved > low
        drag(page, (x, top + 0.7 * height), (x, top + height + 20))
        inside = table["mean"] >= moved
        assert count(page) == f"{inside.sum():,} of 1,296 configurations"
        page.mouse.click(x, top + 0.1 * height)
        assert count(page) == "1,296 of 1,296 configurations"


def test_the_explorer_works_by_keyboard_alone(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        results = shelf.data["usual"].results
        page.locator("#explorer-search").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "none"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        assert count(page) == "2 of 6 configurations"
        page.keyboard.press("Shift+ArrowDown")
        assert count(page) == "4 of 6 configurations"
        assert {row[0] for row in rows(page)} == {"l1", "dropout (p 0.5, 0.2)"}
        assert option(page, "l1").get_attribute("aria-selected") == "true"
        page.keyboard.press("Escape")
        assert count(page) == "6 of 6 configurations"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        label = "document.activeElement.getAttribute('aria-label')"
        assert page.evaluate(label) == "validation loss: lowest value"
        page.keyboard.press("PageDown")
        page.keyboard.press("ArrowDown")
        assert count(page) == "5 of 6 configurations"
        page.keyboard.press("Escape")
        assert count(page) == "6 of 6 configurations"
        first = page.locator(f"{ROWS} button[aria-expanded]").first
        first.focus()
        page.keyboard.press("Enter")
        assert first.get_attribute("aria-expanded") == "true"
        levels = rows(page)[0]
        runs = results.runs[(results.runs[list(SMALL)] == list(levels)).all(axis=1)]
        commands = page.locator("#explorer-rows code").all_inner_texts()
        assert sorted(commands) == sorted(f"ablations rerun . {run}" for run in runs["run_id"])
        assert page.locator("#explorer-rows .curve").count() == 8
        page.keyboard.press("Enter")
        assert page.locator("#explorer-rows .curve").first.is_hidden()


def test_a_search_by_name_and_orders_change_the_table(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        page.locator("#explorer-search").fill("layer DROP")
        assert rows(page) == [("dropout (p 0.5, 0.2)", "layer")]
        page.locator("#explorer-search").fill("layer nothing")
        assert page.locator("#explorer-none").is_visible()
        assert page.locator("#explorer-download").is_disabled()
        page.locator("#explorer-clear").click()
        table = shelf.data["usual"].configurations[list(SMALL)]
        best = [tuple(map(name_within, SMALL, row)) for row in table.to_numpy()]
        assert rows(page) == best
        head = page.locator('#table-explorer [data-order="outcome"]')
        head.locator("button").click()
        assert (rows(page), head.get_attribute("aria-sort")) == (best, "ascending")
        head.locator("button").click()
        assert (rows(page), head.get_attribute("aria-sort")) == (best[::-1], "descending")
        page.locator("#explorer-order").select_option("seconds")
        by_time = shelf.data["usual"].configurations.sort_values("seconds")
        names = [tuple(map(name_within, SMALL, row)) for row in by_time[list(SMALL)].to_numpy()]
        assert rows(page) == names


def values(cell: Any) -> tuple[float, ...]:
    return tuple(float(cell.get_attribute(f"data-{name}")) for name in ("value", "low", "high"))


def test_the_table_has_the_numbers_of_the_analysis(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        table = shelf.data["usual"].configurations
        for row, line in zip(table.itertuples(), page.locator(ROWS).all(), strict=True):
            cells = line.locator("td.number")
            assert float(cells.nth(0).get_attribute("data-value")) == row.mean
            bounds = (cells.nth(1).get_attribute(f"data-{end}") for end in ("low", "high"))
            assert (*map(float, bounds),) == (row.low, row.high)
            assert float(cells.nth(2).get_attribute("data-value")) == row.metric
            assert float(cells.nth(3).get_attribute("data-value")) == row.seconds
            assert float(cells.nth(0).inner_text()) == pytest.approx(row.mean, rel=1e-3)


@pytest.mark.parametrize("name", ["usual", "splits"])
def test_two_pinned_configurations_are_compared_as_in_the_analysis(
    name: str, show: Show, shelf: Shelf
) -> None:
    with show(name) as page:
        data = shelf.data[name]
        page.locator(f"{ROWS} .pins").nth(1).click()
        page.locator(f"{ROWS} .pins").nth(4).click()
        table, panel = data.configurations.iloc[[1, 4]], page.locator("#explorer-pair")
        numbers = panel.locator("td.number[data-value]")
        for cell, row in zip((numbers.nth(0), numbers.nth(1)), table.itertuples(), strict=True):
            assert values(cell) == (row.mean, row.low, row.high)
        differing = panel.locator("tr.differs th[scope=row]").all_inner_texts()
        assert differing == [n for n in SMALL if table[n].nunique() == 2]
        levels = [tuple(row) for row in table[list(SMALL)].to_numpy()]
        runs = data.results.runs
        second, first = (
            np.log(
                runs[(runs[list(SMALL)] == list(pair)).all(axis=1)].set_index("seed")["val_loss"]
            )
            for pair in reversed(levels)
        )
        difference = (second - first).sort_index()
        design = data.untuned
        blocks = np.arange(len(difference))
        effects = MeanEffects.from_differences(design, difference.to_numpy()[:, None], blocks)
        columns = effects.columns("log")
        expected = [columns[n][0] for n in ("change", "change_low", "change_high")]
        outcome = panel.locator('td[data-measure="outcome"]')
        # Where seeds share splits, both solve for the ends step by step.
        assert values(outcome) == pytest.approx(expected, rel=1e-9 if name == "usual" else 1e-6)
        assert outcome.get_attribute("data-n") == str(len(difference))
        commands = " ".join(panel.locator("pre").all_text_contents()).split("\n")
        assert len(commands) == 2 * len(difference) - 1


def test_a_pair_with_the_control_has_the_interval_of_the_best_set(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        data = shelf.data["usual"]
        control = data.configurations[(data.configurations[list(SMALL)] == "none").all(axis=1)]
        table = analysis.best_set(data.untuned, all_candidates=True)
        for place in (control.index[0], 0):
            page.locator(f"{ROWS} .pins").nth(int(place)).click()
        row = table.iloc[0]
        expected = [row[f"control_{n}"] for n in ("change", "change_low", "change_high")]
        cell = page.locator('#explorer-pair td[data-measure="outcome"]')
        assert values(cell) == pytest.approx(expected, rel=1e-9)


def test_pairs_leave_out_seeds_that_did_not_end_well(show: Show, shelf: Shelf) -> None:
    with show("uneven") as page:
        places = [rows(page).index(levels) for levels in (("none", "none"), ("none", "layer"))]
        for place in places:
            page.locator(f"{ROWS} .pins").nth(place).click()
        panel = page.locator("#explorer-pair")
        assert panel.locator('td[data-measure="outcome"]').get_attribute("data-n") == "5"
        assert "5 pairs; not all seeds ended well in both" in panel.inner_text()
        page.locator(f"{ROWS} .pins").nth(places[0]).click()
        assert "Pin a second configuration" in panel.inner_text()
        panel.locator("th button").click()
        assert panel.is_hidden()


def test_a_line_is_pinned_by_a_click(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        plot = page.locator("#explorer-plot")
        plot.scroll_into_view_if_needed()
        outcome = page.locator('.axis-strip[data-role="outcome"]').bounding_box()
        score = page.locator('.axis-strip[data-role="second"]').bounding_box()
        # The best line starts at the top of both axes.
        x, y = (outcome["x"] + score["x"]) / 2, outcome["y"] + 1
        page.mouse.move(x, y)
        levels = tuple(shelf.data["usual"].configurations[list(SMALL)].iloc[0])
        tip = page.locator("#explorer-tip")
        metadata = shelf.data["usual"].metadata
        words = [name_level(*each, metadata) for each in zip(SMALL, levels, strict=True)]
        assert tip.inner_text().startswith(", ".join(words))
        page.mouse.click(x, y)
        pinned = page.locator(f"{ROWS}:has(.pins[aria-pressed=true])")
        assert pinned.locator("td.level").all_inner_texts() == list(levels)


def test_the_address_keeps_brushes_search_order_and_pins(show: Show, shelf: Shelf) -> None:
    with show("many") as page:
        page.locator("[role=listbox]").nth(1).locator("[role=option]").nth(2).click()
        page.locator('.axis-strip[data-role="time"] [role=slider]').first.focus()
        for _ in range(12):
            page.keyboard.press("ArrowDown")
        page.locator("#explorer-search").fill("level3")
        page.locator("#explorer-order").select_option("seconds")
        for i in (2, 0):
            page.locator(f"{ROWS} .pins").nth(i).click()
        before = count(page), rows(page), page.locator("#explorer-pair table").inner_text()
        fragment = page.url.partition("#")[2]
    assert before[0] != "1,296 of 1,296 configurations"
    with show("many", fragment=fragment) as page:
        after = count(page), rows(page), page.locator("#explorer-pair table").inner_text()
        assert after == before
        page.evaluate("location.hash = '#brush=nonsense:1,axis0:99&pair=8.8&order=worst'")
        page.wait_for_function("document.getElementById('explorer-search').value === ''")
        assert count(page) == "1,296 of 1,296 configurations"
        assert page.locator("#explorer-pair").is_hidden()


def test_the_download_has_the_selected_runs_exactly(show: Show, shelf: Shelf) -> None:
    with show("usual") as page:
        option(page, "layer").click()
        assert page.locator("#explorer-download").inner_text() == "Download 24 runs as CSV"
        with page.expect_download() as event:
            page.locator("#explorer-download").click()
        table = list(csv.DictReader(Path(event.value.path()).read_text().splitlines()))
    runs = shelf.data["usual"].results.runs
    expected = runs[runs["norm"] == "layer"].set_index("run_id")
    downloaded = pd.DataFrame(table).set_index("run_id").loc[expected.index]
    for name in ("val_loss", "metric", "seed"):
        assert downloaded[name].astype(float).tolist() == expected[name].tolist()
    assert downloaded["regularizer"].tolist() == expected["regularizer"].tolist()


def test_thousands_of_configurations_are_shown_a_page_at_a_time(show: Show) -> None:
    with show("many") as page:
        assert len(rows(page)) == 25
        page.locator("#explorer-more").click()
        assert len(rows(page)) == 50
        page.locator("#explorer-order").select_option("outcome")
        assert len(rows(page)) == 25


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_and_nothing_sticks_out_or_overlaps(width: int, show: Show) -> None:
    for scheme in ("light", "dark"):
        with show("usual", width=width, scheme=scheme) as page:
            option(page, "l1").click()
            for i in range(2):
                page.locator(f"{ROWS} .pins").nth(i).click()
            page.locator(f"{ROWS} button[aria-expanded]").first.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert list_violations(page, "#explorer-all") == [], scheme
            page.evaluate(HIDE_OTHERS)
            assert find_overlaps(page) == [], scheme


def test_a_brush_works_by_touch_on_a_narrow_screen(browser: Any, shelf: Shelf) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True, offline=True
    )
    page = context.new_page()
    page.goto(shelf.path("many").as_uri())
    assert "stacked" in (page.locator("#explorer-plot").get_attribute("class") or "")
    levels = page.locator("[role=listbox]").first
    levels.locator("[role=option]").nth(3).tap()
    assert count(page) == "216 of 1,296 configurations"
    page.locator(".chip").tap()
    boxes = [levels.locator("[role=option]").nth(i).bounding_box() for i in (1, 2)]
    touch = context.new_cdp_session(page)
    for kind, box in (("Start", boxes[0]), ("Move", boxes[0]), ("Move", boxes[1])):
        x, shift = middle(box)[0], 5 if kind == "Move" else 0
        points = [{"x": x + shift, "y": boxes[0]["y"] + 3}]
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector(".chip")
    assert count(page) == "432 of 1,296 configurations"
    context.close()


def test_without_a_script_it_says_where_the_tables_are(browser: Any, shelf: Shelf) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(shelf.path("usual").as_uri())
    assert "The explorer needs JavaScript" in page.locator("noscript").first.inner_text()
    assert page.locator("#explorer-all").is_hidden()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_plot_is_printed_in_the_colours_of_paper(
    scheme: str, browser: Any, shelf: Shelf
) -> None:
    pypdf = pytest.importorskip("pypdf")
    with Opened(browser, shelf.path("many"), scheme=scheme, width=1440) as page:
        plot = page.locator("#explorer-plot")
        painted = (
            "() => { const canvas = document.querySelector('#explorer-plot canvas');"
            "const copy = new OffscreenCanvas(canvas.width, canvas.height)"
            ".getContext('2d', { willReadFrequently: true });"
            "copy.drawImage(canvas, 0, 0);"
            "const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);"
            "let sum = 0, n = 0; for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 60)"
            " { sum += data[i] + data[i + 1] + data[i + 2]; n++; } return sum / n; }"
        )
        on_screen = page.evaluate(painted)
        page.emulate_media(media="print")
        assert plot.is_visible()
        assert plot.locator(".sheet").bounding_box()["width"] <= 681
        on_paper = page.evaluate(painted)
        assert (on_paper < on_screen - 20) == (scheme == "dark")
        reader = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4")))
        texts = [sheet.extract_text() for sheet in reader.pages]
        assert any(text.count("lower is better") == 2 for text in texts)  # loss and run time
