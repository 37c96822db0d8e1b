"""Against the constant: planted losses above and below it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from ablations.analysis import Design, against_baseline
from ablations.analysis.results import Results
from ablations.core.errors import RequestError
from ablations.report.summary import describe_trust
from ablations.results.metadata import Judging

from ..report.studies import make_metadata, make_results


def make(folder: Path, baseline: float, *, seeds: int = 8) -> Results:
    """Losses of about 0.1, of which layer norm's are 13 % higher, beside a constant."""
    results = make_results(folder, seeds=seeds)
    random = np.random.default_rng(1)
    noise = np.exp(random.normal(0, 0.02, seeds))[results.runs["seed"]]
    seed_level = results.runs.groupby("seed")["val_loss"].transform("mean") / 0.1
    runs = results.runs.assign(baseline=baseline * seed_level * noise)
    return Results(**(vars(results) | {"runs": runs, "metadata": make_metadata()}))


@pytest.mark.parametrize(("baseline", "learned"), [(0.2, [True, True]), (0.08, [False, False])])
def test_what_is_learned(tmp_path: Path, baseline: float, learned: list[bool]) -> None:
    table = make(tmp_path, baseline).baseline()
    assert list(table["configuration"]) == ["control", "best"]
    assert list(table["learned"]) == learned
    assert (table["low"] < table["effect"]).all()


def test_the_test_is_a_one_sided_t_test(tmp_path: Path) -> None:
    results = make(tmp_path, 0.11)
    row = results.baseline().iloc[0]
    runs = results.runs[(results.runs["norm"] == "none") & (results.runs["regularizer"] == "none")]
    difference = np.log(runs["val_loss"] / runs["baseline"])
    expected = stats.ttest_1samp(difference, 0, alternative="less").pvalue
    assert row["p"] == pytest.approx(expected, rel=1e-9)
    assert row["effect"] == pytest.approx(difference.mean(), rel=1e-9)
    best = results.baseline().iloc[1]
    assert best["p_adjusted"] == pytest.approx(min(1, 6 * best["p"]))


def test_among_many_configurations_of_noise_none_is_called_learned() -> None:
    """The best of many is lucky: its p counts all of them."""
    n_wrong = 0
    axes = {"regularizer": tuple(f"r{i}" for i in range(10)), "norm": ("none", "layer")}
    for trial in range(40):
        results = make_results(Path("unread"), axes, seeds=6, rng=trial)
        random = np.random.default_rng(1000 + trial)
        noise = np.exp(random.normal(0, 0.2, (2, len(results.runs))))
        runs = results.runs.assign(val_loss=0.1 * noise[0], baseline=0.1)
        fields = vars(results) | {"runs": runs, "metadata": make_metadata(axes)}
        n_wrong += int(Results(**fields).baseline()["learned"].any())
    assert n_wrong <= 6  # 5 % for the control and for the best each


