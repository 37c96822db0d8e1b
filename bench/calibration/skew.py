"""How often levels without effect help or hurt where seeds are skewed, and what power is lost.

Six levels of one axis against their control, one configuration each, or one level alone.  The truth
of a null study is that the mean over all seeds is 0; that of a study of power is an effect in
standard deviations.  Of rare spikes nothing is promised: those that no seed of any level
showed cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from ablations.analysis import HELPS, HURTS, main_effects
from bench.calibration.rates import rate_row, rate_table

STUDIES = 150
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
LOG_NORMAL_SD = float(np.sqrt((np.e - 1) * np.e))
RARE, NOISE = 0.1, 0.02


def _draw_spikes(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return (random.random(shape) < RARE) - RARE + NOISE * random.normal(size=shape)


def _draw_one_exponential(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    d = random.normal(size=shape)
    d[:, 0] = random.exponential(size=len(d)) - 1
    return d


LUCK: dict[str, tuple[Draw, str]] = {
    "normal": (lambda random, shape: random.normal(size=shape), "at most 0.06"),
    "normal of unequal spread": (
        lambda random, shape: random.normal(size=shape) * np.geomspace(0.2, 3, shape[1]),
        "at most 0.06",
    ),
    "t with 3 degrees": (
        lambda random, shape: random.standard_t(3, size=shape) / np.sqrt(3),
        "at most 0.06",
    ),
    "exponential": (lambda random, shape: random.exponential(size=shape) - 1, "at most 0.12"),
    "lognormal": (
        lambda random, shape: (np.exp(random.normal(size=shape)) - np.sqrt(np.e)) / LOG_NORMAL_SD,
        "at most 0.12",
    ),
    "one exponential level": (_draw_one_exponential, "at most 0.12"),
    "a spike in 10 % of the seeds": (_draw_spikes, ""),
}
"""Differences by seed of mean 0, and the family-wise rate of false verdicts that is promised."""
NULLS = [
    *product(LUCK, (6,), (6, 10, 20)),
    *product(("exponential", "lognormal"), (6,), (40,)),
    *product(("exponential",), (1,), (6, 10, 20, 40)),
]
POWER = [
    *product(("normal", "t with 3 degrees"), (-0.8, -1.2), (10, 20)),
    *product(("exponential", "lognormal"), (-0.8,), (10, 20)),
]


def measure(studies: int) -> pd.DataFrame:
    """Return the rates of verdicts, and of what the mean over seeds alone would have called."""
    rows = []
    for luck, levels, seeds in NULLS:
        setting = f"{levels} level{'s' * (levels > 1)}, {luck}"
        draw, promised = LUCK[luck]
        called, certain = _judge(studies, seeds, levels, draw, 0.0)
        for quantity, hits, promise in (
            ("false verdicts, family-wise", called.any(axis=1), promised),
            ("the same by the mean alone", certain.any(axis=1), ""),
        ):
            counts = {"seeds": seeds, "hits": int(hits.sum()), "studies": studies}
            rows.append(rate_row(setting, quantity, **counts, promised=promise))
    for luck, effect, seeds in POWER:
        setting = f"6 levels, {luck}, effect {effect} SD"
        called, certain = _judge(studies, seeds, 6, LUCK[luck][0], effect)
        for quantity, hits in (
            ("power of a level", called),
            ("the same by the mean alone", certain),
        ):
            counts = {"seeds": seeds, "hits": int(hits[:, 0].sum()), "studies": studies}
            rows.append(rate_row(setting, quantity, **counts, promised=""))
    return rate_table(rows)


def _judge(
    studies: int, seeds: int, levels: int, draw: Draw, effect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each level helps or hurts, and whether its adjusted p is small; studies x
    levels.
    """
    random = np.random.default_rng(seeds)
    cells = list(product(range(seeds), range(levels + 1)))
    runs = pd.DataFrame(cells, columns=["seed", "level"])
    called, certain = [], []
    for _ in range(studies):
        level = random.normal(size=(seeds, 1))
        difference = draw(random, (seeds, levels)) + effect
        loss = np.hstack([level, level + difference])
        table = main_effects(
            runs.assign(loss=loss.ravel()), {"level": 0}, ["level"], outcome="loss",
            scale="difference", margin=1e-6,
        )  # fmt: skip
        called.append(table["verdict"].isin([HELPS, HURTS]))
        certain.append(table["p_adjusted"] <= 0.05)
    return np.array(called), np.array(certain)
