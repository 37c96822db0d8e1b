"""Losses and class weights: the fused engine against the plain loop, and PyTorch's own losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ablations import Study
from ablations.study.configuration import Run
from ablations.training import loop
from ablations.training.fused import compilation, trainer
from ablations.training.fused.build import build_program

from .fused_runs import SIZE, assert_is_the_loop_s, runs_of, train_fused

REGRESSION = ("mse", "l1", "huber", "smooth_l1", "python:losses_of_mine:log_cosh")
CLASSIFICATION = ("cross_entropy", "focal", "multi_margin", "python:losses_of_mine:confident")
WEIGHTS: tuple[Any, ...] = ("", "balanced", {"0": 3.0, "1": 0.5})
MODULE = """
import torch
from torch.nn import functional as F

def log_cosh(outputs, targets):
    return torch.log(torch.cosh(outputs - targets)).sum(1)

def confident(outputs, targets):
    return F.cross_entropy(3 * outputs, targets, reduction="none")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def tasks() -> list[dict[str, Any]]:
    regression = [{"name": "diabetes", "loss": loss} for loss in REGRESSION]
    classification = [
        {"name": "breast_cancer", "loss": loss, "class_weight": weight}
        for loss in CLASSIFICATION
        for weight in WEIGHTS
    ]
    return regression + classification


def label(task: dict[str, Any]) -> str:
    return f"{task['loss'].rpartition(':')[2]}-{task.get('class_weight', '')}"


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_each_loss_is_the_loop_s(task: dict[str, Any]) -> None:
    axes = {"regularizer": ["none", "l1", "dropout"]}
    runs = runs_of(task=task, axes=axes, batch_size=100, epochs=4, dtype="float64", seeds=2)
    results = train_fused(runs, 8)
    for run in runs[::3]:
        result = results[run.run_id]
        assert result.engine == "fused"
        assert_is_the_loop_s(result, 1e-9)


@pytest.mark.skipif(
    compilation.why_unavailable() is not None, reason=compilation.why_unavailable() or ""
)
@pytest.mark.slow
@pytest.mark.parametrize("loss", ["focal", "multi_margin"])
def test_compiled_losses_with_weights_are_the_loop_s(loss: str) -> None:
    task = {"name": "breast_cancer", "loss": loss, "class_weight": "balanced"}
    runs = runs_of(task=task, batch_size="full", epochs=3, dtype="float64", seeds=2)
    for result in trainer.train(runs, SIZE, compiled=True):
        assert result.engine == "fused-compiled"
        assert_is_the_loop_s(result, 1e-9)


def test_programs_of_other_losses_and_weights_have_other_identities() -> None:
    every = [
        *({"name": "diabetes", "loss": loss} for loss in REGRESSION),
        *tasks()[len(REGRESSION) :],
    ]
    runs = [run for task in every for run in runs_of(task=task)]
    programs = {build_program(run.configuration).identity for run in runs}
    assert len(programs) == len({run.run_id for run in runs}) == len(every)


def test_the_default_by_its_name_is_the_same_run() -> None:
    for name, loss in (("diabetes", "mse"), ("breast_cancer", "cross_entropy")):
        (plain,), (same,) = runs_of(task=name), runs_of(task={"name": name, "loss": loss})
        assert plain.run_id == same.run_id


def test_weighted_losses_are_pytorch_s() -> None:
    (run,) = runs_of(task={"name": "breast_cancer", "class_weight": "balanced"})
    task = run.configuration.task
    y = task.data(run.streams).y_train
    counts = np.bincount(y)
    weights = torch.tensor(len(y) / (2 * counts), dtype=torch.float64)
    outputs = torch.randn(3, len(y), 2, dtype=torch.float64)
    expected = [
        torch.nn.functional.cross_entropy(each, y, weights, reduction="none") for each in outputs
    ]
    losses = task.losses(outputs, y.expand(3, -1))
    assert torch.allclose(losses, torch.stack(expected), rtol=1e-14)
    assert float(task.mean_loss(outputs[0], y)) == pytest.approx(float(expected[0].mean()))


def test_weights_are_those_of_seed_0_for_every_seed() -> None:
    task = {"name": "breast_cancer", "class_weight": "balanced"}
    runs: list[Run] = runs_of(task=task, seeds=[3, 4])
    results = [loop.train(run, 1) for run in runs]
    assert len({run.configuration.task for run in runs}) == 1
    assert results[0].curve != results[1].curve


def test_label_smoothing_is_skipped_where_the_loss_is_no_cross_entropy() -> None:
    axes = {"regularizer": ["label_smoothing"]}
    for loss in CLASSIFICATION:
        task = {"name": "breast_cancer", "loss": loss}
        (configuration,) = Study(task=task, axes=axes, seeds=1).configurations
        skip = configuration.skip
        assert (skip is None) == (loss not in ("focal", "multi_margin"))
        assert skip is None or f"not for the loss '{loss}'" in skip


def test_balanced_weights_find_a_rare_class(tmp_path: Path) -> None:
    ill = np.arange(1000) % 20 == 0
    columns = np.random.default_rng(15).normal(size=(1000, 2)) + 1.2 * ill[:, None]
    table = pd.DataFrame(columns, columns=["a", "b"]).assign(ill=ill.astype(int))
    table.to_csv(tmp_path / "rare.csv", index=False)
    scores = {}
    for weight in ("", "balanced"):
        task = {"name": "csv", "path": str(tmp_path / "rare.csv"), "target": "ill"}
        runs = runs_of(
            task=task | {"class_weight": weight}, epochs=20, batch_size=64, lr=0.01, seeds=4
        )
        metrics = [result.evaluation.metrics for result in train_fused(runs, 4).values()]
        scores[weight] = {
            name: np.mean([values[name] for values in metrics])
            for name in ("accuracy", "balanced_accuracy", "roc_auc")
        }
    assert scores[""]["accuracy"] > 0.93  # the constant has 0.95
    assert scores[""]["balanced_accuracy"] < 0.65
    assert scores["balanced"]["balanced_accuracy"] > 0.75
    assert scores["balanced"]["roc_auc"] == pytest.approx(scores[""]["roc_auc"], abs=0.05)
