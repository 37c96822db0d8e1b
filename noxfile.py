"""What people run: ``nox -s ablate``, ``nox -s tests``; and what keeps the project honest."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"

CONSTRAINTS = "constraints.txt"
REFERENCES = ("notebook", "cells", "digits", "deep", "small_batches", "images", "sequences")


def install(session: nox.Session, package: str) -> None:
    """The project, not editable, with the versions that it was tested with."""
    session.install("-c", CONSTRAINTS, package)


def surroundings(session: nox.Session) -> None:
    """All that the project needs but itself, which is installed in environments of its own."""
    told = nox.project.load_toml("pyproject.toml")["project"]
    extra = told["optional-dependencies"]["test"]
    session.install("-c", CONSTRAINTS, *told["dependencies"], *extra)


@nox.session
def ablate(session: nox.Session) -> None:
    """Run a study and write its report: ``nox -s ablate -- digits --seeds 20``."""
    install(session, ".")
    # The command itself answers to Ctrl-C, and takes its time to write what it has.
    session.run(
        "ablations", "run", *session.posargs, interrupt_timeout=None, terminate_timeout=None
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite, files in parallel; what stands behind -- goes to pytest."""
    install(session, ".[test]")
    many = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
    session.run("pytest", *many, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, the direction of imports, and types."""
    install(session, ".[lint,test]")
    session.install("-c", CONSTRAINTS, "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Time what the harness itself does, with pytest-benchmark; --history draws what was saved."""
    install(session, ".[test]")
    if "--history" in session.posargs:
        session.run("python", "bench/history.py")
        return
    session.run(
        "pytest",
        "bench",
        "--benchmark-storage=results/benchmarks",
        "--benchmark-autosave",
        *session.posargs,
    )


@nox.session
def regress(session: nox.Session) -> None:
    """Compare speed and quality with another revision, here: ``nox -s regress -- --base REV``."""
    surroundings(session)
    session.run("python", "-m", "bench.regression.regress", *session.posargs)


@nox.session
def golden(session: nox.Session) -> None:
    """Train small grids with another revision, too, and demand equal bits: ``--base REV``."""
    surroundings(session)
    session.run("python", "-m", "bench.golden", *session.posargs)


@nox.session
def trials(session: nox.Session) -> None:
    """Measure how often ``regress`` cries wolf, and what it catches; an hour or more."""
    surroundings(session)
    session.run("python", "-m", "bench.regression.trials", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Measure what a run costs in studies of 1,000 to 100,000 runs; a quarter of an hour."""
    install(session, ".")
    session.run("python", "bench/scale.py")


@nox.session
def prices(session: nox.Session) -> None:
    """Compare what plans say that studies take with what they take; ten minutes."""
    install(session, ".")
    session.run("python", "bench/prices.py")


@nox.session
def stress(session: nox.Session) -> None:
    """Kill, interrupt and crowd studies 250 times instead of 25; half an hour."""
    install(session, ".[test]")
    session.run("pytest", "tests/execution/test_stress.py", "--kills", "250", *session.posargs)


@nox.session
def calibration(session: nox.Session) -> None:
    """Measure error rates, coverage and power on 1,000 generated grids each, and print them."""
    install(session, ".[test]")
    many = ("--grids=1000", "--numprocesses=auto", "--maxprocesses=4", "-rP")
    session.run("pytest", "tests/analysis/test_calibration.py", *many, *session.posargs)


@nox.session
def reference(session: nox.Session) -> None:
    """Run the shipped studies afresh and keep their reports, and the pictures of the README."""
    install(session, ".")
    for study in session.posargs or REFERENCES:
        out = Path(session.create_tmp()) / study
        shutil.rmtree(out, ignore_errors=True)
        session.run("ablations", "run", study, "--out", str(out))
        kept = Path("results/reference") / study
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(out / "figures", kept / "figures", ignore=shutil.ignore_patterns("*.svg"))
        shutil.copy(out / "report.html", kept)
