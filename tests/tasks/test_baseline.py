"""The constants that are best by a loss or by a metric, which networks must beat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from sklearn.dummy import DummyClassifier
from torch import Tensor

from ablations.core.random import Streams
from ablations.core.registry import temporary
from ablations.tasks.base import Classification, Data, Task
from ablations.tasks.base import task as register_task
from ablations.tasks.baseline import judge_constants
from ablations.tasks.files import Csv
from ablations.tasks.metrics import Metric, Predictions, standard_metrics
from ablations.tasks.notebook import Notebook
from ablations.tasks.sklearn import BreastCancer, Diabetes, Digits


def data_of(task: Task, y: Tensor) -> Data:
    x = torch.zeros(len(y), task.inputs)
    return Data(x, y, x, y)


def test_constants_of_amounts() -> None:
    y = torch.tensor([[0.0], [0.5], [1.0], [9.0]])
    # The gradient of huber where all errors are at most 1 but that of 9: c + c - 0.5 + c - 1 - 1.
    for loss, expected in (("", 2.625), ("l1", 0.75), ("huber", 2.5 / 3), ("smooth_l1", 2.5 / 3)):
        constant = Diabetes(loss=loss).constant(data_of(Diabetes(), y))
        assert constant.dtype == torch.float64
        assert float(constant) == pytest.approx(expected, abs=1e-6), loss


def test_constants_of_classes() -> None:
    y = torch.tensor([0] * 6 + [1] * 3 + [2])
    data = data_of(Digits(), y)
    shares = Digits().constant(data).softmax(-1)
    assert shares[:3].tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert float(shares[3:].sum()) < 1e-12
    losses = Digits().losses(Digits().constant(data).expand(10, -1), y)
    entropy = -sum(p * np.log(p) for p in (0.6, 0.3, 0.1))
    assert float(losses.mean()) == pytest.approx(entropy)


def test_the_numerical_constant_of_cross_entropy_is_the_exact_one() -> None:
    y = BreastCancer().data(Streams(1)).y_train
    with temporary():

        @register_task
        class Copy(BreastCancer):
            """The same losses, defined by the task."""

            name = "copy"

            def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
                return super().losses(outputs, targets)

        constants = [task.constant(data_of(task, y)) for task in (BreastCancer(), Copy())]
    first, second = (constant.softmax(0) for constant in constants)
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("counts", [(6, 3, 1), (4, 4, 2), (5, 1, 1)])
def test_the_constant_of_the_margin_loss_is_that_of_linear_programming(
    counts: tuple[int, ...],
) -> None:
    k, shares = len(counts), np.array(counts) / sum(counts)
    pairs = [(c, i) for c in range(k) for i in range(k) if c != i]
    rows = []
    for number, (c, i) in enumerate(pairs):  # slack >= 1 - x_c + x_i
        row = np.zeros(k + len(pairs))
        row[[c, i, k + number]] = -1, 1, -1
        rows.append(row)
    cost = np.concatenate([np.zeros(k), [shares[c] / k for c, _ in pairs]])
    bounds = [(None, None)] * k + [(0, None)] * len(pairs)
    best = linprog(cost, np.array(rows), -np.ones(len(pairs)), bounds=bounds).fun

    y = torch.repeat_interleave(torch.arange(k), torch.tensor(counts))
    with temporary():

        @register_task
        class Three(Classification):
            """Three classes."""

            name = "three"
            inputs, outputs, rows = 1, 3, len(y)

        task = Three(loss="multi_margin")
        constant = task.constant(data_of(task, y))
        loss = float(task.mean_loss(constant.expand(len(y), -1), y))
    assert loss == pytest.approx(best, abs=1e-6)


def baseline(task: Task, data: Data) -> tuple[float, float]:
    """Return loss and metric of the constant with the least loss."""
    constants = judge_constants(task, data, (), 0)
    assert constants.loss is not None
    return constants.loss, constants.metrics["metric"]


def test_the_baseline_of_the_notebook_is_a_twelfth() -> None:
    baselines = [baseline(Notebook(), Notebook().data(Streams(seed))) for seed in range(50)]
    losses, r2 = np.mean(baselines, 0)
    assert losses == pytest.approx(1 / 12 * (1 + 1 / 100), abs=0.002)
    assert -0.05 < r2 <= 0
    data = Notebook().data(Streams(0))
    expected = (data.y_val.double() - data.y_train.double().mean()).square().mean()
    assert baselines[0][0] == pytest.approx(float(expected), rel=1e-12)


def test_the_baseline_of_classes_is_scikit_learn_s_dummy_on_the_rows_that_judge() -> None:
    task = BreastCancer(test=0.2)
    data = task.splits(Streams(0))
    assert data.x_test is not None
    assert data.y_test is not None
    dummy = DummyClassifier(strategy="prior").fit(data.x_train, data.y_train)
    p = torch.from_numpy(dummy.predict_proba(data.x_test)).gather(1, data.y_test[:, None])
    loss, accuracy = baseline(task, data)
    assert loss == pytest.approx(float(-p.log().mean()), rel=1e-12)
    assert accuracy == pytest.approx(dummy.score(data.x_test, data.y_test))


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "smooth_l1", "focal", "multi_margin"])
def test_the_baseline_of_every_loss_is_the_least_of_the_constants_nearby(loss: str) -> None:
    cls = BreastCancer if loss in ("focal", "multi_margin") else Diabetes
    task: Task = cls(loss=loss)
    data = task.data(Streams(0))
    train = Data(data.x_train, data.y_train, data.x_train, data.y_train)
    least, metric = baseline(task, train)
    assert np.isfinite(metric)
    y = data.y_train.double() if task.outputs == 1 else data.y_train
    for step in torch.randn(20, task.outputs, dtype=torch.float64) / 100:
        outputs = (task.constant(data) + step).expand(len(y), -1)
        assert float(task.mean_loss(outputs, y)) >= least - 1e-9


def judge_by_metrics(task: Task, data: Data) -> dict[str, float]:
    names = standard_metrics(task.classification)
    return judge_constants(task, data, names, 0).metrics


@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin"])
@pytest.mark.parametrize("weights", ["", "balanced"])
def test_the_constant_by_each_metric_of_classes(rare: str, loss: str, weights: str) -> None:
    """That of the class frequencies, whatever the loss: its metrics are known without computing."""
    task = Csv(rare, "ill", loss=loss, class_weight=weights).with_resolved_inputs()
    data = task.data(Streams(0))
    values, share = judge_by_metrics(task, data), float((data.y_val == 0).double().mean())
    assert share > 0.9
    prior = float((data.y_train == 0).double().mean())
    log_loss = -(share * np.log(prior) + (1 - share) * np.log(1 - prior))
    assert values == pytest.approx(
        {
            "metric": share,
            "accuracy": share,
            "balanced_accuracy": 0.5,
            "f1_macro": share / (1 + share),
            "roc_auc": 0.5,
            "average_precision": 1 - share,
            "log_loss": log_loss,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_constant_by_each_metric_of_amounts(loss: str) -> None:
    """The mean by squared errors and the median by absolute ones, in the target's own unit."""
    task = Diabetes(loss=loss)
    data = task.data(Streams(0))
    assert data.target_scale is not None
    assert data.target_mean is not None
    y_train, y_val = (
        (y.double() * data.target_scale + data.target_mean)[:, 0].numpy()
        for y in (data.y_train, data.y_val)
    )
    mean, median = np.mean(y_train), np.median(y_train)
    values = judge_by_metrics(task, data)
    assert values["mae"] == pytest.approx(np.abs(y_val - median).mean(), rel=1e-5)
    assert values["rmse"] == pytest.approx(np.sqrt(np.square(y_val - mean).mean()), rel=1e-5)
    assert values["r2"] == pytest.approx(1 - np.square(y_val - mean).mean() / y_val.var(), abs=1e-6)


