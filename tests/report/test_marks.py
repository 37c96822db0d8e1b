"""What the script of the page does, by mouse, keyboard and touch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from ablations.report.data import ReportData, build_report_data
from ablations.report.page import write_report
from ablations.report.style import theme_declarations
from ablations.report.texts import load_templates

from .browsers import IN_BROWSER, list_violations
from .studies import SMALL, make_metadata, make_results

pytestmark = IN_BROWSER

EVIL = '<script>alert("1")</script>'
LEVELS = ("none", "layer", "batch, 0.1", EVIL)
LAYER = '[data-level="layer"]'


def mark(axis: str, level: str, shape: str, text: str, **data: object) -> str:
    """A mark as figures write it."""
    attributes = {"axis": axis, "level": level, "text": text, **data}
    words = " ".join(f'data-{name}="{escape(str(x))}"' for name, x in attributes.items())
    return f'<g class="mark" {words}><title>{escape(text)}</title>{shape}</g>'


def draw_dots(width: int = 400) -> str:
    """A dot for each level, and a legend of two elements for each."""
    shapes = []
    for i, level in enumerate(LEVELS):
        dot = (
            f'<circle cx="{20 + i * (width - 40) / 3}" cy="40" r="4" style="fill: var(--fig-red)"/>'
        )
        shapes.append(mark("norm", level, dot, f"{level}: {i}.5 % from {i}.25 to {i}.75", value=i))
        entry = f'class="legend-entry" data-axis="norm" data-level="{escape(level)}"'
        shapes.append(f'<g {entry}><rect x="{20 + 90 * i}" y="150" width="12" height="12"/></g>')
        shapes.append(f'<g {entry}><text x="{40 + 90 * i}" y="160">level {i}</text></g>')
    return f'<svg aria-hidden="true" viewBox="0 0 {width} 200">{"".join(shapes)}</svg>'


def draw_curves() -> str:
    """A falling curve for each of two levels, with its points."""
    shapes = []
    for i, level in enumerate(LEVELS[:2]):
        places = [(20 + 36 * k, 30 + 60 * i + 8 * k) for k in range(11)]
        series = [[x, y, f"epoch {k}: {10 - k}"] for k, (x, y) in enumerate(places)]
        path = (
            f'<path d="M{" L".join(f"{x} {y}" for x, y in places)}" fill="none" stroke="#0072b2"/>'
        )
        text = f"{level}: 0 in the last epoch"
        shapes.append(mark("norm", level, path, text, series=json.dumps(series)))
    return f'<svg aria-hidden="true" viewBox="0 0 400 200">{"".join(shapes)}</svg>'


def draw_cells() -> str:
    """Cells of two axes: three columns, two rows."""
    cells = []
    for y, x in product(range(2), range(3)):
        cell = f'<rect x="{130 * x}" y="{90 * y}" width="126" height="86"/>'
        cells.append(mark("init", f"c{x}{y}", cell, f"{x},{y}"))
    return f'<svg aria-hidden="true" viewBox="0 0 400 180">{"".join(cells)}</svg>'


PAGE = Path(__file__).with_name("marks.html.j2")
"""A small page of the report's templates, with every element that the script works on."""


@pytest.fixture(scope="module")
def fixture_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [("dots", draw_dots()), ("curves", draw_curves()), ("cells", draw_cells())]
    template = load_templates().from_string(PAGE.read_text(encoding="utf-8"))
    path = tmp_path_factory.mktemp("marks") / "report.html"
    text = template.render(pictures=pictures, levels=LEVELS, theme=theme_declarations())
    path.write_text(text, encoding="utf-8")
    return path


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, fixture_page: Path) -> Iterator[Open]:
    """Open the page at an address, and check at the end that there was no error and no request."""
    with open_pages(browser, fixture_page) as open_page:
        yield open_page


