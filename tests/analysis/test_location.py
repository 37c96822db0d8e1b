"""Hodges and Lehmann's estimate, and its exact interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablations.analysis.inference import MOST_ENUMERATED, hodges_lehmann, signed_rank_cdf

# Hollander & Wolfe (1973), p. 29: depression of nine patients at two visits.
FIRST = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
SECOND = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def test_hollander_and_wolfe() -> None:
    d = FIRST - SECOND
    test = stats.wilcoxon(d, alternative="greater")
    assert test.statistic == 40
    assert test.pvalue == pytest.approx(0.01953, abs=5e-6)
    assert 1 - signed_rank_cdf(9)[39] == pytest.approx(test.pvalue)
    locations = hodges_lehmann(d)
    assert locations.estimate == pytest.approx(0.460)
    assert (locations.low, locations.high) == pytest.approx((0.010, 0.786))
    assert locations.confidence == pytest.approx(1 - 2 * 10 / 512)
    assert locations.n == 9


@pytest.mark.parametrize("n", [3, 6, 12])
def test_the_distribution_is_counted_out(n: int) -> None:
    flips = np.array(np.meshgrid(*[[0, 1]] * n)).reshape(n, -1)
    sums = (flips * np.arange(1, n + 1)[:, None]).sum(axis=0)
    expected = [(sums <= v).mean() for v in range(n * (n + 1) // 2 + 1)]
    assert signed_rank_cdf(n) == pytest.approx(expected)


def test_beyond_exact_the_normal_takes_over_without_a_step() -> None:
    exact, normal = signed_rank_cdf(50), signed_rank_cdf(51)
    assert np.abs(exact[500:800] - normal[525:825]).max() < 0.02


def test_it_covers_what_it_says_and_too_few_say_less() -> None:
    random = np.random.default_rng(0)
    locations = [hodges_lehmann(random.normal(size=8)) for _ in range(400)]
    covered = np.mean([location.low <= 0 <= location.high for location in locations])
    assert covered == pytest.approx(locations[0].confidence, abs=0.035)
    assert locations[0].confidence >= 0.95
    few = hodges_lehmann(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (few.estimate, few.low, few.high, few.n) == (2.0, 1.0, 3.0, 3)
    assert few.confidence == 0.75
    assert np.isnan(hodges_lehmann(np.array([])).estimate)


def test_many_pairs_are_searched_and_not_enumerated() -> None:
    d = np.random.default_rng(2).normal(0.1, size=MOST_ENUMERATED + 1).round(2)
    i, j = np.triu_indices(len(d))
    walsh = np.sort((d[i] + d[j]) / 2)
    below = signed_rank_cdf(len(d))
    k = int(np.searchsorted(below, 0.025, side="right"))
    location = hodges_lehmann(d)
    assert location.estimate == pytest.approx(np.median(walsh), abs=1e-15)
    assert (location.low, location.high) == pytest.approx((walsh[k - 1], walsh[-k]), abs=1e-15)
    assert location.confidence == pytest.approx(1 - 2 * below[k - 1])
    assert hodges_lehmann(d, 1.0).low == walsh[0]
    few_differ = np.r_[np.zeros(MOST_ENUMERATED), 0.1, 0.2, -0.3]
    location, opposite = hodges_lehmann(few_differ), hodges_lehmann(-few_differ)
    assert (location.estimate, location.low, location.high) == (0, 0, 0)
    assert (opposite.estimate, opposite.low, opposite.high) == (0, 0, 0)
