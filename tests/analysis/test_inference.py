from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablations.analysis import adjust, equivalence_p, max_t, sign_flip_p, t_interval
from ablations.analysis.coding import Floats


def by_enumeration(d: Floats) -> float:
    """The definition, in so many words."""
    observed = abs(d.mean())
    means = [abs((d * signs).mean()) for signs in product([1, -1], repeat=len(d))]
    return float(np.mean(np.array(means) >= observed - 1e-12))


def step_down_by_enumeration(d: Floats) -> Floats:
    """Step-down max-T written as its definition."""
    norm = np.sqrt((d**2).sum(axis=0))
    observed = np.abs(d.sum(axis=0)) / norm
    flips = [np.array(signs) for signs in product([1, -1], repeat=len(d))]
    order = sorted(range(d.shape[1]), key=lambda j: -observed[j])
    p, running = np.empty(d.shape[1]), 0.0
    for k, j in enumerate(order):
        rest = order[k:]
        largest = [max(abs((d[:, i] * signs).sum()) / norm[i] for i in rest) for signs in flips]
        running = max(running, float(np.mean(np.array(largest) >= observed[j] - 1e-9)))
        p[j] = running
    return p


def test_holm_and_benjamini_hochberg_of_the_published_example() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert adjust(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust(p, "fdr_bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
def test_adjusted_p_are_those_of_statsmodels_to_the_last_bit(
    method: Literal["holm", "fdr_bh"],
) -> None:
    p = np.round(np.random.default_rng(0).uniform(0, 0.3, 40), 2)
    assert adjust(p, method).tolist() == multipletests(p, method=method)[1].tolist()


def test_a_missing_p_costs_the_family_nothing() -> None:
    adjusted = adjust(np.array([0.01, np.nan, 0.04]), "holm")
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])


def test_sign_flip_is_exact() -> None:
    d = np.random.default_rng(1).normal(0.3, 1, (7, 5))
    assert sign_flip_p(d) == pytest.approx([by_enumeration(column) for column in d.T])


