"""The set of configurations that cannot be told from the best: by hand, by brute force, by size."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import Design, best_configuration, best_set, ranking
from ablations.analysis.best_set import compute_best_p, deflate, draw_others
from ablations.analysis.coding import Floats
from ablations.analysis.signs import SignPatterns

from .generators import CONTROLS, FACTORS, planted

ROLES: dict[str, Any] = {"factors": ["cell"], "outcome": "y", "scale": "difference"}


def table_of(values: Floats, **columns: Any) -> pd.DataFrame:
    """Runs of seeds x configurations."""
    seeds, n = values.shape
    cell, seed = np.tile(np.arange(n), seeds), np.repeat(np.arange(seeds), n)
    runs = pd.DataFrame({"cell": cell, "seed": seed, "y": values.ravel()})
    return runs.assign(**{name: np.tile(column, seeds) for name, column in columns.items()})


def brute_force(merit: Floats) -> Floats:
    """P of every configuration by t statistics of every flip, as the definition says it."""
    n, k = merit.shape
    p = []
    for i in range(k):
        d = merit[:, [i]] - np.delete(merit, i, axis=1)

        def largest_t(flips: Floats, d: Floats = d) -> float:
            flipped = flips[:, None] * d
            t = flipped.mean(axis=0) / (flipped.std(axis=0, ddof=1) / np.sqrt(n))
            return max(0.0, float(t.max()))

        observed = largest_t(np.ones(n))
        signs = product([1.0, -1.0], repeat=n)
        p.append(np.mean([largest_t(np.array(flips)) >= observed - 1e-9 for flips in signs]))
    return np.array(p)


@pytest.mark.parametrize("seed", range(3))
def test_p_is_the_share_of_flips_with_a_larger_lead(seed: int) -> None:
    random = np.random.default_rng(seed)
    merit = random.normal(size=(6, 4)) * [0.2, 1, 1, 3] + [0, 0.5, 1, 0]
    p, p_first = compute_best_p(merit, SignPatterns(6, 32, 6), int(merit.mean(axis=0).argmin()))
    assert p == pytest.approx(brute_force(merit))
    assert p[merit.mean(axis=0).argmin()] == 1
    assert (p_first[np.isfinite(p_first)] >= p[np.isfinite(p_first)]).all()


def test_two_configurations_by_hand() -> None:
    """All of six differences have one sign: 1 of 64 flips is as large, and 2 of 64 on two sides."""
    values = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 6.0]])
    table = best_set(table_of(values), **ROLES, all_candidates=True)
    assert table["p"].tolist() == [1, 1 / 64]
    assert table["in_set"].tolist() == [True, False]
    assert table["effect"].tolist() == [0, 3.5]
    assert ranking(table_of(values), **ROLES)["p_first"].iloc[1] == 2 / 64
    assert len(best_set(table_of(values), **ROLES)) == 1
    # One seed of six the other way: 1 of 64 flips is larger, with the smallest changed in sign.
    values[0, 1] = -1
    assert best_set(table_of(values), **ROLES, all_candidates=True)["p"].tolist() == [1, 2 / 64]
    assert len(best_set(table_of(values), **ROLES)) == 2
    # Of five seeds even the clearest has 1 / 32.
    five = best_set(table_of(values[1:]), **ROLES)
    assert five["p"].tolist() == [1, 1 / 32]
    assert not five["is_reachable"].any()
    assert "5 seeds are too few to leave any out" in five["assumes"].iloc[0]
    assert best_set(table_of(values), **ROLES)["is_reachable"].all()


def test_direction_and_level_decide() -> None:
    values = np.outer(np.linspace(1, 2, 7), [0.0, 1.0])
    assert best_set(table_of(values), **ROLES)["cell"].tolist() == [0]
    assert best_set(table_of(values), **ROLES, higher_is_better=True)["cell"].tolist() == [1]
    assert len(best_set(table_of(values), **ROLES, alpha=2 / 128)) == 1
    assert len(best_set(table_of(values), **ROLES, alpha=2 / 129)) == 2
    assert best_set(table_of(values), **ROLES, alpha=2 / 128)["is_reachable"].all()
    assert not best_set(table_of(values), **ROLES, alpha=2 / 129)["is_reachable"].any()
    # Where looks were stated at other numbers of seeds, nothing is told here.
    withheld = Design(table_of(values), **ROLES, looks=(10, 20))
    assert len(best_set(withheld)) == 2


def test_the_set_says_what_its_members_share_and_which_is_cheapest() -> None:
    effects = {("norm", "layer"): -1.0, ("regularizer", "l1"): 0.5}
    runs = planted(effects, seeds=8, noise=0.02)
    cost = {"none": 3.0, "dropout": 2.0, "l1": 1.0}
    runs["train_seconds"] = runs["regularizer"].map(cost) + (runs["init"] == "kaiming")
    table = best_set(runs, FACTORS, control=CONTROLS)
    assert set(table["regularizer"]) == {"none", "dropout"}
    assert table[["members", "candidates"]].iloc[0].tolist() == [4, 12]
    assert set(table["shared"]) == {"norm layer"}
    cheapest = table[table["cheapest"]]
    assert cheapest[["regularizer", "init", "seconds"]].to_numpy().tolist() == [
        ["dropout", "default", 2.0]
    ]
    assert cheapest["seconds_ratio"].iloc[0] == pytest.approx(2 / table["seconds"].iloc[0])
    gain = table["control_change"]
    assert gain.to_numpy() == pytest.approx(np.expm1(-1.0), abs=0.05)
    assert ((table["control_change_low"] < gain) & (gain < table["control_change_high"])).all()
    assert set(table["against"]) == {"regularizer none, norm none, init default"}
    # Of equal cost, that with the fewest changes from the control.
    same = best_set(runs.assign(train_seconds=1.0), FACTORS, control=CONTROLS)
    assert same.loc[same["cheapest"], FACTORS].to_numpy().tolist() == [["none", "layer", "default"]]
    noisy = runs.assign(train_seconds=1 + 0.01 * np.arange(len(runs))[::-1] / len(runs))
    same = best_set(noisy, FACTORS, control=CONTROLS)
    assert same.loc[same["cheapest"], FACTORS].to_numpy().tolist() == [["none", "layer", "default"]]
    # What is within the noise of times is no difference.
    by_noise = {1.0: "dropout", 1.4: "dropout", 1.6: "none"}
    for noise, regularizer in by_noise.items():
        design = Design(runs, factors=FACTORS, controls=CONTROLS, cost_noise=noise)
        table = best_set(design)
        assert table.loc[table["cheapest"], "regularizer"].tolist() == [regularizer]
    unpriced = best_set(runs.drop(columns="train_seconds"), FACTORS)
    assert not unpriced["cheapest"].any()
    assert unpriced[["seconds", "control_effect"]].isna().all(axis=None)


def test_a_configuration_that_diverged_is_no_candidate() -> None:
    runs = planted({("norm", "layer"): -1.0}, seeds=8, noise=0.02)
    hit = (runs["norm"] == "layer") & (runs["seed"] == 0) & (runs["regularizer"] == "l1")
    table = best_set(runs.assign(status=np.where(hit, "diverged", "ok")), FACTORS)
    assert "l1" not in set(table["regularizer"])
    assert set(table["left_out"]) == {"2 configurations that diverged in some seed"}
    assert set(table["candidates"]) == {10}
    assert best_set(runs.iloc[:0], FACTORS).empty


def test_identical_and_single_configurations() -> None:
    values = np.outer(np.linspace(1, 2, 8), [1.0, 1.0, 2.0])
    assert best_set(table_of(values), **ROLES)["cell"].tolist() == [0, 1]
    alone = best_set(table_of(values[:, :1]), **ROLES).iloc[0]
    assert (alone["p"], alone["members"], alone["shared"]) == (1, 1, "")
    seed = best_set(table_of(values[:1]), **ROLES)
    assert len(seed) == 3
    assert seed["p"].isna().all()


def test_more_flips_than_can_be_counted_are_drawn_at_random() -> None:
    random = np.random.default_rng(0)
    merit = random.normal([0, 0.2, 0.4, 0.6, 2], size=(12, 5))
    exact, _ = compute_best_p(merit, SignPatterns(12, 2**11, 12), 0)
    few, _ = compute_best_p(merit, SignPatterns(12, 1_000, 10), 0)
    assert few == pytest.approx(exact, abs=0.03)
    assert few.min() >= 1 / 2_000


def test_a_factor_reduces_t() -> None:
    d = np.random.default_rng(0).normal(0.4, 1, 9)
    leads = np.array([d.sum() / np.sqrt((d**2).sum()), -3.0, 3.0])
    deflated = deflate(leads, 9, np.full(3, 0.5))
    t = np.sqrt(8) * deflated[0] / np.sqrt(9 - deflated[0] ** 2)
    assert t == pytest.approx(d.mean() / (d.std(ddof=1) / 3) / 2)
    assert deflated[1:].tolist() == [-3.0, 3.0]
    assert deflate(leads, 9, np.ones(3)) == pytest.approx(leads)


def test_the_set_is_about_new_data_where_seeds_share_one_table() -> None:
    random = np.random.default_rng(0)
    runs = table_of(random.normal([0, 0, 0, 0.8], size=(20, 4)))
    usual = best_set(runs, **ROLES, control={"cell": 0}, all_candidates=True)
    new = best_set(runs, **ROLES, control={"cell": 0}, all_candidates=True, overlap=0.25)
    assert len(usual[usual["in_set"]]) < len(new[new["in_set"]]) == 4
    assert (new["p"] >= usual["p"]).all()
    ratio = np.sqrt(1 + 20 * 0.25)
    for low, high in (("low", "high"), ("control_low", "control_high")):
        widths = (new[high] - new[low]) / (usual[high] - usual[low])
        assert widths.dropna().to_numpy() == pytest.approx(ratio)
    assert "rows that blocks share" in new["procedure"].iloc[0]
    first, wide = (
        best_configuration(runs, **ROLES, control={"cell": 3}, overlap=overlap).iloc[0]
        for overlap in (0.0, 0.25)
    )
    assert wide["high"] - wide["low"] == pytest.approx((first["high"] - first["low"]) * ratio)
    p = ranking(runs, **ROLES, overlap=0.25)["p_first"]
    assert (p.iloc[1:] >= ranking(runs, **ROLES)["p_first"].iloc[1:]).all()


@pytest.mark.slow
def test_rates_of_the_set_are_those_promised() -> None:
    from bench.calibration.best_set import EQUAL, SETTINGS, judge

    for setting in EQUAL:
        random = np.random.default_rng(0)
        draw = SETTINGS[setting]
        verdicts = pd.DataFrame(
            [judge(*draw(random, 6), random, is_ranked=True) for _ in range(60)]
        )
        # With 60 studies, rates that hold err beyond these in 1 of 1,000.
        assert verdicts["covered"].mean() >= 0.88
        assert verdicts["single"].mean() <= 0.15
        assert verdicts["apart"].mean() <= 0.15
        assert abs(verdicts["first"].mean()) < 0.2
        assert verdicts["naive"].mean() < -0.15


def test_of_thousands_each_is_compared_with_a_random_part_whatever_the_results() -> None:
    """The part depends on names only, and a configuration that is surely worse is left out."""
    random = np.random.default_rng(5)
    merit = random.normal(size=(8, 3_000))
    merit[:, 0] += 20
    levels = pd.DataFrame({"width": np.arange(3_000)})
    others = draw_others(levels, 400)
    assert (len(others), len(set(others))) == (833, 833)
    shuffled = levels.sample(frac=1, random_state=1)
    assert set(shuffled["width"].iloc[draw_others(shuffled, 400)]) == set(others)
    p, p_first = compute_best_p(merit, SignPatterns(8, 2**7, 8), 1, others=others)
    assert p[0] == 1 / 2**8
    assert np.mean(p[1:] <= 0.025) < 0.05
    assert p_first[0] <= 3_000 / 833 / 2**8
    assert np.isnan(p_first[1])
