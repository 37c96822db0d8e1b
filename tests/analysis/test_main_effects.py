from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, main_effects, seed_effects, verdicts

from .generators import (
    AXES,
    CONTROLS,
    FACTORS,
    grid,
    null_grid,
    planted,
    rename_seeds,
    self_censoring,
)

TECHNIQUE: dict[str, str | float] = {"technique": "none"}


def effects_of(runs: pd.DataFrame, **options: object) -> pd.DataFrame:
    table = main_effects(runs, CONTROLS, FACTORS, **options)
    return table.set_index(["axis", "level"])


def where(runs: pd.DataFrame, **levels: object) -> pd.Series:
    return pd.concat([runs[name] == level for name, level in levels.items()], axis=1).all(axis=1)


def spoil(runs: pd.DataFrame, status: str, **levels: object) -> pd.DataFrame:
    hit = where(runs, **levels)
    return runs.assign(
        status=runs["status"].mask(hit, status), val_loss=runs["val_loss"].mask(hit, np.nan)
    )


def test_planted_effects_are_recovered_exactly() -> None:
    truth = {("regularizer", "l1"): 0.1, ("regularizer", "dropout"): -0.2, ("norm", "layer"): 0.005}
    table = effects_of(planted(truth))
    for key, effect in truth.items():
        assert table.loc[key, ["effect", "low", "high"]].tolist() == pytest.approx([effect] * 3)
        assert table.loc[key, "change"] == pytest.approx(np.expm1(effect))
    assert table["verdict"].tolist() == [HURTS, HELPS, EQUAL, EQUAL]
    assert table["cells"].tolist() == [4, 4, 6, 6]
    assert table["pairs"].tolist() == [24, 24, 36, 36]
    assert table.loc[("regularizer", "l1"), ["better", "helped"]].tolist() == [0, 0]
    assert table.loc[("regularizer", "dropout"), ["better", "helped"]].tolist() == [1, 1]


def test_the_interval_is_students_over_seed_means() -> None:
    runs = planted({("norm", "layer"): 0.1}, noise=0.3)
    runs = runs.assign(log_loss=np.log(runs["val_loss"]))
    by_seed = runs.pivot_table(values="log_loss", index="seed", columns="norm")
    test = stats.ttest_1samp(by_seed["layer"] - by_seed["none"], 0)
    row = effects_of(runs).loc[("norm", "layer")]
    interval = test.confidence_interval()
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high])


def test_null_techniques_are_called_significant_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    grids = [null_grid(random) for _ in range(100)]
    rows = [main_effects(g, TECHNIQUE, ["technique", "configuration"]).loc[0] for g in grids]
    wrong = np.mean([row["p"] <= 0.05 for row in rows])
    assert 0.01 <= wrong <= 0.11
    assert np.mean([row["low"] <= 0 <= row["high"] for row in rows]) >= 0.90
    pooled = np.mean([_pooled(g) <= 0.05 for g in grids])
    assert pooled > 0.2  # what pairing configurations as if independent would have done


def _pooled(runs: pd.DataFrame) -> float:
    wide = runs.pivot_table("val_loss", ["configuration", "seed"], "technique")
    return float(stats.ttest_rel(np.log(wide["new"]), np.log(wide["none"])).pvalue)


def test_dropping_diverged_runs_never_makes_a_technique_help() -> None:
    random = np.random.default_rng(1)
    rows = [
        main_effects(self_censoring(random), TECHNIQUE, ["technique", "configuration"]).loc[0]
        for _ in range(40)
    ]
    share = np.mean([row["diverged"] / row["pairs"] for row in rows])
    assert 0.15 < share < 0.30
    assert np.mean([row["effect"] for row in rows]) < -0.1  # the trap is set
    assert {row["verdict"] for row in rows} <= {HURTS, UNDECIDED}
    assert all(row["conditional"] for row in rows)


def test_diverging_in_every_seed_hurts_whatever_survives() -> None:
    runs = planted({("regularizer", "dropout"): -0.2})
    runs = spoil(runs, "diverged", regularizer="dropout", norm="layer")
    row = effects_of(runs).loc[("regularizer", "dropout")]
    assert row["verdict"] == HURTS
    assert (row["diverged"], row["control_diverged"], row["pairs"]) == (12, 0, 24)
    assert row["better"] == 0
    assert row["p_divergence"] == pytest.approx(2 / 64)


def test_diverging_less_often_than_the_control_helps() -> None:
    runs = spoil(planted({}), "diverged", regularizer="none", norm="layer")
    assert effects_of(runs).loc[("regularizer", "l1"), "verdict"] == HELPS


def test_everything_diverged_is_no_evidence_and_no_error() -> None:
    runs = planted({}).assign(status="diverged", val_loss=np.inf)
    table = effects_of(runs)
    assert (table["verdict"] == UNDECIDED).all()
    assert (table["seeds"] == 0).all()


