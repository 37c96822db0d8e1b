"""Run pytest on the suite beside this file; what it prints goes to a log."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WITHOUT = ("cacheprovider", "hypothesispytest", "xdist", "xdist.looponfail")

if __name__ == "__main__":
    # Plugins that are not needed take a second to import.
    off = [word for name in WITHOUT for word in ("-p", f"no:{name}")]
    words = ["-c", str(HERE / "pytest.ini"), *off, *sys.argv[1:]]
    log = (HERE / "log.txt").open("a", encoding="utf-8")
    with log, redirect_stdout(log), redirect_stderr(log):
        status = pytest.main([*words, str(HERE / "test_suite.py")])
    raise SystemExit(status)
