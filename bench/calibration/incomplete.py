"""Grids of which some runs are missing: false verdicts, power, and coverage of the interval.

A grid of 24 configurations: two techniques without effect and one that helps, of which each seed
likes each technique more or less, and so does each combination of the other axes.  Runs are lost at
random.  Beside it the same studies with each seed dropped that lost a run.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ablations.analysis import HELPS, HURTS, main_effects
from bench.calibration.rates import rate_row, rate_table

STUDIES = 200
SEEDS = (6, 10, 20)
LOST = (0.0, 0.01, 0.03, 0.1)
AXES = {"a": ("none", "a1", "a2"), "b": ("none", "b1"), "c": ("c0", "c1"), "d": ("d0", "d1")}
CONTROLS: dict[str, str] = {"a": "none", "b": "none"}
EFFECT = -0.8
"""Of b1, in standard deviations of what seeds make of a technique."""
BY_SEED, BY_CELL, NOISE = 1.0, 0.4, 0.4


def make_study(random: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Draw a complete grid; only b1 has an effect over all cells."""
    cells = pd.DataFrame(list(product(*AXES.values())), columns=[*AXES])
    value = np.tile(random.normal(0, 1, (seeds, 1)), (1, len(cells)))
    for axis, levels in (("a", ("a1", "a2")), ("b", ("b1",))):
        for level in levels:
            at = (cells[axis] == level).to_numpy()
            by_cell = random.normal(0, BY_CELL, 4)
            by_cell = (by_cell - by_cell.mean())[cells.loc[at].groupby(["c", "d"]).ngroup()]
            value[:, at] += random.normal(0, BY_SEED, (seeds, 1)) + by_cell
    value += EFFECT * (cells["b"] == "b1").to_numpy() + random.normal(0, NOISE, value.shape)
    runs = pd.concat([cells.assign(seed=seed) for seed in range(seeds)], ignore_index=True)
    return runs.assign(loss=value.ravel())


def judge(runs: pd.DataFrame) -> tuple[bool, bool, int]:
    """Whether a technique without effect is called, whether b1 helps, and intervals that cover."""
    options = {"outcome": "loss", "scale": "difference", "margin": 0.05}
    table = main_effects(runs, CONTROLS, [*AXES], **options).set_index("level")
    truth = pd.Series({"a1": 0.0, "a2": 0.0, "b1": EFFECT}).reindex(table.index)
    called = table.loc[["a1", "a2"], "verdict"].isin([HELPS, HURTS]).any()
    covers = (table["low"] <= truth) & (truth <= table["high"])
    return bool(called), table.loc["b1", "verdict"] == HELPS, int(covers.sum())


def measure(studies: int) -> pd.DataFrame:
    """Measure all settings; the studies of a setting are the same, but for what is lost."""
    rows = []
    for seeds, lost in product(SEEDS, LOST):
        rows += measure_setting(studies, seeds, lost)
    return rate_table(rows)


def measure_setting(studies: int, seeds: int, lost: float) -> list[dict[str, object]]:
    """Measure the rates with a share of runs ``lost``; where it is 1 %, also by dropping seeds."""
    random = np.random.default_rng([seeds, 1])
    answers: dict[str, list[tuple[bool, bool, int]]] = {"": [], ", their seeds dropped": []}
    for _ in range(studies):
        runs = make_study(random, seeds)
        missing = np.random.default_rng(int(random.integers(2**32))).random(len(runs)) < lost
        answers[""].append(judge(runs[~missing]))
        remaining = runs[~runs["seed"].isin(runs.loc[missing, "seed"])]
        if lost == LOST[1] and remaining["seed"].nunique() >= 2:
            answers[", their seeds dropped"].append(judge(remaining))
    rows = []
    for handling, judged in answers.items():
        if judged:
            rows += _rates(f"{lost:.0%} of runs lost{handling}", seeds, judged)
    return rows


def _rates(
    setting: str, seeds: int, answers: list[tuple[bool, bool, int]]
) -> list[dict[str, object]]:
    called, helps, covers = (int(sum(column)) for column in zip(*answers, strict=True))
    quantities = (
        ("false verdicts, family-wise", called, len(answers), "at most 0.07"),
        ("true effect called", helps, len(answers), ""),
        ("coverage", covers, 3 * len(answers), "0.93 to 0.98"),
    )
    return [
        rate_row(setting, name, seeds=seeds, hits=hits, studies=n, promised=promised)
        for name, hits, n, promised in quantities
    ]
