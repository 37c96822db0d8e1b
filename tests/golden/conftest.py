"""A quiet, stable place for golden tests: an empty folder and a terminal of fixed width."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.golden.harness import FOLDER, Golden


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(bool(request.config.getoption("--rewrite-golden")))


@pytest.fixture(autouse=True)
def _stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TERMINAL_WIDTH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A copy of the fixed results folder, in the current folder."""
    shutil.copytree(FOLDER, tmp_path / "there")
    return Path("there")
