"""Analysis of variance with blocks, strata and fractions: published tables to their digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols

from ablations.analysis import (
    analysis_of_variance,
    lenth_p,
    variance_components,
    variance_shares,
)
from ablations.analysis.statements import STATED

from .generators import FACTORS, planted
from .known import (
    BICYCLE,
    FILTRATION,
    MOLDING,
    fraction,
    npk,
    oats,
    penicillin,
    tooth_growth,
    warp_breaks,
)


def anova(runs: pd.DataFrame, factors: list[str], **options: Any) -> pd.DataFrame:
    table = analysis_of_variance(runs, factors, scale="difference", **options)
    return table.set_index(["stratum", "source"])


def rounded(table: pd.DataFrame, columns: list[str], digits: int) -> dict[str, list[float]]:
    rows = table.reset_index("stratum")[columns].astype(float)
    return {
        source: row.round(digits).tolist() for source, row in rows.iterrows() if row.notna().all()
    }


def test_npk_to_the_digits_that_r_prints() -> None:
    """summary(aov(yield ~ block + N*P*K, npk)): N:P:K is confounded with the blocks."""
    table = anova(npk(), [*"NPK"], outcome="yield", block="block", order=3)
    assert npk()["yield"].sum() == pytest.approx(1317)
    assert rounded(table, ["ss", "ms"], 2) == {
        "blocks": [343.3, 68.66], "N": [189.28, 189.28], "P": [8.4, 8.4], "K": [95.2, 95.2],
        "N × P": [21.28, 21.28], "N × K": [33.14, 33.14], "P × K": [0.48, 0.48],
        "residual": [185.29, 15.44],
    }  # fmt: skip
    assert rounded(table, ["f"], 3) == {
        "blocks": [4.447], "N": [12.259], "P": [0.544], "K": [6.166], "N × P": [1.378],
        "N × K": [2.146], "P × K": [0.031],
    }  # fmt: skip
    assert rounded(table, ["p"], 5) == {
        "blocks": [0.01594], "N": [0.00437], "P": [0.4749], "K": [0.0288], "N × P": [0.26317],
        "N × K": [0.16865], "P × K": [0.86275],
    }  # fmt: skip
    assert table["df"].tolist() == [5, 1, 1, 1, 1, 1, 1, 0, 12]
    assert table.loc[("within", "N × P × K"), "confounded_with"] == "block"
    assert (table["confounded_with"] != "").sum() == 1
    assert table.columns[-4:].tolist() == STATED


def test_npk_in_strata() -> None:
    """summary(aov(yield ~ N*P*K + Error(block), npk))."""
    table = anova(npk(), [*"NPK"], outcome="yield", block=None, order=3, strata=["block"])
    row = table.loc[("block", "N × P × K")]
    assert row[["ss", "f", "p"]].astype(float).round(3).tolist() == [37.002, 0.483, 0.525]
    assert table.loc[("block", "residual"), ["df", "ss"]].tolist() == pytest.approx([4, 306.2933])
    assert table.loc[("within", "N"), "f"] == pytest.approx(12.259, abs=5e-4)
    assert table.loc[("within", "residual"), "df"] == 12
    assert ("within", "N × P × K") not in table.index


def test_oats_are_a_split_plot() -> None:
    """summary(aov(Y ~ N*V + Error(B/V), oats))."""
    table = anova(oats(), ["N", "V"], outcome="Y", block="B", strata=["B", "V"])
    effects = table[table.index.get_level_values("source") != "residual"]
    assert effects["df"].tolist() == [2, 3, 6]
    assert effects["ss"].tolist() == pytest.approx([1786.4, 20020.5, 321.75], abs=0.05)
    residuals = table.xs("residual", level="source")
    assert residuals["df"].to_dict() == {"B": 5, "B:V": 10, "within": 45}
    assert residuals["ss"].round().to_dict() == {"B": 15875, "B:V": 6013, "within": 7969}
    assert rounded(table, ["f"], 3) == {"V": [1.485], "N": [37.686], "N × V": [0.303]}
    assert table.loc[("B:V", "V"), "p"] == pytest.approx(0.272, abs=5e-4)
    assert table.loc[("within", "N"), "p"] == pytest.approx(2.46e-12, rel=2e-3)
    assert table.loc[("within", "N × V"), "p"] == pytest.approx(0.932, abs=5e-4)


@pytest.mark.parametrize(
    ("runs", "outcome", "f", "p", "residual"),
    [
        (warp_breaks(), "breaks", [3.7653, 8.4980, 4.1891], [0.058213, 0.000693, 0.021044], 5745.1),
        (tooth_growth(), "len", [15.572, 92.000, 4.107], [0.000231, 4e-18, 0.02186], 712.1),
    ],
)
def test_two_ways_with_replicates(
    runs: pd.DataFrame, outcome: str, f: list[float], p: list[float], residual: float
) -> None:
    factors = [name for name in runs if name != outcome]
    table = anova(runs, factors, outcome=outcome, block=None)
    assert table["f"].tolist()[:3] == pytest.approx(f, abs=5e-4)
    assert table["p"].tolist()[:3] == pytest.approx(p, abs=6e-7)
    assert table["ss"].iloc[3] == pytest.approx(residual, abs=0.05)


def test_penicillin_has_the_variances_that_lme4_prints() -> None:
    """lmer(diameter ~ (1|plate) + (1|sample), Penicillin), by REML."""
    options: dict[str, Any] = {"outcome": "diameter", "block": None, "scale": "difference"}
    table = variance_components(penicillin(), ["plate", "sample"], **options)
    assert table["variance"].round(4).tolist() == [0.7169, 3.7309, 0.3024]
    assert table["sd"].round(4).tolist() == [0.8467, 1.9316, 0.5499]
    assert table["mean"].round(4).tolist() == [22.9722] * 3
    assert table["mean_error"].round(4).tolist() == [0.8086] * 3
    # In a balanced layout REML is what the mean squares of an analysis of variance give.
    ms = analysis_of_variance(penicillin(), ["plate", "sample"], order=1, **options)["ms"]
    expected = [(ms[0] - ms[2]) / 6, (ms[1] - ms[2]) / 24, ms[2]]
    assert table["variance"].tolist() == pytest.approx(expected, rel=1e-4)


def test_montgomerys_filtration_rate() -> None:
    """A half fraction with I = ABCD: the printed effects, and who each cannot be told from."""
    table = anova(FILTRATION, [*"ABCD"], outcome="y", block=None).loc["within"]
    effects = {name: row["effect"] for name, row in table.iterrows() if row["df"]}
    assert effects == pytest.approx({
        "A": 19.0, "B": 1.5, "C": 14.0, "D": 16.5, "A × B": -1.0, "A × C": -18.5, "A × D": 19.0,
    })  # fmt: skip
    aliases = table["confounded_with"]
    assert aliases.to_dict() == {
        "A": "B × C × D", "B": "A × C × D", "C": "A × B × D", "D": "A × B × C", "A × B": "C × D",
        "A × C": "B × D", "A × D": "B × C", "B × C": "A × D", "B × D": "A × C", "C × D": "A × B",
    }  # fmt: skip
    assert (table["left_out"] == "no estimate of error: as many effects as numbers").all()
    assert table["p"].isna().all()


def test_box_hunter_and_hunters_bicycle() -> None:
    table = anova(BICYCLE, [*"ABCDEFG"], outcome="y", block=None, order=1).loc["within"]
    assert table["effect"].to_dict() == pytest.approx(
        dict(zip("ABCDEFG", [3.5, 12.0, 1.0, 22.5, 0.5, 1.0, 2.5], strict=True))
    )
    assert table.loc["A", "confounded_with"] == "B × D, C × E, F × G"
    assert table.loc["D", "confounded_with"] == "A × B, C × G, E × F"
    assert (table["p_lenth"] < 0.05).tolist() == [False, True, False, True, False, False, False]


def test_montgomerys_injection_molding() -> None:
    """A quarter with I = ABCE = BCDF = ADEF; y = 27.3125 + 6.9375 A + 17.8125 B + 5.9375 AB."""
    table = anova(MOLDING, [*"ABCDEF"], outcome="y", block=None).loc["within"]
    coefficients = table.loc[["A", "B", "A × B"], "effect"] / 2
    assert coefficients.tolist() == pytest.approx([6.9375, 17.8125, 5.9375])
    assert MOLDING["y"].mean() == 27.3125
    aliases = table["confounded_with"].to_dict()
    assert aliases["A"] == "B × C × E, D × E × F"
    assert aliases["A × B"] == "C × E"
    assert aliases["A × E"] == "B × C, D × F"
    assert aliases["B × D"] == "C × F"
    assert table.loc["residual", "df"] == 2


def test_lenths_margin_of_error_is_that_of_design_expert() -> None:
    """Montgomery's problem 8.1: effects, and ME = 22.5856 at 5 %."""
    runs = fraction([90, 72, 87, 83, 99, 81, 88, 80], {"D": "ABC"})
    table = anova(runs, [*"ABCD"], outcome="y", block=None)
    effects = table.loc[table["df"] > 0, "effect"].to_numpy()
    assert effects.tolist() == pytest.approx([-12, -1, 4, -1, 6, -1, -5])
    error = 22.5856 / stats.t.ppf(0.975, 7 / 3)
    assert lenth_p(effects)[0] == pytest.approx(2 * stats.t.sf(12 / error, 7 / 3), abs=5e-5)
    assert np.isnan(lenth_p(np.array([1.0, np.nan, 2.0]))).all()


