"""Intervals and tests over blocks, of arrays of seeds x contrasts with missing entries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import fdrcorrection

from ablations.analysis.coding import Floats, Ints, fixed_order
from ablations.analysis.design import Scale
from ablations.analysis.signs import SignPatterns, all_signs, bundle_rows

EXACT_BLOCKS = 24
"""Blocks up to which the p of a single contrast counts all sign flips."""
EXACT_FAMILY_BLOCKS = 16
"""Blocks up to which the p of a family of contrasts counts all sign flips."""
RESAMPLES = 19_999
"""Random sign flips beyond."""
AT_A_TIME = 20_000_000
"""Most products of signs and contrasts in memory at a time."""


def t_interval(mean: Floats, sd: Floats, n: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Bounds of Student's t interval of a mean; missing where there are fewer than two numbers."""
    n = np.asarray(n, dtype=float)
    degrees = np.where(n >= 2, n - 1, np.nan)
    half = stats.t.ppf(0.5 + level / 2, degrees) * sd / np.sqrt(np.where(n >= 2, n, np.nan))
    return mean - half, mean + half


def mean_and_sd(d: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the numbers present in each column of ``d``."""
    n = np.isfinite(d).sum(axis=0).astype(float)
    mean = np.where(n > 0, np.nansum(d, axis=0) / np.maximum(n, 1), np.nan)
    return mean, np.sqrt(np.nansum((d - mean) ** 2, axis=0) / np.where(n >= 2, n - 1, np.nan))


def mean_intervals(d: Floats, scale: Scale, confidence: float = 0.95) -> dict[str, Floats]:
    """Return the mean of each column of ``d`` with its t interval, and both as fractions."""
    mean, sd = mean_and_sd(d)
    low, high = t_interval(mean, sd, np.isfinite(d).sum(axis=0), confidence)
    return effect_columns(mean, low, high, scale)


def effect_columns(effect: Any, low: Any, high: Any, scale: Scale) -> dict[str, Any]:
    """Name an effect and its bounds; ``change``: as fractions of log ratios, or else missing."""
    values = {"change": effect, "change_low": low, "change_high": high}
    changes = {name: np.expm1(x) if scale == "log" else x * np.nan for name, x in values.items()}
    return {"effect": effect, "low": low, "high": high, **changes}


def share_positive(merit: Floats) -> Floats:
    """Return the share of positive numbers in each column, zeros as half, missing ones left out."""
    n = np.isfinite(merit).sum(axis=0)
    wins = (merit > 0).sum(axis=0) + (merit == 0).sum(axis=0) / 2
    return np.where(n > 0, wins / np.maximum(n, 1), np.nan)


def group_intervals(values: pd.Series, keys: Any, confidence: float = 0.95) -> pd.DataFrame:
    """Return ``mean, sd, n`` and t interval ``low, high`` of each group, as they appear."""
    grouped = values.groupby(keys, sort=False, dropna=False, observed=True)
    table = grouped.agg(["mean", "std", "count"]).rename(columns={"std": "sd", "count": "n"})
    mean, sd, n = (table[name].to_numpy(dtype=float) for name in ("mean", "sd", "n"))
    low, high = t_interval(mean, sd, n, confidence)
    return table.assign(low=low, high=high)


def sign_flip_p(differences: Floats) -> Floats:
    """Two-sided sign-flip p of every column of ``differences`` (seeds x contrasts); missing
    entries are ignored.

    Exact up to 24 seeds; beyond, 19,999 flips that are always the same, whatever the order of rows
    and columns, in which of more than 1,000 seeds some flip together.  Missing where a column has
    fewer than two numbers.  Method: Fisher's randomisation test; equal to
    ``scipy.stats.permutation_test`` of the mean with ``permutation_type="samples"`` where that is
    exact.  The 2^n sums are not enumerated: each is a sum over one half of the seeds and a sum over
    the other, of which a sorted list is searched (Horowitz & Sahni, 1974).
    """
    p = np.full(differences.shape[1], np.nan)
    present = np.isfinite(differences)
    is_random = present.sum(axis=0) > EXACT_BLOCKS
    if is_random.any():
        # A missing number is zero in every sum.
        rows = present[:, is_random].any(axis=1)
        p[is_random] = _flip(np.where(present, differences, 0.0)[np.ix_(rows, is_random)])
    if is_random.all():
        return p
    for pattern in np.unique(present[:, ~is_random], axis=1).T:
        # Columns that have the same seeds are flipped together; nearly always that is all of them.
        columns = (present == pattern[:, None]).all(axis=0)
        if pattern.sum() >= 2:
            p[columns] = _flip(differences[np.ix_(pattern, columns)])
    return p


def _flip(d: Floats) -> Floats:
    d = d[fixed_order(d)]
    # A flip that ties with the data must count in spite of round-off.
    least = np.abs(d.sum(axis=0)) - 1e-9 * np.abs(d).sum(axis=0)
    if len(d) <= EXACT_BLOCKS:
        return _count_flips(d, least) / 2.0 ** len(d)
    flips, exceeded, d = _family_signs(len(d)), np.zeros(d.shape[1]), bundle_rows(d)
    for signs in flips.parts(len(flips) * d.shape[1] // AT_A_TIME):
        exceeded += (np.abs(signs @ d) >= least).sum(axis=0)
    return exceeded / len(flips)


def _family_signs(n: int) -> SignPatterns:
    return SignPatterns(n, RESAMPLES + 1, EXACT_FAMILY_BLOCKS)


def _count_flips(d: Floats, least: Floats) -> Floats:
    """Count the 2^n sign flips of each column whose sum is at least ``least`` in size."""
    middle = len(d) // 2
    halves = d[:middle], d[middle:]
    first, second = (np.sort(all_signs(len(half)) @ half, axis=0) for half in halves)
    counts = np.full(d.shape[1], 2.0 ** len(d))
    for j in np.flatnonzero(least > 0):
        below = np.searchsorted(second[:, j], least[j] - first[:, j])
        # As many sums are at most -least as are at least +least.
        counts[j] = 2.0 * (len(second) * len(first) - below.sum())
    return counts


def max_t(differences: Floats, t: Floats | None = None, *, one_sided: bool = False) -> Floats:
    """Family-wise adjusted p of every column by step-down sign-flip max-T (Westfall & Young, 1993).

    All contrasts of a seed flip together, which uses their correlation, and the smallest p that
    can be reached is that of one test, however many contrasts there are; with ten seeds, Holm's
    smallest p over 26 contrasts is above 0.05.  The statistic is |t|; where contrasts have
    different numbers of seeds, its p in Student's distribution, since |t| of few seeds tends to be
    larger.

    Exact up to 16 seeds; beyond, of 19,999 flips that are always the same, and never below the p of
    the single contrast (``sign_flip_p``).

    Parameters
    ----------
    t
        The t of each column to test in place of that of its numbers; missing: the latter.
    one_sided
        Count sums that are as large as those of the data, and not those that are as far below zero.
    """
    n = np.isfinite(differences).sum(axis=0)
    d = np.nan_to_num(differences)
    d = d[fixed_order(d)] if d.size else d
    norm = np.sqrt((d**2).sum(axis=0))
    scaled = np.divide(d, norm, out=np.zeros_like(d), where=norm > 0)
    alike = len(np.unique(n[n >= 2])) < 2

    def statistic(sums: Floats) -> Floats:
        # |sum d| / sqrt(sum d^2) is a monotone function of |t| in each column.
        size = sums if one_sided else np.abs(sums)
        return size if alike else _surprise(size, n)

    sums = scaled.sum(axis=0)
    if t is not None:
        sums = np.where(np.isnan(t), sums, _standardised_sum(t, n))
    observed = statistic(sums)
    order = np.argsort(-observed, kind="stable")
    exceeded, scaled = np.zeros(len(order)), bundle_rows(scaled)
    # Of two opposite patterns of signs the list has one.
    flips, sides = _family_signs(len(d)), (1, -1) if one_sided else (1,)
    # A flip that ties with the data must count in spite of round-off.
    size = np.where(np.isfinite(observed), np.abs(observed), 0)
    least = (observed - 1e-9 * (1 + size))[order]
    for signs in flips.parts(flips.width * len(flips) * max(len(order), 1) // AT_A_TIME):
        sums = signs @ scaled
        for side in sides:
            flipped = statistic(side * sums)[:, order]
            largest_left = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
            exceeded += (largest_left >= least).sum(axis=0)
    adjusted = exceeded / (len(flips) * len(sides))
    if len(d) > EXACT_FAMILY_BLOCKS and not one_sided:
        # The p of a family is at least that of each of its contrasts, which may be exact; and is
        # that of its last contrast, when that alone is left.
        single = sign_flip_p(differences)[order]
        last = np.flatnonzero(np.isfinite(single))[-1:]
        adjusted = np.fmax(adjusted, single)
        if t is None:
            adjusted[last] = single[last]
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(adjusted)
    return np.where(n >= 2, p, np.nan)


def _standardised_sum(t: Floats, n: Ints) -> Floats:
    """Return sum d / sqrt(sum d^2) of n numbers whose t is known."""
    finite = np.clip(np.nan_to_num(t), -1e150, 1e150)
    return np.asarray(finite * np.sqrt(n / np.maximum(finite**2 + n - 1, 1e-300)))


def _surprise(size: Floats, n: Ints) -> Floats:
    """Minus the logarithm of Student's p, one-sided, of sum d / sqrt(sum d^2) with n numbers."""
    degrees = np.where(n >= 2, n - 1.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounded, so that flips of equal numbers stay equal; near its bound t knows no end.
        share = np.round(np.clip(size / np.sqrt(n), -1.0, 1.0), 9)
        t = share * np.sqrt(degrees / (1 - share**2))
        surprise = -stats.t.logsf(t, degrees)
    return np.where(np.isnan(surprise), 0.0, surprise)


def smallest_p(n: Ints, tests: int = 1, exact_blocks: int = EXACT_FAMILY_BLOCKS) -> Floats:
    """Return the smallest two-sided sign-flip p of ``n`` numbers, Bonferroni-adjusted for
    ``tests``, where all flips are counted up to ``exact_blocks``.
    """
    least = np.where(n <= exact_blocks, 2.0 ** (1.0 - n), 1 / (RESAMPLES + 1))
    return np.where(n >= 2, np.minimum(1.0, tests * least), np.nan)


def min_seeds(alpha: float = 0.05, tests: int = 1) -> int:
    """Return the seeds with which a sign-flip p, Bonferroni-adjusted, can be ``alpha`` at all."""
    return 1 + math.ceil(math.log2(tests / alpha))


def adjust(p: Floats, method: Literal["holm", "fdr_bh"] = "holm") -> Floats:
    """Adjust p-values by Holm's or Benjamini and Hochberg's method; missing ones stay missing.

    As ``multipletests`` of statsmodels, which also collects the garbage of the process each time.
    """
    adjusted = np.full(len(p), np.nan)
    present = np.flatnonzero(np.isfinite(p))
    if method == "fdr_bh" and len(present):
        adjusted[present] = fdrcorrection(p[present])[1]
    elif method == "holm":
        order = present[np.argsort(p[present])]
        multiples = p[order] * np.arange(len(order), 0, -1)
        adjusted[order] = np.minimum(np.maximum.accumulate(multiples), 1.0)
    return adjusted


MAX_EXACT_PAIRS = 50
"""Pairs up to which the signed-rank distribution is enumerated; beyond, it is normal."""
MOST_ENUMERATED = 500
"""Pairs whose Walsh averages are all sorted; of more they are found by bisection."""


@dataclass(frozen=True)
class Location:
    """The median of all Walsh averages (means of two of ``n`` differences, or of one with itself),
    and the interval over them (Bauer, 1972), of the smallest ``confidence`` that reaches the
    requested level, or else of the largest.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    n: int


def hodges_lehmann(differences: Floats, level: float = 0.95) -> Location:
    """Estimate the centre of symmetric differences, one a pair (Hodges & Lehmann, 1963)."""
    d = np.asarray(differences, dtype=float)
    d = d[np.isfinite(d)]
    n = len(d)
    if not n:
        return Location(np.nan, np.nan, np.nan, np.nan, 0)
    k, coverage = _signed_rank_bound(n, level)
    top = n * (n + 1) // 2
    low, high, *middle = _walsh_averages(np.sort(d), (k, top + 1 - k, (top + 1) // 2, top // 2 + 1))
    return Location(sum(middle) / 2, low, high, coverage, n)


def _walsh_averages(d: Floats, ranks: Sequence[int]) -> list[float]:
    """Return the Walsh averages of sorted numbers that have these ranks, from 1."""
    if len(d) <= MOST_ENUMERATED:
        i, j = np.triu_indices(len(d))
        walsh = np.sort((d[i] + d[j]) / 2)
        return [float(walsh[rank - 1]) for rank in ranks]

    def count(bound: float) -> int:
        # In ascending order each is searched near the one before it.
        pairs = np.searchsorted(d, 2 * bound - d[::-1], side="right").sum()
        return int(pairs + np.searchsorted(d, bound, side="right")) // 2

    averages = []
    for rank in ranks:
        low, high = float(d[0]), float(d[-1])
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if count(middle) >= rank else (middle, high)
        # The largest average up to there; of ties at zero it is zero.
        partners = np.searchsorted(d, 2 * high - d, side="right")
        averages.append(float((d + d[partners - 1])[partners > 0].max()) / 2)
    return averages


def _signed_rank_bound(n: int, level: float) -> tuple[int, float]:
    """Return the largest k for which the k-th Walsh averages from both ends cover enough, or 1, and
    how often they cover.
    """
    tail, mean = (1 - level) / 2, n * (n + 1) / 4
    if n <= MOST_ENUMERATED:
        below = signed_rank_cdf(n)
        k = max(1, int(np.searchsorted(below, tail, side="right")))
        return k, 1 - 2 * float(below[k - 1])
    sd = math.sqrt(mean * (2 * n + 1) / 6)
    k = int(max(1.0, mean + 0.5 + sd * stats.norm.ppf(tail)))
    return k, 1 - 2 * float(stats.norm.cdf((k - 0.5 - mean) / sd))


def signed_rank_cdf(n: int) -> Floats:
    """P(V <= v) of Wilcoxon's signed-rank statistic without ties, for v = 0, 1, ..., n(n+1)/2."""
    top = n * (n + 1) // 2
    if n > MAX_EXACT_PAIRS:
        mean, sd = top / 2, np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return np.asarray(stats.norm.cdf((np.arange(top + 1) + 0.5 - mean) / sd))
    ways = np.zeros(top + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = ways[rank:] + ways[: top + 1 - rank]
    return np.asarray(np.cumsum(ways / ways.sum()))
