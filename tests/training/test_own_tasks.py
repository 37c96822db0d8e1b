"""Tasks with losses and metrics of their own, which standard metrics may not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ablations import Study, run
from ablations.analysis.results import Results
from ablations.core.random import Streams
from ablations.core.registry import temporary
from ablations.execution.metadata import describe_judging, describe_training, study_metadata
from ablations.tasks.base import Classification, Data, Regression, task
from ablations.tasks.metrics import compute_metrics, find_metric
from ablations.training.engine import Engine


class OneOutput(Classification):
    """Two classes by one logit."""

    name = "one_output"
    metric_name = "accuracy"
    inputs, outputs, rows = 4, 1, 40

    def data(self, streams: Streams) -> Data:
        x = streams.normal((80, 4), "data/x").to(torch.float32)
        y = (x[:, 0] > 0).to(torch.int64)
        return Data(x[:40], y[:40], x[40:], y[40:])

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        logits = outputs[..., 0]
        truth = targets.expand_as(logits).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs[..., 0] > 0) == (targets > 0)).to(torch.float64).mean(-1)


class Labels(Classification):
    """Three labels a row, each of which may be there or not."""

    name = "labels"
    metric_name = "share_right"
    inputs, outputs, rows = 4, 3, 40

    def data(self, streams: Streams) -> Data:
        x = streams.normal((80, 4), "data/x").to(torch.float32)
        y = (x[:, :3] > 0).to(torch.float32)
        return Data(x[:40], y[:40], x[40:], y[40:])

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(
            outputs, targets.expand_as(outputs), reduction="none"
        )
        return losses.mean(-1)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs > 0) == (targets > 0)).to(torch.float64).mean((-1, -2))


class MeanLoss(Regression):
    """A loss of all rows together, which is none of each row."""

    name = "mean_loss_alone"
    inputs, outputs, rows = 4, 1, 40

    def data(self, streams: Streams) -> Data:
        x = streams.normal((80, 4), "data/x").to(torch.float32)
        return Data(x[:40], x[:40, :1], x[40:], x[40:, :1])

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean().sqrt()


@pytest.fixture(autouse=True, scope="module")
def _registered_tasks() -> Iterator[None]:
    with temporary():
        for each in (OneOutput, Labels, MeanLoss):
            task(each)
        yield


def test_the_test_loss_is_the_loss_of_the_task(tmp_path: Path) -> None:
    study = Study(task="mean_loss_alone", judge="best", seeds=2, epochs=3, batch_size=20)
    runs = run(study, tmp_path, engine="loop", jobs=1, with_report=False).runs
    assert set(runs["status"]) == {"ok"}
    # One output on one scale: the loss is the root of the mean squared error.
    assert runs["test_loss"].to_numpy() == pytest.approx(runs["rmse"].to_numpy(), rel=1e-5)


def make_study(name: str) -> Study:
    settings = {"seeds": 3, "epochs": 5, "batch_size": "full", "lr": 0.05}
    return Study(name=name, task=name, axes={"norm": ["none", "layer"]}, **settings)


@pytest.mark.parametrize("engine", ["loop", "fused"])
@pytest.mark.parametrize("name", ["one_output", "labels"])
def test_a_task_that_no_standard_metric_fits_has_its_own(
    tmp_path: Path, name: str, engine: Engine
) -> None:
    out = tmp_path / "results"
    results = run(make_study(name), out, engine=engine, jobs=1, with_report=False)
    runs = results.runs
    assert set(runs["status"]) == {"ok"}
    assert runs["metric"].between(0, 1).all()
    assert runs["baseline"].notna().all()
    # The task's own metric is the other measure, under its own name.
    assert list(results.ablation.others) == [runs["metric_name"].iloc[0]]
    assert results.effects("metric")["effect"].notna().all()
    study = make_study(name).replace(outcome=runs["metric_name"].iloc[0])
    assert Results.from_stored(results, study_metadata(study)).design().outcome == "metric"


def test_a_metric_of_one_s_own_is_not_asked_about_a_run_that_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "import numpy as np\n"
        "def hits(targets, outputs):\n"
        "    assert np.isfinite(outputs).all()\n"
        "    return (outputs.argmax(1) == targets).mean()\n"
    )
    (tmp_path / "strict_metric.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    metric = find_metric("python:strict_metric:hits", True)
    outputs = torch.zeros(2, 4, 2)
    outputs[1] = torch.nan
    values = compute_metrics([metric], outputs, torch.zeros(4, dtype=torch.int64))
    np.testing.assert_array_equal(values[metric.name].numpy(), [1.0, np.nan])


def test_seeds_that_share_their_rows_say_so(tmp_path: Path) -> None:
    fixed = Study(task="notebook", vary=["init", "order"], batch_size=16, seeds=2, epochs=2)
    judging = describe_judging(fixed)
    assert judging is not None
    assert (judging.rows, judging.is_fixed) == (100, True)
    assert describe_judging(Study(task="notebook", seeds=2, epochs=2)) is None

    rows = [f"{i},{i % 7},{'train' if i < 30 else 'validation'}" for i in range(40)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["x,y,part", *rows]), encoding="utf-8")
    spec = {"name": "csv", "path": str(path), "target": "y", "split": "column", "by": "part"}
    judging = describe_judging(Study(task={**spec, "kind": "regression"}, seeds=2, epochs=2))
    assert judging is not None
    assert (judging.rows, judging.is_fixed) == (10, True)


def test_groups_are_the_units_of_what_judging_rows_share(tmp_path: Path) -> None:
    """Of ten groups two judge and six train, though only 10 of their 18 and 54 rows may."""
    rows = [f"{i},{i % 7},{i // 9}" for i in range(90)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["x,y,patient", *rows]), encoding="utf-8")
    spec = {"name": "csv", "path": str(path), "target": "y", "kind": "regression"}
    for keys in ({"drop": ["patient"]}, {"group": "patient"}):
        judging = describe_judging(Study(task=spec | keys, seeds=2, epochs=2))
        assert judging is not None
        assert (judging.rows, judging.overlap) == (10 if "group" in keys else 18, 18 / 54)


def test_one_epoch_and_one_step_are_singular() -> None:
    text = describe_training(Study(task="diabetes", epochs=1, batch_size="full", seeds=2))
    assert "for 1 epoch in full batches" in text
    assert "1 step in all" in text
