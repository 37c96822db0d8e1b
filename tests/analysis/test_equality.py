"""Practically equal: exact small cases, the family, and what is not said of few seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from ablations.analysis import EQUAL, UNDECIDED, main_effects
from ablations.analysis.equality import (
    adjusted_equivalence_p,
    equivalence_p,
    share_within,
    unseen_rate,
)
from ablations.analysis.power import for_equivalence, seeds_needed
from bench.calibration import equality

from .generators import CONTROLS, FACTORS, planted


def enumerate_flips(d: np.ndarray, margin: float) -> np.ndarray:
    """Step-down max-T of one-sided sign flips, by its definition."""
    x = margin - np.where(d.mean(axis=0) < 0, -1, 1) * d
    n, m = x.shape
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    norms = np.sqrt((x**2).sum(axis=0))
    sums = (signs @ x) / norms
    observed, p, levels = x.sum(axis=0) / norms, np.empty(m), list(range(m))
    largest = 0.0
    while levels:
        top = max(levels, key=lambda j: observed[j])
        share = float((sums[:, levels].max(axis=1) >= observed[top] - 1e-9).mean())
        p[top] = largest = max(largest, share)
        levels.remove(top)
    return p


def test_the_adjusted_p_is_its_definition_and_never_below_that_of_one_level() -> None:
    d = np.random.default_rng(1).normal([0.0, 0.2, -0.4, 0.0], [0.3, 0.6, 0.3, 1.5], (7, 4))
    mean, sd = d.mean(axis=0), d.std(axis=0, ddof=1)
    alone = equivalence_p(mean, sd, np.full(4, 7.0), 0.8)
    assert adjusted_equivalence_p(d, 0.8) == pytest.approx(
        np.maximum(enumerate_flips(d, 0.8), alone)
    )


def test_equality_needs_as_many_seeds_as_a_difference() -> None:
    none = np.zeros((6, 2))
    assert adjusted_equivalence_p(none, 0.1) == pytest.approx([1 / 64] * 2)
    assert np.isnan(adjusted_equivalence_p(none[:5], 0.1)).all()
    assert np.isnan(adjusted_equivalence_p(none, 0.1, alpha=0.05 / 3)).all()
    assert adjusted_equivalence_p(none + 0.1, 0.1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("seeds", [2, 5, 6])
def test_few_seeds_are_never_called_equal_and_the_row_says_why(seeds: int) -> None:
    table = main_effects(planted({}, seeds=seeds, noise=1e-4), CONTROLS, FACTORS)
    few = seeds < 6
    assert set(table["verdict"]) == {UNDECIDED if few else EQUAL}
    assert set(table["caution"].str.contains("fewer than 6 seeds cannot show that")) == {few}
    assert (table["within_margin"] > 0.95).all()
    needed = seeds_needed(table, margin=float(np.log1p(0.02)))
    assert (needed["more"] == 6 - seeds).all()


def test_the_share_within_the_margin_is_an_integral_of_the_posterior() -> None:
    d = np.random.default_rng(2).normal(0.3, 1.0, (9, 1))
    posterior = stats.t(8, d.mean(), d.std(ddof=1) / 3)
    expected = integrate.quad(posterior.pdf, -0.5, 0.5)[0]
    assert share_within(d, 0.5) == pytest.approx([expected])
    assert share_within(np.array([[0.1, 0.6], [0.1, 0.6]]), 0.5).tolist() == [1.0, 0.0]
    assert np.isnan(share_within(d[:1], 0.5)).all()


def test_order_labels_units_and_directions_do_not_matter() -> None:
    d = np.random.default_rng(3).normal(0.0, 0.3, (18, 5))
    d[2, 1] = np.nan
    expected = adjusted_equivalence_p(d, 0.4)
    order = np.random.default_rng(4).permutation(18)
    for changed, margin in ((d[order], 0.4), (7 * d, 2.8), (-d, 0.4)):
        assert adjusted_equivalence_p(changed, margin) == pytest.approx(expected)
    assert adjusted_equivalence_p(d[:, ::-1], 0.4) == pytest.approx(expected[::-1])


def test_the_share_of_failures_that_no_seed_showed() -> None:
    assert [round(unseen_rate(n), 2) for n in (6, 10)] == [0.39, 0.26]
    assert stats.binom.cdf(0, 10, unseen_rate(10)) == pytest.approx(0.05)


def test_seeds_for_equality_are_those_of_the_family() -> None:
    runs = planted({}, noise=0.06, seeds=6, rng=3)
    table = main_effects(runs, CONTROLS, FACTORS)
    needed = seeds_needed(table, margin=0.05)
    row = table.iloc[0]
    sd = (row["high"] - row["low"]) / 2 * np.sqrt(6) / stats.t.ppf(0.975, 5)
    expected = max(6.0, for_equivalence(row["effect"], sd, 0.05, 0.05 / 4))
    assert needed["by_equivalence"].iloc[0] == expected


@pytest.mark.slow
def test_levels_at_the_margin_are_hardly_ever_called_equal() -> None:
    rates = equality.measure(8).query("quantity == 'any false equal'")
    assert (rates["low"] <= 0.06).all()
    assert rates["rate"].mean() <= 0.06
