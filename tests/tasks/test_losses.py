"""Losses and class weights of tasks, and the constant that minimises a loss."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog
from sklearn.dummy import DummyClassifier
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from ablations import Study
from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import resolve, temporary, without_imports
from ablations.tasks.base import Classification, Data, LossTask, Regression, Task, WeightedTask
from ablations.tasks.base import task as register_task
from ablations.tasks.baseline import judge_constants
from ablations.tasks.losses import find_loss
from ablations.tasks.metrics import Metric, Predictions, standard_metrics
from ablations.tasks.notebook import Notebook
from ablations.tasks.sklearn import BreastCancer, Diabetes, Digits

MODULE = """
import torch

def absolute(outputs, targets):
    return (outputs - targets).abs().mean(1)

def scalar(outputs, targets):
    return (outputs - targets).square().mean()

def batch(outputs, targets):
    return ((outputs - targets) / outputs.std()).square().mean(1)

def detached(outputs, targets):
    return (outputs - targets).detach().square().mean(1)

def broken(outputs, targets):
    return outputs.nothing

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_losses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "python:my_losses"


def resolve_task(name: str, **options: Any) -> LossTask:
    task = resolve("task", {"name": name} | options, "task")
    assert isinstance(task, LossTask)
    return task


@pytest.fixture
def rare(tmp_path: Path) -> str:
    """A table of 200 rows, 5 % of them ill."""
    generator = np.random.default_rng(0)
    ill = np.arange(200) % 20 == 0
    table = pd.DataFrame(generator.normal(size=(200, 2)) + 1.2 * ill[:, None], columns=["a", "b"])
    path = tmp_path / "rare.csv"
    table.assign(ill=np.where(ill, "yes", "no")).to_csv(path, index=False)
    return str(path)


AMOUNTS: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "smooth_l1": F.smooth_l1_loss,
}
CLASSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "multi_margin": F.multi_margin_loss,
}


@pytest.mark.parametrize("name", AMOUNTS)
def test_losses_of_amounts_are_pytorch_s(name: str) -> None:
    outputs, y = 3 * torch.randn(2, 4, 5, 3), torch.randn(2, 4, 5, 3)
    expected = AMOUNTS[name](outputs, y, reduction="none").mean(-1)
    assert torch.allclose(find_loss(name, False)(outputs, y), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_classes_are_pytorch_s(name: str) -> None:
    outputs, y = 3 * torch.randn(2, 4, 3), torch.randint(3, (2, 4))
    outputs.requires_grad_()
    expected = CLASSES[name](outputs.flatten(0, 1), y.flatten(), reduction="none")
    losses = find_loss(name, True)(outputs, y)
    assert torch.allclose(losses.flatten(), expected)
    gradient, other = (torch.autograd.grad(v.sum(), outputs)[0] for v in (losses, expected))
    assert torch.allclose(gradient, other)


def test_the_focal_loss_is_that_of_lin_et_al() -> None:
    outputs, y = torch.randn(6, 3), torch.randint(3, (6,))
    p = outputs.softmax(1).gather(1, y[:, None])[:, 0]
    assert torch.allclose(find_loss("focal", True)(outputs, y), -((1 - p) ** 2) * p.log())


def test_a_loss_that_cannot_be_used_is_refused(module: str) -> None:
    for name, loss, message in (
        ("diabetes", "hubr", "task.loss: unknown loss 'hubr'.*did you mean 'huber'"),
        ("diabetes", "focal", "task.loss: the loss 'focal' is not for regression"),
        ("digits", "l1", "the loss 'l1' is not for classification"),
        ("diabetes", f"{module}:number", "is an object of the class int; expected a function"),
        ("diabetes", f"{module}:absolut", "'my_losses' has no 'absolut'.*'absolute'"),
    ):
        with pytest.raises(RequestError, match=message):
            resolve_task(name, loss=loss)
    with without_imports(), pytest.raises(RequestError, match="needs --trust"):
        resolve_task("diabetes", loss=f"{module}:absolute")
    with pytest.raises(RequestError, match=r"no parameter 'class_weight'"):
        resolve_task("diabetes", class_weight="balanced")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("scalar", r"returns shape \(\) for outputs \(5, 1\)"),
        ("batch", "gives a row another loss beside other rows"),
        ("detached", "has no gradient"),
        ("broken", r"fails on outputs \(5, 1\): AttributeError"),
    ],
)
def test_an_own_loss_is_tried_before_training(module: str, function: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        resolve_task("diabetes", loss=f"{module}:{function}").ready()


def test_an_own_loss_travels_and_defines_the_run(module: str) -> None:
    task = resolve_task("diabetes", loss=f"{module}:absolute")
    task.ready()
    assert task.user_modules() == {"my_losses"}
    assert task.identity()["source"]
    copy = pickle.loads(pickle.dumps(task))
    assert "_row_losses" in vars(copy)
    outputs = torch.randn(3, 4, 1)
    assert torch.allclose(copy.losses(outputs, outputs + 2), torch.full((3, 4), 2.0))


def test_weights_are_scikit_learn_s(rare: str) -> None:
    task = resolve_task("csv", path=rare, target="ill", class_weight="balanced")
    y = task.data(Streams(0)).y_train.numpy()
    assert task.loss_weights == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=y)
    )
    table = resolve_task("csv", path=rare, target="ill", class_weight={"yes": 19})
    assert table.loss_weights[1] / table.loss_weights[0] == pytest.approx(19)
    for each in (task, table):
        assert np.mean(np.array(each.loss_weights)[y]) == pytest.approx(1)
    plain = resolve_task("csv", path=rare, target="ill")
    assert "class_weight" not in plain.identity()
    assert "loss" not in plain.identity()
    assert plain.loss_weights == ()
    assert (plain.label, task.label) == ("rare.csv: ill", "rare.csv: ill (class_weight=balanced)")


