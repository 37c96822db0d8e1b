"""Enough seeds? How many more would decide an undecided contrast."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.analysis.coding import Bools, Floats
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
    first_repeat: int = 0,
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
        Of ``main_effects``: needs ``effect, low, high, seeds, verdict``.  Where it has
        ``lasting_error`` (seeds that split one table), the standard error shrinks towards this and
        not towards 0.
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.
    first_repeat
        Number of seeds with which splits of the table repeat, where no seed repeats one yet: then
        the part that lasts, now taken for all of the variance, can be estimated, and what it
        forbids may be decided by so many seeds at least, if twice as many would do without that
        part.  0 where splits never repeat.
    level_at
        The level at which a look at so many seeds would be judged; by default ``alpha``.
    confidence
        Of the intervals of ``effects``, from which their spread is read.

    Returns
    -------
    DataFrame
        ``by_difference``, ``by_equivalence``: seeds in all, missing where more than ``MAX_SEEDS``,
        or with fewer than two seeds; ``needed``: the smaller; ``more``: beyond those that ran, 0
        where the contrast is decided, missing where something else (divergence, skewed seeds)
        prevents that;
        ``needs_rows``: no number of seeds on this table would decide the contrast, more rows would.
    """
    n = effects["seeds"].to_numpy(dtype=float)
    estimates = _Estimates.from_effects(effects, confidence)
    judge = _Judge(level_at or (lambda _: alpha), len(estimates), _tests(effects), power)
    difference, equivalence, needs_rows = _count_seeds(estimates, margin, judge, first_repeat)
    with np.errstate(invalid="ignore"):
        needed = np.fmin(difference, equivalence)
    undecided = (effects["verdict"] == UNDECIDED).to_numpy()
    # A certain mean that decides nothing is contradicted by divergence or by another look at seeds.
    is_certain = effects["p_adjusted"].to_numpy() <= alpha if "p_adjusted" in effects else False
    needed = np.where(undecided & ((needed <= n) | is_certain), np.nan, needed)
    more = np.where(undecided, needed - n, 0.0)
    columns = {"by_difference": difference, "by_equivalence": equivalence, "needed": needed}
    needs_rows &= undecided & np.isnan(more)
    return pd.DataFrame({**columns, "more": more, "needs_rows": needs_rows}, index=effects.index)


@dataclass(frozen=True)
class _Judge:
    """How a look at some number of seeds is judged, and the power that it must have."""

    level_at: Callable[[int], float]
    contrasts: int
    tests: int  # for which the smallest p of sign flips is adjusted
    power: float

    def each_at(self, n: int, tests: int = 1) -> float:
        """The level of one contrast over n seeds; 0 where no p of sign flips can be so small."""
        level = self.level_at(n)
        return level / self.contrasts if n >= min_seeds(level, tests) else 0.0

    def seeds_for_difference(self, size: float, pairs: float, lasting: float) -> float:
        """The seeds in all that a difference needs, after those that ran, or without any."""
        if pairs >= 2:
            return for_difference_after(
                size, int(pairs), partial(self.each_at, tests=self.tests), self.power, lasting
            )
        level = self.level_at(0)
        seeds = for_difference(size, level / self.contrasts, self.power, lasting)
        return float(np.maximum(seeds, min_seeds(level, self.tests)))


@dataclass(frozen=True)
class _Estimates:
    """What effects were estimated to be, one entry a contrast, in which size and lasting error are
    in standard deviations that more seeds reduce; ``open_n`` is 0 where a contrast is decided.
    """

    effect: Floats
    open_n: Floats
    size: Floats
    shrinking: Floats
    lasting: Floats

    def __len__(self) -> int:
        return max(1, int(np.isfinite(self.effect).sum()))

    @classmethod
    def from_effects(cls, effects: pd.DataFrame, confidence: float) -> _Estimates:
        names = ("seeds", "effect", "low", "high")
        n, effect, low, high = (effects[name].to_numpy(dtype=float) for name in names)
        with np.errstate(invalid="ignore", divide="ignore"):
            quantile = stats.t.ppf(0.5 + confidence / 2, np.where(n >= 2, n - 1, np.nan))
            sd = (high - low) / 2 * np.sqrt(n) / quantile
            lasting = _lasting_error(effects, sd / np.sqrt(n))
            sizes = np.where(np.isfinite(sd) & (effect == 0), 0.0, effect / sd)
            # The part of a seed's deviation that more seeds reduce; not zero, to be divided by.
            shrinking = np.sqrt(np.maximum(sd**2 - n * lasting**2, 1e-12 * sd**2))
            shrinking = np.where(lasting > 0, shrinking, sd)
            scaled = np.where(lasting > 0, effect / shrinking, sizes)
        open_n = np.where(effects["verdict"] == UNDECIDED, n, 0.0)
        return cls(effect, open_n, scaled, shrinking, lasting)


