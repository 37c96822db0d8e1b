"""Shares of the variance: certified values, another implementation, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from ablations.analysis import Design
from ablations.analysis.variance import find_balanced_part, variance_shares

from .generators import AXES, FACTORS, grid, planted
from .known import nist, tooth_growth


def shares(runs: pd.DataFrame, factors: list[str] = FACTORS, **options: object) -> pd.DataFrame:
    return variance_shares(runs, factors, **options).set_index("source")


@pytest.mark.parametrize(
    ("name", "f", "r2", "digits"),
    [("SiRstv", 1.18046237440255, 0.190999039051129, 1e-12), ("SmLs09", 2001.0, None, 1e-3)],
)
def test_nist_certified_values(name: str, f: float, r2: float | None, digits: float) -> None:
    table = shares(nist(name), ["group"], outcome="y", block=None, scale="difference")
    assert table.loc["group", "f"] == pytest.approx(f, rel=digits)
    if r2 is not None:
        assert table.loc["group", "eta2"] == pytest.approx(r2, rel=digits)


def test_tooth_growth() -> None:
    factors = ["supp", "dose"]
    table = shares(tooth_growth(), factors, outcome="len", block=None, scale="difference")
    answer = table.loc[["supp", "dose", "supp × dose"], "f"].tolist()
    assert answer == pytest.approx([15.572, 92.000, 4.107], abs=5e-4)
    assert table.loc["supp", "p"] == pytest.approx(0.000231, abs=5e-7)
    assert table.loc["supp × dose", "p"] == pytest.approx(0.02186, abs=5e-6)
    assert table.loc["residual", "ss"] == pytest.approx(712.1, abs=0.05)
    assert table.loc["residual", "df"] == 54
    assert table["procedure"].str.contains("between groups").all()
    assert set(table["n"]) == {60}


def test_repeated_measures_are_those_of_statsmodels() -> None:
    runs = planted({("norm", "layer"): 0.2}, seeds=7, noise=0.3)
    table = shares(runs, order=3)
    runs = runs.assign(log_loss=np.log(runs["val_loss"]))
    theirs = AnovaRM(runs, "log_loss", "seed", within=FACTORS).fit().anova_table
    for effect, row in theirs.iterrows():
        ours = table.loc[str(effect).replace(":", " × ")]
        assert ours["f"] == pytest.approx(row["F Value"], rel=1e-9)
        assert ours["p"] == pytest.approx(row["Pr > F"], rel=1e-9)
        assert (ours["df"], ours["error_df"]) == (row["Num DF"], row["Den DF"])


def test_what_was_planted_is_found_and_shares_add_up() -> None:
    table = shares(planted({("norm", "layer"): 0.4}))
    assert table["eta2"].sum() == pytest.approx(1)
    seed = table.loc["blocks", "eta2"]
    assert table.loc["norm", "eta2"] == pytest.approx(1 - seed)
    assert table.loc[["regularizer", "init", "residual"], "eta2"].tolist() == pytest.approx([0] * 3)


def test_trap_7_a_large_main_effect_is_a_share_of_the_whole() -> None:
    """Where the seed has more than half, nothing else has."""
    runs = planted({("norm", "layer"): 0.3}, seeds=50, noise=0.05, rng=3)
    table = shares(runs)
    assert table.loc["blocks", "eta2"] > 0.5
    assert table.loc["norm", "eta2"] < 0.35
    assert table.index[0] == "norm"


def test_omega_is_zero_on_average_where_there_is_nothing() -> None:
    random = np.random.default_rng(0)
    answer = []
    for _ in range(200):
        runs = grid(seeds=6)
        runs = runs.assign(val_loss=np.exp(random.normal(0, 1, len(runs))))
        answer.append(shares(runs).loc["regularizer", ["eta2", "omega2"]])
    eta2, omega2 = np.mean(answer, axis=0)
    assert eta2 > 0.02
    assert abs(omega2) < 0.005


def test_large_numbers_that_differ_little_keep_their_digits() -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    small = runs.assign(y=np.log(runs["val_loss"]))
    large = small.assign(y=small["y"] + 1e9)
    options: dict[str, Any] = {"outcome": "y", "scale": "difference"}
    assert shares(large, **options)["eta2"].to_numpy() == pytest.approx(
        shares(small, **options)["eta2"].to_numpy(), rel=1e-4, abs=1e-6
    )


def test_what_is_not_balanced_is_left_out_and_said() -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    lost = runs[~((runs["seed"] == 3) & (runs["init"] == "kaiming") & (runs["norm"] == "layer"))]
    table = variance_shares(lost, FACTORS)
    assert set(table["left_out"]) == {"1 seed"}
    assert set(table["n"]) == {5}
    assert set(table["numbers"]) == {60}
    union = runs[(runs["regularizer"] != "dropout") | (runs["norm"] == "none")]
    table = variance_shares(union, FACTORS)
    assert set(table["left_out"]) == {"regularizer dropout"}
    assert table["eta2"].sum() == pytest.approx(1)
    diverged = runs.assign(status=np.where(runs.index == 5, "diverged", "ok"))
    assert "1 run that diverged" in variance_shares(diverged, FACTORS)["left_out"].iloc[0]


def test_balance_never_looks_at_outcomes_and_gives_a_full_cross() -> None:
    runs = planted({})
    subset = runs.sample(frac=0.7, random_state=1)
    answer = find_balanced_part(Design(subset, FACTORS))
    assert np.isfinite(answer.values).all()
    other = subset.assign(val_loss=subset["val_loss"] ** 2)
    assert find_balanced_part(Design(other, FACTORS)).levels == answer.levels


def test_seeds_are_not_given_up_for_one_bad_cell() -> None:
    axes: dict[str, tuple[object, ...]] = {"a": tuple("wxyz"), "b": tuple("uvs")}
    runs = planted({("a", "x"): 0.3}, axes, seeds=10, noise=0.1)
    bad = (runs["a"] == "z") & (runs["b"] == "v") & (runs["seed"] < 8)
    diverged = runs.assign(status=np.where(bad, "diverged", "ok"))
    table = variance_shares(diverged, ["a", "b"])
    assert (table["n"].iloc[0], table["numbers"].iloc[0]) == (10, 90)
    assert table["left_out"].iloc[0] == "a z; 8 runs that diverged"
    scattered = runs.drop(index=[runs.index[i * 13] for i in range(8)])
    assert variance_shares(scattered, ["a", "b"])["n"].iloc[0] >= 5


def test_levels_and_seeds_of_which_nothing_is_left_are_named() -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    gone = (runs["regularizer"] == "l1") | (runs["seed"] == 5)
    failed = runs.assign(status=np.where(gone, "failed", "ok"))
    text = variance_shares(failed, FACTORS)["left_out"].iloc[0]
    assert text == "32 runs without a result; regularizer l1; 1 seed"


def test_blocks_that_hold_one_level_each_are_no_blocks() -> None:
    runs = tooth_growth().assign(animal=range(60))
    with pytest.raises(ValueError, match="no animal was measured at two levels of 'supp'"):
        variance_shares(runs, ["supp"], outcome="len", block="animal", scale="difference")


def test_replicates_without_a_number_are_none() -> None:
    runs = tooth_growth()
    more = pd.concat([runs, runs.iloc[::7].assign(len=np.nan)]).sample(frac=1, random_state=1)
    options: dict[str, Any] = {"outcome": "len", "block": None, "scale": "difference"}
    original, other = (
        variance_shares(runs, ["supp", "dose"], **options),
        variance_shares(more, ["supp", "dose"], **options),
    )
    assert other["f"].dropna().tolist() == pytest.approx(original["f"].dropna().tolist())


def test_replicates_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="between 9 and 10 replicates"):
        variance_shares(tooth_growth().iloc[1:], ["supp", "dose"], outcome="len", block=None)


def test_one_factor_may_have_groups_of_any_size() -> None:
    """R's chickwts would do; here groups of 3 to 8, against scipy."""
    random = np.random.default_rng(1)
    groups = [random.normal(i, 1, size) for i, size in enumerate((3, 8, 5))]
    rows = [(name, y) for name, ys in zip("abc", groups, strict=True) for y in ys]
    runs = pd.DataFrame(rows, columns=["feed", "y"])
    table = shares(runs, ["feed"], outcome="y", block=None, scale="difference")
    expected = stats.f_oneway(*groups)
    assert table.loc["feed", ["f", "p"]].tolist() == pytest.approx([*expected])
    assert (table.loc["residual", "df"], table["n"].iloc[0]) == (13, 16)
    assert table["eta2"].sum() == pytest.approx(1)