@contextmanager
def open_pages(browser: Any, path: Path) -> Iterator[Open]:
    contexts: list[Any] = []
    complaints: list[str] = []

    def complain(message: Any) -> None:
        if message.type != "log":
            complaints.append(message.text)

    def open_page(address: str = "", width: int = 1280, height: int = 900, **options: Any) -> Any:
        size = {"width": width, "height": height}
        # Without motion, a page has scrolled when the next step comes.
        options = {"viewport": size, "offline": True, "reduced_motion": "reduce", **options}
        context = browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a dialog"))
        page.on("console", complain)
        page.on("request", lambda request: check_request(request.url))
        page.goto(path.as_uri() + address)
        return page

    def check_request(url: str) -> None:
        if not url.startswith((path.as_uri(), "data:", "blob:")):
            complaints.append(url)

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def find_mark(page: Any, figure: str, level: str) -> Any:
    return page.locator(f"section:has(#{figure}) .mark[data-level={json.dumps(level)}]")


def read_tip(page: Any) -> str | None:
    """The text of the tooltip; None while it is hidden."""
    page.wait_for_timeout(50)
    tip = page.locator("#tip")
    return str(tip.inner_text()) if tip.is_visible() else None


def wait_until(page: Any, condition: str) -> None:
    """Wait for an expression to hold; the page itself may evaluate no text."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def read_hash(page: Any) -> str:
    return str(page.evaluate("location.hash"))


def list_lit(page: Any) -> set[str]:
    """The levels that are highlighted, each with the figure or the table it is in."""
    return set(
        page.evaluate(
            "[...document.querySelectorAll('.lit:is(.mark, tr)')].map(node =>"
            " `${node.dataset.level} in ${node.closest('section').querySelector('h2').id}`)"
        )
    )


LAYER_EVERYWHERE = {"layer in dots", "layer in curves", "layer in rows"}


def test_values_are_shown_at_the_pointer(opened: Open) -> None:
    page = opened()
    assert read_tip(page) is None
    assert page.locator(".hint").is_visible()
    assert page.locator("svg title").count() == 0
    for i, level in enumerate(LEVELS):
        find_mark(page, "dots", level).hover()
        assert read_tip(page) == f"{level}: {i}.5 % from {i}.25 to {i}.75"
    box = find_mark(page, "dots", "layer").bounding_box()
    find_mark(page, "dots", "layer").evaluate("mark => mark.after(mark.cloneNode(true))")
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    assert read_tip(page) == "\n".join(["\N{BULLET} layer: 1.5 % from 1.25 to 1.75"] * 2)
    page.mouse.move(box["x"] - 8, box["y"] - 5)
    assert read_tip(page) == "layer: 1.5 % from 1.25 to 1.75"
    page.mouse.move(box["x"] - 30, box["y"] - 30)
    assert read_tip(page) is None


def test_a_figure_is_one_tab_stop_with_arrow_keys_inside(opened: Open) -> None:
    page = opened()
    page.locator("#dots .anchor").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "none: 0.5 % from 0.25 to 0.75"
    assert read_tip(page) == "none: 0.5 % from 0.25 to 0.75"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "Show none"
    page.keyboard.press("ArrowRight")
    assert read_tip(page) == "layer: 1.5 % from 1.25 to 1.75"
    assert list_lit(page) == LAYER_EVERYWHERE
    page.keyboard.press("Escape")
    assert read_tip(page) is None
    page.keyboard.press("End")
    assert page.evaluate(focused) == f"Show {EVIL}"
    page.keyboard.press("Home")
    assert read_tip(page) == "none: 0.5 % from 0.25 to 0.75"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "none: 0.5 % from 0.25 to 0.75"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.matches('#dots .anchor')")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Copy picture"
    assert page.locator("section:has(#dots) [tabindex='0']").count() == 1


def test_arrow_keys_follow_the_rows_of_a_heat_map(opened: Open) -> None:
    page = opened()
    find_mark(page, "cells", "c10").focus()
    for key, text in (("ArrowDown", "1,1"), ("ArrowRight", "2,1"), ("ArrowUp", "2,0")):
        page.keyboard.press(key)
        assert read_tip(page) == text


def test_a_curve_shows_the_point_nearest_to_the_pointer(opened: Open) -> None:
    page = opened()
    curve = find_mark(page, "curves", "layer")
    curve.scroll_into_view_if_needed()
    places = curve.evaluate(
        "mark => JSON.parse(mark.dataset.series).map(([x, y]) => {"
        " const place = new DOMPoint(x, y).matrixTransform(mark.ownerSVGElement.getScreenCTM());"
        " return [place.x, place.y]; })"
    )
    for k in (0, 3, 10):
        page.mouse.move(places[k][0] + 3, places[k][1] - 4)
        assert read_tip(page) == f"norm layer, epoch {k}: {10 - k}"
        dot = page.locator(".mark-sign").bounding_box()
        assert dot["x"] + dot["width"] / 2 == pytest.approx(places[k][0], abs=1)
    curve.focus()
    assert read_tip(page) == "norm layer, epoch 10: 0"
    for key, epoch in (("ArrowLeft", 9), ("ArrowLeft", 8), ("ArrowRight", 9), ("Home", 0)):
        page.keyboard.press(key)
        assert read_tip(page) == f"norm layer, epoch {epoch}: {10 - epoch}"
    assert page.locator("#tip").get_attribute("aria-live") == "polite"
    page.keyboard.press("ArrowUp")
    assert read_tip(page) == "norm none, epoch 10: 0"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_tooltip_stays_on_the_screen(opened: Open, width: int) -> None:
    page = opened(width=width, height=600)
    for each in page.locator(".mark").all():
        each.scroll_into_view_if_needed()
        each.focus()
        box = page.locator("#tip").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 600
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_touch_shows_and_a_second_one_pins(opened: Open) -> None:
    page = opened(width=390, has_touch=True, is_mobile=True)
    layer = find_mark(page, "dots", "layer")
    layer.tap()
    assert read_tip(page) == "layer: 1.5 % from 1.25 to 1.75"
    assert list_lit(page) == LAYER_EVERYWHERE
    assert read_hash(page) == ""
    layer.tap()
    assert read_hash(page) == "#pin=norm:layer"
    page.locator("#pinned button").tap()
    assert read_hash(page) == ""
    layer.tap()
    page.locator("h1").tap()
    assert read_tip(page) is None
    assert list_lit(page) == set()


def test_a_level_is_highlighted_everywhere(opened: Open) -> None:
    page = opened()
    for place in (
        find_mark(page, "dots", "layer"),
        page.locator(f".legend-entry{LAYER}").first,
        page.locator(f"tr{LAYER}"),
    ):
        place.hover()
        read_tip(page)
        assert list_lit(page) == LAYER_EVERYWHERE
        page.locator("h1").hover()
        read_tip(page)
        assert list_lit(page) == set()
    find_mark(page, "dots", "layer").hover()
    page.wait_for_timeout(300)
    assert find_mark(page, "curves", "none").evaluate(
        "node => getComputedStyle(node).opacity < 0.5"
    )
    assert find_mark(page, "cells", "c10").evaluate("node => getComputedStyle(node).opacity == 1")


def test_a_level_is_pinned_by_a_click_and_by_enter(opened: Open) -> None:
    page = opened()
    find_mark(page, "dots", "layer").click()
    page.locator("h1").hover()
    assert list_lit(page) == LAYER_EVERYWHERE
    assert page.locator("#pinned").inner_text().startswith("Highlighted: layer (norm)")
    assert read_hash(page) == "#pin=norm:layer"
    assert find_mark(page, "curves", "layer").get_attribute("aria-pressed") == "true"
    page.locator("#pinned button").click()
    assert list_lit(page) == set()
    assert page.locator("#pinned").is_hidden()
    page.locator("tr[data-level='batch, 0.1']").click()
    assert read_hash(page) == "#pin=norm:batch%2C%200.1"
    page.keyboard.press("Shift")
    find_mark(page, "dots", "none").focus()
    page.keyboard.press("Enter")
    assert read_hash(page) == "#pin=norm:none"
    page.keyboard.press("Escape")
    assert read_hash(page) == "#pin=norm:none"
    page.keyboard.press("Escape")
    assert read_hash(page) == ""
    page.keyboard.press(" ")
    assert read_hash(page) == "#pin=norm:none"
    page.reload()
    assert list_lit(page) == {"none in dots", "none in curves", "none in rows"}


def test_the_legend_hides_a_level_of_its_figure(opened: Open) -> None:
    page = opened()
    entry = page.locator(f".legend-entry[role='button']{LAYER}")
    assert entry.count() == 1
    assert entry.get_attribute("aria-pressed") == "true"
    page.locator(f".legend-entry{LAYER} text").click()
    assert entry.get_attribute("aria-pressed") == "false"
    dot = find_mark(page, "dots", "layer")
    assert dot.evaluate("node => getComputedStyle(node).visibility") == "hidden"
    assert find_mark(page, "curves", "layer").is_visible()
    assert read_hash(page) == "#hide=norm:layer"
    entry.focus()
    page.keyboard.press("Enter")
    assert dot.is_visible()
    assert read_hash(page) == ""
    page.keyboard.press("Enter")
    page.locator(".legend-entry[data-level='batch, 0.1'] text").click()
    page.reload()
    hidden = page.locator(".mark.hidden-level")
    levels = [each.get_attribute("data-level") for each in hidden.all()]
    assert levels == ["layer", "batch, 0.1"]


def test_units_and_measures_are_switched(opened: Open) -> None:
    page = opened()
    assert page.locator(".in-percent").is_visible()
    assert page.locator(".in-ratio").is_hidden()
    page.get_by_role("button", name="ratio", exact=True).click()
    assert page.locator(".in-ratio").is_visible()
    assert page.locator(".in-percent").is_hidden()
    page.get_by_role("button", name="metric", exact=True).focus()
    page.keyboard.press("Enter")
    assert page.locator(".by-second").is_visible()
    assert page.locator(".by-outcome").is_hidden()
    assert read_hash(page) == "#unit=ratio&measure=second"
    page.reload()
    assert page.locator(".in-ratio").is_visible()
    assert page.locator(".by-second").is_visible()
    pressed = page.locator(".toggles [aria-pressed='true']").all_inner_texts()
    assert pressed == ["metric", "ratio"]
    page.get_by_role("button", name="%", exact=True).click()
    page.get_by_role("button", name="loss", exact=True).click()
    assert read_hash(page) == ""


def list_rows(page: Any, table: str = "table-rows") -> list[str]:
    rows = page.locator(f"#{table} tbody tr:not([hidden])")
    return [str(row.get_attribute("id")) for row in rows.all()]


def test_tables_are_sorted_and_the_order_is_in_the_address(opened: Open) -> None:
    page = opened()
    effect = page.locator("#table-rows th button").nth(1)
    effect.click()
    assert list_rows(page) == ["row-1", "row-3", "row-0", "row-2"]
    assert read_hash(page) == "#sort=table-rows:2:up"
    effect.focus()
    page.keyboard.press("Enter")
    assert list_rows(page) == ["row-2", "row-0", "row-3", "row-1"]
    page.reload()
    assert list_rows(page) == ["row-2", "row-0", "row-3", "row-1"]
    assert page.locator("#table-rows th").nth(1).get_attribute("aria-sort") == "descending"
    page.evaluate("location.hash = ''")
    assert list_rows(page) == ["row-0", "row-1", "row-2", "row-3"]


def test_a_long_table_is_searched(opened: Open) -> None:
    page = opened("#evidence-runs")
    assert page.locator("input[type=search]").count() == 1
    field = page.get_by_label("Search these 40 rows")
    field.focus()
    page.keyboard.type("BATCH 2")
    batches = [f"run-{i}" for i in range(0, 40, 4) if "2" in f"run {i}" or "2" in str(i * 7 % 40)]
    assert list_rows(page, "table-runs") == batches
    assert page.locator(".search [role=status]").inner_text() == f"{len(batches)} of 40 rows"
    page.evaluate("location.hash = '#run-1'")
    assert page.locator("#run-1").is_visible()
    field.fill("")
    assert len(list_rows(page, "table-runs")) == 40
    assert page.locator(".search [role=status]").inner_text() == ""


def test_a_link_opens_what_is_folded_and_leaves_the_state(opened: Open) -> None:
    page = opened("#run-30")
    assert page.locator("#run-30").is_visible()
    wait_until(page, "document.querySelector('#run-30').matches('.flash')")
    box = page.locator("#run-30").bounding_box()
    assert 0 <= box["y"] <= 900
    assert read_hash(page) == "#run-30"
    page.evaluate("location.hash = '#more'")
    assert page.locator("#more").is_visible()
    assert page.locator("#table-runs").is_visible()
    wait_until(page, "location.hash === '#more&open=evidence-runs'")
    page.reload()
    assert page.locator("#more").is_visible()
    assert page.locator("#table-runs").is_visible()
    page.locator("summary").first.click()
    wait_until(page, "location.hash === '#more'")
    page.reload()
    assert page.locator("#more").is_visible()
    assert page.locator("#table-runs").is_hidden()


@pytest.mark.parametrize(
    "address",
    [
        *("#%", "#%E0%A4%A", "#=", "#&&=&", "#pin", "#pin=", "#pin=norm", "#pin=:::", "#unit=3"),
        *("#sort=table-rows:99:up", "#sort=x:1:up,:,", "#open=nothing,__proto__", "#hide=,"),
        *("#__proto__=1", "#measure=constructor&unit=%", "#" + "a" * 5000, "#no such place"),
        "#'\"><img src=x onerror=alert(1)>",
    ],
)
def test_an_odd_address_does_no_harm(opened: Open, address: str) -> None:
    page = opened(address)
    assert page.locator("#rows").is_visible()
    assert page.evaluate("document.documentElement.dataset.unit") == "percent"
    assert list_rows(page) == ["row-0", "row-1", "row-2", "row-3"]
    assert page.locator("img").count() == 0
    assert list_lit(page) == set()
    find_mark(page, "dots", "layer").click()
    assert "pin=norm:layer" in read_hash(page)


def test_other_scripts_read_and_write_the_state(opened: Open) -> None:
    page = opened("#dots&brush=a%2Cb,c&x=1")
    assert page.evaluate("pageState.list('brush')") == ["a,b", "c"]
    assert page.evaluate("[pageState.get('x'), pageState.get('y'), pageState.anchor]") == [
        "1",
        "",
        "dots",
    ]
    page.evaluate("pageState.set('brush', ['norm:layer', 'p=[0.5, 2]', '&'])")
    assert read_hash(page) == "#dots&brush=norm:layer,p=[0.5%2C%202],%26&x=1"
    assert page.evaluate("pageState.list('brush')") == ["norm:layer", "p=[0.5, 2]", "&"]
    page.evaluate("pageState.set('brush', [])")
    page.evaluate("pageState.set('x', null)")
    assert read_hash(page) == "#dots"
    page.evaluate("pageState.restore(() => { window.x = pageState.get('x'); })")
    page.evaluate("location.hash = '#x=2'")
    assert page.evaluate("window.x") == "2"


def test_the_link_at_a_heading_copies_its_address(opened: Open) -> None:
    page = opened("#unit=ratio")
    page.locator("#curves").hover()
    page.locator("#curves .anchor").click()
    wait_until(page, "document.querySelector('#curves .anchor').textContent === 'copied'")
    address = page.url.split("#")[0] + "#curves&unit=ratio"
    assert page.evaluate("navigator.clipboard.readText()") == address
    assert read_hash(page) == "#curves&unit=ratio"
    page.locator("#cells .anchor").focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#cells .anchor').textContent === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()").endswith("#cells&unit=ratio")


def test_the_section_in_view_is_marked(opened: Open) -> None:
    for width in (390, 1280):
        page = opened(width=width)
        for name in ("curves", "rows", "dots"):
            page.evaluate(f"{name}.scrollIntoView({{behavior: 'instant'}})")
            current = "document.querySelector('nav [aria-current]')?.textContent"
            wait_until(page, f"{current} === '{name}'")
            assert page.locator("nav [aria-current]").count() == 1
            box = page.locator("nav [aria-current]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        page.evaluate("scrollTo({top: 1e5, behavior: 'instant'})")
        wait_until(page, f"{current} === 'evidence'")
        page.locator("nav a").nth(3).click()
        wait_until(page, f"{current} === 'rows'")


def save(page: Any, figure: str, button: str) -> Path:
    with page.expect_download() as download:
        page.locator(f"section:has(#{figure})").get_by_role("button", name=button).click()
    path = Path(download.value.path())
    assert download.value.suggested_filename == f"{figure}.{button[-3:].lower()}"
    return path


def read_size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_figure_is_saved_in_the_colours_of_the_page(opened: Open, scheme: str) -> None:
    page = opened("#hide=norm:none", color_scheme=scheme)
    svg = save(page, "dots", "Save SVG").read_text(encoding="utf-8")
    root = ElementTree.fromstring(svg)
    assert root.get("width") == "400"
    assert "var(" not in svg
    assert "<script" not in svg
    light, dark = theme_declarations()
    declarations = dict(
        re.findall(r"--([\w-]+): (\S+?)(?:;|$)", {"light": light, "dark": dark}[scheme])
    )
    red = declarations["fig-red"]
    assert svg.count(f"fill: {red}") == len(LEVELS)
    assert svg.count("visibility: hidden") == 1
    assert read_size(save(page, "dots", "Save PNG").read_bytes()) == (1600, 800)
    button = page.locator("section:has(#dots)").get_by_role("button", name="Copy picture")
    button.focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('.save button').textContent === 'copied'")
    kinds = page.evaluate("navigator.clipboard.read().then(items => items[0].types)")
    assert kinds == ["image/png"]


def test_a_table_is_copied_in_its_present_order(opened: Open) -> None:
    page = opened("#sort=table-rows:2:up")
    page.get_by_role("button", name="Copy as CSV").click()
    wait_until(page, "document.querySelector('.copy button').textContent === 'copied'")
    text = page.evaluate("navigator.clipboard.readText()")
    name = EVIL.replace('"', '""')
    assert text.split("\r\n")[:3] == ['"level","effect"', '"layer",1', f'"{name}",2']


def test_print_opens_all_details_and_closes_them_again(opened: Open) -> None:
    page = opened()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[open]").count() == 2
    page.wait_for_timeout(50)
    assert read_hash(page) == ""
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.locator("summary").first.click()
    count = "document.querySelectorAll('details[open]').length"
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {count}; }})")
    page.pdf()
    assert page.evaluate("window.printed") == 2
    wait_until(page, f"{count} === 1")
    assert read_hash(page) == "#open=evidence-runs"


def test_names_stay_text(opened: Open) -> None:
    page = opened()
    evil = find_mark(page, "dots", EVIL)
    evil.click()
    assert read_tip(page) == f"{EVIL}: 3.5 % from 3.25 to 3.75"
    assert EVIL in page.locator("#pinned").inner_text()
    page.reload()
    assert EVIL in page.locator("#pinned").inner_text()
    assert page.locator("script").count() == 1


def test_nothing_moves_for_readers_who_want_no_motion(opened: Open) -> None:
    page = opened("#more")
    wait_until(page, "document.querySelector('#more').matches('.flash')")
    assert page.locator("#more").evaluate("node => getComputedStyle(node).animationName") == "none"
    dot = find_mark(page, "dots", "layer")
    assert dot.evaluate("node => getComputedStyle(node).transitionDuration") == "0s"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_marks_respond(opened: Open, scheme: str) -> None:
    page = opened("#pin=norm:layer&hide=norm:none&open=evidence-runs", color_scheme=scheme)
    find_mark(page, "curves", "layer").focus()
    assert list_violations(page) == []
    assert re.fullmatch(
        r"(figure|group|region|img)?", page.locator(".picture").first.get_attribute("role")
    )


AXES: dict[str, tuple[object, ...]] = {**SMALL, "init": ("default", "kaiming_uniform")}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportData]:
    """A whole report, and the analyses that it shows."""
    results, metadata = make_results(tmp_path_factory.mktemp("report"), AXES), make_metadata(AXES)
    path, _ = write_report(results, metadata)
    return path, build_report_data(results, metadata)


Numbers = set[tuple[float, ...]]


def read_numbers(text: str) -> list[tuple[float, float]]:
    """The numbers of a tooltip after the name, each with half a unit of its last digit."""
    numbers = []
    pattern = r"(?<![\w.])([+\N{MINUS SIGN}-]?)(\d[\d,]*)(?:\.(\d+))?(\N{NARROW NO-BREAK SPACE}?%)?"
    values = re.sub(r"95.% interval|interval, 95.% over all looks", "", text.split(": ", 1)[1])
    for sign, digits, decimals, percent in re.findall(pattern, values):
        value = float(f"{digits.replace(',', '')}.{decimals}")
        factor = (0.01 if percent else 1) * (-1 if sign in ("-", "\N{MINUS SIGN}") else 1)
        numbers.append((factor * value, 0.5 * abs(factor) * 10.0 ** -len(decimals)))
    return numbers


def select_numbers(table: pd.DataFrame, *names: str) -> Numbers:
    return set(table[list(names)].itertuples(index=False, name=None))


def list_analyses(data: ReportData) -> dict[str, Numbers]:
    """Value and interval of all that each figure of the page shows."""
    effect, change = ("effect", "low", "high"), ("change", "change_low", "change_high")
    second = select_numbers(data.by_outcome[data.second], *effect)
    final = data.trajectory[data.trajectory["epoch"] == data.trajectory["epoch"].max()]
    curves = [table for by_name in data.curves.values() for table in by_name.values()]
    last = pd.concat([table[table["epoch"] == table["epoch"].max()] for table in curves])
    return {
        "forest": select_numbers(data.effects, *change) | second,
        "interactions": select_numbers(data.interactions, *effect) | {(0.0, 0.0, 0.0)},
        "effect-over-time": select_numbers(final, *effect),
        "time": select_numbers(data.configurations, "mean", "low", "high"),
        "curves": select_numbers(last, "mean", "low", "high"),
        "variance-shares": select_numbers(data.shares, "eta2"),
        "seed-spread": select_numbers(data.spread, "spread", "low", "high"),
        "ranking": select_numbers(data.ranked, "mean_rank"),
    }


IN_LOGS = ("interactions", "effect-over-time", "seed-spread")
READ_MARKS = """() => [...document.querySelectorAll('.mark')].flatMap(mark => {
  if (!mark.getClientRects().length) return [];
  mark.focus();
  const figure = (mark.closest('figure')?.id ?? 'forest').replace('figure-', '');
  const tip = document.getElementById('tip');
  const { value, low, high } = mark.dataset;
  return [[figure, tip.hidden ? '' : tip.textContent, value, low, high]];
})"""


def test_the_numbers_shown_are_those_of_the_analyses(
    browser: Any, report: tuple[Path, ReportData]
) -> None:
    path, data = report
    analyses = list_analyses(data)
    with open_pages(browser, path) as open_page:
        page = open_page()
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        marks = page.evaluate(READ_MARKS)
        page.get_by_role("button", name="r2", exact=True).click()
        marks += page.evaluate(READ_MARKS)
    checked = set()
    for figure, text, *values in marks:
        name = figure if figure in analyses else figure.split("-")[0]
        numbers = tuple(float(value) for value in values if value is not None)
        assert numbers in analyses[name], text
        checked.add(name)
        if name in IN_LOGS:
            numbers = tuple(math.expm1(number) for number in numbers)
        if not any(numbers):
            assert text.endswith("both controls")
            continue
        for (shown, half), number in zip(read_numbers(text), numbers, strict=False):
            assert shown == pytest.approx(number, abs=half * 1.001), text
    assert checked == set(analyses)


def test_a_link_to_the_row_of_a_level_opens_it(
    browser: Any, report: tuple[Path, ReportData]
) -> None:
    with open_pages(browser, report[0]) as open_page:
        page = open_page("#row-norm-layer&unit=ratio")
        row = page.locator("#row-norm-layer")
        wait_until(page, "document.querySelector('#row-norm-layer details').open")
        assert row.locator("xpath=following-sibling::tr[1]").is_visible()
        row.hover()
        assert row.get_attribute("class").split() == ["level", "flash", "lit"]
        summary = row.locator("summary")
        summary.click()
        assert not page.locator("#pinned button").is_visible()
        row.locator(".change:visible").first.click()
        assert read_hash(page) == "#row-norm-layer&unit=ratio&pin=norm:layer"
        mark = row.locator(".mark:visible")
        mark.hover()
        assert re.match(
            r"layer norm: validation loss \N{MULTIPLICATION SIGN}1\.\d\d \(interval, 95 %",
            read_tip(page) or "",
        )
        page.get_by_role("button", name="%", exact=True).focus()
        page.keyboard.press("Enter")
        assert read_hash(page) == "#row-norm-layer&pin=norm:layer"
        mark.focus()
        assert re.match(
            r"layer norm: validation loss \+\d+\.\d\N{NARROW NO-BREAK SPACE}% \(interval, 95 %",
            read_tip(page) or "",
        )
        assert mark.get_attribute("aria-label") == read_tip(page)


def test_the_forest_is_a_picture_too(browser: Any, report: tuple[Path, ReportData]) -> None:
    with open_pages(browser, report[0]) as open_page:
        page = open_page()
        forest = page.locator(".forest")
        dots = forest.locator("svg.dot").count()
        with page.expect_download() as download:
            forest.get_by_role("button", name="Save PNG").click()
        assert download.value.suggested_filename == "forest.png"
        width, height = read_size(Path(download.value.path()).read_bytes())
        box = forest.bounding_box()
        assert width == 1600
        assert height / width == pytest.approx(box["height"] / box["width"], rel=0.15)
        assert forest.locator("svg.dot").count() == dots > 0


def test_every_heading_has_a_link(browser: Any, report: tuple[Path, ReportData]) -> None:
    with open_pages(browser, report[0]) as open_page:
        page = open_page()
        headings = page.locator("main :is(h2, h3):visible")
        linked = page.locator("main :is(:is(h2, h3):has(.anchor), .fold:has(> .anchor) h3):visible")
        assert headings.all_inner_texts() == linked.all_inner_texts()
        for link in page.locator("a.anchor").all():
            assert page.locator(str(link.get_attribute("href"))).count() == 1


def test_a_configuration_is_pinned_and_hidden_with_its_ring_and_name(
    browser: Any, report: tuple[Path, ReportData]
) -> None:
    with open_pages(browser, report[0]) as open_page:
        page = open_page()
        picture = page.locator("#figure-time .picture.wide")
        point = picture.locator(".mark[data-text^='control: ']")
        key = point.get_attribute("data-level")
        point.click(force=True)  # the line of the front lies over it
        assert read_hash(page) == f"#pin=configuration:{key}"
        assert page.locator("#pinned").inner_text().startswith("Highlighted: control (config")
        assert page.locator("#figure-time .picture.wide .mark.lit").count() == 1
        page.locator("#pinned button").click()
        axis, level = (point.get_attribute(f"data-other-{name}") for name in ("axis", "level"))
        at_level = f"[data-other-axis='{axis}'][data-other-level='{level}']"
        name = picture.locator(f".mark-part{at_level}:has(text)").first
        assert name.is_visible()
        picture.locator(f".legend-entry[data-level='{level}']").last.click()
        parts = picture.locator(f":is(.mark, .mark-part){at_level}")
        assert parts.count() > 3
        for each in parts.all():
            assert not each.is_visible()
        assert picture.locator(".mark:not(.hidden-level)").first.is_visible()
