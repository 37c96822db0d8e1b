"""Planted curves: what the effects by epoch and the endings of levels must find in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis.results import Results
from ablations.analysis.trajectory import CONTROL, NOT_FINISHED, OVERFITTED

from ..report.studies import make_metadata, make_results

AXES: dict[str, tuple[object, ...]] = {
    "regularizer": ("none", "dropout"),
    "norm": ("none", "layer"),
}
EPOCHS = 20


def plant(folder: Path, curve_of: dict[str, np.ndarray], *, seeds: int = 8) -> Results:
    """Curves of each level of the regularizer, times a factor of the seed and noise of 1 %."""
    results = make_results(folder, AXES, seeds=seeds, epochs=EPOCHS)
    random = np.random.default_rng(3)
    runs, curves = results.runs, results.curves.copy()
    factor = np.exp(random.normal(0, 0.3, seeds))[runs["seed"]]
    values = np.stack([curve_of[level] for level in runs["regularizer"]]) * factor[:, None]
    curves["val_loss"] = (values * np.exp(random.normal(0, 0.01, values.shape))).ravel()
    runs = runs.assign(val_loss=curves["val_loss"].to_numpy().reshape(-1, EPOCHS)[:, -1])
    fields = vars(results) | {"runs": runs, "curves": curves, "metadata": make_metadata(AXES)}
    return Results(**fields)


STEPS = np.arange(1, EPOCHS + 1)
FLAT = np.exp(-STEPS / 2) + 0.3
FALLING = 1 / STEPS
RISING = np.where(STEPS < 6, 1 / STEPS, 0.2 + 0.02 * (STEPS - 5))


def ending_of(results: Results, level: str) -> pd.Series:
    table = results.endings().set_index("level")
    return table.loc[level]


@pytest.mark.parametrize(
    ("curve", "ending"), [(FLAT, ""), (FALLING, NOT_FINISHED), (RISING, OVERFITTED)]
)
def test_an_ending_is_found_at_its_level_and_nowhere_else(
    tmp_path: Path, curve: np.ndarray, ending: str
) -> None:
    results = plant(tmp_path, {"none": FLAT, "dropout": curve})
    assert ending_of(results, "dropout")["ending"] == ending
    assert ending_of(results, CONTROL)["ending"] == ""
    row = ending_of(results, "dropout")
    expected = np.log(curve[-1] / curve[int(0.8 * (EPOCHS - 1))])
    assert row["late_effect"] == pytest.approx(expected, abs=0.02)
    assert row["late_low"] < row["late_effect"] < row["late_high"]
    assert row["n"] == 8
    if ending == OVERFITTED:
        assert row["best_epoch"] == 5
        assert row["excess_change"] == pytest.approx(curve[-1] / curve[4] - 1, abs=0.05)


def test_noise_about_a_flat_curve_is_no_excess() -> None:
    """Each seed's own best epoch would always find one; those of other seeds find none."""
    n_wrong = 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        results = make_results(Path("unread"), AXES, seeds=6, epochs=EPOCHS)
        curves = results.curves.assign(val_loss=np.exp(random.normal(0, 0.2, len(results.curves))))
        fields = vars(results) | {"curves": curves, "metadata": make_metadata(AXES)}
        n_wrong += int((Results(**fields).endings()["ending"] != "").sum())
    assert n_wrong <= 8  # of 150 rows at a level of 2.5 % each


HALF = np.where(STEPS < 5, 1 / STEPS, 0.0)
ZERO_ENDINGS = {
    # Down to zero and no further; and the same with what is nothing beside where it began.
    "": (HALF, HALF + 1e-4 * (STEPS > 8), HALF - 1e-4 * STEPS / EPOCHS),
    NOT_FINISHED: (1 - STEPS / EPOCHS, -STEPS / EPOCHS),
    OVERFITTED: (HALF + 0.02 * STEPS * (STEPS > 5), -HALF),
}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(
    ("ending", "curve"),
    [(name, curve) for name, curves in ZERO_ENDINGS.items() for curve in curves],
)
def test_an_ending_at_a_loss_of_zero_does_not_depend_on_the_unit(
    tmp_path: Path, ending: str, curve: np.ndarray, scale: float
) -> None:
    """Also where the control's loss is zero, of which no fraction is any margin."""
    results = plant(tmp_path, {"none": scale * HALF, "dropout": scale * curve})
    assert ending_of(results, "dropout")["ending"] == ending
    assert ending_of(results, CONTROL)["ending"] == ""


