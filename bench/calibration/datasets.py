"""Several data sets as one study: coverage of the pooled truth, and false verdicts.

The truth of a generator of data sets is the mean effect of a level over all that it could draw.
Data sets of one generator differ in size, noise and, where ``spread`` is above zero, in the effect
itself.  A verdict about data sets like these is false if it asserts an effect of mean zero; one
about a data set, if it asserts an effect that this data set does not have.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ablations.analysis import Design
from ablations.analysis.datasets import effects_by_dataset, effects_over_datasets
from ablations.analysis.scores import aggregate_scores, dataset_scores
from ablations.analysis.verdicts import HELPS, HURTS
from bench.calibration.rates import rate_row, rate_table

STUDIES = 150
LEVELS, SEEDS, NOISE = 3, 6, 0.1
MEAN = -0.1
SETTINGS = (
    ("no effect on any data set", 6, 0.0, 0.0),
    ("no effect on any data set", 10, 0.0, 0.0),
    ("effects of mean zero, which vary over data sets", 10, 0.0, 0.2),
    ("one effect on all data sets", 6, MEAN, 0.0),
    ("effects that vary over data sets", 6, MEAN, 0.2),
    ("effects that vary over data sets", 12, MEAN, 0.2),
)
"""Name, number of data sets, mean effect, and its standard deviation over data sets."""


def measure(studies: int) -> pd.DataFrame:
    """Return the rates of all settings, as a table of ``rates.rate_row``."""
    rows = []
    for number, (name, datasets, mean, spread) in enumerate(SETTINGS):
        random = np.random.default_rng(100 + number)
        hits = pd.DataFrame(_judge(random, datasets, mean, spread) for _ in range(studies))
        setting = f"{name}, {datasets} data sets, {LEVELS} levels"
        rows += [
            rate_row(
                setting, quantity, seeds=SEEDS, hits=int(column.sum()), studies=studies,
                promised=_promise(quantity),
            )
            for quantity, column in hits.items()
        ]  # fmt: skip
    return rate_table(rows)


def _promise(quantity: str) -> str:
    if quantity.startswith("false"):
        return "at most 0.07"
    # A percentile bootstrap of few seeds is a little narrow.
    return "0.90 to 0.98" if "IQM" in quantity else "0.93 to 0.98"


def draw_study(random: np.random.Generator, effects: np.ndarray) -> Iterator[tuple[str, Design]]:
    """Yield name and design of each data set, whose levels have ``effects`` (data set, level)."""
    levels = ["none", *(f"level {i}" for i in range(effects.shape[1]))]
    by_seed = random.normal(0, 0.05, SEEDS)  # initial weights are good or bad on all data sets
    for number, changes in enumerate(effects):
        size, noise = random.normal(0, 1.5), NOISE * random.uniform(0.5, 2)
        values = size + by_seed + random.normal(0, noise, (len(levels), SEEDS))
        values[1:] += changes[:, None]
        runs = pd.DataFrame(
            {
                "norm": np.repeat(levels, SEEDS),
                "seed": np.tile(np.arange(SEEDS), len(levels)),
                "val_loss": np.exp(values.ravel()),
            }
        )
        yield f"data set {number}", Design(runs, ["norm"], {"norm": "none"})


def _judge(
    random: np.random.Generator, datasets: int, mean: float, spread: float
) -> dict[str, bool]:
    """Draw a study; say whether the intervals of its first level hold the truth, and whether any
    verdict is false.
    """
    effects = random.normal(mean, spread, (datasets, LEVELS))
    designs = dict(draw_study(random, effects))
    by_dataset = effects_by_dataset(designs)
    over = effects_over_datasets(by_dataset)
    first, here = over.iloc[0], effects[:, 0].mean()
    hits = {
        "coverage of the pooled truth": first["low"] <= mean <= first["high"],
        "coverage of the mean of these": first["here_low"] <= here <= first["here_high"],
    }
    if not spread:  # else the middle half of all runs has another mean
        iqm = aggregate_scores(dataset_scores(designs), resamples=400).iloc[0]
        hits["coverage of the IQM of these"] = iqm["iqm_low"] <= mean <= iqm["iqm_high"]
    if not mean:
        asserted = over["verdict"].isin([HELPS, HURTS])
        hits["false verdicts about others, family-wise"] = asserted.any()
    if not (mean or spread):
        asserted = by_dataset["verdict"].isin([HELPS, HURTS])
        hits["false verdicts about these, family-wise"] = asserted.any()
    return {name: bool(hit) for name, hit in hits.items()}
