"""Curves, configurations, published bands and divergence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import (
    configurations,
    divergence_rates,
    endings,
    level_curves,
    pareto_front,
    published_band,
)

from .generators import CONTROLS, FACTORS, grid, planted


def with_curves(runs: pd.DataFrame, epochs: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves that halve from epoch to epoch and end at the run's loss."""
    runs = runs.assign(run_id=[f"r{i}" for i in range(len(runs))])
    parts = [
        runs[["run_id"]].assign(epoch=e, val_loss=runs["val_loss"] * 2.0 ** (epochs - e))
        for e in range(1, epochs + 1)
    ]
    curves = pd.concat(parts, ignore_index=True)
    return runs, curves.assign(objective=curves["val_loss"])


def test_curves_are_geometric_means_by_seed() -> None:
    runs, curves = with_curves(planted({("norm", "layer"): 0.1}, noise=0.1))
    table = level_curves(runs, curves, "norm", FACTORS)
    last = table[(table["level"] == "layer") & (table["epoch"] == 3)].iloc[0]
    log_loss = np.log(runs["val_loss"])[runs["norm"] == "layer"]
    by_seed = log_loss.groupby(runs["seed"]).mean()
    interval = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert last["mean"] == pytest.approx(np.exp(by_seed.mean()))
    assert (last["low"], last["high"]) == pytest.approx(tuple(np.exp(interval)))
    assert (last["seeds"], last["cells"], last["survivors"], last["runs"]) == (6, 6, 36, 36)
    first = table[(table["level"] == "layer") & (table["epoch"] == 1)].iloc[0]
    assert first["mean"] == pytest.approx(4 * last["mean"])


def test_curves_compare_levels_on_the_cells_that_all_have() -> None:
    runs, curves = with_curves(planted({("init", "kaiming"): 1.0}))
    # Layer norm was tried with the better initialisation only, which is no merit of layer norm.
    runs = runs[~((runs["norm"] == "layer") & (runs["init"] == "kaiming"))]
    table = level_curves(runs, curves, "norm", FACTORS).set_index(["level", "epoch"])["mean"]
    assert table.loc[("layer", 3)] == pytest.approx(table.loc[("none", 3)])


def test_curves_say_how_many_runs_they_leave_out() -> None:
    runs, curves = with_curves(planted({}))
    lost = (runs["norm"] == "layer") & (runs["seed"] == 0)
    runs["status"] = np.where(lost, "diverged", "ok")
    table = level_curves(runs, curves, "norm", FACTORS).drop_duplicates("level").set_index("level")
    assert table["survivors"].to_dict() == {"none": 36, "layer": 30}
    assert table["runs"].to_dict() == {"none": 36, "layer": 36}


def test_levels_that_share_no_cell_are_not_drawn_together() -> None:
    runs, curves = with_curves(planted({}))
    apart = runs[(runs["norm"] == "none") == (runs["init"] == "default")]
    assert level_curves(apart, curves, "norm", FACTORS).empty
    assert level_curves(runs, curves.iloc[:0], "norm", FACTORS).empty


def test_configurations_are_summarised_and_ranked() -> None:
    runs = planted({("norm", "layer"): 0.1, ("regularizer", "dropout"): -0.2}, noise=0.01)
    runs = runs.assign(metric=runs["val_loss"] * 2, train_seconds=runs["seed"] + 1.0)
    table = configurations(runs, FACTORS)
    first = table.iloc[0]
    selected_runs = runs[(runs[FACTORS] == first[FACTORS]).all(axis=1)]
    assert len(table) == 12
    assert (first["regularizer"], first["norm"]) == ("dropout", "none")
    assert first["mean"] == pytest.approx(stats.gmean(selected_runs["val_loss"]))
    assert first["metric"] == pytest.approx(selected_runs["metric"].mean())
    assert first["seconds"] == 3.5
    assert first[["runs", "ok", "diverged", "failed", "skipped"]].tolist() == [6, 6, 0, 0, 0]
    assert table["mean"].is_monotonic_increasing


def test_a_configuration_that_is_good_where_it_survived_does_not_lead() -> None:
    runs = planted({("regularizer", "dropout"): -0.5}).assign(train_seconds=1.0)
    lost = (runs["regularizer"] == "dropout") & (runs["seed"] == 0)
    runs["status"] = np.where(lost, "diverged", "ok")
    table = configurations(runs, FACTORS)
    assert (table["regularizer"].iloc[:8] != "dropout").all()
    assert not table["complete"].iloc[8:].any()
    assert not table.loc[~table["complete"], "pareto"].any()


def test_configurations_of_a_study_without_axes() -> None:
    runs = grid({}, 4).assign(train_seconds=1.0)
    assert configurations(runs, [])["runs"].tolist() == [4]


def test_the_pareto_front_is_what_nothing_beats() -> None:
    random = np.random.default_rng(0)
    loss, cost = random.integers(0, 8, (2, 40)).astype(float)
    loss[0], cost[1] = np.nan, np.nan
    front = pareto_front(loss, cost)
    points = set(zip(loss[2:], cost[2:], strict=True))
    best = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert set(zip(loss[front], cost[front], strict=True)) == best
    assert not front[:2].any()


def test_printed_losses_are_set_against_percentiles_of_our_runs() -> None:
    runs, curves = with_curves(planted({}, seeds=200))
    selected_runs = runs[(runs["norm"] == "layer") & (runs["init"] == "default")]
    low, median, high = np.percentile(selected_runs["val_loss"], [0.5, 50, 99.5])
    table = published_band(
        runs, curves, {"norm": "layer", "init": "default"}, [median, 4 * high, high, 1.0]
    )
    assert table["inside"].tolist() == [False, False, True, False]
    row = table.iloc[2]
    assert row[["low", "median", "high"]].tolist() == pytest.approx([low, median, high])
    assert table["runs"].tolist() == [600, 600, 600, 0]


def test_a_printed_curve_of_runs_we_do_not_have_lies_outside() -> None:
    runs, curves = with_curves(planted({}))
    assert not published_band(runs, curves, {"norm": "rms"}, [0.1])["inside"].any()
    with pytest.raises(KeyError):
        published_band(runs, curves, {"width": 64}, [0.1])


def test_divergence_rates_are_clopper_pearson() -> None:
    runs = planted({})
    runs["status"] = np.where((runs["norm"] == "layer") & (runs["seed"] == 0), "diverged", "ok")
    table = divergence_rates(runs, list(CONTROLS)).set_index(["axis", "level"])
    row = table.loc[("norm", "layer")]
    exact = stats.binomtest(6, 36).proportion_ci(method="exact")
    assert (row["diverged"], row["runs"], row["seeds"]) == (6, 36, 1)
    assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))
    assert table.loc[("norm", "none"), ["rate", "low"]].tolist() == [0, 0]


def test_endings_are_grouped_by_reasons_that_differ_in_numbers_only() -> None:
    runs = planted({})
    layer = runs["norm"] == "layer"
    runs.loc[layer, "status"] = "diverged"
    runs.loc[layer, "reason"] = [f"not finite at epoch {i}" for i in range(layer.sum())]
    runs.loc[0, ["status", "reason"]] = ["failed", None]
    table = endings(runs, list(CONTROLS))
    assert table["runs"].tolist() == [36, 1]
    assert table.loc[0, ["status", "reasons", "shared"]].tolist() == [
        "diverged",
        36,
        "norm = layer",
    ]
    assert table.loc[1, "reason"] == "no reason was recorded"
    assert endings(runs.iloc[1:6]).empty
