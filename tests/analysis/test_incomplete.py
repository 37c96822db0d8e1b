"""Pairs that are missing, filled in by least squares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.analysis import HELPS, main_effects, seed_effects
from ablations.analysis.incomplete import find_retained
from bench.calibration.incomplete import measure_setting

from .generators import CONTROLS, FACTORS, planted


def test_one_crashed_run_costs_no_verdict() -> None:
    """Trap 19: with six seeds no p can be small enough when one is dropped."""
    runs = planted({("norm", "layer"): -0.3}, noise=0.02)
    table = main_effects(runs.drop(index=runs.index[7]), CONTROLS, FACTORS).set_index("level")
    assert table.loc["layer", "verdict"] == HELPS
    assert (table["seeds"] == 6).all()


def test_what_is_additive_is_filled_in_exactly() -> None:
    """Differences that are a seed's plus a cell's: nothing is lost with the runs."""
    runs = planted({("norm", "layer"): 0.2})
    at = (runs["norm"] == "layer").to_numpy()
    by_seed = np.array([0.1, -0.2, 0.0, 0.3, -0.1, 0.05])[runs["seed"]]
    by_cell = 0.4 * (runs["regularizer"] == "l1") - 0.1 * (runs["init"] == "kaiming")
    runs["val_loss"] *= np.exp(at * (by_seed + by_cell))
    lost = runs.drop(index=runs.index[at][[0, 8, 13, 22, 29]])
    complete, filled = (
        main_effects(table, {"norm": "none"}, FACTORS).iloc[0] for table in (runs, lost)
    )
    columns = ["effect", "low", "high", "p", "seeds", "cells"]
    assert filled[columns].tolist() == pytest.approx(complete[columns].tolist())
    assert filled["filled"] == 5
    points, expected = (
        seed_effects(table, {"norm": "none"}, FACTORS).sort_values("seed") for table in (lost, runs)
    )
    assert points["difference"].tolist() == pytest.approx(expected["difference"].tolist())
    assert points["cells"].sum() == expected["cells"].sum() - 5


def test_one_missing_pair_is_filled_in_by_yates_formula() -> None:
    """(b B + t T - G) / ((b - 1)(t - 1)), of b blocks and t cells with totals B, T, G."""
    runs = planted({}, noise=0.3, seeds=7)
    runs = runs.assign(log_loss=np.log(runs["val_loss"]))
    wide = runs.pivot_table("log_loss", "seed", ["norm", "regularizer", "init"])
    d = (wide["layer"] - wide["none"]).to_numpy(copy=True)
    j = wide["layer"].columns.get_loc(("dropout", "kaiming"))
    cell = {"norm": "layer", "regularizer": "dropout", "init": "kaiming", "seed": 2}
    at = np.logical_and.reduce([runs[name] == level for name, level in cell.items()])
    d[2, j] = np.nan
    block, column, total = np.nansum(d[2]), np.nansum(d[:, j]), np.nansum(d)
    d[2, j] = (7 * block + 6 * column - total) / (6 * 5)
    points = seed_effects(runs[~at], {"norm": "none"}, FACTORS).sort_values("seed")
    assert points["difference"].tolist() == pytest.approx(d.mean(axis=1).tolist())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, unique=True))
def test_what_is_retained_hangs_together(pairs: list[tuple[int, int]]) -> None:
    cell, block = np.array(pairs).T
    retained = find_retained(cell, block)
    if not retained.any():
        return
    present = pd.crosstab(block[retained], cell[retained]).to_numpy() > 0
    assert (3 * present.sum(axis=0) >= len(present)).all()
    assert (2 * present.sum(axis=1) >= present.shape[1]).all()
    reach = present @ present.T
    for _ in range(3):
        reach = reach @ reach
    assert reach.all()


@pytest.mark.slow
def test_grids_with_missing_runs_keep_their_level() -> None:
    rates = pd.DataFrame(measure_setting(100, 10, 0.1)).set_index("quantity")["rate"]
    assert rates["false verdicts, family-wise"] <= 0.07 + 0.06
    assert rates["coverage"] >= 0.93 - 0.03
