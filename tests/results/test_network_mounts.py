"""Whole commands on a file system without locks: a small library makes flock fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations import Study, load

from ..studies import SMALL, run, same

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no compiler"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing can be preloaded"),
]
LIBRARY = """
#include <errno.h>
#include <stdlib.h>
#include <string.h>
int flock(int handle, int operation) { errno = atoi(getenv("FLOCK_ERROR")); return -1; }
int gethostname(char *name, size_t size) { strncpy(name, getenv("HOST"), size); return 0; }
"""
NUMBERS = {"ENOSYS": 38, "ENOLCK": 37, "EOPNOTSUPP": 95}  # of Linux
COMMAND = """
import sys
from ablations.results import lease
lease.LEASE_SECONDS = 3.0
from ablations.cli import main
main()
"""
HOLD = """
import os, signal, sys
from pathlib import Path
from ablations.results import lease
lease.LEASE_SECONDS = float(sys.argv[2])
from ablations.results.lock import write_lock
with write_lock(Path(sys.argv[1]), print) as confirm:
    print("held", flush=True)
    for line in sys.stdin:
        try:
            confirm()
            print("confirmed", flush=True)
        except Exception as error:
            print(error, flush=True)
"""
STUDY = Study(**(SMALL | {"seeds": 12, "epochs": 5}))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "nolocks.c").write_text(LIBRARY)
    path = folder / "nolocks.so"
    words = [str(COMPILER), "-shared", "-fPIC", "-o", str(path), str(folder / "nolocks.c")]
    subprocess.run(words, check=True)
    return path


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(library: Path) -> Iterator[Start]:
    """Start Python where flock fails, on a host of this name."""
    processes = []

    def start_python(
        code: str, *words: object, host: str = "here", error: str = "ENOLCK"
    ) -> subprocess.Popen[str]:
        variables = {"LD_PRELOAD": str(library), "HOST": host, "FLOCK_ERROR": str(NUMBERS[error])}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_python
    for process in processes:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin
    process.stdin.write("?\n")
    process.stdin.flush()
    return read_line(process)


@pytest.mark.parametrize("error", ["ENOLCK"])  # test_lock.py has the others
def test_two_writers_without_locks_lose_double_and_mix_nothing(
    tmp_path: Path, start: Start, error: str
) -> None:
    alone = run(STUDY, tmp_path / "alone", engine="loop")
    (tmp_path / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    words = ("run", tmp_path / "study.toml", "--out", tmp_path / "out", "--no-report")
    both = [start(COMMAND, *words, "--engine", "loop", error=error) for _ in range(2)]
    ends = [(process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert sum("another command is writing" in stderr for (_, stderr), _ in ends) == 1
    same(load(tmp_path / "out"), alone)
    assert len(list((tmp_path / "out" / "runs").iterdir())) < 9


def test_the_lease_of_a_process_that_was_killed_here_ends_at_once(
    tmp_path: Path, start: Start
) -> None:
    owner = start(HOLD, tmp_path, 60)
    assert read_line(owner) == "held"
    owner.kill()
    owner.wait()
    second = start(HOLD, tmp_path, 60)
    assert read_line(second) == "held"
    assert ask(second) == "confirmed"


def test_the_lease_of_a_process_that_was_killed_elsewhere_expires(
    tmp_path: Path, start: Start
) -> None:
    owner = start(HOLD, tmp_path, 3, host="elsewhere")
    assert read_line(owner) == "held"
    owner.kill()
    owner.wait()
    begin = time.monotonic()
    second = start(HOLD, tmp_path, 3)
    assert "another command is writing" in read_line(second)
    assert read_line(second) == "held"
    assert time.monotonic() - begin > 3


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_an_owner_that_wakes_up_too_late_notices(tmp_path: Path, start: Start, host: str) -> None:
    owner = start(HOLD, tmp_path, 2, host=host)
    assert read_line(owner) == "held"
    assert ask(owner) == "confirmed"
    owner.send_signal(signal.SIGSTOP)
    second = start(HOLD, tmp_path, 2)
    assert "another command is writing" in read_line(second)
    assert read_line(second) == "held"
    owner.send_signal(signal.SIGCONT)
    assert "another command writes here" in ask(owner)
    assert ask(second) == "confirmed"


def test_a_command_that_wakes_up_too_late_ends_and_changes_nothing(
    tmp_path: Path, start: Start
) -> None:
    alone = run(STUDY, tmp_path / "alone", engine="loop")
    (tmp_path / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    out = tmp_path / "out"
    words = ("run", tmp_path / "study.toml", "--out", out, "--no-report", "--engine", "loop")
    sleeper = start(COMMAND, *words, "--backend", "sequential", host="elsewhere")
    deadline = time.monotonic() + 60
    while not any(out.glob("runs/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    sleeper.send_signal(signal.SIGSTOP)
    second = start(COMMAND, *words)
    _, stderr = second.communicate(timeout=120)
    assert second.returncode == 0, stderr
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    sleeper.send_signal(signal.SIGCONT)
    _, stderr = sleeper.communicate(timeout=120)
    assert sleeper.returncode == 1, stderr
    assert "another command writes here" in stderr
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    tables = {path for path in before if path.suffix != ".parquet" or path.parent.name != "curves"}
    assert {path: after.get(path) for path in tables} == {path: before[path] for path in tables}
    same(load(out), alone)