def test_a_metric_of_a_user_that_refuses_constants_leaves_the_others() -> None:
    task, message = Diabetes(), "a constant has no correlation"

    def refuse(predictions: Predictions) -> Tensor:
        raise ValueError(message)

    def count(predictions: Predictions) -> Tensor:
        return torch.full(predictions.outputs.shape[:-2], 7.0)

    metrics = (Metric("python:own:refuse", True, refuse), Metric("python:own:count", True, count))
    data = task.data(Streams(0))
    values = judge_constants(task, data, (*metrics, *standard_metrics(False)), 2).metrics
    assert "python:own:refuse" not in values
    assert np.isnan(values["metric"])
    assert values["python:own:count"] == 7
    assert values["r2"] == pytest.approx(0, abs=0.05)


def test_the_baseline_with_balanced_weights(rare: str) -> None:
    task = Csv(rare, "ill", class_weight="balanced").with_resolved_inputs()
    data = task.data(Streams(0))
    assert task.constant(data).softmax(0).tolist() == pytest.approx([0.5, 0.5])
    loss, accuracy = baseline(task, data)
    weights = torch.tensor(task.loss_weights)[data.y_val]
    assert loss == pytest.approx(np.log(2) * float(weights.mean()), rel=1e-6)
    assert accuracy == float((data.y_val == 0).double().mean())  # ties go to the frequent class
