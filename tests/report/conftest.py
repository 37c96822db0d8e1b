"""Results and a page that many tests read."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import pytest

from ablations.report.page import write_report
from ablations.results.store import StoredResults

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
