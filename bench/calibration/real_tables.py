"""Coverage of the effects of shipped techniques, for samples of large tables.

Each study trains on a sample of 250 rows, as on a table of one's own, with 20 seeds, of which the
first 10 are judged as well.  The effect on new data is the mean over the studies of a table, whose
standard error stands in the setting: an interval covers it less often than the effect itself.

Intervals about new data cover too often here.  With 10 seeds no split repeats, so that all of the
variance counts as the split's, of which it is 20 to 70 %; and the ratio of judging to training
rows, 0.33, is more than the variance over tables is of the split's part: 0.1 to 0.2, as far as ten
tables tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

from ablations import Study, run
from ablations.analysis import Design, main_effects
from ablations.execution.progress import Reporter
from ablations.tasks.arrays import from_arrays
from bench.calibration.rates import rate_row, rate_table

STUDIES = 16
ROWS, SEEDS = 250, 20
PROMISE = "at least 0.93; above 0.985 is too wide"


def measure(studies: int) -> pd.DataFrame:
    """Return the coverage of the effects, over the levels and the studies of each table."""
    rows: list[dict[str, object]] = []
    for name, (x, y) in {"digits": _digits(), "generated": _generated()}.items():
        rows += _cover(name, _train_studies(x, y, studies))
    return rate_table(rows)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = datasets.load_digits()
    return data.data, data.target


def _generated() -> tuple[np.ndarray, np.ndarray]:
    """20,000 rows of which three of ten features matter, one not linearly, with noise."""
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, 10))
    return x, x[:, 0] + np.abs(x[:, 1]) + x[:, 0] * x[:, 2] + random.normal(size=len(x))


def _train_studies(x: np.ndarray, y: np.ndarray, studies: int) -> Iterator[Design]:
    """Yield the design of each study, on a sample of its own."""
    settings: dict[str, Any] = {
        "model": {"name": "mlp", "hidden": [32]},
        "epochs": 15,
        "batch_size": 32,
        "lr": 5e-3,
        "seeds": SEEDS,
        "grid": [
            {"axes": {"regularizer": ["none", "dropout", "l2"]}},
            {"axes": {"norm": ["layer", "batch"]}},
            {"axes": {"init": ["orthogonal"]}},
        ],
    }
    for number in range(studies):
        sample = np.random.default_rng(number).choice(len(x), ROWS, replace=False)
        with TemporaryDirectory() as folder:
            kind = "multiclass" if y.dtype.kind == "i" else "regression"
            task = from_arrays(x[sample], y[sample], folder=folder, kind=kind)
            results = run(
                Study(task=task, **settings), Path(folder) / "results", jobs=1, compile="never",
                time_budget=0, with_report=False, reporter=Reporter(),
            )  # fmt: skip
            yield results.design()


def _cover(name: str, designs: Iterator[Design]) -> Iterator[dict[str, object]]:
    tables = []
    for number, design in enumerate(designs):
        for seeds in (SEEDS // 2, SEEDS):
            fewer = replace(design, runs=design.runs[design.runs["seed"] < seeds], look=None)
            for about, overlap in (("new data", design.overlap), ("this table", 0.0)):
                table = main_effects(replace(fewer, overlap=overlap, alpha=0.05, confidence=0.95))
                tables.append(table.assign(seeds=seeds, about=about, study=number))
    rows = pd.concat(tables, ignore_index=True)
    all_seeds = rows[(rows["seeds"] == SEEDS) & (rows["about"] == "new data")]
    effects = all_seeds.pivot_table(index="study", columns="level", values="effect")
    truth, error = effects.mean(), effects.std() / np.sqrt(len(effects))
    for (seeds, about), group in rows.groupby(["seeds", "about"]):
        effect = group["level"].map(truth)
        covered = (group["low"] <= effect) & (effect <= group["high"])
        half = (group["high"] - group["low"]) / 2
        share = (group["level"].map(error) / half).mean()
        yield rate_row(
            f"{name}, interval about {about}; error of the truth {share:.2f} of half an interval",
            "coverage", seeds=int(seeds), hits=int(covered.sum()), studies=len(group),
            promised=PROMISE if about == "new data" else "none: the narrower claim",
        )  # fmt: skip