def test_a_folder_of_an_earlier_version_has_no_constant(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    table = Results(**(vars(results) | {"metadata": make_metadata()})).baseline()
    assert table.empty


def test_one_seed_proves_nothing(tmp_path: Path) -> None:
    table = make(tmp_path, 0.5, seeds=1).baseline()
    assert not table["learned"].any()
    assert table["p"].isna().all()


def noise_runs(rng: np.random.Generator, rows: int, seeds: int, *, is_fixed: bool) -> pd.DataFrame:
    """Losses of least squares on one feature of a table of noise, split by each seed or once."""
    x, y = rng.normal(size=(2, rows))
    order, losses = rng.permutation(rows), []
    for _ in range(seeds):
        order = order if is_fixed else rng.permutation(rows)
        train, test = order[rows // 4 :], order[: rows // 4]
        if is_fixed:  # what differs is what a seed draws while it trains
            train = rng.choice(train, size=len(train) - 5, replace=False)
        slope, mean = np.cov(x[train], y[train])[0, 1] / x[train].var(ddof=1), y[train].mean()
        prediction = mean + 0.5 * slope * (x[test] - x[train].mean())
        losses.append([np.mean((y[test] - p) ** 2) for p in (prediction, mean)])
    frame = pd.DataFrame(losses, columns=["val_loss", "baseline"])
    return frame.assign(seed=range(seeds), status="ok", norm="none")


@pytest.mark.parametrize("is_fixed", [False, True])
def test_rows_that_seeds_share_teach_nothing_by_accident(is_fixed: bool) -> None:
    rng = np.random.default_rng(0)
    judging = Judging(25, 1 / 3, is_fixed, is_likelihood=True, classification=False)
    learned = np.zeros(2, dtype=int)
    for _ in range(100):
        runs = noise_runs(rng, 100, 10, is_fixed=is_fixed)
        design = Design(runs, factors=("norm",), controls={"norm": "none"})
        tables = [against_baseline(design, rows) for rows in (None, judging)]
        learned += [bool(table["learned"].iloc[0]) for table in tables]
    # As if seeds had rows of their own, more than 5 % of the tables would seem to teach something.
    assert learned[0] > 5
    assert learned[1] <= 5


@pytest.mark.parametrize("gain", [0.02, 0.3])
def test_interval_and_p_are_of_one_test(gain: float) -> None:
    """The interval that just excludes the constant has the confidence 1 - 2 p."""
    rng = np.random.default_rng(1)
    runs = noise_runs(rng, 60, 10, is_fixed=False)
    runs["val_loss"] = runs["baseline"] * np.exp(rng.normal(-gain, 0.05, len(runs)))
    judging = Judging(20, 1 / 2, is_fixed=False, is_likelihood=True, classification=False)
    design = Design(runs, factors=("norm",), controls={"norm": "none"})
    p = against_baseline(design, judging)["p"].iloc[0]
    table = against_baseline(replace(design, confidence=1 - 2 * p), judging)
    assert table["high"].iloc[0] == pytest.approx(0, abs=1e-9)
    plain = against_baseline(design)
    assert p > plain["p"].iloc[0]
    assert against_baseline(design, judging)["low"].iloc[0] < plain["low"].iloc[0]


def test_a_control_that_is_best_is_not_more_and_less_sure_at_once(tmp_path: Path) -> None:
    results = make(tmp_path, 0.103)
    runs = results.runs
    is_control = (runs["norm"] == "none") & (runs["regularizer"] == "none")
    runs = runs.assign(val_loss=runs["val_loss"] * np.where(is_control, 0.9, 1.0))
    table = Results(**(vars(results) | {"runs": runs})).baseline().set_index("configuration")
    control, best = table.loc["control"], table.loc["best"]
    assert (best["norm"], best["regularizer"]) == ("none", "none")
    assert best["p_adjusted"] == control["p_adjusted"]
    assert (best["candidates"], control["candidates"]) == (6, 1)
    assert best["learning"] >= best["learned"]


@pytest.mark.parametrize("status", ["diverged", "failed", ""])
def test_seeds_without_a_loss_leave_a_verdict_on_the_others(tmp_path: Path, status: str) -> None:
    """An interrupted study, one failed run or one that diverged: others have learned."""
    results = make(tmp_path, 0.5)
    runs = results.runs
    cells = runs.groupby(["norm", "regularizer"]).ngroup()
    is_lost = (cells == runs["seed"]) if status != "diverged" else (runs["seed"] == 1) & (cells < 3)
    if status:
        runs = runs.assign(status=runs["status"].mask(is_lost, status))
        runs.loc[is_lost, ["val_loss", "baseline"]] = np.nan
    else:
        runs = runs[~is_lost]
    assert is_lost.any()
    table = Results(**(vars(results) | {"runs": runs})).baseline()
    assert list(table["configuration"]) == ["control", "best"]
    assert table["learned"].all()
    n_surviving = 3 if status == "diverged" else 6
    assert (table["candidates"].iloc[-1], table["learning"].iloc[-1]) == (n_surviving,) * 2


def test_a_control_that_diverged_on_most_seeds_has_not_learned(tmp_path: Path) -> None:
    results = make(tmp_path, 0.5)
    runs = results.runs
    is_control = (runs["norm"] == "none") & (runs["regularizer"] == "none")
    is_lost = is_control & (runs["seed"] < 5)
    runs = runs.assign(status=runs["status"].mask(is_lost, "diverged"))
    runs.loc[is_lost, ["val_loss", "baseline"]] = np.nan
    table = Results(**(vars(results) | {"runs": runs})).baseline()
    assert list(table["learned"]) == [False, True]


# ---- By a metric ----


def rare_results(folder: Path, gain: float, *, judging: Judging | None = None) -> Results:
    """Losses far below the constant's, and accuracies about the constant's 0.95 plus a gain."""
    results = make(folder, 0.3)
    random = np.random.default_rng(2)
    hits = 0.95 + gain + random.normal(0, 0.002, len(results.runs))
    runs = results.runs.assign(
        accuracy=hits, metric=hits, baseline_accuracy=0.95, baseline_metric=0.95
    )
    metadata = make_metadata(metric_name="accuracy", metrics={"accuracy": True}, judging=judging)
    return Results(**(vars(results) | {"runs": runs, "metadata": metadata}))


@pytest.mark.parametrize(("gain", "learned"), [(0.0, False), (-0.1, False), (0.02, True)])
def test_the_metric_has_a_constant_of_its_own(tmp_path: Path, gain: float, learned: bool) -> None:
    results = rare_results(tmp_path, gain)
    table = results.baseline()
    assert list(table["outcome"]) == ["val_loss", "val_loss", "accuracy", "accuracy"]
    assert list(table["learned"]) == [True, True, learned, learned]
    by_metric = table[table["outcome"] == "accuracy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(by_metric, results.baseline("accuracy"))
    assert by_metric["baseline"].tolist() == pytest.approx([0.95, 0.95])
    assert by_metric["effect"].iloc[0] == pytest.approx(by_metric["value"].iloc[0] - 0.95)
    runs = results.runs[(results.runs["norm"] == "none") & (results.runs["regularizer"] == "none")]
    expected = stats.ttest_1samp(runs["accuracy"] - 0.95, 0, alternative="greater").pvalue
    assert by_metric["p"].iloc[0] == pytest.approx(expected, rel=1e-9)
    means = results.runs.groupby(["norm", "regularizer"])["accuracy"].mean()
    assert by_metric["value"].iloc[1] == pytest.approx(means.max())
    assert by_metric["learning"].iloc[0] == (6 if learned else 0)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "precision_macro"])
def test_a_guess_at_a_class_teaches_nothing(tmp_path: Path, metric: str) -> None:
    """Beside a constant that is worse, as the class that is frequent in training rows alone."""
    results = rare_results(tmp_path, -0.45)
    runs = results.runs.rename(
        columns={"accuracy": metric, "baseline_accuracy": f"baseline_{metric}"}
    )
    runs = runs.assign(**{f"baseline_{metric}": 0.4, "baseline_balanced_accuracy": 0.5})
    metadata = make_metadata(metric_name=metric, metrics={metric: True})
    table = Results(**(vars(results) | {"runs": runs, "metadata": metadata})).baseline(metric)
    assert table["baseline"].tolist() == pytest.approx([0.5, 0.5])
    assert not table["learned"].any()


def test_a_random_order_has_more_than_the_share_of_a_class_as_average_precision(
    tmp_path: Path,
) -> None:
    random, n, m = np.random.default_rng(0), 40, 4
    labels = np.arange(n) < m
    mean = np.mean([average_precision_score(labels, random.random(n)) for _ in range(500)])
    results = rare_results(tmp_path, 0.0)
    runs = results.runs.assign(
        average_precision=mean, baseline_average_precision=m / n, metric=mean
    )
    judging = Judging(n, 0.2, is_fixed=False, is_likelihood=True, classification=True)
    metadata = make_metadata(
        metric_name="average_precision", metrics={"average_precision": True}, judging=judging
    )
    fields = vars(results) | {"runs": runs, "metadata": metadata}
    table = Results(**fields).baseline("average_precision")
    assert table["baseline"].iloc[0] == pytest.approx(mean, abs=0.012) != m / n


def test_the_answer_says_by_which_measure_nothing_was_learned(tmp_path: Path) -> None:
    results = rare_results(tmp_path, 0.0)
    first, *others = describe_trust(results.ablation, results.metadata)
    assert first.startswith("By accuracy nothing was learned: neither the control nor any")
    assert "surely beats a constant guess (0.950). The best one has 0.9" in first
    assert any("by validation loss" in text for text in others)
    by_accuracy = replace(results, metadata=results.metadata_for("accuracy"))
    sentences = describe_trust(by_accuracy.ablation, by_accuracy.metadata)
    assert sentences[0].startswith("Nothing was learned here: neither the control nor any of ")
    assert sentences[1].startswith("By validation loss something was learned: 0.0")
    assert not any("helps" in text for text in sentences)
    learned = rare_results(tmp_path, 0.02)
    texts = describe_trust(learned.ablation, learned.metadata)
    assert not any("learned" in text for text in texts)


def test_rows_that_all_seeds_share_limit_what_an_accuracy_shows(tmp_path: Path) -> None:
    """Half a row of 20 is an accident, though all seeds agree; the same share of 20,000 is not."""
    learned = []
    for rows in (20, 20_000):
        judging = Judging(rows, 0.5, is_fixed=True, is_likelihood=False, classification=True)
        table = rare_results(tmp_path, 0.025, judging=judging).baseline("accuracy")
        learned.append(bool(table["learned"].any()))
        n, wrong = rows, 0.1 - table["effect"].iloc[0]
        expected = stats.norm.cdf(-table["effect"].iloc[0] * np.sqrt(n / wrong))
        if rows == 20:
            assert table["p"].iloc[0] == pytest.approx(expected)
    assert learned == [False, True]


def test_a_configuration_without_a_metric_leaves_the_others_theirs(tmp_path: Path) -> None:
    """As where judging rows are all of one class, of which nothing can be ranked."""
    results = rare_results(tmp_path, 0.02)
    is_without = (results.runs["norm"] == "layer") & (results.runs["regularizer"] == "l1")
    assert is_without.any()
    runs = results.runs.assign(accuracy=results.runs["accuracy"].mask(is_without))
    without = Results(**(vars(results) | {"runs": runs})).baseline("accuracy")
    assert without["learned"].tolist() == [True, True]
    assert without["learning"].iloc[0] == 5
    assert without["p"].iloc[0] == pytest.approx(results.baseline("accuracy")["p"].iloc[0])


def test_runs_without_a_constant_of_their_metric_are_compared_by_the_loss(tmp_path: Path) -> None:
    """As those of an earlier version."""
    results = rare_results(tmp_path, 0.0)
    runs = results.runs.drop(columns=["baseline_accuracy", "baseline_metric"])
    results = Results(**(vars(results) | {"runs": runs}))
    assert set(results.baseline()["outcome"]) == {"val_loss"}
    assert describe_trust(results.ablation, results.metadata)[0].startswith("The control")
    with pytest.raises(RequestError, match="no run of this folder recorded what a constant scores"):
        results.baseline("accuracy")


def test_thousands_of_configurations_are_tested_as_one_by_one() -> None:
    axes = {"norm": ("none", *(f"n{i}" for i in range(2_999)))}
    results = make_results(Path("unread"), axes, seeds=5)
    noise = np.random.default_rng(1).normal(0, 0.1, len(results.runs))
    runs = results.runs.assign(baseline=0.2, val_loss=results.runs["val_loss"] * np.exp(noise))
    table = against_baseline(Design(runs, factors=("norm",), controls={"norm": "none"}))
    logs = np.log(runs.pivot_table("val_loss", "seed", "norm") / 0.2)
    p = stats.ttest_1samp(logs, 0, alternative="less").pvalue
    tests = np.where(logs.columns == "none", 1, 3_000)  # nobody chose the control by looking
    assert table["learning"].iloc[0] == int((p * tests <= 0.05).sum()) > 100


def test_configurations_that_recorded_no_constant_are_left_out(tmp_path: Path) -> None:
    results = make(tmp_path, 0.11)
    runs, expected = results.runs, results.baseline().iloc[0]
    is_old = (runs["norm"] == "layer") & (runs["regularizer"] == "none")
    mixed = replace(results, runs=runs.assign(baseline=runs["baseline"].mask(is_old)))
    row = mixed.baseline().iloc[0]
    assert row["p"] == pytest.approx(expected["p"], rel=1e-9)
    assert row["candidates"] == expected["candidates"]
    assert mixed.baseline().iloc[1]["candidates"] == results.baseline().iloc[1]["candidates"] - 1
