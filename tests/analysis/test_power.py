"""How many seeds are enough: the known table, and the power that is promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import UNDECIDED, Design, main_effects
from ablations.analysis.power import (
    equivalence_power,
    for_difference,
    for_difference_after,
    for_equivalence,
    seeds_needed,
)

from .generators import CONTROLS, FACTORS, planted


def test_the_known_table_of_a_paired_t_test() -> None:
    assert [for_difference(size) for size in (0.5, 0.8, 1, 1.5, -0.8)] == [34, 15, 10, 6, 15]


@pytest.mark.parametrize(("effect", "sd", "n"), [(0.0, 1.0, 40), (0.1, 0.5, 20), (0.3, 1.0, 60)])
def test_the_power_of_equivalence_is_what_happens(effect: float, sd: float, n: int) -> None:
    random = np.random.default_rng(0)
    d = random.normal(effect, sd, size=(20_000, n))
    error = d.std(axis=1, ddof=1) / np.sqrt(n)
    needed = stats.t.sf((0.5 - np.abs(d.mean(axis=1))) / error, n - 1) <= 0.05
    expected = float(equivalence_power(effect, sd, 0.5, np.array([n]))[0])
    assert needed.mean() == pytest.approx(expected, abs=0.015)


def test_the_first_number_that_is_enough() -> None:
    n = for_equivalence(0.1, 1.0, 0.5)
    powers = equivalence_power(0.1, 1.0, 0.5, np.array([n - 1, n]))
    assert powers[0] < 0.8 <= powers[1]
    assert np.isnan(for_equivalence(0.6, 1.0, 0.5))
    assert for_equivalence(0.1, 0.0, 0.5) == 2
    assert np.isnan(for_difference(0.0))
    assert for_difference(np.inf) == 2


def test_undecided_contrasts_need_more_and_decided_ones_none() -> None:
    runs = planted({("norm", "layer"): 1.0, ("regularizer", "l1"): 0.08}, noise=0.12, rng=4)
    effects = main_effects(runs, CONTROLS, FACTORS)
    needed = seeds_needed(effects, margin=np.log(1.02))
    undecided = effects["verdict"] == UNDECIDED
    assert undecided.any()
    assert not undecided.all()
    assert (needed["more"][~undecided] == 0).all()
    assert (needed["more"][undecided] >= 1).all()
    assert (needed["needed"] == np.fmin(needed["by_difference"], needed["by_equivalence"])).all()


@pytest.mark.slow
def test_the_power_that_is_promised_is_the_power_there_is() -> None:
    """A technique one standard deviation better, at the seeds that one contrast needs."""
    seeds, random = int(for_difference(1.0)), np.random.default_rng(1)
    cells = pd.MultiIndex.from_product([["none", "new"], range(seeds)], names=["norm", "seed"])
    runs = cells.to_frame(index=False)
    hits = 0
    for _ in range(300):
        noise = random.normal(0, 1, seeds)
        log_loss = np.where(runs["norm"] == "new", -0.1 + 0.1 * noise[runs["seed"]], 0.0)
        table = main_effects(runs.assign(val_loss=np.exp(log_loss)), {"norm": "none"}, ["norm"])
        hits += table["p"].iloc[0] <= 0.05
    assert hits / 300 == pytest.approx(0.8, abs=0.07)


def test_a_difference_needs_at_least_what_a_sign_flip_can_tell() -> None:
    runs = planted({("norm", "layer"): 1.0}, seeds=4, noise=0.01)
    needed = seeds_needed(main_effects(runs, CONTROLS, FACTORS), margin=0.02)
    assert needed["by_difference"].min() == 6


def test_one_seed_says_nothing_about_how_many_are_needed() -> None:
    effects = main_effects(planted({}, seeds=1), CONTROLS, FACTORS)
    needed = seeds_needed(effects, margin=0.02)
    assert needed["more"].isna().all()


def test_wider_intervals_do_not_need_more_seeds() -> None:
    runs = planted({("regularizer", "l1"): 0.08}, noise=0.12, rng=4)
    design = Design(runs, FACTORS, CONTROLS)
    wider = replace(design, confidence=0.99)
    needed = [
        seeds_needed(main_effects(each), margin=0.02, confidence=each.confidence)
        for each in (design, wider)
    ]
    pd.testing.assert_frame_equal(*needed)


def test_an_advice_costs_what_the_next_look_is_judged_at() -> None:
    """Fewer pairs are needed where the level is larger, and never fewer than can decide."""
    levels = [dict.fromkeys(range(10_001), level).__getitem__ for level in (0.032, 0.005)]
    sizes = [for_difference_after(0.9, 6, each_at) for each_at in levels]
    assert 6 < sizes[0] < sizes[1]
    assert for_difference_after(3.0, 6, lambda n: 0.01 * (n >= 9)) == 9
    assert for_difference_after(np.inf, 6, lambda n: 0.01 * (n >= 9)) == 9
    assert np.isnan(for_difference_after(0.0, 6, lambda _: 0.05))
    assert np.isnan(for_difference_after(0.9, 6, lambda _: 0.0))


def test_conditional_power_is_what_happens_if_the_effect_is_as_estimated() -> None:
    """The mean of six seeds is 0.9 deviations, and so is that of the new ones."""
    random, pairs = np.random.default_rng(5), 6
    n = int(for_difference_after(0.9, pairs, lambda _: 0.02))
    old = np.tile([1, -1], pairs // 2) * np.sqrt((pairs - 1) / pairs) + 0.9
    new = random.normal(0.9, 1, size=(4_000, n - pairs))
    d = np.hstack([np.tile(old, (4_000, 1)), new])
    hits = stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.02
    assert hits.mean() == pytest.approx(0.8, abs=0.06)
