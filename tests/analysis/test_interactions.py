from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import interactions, main_effects, strongest_pairs

from .generators import CONTROLS, FACTORS, planted


def together(effect: float, **options: float) -> pd.DataFrame:
    """A grid where dropout and layer norm do something beyond their sum."""
    runs = planted({("regularizer", "dropout"): -0.2, ("norm", "layer"): 0.1}, **options)  # type: ignore[arg-type]
    both = (runs["regularizer"] == "dropout") & (runs["norm"] == "layer")
    return runs.assign(val_loss=runs["val_loss"] * np.exp(effect * both))


def test_a_planted_interaction_is_recovered_exactly() -> None:
    table = interactions(together(0.5), CONTROLS, FACTORS)
    key = ["axis_a", "level_a", "axis_b", "level_b"]
    table = table.set_index(key)
    row = table.loc[("regularizer", "dropout", "norm", "layer")]
    assert row["effect"] == pytest.approx(-0.2 + 0.1 + 0.5)
    assert row[["double", "double_low", "double_high"]].tolist() == pytest.approx([0.5] * 3)
    assert (row["seeds"], row["cells"], row["double_seeds"]) == (6, 2, 6)
    others = table.drop(index=[("regularizer", "dropout", "norm", "layer")])["double"].dropna()
    assert others.to_numpy(dtype=float) == pytest.approx(np.zeros(4), abs=1e-12)


def test_the_controls_are_where_the_table_starts() -> None:
    table = interactions(together(0.5), CONTROLS, FACTORS)
    corner = table[(table["level_a"] == "none") & (table["level_b"].isin(["none", "default"]))]
    assert corner["effect"].tolist() == [0.0] * 3
    assert len(table) == 3 * 2 + 3 * 2 + 2 * 2
    alone = table[(table["axis_b"] == "norm") & (table["level_b"] == "none")]
    assert alone["effect"].tolist() == pytest.approx([0, 0, -0.2])
    assert alone["double"].isna().all()


def test_the_main_effect_is_the_average_that_hides_the_interaction() -> None:
    effects = main_effects(together(0.5), CONTROLS, FACTORS).set_index("level")
    assert effects.loc["dropout", "effect"] == pytest.approx(-0.2 + 0.25)


def test_pairs_of_axes_are_ordered_by_strength() -> None:
    ranked = strongest_pairs(interactions(together(0.5, noise=0.01), CONTROLS, FACTORS))
    assert ranked.loc[0, ["axis_a", "axis_b"]].tolist() == ["regularizer", "norm"]
    assert ranked["strength"].is_monotonic_decreasing


def test_diverged_runs_are_counted_and_their_seeds_kept() -> None:
    runs = together(0.5)
    lost = (runs["regularizer"] == "dropout") & (runs["norm"] == "layer") & (runs["seed"] < 2)
    lost &= runs["init"] == "kaiming"
    runs = runs.assign(status=np.where(lost, "diverged", "ok"))
    table = interactions(runs, CONTROLS, FACTORS)
    pair = table[(table["level_a"] == "dropout") & (table["level_b"] == "layer")]
    assert pair["diverged"].tolist() == [2]
    assert pair["seeds"].tolist() == [6]
    assert pair["double"].tolist() == pytest.approx([0.5])


def test_one_axis_or_no_common_cell_gives_no_row() -> None:
    runs = together(0.0)
    assert interactions(runs, {"norm": "none"}, FACTORS).empty
    apart = runs[(runs["regularizer"] == "none") != (runs["norm"] == "none")]
    two = {axis: CONTROLS[axis] for axis in ("regularizer", "norm")}
    assert interactions(apart, two, FACTORS).empty
