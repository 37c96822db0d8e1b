"""How often levels at the margin are called practically equal, and how often equal ones are.

26 levels of one axis against their control, one configuration each.  A level's difference by seed
is its mean and normal luck, of which a part is the control's own and common to all levels.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ablations.analysis import EQUAL, main_effects
from bench.calibration.rates import rate_row, rate_table

STUDIES = 250
LEVELS, MARGIN = 26, 0.02
SEEDS, FEWEST = (3, 5, 6, 10, 20), 6
TRUTHS = {
    "all worse by the margin": np.ones(LEVELS),
    "at both ends of the margin": np.where(np.arange(LEVELS) % 2, 1.0, -1.0),
}
SPREADS = {"equal spread": np.full(LEVELS, 0.5), "unequal spread": np.geomspace(0.1, 2, LEVELS)}
"""Standard deviations of the differences, in margins."""
CORRELATIONS = (0.0, 0.5)


def measure(studies: int) -> pd.DataFrame:
    """Return the rates of every setting and number of seeds."""
    rows = []
    settings = list(product(TRUTHS, SPREADS, CORRELATIONS))
    for seeds in SEEDS:
        can_tell = seeds >= FEWEST
        for truth, spread, correlation in settings if can_tell else settings[:1]:
            words = _judge(studies, seeds, TRUTHS[truth], SPREADS[spread], correlation)
            row = rate_row(
                f"{LEVELS} levels, {truth}, {spread}, correlation {correlation}",
                "any false equal",
                seeds=seeds,
                hits=int((words == EQUAL).any(axis=1).sum()),
                studies=studies,
                promised="at most 0.06" if can_tell else "0",
            )
            rows.append(row)
        words = _judge(studies, seeds, np.zeros(LEVELS), SPREADS["equal spread"], 0.5)
        row = rate_row(
            f"{LEVELS} levels, all equal, equal spread, correlation 0.5",
            "power of one level",
            seeds=seeds,
            hits=int((words[:, 0] == EQUAL).sum()),
            studies=studies,
            promised="" if can_tell else "0",
        )
        rows.append(row)
    return rate_table(rows)


def _judge(
    studies: int, seeds: int, truth: np.ndarray, spread: np.ndarray, correlation: float
) -> np.ndarray:
    """Return the verdicts, studies x levels."""
    random, margin = np.random.default_rng(seeds), float(np.log1p(MARGIN))
    cells = list(product(range(seeds), range(LEVELS + 1)))
    runs = pd.DataFrame(cells, columns=["seed", "level"])
    words = []
    for _ in range(studies):
        common, alone = random.normal(size=(seeds, 1)), random.normal(size=(seeds, LEVELS))
        luck = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * alone
        difference = margin * (truth + spread * luck)
        level = random.normal(size=(seeds, 1))
        loss = np.exp(np.hstack([level, level + difference]))
        table = main_effects(
            runs.assign(loss=loss.ravel()), {"level": 0}, ["level"], outcome="loss", margin=MARGIN
        )
        words.append(table["verdict"])
    return np.array(words)