def test_two_seeds_at_least_are_needed(tmp_path: Path) -> None:
    table = plant(tmp_path, {"none": FLAT, "dropout": RISING}, seeds=1).endings()
    assert (table["ending"] == "").all()
    assert table["excess_effect"].isna().all()


def test_an_effect_that_changes_sign_is_seen_at_its_epochs(tmp_path: Path) -> None:
    results = plant(tmp_path, {"none": RISING, "dropout": FLAT})
    table = results.trajectory()
    assert list(table["epoch"][:EPOCHS]) == list(range(1, EPOCHS + 1))
    dropout = table[table["level"] == "dropout"].set_index("epoch")
    expected = np.log(FLAT / RISING)
    np.testing.assert_allclose(dropout["effect"], expected, atol=0.02)
    assert (dropout["high"][expected < -0.1] < 0).all()
    assert (dropout["low"][expected > 0.1] > 0).all()
    assert {True, False} == set(expected > 0)
    layer = table[table["level"] == "layer"]
    assert (layer["effect"].abs() < 0.02).all()


def test_each_interval_is_that_of_a_paired_t_test(tmp_path: Path) -> None:
    results = plant(tmp_path, {"none": FLAT, "dropout": FALLING})
    row = results.trajectory(epochs=[7]).set_index("level").loc["dropout"]
    curves = results.curves[results.curves["epoch"] == 7].merge(results.runs, on="run_id")
    losses = np.log(curves.pivot_table("val_loss_x", index=["seed", "norm"], columns="regularizer"))
    difference = (losses["dropout"] - losses["none"]).groupby("seed").mean()
    test = stats.ttest_1samp(difference, 0).confidence_interval(results.design().confidence)
    assert (row["low"], row["high"]) == pytest.approx((test.low, test.high), rel=1e-12)
    assert row["change"] == pytest.approx(np.expm1(difference.mean()), rel=1e-12)


def test_the_last_epoch_is_the_ablation_table(tmp_path: Path) -> None:
    results = plant(tmp_path, {"none": FLAT, "dropout": FALLING})
    last = results.trajectory(epochs=[EPOCHS]).set_index("level")
    effects = results.effects("val_loss").set_index("level")
    for name in ("effect", "low", "high"):
        np.testing.assert_allclose(last[name], effects.loc[last.index, name], rtol=1e-9)


def test_the_last_epoch_is_the_ablation_table_where_runs_are_missing(tmp_path: Path) -> None:
    results = plant(tmp_path, {"none": FLAT, "dropout": FALLING})
    lost = results.runs.index[[3, 9]]
    results = Results(**(vars(results) | {"runs": results.runs.drop(index=lost)}))
    last = results.trajectory().groupby(["axis", "level"], sort=False).last()
    table = results.effects().set_index(["axis", "level"])
    assert table["filled"].max() > 0
    for name in ("effect", "low", "high", "n"):
        assert last[name].tolist() == pytest.approx(table[name].tolist())


def test_rows_in_another_order_change_nothing(tmp_path: Path) -> None:
    results = plant(tmp_path, {"none": RISING, "dropout": FLAT})
    fields = vars(results) | {
        "runs": results.runs.sample(frac=1, random_state=0),
        "curves": results.curves.sample(frac=1, random_state=1),
    }
    shuffled = Results(**{name: fields[name] for name in results.__dataclass_fields__})
    pd.testing.assert_frame_equal(shuffled.trajectory(), results.trajectory())
    pd.testing.assert_frame_equal(shuffled.endings(), results.endings())


def test_epochs_that_are_named_are_compared_however_long_the_training(tmp_path: Path) -> None:
    results = make_results(tmp_path, AXES, seeds=3, epochs=500)
    results = Results(**(vars(results) | {"metadata": make_metadata(AXES)}))
    table = results.trajectory(epochs=[1, 7, 250, 499])
    assert sorted(table["epoch"].unique()) == [1, 7, 250, 499]
    assert results.trajectory()["epoch"].nunique() == 200
