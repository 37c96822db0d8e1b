"""Several targets: a regression whose outputs each have a scale of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch.utils.data import TensorDataset

from ablations import Study, Task, from_arrays, from_dataset
from ablations.core.random import Streams
from ablations.study.expand import expand
from ablations.tasks.baseline import judge_constants
from ablations.tasks.metrics import compute_metrics, standard_metrics
from tests.training.fused_runs import assert_is_the_loop_s, train_fused

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = X[:, :2] * [100.0, 0.1] + RNG.normal(size=(80, 2)) * [10.0, 0.01] + [500.0, -2.0]


def make_task(folder: Path, **options: Any) -> Task:
    return from_arrays(X, pd.DataFrame(Y, columns=["far", "near"]), folder=folder, **options)


def test_arrays_frames_files_and_datasets_may_have_several_targets(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"]).assign(far=Y[:, 0], near=Y[:, 1])
    frame.loc[3, "near"] = np.nan
    frame.to_csv(tmp_path / "table.csv", index=False)
    csv = {"name": "csv", "path": str(tmp_path / "table.csv"), "target": ["far", "near"]}
    study = Study(task=csv, epochs=1)
    (tmp_path / "study.toml").write_text(study.to_toml(), encoding="utf-8")
    assert Study.from_toml(tmp_path / "study.toml") == study
    assert study.task.label == "table.csv: far, near"
    assert "A row without all targets is left out in line 5." in study.task.caution
    assert "The metrics are means over 2 targets" in study.task.caution
    assert Study(task={**csv, "target": ["far"]}).task == Study(task={**csv, "target": "far"}).task
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    tasks = [task, from_arrays(X, Y, folder=tmp_path), from_dataset(dataset, folder=tmp_path)]
    tasks.append(from_dataset(dataset, dataset, folder=tmp_path))
    for each in (*tasks, study.task):
        assert (each.outputs, each.classification, each.metric_name) == (2, False, "r2")
        assert each.splits(Streams(1)).y_train.shape == (each.rows, 2)


def test_each_target_has_the_scale_of_its_training_rows(tmp_path: Path) -> None:
    data = make_task(tmp_path).splits(Streams(2))
    assert data.y_train.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert data.y_train.std(0, correction=0).tolist() == pytest.approx([1, 1], rel=1e-6)
    assert data.target_scale is not None
    assert data.target_mean is not None
    rows = (data.y_val * data.target_scale + data.target_mean).numpy()
    distances = np.abs(rows[:, None] / Y - 1).max(-1).min(-1)
    assert distances.max() < 1e-4  # each is a row of the data, in its own unit


def test_metrics_are_scikit_learn_s_mean_over_the_targets_in_their_units(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    data = task.splits(Streams(0))
    assert data.target_scale is not None
    assert data.target_mean is not None
    outputs = data.y_val + torch.randn(data.y_val.shape, generator=torch.Generator().manual_seed(1))
    values = compute_metrics(
        standard_metrics(False), outputs, data.y_val, data.target_scale, data.target_mean
    )
    y, z = (v * data.target_scale + data.target_mean for v in (data.y_val, outputs))
    expected = {
        "r2": r2_score(y, z),
        "mae": mean_absolute_error(y, z),
        "rmse": root_mean_squared_error(y, z),
    }
    assert {k: float(v) for k, v in values.items()} == pytest.approx(expected, rel=1e-5)
    assert float(task.metric(outputs, data.y_val)) == pytest.approx(expected["r2"], rel=1e-5)
    assert task.constant(data).tolist() == pytest.approx([0, 0], abs=1e-6)
    baseline = judge_constants(task, data, standard_metrics(False), 0)
    mean = data.y_val.square().mean()
    assert baseline.loss == pytest.approx(float(mean), rel=1e-4)
    constant = data.target_mean.expand(len(y), -1)
    assert baseline.metrics["mae"] <= mean_absolute_error(y, constant) * 1.05


def test_both_engines_train_several_outputs_alike(tmp_path: Path) -> None:
    axes = {"norm": ["none", "batch"], "regularizer": ["none", "dropout"]}
    study = Study(
        task=make_task(tmp_path),
        epochs=6,
        batch_size=16,
        lr=1e-2,
        seeds=1,
        dtype="float64",
        axes=axes,
    )
    for result in train_fused(list(expand(study).runs)).values():
        assert_is_the_loop_s(result, 1e-8)
        assert result.curve[-1].train_loss < 0.5 * result.curve[0].train_loss
