"""Progress: counts, rate and time left, in plain lines where there is no terminal."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from ablations.execution.progress import Live


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    live = Live(stream)
    live.begin(2400, 400)
    for _ in range(11):  # a line every ten seconds at most
        now[0] += 2
        live.update(Counter(ok=99, diverged=1))
    live.end()
    first, second, last = stream.getvalue().splitlines()
    assert first == "900/2,400 runs, 50.0 runs/s, 0:00:30 left, 5 diverged, 0 failed"
    assert second.startswith("1,400/2,400 runs")
    assert last.startswith("1,500/2,400 runs")


def test_the_last_line_tells_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    live = Live(stream)
    live.begin(10, 0)
    now[0] = 4000.0
    live.update(Counter(ok=8, failed=2))
    live.end()
    assert stream.getvalue().splitlines()[-1] == (
        "10/10 runs, 0.0 runs/s, in 1:06:40, 0 diverged, 2 failed"
    )


def test_nothing_left_to_train() -> None:
    stream = io.StringIO()
    live = Live(stream)
    live.begin(10, 10)
    live.end()
    assert stream.getvalue() == "10/10 runs, 0 diverged, 0 failed\n"
