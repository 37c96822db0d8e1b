"""Run pytest on the suite beside this file; what it prints goes to a log."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    words = ["-c", str(HERE / "pytest.ini"), "-p", "no:cacheprovider", *sys.argv[1:]]
    log = (HERE / "log.txt").open("a", encoding="utf-8")
    with log, redirect_stdout(log), redirect_stderr(log):
        status = pytest.main([*words, str(HERE / "test_suite.py")])
    raise SystemExit(status)
