"""Where the system has too little memory, a command says so in one sentence."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import typer

from ablations.cli.app import FAILED, plain_errors
from ablations.core import errors
from ablations.core.errors import is_memory_error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        pa.ArrowMemoryError("realloc of size 512 failed"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_an_error_for_want_of_memory_is_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ending, plain_errors():
        raise error
    assert ending.value.exit_code == FAILED
    expected = "error: the system has too little memory for this command; what was there before is"
    assert capsys.readouterr().err == f"{expected} kept\n"


@pytest.mark.parametrize("limited", [True, False])
def test_an_error_without_room_for_its_exception_is_for_want_of_memory_under_a_limit(
    limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "is_limited", lambda: limited)
    error = SystemError("error return without exception set")
    assert is_memory_error(error) == limited
    with pytest.raises(typer.Exit if limited else SystemError), plain_errors():
        raise error


@pytest.mark.parametrize(
    "error", [ImportError("no module named x"), RuntimeError("shapes differ"), ValueError("memory")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_memory_error(error)
    with pytest.raises(type(error)), plain_errors():
        raise error


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are those of Linux")
@pytest.mark.parametrize("kilobytes", [300_000, 700_000, 900_000, 1_200_000])
def test_a_command_in_too_little_memory_prints_no_traceback(tmp_path: Path, kilobytes: int) -> None:
    command = f"ulimit -v {kilobytes}; exec '{sys.executable}' -m ablations run notebook"
    words = f"{command} --out '{tmp_path / 'out'}' --seeds 2 --no-report --jobs 1"
    result = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
    assert result.returncode == FAILED
    assert "Traceback" not in result.stderr
    assert "error: the system has too little memory for this command" in result.stderr
