"""Levels that no pair of runs compares: by least squares with blocks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols

from ablations.analysis import (
    EQUAL,
    HELPS,
    HURTS,
    UNDECIDED,
    Design,
    blocked_effects,
    main_effects,
    max_t,
)
from ablations.analysis.confounding import Unpaired
from ablations.analysis.least_squares import estimate_over_blocks

from .generators import CONTROLS, FACTORS, planted
from .known import BICYCLE, npk, tooth_growth

LETTERS = dict.fromkeys("ABCD", -1)


def half(seeds: int, noise: float = 0.0, rng: int = 0) -> pd.DataFrame:
    """The half with D = ABC of a 2^4 design in each seed: A helps, B hurts, C and D do nothing."""
    random = np.random.default_rng(rng)
    cells = [(a, b, c, a * b * c) for a, b, c in product([-1, 1], repeat=3)]
    runs = pd.DataFrame([(*cell, s) for s in range(seeds) for cell in cells],
                        columns=[*"ABCD", "seed"])  # fmt: skip
    log_loss = runs["seed"] - 0.1 * runs["A"] + 0.05 * runs["B"]
    luck = noise * random.standard_normal((seeds, 4))[runs["seed"]] * runs[[*"ABCD"]]
    log_loss += luck.sum(axis=1) + noise * random.standard_normal(len(runs))
    return runs.assign(val_loss=np.exp(log_loss))


def test_npk_to_the_digits_that_r_prints() -> None:
    """summary.lm(aov(yield ~ block + N + K, npk)), and the same estimates over single blocks."""
    options: dict[str, Any] = {"outcome": "yield", "block": "block", "scale": "difference"}
    table = blocked_effects(npk(), {"N": 0, "K": 0}, ["N", "K"], **options)
    assert table["effect"].round(3).tolist() == [5.617, -3.983]
    assert table["error"].round(3).tolist() == [1.609, 1.609]
    assert table["p"].round(5).tolist() == [0.00302, 0.02487]
    assert table["degrees"].tolist() == [16, 16]
    controls: dict[str, Any] = {"N": 0, "P": 0, "K": 0}
    table = main_effects(npk(), controls, [*"NPK"], higher_is_better=True, **options)
    assert table["effect"].round(3).tolist() == [5.617, -1.183, -3.983]
    assert table["verdict"].tolist() == [HELPS, UNDECIDED, HURTS]
    assert table["p"].tolist() == [2 / 64, 34 / 64, 2 / 64]
    assert table["procedure"].str.contains("least squares of main effects within each block").all()
    assert "cannot be told from P × K × block" in table["left_out"][0]
    assert table["confounded_with"][0] == "P × K × block"
    caution = "Estimated as if axes did not interact; cannot be told from P × K × block."
    assert caution in table["caution"][0]


def test_a_fraction_run_in_each_seed_tells_its_main_effects() -> None:
    table = main_effects(half(8), LETTERS, [*"ABCD"])
    assert table["effect"].tolist() == pytest.approx([-0.2, 0.1, 0, 0], abs=1e-12)
    assert table["verdict"].tolist() == [HELPS, HURTS, EQUAL, EQUAL]
    assert table["pairs"].tolist() == [32] * 4
    assert table["left_out"].tolist()[3].endswith("cannot be told from A × B × C")
    assert table["assumes"].str.contains("no interactions between factors").all()


def test_each_seed_is_one_number_as_where_runs_are_paired() -> None:
    """In a regular fraction least squares is the difference of means; luck by seed is its error."""
    runs = half(7, noise=0.1)
    row = main_effects(runs, LETTERS, [*"ABCD"]).iloc[0]
    d = np.stack([differences(runs, axis) for axis in "ABCD"], axis=1)
    test = stats.ttest_1samp(d[:, 0], 0).confidence_interval()
    interval = row[["effect", "low", "high"]].tolist()
    assert interval == pytest.approx([d[:, 0].mean(), test.low, test.high])
    assert row["n"] == 7
    assert row["p_adjusted"] == pytest.approx(max_t(d)[0])


def differences(runs: pd.DataFrame, axis: str) -> np.ndarray:
    runs = runs.assign(log_loss=np.log(runs["val_loss"]))
    wide = runs.pivot_table("log_loss", "seed", axis)
    return np.asarray(wide[1] - wide[-1])


def test_a_level_that_pairs_is_compared_as_ever() -> None:
    """One axis pairs, the others are a fraction: its numbers stay, but for the family."""
    runs = half(6, noise=0.05)
    crossed = pd.concat([runs.assign(E=-1), runs.assign(E=1, val_loss=runs["val_loss"] * 1.1)])
    table = main_effects(crossed, {"E": -1, **LETTERS}, [*"EABCD"]).set_index("axis")
    alone = main_effects(crossed, {"E": -1}, [*"EABCD"]).iloc[0]
    columns = ["effect", "low", "high", "p", "p_equivalent", "cells", "seeds", "pairs"]
    assert table.loc["E", columns].tolist() == alone[columns].tolist()
    assert "paired" in table.loc["E", "procedure"]
    assert table.loc["E", "caution"] == ""
    assert "least squares" in table.loc["A", "procedure"]


def latin_square(size: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [(r, c, "ABCDE"[(r + c) % size]) for r in range(size) for c in range(size)]
    square = pd.DataFrame(rows, columns=["row", "column", "treatment"])
    value = square["row"] + 2 * square["column"] + 5 * (square["treatment"] == "B")
    return square.assign(y=value + random.standard_normal(len(square)))


def test_a_latin_square_is_estimated_over_its_blocks() -> None:
    square = latin_square()
    options: dict[str, Any] = {"outcome": "y", "block": "row", "scale": "difference"}
    table = main_effects(square, {"treatment": "A"}, ["treatment", "column"], **options)
    theirs = ols("y ~ C(row) + C(column) + treatment", square).fit()
    names = [f"treatment[T.{level}]" for level in "BCDE"]
    assert table["effect"].tolist() == pytest.approx(theirs.params[names].tolist())
    assert table["p"].tolist() == pytest.approx(theirs.pvalues[names].tolist())
    interval = theirs.conf_int().loc[names]
    assert table["low"].tolist() == pytest.approx(interval[0].tolist())
    assert table["high"].tolist() == pytest.approx(interval[1].tolist())
    assert table["verdict"].tolist() == [HURTS, UNDECIDED, UNDECIDED, UNDECIDED]
    assert table["p_adjusted"][0] == pytest.approx(4 * table["p"][0])
    assert table["procedure"].str.contains("12 degrees of freedom, error of residuals").all()


def test_replicates_without_blocks() -> None:
    teeth = tooth_growth()
    controls: dict[str, Any] = {"supp": "VC", "dose": 0.5}
    options: dict[str, Any] = {"outcome": "len", "block": None, "scale": "difference"}
    table = main_effects(teeth, controls, ["supp", "dose"], higher_is_better=True, **options)
    theirs = ols("len ~ C(supp, Treatment('VC')) + C(dose)", teeth).fit()
    assert table["effect"].tolist() == pytest.approx(theirs.params.tolist()[1:])
    assert table["p"].tolist() == pytest.approx(theirs.pvalues.tolist()[1:])
    assert table["verdict"].tolist() == [HELPS] * 3


def test_as_many_effects_as_runs_leave_no_estimate_of_error() -> None:
    controls: dict[str, Any] = dict.fromkeys("ABCDEFG", -1)
    options: dict[str, Any] = {"outcome": "y", "block": None, "scale": "difference"}
    table = main_effects(BICYCLE, controls, [*"ABCDEFG"], **options).set_index("axis")
    assert table["effect"].tolist() == pytest.approx([3.5, 12, 1, 22.5, 0.5, 1, 2.5])
    assert (table["verdict"] == UNDECIDED).all()
    assert table["low"].isna().all()
    left_out = table.loc["D", "left_out"]
    assert "cannot be told from A × B, C × G, E × F" in left_out
    assert "no estimate of error: as many effects as runs (Lenth's p 0.0023)" in left_out


def test_errors_of_clusters_are_those_of_pairs_where_all_pair() -> None:
    """CR2 in a full cross is the paired t test over seeds (Pustejovsky & Tipton, 2018)."""
    runs = planted({("norm", "layer"): 0.2}, noise=0.2, seeds=7)
    design = Design(runs, FACTORS, CONTROLS)
    fit = estimate_over_blocks(design, [Unpaired("norm", "layer", "", "")]).iloc[0]
    paired = main_effects(design).set_index("level").loc["layer"]
    assert fit["is_clustered"]
    assert fit["degrees"] == pytest.approx(6)
    assert fit["effect"] == pytest.approx(paired["effect"])
    half_width = stats.t.ppf(0.975, 6) * fit["error"]
    assert half_width == pytest.approx((paired["high"] - paired["low"]) / 2)


def crossover(random: np.random.Generator, seeds: int = 12) -> pd.DataFrame:
    """Half of the seeds run the technique on the first cells and its control on the others; the
    other half the other way round. Without effect, but each seed likes the technique or not.
    """
    rows = [
        (("new", "none")[(cell < 4) == (seed < seeds // 2)], cell, cell < 4, seed)
        for seed, cell in product(range(seeds), range(8))
    ]
    runs = pd.DataFrame(rows, columns=["technique", "cell", "side", "seed"])
    luck = random.normal(0, 0.5, seeds)[runs["seed"]] * (runs["technique"] == "new")
    return runs.assign(val_loss=np.exp(luck + random.normal(0, 0.2, len(runs))))


def test_runs_of_a_seed_are_no_independent_evidence() -> None:
    """No seed tells the technique from the cells; pooled residuals would call half of nulls."""
    random = np.random.default_rng(0)
    rows, pooled = [], []
    for _ in range(25):
        runs = crossover(random)
        factors = ["technique", "cell"]
        rows.append(main_effects(runs, {"technique": "none"}, factors).iloc[0])
        pooled.append(blocked_effects(runs, {"technique": "none"}, factors)["p"].iloc[0])
    assert {row["n"] for row in rows} == {12}
    assert np.mean([row["verdict"] in (HELPS, HURTS) for row in rows]) <= 0.16
    assert np.mean(np.array(pooled) <= 0.05) > 0.3
