"""Effects on new data like a table's: Nadeau and Bengio's where seeds repeat no split, and less
wide where they tell the split's part of the variance from the rest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import Design, main_effects, seeds_needed, sign_flip_p
from ablations.analysis.ablation import ablation_table
from ablations.analysis.interactions import interactions, simple_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.posterior import infer_effects
from ablations.analysis.scope import deflation
from ablations.analysis.selection import _assign_halves

OVERLAP = 0.25


def repeated_splits(seeds: int) -> np.ndarray:
    """The splits of a study's seeds: 10 to 19 repeat those of 0 to 9, and so on."""
    seed = np.arange(seeds)
    return 20 * (seed // 20) + seed % 20 % 10


def draw(share: float, seeds: int, studies: int, rng: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Differences (seed, study) without effect on new data, and the splits of the seeds."""
    random, splits = np.random.default_rng(rng), repeated_splits(seeds)
    by_split = random.normal(size=(splits.max() + 1, studies)) * share**0.5
    rest = random.normal(size=(seeds, studies)) * (1 - share) ** 0.5
    table = random.normal(size=studies) * (OVERLAP * share) ** 0.5
    return by_split[splits] + rest + table, splits


def as_runs(differences: np.ndarray, splits: np.ndarray | None = None) -> pd.DataFrame:
    """Runs of a control and a level, and of a second axis that changes nothing."""
    seeds = np.arange(len(differences))
    tables = [
        pd.DataFrame({"seed": seeds, "norm": norm, "init": init, "val_loss": value})
        for init, shift in (("default", 0.0), ("other", 0.5))
        for norm, value in (("none", shift + seeds * 0.0), ("layer", shift + differences))
    ]
    runs = pd.concat(tables, ignore_index=True)
    return runs if splits is None else runs.assign(split=splits[runs["seed"]])


CONTROLS, FACTORS = {"norm": "none", "init": "default"}, ["norm", "init"]


def test_without_repeats_the_interval_is_that_of_nadeau_and_bengio() -> None:
    d = np.random.default_rng(1).normal(0.4, 1.0, size=(10, 3))
    posterior = infer_effects(d, np.arange(10), OVERLAP)
    error = d.std(axis=0, ddof=1) * np.sqrt(1 / 10 + OVERLAP)
    low, high = posterior.interval()
    assert posterior.mean == pytest.approx(d.mean(axis=0))
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 9) * error)
    assert posterior.p() == pytest.approx(2 * stats.t.sf(np.abs(d.mean(axis=0)) / error, 9))
    assert posterior.t() == pytest.approx(np.abs(d.mean(axis=0)) / error)
    assert posterior.limit() == pytest.approx(d.std(axis=0, ddof=1) * np.sqrt(OVERLAP))
    margin = 0.9
    expected = stats.t.sf((margin - np.abs(d.mean(axis=0))) / error, 9)
    assert posterior.p_equivalent(margin) == pytest.approx(expected)
    below = stats.t.cdf([(m - d.mean(axis=0)) / error for m in (margin, -margin)], 9)
    assert posterior.share_within(margin) == pytest.approx(below[0] - below[1])


def test_what_does_not_vary_has_no_share_of_the_split() -> None:
    d = np.column_stack([np.full(15, 0.3), np.zeros(15), np.random.default_rng(0).normal(size=15)])
    shares = np.array(infer_effects(d, np.arange(15) % 10, OVERLAP).split_share())
    assert np.isnan(shares[:, :2]).all()
    assert ((shares[:, 2] > 0) & (shares[:, 2] < 1)).all()


def test_without_overlap_and_repeats_it_is_student_s_interval() -> None:
    d = np.random.default_rng(2).normal(size=(8, 2))
    low, high = infer_effects(d, np.arange(8), 0.0).interval()
    expected = stats.ttest_1samp(d, 0.0).confidence_interval()
    assert low == pytest.approx(expected.low)
    assert high == pytest.approx(expected.high)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_repeats_estimate_the_share_of_the_split(share: float) -> None:
    d, splits = draw(share, 4_000, 1)
    middle, low, high = infer_effects(d, splits, OVERLAP).split_share()
    assert low[0] - 0.02 <= share <= high[0] + 0.01
    assert abs(middle[0] - share) < 0.06


def test_the_interval_is_between_those_of_both_extremes() -> None:
    """A known answer: many seeds tell the share, and the variance given it is a formula."""
    d, splits = draw(0.4, 2_000, 1)
    low, high = infer_effects(d, splits, OVERLAP).interval()
    between = 0.4 + 0.6 / 2
    variance = d.var() * (between / 1_000 + OVERLAP * 0.4)
    assert (high - low)[0] / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_the_interval_covers_the_effect_on_new_data(share: float) -> None:
    d, splits = draw(share, 20, 500)
    low, high = infer_effects(d, splits, OVERLAP).interval()
    assert np.mean((low > 0) | (high < 0)) < 0.08
    p = infer_effects(d, splits, OVERLAP).p()
    assert np.mean(p < 0.05) < 0.08
    assert np.mean((p < 0.05) != ((low > 0) | (high < 0))) < 0.01


def test_missing_seeds_are_left_out_column_by_column() -> None:
    d, splits = draw(0.5, 20, 3)
    d[3, 1] = d[5:, 2] = np.nan
    d[[0, 1, 2, 4], 2] = np.nan
    both = infer_effects(d, splits, OVERLAP)
    present = np.isfinite(d[:, 1])
    alone = infer_effects(d[present, 1:2], splits[present], OVERLAP)
    for got, expected in zip(both.interval(), alone.interval(), strict=True):
        assert got[1] == pytest.approx(expected[0])
        assert np.isnan(got[2])
    assert np.isnan(both.p()[2])


def test_equal_differences_are_certain() -> None:
    d = np.column_stack([np.full(20, 0.25), np.zeros(20)])
    posterior = infer_effects(d, repeated_splits(20), OVERLAP)
    assert posterior.p().tolist() == [0, 1]
    assert pytest.approx(np.array([[0.25, 0.25], [0, 0]])) == np.array(posterior.interval()).T
    assert posterior.p_equivalent(0.1) == pytest.approx([1, 0])


def test_a_table_alone_is_judged_as_before() -> None:
    d, splits = draw(0.5, 20, 1)
    runs = as_runs(d[:, 0], splits)
    options = {"scale": "difference", "controls": CONTROLS, "factors": FACTORS}
    plain = main_effects(runs, **options)
    pd.testing.assert_frame_equal(plain, main_effects(runs.drop(columns="split"), **options))
    assert plain["p"].iloc[0] == sign_flip_p(d)[0]
    assert (plain["lasting_error"] == 0).all()


@pytest.mark.parametrize("question", [main_effects, ablation_table, simple_effects, one_factor])
def test_every_question_has_the_wider_interval(question: object) -> None:
    d, splits = draw(0.6, 20, 1)
    design = Design(as_runs(d[:, 0], splits), FACTORS, CONTROLS, scale="difference")
    narrow = question(design)  # type: ignore[operator]
    wide = question(replace(design, overlap=OVERLAP, split="split"))  # type: ignore[operator]
    low, high = infer_effects(d, splits, OVERLAP).interval()
    rows = ((wide["axis"] == "norm") & (wide.get("view") != "full minus")).to_numpy()
    assert rows.any()
    assert wide["low"][rows].to_numpy(float) == pytest.approx(low[0], abs=1e-9)
    assert wide["high"][rows].to_numpy(float) == pytest.approx(high[0], abs=1e-9)
    assert (wide["high"] - wide["low"] >= narrow["high"] - narrow["low"]).all()
    assert (wide["p_adjusted"] >= wide["p"]).all()
    assert "new data like this table" in wide["procedure"].iloc[0]
    assert "new data" not in narrow["procedure"].iloc[0]


def test_an_interaction_has_the_wider_interval() -> None:
    d, splits = draw(0.6, 20, 1)
    runs = as_runs(d[:, 0], splits)
    is_both = (runs["norm"] == "layer") & (runs["init"] == "other")
    runs.loc[is_both, "val_loss"] += d[runs.loc[is_both, "seed"], 0]
    design = Design(runs, FACTORS, CONTROLS, scale="difference", overlap=OVERLAP, split="split")
    row = interactions(design).dropna(subset="double").iloc[0]
    low, high = infer_effects(d, splits, OVERLAP).interval()
    assert (row["double_low"], row["double_high"]) == pytest.approx((low[0], high[0]), abs=1e-9)
    assert row["p_family"] >= row["p"]


@pytest.mark.parametrize("correction", ["max_t", "holm"])
def test_adjusted_p_is_never_below_the_posterior_s(correction: str) -> None:
    d, splits = draw(0.8, 20, 1, rng=5)
    d += 0.9
    runs = as_runs(d[:, 0], splits)
    options = {"scale": "difference", "controls": CONTROLS, "factors": FACTORS}
    narrow = main_effects(runs, **options, correction=correction).iloc[0]
    wide = main_effects(
        runs, **options, overlap=OVERLAP, split="split", correction=correction
    ).iloc[0]
    p = infer_effects(d, splits, OVERLAP).p()[0]
    assert narrow["p_adjusted"] < p <= wide["p_adjusted"]
    assert wide["p_adjusted"] == pytest.approx(p, rel=0.2)


def test_the_factor_of_a_statistic() -> None:
    d, splits = draw(0.6, 20, 4)
    design = Design(as_runs(d[:, 0], splits), FACTORS, CONTROLS, overlap=OVERLAP, split="split")
    t = np.abs(d.mean(axis=0)) / (d.std(axis=0, ddof=1) / np.sqrt(20))
    factor = deflation(design, d, np.arange(20))
    assert factor * t == pytest.approx(infer_effects(d, splits, OVERLAP).t())
    assert (factor < 1).all()
    plain = replace(design, overlap=0.0, split=None)
    assert deflation(plain, d, np.arange(20)).tolist() == [1, 1, 1, 1]


def test_a_block_has_one_split() -> None:
    runs = as_runs(np.zeros(4), np.arange(4))
    runs.loc[0, "split"] = 3
    with pytest.raises(ValueError, match="seed 0 has several splits"):
        main_effects(runs, CONTROLS, FACTORS, scale="difference", split="split")
    with pytest.raises(ValueError, match="overlap"):
        Design(runs, FACTORS, overlap=-1.0)


def test_more_seeds_cannot_decide_what_only_more_rows_would() -> None:
    effects = pd.DataFrame(
        {
            "effect": [0.2, 0.2, 1.5],
            "low": [-0.9, -0.9, -0.1],
            "high": [1.3, 1.3, 3.1],
            "seeds": [20, 20, 20],
            "verdict": "not enough evidence",
            "lasting_error": [0.4, 0.0, 0.4],
        }
    )
    needed = seeds_needed(effects, margin=0.1)
    assert needed["needs_rows"].tolist() == [True, False, False]
    assert needed["more"].isna().tolist() == [True, False, False]
    plain = seeds_needed(effects.drop(columns="lasting_error"), margin=0.1)
    assert needed["more"][2] > plain["more"][2]
    assert needed["more"][1] == plain["more"][1]
    soon = seeds_needed(effects.assign(seeds=10), margin=0.1, first_repeat=20)
    assert np.isnan(soon["needed"][0])
    assert not soon["needs_rows"].any()


def test_equality_on_new_data_needs_more_than_equality_on_this_table() -> None:
    d, splits = draw(0.7, 20, 1)
    design = Design(as_runs(d[:, 0] / 5, splits), FACTORS, CONTROLS, scale="difference")
    narrow = main_effects(replace(design, margin=0.12)).iloc[0]
    wide = main_effects(replace(design, margin=0.12, overlap=OVERLAP, split="split")).iloc[0]
    posterior = infer_effects(d / 5, splits, OVERLAP)
    assert wide["p_equivalent"] == pytest.approx(posterior.p_equivalent(0.12)[0])
    assert wide["p_equivalent_adjusted"] >= wide["p_equivalent"] > narrow["p_equivalent"]
    assert wide["within_margin"] == pytest.approx(posterior.share_within(0.12)[0])


def test_seeds_with_one_split_choose_for_the_same_half() -> None:
    random, splits = np.random.default_rng(4), repeated_splits(20)
    runs = pd.DataFrame(
        {
            "seed": np.repeat(np.arange(20), 4),
            "split": np.repeat(splits, 4),
            "norm": np.tile(["none", "none", "layer", "layer"], 20),
            "lr": np.tile([0.1, 0.2], 40),
            "val_loss": random.normal(size=80),
        }
    )
    design = Design(
        runs, ["norm", "lr"], {"norm": "none"}, scale="difference", overlap=OVERLAP, split="split"
    )
    half = _assign_halves(design)
    assert half.sum() == 10
    assert all(len(set(half[splits == split])) == 1 for split in set(splits))
    alone = _assign_halves(replace(design, split=None))
    assert any(len(set(alone[splits == split])) == 2 for split in set(splits))
