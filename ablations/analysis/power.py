"""Enough seeds? How many more would decide an undecided contrast."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import count

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.analysis.coding import Floats
from ablations.analysis.design import Design
from ablations.analysis.inference import EXACT_FAMILY_BLOCKS, min_seeds
from ablations.analysis.verdicts import UNDECIDED

MAX_SEEDS = 10_000
"""Beyond so many seeds no number is returned."""


def seeds_needed(
    effects: pd.DataFrame,
    *,
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    level_at: Callable[[int], float] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how many seeds would decide each contrast, if its effect and spread are as estimated.

    A contrast is decided by a difference that is certain (a paired t test at ``alpha`` over the
    number of contrasts, which is what the largest of them needs; statsmodels' ``TTestPower``) or by
    one that is certainly within the margin (two one-sided tests at the same level, and not with
    fewer than ``min_seeds``), whichever needs fewer seeds.  Where it is undecided, the seeds that
    ran count as they are and only new ones as chance (``for_difference_after``).  All take the
    estimates for the truth, so an overestimated effect gets too few.

    Parameters
    ----------
    effects
        Of ``main_effects``: needs ``effect, low, high, seeds, verdict``.
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.
    level_at
        The level at which a look at so many seeds would be judged; by default ``alpha``.
    confidence
        Of the intervals of ``effects``, from which their spread is read.

    Returns
    -------
    DataFrame
        ``by_difference``, ``by_equivalence``: seeds in all, missing where more than ``MAX_SEEDS``,
        or with fewer than two seeds; ``needed``: the smaller; ``more``: beyond those that ran, 0
        where the contrast is decided, missing where something else (divergence) prevents that.
    """
    n, effect, sd = _estimates(effects, confidence)
    contrasts, level_at = max(1, int(np.isfinite(effect).sum())), level_at or (lambda _: alpha)
    undecided = (effects["verdict"] == UNDECIDED).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = np.where(np.isfinite(sd) & (effect == 0), 0.0, effect / sd)
    tests = _tests(effects)
    difference = np.array(
        [
            for_difference_after(size, int(seeds), level_at, contrasts, tests, power)
            if is_open and seeds >= 2
            else max(for_difference(size, alpha / contrasts, power), min_seeds(alpha, tests))
            for size, seeds, is_open in zip(sizes, n, undecided, strict=True)
        ]
    )
    pairs = zip(effect, sd, strict=True)
    equivalence = np.array(
        [for_equivalence(*pair, margin, level_at, power, contrasts) for pair in pairs]
    )
    with np.errstate(invalid="ignore"):
        needed = np.fmin(difference, equivalence)
    needed = np.where(undecided & (needed <= n), np.nan, needed)
    more = np.where(undecided, needed - n, 0.0)
    columns = {"by_difference": difference, "by_equivalence": equivalence, "needed": needed}
    return pd.DataFrame({**columns, "more": more}, index=effects.index)