def test_weights_that_cannot_be_used_are_refused(rare: str, tmp_path: Path) -> None:
    for weight, message in (
        ("balance", "task.class_weight: expected 'balanced' or a table"),
        ({"si": 1.0}, r"task.class_weight: there is no class 'si'; .*no, yes"),
        ({"yes": -1}, "expected a weight of 0 or more for class 'yes', found -1"),
        ({"yes": 0, "no": 0}, "no training row has a weight above 0"),
    ):
        with pytest.raises(RequestError, match=message):
            resolve_task("csv", path=rare, target="ill", class_weight=weight)
    with pytest.raises(RequestError, match="the task is a regression"):
        resolve_task("csv", path=rare, target="a", class_weight="balanced")


def test_a_study_with_weights_is_written_and_read(rare: str, tmp_path: Path) -> None:
    task = {"name": "csv", "path": rare, "target": "ill", "class_weight": {"yes": 19, "no": 1.0}}
    study = Study(task=task | {"loss": "focal"}, axes={"norm": ["none"]}, seeds=1)
    (tmp_path / "study.toml").write_text(study.to_toml())
    again = Study.from_toml(tmp_path / "study.toml")
    assert again.task == study.task
    assert isinstance(again.task, WeightedTask)
    assert again.task.class_weight == (("no", 1.0), ("yes", 19.0))


def test_an_own_task_gets_the_keys_unless_it_defines_its_losses() -> None:
    with temporary():

        @register_task
        class Coin(Classification):
            """A coin."""

            name = "coin"
            inputs, outputs, rows = 1, 2, 4
            bias: float = 0.5

            def data(self, streams: Streams) -> Data:
                return Data(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1]), *[torch.zeros(1)] * 2)

        @register_task
        class Own(Regression):
            """A task with its own losses."""

            name = "own"
            inputs, outputs, rows = 1, 1, 4

            def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
                return (outputs - targets).pow(4).mean(-1)

        assert Coin(0.3).bias == 0.3
        assert Coin(0.3).identity().keys() == {"name", "bias", "source"}
        task = resolve_task("coin", loss="focal", class_weight="balanced")
        assert task.loss_weights == pytest.approx([2 / 3, 2])
        with pytest.raises(RequestError, match=r"task.loss: the task 'own' defines its own losses"):
            resolve_task("own", loss="l1")
        y = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
        constant = Own().constant(Data(y, y, y, y))
        assert float(constant) == pytest.approx(1 / (1 + 3 ** (1 / 3)), abs=1e-4)


def test_a_field_of_an_own_task_with_its_own_losses_is_no_key() -> None:
    with temporary():

        @register_task
        class Scaled(Classification):
            """A task with fields of its own that have the names of keys."""

            name = "scaled"
            inputs, outputs, rows = 1, 2, 4
            loss: str = "twice"
            class_weight: float = 2.0  # type: ignore[assignment]

            def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
                assert self.loss == "twice"
                return self.class_weight * outputs[..., 0]

        @register_task
        class Robust(Regression):
            """A task with another default."""

            name = "robust"
            inputs, outputs, rows = 1, 1, 4
            loss: str = "l1"

        task = resolve_task("scaled")
        task.ready()
        assert task.identity().keys() >= {"loss", "class_weight"}
        assert task.losses(torch.ones(3, 2), torch.zeros(3)).tolist() == [2, 2, 2]
        assert resolve_task("robust").losses(torch.ones(1, 1), torch.full((1, 1), 4.0)) == 3
    with pytest.raises(TypeError, match="Untyped: the parameter 'loss' needs its type beside its"):
        type("Untyped", (Regression,), {"loss": "l1"})


def test_an_own_task_with_the_former_method_keeps_it() -> None:
    def largest(self: Task, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().max()

    members = {"loss": largest, "name": "former", "__doc__": "A task with a mean loss."}
    with pytest.warns(DeprecationWarning, match="now called 'mean_loss'"):
        former: type[Any] = type("Former", (Regression,), members)
    with temporary():
        task: Task = register_task(former)()
        assert task.mean_loss(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])) == 3


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
    task = resolve_task("csv", path=rare, target="ill", loss=loss, class_weight=weights)
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
    task = resolve_task("csv", path=rare, target="ill", class_weight="balanced")
    data = task.data(Streams(0))
    assert task.constant(data).softmax(0).tolist() == pytest.approx([0.5, 0.5])
    loss, accuracy = baseline(task, data)
    weights = torch.tensor(task.loss_weights)[data.y_val]
    assert loss == pytest.approx(np.log(2) * float(weights.mean()), rel=1e-6)
    assert accuracy == float((data.y_val == 0).double().mean())  # ties go to the frequent class


def test_targets_come_back_in_their_own_unit(tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes

    y = load_diabetes(return_X_y=True)[1]
    table = pd.DataFrame({"a": np.random.default_rng(0).normal(size=60), "y": y[:60] * 1e3})
    table.to_csv(tmp_path / "table.csv", index=False)
    csv = resolve_task("csv", path=str(tmp_path / "table.csv"), target="y")
    for task, targets in ((Diabetes(), y), (csv, table["y"])):
        data = task.data(Streams(1))
        assert data.target_scale is not None
        assert data.target_mean is not None
        assert data.target_scale.shape == data.target_mean.shape == (1,)
        both = torch.cat([data.y_train, data.y_val]).double()
        restored = both * data.target_scale + data.target_mean
        assert np.sort(restored[:, 0].numpy()) == pytest.approx(
            np.sort(targets)[: len(both)], rel=1e-5
        )
    assert BreastCancer().data(Streams(0)).target_scale is None