def test_epsilon_is_boxs() -> None:
    """By double centring of the covariances of the levels, as Box (1954) wrote it."""
    levels, seeds = 4, 9
    steps = np.random.default_rng(2).normal([0, 1, 1, 3], [1, 1, 2, 4], (seeds, levels))
    y = steps.cumsum(axis=1)
    cells = pd.MultiIndex.from_product([range(seeds), list("abcd")], names=["seed", "norm"])
    runs = cells.to_frame(index=False).assign(y=y.ravel(), other="x")
    s = np.cov(y, rowvar=False)
    k, means = levels, s.mean(axis=0)
    above = (k * (np.trace(s) / k - s.mean())) ** 2
    below = (k - 1) * ((s**2).sum() - 2 * k * (means**2).sum() + (k * s.mean()) ** 2)
    table = shares(runs, ["norm", "other"], outcome="y", scale="difference")
    epsilon = table.loc["norm", "epsilon"]
    assert epsilon == pytest.approx(above / below)
    assert 1 / 3 < epsilon < 1
    assert table.loc["norm", "p_epsilon"] > table.loc["norm", "p"]
    two = shares(runs[runs["norm"].isin(["a", "b"])], ["norm"], outcome="y", scale="difference")
    assert two.loc["norm", "epsilon"] == pytest.approx(1)