def test_sign_flip_is_scipys_where_that_is_exact() -> None:
    d = np.random.default_rng(11).normal(0.2, 1, (9, 4))
    expected = stats.permutation_test(
        (d,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=2**9,
    )  # fmt: skip
    assert sign_flip_p(d) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("seeds", [8, 16, 30])
def test_no_order_label_sign_or_unit_changes_a_p(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    d = random.normal(0.3, 1, (seeds, 5))
    columns = random.permutation(5)
    other = -37 * d[random.permutation(seeds)][:, columns]
    assert sign_flip_p(other) == pytest.approx(sign_flip_p(d)[columns], abs=1e-12)
    assert max_t(other) == pytest.approx(max_t(d)[columns], abs=1e-12)


def test_max_t_lets_few_seeds_speak_beside_many() -> None:
    """|t| of six seeds has a bound that null contrasts of twenty go beyond; its p has none."""
    random = np.random.default_rng(12)
    d = random.normal(0, 1, (20, 17))
    d[:, 0] = -0.69 + random.normal(0, 0.02, 20)
    d[6:, 0] = np.nan
    assert max_t(d)[0] == pytest.approx(2 / 64, abs=0.01)
    assert max_t(d[:6])[0] == pytest.approx(2 / 64)
    null = random.normal(0, 1, (200, 12, 6))
    null[:, 7:, :3] = np.nan
    assert np.mean([(max_t(d) <= 0.05).any() for d in null]) <= 0.05 + 0.04


def test_sign_flip_ignores_the_seeds_a_contrast_lacks() -> None:
    d = np.random.default_rng(2).normal(0.5, 1, (8, 3))
    d[:2, 1] = np.nan
    d[1:, 2] = np.nan
    p = sign_flip_p(d)
    assert p[1] == pytest.approx(by_enumeration(d[2:, 1]))
    assert np.isnan(p[2])


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_sign_flip_cannot_go_below_its_floor(seeds: int, least: float) -> None:
    assert sign_flip_p(np.ones((seeds, 1))) == pytest.approx([least])


# Darwin (1876): heights of crossed less those of self-fertilised maize, in eighths of an inch.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


@pytest.mark.parametrize("correction", [sign_flip_p, max_t])
def test_fishers_maize(correction: Callable[[Floats], Floats]) -> None:
    """863 of 32,768 flips are as large on the one side (Fisher, 1935, section 21)."""
    assert (sum(MAIZE), len(MAIZE)) == (314, 15)
    assert correction(np.array(MAIZE, dtype=float)[:, None] / 8).tolist() == [1726 / 32768]


@pytest.mark.parametrize("seeds", [2, 3, 11, 16])
def test_counting_is_enumeration_with_ties(seeds: int) -> None:
    """Integers tie often; the sums of 0.1 that should tie differ by round-off."""
    random = np.random.default_rng(seeds)
    d = random.integers(-3, 5, (seeds, 6)) * np.array([1.0, 0.1, 1e-6, 1 / 3, 1e5, 0.7])
    d[:, 0] = 0
    bits = np.arange(2**seeds)[:, None] >> np.arange(seeds)
    sums = np.abs((1 - 2 * (bits & 1)) @ np.rint(d / np.array([1.0, 0.1, 1e-6, 1 / 3, 1e5, 0.7])))
    assert sign_flip_p(d).tolist() == (sums >= sums[0]).mean(axis=0).tolist()


def test_24_seeds_are_counted() -> None:
    """The number of subsets of 1, ..., 24 whose sum is at most 24, by dynamic programming."""
    ways = np.zeros(301, dtype=int)
    ways[0] = 1
    for size in range(1, 25):
        ways[size:] = ways[size:] + ways[: 301 - size]
    d = np.arange(1.0, 25.0)
    d[23] = -24
    assert sign_flip_p(np.repeat(d[:, None], 30, axis=1)).tolist() == [ways[:25].sum() / 2**23] * 30


def test_an_adjusted_p_of_random_flips_is_never_below_the_exact_p() -> None:
    random = np.random.default_rng(13)
    d = random.normal(0.4, 1, (20, 40))
    assert (max_t(d) >= sign_flip_p(d)).all()
    assert max_t(d[:, :1]) == sign_flip_p(d[:, :1])


def test_beyond_exact_the_flips_are_fixed_and_close_to_the_t_test() -> None:
    d = np.random.default_rng(3).normal(0.4, 1, (26, 1))
    assert sign_flip_p(d) == sign_flip_p(d[::-1])
    assert sign_flip_p(d)[0] == pytest.approx(stats.ttest_1samp(d[:, 0], 0).pvalue, abs=0.02)


def test_max_t_is_its_definition() -> None:
    d = np.random.default_rng(4).normal([1.0, 0.3, 0.0, 0.6], 1, (8, 4))
    assert max_t(d) == pytest.approx(step_down_by_enumeration(d))


def test_max_t_of_one_contrast_is_the_sign_flip_test() -> None:
    d = np.random.default_rng(5).normal(0.5, 1, (9, 1))
    assert max_t(d) == pytest.approx(sign_flip_p(d))


def test_max_t_reaches_its_floor_however_many_contrasts_there_are() -> None:
    d = np.random.default_rng(6).normal(0, 1, (10, 60))
    d[:, 0] = 5 + d[:, 0] / 10
    assert max_t(d)[0] == pytest.approx(2 / 1024)
    assert adjust(sign_flip_p(d), "holm")[0] > 0.05


def test_max_t_keeps_the_family_wise_error() -> None:
    random = np.random.default_rng(7)
    shared = random.normal(0, 1, (300, 8, 1))
    families = random.normal(0, 1, (300, 8, 12)) + shared
    wrong = np.mean([(max_t(d) <= 0.05).any() for d in families])
    unadjusted = np.mean([(sign_flip_p(d) <= 0.05).any() for d in families[:50]])
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert unadjusted > 0.15  # the generator can tell the difference


def test_t_interval_is_scipys() -> None:
    x = np.random.default_rng(8).normal(1, 2, 9)
    low, high = t_interval(np.array([x.mean()]), np.array([x.std(ddof=1)]), np.array([9.0]))
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))
    assert np.isnan(t_interval(np.zeros(1), np.array([np.nan]), np.ones(1))[0]).all()


def test_equivalence_is_two_one_sided_tests() -> None:
    x = np.random.default_rng(9).normal(0.1, 1, 12)
    p = equivalence_p(np.array([x.mean()]), np.array([x.std(ddof=1)]), np.array([12.0]), 0.8)
    upper = stats.ttest_1samp(x, 0.8, alternative="less").pvalue
    lower = stats.ttest_1samp(x, -0.8, alternative="greater").pvalue
    assert p == pytest.approx([max(upper, lower)])


def test_equivalence_without_spread_is_certain() -> None:
    p = equivalence_p(np.array([0.0, 0.1]), np.zeros(2), np.array([5.0, 5.0]), 0.02)
    assert p.tolist() == [0.0, 1.0]
