"""Ranks, critical differences, interquartile means; and the winner without its luck."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import Design
from ablations.analysis.ranking import (
    critical_difference,
    friedman,
    interquartile_mean,
    ranking,
)
from ablations.analysis.selection import best_configuration, selecting_blocks

from .generators import CONTROLS, FACTORS, planted
from .known import demsar


def test_demsar_s_table() -> None:
    wide = demsar().pivot(index="data", columns="learner", values="auc")  # noqa: PD010
    ranks = stats.rankdata(-wide[["C4.5", "m", "cf", "m+cf"]].to_numpy(), axis=1)
    assert ranks.mean(axis=0) == pytest.approx([3.143, 2.0, 2.929, 1.929], abs=5e-4)
    assert friedman(ranks, ties=False)[0] == pytest.approx(9.857, abs=5e-4)
    assert friedman(ranks) == pytest.approx(tuple(stats.friedmanchisquare(*ranks.T)))
    assert critical_difference(4, 14, 0.05) == pytest.approx(1.2536, abs=5e-5)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.1180, abs=1e-4)
    distances = np.abs(np.subtract.outer(*[ranks.mean(axis=0)] * 2))[np.triu_indices(4, 1)]
    assert (distances > critical_difference(4, 14, 0.05)).sum() == 0
    assert (distances > critical_difference(4, 14, 0.10)).sum() == 2


def test_any_table_is_ranked_in_the_direction_that_is_named() -> None:
    options = {"outcome": "auc", "block": "data", "scale": "difference", "higher_is_better": True}
    table = ranking(demsar(), ["learner"], **options)
    table = table.set_index("learner")
    assert table["critical_difference"].to_numpy() == pytest.approx(1.2536, abs=5e-5)
    assert table["n"].tolist() == [14] * 4
    assert table.loc["m+cf", "mean_rank"] == pytest.approx(1.929, abs=5e-4)
    assert table["place"].tolist() == [1, 2, 3, 4]
    assert table.index[0] == "m+cf"
    assert not table["apart"].any()
    assert table["mean"].is_monotonic_decreasing
    assert (table["iqm_low"] <= table["iqm"]).all()
    assert (table["iqm"] <= table["iqm_high"]).all()


def test_rliable_s_numbers() -> None:
    x, y = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    assert interquartile_mean(x.reshape(-1, 1)) == pytest.approx([1.5])
    assert interquartile_mean(y.reshape(-1, 1)) == pytest.approx([2])


def test_the_best_that_is_certain_is_not_tied() -> None:
    effects = {("regularizer", "l1"): 0.5, ("norm", "layer"): -1.0, ("init", "kaiming"): 0.2}
    table = ranking(planted(effects, seeds=20, noise=0.01), FACTORS, best=4)
    first = table.iloc[0]
    assert (first["norm"], first["init"]) == ("layer", "default")
    assert first["regularizer"] in ("none", "dropout")
    assert table["apart"].tolist() == [False, False, True, True]
    assert table["first_better"].iloc[2:].tolist() == [1, 1]
    assert (table["p_first"].iloc[2:] < 0.01).all()
    assert (table["p"] < 1e-6).all()


def test_a_configuration_that_diverged_once_is_not_among_the_best() -> None:
    runs = planted({("norm", "layer"): -1.0}, noise=0.1)
    hit = (runs["norm"] == "layer") & (runs["seed"] == 0) & (runs["regularizer"] == "l1")
    runs = runs.assign(status=np.where(hit, "diverged", "ok"))
    table = ranking(runs, FACTORS)
    message = "2 configurations that diverged in some seed"
    assert set(table["left_out"]) == {message}
    assert len(table) == 10
    first = best_configuration(runs, FACTORS).iloc[0]
    assert (first["candidates"], first["left_out"]) == (10, message)
    nothing = ranking(runs.iloc[:0], FACTORS)
    assert nothing.empty
    assert best_configuration(runs.iloc[:0], FACTORS).empty


def test_a_seed_that_is_not_done_yet_costs_no_configuration() -> None:
    runs = planted({("norm", "layer"): -1.0}, noise=0.1)
    extra = runs[runs["seed"] == 0].iloc[:3].assign(seed=6)
    grown = pd.concat([runs, extra])
    table = best_configuration(grown, FACTORS).iloc[0]
    original = best_configuration(runs, FACTORS).iloc[0]
    assert (
        table[["candidates", "seeds", "held_out"]].tolist()
        == original[["candidates", "seeds", "held_out"]].tolist()
    )
    assert table["left_out"] == "1 seed with runs missing"
    assert (ranking(grown, FACTORS)["n"] == 6).all()
    hit = (grown["seed"] == 5) & (grown["norm"] == "layer")
    failed = grown.assign(status=np.where(hit, "failed", "ok"))
    row = best_configuration(failed, FACTORS).iloc[0]
    assert (row["norm"], row["seeds"]) == ("layer", 5)
    assert "2 seeds with runs missing" in row["left_out"]
    assert "6 runs without a result" in row["left_out"]


def test_a_configuration_that_was_hardly_run_costs_no_seed() -> None:
    runs = planted({}, noise=0.1)
    rare = (runs["regularizer"] == "l1") & (runs["norm"] == "layer") & (runs["seed"] > 0)
    row = best_configuration(runs[~rare], FACTORS).iloc[0]
    assert (row["candidates"], row["seeds"]) == (10, 6)
    assert row["left_out"] == "2 configurations with runs missing"


def test_order_and_labels_do_not_matter() -> None:
    runs = planted({("norm", "layer"): -0.1}, noise=0.1)
    changed = runs.sample(frac=1, random_state=1).assign(seed=lambda t: 50 - t["seed"])
    pd.testing.assert_frame_equal(ranking(runs, FACTORS), ranking(changed, FACTORS))
    pd.testing.assert_frame_equal(
        best_configuration(runs, FACTORS), best_configuration(changed, FACTORS)
    )


@pytest.mark.parametrize(
    ("seeds", "naive"), [(5, 1.23), pytest.param(20, 0.62, marks=pytest.mark.slow)]
)
def test_trap_5_the_luck_of_the_best_of_216_is_gone_on_held_out_seeds(
    seeds: int, naive: float
) -> None:
    random = np.random.default_rng(0)
    cells = pd.MultiIndex.from_product([range(216), range(seeds)], names=["cell", "seed"])
    runs = cells.to_frame(index=False)
    table = []
    for _ in range(100):
        runs["y"] = random.normal(size=len(runs))
        options = {"outcome": "y", "scale": "difference", "control": {"cell": 0}}
        table.append(best_configuration(runs, ["cell"], **options))
    table = pd.concat(table)
    assert table["naive"].mean() == pytest.approx(-naive, abs=0.06)
    assert abs(table["held_out"].mean()) < 0.05
    assert table["optimism"].mean() == pytest.approx(naive, abs=0.06)
    assert table["chosen"].mean() < 0.5
    covered = (table["low"] <= 0) & (table["high"] >= 0)
    assert 0.88 <= covered.mean() <= 1


def test_a_true_winner_has_no_luck_to_lose() -> None:
    runs = planted({("norm", "layer"): -1.0, ("init", "kaiming"): -0.5})
    table = best_configuration(runs, FACTORS, control=CONTROLS).iloc[0]
    assert (table["norm"], table["init"]) == ("layer", "kaiming")
    assert table["optimism"] == pytest.approx(0, abs=1e-9)
    assert table["held_out"] == pytest.approx(table["naive"])
    assert table["change"] == pytest.approx(np.expm1(-1.5))
    single = best_configuration(planted({}, seeds=1), FACTORS).iloc[0]
    assert np.isnan(single["held_out"])
    assert single["candidates"] == 12


def test_all_splits_where_they_are_few_and_always_the_same_ones() -> None:
    assert [len(selecting_blocks(n)) for n in (2, 3, 4, 5, 10, 11)] == [2, 3, 4, 10, 120, 200]
    assert (selecting_blocks(20) == selecting_blocks(20)).all()
    sizes = [set(selecting_blocks(n).sum(axis=1)) for n in (2, 3, 4, 6, 10, 21)]
    assert sizes == [{1}, {2}, {3}, {4}, {7}, {14}]


def test_ranks_are_judged_at_5_percent_whatever_the_level_of_verdicts() -> None:
    runs = planted({("norm", "layer"): -0.1}, noise=0.1)
    usual, strict = (ranking(Design(runs, FACTORS, alpha=alpha)) for alpha in (0.05, 0.01))
    pd.testing.assert_frame_equal(usual, strict)
    assert "critical difference at 0.05" in strict["procedure"].iloc[0]
    assert "critical difference at 0.01" in ranking(runs, FACTORS, alpha=0.01)["procedure"].iloc[0]
