"""Designs in which no two runs of a seed differ in a technique alone: false verdicts and coverage.

A half fraction of four techniques (D = ABC), run in each seed; and a crossover, in which half of
the seeds run a technique on one half of the cells and its control on the other, and the other seeds
the other way round.  No technique has an effect, and each seed likes each technique more or less.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ablations.analysis import HELPS, HURTS, main_effects
from bench.calibration.rates import rate_row, rate_table

STUDIES = 300
SEEDS = (6, 10, 20)
BY_SEED, NOISE = 0.5, 0.2
DESIGNS = ("half fraction of 2^4", "crossover")


def make_study(random: np.random.Generator, design: str, seeds: int) -> pd.DataFrame:
    """Draw a study in which every technique (-1: its control) is without effect."""
    if design == "crossover":
        cells = pd.MultiIndex.from_product([range(seeds), range(8)], names=["seed", "cell"])
        runs, techniques = cells.to_frame(index=False), ["A"]
        runs["A"] = np.where((runs["cell"] < 4) == (runs["seed"] % 2 == 0), 1, -1)
    else:
        levels = [range(seeds), *[(-1, 1)] * 3]
        runs = pd.MultiIndex.from_product(levels, names=["seed", *"ABC"]).to_frame(index=False)
        runs["D"], techniques = runs["A"] * runs["B"] * runs["C"], [*"ABCD"]
    luck = random.normal(0, BY_SEED / 2, (seeds, len(techniques)))[runs["seed"]]
    loss = random.normal(0, 1, seeds)[runs["seed"]] + (luck * runs[techniques]).sum(axis=1)
    return runs.assign(loss=loss + random.normal(0, NOISE, len(runs)))


def measure(studies: int) -> pd.DataFrame:
    """Return the rates of each design and number of seeds."""
    rows = []
    for design, seeds in product(DESIGNS, SEEDS):
        random, called, covered, n = np.random.default_rng(seeds), 0, 0, 0
        for _ in range(studies):
            runs = make_study(random, design, seeds)
            factors = [name for name in runs if name not in ("seed", "loss")]
            controls = {name: -1 for name in factors if name != "cell"}
            table = main_effects(
                runs, controls, factors, outcome="loss", scale="difference", margin=0.02
            )
            called += bool(table["verdict"].isin([HELPS, HURTS]).any())
            covered += int(((table["low"] <= 0) & (table["high"] >= 0)).sum())
            n += len(table)
        for quantity, hits, of_all, promised in (
            ("false verdicts, family-wise", called, studies, "at most 0.07"),
            ("coverage", covered, n, "0.93 to 0.98"),
        ):
            row = rate_row(
                design, quantity, seeds=seeds, hits=hits, studies=of_all, promised=promised
            )
            rows.append(row)
    return rate_table(rows)
