"""Effects over data sets: known answers, and what is said of too few of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from ablations.analysis import Design
from ablations.analysis.datasets import (
    describe_counts,
    effects_by_dataset,
    effects_over_datasets,
)
from ablations.analysis.main_effects import main_effects
from ablations.analysis.scores import (
    aggregate_scores,
    dataset_scores,
    improvement_probability,
    mean_ranks,
    performance_profiles,
    permutation_p,
    ranks_by_axis,
)
from ablations.analysis.verdicts import EQUAL, HELPS, HURTS, UNDECIDED

from .known import demsar

Floats = npt.NDArray[np.float64]


def make_runs(
    effects: Mapping[str, Floats], *, seeds: int = 8, noise: float = 0.02, rng: int = 0
) -> dict[str, Design]:
    """Designs of data sets on which each level changes the logarithm of the loss by its entry."""
    random = np.random.default_rng(rng)
    n = len(next(iter(effects.values())))
    designs = {}
    for i in range(n):
        size = random.uniform(-3, 3)
        rows = [
            {"norm": level, "seed": seed, "val_loss": math.exp(size + change + e)}
            for level, change in [("none", 0.0), *((k, v[i]) for k, v in effects.items())]
            for seed, e in enumerate(random.normal(0, noise, seeds))
        ]
        designs[f"d{i}"] = Design(
            pd.DataFrame(rows), factors=["norm"], controls={"norm": "none"}, block="seed"
        )
    return designs


def over(effects: Mapping[str, Floats], **options: object) -> pd.DataFrame:
    table = effects_over_datasets(effects_by_dataset(make_runs(effects, **options)))  # type: ignore[arg-type]
    return table.set_index("level")


def test_mean_ranks_of_a_published_table() -> None:
    table = demsar().pivot_table(index="data", columns="learner", values="auc", sort=False)
    ranks = mean_ranks(table, higher_is_better=True).set_index("level")
    assert list(ranks["mean_rank"].round(3)) == [3.143, 2.000, 2.929, 1.929]
    assert ranks["critical_difference"].iloc[0] == pytest.approx(1.2536, abs=1e-4)
    assert list(ranks["apart"]) == [False, False, False, False]
    at_ten = mean_ranks(table, higher_is_better=True, alpha=0.1)
    assert at_ten["critical_difference"].iloc[0] == pytest.approx(1.1180, abs=1e-4)
    assert list(at_ten["apart"]) == [False, True, False, True]
    # Demsar's statistic ignores ties; Iman and Davenport's F of it has p 0.015.
    assert ranks["friedman"].iloc[0] > 9.857
    assert 0.005 < ranks["p"].iloc[0] < 0.02


def test_the_p_of_ranks_is_exact_for_few_data_sets() -> None:
    agreeing = np.tile([1.0, 2.0, 3.0], (3, 1))
    assert permutation_p(agreeing) == pytest.approx(6 / 6**3)
    assert permutation_p(np.tile([1.0, 2.0], (3, 1))) == pytest.approx(0.25)
    assert permutation_p(np.tile([1.5, 1.5], (4, 1))) == 1
    assert math.isnan(permutation_p(agreeing[:1]))


def test_aggregates_of_published_examples() -> None:
    # Tests of rliable (Agarwal et al., 2021): runs x tasks, higher is better.
    first, second = [[1, 2], [2, 2], [1, 1], [2, 1]], [[1, 1], [2, 2], [3, 3]]
    columns = ([np.array(x, float)[:, i] for i in range(2)] for x in (first, second))
    assert improvement_probability(*columns) == pytest.approx(1 / 3)
    for runs, expected in ((first, 1.5), (second, 2.0)):
        values = np.array(runs, dtype=float)
        points = pd.DataFrame(
            [
                ("d" + str(d), "norm", "layer", "none", s, values[s, d], 0.0)
                for d in range(2)
                for s in range(len(values))
            ],
            columns=["task", "axis", "level", "control", "seed", "score", "control_score"],
        )
        assert aggregate_scores(points)["iqm"].iloc[0] == pytest.approx(expected)


def test_data_sets_of_one_generator_have_the_effect_of_the_pooled_runs() -> None:
    # Without noise between data sets the mean over them is the effect of all runs together.
    designs = make_runs({"layer": np.full(8, -0.1)}, seeds=6, noise=0.05)
    pooled = [
        design.runs.assign(
            seed=design.runs["seed"] + 100 * i,
            val_loss=design.runs["val_loss"] / design.runs["val_loss"].iloc[0],
        )
        for i, design in enumerate(designs.values())
    ]
    together = main_effects(
        Design(pd.concat(pooled), factors=["norm"], controls={"norm": "none"}, block="seed")
    )
    table = effects_over_datasets(effects_by_dataset(designs))
    assert table["effect"].iloc[0] == pytest.approx(together["effect"].iloc[0], abs=1e-12)
    assert table["low"].iloc[0] < -0.1 < table["high"].iloc[0]
    assert table["here_low"].iloc[0] < -0.1 < table["here_high"].iloc[0]
    assert table["verdict"].iloc[0] == HELPS


def test_a_verdict_about_others_counts_data_sets_and_not_seeds() -> None:
    mixed = np.array([-0.5, 0.5, -0.4, 0.4, -0.3, 0.35, -0.2, 0.2, -0.1])
    table = over({"layer": mixed, "batch": np.full(9, -0.2)}, seeds=10)
    assert table.loc["layer", "verdict"] == UNDECIDED
    assert table.loc["layer", "helps"] >= 3  # of some the seeds are skewed by chance
    assert table.loc["layer", "hurts"] == 4
    assert table.loc["layer", "here_high"] - table.loc["layer", "here_low"] < 0.05
    assert table.loc["layer", "high"] - table.loc["layer", "low"] > 0.4
    assert table.loc["batch", "verdict"] == HELPS


@pytest.mark.parametrize("datasets", [2, 5])
def test_fewer_than_six_data_sets_decide_nothing_about_others(datasets: int) -> None:
    table = over({"layer": np.full(datasets, -0.3), "batch": np.full(datasets, 0.0)}, noise=1e-3)
    assert set(table["verdict"]) == {UNDECIDED}
    assert not table["reachable"].any()
    assert table.loc["layer", "helps"] == datasets
    assert table.loc["layer", "left_out"].startswith("no verdict: fewer than 6 data sets")
    assert table["p_equivalent_adjusted"].isna().all()


def test_six_data_sets_show_equality() -> None:
    table = over({"batch": np.full(6, 0.0)}, noise=1e-3)
    assert table.loc["batch", "verdict"] == EQUAL
    assert table.loc["batch", "equal"] == 6


def test_one_data_set_is_analysed() -> None:
    table = over({"layer": np.array([-0.3])})
    assert table.loc["layer", "n"] == 1
    assert math.isnan(table.loc["layer", "low"])
    assert table.loc["layer", "sentence"] == "helps on 1 of 1 data set"


def test_the_family_is_every_level_on_every_data_set() -> None:
    designs = make_runs({f"l{i}": np.zeros(6) for i in range(4)}, seeds=6, noise=0.1, rng=3)
    effects = effects_by_dataset(designs)
    alone = pd.concat([main_effects(design) for design in designs.values()], ignore_index=True)
    assert (effects["p_adjusted"] >= alone["p_adjusted"] - 1e-12).all()
    assert effects["p_adjusted"].min() >= 2 / 2**6
    assert not effects["verdict"].isin([HELPS, HURTS]).any()


def test_each_data_set_is_judged_at_its_own_level() -> None:
    """One of which more looks were taken has a stricter level, wherever it stands."""
    random, designs = np.random.default_rng(0), {}
    for name, mean, alpha in (("a", 0.0, 0.05), ("b", 1.6, 0.01)):
        d = random.normal([mean, 0, 0], 1, (8, 3))
        runs = pd.DataFrame(np.column_stack([np.zeros(8), d]), columns=["none", "p", "q", "r"])
        runs = runs.rename_axis("seed").reset_index().melt("seed", var_name="norm", value_name="y")
        roles = {"outcome": "y", "scale": "difference", "alpha": alpha}
        designs[name] = Design(runs, ["norm"], {"norm": "none"}, **roles)  # type: ignore[arg-type]
    assert main_effects(designs["b"])["verdict"].iloc[0] == HURTS
    table = effects_by_dataset(designs).set_index(["task", "level"])
    assert 0.01 < table.loc[("b", "p"), "p_adjusted"] <= 0.05
    assert table.loc[("b", "p"), "verdict"] == UNDECIDED


def test_metrics_are_compared_relative_to_their_size() -> None:
    rows = [
        {"norm": level, "seed": seed, "score": value + 1e-3 * seed}
        for level, value in (("none", 0.5), ("layer", 0.55))
        for seed in range(8)
    ]
    runs = pd.DataFrame(rows)
    design = Design(
        runs, ["norm"], {"norm": "none"}, "score", scale="difference", higher_is_better=True
    )
    larger = Design(
        runs.assign(score=1000 * runs["score"]), ["norm"], {"norm": "none"}, "score",
        scale="difference", higher_is_better=True,
    )  # fmt: skip
    effects = effects_by_dataset({"a": design, "b": larger})
    assert effects["relative"].tolist() == pytest.approx([0.0993, 0.0993], abs=1e-3)
    over_both = effects_over_datasets(effects, higher_is_better=True)
    assert over_both["change"].iloc[0] == pytest.approx(0.0993, abs=1e-3)
    points = dataset_scores({"a": design, "b": larger})
    assert aggregate_scores(points)["improvement"].iloc[0] == 1


def test_diverged_runs_are_the_worst_scores_and_never_help() -> None:
    designs = make_runs({"layer": np.full(7, -0.3)}, seeds=6)
    for name, design in designs.items():
        status = np.where((design.runs["norm"] == "layer") & (design.runs["seed"] < 3), "d", "ok")
        runs = design.runs.assign(status=np.where(status == "d", "diverged", "ok"))
        runs.loc[runs["status"] == "diverged", "val_loss"] = np.nan
        designs[name] = Design(runs, factors=["norm"], controls={"norm": "none"}, block="seed")
    table = effects_over_datasets(effects_by_dataset(designs))
    assert table["diverged"].iloc[0] == 21
    assert table["verdict"].iloc[0] == HURTS
    points = dataset_scores(designs)
    assert np.isinf(points["score"]).sum() == 21
    assert aggregate_scores(points)["improvement"].iloc[0] == pytest.approx(0.5)
    profile = performance_profiles(points).set_index(["level", "threshold"])["share"]
    assert profile["layer"].max() == pytest.approx(0.5)


def test_order_and_labels_of_data_sets_change_nothing() -> None:
    designs = make_runs({"layer": np.linspace(-0.2, 0.1, 7), "batch": np.zeros(7)})
    table = effects_over_datasets(effects_by_dataset(designs))
    turned = dict(reversed([(f"x{name}", design) for name, design in designs.items()]))
    again = effects_over_datasets(effects_by_dataset(turned))
    pd.testing.assert_frame_equal(table, again, rtol=1e-9)


def test_ranks_of_levels_hold_the_control() -> None:
    designs = make_runs({"layer": np.full(6, -0.3), "batch": np.full(6, 0.3)})
    ranks = ranks_by_axis(effects_by_dataset(designs)).set_index("level")
    assert ranks["mean_rank"].to_dict() == {"none": 2.0, "layer": 1.0, "batch": 3.0}


def test_counts_are_one_sentence() -> None:
    row = {"datasets": 9, "helps": 7, "hurts": 1, "equal": 0, "undecided": 1}
    assert describe_counts(row) == "helps on 7 of 9 data sets, hurts on 1, undecided on 1"