def test_unbalanced_tables_are_those_of_statsmodels() -> None:
    runs = planted({("norm", "layer"): 0.2}, seeds=5, noise=0.3).sample(frac=0.8, random_state=1)
    table = analysis_of_variance(runs, FACTORS, order=1).set_index("source")
    runs = runs.assign(y=np.log(runs["val_loss"]))
    model = ols("y ~ C(seed) + regularizer + norm + init", runs).fit()
    theirs = sm.stats.anova_lm(model, typ=2)
    for name in FACTORS:
        assert table.loc[name, ["ss", "f", "p"]].tolist() == pytest.approx(
            theirs.loc[name, ["sum_sq", "F", "PR(>F)"]].tolist(), rel=1e-9
        )
    assert table.loc["residual", "df"] == theirs.loc["Residual", "df"]


@pytest.mark.parametrize("split", [analysis_of_variance, variance_shares])
def test_round_off_is_no_variance(split: Any) -> None:
    """Equal levels in unequal blocks, and numbers that are all equal, have no error and no F."""
    grid = pd.MultiIndex.from_product([range(7), list("abc"), list("uv")], names=["seed", "a", "b"])
    runs = grid.to_frame(index=False)
    noise = np.random.default_rng(1).normal(size=7)
    for value in (noise[runs["seed"]], np.full(len(runs), 0.1)):
        table = split(runs.assign(y=value), ["a", "b"], outcome="y", scale="difference")
        rows = table[~(table["kind"] == "block")]
        assert (rows["ss"] == 0).all()
        assert rows[["f", "p"]].isna().all(axis=None)
    shift = runs["a"].map({"a": 0.1, "b": 0.2, "c": 0.35})
    table = split(runs.assign(y=noise[runs["seed"]] + shift), ["a", "b"], outcome="y",
                  scale="difference").set_index("source")  # fmt: skip
    assert table.loc["a", "ss"] == pytest.approx(14 * shift.drop_duplicates().var() * 2)
    assert (table.loc["a", "f"], table.loc["a", "p"]) == (np.inf, 0)
    assert table.loc[["b", "a × b", "residual"], "ss"].eq(0).all()


