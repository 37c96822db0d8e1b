"""Tasks from files and from arrays, from the data to the results."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import TensorDataset

from ablations import RequestError, Study, from_arrays, from_dataset, load
from ablations.core.random import Streams
from ablations.execution.metadata import study_metadata
from ablations.execution.rerun import rerun
from ablations.report.page import write_report
from ablations.study.configuration import Run
from ablations.tasks.base import Task
from ablations.tasks.data import Data
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


def make_study(path: Path, **options: Any) -> Study:
    task = {"name": "csv", "path": str(path), "target": "price", "drop": ["dear"], **options}
    axes = {"norm": ["none", "layer"], "regularizer": ["none", "dropout"]}
    return Study(task=task, axes=axes, seeds=3, epochs=3, batch_size=32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group": "street"},
        {"split": "time", "by": "built"},
        {"target": "dear", "drop": ["price"]},
        {"features": ["size", "city"], "validation": 0.3},
    ],
)
def test_the_fused_engine_trains_what_the_loop_does(csv: Path, options: dict[str, Any]) -> None:
    study = (
        make_study(csv, **options)
        .with_axis("norm", ["layer"])
        .with_axis("regularizer", ["dropout"])
    )
    runs = [Run(study.configurations[0], seed) for seed in range(3)]
    for result in trainer.train(runs, 8):
        judge = loop.train(result.run)
        assert result.engine == "fused"
        assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-4)
        assert result.metric == pytest.approx(judge.metric, rel=1e-3, abs=1e-3)


def test_a_study_of_a_file_learns_resumes_and_is_reported(csv: Path, tmp_path: Path) -> None:
    study = make_study(csv).with_epochs(30)
    results = run(study, tmp_path / "out")
    assert set(results.runs["status"]) == {"ok"}
    assert results.runs["task"].unique().tolist() == ["houses.csv: price"]
    assert results.runs["metric"].median() > 0.5
    # The stored study equals the study; moving the file changes no run id.
    again = Study.from_toml(tmp_path / "out" / "study.toml")
    assert again == study
    moved = tmp_path / "elsewhere.csv"
    csv.rename(moved)
    elsewhere = make_study(moved).with_epochs(30)
    same(run(elsewhere, tmp_path / "out"), results)
    # The report needs no data; training does.
    moved.unlink()
    write_report(load(tmp_path / "out"), study_metadata(again))
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "houses.csv: price, 72 rows to train on, 8 features; the model is mlp." in text
    assert "median of the training rows" in text
    with pytest.raises(RequestError, match=r"elsewhere\.csv: cannot be read: No such file"):
        run(Study.from_toml(tmp_path / "out" / "study.toml").replace(seeds=4), tmp_path / "out")


def test_a_run_on_a_file_can_be_rerun(csv: Path, tmp_path: Path) -> None:
    results = run(make_study(csv), tmp_path / "out", engine="loop")
    comparison = rerun(tmp_path / "out", results.runs["run_id"].iloc[0])
    assert comparison.deviation == 0


def test_a_rerun_on_changed_data_is_refused(csv: Path, tmp_path: Path) -> None:
    results = run(make_study(csv), tmp_path / "out", engine="loop")
    csv.write_text(houses(60).to_csv(index=False))
    with pytest.raises(RequestError, match="has changed since the study read it"):
        rerun(tmp_path / "out", results.runs["run_id"].iloc[0])


def test_other_data_under_the_same_name_are_refused(csv: Path, tmp_path: Path) -> None:
    study = make_study(csv)
    run(study, tmp_path / "out")
    with csv.open("a") as file:
        file.write("100,Rome,2001-01-01,3,400,yes\n")
    with pytest.raises(RequestError, match=r"houses\.csv: price has changed since; choose another"):
        run(make_study(csv), tmp_path / "out")
    with pytest.raises(RequestError, match="has changed since the study read it"):
        run(study.replace(seeds=4), tmp_path / "out")
    csv.write_text(houses().to_csv(index=False))
    with pytest.raises(RequestError, match="holds results with task target 'price', not 'dear'"):
        run(make_study(csv, target="dear", drop=["price"]), tmp_path / "out")


def test_an_edited_stored_study_reads_its_file_again(csv: Path) -> None:
    settings = make_study(csv).plain()
    edited = settings["task"] | {"validation": 0.5}
    task = Study(**(settings | {"task": edited})).task
    data = task.data(Streams(0))
    assert len(data.x_train) == task.rows == 36  # 120 less a half and a fifth
    less = Study(**(settings | {"task": settings["task"] | {"drop": ["dear", "city"]}})).task
    assert less.inputs == less.data(Streams(0)).x_val.shape[1] == make_study(csv).task.inputs - 3


def test_a_relative_path_starts_at_the_folder_of_the_study(csv: Path, tmp_path: Path) -> None:
    text = 'task = { name = "csv", path = "houses.csv", target = "price" }\n'
    (tmp_path / "study.toml").write_text(text)
    task = Study.from_toml(tmp_path / "study.toml").task
    assert task.parameters()["path"] == str(csv)


def test_a_parquet_file_gives_the_data_of_a_csv_file(csv: Path) -> None:
    frame = pd.read_csv(csv, parse_dates=["built"])
    frame.to_parquet(csv.with_suffix(".parquet"))
    from_csv = make_study(csv).task
    from_parquet = make_study(csv.with_suffix(".parquet"), name="parquet").task
    assert from_csv.inputs == from_parquet.inputs == 1 + 3 + 3 + 1
    for seed in (0, 1):
        data, other = from_csv.data(Streams(seed)), from_parquet.data(Streams(seed))
        assert torch.allclose(data.x_val, other.x_val)
        assert torch.equal(data.y_train, other.y_train)


# ----------------------------------------------------------------------------------- from memory


def test_arrays_tensors_and_frames_give_the_same_task(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    y = x[:, 0] * 2
    task = from_arrays(x, y, folder=tmp_path)
    tensor_task = from_arrays(torch.tensor(x), torch.tensor(y)[:, None], folder=tmp_path)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(4)], index=range(100, 160))
    assert task == tensor_task == from_arrays(frame, y, folder=tmp_path)
    assert (task.inputs, task.outputs, task.rows) == (4, 1, 48)
    results = run(Study(task=task, seeds=2, epochs=50, lr=0.01), tmp_path / "out")
    assert results.runs["metric"].min() > 0.8


def test_images_keep_their_shape_and_their_constant_pixels(tmp_path: Path) -> None:
    images = torch.rand(40, 1, 4, 5)
    images[:, 0, 0, 0] = 0
    dataset = TensorDataset(images, torch.arange(40) % 4)
    task = from_dataset(dataset, folder=tmp_path)
    assert (task.shape, task.inputs, task.outputs, task.rows) == ((1, 4, 5), 20, 4, 32)
    two_datasets = from_dataset(dataset, TensorDataset(*dataset[:10]), folder=tmp_path)
    data = two_datasets.data(Streams(0))
    assert (len(data.x_train), len(data.x_val)) == (40, 10)
    assert data.y_val.tolist() == [i % 4 for i in range(10)]
    assert from_dataset(dataset, 0.5, folder=tmp_path).rows == 20


def test_groups_task_stay_together(tmp_path: Path) -> None:
    x, groups = np.random.default_rng(0).normal(size=(60, 2)), np.repeat(np.arange(30), 2)
    x[:, 1] = groups
    data = from_arrays(x, x[:, 0], groups=groups, folder=tmp_path).data(Streams(0))
    train, val = (set(x[:, 1].round(decimals=4).tolist()) for x in (data.x_train, data.x_val))
    assert not train & val


X = np.random.default_rng(0).normal(size=(30, 3))


def test_arrays_of_all_sorts_are_the_same_numbers(tmp_path: Path) -> None:
    def load(x: Any, y: Any) -> Data:
        return from_arrays(x, y, folder=tmp_path).data(Streams(0))

    plain, y = load(X, X[:, 0]), X[:, 0]
    labels = pd.MultiIndex.from_product([["a"], ["u", "v", "w"]])
    for x in (X.astype(">f8"), X.astype(np.longdouble), pd.DataFrame(X, columns=labels)):
        assert load(x, y).x_train.equal(plain.x_train)
    gaps = X > 1
    masked, missing = load(np.ma.array(X, mask=gaps), y), load(np.where(gaps, np.nan, X), y)
    assert masked.x_train.equal(missing.x_train)
    masked = load(X, np.ma.array(y, mask=gaps[:, 0]))
    assert len(masked.x_train) + len(masked.x_val) == 30 - gaps[:, 0].sum()


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, X[:20, 0], {}, r"y: expected one value for each of 30 rows, found shape \[20\]"),
        (X, X[:20], {}, r"y: expected values for each of 30 rows, found shape \[20, 3\]"),
        (X, X[:, None], {}, r"y: expected one value for each of 30 rows, found .*\[30, 1, 3\]"),
        (X, np.eye(3)[[0, 1, 2] * 10], {}, "the target 'target0' of 3 seems to be of classes; say"),
        (X, X, {"kind": "multiclass"}, 'kind = "regression" alone can have; found'),
        (X, pd.DataFrame(X, columns=["a", "b", "a"]), {}, "two of its columns have the same name"),
        (X[:, 0], X[:, 0], {}, r"x: expected features of shape \(row, feature\), found .*\[30\]"),
        (X.astype(object), X[:, 0], {}, "x: not an array of numbers"),
        ([[1], [1, 2]], [1, 2], {}, "x: not an array"),
        (pd.DataFrame({"target": X[:, 0]}), X[:, 0], {}, "column of x is named 'target'"),
        (X, X[:, 0], {"groups": [1, 2]}, "groups: expected one value for each of 30 rows"),
        (X, X[:, 0], {"sort": 1}, "task 'parquet' has no parameter 'sort'"),
        (X[:0], X[:0, 0], {}, r"expected features of shape \(row, feature\)"),
        (X.astype(complex), X[:, 0], {}, "x: holds complex128; expected plain numbers"),
        (np.zeros((30, 2), [("a", float)]), X[:, 0], {}, "x: holds .*; expected plain numbers"),
        (csr_array(X), X[:, 0], {}, "x: is sparse .*toarray"),
        (pd.DataFrame(X, columns=["a", "b", "a"]), X[:, 0], {}, "two columns are named 'a'"),
        (pd.DataFrame({"a": ["x", 1] * 15}), X[:, 0], {}, "column 'a' mixes int and str"),
        (X, [1, 2, 3] * 10, {}, "say whether they are amounts"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    x: Any, y: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        from_arrays(x, y, folder=tmp_path, **options)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "has no items"),
        (iter([]), "expected a dataset with a length"),
        ({0, 1}, "items of set cannot be read by index"),
        ([1, 2], "item 0 is int; expected a pair"),
        ([(torch.zeros(2), 0), (torch.zeros(3), 0)], r"item 1 has shape \[3\], item 0 has \[2\]"),
        ([(torch.zeros(2), torch.zeros(0))], "item 0 has a target of 0 numbers"),
        (
            [(torch.zeros(2), torch.zeros(2)), (torch.zeros(2), 1.0)],
            "a target of 1 numbers, item 0",
        ),
    ],
)
def test_datasets_that_do_not_fit_are_refused(items: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        from_dataset(items, folder=tmp_path)


def test_data_are_stored_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from_arrays(X, X[:, 0])
    assert len(list((tmp_path / "ablations" / "data").glob("*.parquet"))) == 1
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot store the data there"):
        from_arrays(X, X[:, 0], folder=tmp_path / "file" / "data")


def test_the_methods_of_an_earlier_version_work_and_warn(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"'Task.from_arrays' is now called 'ablations.fr"):
        task = Task.from_arrays(X, X[:, 0], folder=tmp_path)  # type: ignore[attr-defined]
    assert task == from_arrays(X, X[:, 0], folder=tmp_path)
    code = """
