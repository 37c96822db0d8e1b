"""What it costs to read a table: ``python -m bench.reading``.

A CSV file of 330,000 rows and 20 columns (numbers, whole numbers, words, dates, gaps) is read by
``pandas.read_csv`` and by this package, in one process, in an order drawn anew in each round.
Times are CPU times, which other work on the machine changes less than wall times.  Prints medians,
and the ratios of one round with their 95 % interval (Hodges & Lehmann, 1963), as Markdown.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ablations.analysis.inference import hodges_lehmann
from ablations.tasks.tabular.reader import content_hash, read_table

ROWS, ROUNDS = 330_000, 10


def write_example(path: Path, rows: int) -> None:
    """Write a table of 20 columns of all kinds, with some gaps."""
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {f"x{i}": rng.normal(size=rows) for i in range(12)}
    columns |= {f"n{i}": rng.integers(0, 1000, rows) for i in range(4)}
    columns["color"] = rng.choice(["red", "green", "blue"], rows)
    columns["shop"] = [f"shop {i}" for i in rng.integers(0, 5000, rows)]
    columns["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, rows), "D")
    columns["price"] = rng.normal(size=rows)
    frame = pd.DataFrame(columns)
    frame.loc[::50, "x3"] = np.nan
    frame.to_csv(path, index=False)


def read_anew(path: str) -> None:
    """Read a table, without the copy that an earlier call has stored."""
    for file in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.arrow"):
        file.unlink()
    read_table.cache_clear()
    read_table(path, "csv", content_hash(path))


def read_copy(path: str) -> None:
    """Read a table as a second command does."""
    read_table.cache_clear()
    read_table(path, "csv", content_hash(path))


READERS: dict[str, Callable[[str], object]] = {
    "`pandas.read_csv`": pd.read_csv,
    "read anew, copy stored": read_anew,
    "from the copy": read_copy,
}
"""Readers in the order of a round, but for the first two, which take turns."""


def measure(path: str, rounds: int) -> dict[str, list[float]]:
    """Return seconds of CPU time by reader, one number a round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in READERS}
    rng, (*first, last) = random.Random(0), READERS
    for _ in range(rounds + 1):
        rng.shuffle(first)
        for name in (*first, last):
            start = time.process_time()
            READERS[name](path)
            times[name].append(time.process_time() - start)
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    """Compare, and print a row for each reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = Path(folder) / "table.csv"
        write_example(path, options.rows)
        times = measure(str(path), options.rounds)
    sys.stdout.write("| reader | s | over pandas |\n| --- | ---: | ---: |\n")
    pandas = next(iter(times.values()))
    for name, values in times.items():
        shift = hodges_lehmann(np.log(np.array(values) / np.array(pandas)), 0.95)
        middle, low, high = np.exp([shift.estimate, shift.low, shift.high])
        interval = f"{middle:.2f} [{low:.2f}, {high:.2f}]" if values is not pandas else ""
        sys.stdout.write(f"| {name} | {np.median(values):.2f} | {interval} |\n")


if __name__ == "__main__":
    main()