def test_infinity_under_another_name_has_diverged() -> None:
    runs = planted({})
    runs.loc[where(runs, regularizer="l1", seed=0), "val_loss"] = np.inf
    assert effects_of(runs).loc[("regularizer", "l1"), "diverged"] == 4


def test_a_pair_lost_to_failure_is_filled_in_and_its_seed_stays() -> None:
    runs = planted({("regularizer", "l1"): 0.1}, noise=0.2)
    spoilt = spoil(runs, "failed", regularizer="l1", norm="layer", init="default", seed=3)
    row = effects_of(spoilt).loc[("regularizer", "l1")]
    assert (row["seeds"], row["seeds_dropped"], row["cells"], row["pairs"]) == (6, 0, 4, 23)
    assert (row["filled"], row["cells_dropped"]) == (1, 0)
    assert row["left_out"].startswith("1 pair that is missing, filled in by least squares")
    complete = effects_of(runs).loc[("regularizer", "l1")]
    assert row["effect"] == pytest.approx(complete["effect"], abs=0.05)


def test_a_run_that_is_not_there_is_as_lost_as_one_that_failed() -> None:
    runs = planted({("regularizer", "l1"): 0.1}, noise=0.2)
    levels = {"regularizer": "l1", "norm": "layer", "init": "default", "seed": 3}
    lost, failed = runs[~where(runs, **levels)], spoil(runs, "failed", **levels)
    pd.testing.assert_frame_equal(effects_of(lost), effects_of(failed))


def test_a_seed_that_lost_most_of_its_pairs_is_dropped() -> None:
    runs = planted({("regularizer", "l1"): 0.1}, noise=0.2)
    lost = (runs["seed"] == 3) & ((runs["norm"] == "layer") | (runs["init"] == "default"))
    row = effects_of(runs[~lost]).loc[("regularizer", "l1")]
    without = effects_of(runs[runs["seed"] != 3]).loc[("regularizer", "l1")]
    assert row["effect"] == pytest.approx(without["effect"])
    assert (row["seeds"], row["seeds_dropped"], row["cells"], row["filled"]) == (5, 1, 4, 0)


def test_a_cell_that_fails_in_most_seeds_goes_instead_of_the_seeds() -> None:
    runs = planted({("regularizer", "l1"): 0.1}, noise=0.2)
    for seed in range(1, 6):
        runs = spoil(runs, "failed", regularizer="l1", norm="layer", init="default", seed=seed)
    row = effects_of(runs).loc[("regularizer", "l1")]
    assert (row["seeds"], row["seeds_dropped"]) == (6, 0)
    assert (row["cells"], row["cells_dropped"]) == (3, 1)


def test_what_lacks_runs_everywhere_is_still_compared_on_what_is_balanced() -> None:
    """Neither seeds nor cells are whole: a part of both is, the same whatever they are called."""
    runs = planted({("norm", "layer"): 0.2}, noise=0.05, seeds=8)
    sample = runs.sample(frac=0.6, random_state=1)
    table = effects_of(sample)
    assert (table["seeds"] >= 2).all()
    assert table.loc[("norm", "layer"), "effect"] == pytest.approx(0.2, abs=0.1)
    labels = np.random.default_rng(0).permutation(8)
    other = effects_of(sample.iloc[::-1].assign(seed=lambda t: labels[t["seed"]]))
    pd.testing.assert_frame_equal(table.sort_index(), other.sort_index())


def test_pairs_of_which_none_are_balanced_are_a_row_with_a_reason() -> None:
    runs = planted(
        {("norm", "layer"): 0.2}, {"norm": ("none", "layer"), "init": tuple("abcd")}, seeds=4
    )
    once = runs[runs["init"] == runs["seed"].map(dict(enumerate("abcd")))]
    row = main_effects(once, {"norm": "none"}, ["norm", "init"]).iloc[0]
    assert (row["pairs"], row["verdict"]) == (0, UNDECIDED)
    assert row["left_out"] == (
        "norm layer and its control none have 4 pairs, but no two seeds of the same cells"
    )


def test_skipped_combinations_are_not_a_loss() -> None:
    runs = spoil(planted({("norm", "layer"): 0.1}), "skipped", norm="layer", init="kaiming")
    row = effects_of(runs).loc[("norm", "layer")]
    assert (row["cells"], row["seeds"], row["seeds_dropped"]) == (3, 6, 0)
    assert row["effect"] == pytest.approx(0.1)


def test_a_union_of_one_axis_at_a_time_compares_with_the_common_control() -> None:
    runs = planted({("norm", "layer"): 0.1, ("regularizer", "l1"): 0.3})
    changed = sum((runs[axis] != CONTROLS[axis]).astype(int) for axis in AXES)
    table = effects_of(runs[changed <= 1])
    assert table["effect"].tolist() == pytest.approx([0.3, 0.0, 0.1, 0.0])
    assert (table["cells"] == 1).all()


