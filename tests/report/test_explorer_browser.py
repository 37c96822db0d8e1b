"""The explorer in a real browser: by mouse, by keyboard, and its numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.report.page import write_report

from .browsers import IN_BROWSER, Opened
from .studies import SMALL, make_metadata, make_results

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("explorer")
    axes = {f"axis{i}": tuple(f"level{j}" for j in range(6)) for i in range(4)}
    studies = {
        "usual": (make_results(folder / "usual"), make_metadata()),
        "many": (make_results(folder / "many", axes, seeds=3, epochs=3), make_metadata(axes)),
    }
    paths: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in paths:
            results, metadata = studies[name]
            results.folder.mkdir()
            paths[name], _ = write_report(results, metadata)
        return paths[name]

    return page


def shown(page: Any) -> list[str]:
    return [
        text.split("\n")[0]
        for text in page.locator("#explorer-rows button[aria-expanded]").all_inner_texts()
    ]


def test_the_explorer_works_by_keyboard_alone(
    browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    results = make_results(tmp_path)
    with Opened(browser, pages("usual")) as page:
        assert page.locator("#explorer-count").inner_text() == "6 of 6 configurations"
        select = page.locator('[data-axis="norm"]')
        select.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        assert select.input_value() == "1"
        assert page.locator("#explorer-count").inner_text() == "3 of 6 configurations"
        assert all(name.endswith("layer") for name in shown(page))
        first = page.locator("#explorer-rows button[aria-expanded]").first
        first.focus()
        page.keyboard.press("Enter")
        assert first.get_attribute("aria-expanded") == "true"
        name = first.inner_text().rsplit(", ", 1)
        runs = results.runs[
            (results.runs["regularizer"] == name[0]) & (results.runs["norm"] == name[1])
        ]
        commands = page.locator("#explorer-rows code").all_inner_texts()
        assert sorted(commands) == sorted(f"ablations rerun . {run}" for run in runs["run_id"])
        assert page.locator("#explorer-rows .curve").count() == 8
        page.keyboard.press("Enter")
        assert page.locator("#explorer-rows .curve").first.is_hidden()
        page.locator("#explorer-clear").click()
        assert len(shown(page)) == 6


def test_the_explorer_s_numbers_are_those_of_the_runs(
    browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    results = make_results(tmp_path)
    loss = np.log(results.runs["val_loss"]).groupby([results.runs[axis] for axis in SMALL]).mean()
    best = np.exp(loss).sort_values()
    with Opened(browser, pages("usual")) as page:
        assert shown(page) == [", ".join(levels) for levels in best.index]
        cells = page.locator("#explorer-rows tr > td:nth-child(2)").all_inner_texts()
        assert [float(cell) for cell in cells if cell] == pytest.approx(best.tolist(), rel=1e-3)
        with page.expect_download() as caught:
            page.locator("#explorer-download").click()
        rows = list(csv.DictReader(Path(caught.value.path()).read_text().splitlines()))
    by_id = {row["run_id"]: row for row in rows}
    assert len(rows) == len(by_id) == len(results.runs)
    for run in results.runs.itertuples():
        row = by_id[run.run_id]
        assert (row["regularizer"], row["norm"]) == (run.regularizer, run.norm)
        assert int(row["seed"]) == run.seed
        assert float(row["val_loss"]) == pytest.approx(run.val_loss, rel=1e-4)


def test_thousands_of_configurations_are_shown_a_page_at_a_time(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    with Opened(browser, pages("many")) as page:
        assert page.locator("#explorer-count").inner_text() == "1,296 of 1,296 configurations"
        assert len(shown(page)) == 25
        page.locator("#explorer-more").click()
        assert len(shown(page)) == 50
        page.locator("#explorer-order").select_option("loss")
        assert len(shown(page)) == 25
