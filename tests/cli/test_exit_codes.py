"""The table of exit codes in README.md, line by line."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ablations import Study
from ablations.cli import FAILED, INTERRUPTED, WRONG_REQUEST, app
from ablations.core.errors import AuditError, WriteError

from ..studies import SMALL, run

README = Path(__file__).parents[2] / "README.md"
STUDY = Study(**(SMALL | {"seeds": 2, "epochs": 1, "axes": {"norm": ["none", "batch"]}}))
TABLE = README.read_text(encoding="utf-8").partition("### Exit codes")[2].partition("## ")[0]
ROWS = dict(re.findall(r"^\| (.+) \| (\d+) \|$", TABLE, re.MULTILINE))


def code(beginning: str) -> int:
    """The exit code of the only line of the table that begins so."""
    (number,) = [number for text, number in ROWS.items() if text.startswith(beginning)]
    return int(number)


def ablations(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    (folder / "study.toml").write_text(STUDY.to_toml(), encoding="utf-8")
    for name in ("one", "two"):
        run(STUDY, folder / name, engine="loop")
    return folder


def words_of(folder: Path) -> dict[str, tuple[str | Path, ...]]:
    """Each command that writes, with words that make it write."""
    study = folder / "study.toml"
    return {
        "run": ("run", study, "--out", folder / "new", "--no-report", "--engine", "loop"),
        "time": ("time", study, "--out", folder / "one", "--budget", "1"),
        "merge": ("merge", folder / "one", folder / "two", "--out", folder / "all"),
        "compare": ("compare", folder / "one", folder / "two"),
        "report": ("report", folder / "one"),
        "repair": ("repair", folder / "one"),
    }


def test_every_line_of_the_table_has_a_test_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    beginnings = re.findall(r'code\("(.+?)"\)', text)
    assert [row for row in ROWS if not row.startswith(tuple(beginnings))] == []
    assert len(ROWS) == 14


def test_done_is_0(folder: Path) -> None:
    assert ablations("effects", folder / "one").exit_code == code("The command did what")


@pytest.mark.parametrize("command", ["run", "time", "merge", "compare", "report", "repair"])
def test_a_full_disk(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    result = ablations(*words_of(folder)[command])
    assert result.exit_code == code("The disk is full") == FAILED, result.output
    (message,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in message
    assert "kept" in message
    assert not (folder / "all").exists()


def test_failed_runs(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: object) -> object:
        raise RuntimeError("broken machine")

    monkeypatch.setattr("ablations.training.loop.train", fail)
    words = ("run", folder / "study.toml", "--out", tmp_path / "out", "--engine", "loop")
    result = ablations(*words, "--jobs", "1", "--no-report")
    assert result.exit_code == code("Runs failed") == FAILED


@pytest.mark.parametrize(
    ("error", "beginning"),
    [(AuditError("wrong"), "The audit"), (WriteError("another command"), "Another command")],
)
def test_an_error_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, beginning: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("ablations.execution.run.run_study", fail)
    result = ablations(*words_of(folder)["run"])
    assert (
        result.exit_code
        == {
            "The audit": code("The audit"),
            "Another command": code("Another command"),
        }[beginning]
    )
    assert f"error: {error}" in result.stderr


def test_a_regression(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.execution.compare import ComparisonReport

    report = ComparisonReport(("worse",), ("worse",), folder / "page.html")
    monkeypatch.setattr("ablations.execution.compare.compare_folders", lambda *_, **__: report)
    words = words_of(folder)["compare"]
    assert ablations(*words, "--fail-on-regression").exit_code == code("Results got worse")
    assert ablations(*words).exit_code == 0


def test_a_wrong_request(folder: Path) -> None:
    study = folder / "study.toml"
    for words in (
        ("unknown",),
        ("run", study, "--unknown"),
        ("run", "unknown"),
        ("run", study, "--seeds", "many"),
        ("effects", folder / "one", "--of", "unknown"),
    ):
        assert ablations(*words).exit_code == code("An option, a study") == WRONG_REQUEST


def test_no_results_or_damaged_ones(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("changed")
    for place in (folder, tmp_path, tmp_path / "nowhere"):
        assert ablations("effects", place).exit_code == code("A folder holds no results")


def test_a_folder_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = folder / "study.toml"
    for command in (("run", study, "--no-report"), ("merge", folder / "one", folder / "two")):
        result = ablations(*command, "--out", study / "below")
        assert result.exit_code == code("Nothing can be written") == WRONG_REQUEST, result.output

    def refuse(handle: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", refuse)
    result = ablations(*words_of(folder)["run"])
    assert result.exit_code == code("Nothing can be written"), result.output


# -------------------------------------------------------------- whole processes

POSIX = pytest.mark.skipif(os.name != "posix", reason="these are of POSIX systems")
NEEDS_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
LIST = f"{sys.executable} -m ablations list techniques"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, whose exit code is that of the first command of a pipe."""
    line = f"{line}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=300
    )


@POSIX
def test_a_reader_that_stops_early() -> None:
    result = shell(f"{LIST} | head -c 1")
    assert result.returncode == code("The reader of standard output"), result.stderr
    assert not result.stderr


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams(closed: str) -> None:
    result = shell(f"{LIST} {closed}")
    assert result.returncode == code("Standard output or standard error is closed"), result.stderr
    assert not result.stderr
    assert result.stdout if closed == "2>&-" else not result.stdout


@NEEDS_FULL
def test_full_standard_output() -> None:
    result = shell(f"{LIST} > /dev/full")
    assert result.returncode == code("Standard output cannot be written")
    (message,) = result.stderr.splitlines()
    assert message.startswith("error: standard output: No space left on device")


@pytest.mark.slow
@NEEDS_FULL
@pytest.mark.parametrize("stream", ["2> /dev/full", "2>&-", ">&-", ">&- 2>&-"])
def test_a_study_is_trained_whatever_becomes_of_its_lines(
    folder: Path, tmp_path: Path, stream: str
) -> None:
    words = f"run {folder / 'study.toml'} --out {tmp_path / 'out'} --jobs 2 --time-budget 0"
    result = shell(f"{sys.executable} -m ablations {words} {stream}")
    assert result.returncode == code("Standard error cannot be written"), result.stderr
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals(folder: Path, tmp_path: Path, name: str) -> None:
    study = STUDY.replace(seeds=400).with_epochs(50)
    (tmp_path / "study.toml").write_text(study.to_toml(), encoding="utf-8")
    words = ["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ablations", *words, "--engine", "loop"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("out/runs/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, getattr(signal, name))  # as a terminal does, to the workers too
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == code("Ctrl-C, SIGTERM or SIGHUP") == INTERRUPTED, stderr
    assert "to continue: ablations run" in stderr
    assert not any(tmp_path.glob("out/.stop-*"))


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_after_the_end_changes_nothing(name: str) -> None:
    send = f"atexit.register(lambda: os.kill(os.getpid(), signal.{name}))"  # called after our own
    code = f"import atexit, os, signal; {send}; from ablations.cli import main; main()"
    words = [sys.executable, "-c", code, "list", "models"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mlp" in done.stdout
