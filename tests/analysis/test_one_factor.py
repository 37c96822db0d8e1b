"""Control plus one, full minus one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import main_effects
from ablations.analysis.one_factor import one_factor

from .generators import CONTROLS, FACTORS, planted

TRUTH = {("regularizer", "dropout"): -0.2, ("norm", "layer"): 0.1, ("init", "kaiming"): -0.05}
FULL: dict[str, str | float] = {"regularizer": "dropout", "norm": "layer", "init": "kaiming"}


def look_ups(runs: pd.DataFrame, **options: object) -> pd.DataFrame:
    table = one_factor(runs, CONTROLS, FACTORS, **options)
    return table.set_index(["view", "axis", "level"])


def test_both_views_are_the_planted_effects_where_nothing_interacts() -> None:
    table = look_ups(planted(TRUTH), full=FULL)
    for (axis, level), effect in TRUTH.items():
        assert table.loc[("control plus", axis, level), "effect"] == pytest.approx(effect)
        out = table.loc[("full minus", axis, CONTROLS[axis])]
        assert out["effect"] == pytest.approx(-effect)
        assert out["against"] == level
    assert table.loc[("control plus", "regularizer", "l1"), "effect"] == pytest.approx(0)
    assert len(table) == 4 + 3


def test_an_interaction_shows_as_a_disagreement_with_the_main_effect() -> None:
    """Dropout helps without a norm, and hurts with one."""
    runs = planted({}, noise=0.001, seeds=8)
    dropout = runs["regularizer"] == "dropout"
    effect = np.where(runs["norm"] == "layer", 0.3, -0.2) * dropout
    runs = runs.assign(val_loss=runs["val_loss"] * np.exp(effect))
    table = look_ups(runs, full=FULL)
    assert table.loc[("control plus", "regularizer", "dropout"), "effect"] == pytest.approx(
        -0.2, abs=0.01
    )
    assert table.loc[("full minus", "regularizer", "none"), "effect"] == pytest.approx(
        -0.3, abs=0.01
    )
    main = main_effects(runs, CONTROLS, FACTORS).set_index(["axis", "level"])
    assert main.loc[("regularizer", "dropout"), "effect"] == pytest.approx(0.05, abs=0.01)


def test_the_full_model_is_the_best_one_unless_it_is_named() -> None:
    table = look_ups(planted(TRUTH))
    removed = table.loc["full minus"].reset_index()[["axis", "level", "against"]]
    assert removed.to_numpy().tolist() == [
        ["regularizer", "none", "dropout"],
        ["init", "default", "kaiming"],
    ]


def test_what_the_full_model_does_not_name_is_at_its_control() -> None:
    table = look_ups(planted(TRUTH), full={"norm": "layer"}).loc["full minus"]
    assert table.index.tolist() == [("norm", "none")]
    assert table["effect"].tolist() == pytest.approx([-0.1])
    with pytest.raises(ValueError, match="'layr' is no level of 'norm'; there are 'none', 'layer'"):
        one_factor(planted(TRUTH), CONTROLS, FACTORS, full={"norm": "layr"})


def test_a_setting_that_no_axis_names_is_never_chosen_by_the_order_of_rows() -> None:
    short, long = (planted(TRUTH).assign(epochs=n) for n in (1, 10))
    both = pd.concat([short, long])
    with pytest.raises(ValueError, match="the control was run with 2 settings of epochs"):
        one_factor(both, CONTROLS, [*FACTORS, "epochs"])
    control = (both[list(CONTROLS)] == pd.Series(CONTROLS)).all(axis=1)
    single = both[~control | (both["epochs"] == 10)]
    table = one_factor(single, CONTROLS, [*FACTORS, "epochs"], full=FULL)
    again = one_factor(single[::-1], CONTROLS, [*FACTORS, "epochs"], full=FULL)
    assert table["effect"].sum() == pytest.approx(again["effect"].sum())
    assert (table["seeds"] == 6).all()


def test_p_is_adjusted_within_a_view_and_small_where_it_is_certain() -> None:
    table = look_ups(planted(TRUTH, seeds=10, noise=0.01), full=FULL)
    assert (table["p_adjusted"] >= table["p"] - 1e-12).all()
    assert table.loc[("control plus", "regularizer", "dropout"), "p_adjusted"] < 0.01
    assert table.loc[("control plus", "regularizer", "dropout"), "better"] == 1
    assert table.loc[("full minus", "regularizer", "none"), "better"] == 0


def test_diverged_runs_are_counted_and_never_a_number() -> None:
    runs = planted(TRUTH, noise=0.01)
    hit = (
        (runs["regularizer"] == "dropout") & (runs["norm"] == "none") & (runs["init"] == "default")
    ) & (runs["seed"] < 2)
    runs = runs.assign(
        status=np.where(hit, "diverged", "ok"), val_loss=runs["val_loss"].mask(hit, np.nan)
    )
    row = look_ups(runs, full=FULL).loc[("control plus", "regularizer", "dropout")]
    assert (row["seeds"], row["diverged"], row["against_diverged"]) == (4, 2, 0)


def test_cells_that_were_not_run_give_no_row() -> None:
    runs = planted(TRUTH)
    without = runs[~((runs["regularizer"] == "l1") & (runs["norm"] == "none"))]
    assert ("control plus", "regularizer", "l1") not in look_ups(without, full=FULL).index
    no_control = runs[(runs["regularizer"] != "none") | (runs["norm"] != "none")]
    assert "control plus" not in look_ups(no_control, full=FULL).index.get_level_values("view")
    assert len(look_ups(no_control, full=FULL)) == 3
    assert one_factor(runs.iloc[:0], CONTROLS, FACTORS).empty
    with pytest.raises(ValueError, match="'depth'"):
        one_factor(runs, CONTROLS, FACTORS, full={"depth": 3})
