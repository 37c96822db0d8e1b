"""Studies killed, interrupted and crowded at random moments end with the numbers of a calm one.

``nox -s stress`` does the same many more times.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ablations import Results, Study, cli, load
from ablations.results import shards

from ..studies import run, same

# A command starts at once where this is imported already.
PRELOADED = [
    "ablations.cli",
    "ablations.execution.run",
    "ablations.report.summary",
    "torch._dynamo",
]
if "forkserver" not in multiprocessing.get_all_start_methods():
    pytest.skip("processes cannot be forked here", allow_module_level=True)
FORKS = multiprocessing.get_context("forkserver")

ROUND = 25
"""Kills that a study takes before it is let finish."""
STUDY = Study(
    task="notebook",
    name="stress",
    epochs=20,
    seeds=300,
    axes={"norm": ["none", "layer", "batch"], "regularizer": ["none", "dropout"]},
)
SMALL = STUDY.replace(seeds=10).with_epochs(5)


def command(ready: Any, *words: str) -> None:
    """What the ``ablations`` command does, quietly."""
    ready.set()
    sys.argv = ["ablations", *words]
    with Path(os.devnull).open("w") as nobody:
        sys.stdout = sys.stderr = nobody
        try:
            cli.main()
        except SystemExit as end:
            # A fork would wait for idle workers, which the command itself ends when it does.
            os._exit(int(end.code or 0))


def started(*words: str | Path) -> multiprocessing.process.BaseProcess:
    FORKS.set_forkserver_preload(PRELOADED)
    ready = FORKS.Event()
    process = FORKS.Process(target=command, args=(ready, *map(str, words)), daemon=False)
    process.start()
    assert ready.wait(60), "the command did not start"
    return process


def workers(parent: int) -> list[int]:
    """The worker processes of a command."""
    result = subprocess.run(
        ["pgrep", "-f", "popen_loky_posix", "-P", str(parent)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [int(word) for word in result.stdout.split()]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("calm"), jobs=2, compile="never")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The words of a command for the study, without its jobs."""
    (tmp_path / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    where = [str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]
    return ["run", *where, "--no-report", "--time-budget", "0", "--compile", "never"]


def finish(words: list[str], out: Path, calm: Results) -> None:
    last = started(*words)
    last.join(300)
    assert last.exitcode == 0
    same(load(out), calm)
    assert not [path for path in out.rglob("*") if path.name.startswith((".writing", ".stop"))]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgrep") is None, reason="there is no pgrep to find workers with")
def test_killed_at_random_moments_and_continued_every_run_is_there_once_with_the_same_bits(
    calm: Results, words: list[str], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    dice = random.Random(4)
    for _ in range(max(1, pytestconfig.getoption("--kills") // ROUND)):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        struck = kill_at_random(dice, words, tmp_path / "out", calm)
        assert min(struck.values()) > 0
        assert sum(struck.values()) > ROUND / 2
        finish(words, tmp_path / "out", calm)


def kill_at_random(
    dice: random.Random, words: list[str], out: Path, calm: Results
) -> dict[str, int]:
    """Kill a command, or one of its workers, and go on; how often which struck."""
    struck = {"parent": 0, "worker": 0}
    process = None
    pace = 0.0  # seconds in which this machine, slow or fast, starts and finishes some runs
    for number in range(ROUND):
        # A third with workers, which take seconds to start.
        jobs = 2 if number % 3 == 0 else 1
        if process is None or not process.is_alive():
            if out.exists() and len(load(out).runs) == len(calm.runs):
                same(load(out), calm)
                shutil.rmtree(out)  # there has to be work to disturb
            process = started(*words, "--jobs", str(jobs))
        if not pace:
            start = time.monotonic()
            appears(lambda: any(out.glob("runs/*.parquet")))
            pace = time.monotonic() - start
        time.sleep(dice.uniform(0, pace))
        victims = workers(process.pid or 0)
        if victims and dice.random() < 0.6:
            struck["worker"] += 1
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
            continue
        struck["parent"] += process.is_alive()
        process.kill()
        process.join()
    if process is not None:
        process.kill()
        process.join()
    return struck


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted_at_random_moments_and_continued_it_is_the_same(
    calm: Results, words: list[str], tmp_path: Path, jobs: str, pytestconfig: pytest.Config
) -> None:
    dice = random.Random(5)
    for _ in range(max(2, pytestconfig.getoption("--kills") // 5)):
        process = started(*words, "--jobs", jobs)
        time.sleep(dice.uniform(0.3, 5 if jobs == "2" else 1.5))
        for _ in range(dice.choice([1, 2])):
            with suppress(ProcessLookupError):  # gone at the first
                os.kill(process.pid or 0, dice.choice([signal.SIGINT, signal.SIGTERM]))
            time.sleep(dice.uniform(0, 0.1))
        process.join(60)
        assert process.exitcode == cli.INTERRUPTED or len(load(tmp_path / "out").runs) == 1_800
    finish(words, tmp_path / "out", calm)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--backend", "sequential"),
        ("--backend", "threading", "--jobs", "2"),
        ("--jobs", "1", "--timeout", "60"),
        ("--jobs", "2"),
    ],
)
def test_the_second_signal_stops_at_once_and_leaves_no_process(
    words: list[str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    words = [sys.executable, "-m", "ablations", *words, "--engine", "loop", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    appears(lambda: any((tmp_path / "out").glob("runs/*.parquet")))
    worker_ids = workers(process.pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.3)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == cli.INTERRUPTED, stderr
    assert "to continue: ablations run" in stderr
    appears(lambda: not any(map(alive, worker_ids)))


@pytest.mark.slow
def test_workers_that_are_only_starting_do_not_outlive_a_command_that_is_killed(
    words: list[str],
) -> None:
    process = started(*words, "--jobs", "2")
    appears(lambda: len(workers(process.pid or 0)) == 2)
    worker_ids = workers(process.pid or 0)
    process.kill()
    appears(lambda: not any(map(alive, worker_ids)))


def appears(there: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process is there and more than an entry that nobody has collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
def test_two_writers_started_at_once_lose_double_and_mix_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    alone = run(SMALL, tmp_path / "alone", engine="loop")
    (tmp_path / "study.toml").write_text(SMALL.to_toml(), encoding="utf-8")
    for number in range(max(3, pytestconfig.getoption("--kills") // 3)):
        out = tmp_path / str(number)
        words = ("run", tmp_path / "study.toml", "--out", out, "--no-report", "--engine", "loop")
        both = [started(*words) for _ in range(2)]
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        same(load(out), alone)
        stored = shards.read(out / "runs")
        assert sum(len(shard.table) for shard in stored) == len(alone.runs)


FULL = """
set -e
mount -t tmpfs -o size=512k tmpfs "$1"
cd "$1"
run() { "$2" -m ablations run "$3" --out out --no-report --time-budget 0 --jobs 1; }
run "$@" 2> "$4" || echo "$?" >> "$4"
"$2" -c "import ablations; print(len(ablations.load('out').runs))" >> "$4"
mount -o remount,size=64m "$1"
run "$@"
cp -r out "$5"
"""


def cannot_mount() -> str:
    if shutil.which("unshare") is None:
        return "there is no unshare here"
    script = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    return (result.stderr.strip() or "unshare failed") if result.returncode else ""


CANNOT_MOUNT = cannot_mount()


@pytest.mark.slow
@pytest.mark.skipif(bool(CANNOT_MOUNT), reason=f"no small file system: {CANNOT_MOUNT}")
def test_on_a_full_disk_what_is_finished_can_be_read_and_with_room_it_goes_on(
    calm: Results, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (tmp_path / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    stderr, out = tmp_path / "stderr", tmp_path / "out"
    arguments = [str(small), sys.executable, str(tmp_path / "study.toml"), str(stderr), str(out)]
    subprocess.run(["unshare", "-rm", "bash", "-c", FULL, "-", *arguments], check=True)
    *_, error, code, finished = stderr.read_text(encoding="utf-8").splitlines()
    assert error.startswith("error: ")
    assert "No space left on device; what was finished is kept" in error
    assert code == "1"
    assert 0 < int(finished) < len(calm.runs)
    same(load(out), calm)
