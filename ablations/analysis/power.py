"""Enough seeds? How many more would decide an undecided contrast."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.analysis.coding import Bools, Floats
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
    first_repeat: int = 0,
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
        Of ``main_effects``: needs ``effect, low, high, seeds, verdict``.  Where it has
        ``lasting_error`` (seeds that split one table), the standard error shrinks towards this and
        not towards 0.
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.
    first_repeat
        Number of seeds with which splits of the table repeat, where no seed repeats one yet: then
        the part that lasts, now taken for all of the variance, can be estimated, and what it
        forbids may be decided by so many seeds at least.  0 where splits never repeat.

    Returns
    -------
    DataFrame
        ``by_difference``, ``by_equivalence``: seeds in all, missing where more than ``MAX_SEEDS``,
        or with fewer than two seeds; ``needed``: the smaller; ``more``: beyond those that ran, 0
        where the contrast is decided, missing where something else (divergence) prevents that;
        ``needs_rows``: no number of seeds on this table would decide the contrast, more rows would.
    """
    n = effects["seeds"].to_numpy(dtype=float)
    difference, equivalence, needs_rows = _count_seeds(effects, margin, alpha, power, first_repeat)
    # Below, no sign-flip p can be small enough, whatever the difference.
    difference = np.maximum(difference, min_seeds(alpha, _tests(effects)))
    equivalence = np.maximum(equivalence, min_seeds(alpha))
    with np.errstate(invalid="ignore"):
        needed = np.fmin(difference, equivalence)
    undecided = (effects["verdict"] == UNDECIDED).to_numpy()
    needed = np.where(undecided & (needed <= n), np.nan, needed)
    more = np.where(undecided, needed - n, 0.0)
    columns = {"by_difference": difference, "by_equivalence": equivalence, "needed": needed}
    needs_rows &= undecided & np.isnan(more)
    return pd.DataFrame({**columns, "more": more, "needs_rows": needs_rows}, index=effects.index)


def _count_seeds(
    effects: pd.DataFrame, margin: float, alpha: float, power: float, first_repeat: int
) -> tuple[Floats, Floats, Bools]:
    """The seeds that a difference and equivalence need, and where no number of them is enough."""
    n = effects["seeds"].to_numpy(dtype=float)
    effect = effects["effect"].to_numpy(dtype=float)
    half = (effects["high"] - effects["low"]).to_numpy(dtype=float) / 2
    each = alpha / max(1, int(np.isfinite(effect).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = half * np.sqrt(n) / stats.t.ppf(0.975, np.where(n >= 2, n - 1, np.nan))
        lasting = _lasting_error(effects, sd / np.sqrt(n))
        sizes = np.where(np.isfinite(sd) & (effect == 0), 0.0, effect / sd)
        # The part of a seed's deviation that more seeds reduce; not zero, to be divided by.
        shrinking = np.sqrt(np.maximum(sd**2 - n * lasting**2, 1e-12 * sd**2))
        shrinking = np.where(lasting > 0, shrinking, sd)
        ratio = np.where(lasting > 0, lasting / shrinking, 0.0)
        scaled = np.where(lasting > 0, effect / shrinking, sizes)
    pairs = zip(scaled, ratio, strict=True)
    difference = np.array([for_difference(size, each, power, r) for size, r in pairs])
    items = zip(effect, shrinking, lasting, strict=True)
    equivalence = np.array([for_equivalence(d, s, margin, each, power, r) for d, s, r in items])
    needs_rows = (lasting > 0) & np.isnan(difference) & np.isnan(equivalence)
    if first_repeat:
        plain = np.array([for_difference(size, each, power) for size in sizes])
        difference = np.where(needs_rows, np.maximum(plain, first_repeat), difference)
    return difference, equivalence, needs_rows


def _lasting_error(effects: pd.DataFrame, error: Floats) -> Floats:
    """The part of each standard error that more seeds would not reduce."""
    if "lasting_error" not in effects:
        return np.zeros(len(effects))
    lasting = effects["lasting_error"].fillna(0.0).to_numpy(dtype=float)
    return np.asarray(np.fmin(lasting, error))


def _tests(effects: pd.DataFrame) -> int:
    """The number of tests that the smallest p of a table is adjusted for: 1 with max-T."""
    if "p_floor" not in effects:
        return 1
    is_exact = effects["seeds"].between(2, EXACT_FAMILY_BLOCKS)
    exact = effects[is_exact & (effects["p_floor"] < 1)]
    times = exact["p_floor"].astype(float) * 2.0 ** (exact["seeds"].astype(float) - 1)
    return max(1, round(float(times.max()))) if len(times) else 1


def for_difference(
    size: float, alpha: float = 0.05, power: float = 0.8, lasting: float = 0.0
) -> float:
    """Return the pairs that a paired t test needs for an effect of ``size`` standard deviations.

    ``lasting``: a standard error, in the same unit, that no number of pairs reduces.
    """
    size = abs(size)
    if np.isinf(size):
        return 2.0
    if np.isnan(size) or size < 1e-6:
        return np.nan
    test = TTestPower()

    def power_of(n: int) -> float:
        return float(test.power(size / math.sqrt(1 + n * lasting**2), n, alpha))

    low, high = 2, 4
    while power_of(high) < power:
        low, high = high, high * 2
        if high > 2 * MAX_SEEDS:
            return np.nan
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_of(middle) >= power
        low, high = (low, middle) if enough else (middle, high)
    first = 2 if power_of(2) >= power else high
    return float(first) if first <= MAX_SEEDS else np.nan


def for_equivalence(
    effect: float,
    sd: float,
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    lasting: float = 0.0,
) -> float:
    """Return the pairs that two one-sided t tests need to find an effect within ``margin``.

    ``lasting``: a standard error that no number of pairs reduces.
    """
    if not (np.isfinite(effect) and np.isfinite(sd)) or abs(effect) >= margin:
        return np.nan
    if sd == 0 and not lasting:
        return 2.0
    sizes = range(2, MAX_SEEDS + 1)

    def is_enough(n: int) -> bool:
        error = math.sqrt(sd**2 + n * lasting**2) if lasting else sd
        return bool(equivalence_power(effect, error, margin, n, alpha) >= power)

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
