"""Error rates, coverage and power on generated grids, over and over.

``nox -s calibration`` does it with sixteen times as many grids, and narrower bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import HELPS, HURTS, interactions, main_effects
from ablations.analysis.enough import for_difference

from .generators import grid

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

LUCK: dict[str, Draw] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "skewed": lambda random, shape: random.exponential(size=shape) - 1,
}
AXES: dict[str, tuple[str, ...]] = {
    "norm": ("none", *"abcdefgh"),
    "init": ("default", "kaiming"),
}


@pytest.fixture(scope="module")
def grids(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--grids"))


def generated(count: int, seeds: int, luck: str) -> Iterator[pd.DataFrame]:
    """Null grids in which each level has its own luck in each seed, and each run its own."""
    random = np.random.default_rng(seeds)
    table = grid(AXES, seeds)
    norm, init = (pd.factorize(table[axis])[0] for axis in AXES)
    seed = table["seed"].to_numpy()
    for _ in range(count):
        log_loss = random.normal(0, 1, seeds)[seed]
        log_loss = log_loss + 0.3 * LUCK[luck](random, (9, seeds))[norm, seed]
        log_loss = log_loss + 0.3 * LUCK[luck](random, (9, 2, seeds))[norm, init, seed]
        yield table.assign(val_loss=np.exp(log_loss + 0.1 * LUCK[luck](random, (len(table),))))


def within(share: float, low: float, high: float, trials: int) -> bool:
    """Whether a share of so many independent trials can be one within bounds, but for chance."""
    chance = max(0.0, 2.6 * np.sqrt(0.05 * 0.95 / trials) - 0.015)
    return bool(low - chance <= share <= high + chance)


@pytest.mark.parametrize("seeds", [5, 10, 20])
@pytest.mark.parametrize("luck", LUCK)
def test_effects_err_and_intervals_cover_as_often_as_they_say(
    luck: str, seeds: int, grids: int
) -> None:
    found = [
        main_effects(runs, {"norm": "none"}, [*AXES]) for runs in generated(grids, seeds, luck)
    ]
    # The eight contrasts of a grid share their control: they count for three.
    table, trials = pd.concat(found), 3 * grids
    covered = float(((table["low"] <= 0) & (table["high"] >= 0)).mean())
    assert within(covered, 0.93, 0.97, trials), covered
    wrong = [one["verdict"].isin([HELPS, HURTS]).any() for one in found]
    assert within(float(np.mean(wrong)), 0.0, 0.05, grids), np.mean(wrong)
    called = float((table["p"] <= 0.05).mean())
    if seeds == 5:  # trap 3
        assert called == 0
        assert not table["reachable"].any()
    else:
        assert within(called, 0.03, 0.07, trials), called


@pytest.mark.parametrize("luck", LUCK)
def test_interactions_err_as_often_as_they_say(luck: str, grids: int) -> None:
    controls: dict[str, str | float] = {"norm": "none", "init": "default"}
    runs = generated(grids, 10, luck)
    found = [interactions(table, controls, [*AXES])["p"].dropna() for table in runs]
    p = np.concatenate(found)
    assert len(p) == 8 * grids
    assert within(float((p <= 0.05).mean()), 0.03, 0.07, 3 * grids), (p <= 0.05).mean()


@pytest.mark.parametrize("size", [0.8, 1.0])
def test_power_is_what_seeds_needed_promises(size: float, grids: int) -> None:
    """One contrast whose effect is ``size`` standard deviations of its seeds' differences."""
    seeds = int(for_difference(size))
    random = np.random.default_rng(0)
    d = random.normal(size, 1.0, (seeds, 4 * grids))
    p = stats.ttest_1samp(d, 0).pvalue
    assert np.mean(p <= 0.05) == pytest.approx(0.8, abs=0.06)
    cells = pd.MultiIndex.from_product([["none", "new"], range(seeds)], names=["norm", "seed"])
    runs = cells.to_frame(index=False)
    new = (runs["norm"] == "new").to_numpy()
    hits = 0
    for column in d.T[: grids // 2]:
        log_loss = 0.1 * column[runs["seed"]] * new
        found = main_effects(runs.assign(val_loss=np.exp(log_loss)), {"norm": "none"}, ["norm"])
        hits += found["p"].iloc[0] <= 0.05
    assert hits / (grids // 2) == pytest.approx(0.8, abs=0.08)