def _count_seeds(
    estimates: _Estimates, margin: float, judge: _Judge, first_repeat: int
) -> tuple[Floats, Floats, Bools]:
    """The seeds that a difference and equivalence need, and where no number of them is enough."""
    lasting, open_n, shrinking = estimates.lasting, estimates.open_n, estimates.shrinking
    ratio = np.divide(lasting, shrinking, out=np.zeros_like(lasting), where=lasting > 0)
    items = zip(estimates.size, open_n, ratio, strict=True)
    difference = np.array([judge.seeds_for_difference(*item) for item in items])
    rows = zip(estimates.effect, shrinking, lasting, strict=True)
    each, power = judge.each_at, judge.power
    equivalence = np.array([for_equivalence(d, s, margin, each, power, r) for d, s, r in rows])
    needs_rows = (lasting > 0) & np.isnan(difference) & np.isnan(equivalence)
    if first_repeat:
        items = zip(estimates.size, open_n, np.zeros(len(ratio)), strict=True)
        plain = np.array([judge.seeds_for_difference(*item) for item in items])
        # Beyond twice as many, nothing is known before the part is estimated.
        plain = np.where(plain <= 2 * first_repeat, np.maximum(plain, first_repeat), np.nan)
        difference, needs_rows = np.where(needs_rows, plain, difference), needs_rows & False
    return difference, equivalence, needs_rows


def _lasting_error(effects: pd.DataFrame, error: Floats) -> Floats:
    """The part of each standard error that more seeds would not reduce."""
    if "lasting_error" not in effects:
        return np.zeros(len(effects))
    lasting = effects["lasting_error"].fillna(0.0).to_numpy(dtype=float)
    return np.asarray(np.fmin(lasting, error))


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


def for_difference_after(
    size: float,
    pairs: int,
    each_at: Callable[[int], float],
    power: float = 0.8,
    lasting: float = 0.0,
) -> float:
    """Return the pairs in all with which a paired t test would be certain of an effect.

    The effect is ``size`` standard deviations in ``pairs`` that are there; the mean of new ones
    varies about it (conditional power at the current trend: Lan & Wittes, 1988).  Of studies of
    one level that are advised at six seeds, 56, 78 and 75 % are decided by as many as it says,
    where the true effect is 0.4, 0.8 and 1.2 deviations (``bench/calibration/looks.py``).

    Parameters
    ----------
    each_at
        The level of a test of so many pairs; 0 where nothing can be decided.
    lasting
        A standard error, in the same unit, that no number of pairs reduces.
    """
    size = abs(size)
    if np.isnan(size) or size < 1e-6:
        return np.nan

    def is_enough(n: int) -> bool:
        level = each_at(n)
        if not level or not np.isfinite(size):
            return level > 0
        least = stats.t.isf(level / 2, n - 1) * math.sqrt(1 / n + lasting**2)
        return bool(stats.norm.sf((least - size) * n / math.sqrt(n - pairs)) >= power)

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
    lasting: float = 0.0,
) -> float:
    """Return the pairs that two one-sided t tests need to find an effect within ``margin``.

    ``alpha`` may be a function: the level of a test of so many pairs, 0 where nothing can be
    decided.  ``lasting``: a standard error that no number of pairs reduces.
    """
    if not (np.isfinite(effect) and np.isfinite(sd)) or abs(effect) >= margin:
        return np.nan

    def is_enough(n: int) -> bool:
        level = alpha(n) if callable(alpha) else alpha
        if not level or (sd == 0 and not lasting):
            return level > 0
        error = math.sqrt(sd**2 + n * lasting**2) if lasting else sd
        return bool(equivalence_power(effect, error, margin, n, level) >= power)

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