def _estimates(effects: pd.DataFrame, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Seeds, mean and standard deviation of each row, the last from its interval."""
    names = ("seeds", "effect", "low", "high")
    n, effect, low, high = (effects[name].to_numpy(dtype=float) for name in names)
    quantile = stats.t.ppf(0.5 + confidence / 2, np.where(n >= 2, n - 1, np.nan))
    return n, effect, (high - low) / 2 * np.sqrt(n) / quantile


def fewest_seeds(design: Design) -> int:
    """Return the seeds from which on a sign-flip p can be as small as the level of their look."""
    if design.look is None or design.look in design.ledger:
        return min_seeds(design.alpha)
    return next(n for n in count(design.n_seeds) if n >= min_seeds(design.level_at(n)))


def _tests(effects: pd.DataFrame) -> int:
    """The number of tests that the smallest p of a table is adjusted for: 1 with max-T."""
    if "p_floor" not in effects:
        return 1
    is_exact = effects["seeds"].between(2, EXACT_FAMILY_BLOCKS)
    exact = effects[is_exact & (effects["p_floor"] < 1)]
    times = exact["p_floor"].astype(float) * 2.0 ** (exact["seeds"].astype(float) - 1)
    return max(1, round(float(times.max()))) if len(times) else 1


def for_difference(size: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the pairs that a paired t test needs for an effect of ``size`` standard deviations."""
    size = abs(size)
    if np.isinf(size):
        return 2.0
    if np.isnan(size) or size < 1e-6:
        return np.nan
    test = TTestPower()
    low, high = 2, 4
    while test.power(size, high, alpha) < power:
        low, high = high, high * 2
        if high > 2 * MAX_SEEDS:
            return np.nan
    while high - low > 1:
        middle = (low + high) // 2
        enough = test.power(size, middle, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    first = 2 if test.power(size, 2, alpha) >= power else high
    return float(first) if first <= MAX_SEEDS else np.nan


def for_difference_after(
    size: float,
    pairs: int,
    level_at: Callable[[int], float],
    contrasts: int = 1,
    tests: int = 1,
    power: float = 0.8,
) -> float:
    """Return the pairs in all with which a paired t test would be certain of an effect.

    The effect is ``size`` standard deviations in ``pairs`` that are there; the mean of new ones
    varies about it (conditional power at the current trend: Lan & Wittes, 1988).

    Parameters
    ----------
    level_at
        The family-wise level of a test of so many pairs.
    contrasts, tests
        Numbers by which a level is divided, and the smallest p of sign flips multiplied.
    """
    size = abs(size)
    if np.isnan(size) or size < 1e-6:
        return np.nan

    def is_enough(n: int) -> bool:
        level = level_at(n)
        if n < min_seeds(level, tests):
            return False  # no sign-flip p can be small enough, whatever the difference
        critical = stats.t.isf(level / contrasts / 2, n - 1)
        return bool(
            stats.norm.sf((critical - size * math.sqrt(n)) / math.sqrt(1 - pairs / n)) >= power
        )

    return _first_enough(pairs + 1, is_enough)


def _first_enough(fewest: int, is_enough: Callable[[int], bool]) -> float:
    """The smallest number from ``fewest`` on that is enough; missing beyond ``MAX_SEEDS``."""
    low, high = fewest - 1, fewest
    while not is_enough(high):
        if high >= MAX_SEEDS:
            return np.nan
        low, high = high, min(2 * high, MAX_SEEDS)
    sizes = range(low + 1, high + 1)
    return float(sizes[bisect_left(sizes, True, key=is_enough)])


def for_equivalence(
    effect: float,
    sd: float,
    margin: float,
    alpha: float | Callable[[int], float] = 0.05,
    power: float = 0.8,
    contrasts: int = 1,
) -> float:
    """Return the pairs that two one-sided t tests need to find an effect within ``margin``.

    ``alpha`` may be a function: the level of a look at so many pairs, at which ``contrasts`` are
    tested, and none with fewer pairs than can show a difference.
    """
    if not (np.isfinite(effect) and np.isfinite(sd)) or abs(effect) >= margin:
        return np.nan
    if sd == 0:
        return 2.0

    def is_enough(n: int) -> bool:
        if callable(alpha):
            level = alpha(n) / contrasts
            is_shown = n >= min_seeds(alpha(n))
        else:
            level, is_shown = alpha, True
        return is_shown and bool(equivalence_power(effect, sd, margin, n, level) >= power)

    return _first_enough(2, is_enough)


def equivalence_power(
    effect: float, sd: float, margin: float, n: Floats | int, alpha: float = 0.05
) -> Floats:
    """Return the power of two one-sided t tests, by noncentral t (Phillips, 1990), at least 0."""
    n = np.asarray(n, dtype=float)
    error = sd / np.sqrt(n)
    critical = stats.t.ppf(1 - alpha, n - 1)
    above = stats.nct.sf(critical, n - 1, (effect + margin) / error)
    below = stats.nct.cdf(-critical, n - 1, (effect - margin) / error)
    both = np.nan_to_num(above, nan=1.0) + np.nan_to_num(below, nan=1.0) - 1
    return np.asarray(np.maximum(both, 0.0))
