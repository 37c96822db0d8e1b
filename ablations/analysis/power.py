"""Enough seeds? How many more would decide an undecided contrast."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.analysis.coding import Floats
from ablations.analysis.inference import EXACT_FAMILY_BLOCKS, min_seeds
from ablations.analysis.verdicts import UNDECIDED

MAX_SEEDS = 10_000
"""Beyond so many seeds no number is returned."""


def seeds_needed(
    effects: pd.DataFrame, *, margin: float, alpha: float = 0.05, power: float = 0.8
) -> pd.DataFrame:
    """Return how many seeds would decide each contrast, if its effect and spread are as estimated.

    A contrast is decided by a difference that is certain (a paired t test at ``alpha`` over the
    number of contrasts, which is what the largest of them needs; statsmodels' ``TTestPower``) or by
    one that is certainly within the margin (two one-sided tests at the same level, and not with
    fewer than ``min_seeds``), whichever needs fewer seeds.  Both take the estimates for the truth,
    so an overestimated effect gets too few.

    Parameters
    ----------
    effects
        Of ``main_effects``: needs ``effect, low, high, seeds, verdict``.
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.

    Returns
    -------
    DataFrame
        ``by_difference``, ``by_equivalence``: seeds in all, missing where more than ``MAX_SEEDS``,
        or with fewer than two seeds; ``needed``: the smaller; ``more``: beyond those that ran, 0
        where the contrast is decided, missing where something else (divergence) prevents that.
    """
    n = effects["seeds"].to_numpy(dtype=float)
    effect = effects["effect"].to_numpy(dtype=float)
    half = (effects["high"] - effects["low"]).to_numpy(dtype=float) / 2
    each = alpha / max(1, int(np.isfinite(effect).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = half * np.sqrt(n) / stats.t.ppf(0.975, np.where(n >= 2, n - 1, np.nan))
        sizes = np.where(np.isfinite(sd) & (effect == 0), 0.0, effect / sd)
    difference = np.array([for_difference(size, each, power) for size in sizes])
    # Below, no sign-flip p can be small enough, whatever the difference.
    difference = np.maximum(difference, min_seeds(alpha, _tests(effects)))
    pairs = zip(effect, sd, strict=True)
    equivalence = np.array([for_equivalence(*pair, margin, each, power) for pair in pairs])
    equivalence = np.maximum(equivalence, min_seeds(alpha))
    with np.errstate(invalid="ignore"):
        needed = np.fmin(difference, equivalence)
    undecided = (effects["verdict"] == UNDECIDED).to_numpy()
    needed = np.where(undecided & (needed <= n), np.nan, needed)
    more = np.where(undecided, needed - n, 0.0)
    columns = {"by_difference": difference, "by_equivalence": equivalence, "needed": needed}
    return pd.DataFrame({**columns, "more": more}, index=effects.index)


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


def for_equivalence(
    effect: float, sd: float, margin: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the pairs that two one-sided t tests need to find an effect within ``margin``."""
    if not (np.isfinite(effect) and np.isfinite(sd)) or abs(effect) >= margin:
        return np.nan
    if sd == 0:
        return 2.0
    sizes = range(2, MAX_SEEDS + 1)

    def is_enough(n: int) -> bool:
        return bool(equivalence_power(effect, sd, margin, n, alpha) >= power)

    if not is_enough(sizes[-1]):
        return np.nan
    return float(sizes[bisect_left(sizes, True, key=is_enough)])


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