def test_a_technique_that_changed_nothing_is_said_to_have() -> None:
    row = effects_of(planted({})).loc[("regularizer", "l1")]
    assert row["identical"] == row["pairs"] == 24
    assert row["verdict"] == EQUAL
    assert row["p"] == 1


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_few_seeds_decide_nothing(seeds: int) -> None:
    table = effects_of(planted({("norm", "layer"): 0.5}, seeds=seeds, noise=0.01))
    row = table.loc[("norm", "layer")]
    assert row["verdict"] == UNDECIDED
    assert not row["reachable"]
    assert np.isnan(row["low"]) == (seeds < 2)
    assert np.isnan(row["p"]) == (seeds < 2)


def test_directions_are_explicit() -> None:
    runs = planted({("norm", "layer"): 0.3}).rename(columns={"val_loss": "accuracy"})
    options = {"outcome": "accuracy", "scale": "difference", "higher_is_better": True}
    row = effects_of(runs, **options).loc[("norm", "layer")]
    assert row["verdict"] == HELPS
    assert row["better"] == row["helped"] == 1
    assert np.isnan(row["change"])


def test_holm_is_there_for_those_who_want_it() -> None:
    table = effects_of(planted({("norm", "layer"): 0.3}, noise=0.05, seeds=8), correction="holm")
    assert table.loc[("norm", "layer"), "p_adjusted"] == pytest.approx(4 * 2 / 256)
    assert table["p_floor"].tolist() == pytest.approx([4 * 2 / 256] * 4)


def test_levels_of_mixed_types_and_an_axis_that_some_grids_lack() -> None:
    runs = planted({("lr", 0.1): 0.2}, {"lr": ("auto", 0.1, 1), "width": (None, 64)})
    table = main_effects(runs, {"lr": "auto"}, ["lr", "width"])
    assert table["level"].tolist() == [0.1, 1]
    assert table["effect"].tolist() == pytest.approx([0.2, 0.0])
    assert table["cells"].tolist() == [2, 2]


def test_an_axis_with_one_level_is_not_an_effect() -> None:
    runs = planted({}).assign(device="cpu")
    assert main_effects(runs, {"device": "cpu"}, [*FACTORS, "device"]).empty
    assert main_effects(runs, {"nowhere": "x"}, FACTORS).empty


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="repeat the configuration and seed"):
        main_effects(planted({}), {"norm": "none"}, ["norm", "init"])


def test_losses_without_a_logarithm_are_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        effects_of(grid().assign(val_loss=0.0))


def test_any_long_table_will_do() -> None:
    runs = planted({("norm", "layer"): 0.1}).drop(columns="status")
    runs = runs.rename(columns={"seed": "subject", "val_loss": "loss"})
    table = main_effects(runs, {"norm": "none"}, FACTORS, outcome="loss", block="subject")
    assert table["effect"].tolist() == pytest.approx([0.1])
    points = seed_effects(runs, {"norm": "none"}, FACTORS, outcome="loss", block="subject")
    assert points["difference"].tolist() == pytest.approx([0.1] * 6)


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(1e-3, 1e3), st.integers(2, 8))
def test_order_labels_and_units_do_not_matter(random: object, unit: float, seeds: int) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    runs = planted({("norm", "layer"): 0.1}, noise=0.3, seeds=seeds, rng=int(rng.integers(1000)))
    runs = runs.assign(status=np.where(rng.random(len(runs)) < 0.05, "diverged", "ok"))
    labels = rng.permutation(10 * seeds)[:seeds]
    moved = runs.assign(seed=labels[runs["seed"]], val_loss=runs["val_loss"] * unit)
    moved = moved.iloc[rng.permutation(len(moved))]
    axes = {axis: CONTROLS[axis] for axis in rng.permutation(FACTORS)}
    original = rename_seeds(effects_of(runs).sort_index(), labels)
    other = main_effects(moved, axes, FACTORS[::-1]).set_index(["axis", "level"]).sort_index()
    pd.testing.assert_frame_equal(original, other, check_dtype=False, rtol=1e-6, atol=1e-9)


def test_the_floor_of_p_is_that_of_the_flips_that_are_made() -> None:
    for seeds, floor in ((6, 2.0**-5), (16, 2.0**-15), (20, 5e-5)):
        effects = effects_of(planted({("norm", "layer"): 0.5}, seeds=seeds))
        assert effects["p_floor"].iloc[0] == pytest.approx(floor)
        assert effects.loc[("norm", "layer"), "p_adjusted"] >= floor * (1 - 1e-9)


def test_diverging_less_helps_only_where_the_survivors_are_not_worse() -> None:
    row = {"p_adjusted": 0.06, "p_equivalent_adjusted": 1.0, "diverged": 0, "control_diverged": 40}
    changes = [{"effect": 0.3}, {"effect": -0.3}, {"effect": 0.01, "p_equivalent_adjusted": 0.01}]
    table = pd.DataFrame([row | change for change in changes]).assign(p_divergence=0.01)
    assert verdicts(table).tolist() == [UNDECIDED, HELPS, HELPS]
