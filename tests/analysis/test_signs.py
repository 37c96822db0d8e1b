"""Patterns of signs are the same, however many are in memory at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from ablations.analysis import max_t, sign_flip_p, signs
from ablations.analysis.best_set import compute_best_p
from ablations.analysis.signs import MOST_FLIPPED, SignPatterns, bundle_rows


@pytest.mark.parametrize("at_a_time", [100, 1_000, 2**20])
@pytest.mark.parametrize("stored", [0, 2**22])
@pytest.mark.parametrize("n", [21, 333])
def test_signs_drawn_in_parts_are_those_drawn_at_once(
    n: int, stored: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs, "SIGNS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(signs, "MOST_STORED", stored)
    signs._stored_patterns.cache_clear()
    at_once = np.random.default_rng(0).choice([-1.0, 1.0], size=(200, n))
    parts = list(SignPatterns(n, 201, 3).parts(3))
    assert len(parts) >= 3
    assert max(block.size for block in parts) <= max(at_a_time, n)
    assert np.array_equal(np.vstack(parts), np.vstack([np.ones((1, n)), at_once]))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_all_patterns_without_their_opposites(n: int) -> None:
    patterns = SignPatterns(n, 100, 5)
    rows = {tuple(row) for block in patterns.parts() for row in block}
    assert len(rows) == len(patterns) == 2 ** max(0, n - 1)
    assert all(row[:1] in ((1.0,), ()) for row in rows)


def test_tests_of_thousands_of_seeds_take_little_memory() -> None:
    """All their signs at once would take 240 MB."""
    d = np.random.default_rng(1).normal(size=(1_500, 1))
    tracemalloc.start()
    try:
        max_t(d)
        compute_best_p(d, SignPatterns(1_500, 2**14, 15), 0)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_missing_numbers_are_zero_in_every_random_flip() -> None:
    d = np.random.default_rng(4).normal(0.1, size=(60, 5))
    d[np.random.default_rng(5).random(d.shape) < 0.3] = np.nan
    p = sign_flip_p(d)
    alone = [sign_flip_p(column[np.isfinite(column)][:, None])[0] for column in d.T]
    assert p == pytest.approx(alone, abs=0.02)


def test_of_very_many_seeds_some_flip_together_and_the_test_stays_exact() -> None:
    d = np.random.default_rng(3).normal(size=(2 * MOST_FLIPPED + 7, 3))
    bundles = bundle_rows(d)
    assert bundles.shape == (MOST_FLIPPED, 3)
    assert bundles.sum(axis=0) == pytest.approx(d.sum(axis=0))
    assert (bundle_rows(d[:MOST_FLIPPED]) == d[:MOST_FLIPPED]).all()
    p = sign_flip_p(d)
    expected = stats.ttest_1samp(d, 0).pvalue
    assert np.abs(p - expected).max() < 0.06


def test_no_seeds_have_no_p() -> None:
    assert np.isnan(max_t(np.zeros((0, 3)))).all()
