"""Each configuration at its own best level, chosen where it is not judged."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis import EQUAL, Design, main_effects, selection
from ablations.analysis.ablation import describe_tuning, tune_design
from ablations.analysis.selection import describe_choices, tune

LR = (0.1, 0.01, 0.001)


def rates(best: dict[str, float], seeds: int = 8, noise: float = 0.0) -> pd.DataFrame:
    """Losses that are lowest at each norm's own learning rate; the bottom is the same."""
    table = pd.DataFrame(
        list(product(best, LR, range(seeds))), columns=["norm", "lr", "seed"]
    ).assign(status="ok")
    away = np.abs(np.log10(table["lr"]) - np.log10(table["norm"].map(best)))
    luck = np.random.default_rng(0).normal(0, noise, len(table)) if noise else 0.0
    return table.assign(val_loss=np.exp(0.5 * away + luck + 0.1 * table["seed"]))


def test_a_technique_that_only_likes_another_rate_is_no_better() -> None:
    runs = rates({"none": 0.1, "layer": 0.01})
    at_one_rate = runs[runs["lr"] == 0.01]
    unfair = main_effects(at_one_rate, {"norm": "none"}, ["norm"]).iloc[0]
    assert unfair["effect"] == pytest.approx(-0.5)
    tuned_runs = tune(runs, ["lr"], ["norm", "lr"])
    assert len(tuned_runs) == 2 * 8
    assert tuned_runs.groupby("norm")["lr"].unique().map(list).to_dict() == {
        "none": [0.1],
        "layer": [0.01],
    }
    fair = main_effects(tuned_runs, {"norm": "none"}, ["norm"]).iloc[0]
    assert fair["effect"] == pytest.approx(0)
    assert fair["seeds"] == 8


def test_no_seed_chooses_the_level_that_it_is_judged_at() -> None:
    """Choosing on the seeds themselves would find the luckiest of twelve equal rates."""
    random, means = np.random.default_rng(1), []
    cells = pd.DataFrame(
        list(product(["none"], range(12), range(6))), columns=["norm", "lr", "seed"]
    )
    for _ in range(200):
        runs = cells.assign(val_loss=np.exp(random.normal(0, 1, len(cells))))
        means.append(np.log(tune(runs, ["lr"], ["norm", "lr"])["val_loss"]).mean())
    assert abs(np.mean(means)) < 0.1


def test_each_seed_may_choose_for_itself() -> None:
    runs = rates({"none": 0.1, "layer": 0.01})
    lucky = runs["lr"].map({rate: i for i, rate in enumerate(LR)}) == runs["seed"] % 3
    runs = runs.assign(val_loss=runs["val_loss"].where(~lucky, runs["val_loss"] / 9))
    hit = lucky & (runs["norm"] == "layer") & (runs["seed"] == 0)
    runs = runs.assign(status=np.where(hit, "diverged", "ok"))
    rows = tune(runs, ["lr"], ["norm", "lr"], by_seed=True)
    levels = rows.pivot_table("lr", "seed", "norm")
    expected = [LR[seed % 3] for seed in range(8)]
    assert levels["none"].tolist() == expected
    assert levels["layer"].tolist() == [0.01, *expected[1:]]  # the one that diverged is not chosen


@pytest.mark.parametrize(
    ("outcome", "shares_rows", "by_seed"),
    [("test_loss", True, True), ("test_loss", False, False), ("val_loss", True, False)],
)
def test_seeds_that_share_rows_choose_for_themselves_where_test_rows_judge(
    outcome: str, shares_rows: bool, by_seed: bool
) -> None:
    runs = rates({"none": 0.1, "layer": 0.01}, noise=0.4)
    runs = runs.assign(test_loss=runs["val_loss"].to_numpy()[::-1])
    controls = {"norm": "none", "lr": "0.1"}
    design = Design(runs, ["norm", "lr"], controls, outcome=outcome, axes=("norm", "lr"))
    design = tune_design(design, ("lr",), shares_rows=shares_rows)
    assert design.tuned_by_seed == by_seed
    expected = tune(runs, ["lr"], ["norm", "lr"], by_seed=by_seed)  # by validation loss
    assert list(design.runs.index) == list(expected.index)
    row = describe_tuning(main_effects(design), design).iloc[0]
    assert ("which each seed chose" in row["procedure"]) == by_seed
    assert ("chosen on the other half of the seeds" in row["procedure"]) != by_seed