import numpy, warnings
from ablations import Task
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    task = Task.from_dataset([(numpy.ones(2) * i, i / 3) for i in range(30)], folder=".")
print(task.rows, [w.category.__name__ for w in caught if "Task.from" in str(w.message)])
"""
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output == "24 ['DeprecationWarning']\n"


def test_tokens_reach_the_network_as_they_are(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(2, 50, (60, 4))
    tokens[:, 0] = 1  # the mark of a start: a constant column, which the network counts on
    options: dict[str, Any] = {"kind": "multiclass", "folder": tmp_path}
    task = from_arrays(tokens, tokens[:, 1] % 2, standardize=False, **options)
    rows = np.concatenate([task.data(Streams(0)).x_train, task.data(Streams(0)).x_val])
    assert task.shape == (4,)
    assert sorted(rows.tolist()) == sorted(tokens.tolist())
    scaled = from_arrays(tokens, tokens[:, 1] % 2, **options)
    assert scaled.inputs == 3
    assert abs(scaled.data(Streams(0)).x_train.mean()) < 1e-6
    assert task.identity()["standardize"] is False
    assert "standardize" not in scaled.identity()
    amounts = from_arrays(tokens, tokens[:, 1] * 1.0, folder=tmp_path, standardize=False)
    assert abs(amounts.data(Streams(0)).y_train.mean()) < 1e-6


@pytest.mark.parametrize(
    ("shape", "warning"),
    [
        ((12, 1), "is a sequence of one step; 12 steps of one channel are [1, 12]."),
        ((6, 6, 3), "a row of shape [6, 6, 3] is 6 channels of 6 × 3 pixels."),
        ((6, 6, 1), "6 channels of 6 × 1 pixels"),
        ((1, 12), ""),
        ((3, 6, 6), ""),
    ],
)
def test_a_shape_with_channels_last_is_warned_of(
    shape: tuple[int, ...], warning: str, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(30, *shape))
    task = from_arrays(x, x.reshape(30, -1)[:, 0], folder=tmp_path)
    assert warning in task.caution
    assert bool(task.caution) == bool(warning)


class Items:
    """Ten pairs of five numbers and a class; ``change`` disturbs an item each time it is read."""

    def __init__(self, change: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
        self.change, self.reads = change, 0
        self.x, self.y = torch.arange(500.0).view(100, 5), torch.arange(100) % 2

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.reads += 1
        return self.change(self.x[row], self.reads), self.y[row]


def flip(x: torch.Tensor, reads: int) -> torch.Tensor:
    return x.flip(0) if torch.rand(1) < 0.5 else x


@pytest.mark.parametrize(
    "change",
    [
        lambda x, reads: x + torch.randn(5),
        lambda x, reads: x * np.random.uniform(0.9, 1.1),  # noqa: NPY002
        lambda x, reads: x + random.random(),
        lambda x, reads: x + os.urandom(1)[0],
        lambda x, reads: x + 1e-6 * reads,
        flip,
    ],
)
def test_a_dataset_with_random_items_is_refused(change: Any, tmp_path: Path) -> None:
    for arguments in ((Items(change),), (Items(lambda x, reads: x), Items(change))):
        with pytest.raises(RequestError, match=r"is another when it is read again.*'input_noise'"):
            from_dataset(*arguments, folder=tmp_path)


def test_a_dataset_whose_items_stay_is_read(tmp_path: Path) -> None:
    def seeded(x: torch.Tensor, reads: int) -> torch.Tensor:
        noise = torch.randn(5, generator=torch.Generator().manual_seed(int(x[0])))
        return torch.where(x == 3, torch.nan, x) + noise

    assert from_dataset(Items(seeded), 0.2, folder=tmp_path).rows == 80
