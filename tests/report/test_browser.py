"""The page in a real browser (see ``browsers``): what holds for all of it."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from ablations.analysis.results import Results
from ablations.report.comparison import compare
from ablations.report.comparison_page import render_comparison
from ablations.report.data import build_report_data
from ablations.report.datasets import build_tasks_data
from ablations.report.figures.gallery import draw_figures
from ablations.report.formatting import OVER_LOOKS
from ablations.report.page import write_report
from ablations.report.strengths import name_level
from ablations.report.tasks_page import list_tasks_figures, render_tasks_page
from ablations.results.metadata import StudyMetadata
from ablations.results.store import StoredResults

from .browsers import IN_BROWSER, Opened, list_violations
from .layouts import find_cut_texts, find_overlaps, find_stranded, measure_contrasts
from .studies import (
    NOTEBOOK,
    end_runs,
    make_metadata,
    make_results,
    metadata_by,
    several_tasks,
    with_metrics,
)

WIDTHS = (360, 390, 520, 700, 701, 900, 1024, 1199, 1200, 1440, 1920)
EVIL = "<script>alert(1)</script>"

pytestmark = IN_BROWSER


def write(results: StoredResults, metadata: StudyMetadata) -> Path:
    page, _ = write_report(results, metadata)
    return page


def usual(folder: Path) -> Path:
    return write(make_results(folder), make_metadata())


def whole_notebook(folder: Path) -> Path:
    return write(make_results(folder, NOTEBOOK, seeds=6, epochs=20), make_metadata(NOTEBOOK))


def one_axis(folder: Path) -> Path:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", "layer", "batch")}
    return write(make_results(folder, axes), make_metadata(axes))


def one_seed(folder: Path) -> Path:
    return write(make_results(folder, seeds=1), make_metadata())


def one_run(folder: Path) -> Path:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none",)}
    return write(make_results(folder, axes, seeds=1, epochs=1), make_metadata(axes))


def all_diverged(folder: Path) -> Path:
    results = make_results(folder)
    hit = results.runs["seed"] >= 0
    return write(
        end_runs(results, hit, "diverged", "the loss is not finite in epoch 2"), make_metadata()
    )


def interrupted(folder: Path) -> Path:
    results = make_results(folder)
    retained = results.runs.sample(frac=0.6, random_state=1)
    results = replace(results, runs=retained)
    bad = end_runs(results, retained["seed"] == 3, "failed", "RuntimeError: no memory\n  at line 7")
    return write(bad, make_metadata())


def strange_names(folder: Path) -> Path:
    axes = {"norm": ("none", EVIL, "$x_{", "W" * 200), f"axis {EVIL}": ("&", '"><img src=x>')}
    metadata = make_metadata(axes, study=EVIL, description=EVIL, cautions=(EVIL,), command=EVIL)
    return write(replace(make_results(folder, axes, seeds=6), study_toml=EVIL), metadata)


def many(folder: Path) -> Path:
    axes = {f"axis{i}": tuple(f"level{j}" for j in range(6)) for i in range(4)}
    return write(make_results(folder, axes, seeds=3, epochs=3), make_metadata(axes))


def two_seeds(folder: Path) -> Path:
    return write(make_results(folder, seeds=2), make_metadata())


def noise(folder: Path) -> Path:
    results = make_results(folder, NOTEBOOK, seeds=5)
    losses = np.exp(np.random.default_rng(5).normal(size=len(results.runs)))
    return write(
        replace(results, runs=results.runs.assign(val_loss=losses)), make_metadata(NOTEBOOK)
    )


def long_axes(folder: Path) -> Path:
    axes: dict[str, tuple[object, ...]] = {
        "regularizer": ("none", *(f"regularizer_with_strength_{i}" for i in range(29))),
        "norm": ("none", "layer"),
    }
    return write(make_results(folder, axes, seeds=20), make_metadata(axes))


def many_columns(folder: Path) -> Path:
    axes = {
        axis: ("none", *(f"{axis}_level_{i}" for i in range(size)))
        for axis, size in (("first", 13), ("second", 24))
    }
    return write(make_results(folder, axes, seeds=2), make_metadata(axes))


def by_metric(folder: Path) -> Path:
    return write(with_metrics(folder), metadata_by("f1_macro"))


def compared(folder: Path) -> Path:
    before = make_results(folder)
    metadata = make_metadata()
    after = replace(before, runs=before.runs.assign(val_loss=before.runs["val_loss"] * 1.1))
    comparison = compare(before, after, (metadata, metadata), ("before", f"after {EVIL}"))
    page = folder / "comparison.html"
    page.write_text(render_comparison(comparison, metadata), encoding="utf-8")
    return page


def several(folder: Path) -> Path:
    return write_several(folder, ("a", "W" * 60, EVIL, "d", "e", "f"))


def several_plain(folder: Path) -> Path:
    return write_several(folder, ("iris", "wine", "breast_cancer", "diabetes", "digits", "sea"))


def write_several(folder: Path, names: Sequence[str]) -> Path:
    stored, metadata = several_tasks(folder, names)
    results = Results.from_stored(stored, metadata)
    data = build_tasks_data(results, dict.fromkeys(results.by_task, "report-of-x.html"))
    page = folder / "report.html"
    drawings = draw_figures(list_tasks_figures(data))
    page.write_text(render_tasks_page(data, drawings, "figures"), encoding="utf-8")
    return page


def list_reports() -> list[Path]:
    """The pages in the folders that ``ABLATIONS_REPORTS`` names, which are checked as well."""
    folders = os.environ.get("ABLATIONS_REPORTS", "").split(os.pathsep)
    return [path for name in filter(None, folders) for path in sorted(Path(name).rglob("*.html"))]


PAGES: dict[str, Callable[[Path], Path]] = {
    function.__name__: function
    for function in (
        *(usual, whole_notebook, one_axis, one_seed, one_run, all_diverged, interrupted),
        *(two_seeds, noise, long_axes, strange_names, many, by_metric, compared, several),
        *(several_plain, many_columns),
    )
}
UNREASONABLE = {"strange_names", "several"}
"""Pages with names of 60 letters and more, for which a figure has no room."""
PAGES |= {str(path): lambda _, path=path: path for path in list_reports()}  # type: ignore[misc]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write each page once, whichever worker of pytest needs it first."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "pages"

    def page(name: str) -> Path:
        folder = root / re.sub(r"\W+", "-", name)
        folder.mkdir(parents=True, exist_ok=True)
        address = folder / "address.txt"
        with filelock.FileLock(folder / "lock"):
            if not address.exists():
                address.write_text(str(PAGES[name](folder)))
        return Path(address.read_text())

    return page


def open_folds(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")


@pytest.fixture(scope="module")
def opened(
    request: pytest.FixtureRequest, browser: Any, pages: Callable[[str], Path]
) -> Iterator[Opened]:
    """Open each page once for all tests of pages, and check at the end what it requested."""
    opened = Opened(browser, pages(request.param))
    opened.page.evaluate("window.unfolded = new Set(document.querySelectorAll('details[open]'))")
    with opened:
        yield opened


@pytest.fixture
def shown(opened: Opened) -> Any:
    """An open page on a light screen with its folds as they were when it was opened."""
    page = opened.page
    page.emulate_media(media="screen", color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(
        "document.querySelectorAll('details').forEach("
        "fold => { fold.open = window.unfolded.has(fold); })"
    )
    return page


on_pages = pytest.mark.parametrize("opened", PAGES, indirect=True)


@on_pages
def test_no_request_is_made_and_nothing_sticks_out(opened: Opened, shown: Any) -> None:
    for is_open in (False, True):
        if is_open:
            open_folds(shown)
        for width in WIDTHS:
            shown.set_viewport_size({"width": width, "height": 900})
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
    opened.check()


@pytest.mark.parametrize(
    "opened", [name for name in PAGES if name not in UNREASONABLE], indirect=True
)
def test_no_text_lies_on_another_or_is_cut(shown: Any) -> None:
    for is_open in (False, True):
        if is_open:
            open_folds(shown)
        for width in (1440, 1024, 390):
            shown.set_viewport_size({"width": width, "height": 900})
            assert find_overlaps(shown) == [], (is_open, width)
            assert find_cut_texts(shown) == [], (is_open, width)


@on_pages
def test_no_heading_is_the_last_on_a_sheet(shown: Any) -> None:
    assert find_stranded(shown) == []


@on_pages
def test_axe_finds_nothing_and_every_mark_can_be_seen(shown: Any) -> None:
    """The last test of a page, since it opens a row of the explorer."""
    open_folds(shown)
    if shown.locator("#explorer-rows button").count():
        shown.locator("#explorer-rows button").first.click()
    # In the dark nothing but colours differs, by a test of the page's styles.
    for scheme, tag in (("light", ""), ("dark", "cat.color")):
        shown.emulate_media(color_scheme=scheme)
        assert list_violations(shown, tag=tag) == [], scheme
        contrasts = measure_contrasts(shown)
        assert {text: value for text, value in contrasts.items() if value < 3} == {}, scheme


def column(page: Any, number: int) -> list[str]:
    cells = page.locator(f"#table-ablation tbody td:nth-child({number})")
    return [cell.split("\n")[0] for cell in cells.all_inner_texts()]


def test_a_table_is_sorted_by_mouse_and_by_keyboard(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("whole_notebook")) as page:
        open_folds(page)
        head = page.locator("#table-ablation thead th").nth(2)
        values = "[...document.querySelectorAll('#table-ablation tbody td:nth-child(3)')]"
        numbers = f"{values}.map(cell => Number(cell.dataset.value))"
        before = page.evaluate(numbers)
        head.locator("button").click()
        assert page.evaluate(numbers) == sorted(before)
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert page.evaluate(numbers) == sorted(before, reverse=True)
        page.locator("#table-ablation thead button").first.click()
        assert column(page, 1) == sorted(column(page, 1))


def test_a_table_is_copied_as_other_programs_read_it(
    browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    reading = build_report_data(make_results(tmp_path), make_metadata())
    with Opened(browser, pages("usual")) as page:
        expect = pytest.importorskip("playwright.sync_api").expect
        open_folds(page)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        bar = page.locator('.copy[data-table="table-ablation"]')
        copied: dict[str, str] = {}
        for name in ("CSV", "Markdown", "LaTeX"):
            button = bar.locator("button").nth(len(copied))
            assert button.inner_text() == f"Copy as {name}"
            button.click()
            expect(button).to_have_text("copied")
            copied[name] = page.evaluate("navigator.clipboard.readText()")
        rows = list(csv.DictReader(copied["CSV"].splitlines()))
        names = [
            (row["technique or setting axis"], row["technique or setting level"]) for row in rows
        ]
        assert [name_level(*key) for key in names] == column(page, 1)
        assert [row["verdict"] for row in rows] == column(page, 2)
        effects = reading.effects.set_index(["axis", "level"])
        for levels, row in zip(names, rows, strict=True):
            effect = effects.loc[levels]
            assert float(row["change of validation loss"]) == effect["change"]
            ends = (float(row[f"{OVER_LOOKS} {end}"]) for end in ("low", "high"))
            assert (*ends,) == (effect["change_low"], effect["change_high"])
            assert (int(row["diverged"]), int(row["diverged of"])) == (0, effect["pairs"])
            assert int(row["settings \N{MULTIPLICATION SIGN} seeds seeds"]) == effect["seeds"]
        assert copied["Markdown"].startswith(
            "| technique or setting | verdict | change of validation loss |"
        )
        assert copied["Markdown"].count("\n") == len(rows) + 2
        assert r"\toprule" in copied["LaTeX"]
        shown = page.locator("#table-ablation thead th").count()
        assert copied["LaTeX"].count("&") == (len(rows) + 1) * (shown - 1)
        assert r"\%" in copied["LaTeX"]


def test_switches_stand_where_they_change_something(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("all_diverged")) as page:
        assert page.locator(".toggles:visible").count() == 0
    with Opened(browser, pages("usual"), width=1440) as page:
        (bar,) = page.locator(".toggles:visible").all()
        table = page.locator("#forest table").bounding_box()
        assert table["y"] - 60 < bar.bounding_box()["y"] < table["y"]
        assert [bar.bounding_box()["x"]] == [table["x"]]
        before = page.locator("#forest").inner_text()
        for name in ("ratio", "r2"):
            bar.get_by_role("button", name=name, exact=True).click()
            after = page.locator("#forest").inner_text()
            assert after != before
            before = after


def test_dark_is_dark_and_light_is_light(browser: Any, pages: Callable[[str], Path]) -> None:
    brightnesses = {}
    for scheme in ("light", "dark"):
        with Opened(browser, pages("usual"), scheme=scheme) as page:
            colours = page.evaluate(
                "[document.body, document.querySelector('figure')]"
                ".map(node => getComputedStyle(node).backgroundColor)"
            )
            brightnesses[scheme] = [
                sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours
            ]
    assert all(brightness > 600 for brightness in brightnesses["light"])
    assert all(brightness < 150 for brightness in brightnesses["dark"])


def test_what_people_call_things_is_text(browser: Any, pages: Callable[[str], Path]) -> None:
    with Opened(browser, pages("strange_names")) as page:
        page.locator("#explorer-rows button").first.click()
        assert page.locator("script").count() == 3
        assert EVIL in page.locator("h1").inner_text()
        assert page.locator("img[src=x]").count() == 0


def test_it_prints_without_what_only_a_screen_can_do(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("usual")) as page:
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()
        assert page.locator("#explorer-search").is_hidden()
        assert len(page.pdf()) > 20_000


def test_without_a_script_all_tables_are_there(
    browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(pages("usual").as_uri())
    assert page.locator("#table-ablation tbody tr").count() == 3
    assert "needs JavaScript" in page.locator("noscript").inner_text()
    assert page.locator("#forest .mark").count() == 6  # by the loss and by r2
    assert page.locator(".hint").is_hidden()
    page.goto(f"{pages('usual').as_uri()}#evidence-study")
    assert page.locator("#evidence-study pre").first.is_visible()
    context.close()


def test_the_first_screen_has_the_answer_and_all_of_the_forest(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("whole_notebook"), width=1440) as page:
        for selector in ("h1", ".badges", ".facts", "#forest"):
            box = page.locator(selector).bounding_box()
            assert box["y"] >= 0, selector
            assert box["y"] + box["height"] <= 900, selector
        answer, forest = (
            page.locator(selector).bounding_box() for selector in (".answer", "#forest")
        )
        assert answer["x"] + answer["width"] < forest["x"]
        page.set_viewport_size({"width": 1024, "height": 900})
        answer, forest = (
            page.locator(selector).bounding_box() for selector in (".answer", "#forest")
        )
        assert answer["y"] + answer["height"] < forest["y"]


def test_a_link_leads_to_everything_that_the_first_screen_claims(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    for name in ("usual", "noise", "all_diverged", "compared", "several"):
        with Opened(browser, pages(name)) as page:
            lost = page.evaluate(
                "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash.slice(1))"
                ".filter(id => !document.getElementById(decodeURIComponent(id)))"
            )
            assert lost == [], name


def test_text_has_a_measure_of_about_seventy_characters(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("usual"), width=1440) as page:
        open_folds(page)
        lengths = page.evaluate(
            "[...document.querySelectorAll('p, figcaption')].filter(p => p.checkVisibility())"
            ".map(p => { const range = document.createRange(); range.selectNodeContents(p);"
            " const lines = new Set([...range.getClientRects()].map(r => Math.round(r.bottom)));"
            " return [p.innerText.length / lines.size, lines.size]; })"
            ".filter(([, lines]) => lines > 2).map(([length]) => length)"
        )
        assert lengths
        assert max(lengths) < 80
