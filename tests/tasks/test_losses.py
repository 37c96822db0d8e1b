"""Losses and class weights of tasks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from ablations import Study
from ablations.core.errors import RequestError
from ablations.core.plugins import without_imports
from ablations.core.random import Streams
from ablations.core.registry import resolve, temporary
from ablations.tasks.base import Classification, Data, LossTask, Regression, Task, WeightedTask
from ablations.tasks.base import task as register_task
from ablations.tasks.losses import find_loss
from ablations.tasks.sklearn import BreastCancer, Diabetes

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
