"""Results, a page and a browser that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import pytest

from ablations.report.page import write_report
from ablations.results.store import StoredResults

from .browsers import CHROMIUM, QUIET
from .pages import Page, read_page
from .studies import make_metadata, make_results


@pytest.fixture(scope="session")
def settings() -> dict[Any, Any]:
    """The settings of matplotlib before anything is drawn."""
    return dict(mpl.rcParams)


@pytest.fixture(scope="session")
def usual(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[Any, Any]
) -> tuple[StoredResults, Page]:
    results = make_results(tmp_path_factory.mktemp("usual"))
    path, _ = write_report(results, make_metadata())
    return results, read_page(path)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()
