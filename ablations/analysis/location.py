"""The centre of paired differences without any assumption of normality: Hodges-Lehmann."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.analysis.design import Floats

_EXACT = 50
"""Pairs up to which the signed-rank distribution is counted out; beyond, it is normal."""


@dataclass(frozen=True)
class Location:
    """The Hodges-Lehmann estimate of paired differences, with its exact interval.

    Attributes
    ----------
    estimate
        Median of all Walsh averages, the means of two differences or of one with itself.
    low, high
        The interval over Walsh averages (Bauer, 1972), missing where n is too small for any.
    confidence
        What the interval really has; it steps, and is the least that is at least what was asked,
        or the widest there is.
    n
        Differences.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    n: int


def hodges_lehmann(differences: Floats, level: float = 0.95) -> Location:
    """Estimate the centre of symmetric differences (Hodges & Lehmann, 1963).

    Parameters
    ----------
    differences
        One number a pair; missing ones are ignored.
    """
    d = np.asarray(differences, dtype=float)
    d = d[np.isfinite(d)]
    n = len(d)
    if not n:
        return Location(np.nan, np.nan, np.nan, np.nan, 0)
    i, j = np.triu_indices(n)
    walsh = np.sort((d[i] + d[j]) / 2)
    estimate = float(np.median(walsh))
    below = signed_rank_cdf(n)
    # The bounds are the k-th Walsh averages from both ends, k the largest that covers enough.
    k = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    if not k:
        whole = 1 - 2 * float(below[0])
        return Location(estimate, float(walsh[0]), float(walsh[-1]), whole, n)
    covered = 1 - 2 * float(below[k - 1])
    return Location(estimate, float(walsh[k - 1]), float(walsh[-k]), covered, n)


def signed_rank_cdf(n: int) -> Floats:
    """P(V <= v) of Wilcoxon's signed-rank statistic without ties, for v = 0, 1, ..., n(n+1)/2."""
    top = n * (n + 1) // 2
    if n > _EXACT:
        mean, sd = top / 2, np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return np.asarray(stats.norm.cdf((np.arange(top + 1) + 0.5 - mean) / sd))
    ways = np.zeros(top + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = ways[rank:] + ways[: top + 1 - rank]
    return np.asarray(np.cumsum(ways / ways.sum()))
