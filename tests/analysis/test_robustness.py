"""Second opinions on a mean over seeds: exact small cases, what they depend on, and verdicts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from threadpoolctl import threadpool_info, threadpool_limits

from ablations.analysis import HELPS, HURTS, UNDECIDED, main_effects, verdicts
from ablations.analysis.design import Design
from ablations.analysis.robustness import Robustness, skewness_factor
from ablations.analysis.verdicts import find_doubts
from bench.calibration import skew

from .generators import planted

# Cushny & Peebles (1905): hours of sleep that one drug gives more than the other, ten patients.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])[:, None]


def runs_of(d: np.ndarray, shift: float = 0.0) -> pd.DataFrame:
    """Runs whose levels 1, 2, ... differ from level 0 by the columns of ``d``."""
    cells = list(product(range(len(d)), range(d.shape[1] + 1)))
    loss = np.hstack([np.zeros((len(d), 1)), d]) + shift
    return pd.DataFrame(cells, columns=["seed", "level"]).assign(loss=loss.ravel())


def effects_of(d: np.ndarray, **options: object) -> pd.DataFrame:
    return main_effects(
        runs_of(d), {"level": 0}, ["level"], outcome="loss", scale="difference",
        **({"margin": 1e-6} | options),
    )  # fmt: skip


def test_the_numbers_of_a_column_are_those_of_scipy() -> None:
    robust = Robustness.from_differences(SLEEP)
    assert robust.skewness == pytest.approx(stats.skew(SLEEP))
    # R: wilcox.test(extra, conf.int = TRUE) interpolates; the exact order statistics are these.
    assert [robust.estimate[0], robust.low[0], robust.high[0]] == pytest.approx([1.3, 0.9, 2.7])
    assert robust.carrier.tolist() == [-1]
    few = Robustness.from_differences(SLEEP[:5])
    assert np.isnan([few.low[0], few.high[0]]).all()
    single = Robustness.from_differences(SLEEP[:1])
    assert (single.estimate[0], single.factor[0], single.carrier[0]) == (1.2, 1.0, -1)
    assert np.isnan(single.p_skewed[0])


def test_the_factor_is_halls_transformation_until_it_is_flat() -> None:
    d, n = np.array([-2.0, -1.0, -1.5, -0.5, -1.2, -1.9, -0.3, -1.0])[:, None], 8
    t = float(stats.ttest_1samp(d[:, 0], 0).statistic)
    gamma = 0.8 * np.sqrt(n * (n - 1)) / (n - 2)
    a = gamma / np.sqrt(n)
    # Hall (1992): t + a t^2 / 3 + a^2 t^3 / 27 + a / 6.
    hall = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
    assert -3 < a * t < 0
    assert skewness_factor(d, np.array([0.8])) == pytest.approx([hall / t])
    assert skewness_factor(-d, np.array([-0.8])) == pytest.approx([hall / t])
    assert skewness_factor(d, np.array([-0.8])).tolist() == [1.0]
    assert skewness_factor(d, np.array([0.0])).tolist() == [1.0]
    alike = -1 + 1e-3 * d
    flat = skewness_factor(alike, np.array([0.8])) * stats.ttest_1samp(alike[:, 0], 0).statistic
    assert flat == pytest.approx([-1 / a + a / 6])


def test_order_labels_units_and_directions_do_not_matter() -> None:
    random = np.random.default_rng(0)
    d = random.exponential(size=(9, 4)) - 1
    d[3, 2] = np.nan
    first = Robustness.from_differences(d)
    order, levels = random.permutation(9), random.permutation(4)
    for changed, sign in ((d[order], 1), (1e3 * d, 1e3), (-d, -1)):
        second = Robustness.from_differences(changed)
        assert second.estimate == pytest.approx(sign * first.estimate)
        for name in ("p_skewed", "p_shared", "factor"):
            assert getattr(second, name) == pytest.approx(getattr(first, name)), name
        assert np.abs(second.skewness) == pytest.approx(np.abs(first.skewness))
    second = Robustness.from_differences(d[:, levels])
    for name in ("p_skewed", "factor", "skewness", "low", "high"):
        assert getattr(second, name) == pytest.approx(getattr(first, name)[levels]), name


def test_skewed_levels_and_skewness_of_most_levels_are_seen() -> None:
    random = np.random.default_rng(1)
    normal = random.normal(size=(20, 6))
    robust = Robustness.from_differences(normal)
    assert (robust.p_skewed > 0.05).all()
    assert robust.p_shared > 0.05
    assert (robust.factor == 1).all()
    normal[:, 2] = random.exponential(size=20) ** 2
    robust = Robustness.from_differences(normal)
    assert np.flatnonzero(robust.p_skewed <= 0.05).tolist() == [2]
    assert robust.p_shared > 0.05
    # Single levels may show nothing surely, and most of them together do.
    robust = Robustness.from_differences(random.exponential(size=(10, 6)))
    assert robust.p_shared <= 0.05 < np.median(robust.p_skewed)


def test_columns_without_spread_are_left_alone() -> None:
    robust = Robustness.from_differences(np.column_stack([np.full(8, 0.1), np.zeros(8)]))
    assert np.isnan(robust.p_skewed).all()
    assert np.isnan(robust.p_shared)
    assert (robust.factor == 1).all()
    # Flips can make two values equal.
    robust = Robustness.from_differences(np.array([[1.0], [-1.0]] * 4))
    assert robust.p_skewed.tolist() == [1.0]


def test_one_seed_that_carries_the_effect_decides_nothing() -> None:
    agreeing = np.array([0.1, 0.2, 0.12, 0.15, 0.13, 0.1, 0.15, 0.12, 0.08, 0.18, 4.0])[:, None]
    assert Robustness.from_differences(agreeing).carrier.tolist() == [-1]
    d = agreeing - 0.14
    d[10] = 4.0
    assert Robustness.from_differences(d).carrier.tolist() == [10]
    assert Robustness.from_differences(d[::-1]).carrier.tolist() == [0]
    assert Robustness.from_differences(d[:10]).carrier.tolist() == [-1]
    missing = np.vstack([[[np.nan]], d])
    assert Robustness.from_differences(missing).carrier.tolist() == [11]
    labels = Robustness.from_differences(d).columns(list("abcdefghijk"), np.ones(1))["carrier"]
    assert labels == ["k"]


ROW = {
    "effect": -0.1, "robust": -0.1, "robust_low": -0.2, "robust_high": -0.05, "p_adjusted": 0.01,
    "p_corrected": 0.01, "p_skewed": 0.5, "carrier": "", "seeds": 10, "diverged": 0,
    "control_diverged": 0, "p_divergence": np.nan, "p_equivalent_adjusted": 0.9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({}, ""),
        ({"robust": 0.01}, "The mean of its seeds and their robust estimate (Hodges-Lehmann)"),
        ({"robust_high": 0.01}, "The robust interval of its seeds (Hodges-Lehmann) contains 0."),
        ({"robust_low": np.nan, "robust_high": np.nan}, ""),
        ({"carrier": "7"}, "The seed 7 alone carries it: without it the interval contains 0."),
        ({"p_corrected": 0.2, "p_skewed": 0.01},
         "Its seeds are skewed, and corrected for that p is 0.2: up to 26 % of all seeds may be"),
        ({"p_corrected": 0.2}, "The seeds of most comparisons are skewed, and corrected for that"),
        ({"p_corrected": np.nan}, ""),
    ],
)  # fmt: skip
def test_no_verdict_where_the_opinions_disagree(changes: dict[str, object], doubt: str) -> None:
    table = pd.DataFrame([{**ROW, **changes}])
    design = Design(planted({}))
    doubts = find_doubts(table, design)
    assert doubts[0].startswith(doubt)
    assert bool(doubts[0]) == bool(doubt)
    assert verdicts(table.assign(doubt=doubts)).tolist() == [UNDECIDED if doubt else HELPS]
    # What divergence decides needs no mean.
    unstable = table.assign(doubt=doubts, diverged=9, p_divergence=0.01)
    assert verdicts(unstable).tolist() == [HURTS]


def test_of_skewed_levels_without_effect_hardly_any_helps_and_the_row_says_why() -> None:
    random, called, certain = np.random.default_rng(3), 0, []
    for _ in range(30):
        table = effects_of(random.exponential(size=(10, 6)) - 1)
        called += table["verdict"].isin([HELPS, HURTS]).any()
        certain.append(table[table["p_adjusted"] <= 0.05])
    rows = pd.concat(certain)
    assert len(rows) >= 6
    assert called <= 3
    undecided = rows[rows["verdict"] == UNDECIDED]
    assert undecided["caution"].str.contains("skewed, and corrected for that p is").all()


def test_what_helps_helps_whatever_the_direction() -> None:
    first = effects_of(SLEEP, higher_is_better=True).iloc[0]
    second = effects_of(-SLEEP).iloc[0]
    assert first["verdict"] == second["verdict"] == HELPS
    assert first["robust"] == pytest.approx(-second["robust"])
    assert first["p_skewed"] == second["p_skewed"]
    assert first["caution"] == second["caution"] == ""


@pytest.mark.slow
def test_skewed_seeds_err_less_than_their_mean_does() -> None:
    rates = skew.measure(15)
    skewed = rates["setting"].str.contains("exponential|lognormal") & (rates["promised"] != "")
    assert rates.loc[skewed, "rate"].mean() <= 0.12
    alone = rates["quantity"] == "the same by the mean alone"
    assert rates.loc[skewed.shift(fill_value=False) & alone, "rate"].mean() >= 0.12
    normal = rates["setting"].str.contains("normal|degrees") & (rates["promised"] == "at most 0.06")
    assert rates.loc[normal, "low"].max() <= 0.06


def blas_threads() -> set[int]:
    """Numbers of threads that the libraries of linear algebra may start."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_many_small_matrices_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[set[int]] = []
    decompose = np.linalg.qr

    def record_threads(matrices: np.ndarray) -> object:
        threads.append(blas_threads())
        return decompose(matrices)

    monkeypatch.setattr(np.linalg, "qr", record_threads)
    with threadpool_limits(2, user_api="blas"):
        Robustness.from_differences(np.random.default_rng(0).normal(size=(27, 2)))
        assert blas_threads() == {2}
    assert threads == [{1}]
