"""Effects that are averages over different effects, and what they are there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import interactions, main_effects
from ablations.analysis.interactions import UNKNOWN, moderators, simple_effects

from .generators import CONTROLS, FACTORS, planted


def crossed(noise: float = 0.0, seeds: int = 8) -> pd.DataFrame:
    """Dropout does nothing without a norm, and helps with one."""
    runs = planted({("norm", "layer"): 0.2}, noise=noise, seeds=seeds)
    both = (runs["norm"] == "layer") & (runs["regularizer"] == "dropout")
    return runs.assign(val_loss=runs["val_loss"] * np.where(both, np.exp(-0.5), 1.0))


def moderators_of(runs: pd.DataFrame, margin: float = 0.02) -> dict[str, str]:
    effects = main_effects(runs, CONTROLS, FACTORS)
    both = interactions(runs, CONTROLS, FACTORS)
    return dict(zip(effects["level"], moderators(effects, both, margin=margin), strict=True))


def test_simple_effects_are_the_effects_of_a_part() -> None:
    runs = crossed(noise=0.1)
    table = simple_effects(runs, CONTROLS, FACTORS)
    assert len(table) == 2 * 2 + 2 * 2 + 1 * 3 + 1 * 2 + 1 * 3 + 1 * 2
    for row in table.itertuples():
        subset = runs[runs[row.given] == row.given_level]
        main = main_effects(subset, {row.axis: row.control}, FACTORS).set_index("level")
        for name in ("effect", "low", "high", "change", "p", "cells", "seeds", "pairs"):
            assert getattr(row, name) == pytest.approx(main.loc[row.level, name]), name
    assert (table["p_adjusted"] >= table["p"]).all()


def test_planted_simple_effects_are_recovered_exactly() -> None:
    table = simple_effects(crossed(), CONTROLS, FACTORS)
    effects = table.set_index(["level", "given_level"])["effect"]
    assert effects["dropout", "none"] == pytest.approx(0, abs=1e-12)
    assert effects["dropout", "layer"] == pytest.approx(-0.5)
    assert effects["layer", "dropout"] == pytest.approx(-0.3)


def test_what_an_effect_depends_on_is_named_where_it_is_certain_and_matters() -> None:
    expected = {"l1": "", "dropout": "norm", "layer": "regularizer", "kaiming": ""}
    assert moderators_of(crossed(noise=0.02)) == expected
    assert set(moderators_of(crossed(noise=0.02), margin=1.0).values()) == {""}
    assert set(moderators_of(planted({("norm", "layer"): 0.2}, noise=0.02)).values()) == {""}
    assert (
        moderators_of(crossed(noise=0.02, seeds=6)) == expected
    )  # one too few for each test of many
    assert set(moderators_of(crossed(noise=0.02, seeds=4)).values()) == {UNKNOWN}


def test_incomplete_parts_say_so_and_nothing_is_an_empty_table() -> None:
    runs = crossed(noise=0.1)
    lost = runs[~((runs["seed"] == 1) & (runs["norm"] == "layer") & (runs["init"] == "kaiming"))]
    table = simple_effects(lost, CONTROLS, FACTORS)
    row = table[(table["level"] == "dropout") & (table["given_level"] == "layer")].iloc[0]
    assert (row["seeds"], row["left_out"]) == (
        7,
        "1 pair of an incomplete seed or cell, 1 seed without a pair",
    )
    assert simple_effects(runs, {"norm": "none"}, FACTORS).empty
    assert simple_effects(runs.iloc[:0], CONTROLS, FACTORS).empty
    diverged = lost.assign(status=np.where(lost["regularizer"] == "l1", "diverged", "ok"))
    table = simple_effects(diverged, CONTROLS, FACTORS).set_index("level")
    assert (table.loc["l1", "seeds"] == 0).all()
    assert (table.loc["l1", "diverged"] > 0).all()