def test_an_incomplete_block_design() -> None:
    """Montgomery's catalyst experiment: four catalysts, four batches of three, adjusted F 11.67."""
    # Catalyst to batch to time.
    times = {1: {1: 73, 2: 74, 4: 71}, 2: {2: 75, 3: 67, 4: 72},
             3: {1: 73, 2: 75, 3: 68}, 4: {1: 75, 3: 72, 4: 75}}  # fmt: skip
    rows = [(batch, f"c{c}", time) for c, row in times.items() for batch, time in row.items()]
    runs = pd.DataFrame(rows, columns=["batch", "catalyst", "time"])
    table = anova(runs, ["catalyst"], outcome="time", block="batch")
    assert table["df"].tolist() == [3, 3, 5]
    assert table["ss"].tolist() == pytest.approx([55.00, 22.75, 3.25])
    assert table["f"].iloc[1] == pytest.approx(11.67, abs=5e-3)


def test_order_labels_and_units_do_not_matter() -> None:
    runs = npk()
    moved = runs.sample(frac=1, random_state=2).assign(
        block=lambda t: 100 - t["block"], **{"yield": lambda t: 3 * t["yield"]}
    )
    first, second = (
        anova(table, factors, outcome="yield", block="block").sort_index()
        for table, factors in ((runs, [*"NPK"]), (moved, [*"NPK"]))
    )
    for name in ("f", "p", "df"):
        assert second[name].to_numpy(float) == pytest.approx(
            first[name].to_numpy(float), nan_ok=True
        )
    assert second["ss"].to_numpy(float) == pytest.approx(9 * first["ss"].to_numpy(float))
