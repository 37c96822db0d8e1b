"""What a network learns of a column with many categories: ``python -m bench.categories``.

A planted table: each code has a mean of its own, and noise around it.  Prints R² on the test rows
of the default network for each way to encode the codes, mean over the seeds, and that of the
shrunken means of the codes (an empirical Bayes estimate; Efron & Morris, 1975) as a ceiling.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ablations
from ablations import Study
from ablations.core.random import Streams
from ablations.execution.progress import Silent

CODES, ROWS, SEEDS = 300, 6_000, 4
SPREAD, NOISE = 0.6, 1.0
"""Standard deviation of the means of the codes, and of the noise."""
WAYS: dict[str, dict[str, Any]] = {
    "a pattern of 64 inputs by its hash (default)": {},
    "the 100 most frequent, the others together": {"many_categories": "other"},
    "an indicator each": {"max_categories": 1_000_000},
    "as a number": {"types": {"code": "number"}},
}


def write_example(path: Path, codes: int, rows: int) -> None:
    """Write a table of a code and a target."""
    rng = np.random.default_rng(0)
    code = rng.integers(0, codes, rows)
    targets = rng.normal(0, SPREAD, codes)[code] + rng.normal(0, NOISE, rows)
    frame = pd.DataFrame({"code": code + 1_000, "x": rng.normal(size=rows), "y": targets})
    frame.to_csv(path, index=False)


def shrunken_r2(study: Study) -> float:
    """Return R² of the shrunken mean of each code, of a study that reads codes as numbers."""
    values = []
    for seed in study.seeds:
        data = study.task.data(Streams(seed, study.fixed))
        assert data.x_test is not None
        assert data.y_test is not None
        amounts = np.concatenate([data.x_train[:, 0].numpy(), data.x_test[:, 0].numpy()])
        code = np.unique(amounts, return_inverse=True)[1]
        y, y_test = data.y_train[:, 0].numpy(), data.y_test[:, 0].numpy()
        counts = np.bincount(code[: len(y)], minlength=code.max() + 1)
        sums = np.bincount(code[: len(y)], y, len(counts))
        # The mean of a code without training rows is that of all, 0.
        predicted = (sums / (counts + NOISE**2 / SPREAD**2))[code[len(y) :]]
        values.append(1 - ((y_test - predicted) ** 2).mean() / y_test.var())
    return float(np.mean(values))


def main() -> None:
    """Train, and print a row for each encoding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=CODES)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    sys.stdout.write("| codes | R² |\n| --- | ---: |\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_example(path, options.codes, options.rows)
        table = {"name": "csv", "path": str(path), "target": "y", "types": {"code": "category"}}
        for number, (name, keys) in enumerate(WAYS.items()):
            study = Study(task=table | keys, name="codes", seeds=SEEDS, axes={"norm": ["none"]})
            out = Path(folder) / str(number)
            runs = ablations.run(study, out, with_report=False, reporter=Silent(), jobs=1).runs
            sys.stdout.write(f"| {name} | {runs['r2'].mean():.3f} |\n")
        ceiling = shrunken_r2(study)
    sys.stdout.write(f"| shrunken means of the codes | {ceiling:.3f} |\n")


if __name__ == "__main__":
    main()
