"""Data of one's own as a task, from files and from memory, through to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from ablations import RequestError, Study, load
from ablations.core.random import Streams
from ablations.execution.rerun import rerun
from ablations.execution.run import write_report
from ablations.study.configuration import Run
from ablations.tasks.base import Task
from ablations.training import loop
from ablations.training.fused import trainer

from ..studies import run, same


def houses(rows: int = 120) -> pd.DataFrame:
    dice = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": dice.normal(100, 20, rows),
            "city": dice.choice(["Lima", "Oslo", "Rome"], rows),
            "built": pd.Timestamp("2000-01-01")
            + pd.to_timedelta(dice.integers(0, 9000, rows), "D"),
            "street": dice.integers(0, 40, rows),
        }
    )
    frame["price"] = 3 * frame["size"] + 50 * (frame["city"] == "Rome") + dice.normal(0, 5, rows)
    frame.loc[:5, "size"] = np.nan
    frame["dear"] = np.where(frame["price"] > 300, "yes", "no")
    return frame


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    houses().to_csv(path, index=False)
    return path


def study(path: Path, **asked: Any) -> Study:
    task = {"name": "csv", "path": str(path), "target": "price", "drop": ["dear"], **asked}
    axes = {"norm": ["none", "layer"], "regularizer": ["none", "dropout"]}
    return Study(task=task, axes=axes, seeds=3, epochs=3, batch_size=32)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"group": "street"},
        {"split": "time", "by": "built"},
        {"target": "dear", "drop": ["price"]},
        {"features": ["size", "city"], "validation": 0.3},
    ],
)
def test_the_fused_engine_trains_what_the_loop_does(csv: Path, asked: dict[str, Any]) -> None:
    made = study(csv, **asked).with_axis("norm", ["layer"]).with_axis("regularizer", ["dropout"])
    runs = [Run(made.configurations[0], seed) for seed in range(3)]
    for result in trainer.train(runs, 8):
        judge = loop.train(result.run)
        assert result.engine == "fused"
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-4)
        assert result.metric == pytest.approx(judge.metric, rel=1e-3, abs=1e-3)


def test_a_study_of_a_file_learns_continues_and_is_told(csv: Path, tmp_path: Path) -> None:
    made = study(csv).with_epochs(30)
    results = run(made, tmp_path / "out")
    assert set(results.runs["status"]) == {"ok"}
    assert results.runs["task"].unique().tolist() == ["houses.csv: price"]
    assert results.runs["metric"].median() > 0.5
    # The folder's study is the same study, wherever the file lies, and its runs keep their names.
    again = Study.from_toml(tmp_path / "out" / "study.toml")
    assert again == made
    moved = tmp_path / "elsewhere.csv"
    csv.rename(moved)
    elsewhere = study(moved).with_epochs(30)
    same(run(elsewhere, tmp_path / "out"), results)
    # The report needs no data; training does.
    moved.unlink()
    write_report(again, load(tmp_path / "out"))
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "houses.csv: price: 96 rows to train on, 8 features; the model is mlp." in text
    assert "median of the training rows" in text
    with pytest.raises(RequestError, match=r"elsewhere\.csv: cannot be read: No such file"):
        run(Study.from_toml(tmp_path / "out" / "study.toml").replace(seeds=4), tmp_path / "out")


def test_a_run_on_a_file_can_be_rerun(csv: Path, tmp_path: Path) -> None:
    results = run(study(csv), tmp_path / "out", engine="loop")
    found = rerun(tmp_path / "out", results.runs["run_id"].iloc[0])
    assert found.deviation == 0


def test_a_rerun_on_data_that_changed_is_one_sentence(csv: Path, tmp_path: Path) -> None:
    results = run(study(csv), tmp_path / "out", engine="loop")
    csv.write_text(houses(60).to_csv(index=False))
    with pytest.raises(RequestError, match="has changed since the study took it"):
        rerun(tmp_path / "out", results.runs["run_id"].iloc[0])


def test_other_data_under_the_same_name_are_refused(csv: Path, tmp_path: Path) -> None:
    made = study(csv)
    run(made, tmp_path / "out")
    with csv.open("a") as file:
        file.write("100,Rome,2001-01-01,3,400,yes\n")
    with pytest.raises(RequestError, match=r"houses\.csv: price has changed since; choose another"):
        run(study(csv), tmp_path / "out")
    with pytest.raises(RequestError, match="has changed since the study took it"):
        run(made.replace(seeds=4), tmp_path / "out")
    csv.write_text(houses().to_csv(index=False))
    with pytest.raises(RequestError, match="holds results with task target 'price', not 'dear'"):
        run(study(csv, target="dear", drop=["price"]), tmp_path / "out")


def test_what_is_edited_in_a_study_that_was_kept_is_found_anew(csv: Path) -> None:
    kept = study(csv).plain()
    edited = kept["task"] | {"validation": 0.5}
    task = Study(**(kept | {"task": edited})).task
    data = task.data(Streams(0))
    assert len(data.x_train) == task.rows == 60
    less = Study(**(kept | {"task": kept["task"] | {"drop": ["dear", "city"]}})).task
    assert less.inputs == less.data(Streams(0)).x_val.shape[1] == study(csv).task.inputs - 3


def test_a_relative_path_starts_where_the_study_lies(csv: Path, tmp_path: Path) -> None:
    text = 'task = { name = "csv", path = "houses.csv", target = "price" }\n'
    (tmp_path / "study.toml").write_text(text)
    task = Study.from_toml(tmp_path / "study.toml").task
    assert task.parameters()["path"] == str(csv)


def test_parquet_is_csv(csv: Path) -> None:
    frame = pd.read_csv(csv, parse_dates=["built"])
    frame.to_parquet(csv.with_suffix(".parquet"))
    one = study(csv).task
    other = study(csv.with_suffix(".parquet"), name="parquet").task
    assert one.inputs == other.inputs == 1 + 3 + 3 + 1
    for seed in (0, 1):
        ours, theirs = one.data(Streams(seed)), other.data(Streams(seed))
        assert torch.allclose(ours.x_val, theirs.x_val)
        assert torch.equal(ours.y_train, theirs.y_train)


# ----------------------------------------------------------------------------------- from memory


def test_arrays_tensors_and_frames_are_one_task(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    y = x[:, 0] * 2
    of_arrays = Task.from_arrays(x, y, folder=tmp_path)
    of_tensors = Task.from_arrays(torch.tensor(x), torch.tensor(y)[:, None], folder=tmp_path)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(4)], index=range(100, 160))
    assert of_arrays == of_tensors == Task.from_arrays(frame, y, folder=tmp_path)
    assert (of_arrays.inputs, of_arrays.outputs, of_arrays.rows) == (4, 1, 48)
    results = run(Study(task=of_arrays, seeds=2, epochs=50, lr=0.01), tmp_path / "out")
    assert results.runs["metric"].min() > 0.8


def test_pictures_keep_their_shape_and_their_constant_pixels(tmp_path: Path) -> None:
    pictures = torch.rand(40, 1, 4, 5)
    pictures[:, 0, 0, 0] = 0
    dataset = TensorDataset(pictures, torch.arange(40) % 4)
    task = Task.from_dataset(dataset, folder=tmp_path)
    assert (task.shape, task.inputs, task.outputs, task.rows) == ((1, 4, 5), 20, 4, 32)
    judged = Task.from_dataset(dataset, TensorDataset(*dataset[:10]), folder=tmp_path)
    data = judged.data(Streams(0))
    assert (len(data.x_train), len(data.x_val)) == (40, 10)
    assert data.y_val.tolist() == [i % 4 for i in range(10)]
    assert Task.from_dataset(dataset, 0.5, folder=tmp_path).rows == 20


def test_groups_of_arrays_stay_together(tmp_path: Path) -> None:
    x, groups = np.random.default_rng(0).normal(size=(60, 2)), np.repeat(np.arange(30), 2)
    x[:, 1] = groups
    data = Task.from_arrays(x, x[:, 0], groups=groups, folder=tmp_path).data(Streams(0))
    train, val = (set(part[:, 1].round(decimals=4).tolist()) for part in (data.x_train, data.x_val))
    assert not train & val


X = np.random.default_rng(0).normal(size=(30, 3))


@pytest.mark.parametrize(
    ("x", "y", "asked", "message"),
    [
        (X, X[:20, 0], {}, r"y: expected one value for each of 30 rows, found shape \[20\]"),
        (X, X, {}, r"y: expected one value for each of 30 rows, found shape \[30, 3\]"),
        (X[:, 0], X[:, 0], {}, r"x: expected features of shape \(row, feature\), found .*\[30\]"),
        (X.astype(object), X[:, 0], {}, "x: is no array of numbers"),
        ([[1], [1, 2]], [1, 2], {}, "x: is no array"),
        (pd.DataFrame({"target": X[:, 0]}), X[:, 0], {}, "column of x is named 'target'"),
        (X, X[:, 0], {"groups": [1, 2]}, "groups: expected one value for each of 30 rows"),
        (X, X[:, 0], {"sort": 1}, "task 'parquet' has no parameter 'sort'"),
        (X[:0], X[:0, 0], {}, r"expected features of shape \(row, feature\)"),
        (X.astype(complex), X[:, 0], {}, "cannot be kept as a table"),
        (X, [1, 2, 3] * 10, {}, "say whether they are amounts"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    x: Any, y: Any, asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        Task.from_arrays(x, y, folder=tmp_path, **asked)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "has no items"),
        (iter([]), "has no length"),
        ({0, 1}, "set cannot be asked for an item by its number"),
        ([1, 2], "item 0 is int; a pair"),
        ([(torch.zeros(2), 0), (torch.zeros(3), 0)], r"item 1 has shape \[3\], item 0 has \[2\]"),
        ([(torch.zeros(2), torch.zeros(2))], "item 0 has a target of 2 numbers"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(items: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        Task.from_dataset(items, folder=tmp_path)


def test_data_are_kept_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Task.from_arrays(X, X[:, 0])
    assert len(list((tmp_path / "ablations" / "data").glob("*.parquet"))) == 1
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="the data cannot be kept there"):
        Task.from_arrays(X, X[:, 0], folder=tmp_path / "file" / "data")
