"""Workers that are stopped from outside are ended, and hold up nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ablations.execution import heartbeat, workers
from ablations.execution.dispatch import _death_reason
from ablations.execution.heartbeat import PATIENCE, STOPPED_PATIENCE, Watched, limit_patience
from ablations.execution.workers import Pool, WorkerDiedError

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the system counts no signs of life"
)

SILENT = WorkerDiedError("SIGKILL(-9)", memory=False, silent=True)


def make_call(patience: float, stopped: bool = False) -> Watched:
    return Watched(patience, lambda: stopped, lambda _: None)


def test_patience_is_short_with_a_stopped_worker_that_nobody_waits_for() -> None:
    assert heartbeat._patience((), "T") == STOPPED_PATIENCE
    assert heartbeat._patience((make_call(9.0, stopped=True),), "T") == STOPPED_PATIENCE
    assert heartbeat._patience((make_call(9.0),), "T") == 9.0
    assert heartbeat._patience((), "D") == PATIENCE
    assert heartbeat._patience((make_call(9.0), make_call(5.0, stopped=True)), "D") == 5.0


def test_patience_is_bounded_by_the_time_limit() -> None:
    assert limit_patience(None) == limit_patience(1e6) == PATIENCE
    assert limit_patience(2.0) == 5.0


def test_the_reason_of_a_run_says_that_its_worker_gave_no_sign_of_life() -> None:
    expected = "its worker process gave no sign of life each time, and was ended"
    assert _death_reason(SILENT, 9.0, None) == _death_reason(SILENT, 9.0, 2.0) == expected


def test_signs_of_life_change_while_a_process_runs_and_not_while_it_is_stopped() -> None:
    words = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.001)"]
    process = subprocess.Popen(words)
    try:
        first = heartbeat._read_signs(process.pid)
        time.sleep(0.1)
        assert heartbeat._read_signs(process.pid)[1] != first[1]
        process.send_signal(signal.SIGSTOP)
        while heartbeat._read_signs(process.pid)[0] != "T":
            time.sleep(0.001)
        first = heartbeat._read_signs(process.pid)
        time.sleep(0.1)
        assert heartbeat._read_signs(process.pid) == first
    finally:
        process.kill()
        process.wait()


def stop_once(marker: Path, number: int) -> int:
    """Stop this process at the first call of number 1."""
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


def again(call: tuple[Any, ...], death: WorkerDiedError) -> Iterator[int]:
    assert death.silent
    yield workers.call_isolated(stop_once, *call)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_calls_of_a_stopped_worker_are_made_again(tmp_path: Path, jobs: int) -> None:
    sentences: list[str] = []
    pool = Pool(jobs, "loky", 3.0, sentences.append)
    calls = [(tmp_path / "marker", number) for number in range(6)]
    values = workers.map_calls(stop_once, calls, pool, on_worker_death=again)
    assert sorted(values) == [0, 1, 2, 3, 4, 5]
    (sentence,) = sentences
    assert sentence.startswith("a worker process gave no sign of life for ")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stop_request_does_not_wait_for_a_stopped_worker(tmp_path: Path, jobs: int) -> None:
    marker, deaths = tmp_path / "marker", list[object]()
    calls = [(marker, number) for number in range(1, 40)]
    values = workers.map_calls(
        stop_once,
        calls,
        Pool(jobs, "loky"),
        on_worker_death=lambda *call: [deaths.append(call)],  # type: ignore[func-returns-value]
        is_stopped=marker.exists,
    )
    start = time.monotonic()
    list(values)
    assert time.monotonic() - start < PATIENCE
    assert not deaths  # nothing is begun again


def read_score(_: int) -> int:
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_where_memory_is_short_the_system_ends_a_worker_first(jobs: int) -> None:
    before = read_score(0)
    calls = [(number,) for number in range(4)]
    scores = workers.map_calls(read_score, calls, Pool(jobs, "loky"), on_worker_death=lambda *_: ())
    assert set(scores) == {max(before, workers.OOM_SCORE)}
    assert workers.call_isolated(read_score, 0) == max(before, workers.OOM_SCORE)
    assert read_score(0) == before


IDLE = """
import os, signal, sys, time
from ablations.execution import heartbeat, workers
from ablations.execution.workers import Pool
calls = [(number,) for number in range(4)]
list(workers.map_calls(abs, calls, Pool(2, "loky"), on_worker_death=lambda *_: ()))
for pid in heartbeat._worker_ids():
    os.kill(pid, signal.SIGSTOP)
    print(pid)
"""


@pytest.mark.slow
def test_a_process_that_ends_does_not_wait_for_stopped_workers() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IDLE], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    workers_of_it = result.stdout.split()
    assert len(workers_of_it) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers_of_it)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_worker_ends_a_study_with_one_signal(tmp_path: Path, number: int) -> None:
    (tmp_path / "study.toml").write_text(
        'task = "notebook"\nname = "s"\nepochs = 400\nseeds = 40\n'
    )
    out = tmp_path / "out"
    words = ["run", str(tmp_path / "study.toml"), "--out", str(out), "--no-report", "--jobs", "2"]
    words = [sys.executable, "-m", "ablations", *words, "--engine", "loop"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not any(out.glob("runs/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        stopped = next(pid for pid in children if heartbeat._is_worker(pid))
        os.kill(int(stopped), signal.SIGSTOP)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "to continue: ablations run" in stderr
    assert not Path(f"/proc/{stopped}").exists()
