"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from ablations.core import registry

# Each worker of pytest has a core: threads of PyTorch beyond it would only wait for one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in the background ignores interrupts, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines that run this are shared: how long an example takes there says nothing.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say how much to test."""
    parser.addoption("--slow", action="store_true", help="add the slow tier, marked 'slow'")
    parser.addoption("--kills", type=int, default=25, help="how often the stress test kills")
    parser.addoption("--grids", type=int, default=120, help="how many grids are generated")
    parser.addoption("--forged", type=int, default=12, help="how many folders are forged")
    help_text = "write what golden tests expect anew, after an intended change"
    parser.addoption("--rewrite-golden", action="store_true", help=help_text)


@pytest.fixture
def temporary_registry() -> Iterator[None]:
    """Discard what a test registers."""
    with registry.temporary():
        yield


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time no steps after training unless a test asks for it: a busy machine trains for long, and
    would time for a third of that.
    """
    monkeypatch.setattr("ablations.execution.timing.PHASE_SECONDS", 0.0)


@pytest.fixture
def unaudited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the audit, half of a short study's time, where the test is about the answer."""
    monkeypatch.setattr("ablations.execution.audit._select_groups", lambda *_, **__: [])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tier, unless ``--slow`` adds it."""
    if config.getoption("--slow"):
        return
    slow_items = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow_items)
