"""This working tree against another revision, bit for bit: ``nox -s golden -- --base REV``.

Both train the grids of ``tests/golden/grids.py`` on this machine, at the same time and with the
same libraries, in every engine and precision.  Every column of runs, curves and audit must then
have the same name, type and bits, but for those that tell of time and place.  Exit 1 where one has
not.  ``python -m bench.golden --base-path FOLDER`` compares with a checkout, and installs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from bench.regression import revisions

GRIDS = revisions.ROOT / "tests" / "golden" / "grids.py"
TABLES = ("runs", "curves", "audit")
VARYING = ("train_seconds", "environment_id", "traceback")
"""Columns that tell of time and place."""
KEYS = ("run_id", "epoch")


def main() -> int:
    """Train with both, compare, and say what differs."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = options.base_path or checkout(options.base, folder / "base")
        python = interpreter(base, folder)
        sides = [("base", base.resolve(), python), ("here", revisions.ROOT, sys.executable)]
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(train, folder / "out", *side, options.compiled) for side in sides]
            before, after = (job.result() for job in jobs)
        names = sorted({path.name for side in (before, after) for path in tables(side)})
        lines = [line for name in names for line in differences(before / name, after / name)]
        rows = sum(len(pd.read_pickle(path)) for path in tables(after))
    say("\n".join(lines) or f"the same to the bit: {len(names)} tables of {rows:,} rows")
    return int(bool(lines))


def arguments() -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="nox -s golden --", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--base", help="revision to compare with (the merge base with main)")
    which.add_argument("--base-path", type=Path, help="a checkout to compare with")
    parser.add_argument("--compiled", action="store_true", help="train compiled programs, too")
    return parser.parse_args()


def checkout(revision: str | None, folder: Path) -> Path:
    """Write the files of a revision into ``folder``."""
    commit = revisions.resolve(revision) if revision else revisions.merge_base()
    revisions.committed(commit, folder)
    return folder


def interpreter(base: Path, folder: Path) -> str:
    """The Python that trains with ``base``: this one, unless it depends on other libraries."""
    if revisions.alike((base, revisions.ROOT)):
        return sys.executable
    say("the base depends on other libraries, which may round otherwise")
    return str(revisions.installed("base", base, folder / "python", shared=False).python)


def train(out: Path, name: str, source: Path, python: str, compiled: bool) -> Path:
    """Train every grid with the package in ``source``; the folder that holds the tables."""
    folder = out / name
    folder.mkdir(parents=True)
    script = shutil.copy(GRIDS, folder / "grids.py")
    words = [python, str(script), str(folder), *(["--compiled"] if compiled else [])]
    surroundings = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(words, cwd=folder, env=surroundings, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{process.stderr}")
    if Path(process.stdout.splitlines()[0]).resolve().parents[1] != source:
        raise SystemExit(f"{name} trained with {process.stdout}, not with {source}")
    return folder


def tables(folder: Path) -> list[Path]:
    """The files of all tables that a side wrote."""
    return [path for name in TABLES for path in folder.glob(f"*.{name}")]


def differences(first: Path, second: Path) -> Iterator[str]:
    """What differs between two tables, in lines."""
    if not (first.exists() and second.exists()):
        yield f"{first.name}: only one side wrote it"
        return
    before, after = (pd.read_pickle(path) for path in (first, second))
    if first.suffix == ".audit":  # whose order hangs on the environment
        before, after = (table.sort_values("run_id") for table in (before, after))
    if [*before.columns] != [*after.columns]:
        yield f"{first.name}: columns were {[*before.columns]} and are {[*after.columns]}"
    if len(before) != len(after):
        yield f"{first.name}: {len(before)} rows before, {len(after)} now"
        return
    for column in before.columns.intersection(after.columns):
        old, new = before[column], after[column]
        if old.dtype != new.dtype:
            yield f"{first.name}, {column}: was of type {old.dtype}, is of {new.dtype}"
        elif column not in VARYING and (unequal := np.flatnonzero(bits(old) != bits(new))).size:
            at = unequal[0]
            where = " ".join(str(before[key].iloc[at]) for key in KEYS if key in before)
            values = f"{old.iloc[at]!r} before, {new.iloc[at]!r} now"
            yield f"{first.name}, {column}: {unequal.size} of {len(old)}, first {where}: {values}"


def bits(column: pd.Series) -> np.ndarray:
    """Values that are equal only where all bits are; missing texts are equal."""
    if column.dtype == np.float64:
        return np.array(column, dtype=np.float64).view(np.int64)
    return np.array([None if pd.isna(value) else value for value in column], dtype=object)


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
