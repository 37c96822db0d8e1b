"""What people run: ``nox -s ablate``, ``nox -s tests``; and what keeps the project honest."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"

CONSTRAINTS = "constraints.txt"
# One more than cores, and at most four: a test that starts a command waits for it.
PARALLEL = (f"--numprocesses={min((os.cpu_count() or 1) + 1, 4)}", "--dist=worksteal")
PAGES = (
    *("ablations", "ablations.analysis", "ablations.techniques.base", "ablations.tasks.base"),
    *("ablations.models.base", "ablations.testing"),
)
BUILD_PAGES = """
import pathlib, sys
import ablations, pdoc
from ablations.tasks import base
for name in ablations.__all__:  # public names are imported on demand, which pdoc does not see
    setattr(ablations, name, getattr(ablations, name))
for cls in {*base.Regression.mro(), *base.Classification.mro()} - {object}:
    if "__init__" in vars(cls):  # pydantic's, of (*args, **kwargs); the attributes say more
        del cls.__init__
pdoc.render.configure(docformat="numpy")
pdoc.pdoc(*sys.argv[1:], output_directory=pathlib.Path("build/docs"))
"""
REFERENCES = ("notebook", "cells", "digits", "deep", "small_batches", "images", "sequences")


def install_package(session: nox.Session, package: str, *options: str) -> None:
    """Install the project, not editable, with the versions in constraints.txt.

    Does nothing where the environment holds the same sources already: pip takes seconds to see it.
    """
    stamp = Path(session.virtualenv.location) / "ablations-sources"
    sources = f"{package} {hash_sources()}"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == sources:
        session.log(f"{package} is installed with the present sources")
        return
    session.install("-c", CONSTRAINTS, *options, package)
    stamp.write_text(sources, encoding="utf-8")


def hash_sources() -> str:
    """Return a digest of everything that an installation depends on."""
    files = [Path(CONSTRAINTS), Path("pyproject.toml"), Path("README.md")]
    files += sorted(path for path in Path("ablations").rglob("*") if path.suffix != ".pyc")
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        if path.is_file():
            digest.update(f"{path} ".encode() + path.read_bytes())
    return digest.hexdigest()


def install_dependencies(session: nox.Session) -> None:
    """Install what the project needs, but not the project: two revisions have their own copies."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extra = project["optional-dependencies"]["test"]
    session.install("-c", CONSTRAINTS, *project["dependencies"], *extra)


@nox.session
def ablate(session: nox.Session) -> None:
    """Run a study and write its report: ``nox -s ablate -- digits --seeds 20``."""
    install_package(session, ".")
    # The command itself answers to Ctrl-C, and takes its time to write what it has.
    session.run(
        "ablations", "run", *session.posargs, interrupt_timeout=None, terminate_timeout=None
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tier of the tests; ``-- --slow`` adds the slow one. pytest gets the rest."""
    install_package(session, ".[test]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, the direction of imports, and types."""
    # Nothing but the tools is imported: to compile the rest to bytecode takes as long as to unpack.
    install_package(session, ".[lint,test]", "--no-compile")
    session.install("-c", CONSTRAINTS, "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the API pages out of the docstrings, in build/docs; a warning is an error."""
    install_package(session, ".[docs]", "--no-compile")
    shutil.rmtree("build/docs", ignore_errors=True)
    session.run("python", "-W", "error::UserWarning", "-c", BUILD_PAGES, *PAGES)


@nox.session
def bench(session: nox.Session) -> None:
    """Time what the harness itself does, with pytest-benchmark; --history draws what was saved."""
    install_package(session, ".[test]")
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
    install_dependencies(session)
    session.run("python", "-m", "bench.regression.regress", *session.posargs)


@nox.session
def golden(session: nox.Session) -> None:
    """Train small grids with another revision, too, and demand equal bits: ``--base REV``."""
    install_dependencies(session)
    session.run("python", "-m", "bench.golden", *session.posargs)


@nox.session
def trials(session: nox.Session) -> None:
    """Measure how often ``regress`` cries wolf, and what it catches; an hour or more."""
    install_dependencies(session)
    session.run("python", "-m", "bench.regression.trials", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Measure what a run costs in studies of 1,000 to 100,000 runs; a quarter of an hour."""
    install_package(session, ".")
    session.run("python", "bench/scale.py")


@nox.session
def prices(session: nox.Session) -> None:
    """Compare what plans say that studies take with what they take; ten minutes."""
    install_package(session, ".")
    session.run("python", "bench/prices.py")


@nox.session
def stress(session: nox.Session) -> None:
    """Kill 300 times instead of 25, damage 1,000 files, start 40 pairs of writers; an hour."""
    install_package(session, ".[test]")
    options = ("--slow", "--kills", "300", "-s")
    files = ("tests/execution/test_stress.py", "tests/execution/test_durability.py")
    session.run("pytest", *files, *options, *session.posargs)


@nox.session
def calibration(session: nox.Session) -> None:
    """Measure error rates, coverage and power of generated studies, and print them; half an hour.

    Names of simulations (``-- scope looks --studies 200``) run only these.
    """
    install_package(session, ".[test]")
    session.run("python", "-m", "bench.calibration", *session.posargs)
    if session.posargs:
        return
    options = ("--slow", "--grids=1000", *PARALLEL, "-rP")
    session.run("pytest", "tests/analysis/test_calibration.py", *options)


@nox.session
def reference(session: nox.Session) -> None:
    """Run the shipped studies afresh and keep their reports, and the pictures of the README."""
    install_package(session, ".")
    for study in session.posargs or REFERENCES:
        out = Path(session.create_tmp()) / study
        shutil.rmtree(out, ignore_errors=True)
        session.run("ablations", "run", study, "--out", str(out))
        reference_folder = Path("results/reference") / study
        shutil.rmtree(reference_folder, ignore_errors=True)
        without_svg = shutil.ignore_patterns("*.svg")
        shutil.copytree(out / "figures", reference_folder / "figures", ignore=without_svg)
        shutil.copy(out / "report.html", reference_folder)