def test_which_of_two_alike_goes_depends_on_no_order() -> None:
    runs = planted({("norm", "layer"): 0.2}, noise=0.1)
    # Each of two inits lacks as much as the other, and each of six seeds something of its own.
    gaps = [("l1", "layer", "default", 0), ("dropout", "none", "kaiming", 1)]
    gaps += [("none", "none", "default", seed) for seed in (2, 3)]
    lost = runs.set_index([*FACTORS, "seed"]).drop(gaps).reset_index()
    labels = {seed: (7 * seed + 3) % 11 for seed in range(6)}
    other = lost.sample(frac=1, random_state=3).assign(seed=lambda t: t["seed"].map(labels))
    first, second = variance_shares(lost, FACTORS), variance_shares(other, FACTORS)
    pd.testing.assert_frame_equal(first, second)
    rare = runs[runs["seed"] < 2].drop(index=runs.index[[0, 7]], errors="ignore")
    mixed = rare.iloc[::-1].assign(seed=1 - rare["seed"])
    pd.testing.assert_frame_equal(variance_shares(rare, FACTORS), variance_shares(mixed, FACTORS))


def test_one_level_is_no_factor_and_nothing_is_an_empty_table() -> None:
    runs = planted({}).assign(device="cpu")
    assert "device" not in set(variance_shares(runs, [*FACTORS, "device"])["source"])
    assert variance_shares(runs.iloc[:0], FACTORS).empty
    assert variance_shares(runs.iloc[:1], FACTORS).empty


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_order_labels_and_units_do_not_matter(seed: int, unit: float) -> None:
    random = np.random.default_rng(seed)
    runs = planted({("norm", "layer"): 0.2, ("regularizer", "l1"): 0.1}, noise=0.1)
    changed = runs.sample(frac=1, random_state=seed).assign(val_loss=lambda t: t["val_loss"] * unit)
    labels = random.permutation(100)[:6]
    changed["seed"] = labels[changed["seed"]]
    original, other = shares(runs), shares(changed)
    assert other.index.tolist() == original.index.tolist()
    for name in ("eta2", "f", "p"):
        assert other[name].to_numpy() == pytest.approx(
            original[name].to_numpy(), rel=1e-6, nan_ok=True
        )
    assert len(AXES) == 3
