"""The judged epoch: which rows choose it and which judge it, and what is recorded of it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from ablations import Study, run
from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import temporary
from ablations.models.base import initialise_network
from ablations.study.configuration import Run
from ablations.study.defaults import default_batch_size
from ablations.study.expand import expand
from ablations.tasks.base import Classification, Data, Regression, Task, task
from ablations.training import loop
from ablations.training.evaluation import judging_rows
from ablations.training.fused import trainer
from ablations.training.result import RunResult


def make_runs(**study: Any) -> list[Run]:
    return list(expand(Study(**({"seeds": 2, "epochs": 12, "lr": 0.03} | study))).runs)


def write_table(folder: Path) -> Path:
    """60 rows with a class, an amount, a time and a group, each row unlike the others."""
    rows = np.arange(60)
    noise = np.random.default_rng(0).normal(size=(60, 2))
    pd.DataFrame(
        {
            "x": noise[:, 0],
            "y": noise[:, 0] + noise[:, 1],
            "class": [f"c{i % 2}" for i in rows],
            "day": rows,
            "owner": [f"owner {i // 3}" for i in rows],
        }
    ).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


TABLES: tuple[dict[str, Any], ...] = (
    {"target": "y", "features": ["x"]},
    {"target": "class", "features": ["x", "y"]},
    {"target": "y", "features": ["x"], "split": "time", "by": "day"},
    {"target": "y", "features": ["x"], "group": "owner"},
)
SHIPPED = ("diabetes", "digits", "breast_cancer", "friedman1", "notebook", "mnist1d")


class Leak(Regression):
    """A task whose test rows are its validation rows: a mistake that the check must find."""

    name = "leak"
    inputs, outputs, rows = 2, 1, 20

    def data(self, streams: Streams) -> Data:
        x = streams.uniform((30, 2), "data/x").to(torch.float32)
        y = x.sum(1, keepdim=True)
        return Data(x[:20], y[:20], x[20:], y[20:], x[20:], y[20:])


def common_rows(data: Data) -> int:
    """How many rows both choose the epoch and judge it, or are trained on and in another split."""
    assert data.x_test is not None
    splits = [set(map(tuple, x.tolist())) for x in (data.x_train, data.x_val, data.x_test)]
    first, second, third = splits
    return len(first & second) + len(first & third) + len(second & third)


def tasks_with_test_rows(folder: Path) -> list[Task]:
    path = str(write_table(folder))
    specs: list[Any] = [{"name": "csv", "path": path} | options for options in TABLES]
    return [Study(task=spec, judge="best").task for spec in (*specs, *SHIPPED)]


def test_no_row_both_chooses_and_judges(tmp_path: Path) -> None:
    for each in tasks_with_test_rows(tmp_path):
        for seed in range(3):
            data = each.splits(Streams(seed))
            assert data.x_test is not None
            assert judging_rows(data)[0] is data.x_test
            # Pictures of digits may be alike; all other rows differ.
            assert common_rows(data) <= (2 if each.name == "digits" else 0), each
            assert len(data.x_train) == each.rows


def test_a_planted_leak_is_found() -> None:
    with temporary():
        assert common_rows(task(Leak)().splits(Streams(0))) == 10


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_the_judged_network_is_that_of_the_best_epoch(name: str) -> None:
    """Against a training by hand that keeps a copy of the network after every epoch."""
    (first, _) = make_runs(task=name, judge="best", dtype="float64", lr=0.1)
    result = loop.train(first)
    c, streams = first.configuration, first.streams
    with streams.isolated(torch.device("cpu")):
        data, network = loop.load_data(c, streams), initialise_network(c, streams)
        copies, losses = [], []
        for _ in loop.train_epochs(c, network, data, streams):
            copies.append(copy.deepcopy(network))
            with torch.no_grad():
                losses.append(float(c.task.mean_loss(network(data.x_val), data.y_val)))
    best = int(np.argmin(losses))
    assert best < len(losses) - 1  # else the last epoch is the best, and nothing is shown
    row = result.row("study", "machine")
    assert (row["best_epoch"], row["best_val_loss"]) == (best + 1, losses[best])
    x, y = judging_rows(data)
    with torch.no_grad():
        outputs = copies[best](x)
    assert row["test_loss"] == pytest.approx(float(c.task.mean_loss(outputs, y)), rel=1e-12)
    if isinstance(c.task, Classification):
        expected = metrics.balanced_accuracy_score(y, outputs.argmax(1))
        assert row["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    else:
        assert row["r2"] == pytest.approx(metrics.r2_score(y, outputs), abs=1e-12)


def assert_same(first: RunResult, second: RunResult) -> None:
    rows = [result.row("study", "machine") for result in (first, second)]
    for name, value in rows[0].items():
        if isinstance(value, float) and name != "train_seconds":
            assert rows[1][name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert rows[0]["best_epoch"] == rows[1]["best_epoch"]
    assert set(rows[0]) == set(rows[1])


@pytest.mark.parametrize("judge", ["last", "best"])
@pytest.mark.parametrize(
    "settings",
    [
        {"task": "diabetes", "test": 0.2, "metric": ["mae", "max_error"]},
        {"task": "breast_cancer", "test": 0.3, "metric": "matthews_corrcoef"},
        {"task": {"name": "diabetes", "loss": "huber", "test": 0.1}},
        {"task": "friedman1", "test": 0.4, "batch_size": "full", "epochs": 40},
    ],
    ids=["diabetes", "breast_cancer", "huber", "friedman1"],
)
def test_both_engines_judge_alike(judge: str, settings: dict[str, Any]) -> None:
    axes = {"norm": ["batch"], "regularizer": ["none", "dropout"]}
    runs = make_runs(
        judge=judge, dtype="float64", lr=0.05, axes=axes, **({"batch_size": 64} | settings)
    )
    results = [*trainer.train(runs[:2], 8), *trainer.train(runs[2:], 8)]
    for result in results:
        assert result.status == "ok"
        assert_same(loop.train(result.run), result)


def test_the_judge_and_test_rows_change_identities_and_defaults_do_not() -> None:
    plain, other = (make_runs(task="diabetes", judge=judge)[0] for judge in ("last", "best"))
    assert plain.run_id != other.run_id
    recorded = make_runs(task="diabetes", judge="last", metric=["mae"], outcome="mae")[0]
    assert recorded.run_id == plain.run_id
    assert make_runs(task={"name": "diabetes", "test": 0.0}, judge="last")[0].run_id == plain.run_id


def test_a_table_of_one_s_own_is_judged_by_its_best_epoch_on_test_rows(tmp_path: Path) -> None:
    path = str(write_table(tmp_path))
    table = {"name": "csv", "path": path, "target": "y", "features": ["x"]}
    study = Study(task=table)
    assert (study.judge, study.task.rows, study.task.parameters()["test"]) == ("best", 36, 0.2)
    assert (study.batch_size, study.epochs) == (32, 100)
    last = Study(task=table, judge="last")
    assert (last.judge, last.task.rows, last.task.has_test_rows) == ("last", 48, False)
    shares = Study(task=table, validation=0.25, test=0.5)
    assert (shares.task.rows, shares.task.has_test_rows) == (15, True)
    stored = Study.from_toml(_stored(study, tmp_path))
    assert stored == study


def _stored(study: Study, folder: Path) -> Path:
    (folder / "study.toml").write_text(study.to_toml())
    return folder / "study.toml"


@pytest.mark.parametrize(("rows", "size"), [(20, "full"), (320, 32), (321, 31), (993, 30)])
def test_no_default_batch_leaves_a_row_alone(rows: int, size: int | str) -> None:
    class Rows(Regression):
        """As many rows as the test needs."""

        name = "rows"
        inputs, outputs = 1, 1

    Rows.rows = rows  # type: ignore[method-assign, assignment]
    with temporary():
        assert default_batch_size(task(Rows)()) == size
    assert size == "full" or rows % int(size) != 1


def test_a_stored_study_without_a_judge_is_that_of_an_earlier_version(tmp_path: Path) -> None:
    table = {"name": "csv", "path": str(write_table(tmp_path)), "target": "y", "features": ["x"]}
    text = Study(task=table, judge="last").to_toml()
    (tmp_path / "study.toml").write_text(text.replace('judge = "last"\n', ""))
    assert Study.from_toml(tmp_path / "study.toml").judge == "last"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "diabetes", "judge": "first"}, "judge: input should be 'last' or 'best'"),
        ({"task": "diabetes", "test": 0.9}, "test: of 442 rows these shares leave -44"),
        ({"task": "friedman1", "validation": 0.1}, "fixed number of validation rows"),
        ({"task": "notebook", "test": 0.5}, "leave 100 to train on, 0 to validate"),
        ({"task": {"name": "diabetes", "test": 0.9}}, "test: of 442 rows these shares leave -44"),
        ({"task": {"name": "diabetes", "validation": 0.999}}, "leave 0 to train on"),
        ({"task": "diabetes", "test": "a fifth"}, "test: input should be a valid number"),
        ({"task": "diabetes", "metric": "accuracy"}, "'accuracy' is a metric of classification"),
        ({"task": "digits", "metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"task": "diabetes", "outcome": "f1_macro"}, "there is no outcome 'f1_macro'"),
        ({"task": "diabetes", "outcome": "test_loss"}, "test rows"),
    ],
)
def test_wrong_splits_judges_and_metrics_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError) as error:
        Study(**settings)
    assert message in str(error.value)


def test_a_run_that_diverges_is_not_judged() -> None:
    (first, *_) = make_runs(task="diabetes", judge="best", optimizer="sgd", lr=1e6)
    for result in (loop.train(first), *trainer.train([first], 8)):
        row = result.row("study", "machine")
        assert row["status"] == "diverged"
        assert row["metric"] is None
        assert row["test_loss"] is None


def test_the_constant_of_the_notebook_scores_a_twelfth() -> None:
    runs = make_runs(task="notebook", seeds=20, epochs=1)
    rows = [result.row("study", "machine") for result in trainer.train(runs, 32)]
    assert np.mean([row["baseline"] for row in rows]) == pytest.approx(1 / 12, rel=0.05)
    data = runs[0].configuration.task.splits(runs[0].streams)
    expected = float((data.y_val - data.y_train.mean()).square().mean())
    first = next(row for row in rows if row["seed"] == 0)
    assert math.isclose(first["baseline"], expected, rel_tol=1e-6)
    assert loop.train(runs[0]).row("study", "machine")["baseline"] == first["baseline"]


def test_a_folder_judged_otherwise_is_refused_with_advice(tmp_path: Path) -> None:
    path = str(write_table(tmp_path))
    table = {"name": "csv", "path": path, "target": "y", "features": ["x"]}
    options: dict[str, Any] = {"task": table, "seeds": 1, "epochs": 1}
    run(Study(**options, judge="last"), tmp_path / "out", jobs=1, with_report=False)
    with pytest.raises(RequestError, match='give the study judge = "last"'):
        run(Study(**options), tmp_path / "out", jobs=1, with_report=False)