def noise_table_runs(rng: np.random.Generator, rows: int = 60, seeds: int = 6) -> pd.DataFrame:
    """Least squares on a table of noise that each seed splits anew; levels use other features."""
    x, y = rng.normal(size=(rows, 8)), rng.normal(size=rows)
    features = [rng.choice(8, 3, replace=False) for _ in range(6)]
    records = []
    for seed in range(seeds):
        train, val, test = np.split(rng.permutation(rows), (rows * 6 // 10, rows * 8 // 10))
        for level, columns in enumerate(features):
            weights, *_ = np.linalg.lstsq(x[train][:, columns], y[train], rcond=None)
            losses = [((y[i] - x[i][:, columns] @ weights) ** 2).mean() for i in (val, test)]
            records.append((level, seed, *losses, 1 + weights @ weights))
    table = pd.DataFrame(records, columns=["lr", "seed", "val_loss", "test_loss", "true_loss"])
    return table.assign(status="ok", norm="none")


@pytest.mark.slow
def test_rows_that_judge_a_seed_do_not_choose_for_it_in_other_seeds() -> None:
    rng, biases = np.random.default_rng(0), []
    for _ in range(60):
        runs = noise_table_runs(rng)
        base = np.log(runs["test_loss"].mean() / runs["true_loss"].mean())
        design = Design(
            runs, ["norm", "lr"], {"norm": "none"}, axes=("norm", "lr"), outcome="test_loss"
        )
        for shares_rows in (False, True):
            design_at_best = tune_design(design, ("lr",), shares_rows=shares_rows)
            assert design_at_best.tuned_by_seed == shares_rows
            means = design_at_best.runs[["test_loss", "true_loss"]].mean()
            biases.append(np.log(means["test_loss"] / means["true_loss"]) - base)
    by_halves, by_seed = np.reshape(biases, (-1, 2)).mean(axis=0)
    assert by_halves < -0.025
    assert abs(by_seed) < 0.012


def test_a_rate_that_diverged_is_not_chosen_and_one_that_is_reported_may_have() -> None:
    runs = rates({"none": 0.1, "layer": 0.01})
    hit = (runs["norm"] == "none") & (runs["lr"] == 0.1) & (runs["seed"] == 0)
    runs = runs.assign(status=np.where(hit, "diverged", "ok"))
    tuned_runs = tune(runs, ["lr"], ["norm", "lr"])
    none = tuned_runs[tuned_runs["norm"] == "none"].set_index("seed")["lr"]
    # Half of the seeds, those whose choosers saw it diverge, are judged at another rate.
    assert (none == 0.1).sum() == (none == 0.01).sum() == 4
    assert tuned_runs["status"].eq("diverged").sum() == 1
    assert none[0] == 0.1


def test_one_failed_run_does_not_make_a_technique_worse() -> None:
    """The rate that it is missing at must not be given up for half of the seeds."""
    random = np.random.default_rng(0)
    runs = rates({"none": 0.1, "layer": 0.1}, seeds=20)
    runs = runs.assign(val_loss=runs["val_loss"] * np.exp(random.normal(0, 0.02, len(runs))))
    hit = (runs["norm"] == "layer") & (runs["lr"] == 0.1) & (runs["seed"] == 4)
    failed = runs.assign(status=np.where(hit, "failed", "ok"))
    tuned_runs = tune(failed, ["lr"], ["norm", "lr"])
    assert set(tuned_runs["lr"]) == {0.1}
    row = main_effects(tuned_runs, {"norm": "none"}, ["norm"]).iloc[0]
    assert row["seeds"] == 19
    assert row["verdict"] == EQUAL
    assert "1 run of the control without a partner" in row["left_out"]


def test_what_was_chosen_is_told() -> None:
    runs = rates({"none": 0.1, "layer": 0.01})
    design = tune_design(Design(runs, ["norm", "lr"], axes=("norm", "lr")), ("lr",))
    assert describe_choices(design) == ("lr 0.01 in 50%, 0.1 in 50%", "")


def test_halves_have_nothing_to_do_with_labels_order_or_unit() -> None:
    runs = rates({"none": 0.1, "layer": 0.01}, seeds=9, noise=0.4)
    random = np.random.default_rng(1)
    labels = np.array([f"s{n}" for n in random.permutation(9)])
    other = runs.sample(frac=1, random_state=2).assign(
        seed=lambda t: labels[t["seed"]], val_loss=lambda t: t["val_loss"] * 37
    )
    original, changed = (tune(table, ["lr"], ["norm", "lr"]) for table in (runs, other))
    assert sorted(original.index) == sorted(changed.index)


def test_order_does_not_matter_and_wrong_requests_are_named() -> None:
    runs = rates({"none": 0.1, "layer": 0.01}, noise=0.3)
    shuffled = runs.sample(frac=1, random_state=1)
    original, other = tune(runs, ["lr"], ["norm", "lr"]), tune(shuffled, ["lr"], ["norm", "lr"])
    assert set(original.index) == set(other.index)
    with pytest.raises(ValueError, match="'lr' is to be tuned over"):
        tune(runs, ["lr"], ["norm"])
    with pytest.raises(ValueError, match="at least two seeds"):
        tune(runs[runs["seed"] == 0], ["lr"], ["norm", "lr"])


@pytest.mark.parametrize(("n", "tolerance"), [(200, 1e-9), (1_000, 0.15), (1_037, 0.15)])
def test_of_many_seeds_groups_are_left_out(n: int, tolerance: float) -> None:
    merit = np.random.default_rng(1).normal(size=(n, 2)) - np.array([0, 5])
    error = (merit[:, 1] - merit[:, 0]).std(ddof=1) / np.sqrt(n)
    half_width = stats.t.ppf(0.975, min(n, 200) - 1) * error
    assert selection._jackknife(merit, 0, 0.95) == pytest.approx(half_width, rel=tolerance)
