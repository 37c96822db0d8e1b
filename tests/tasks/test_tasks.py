"""The tasks' data."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from ablations.registry import registered
from ablations.streams import Streams
from ablations.tasks.base import Task
from ablations.tasks.digits import Digits
from ablations.tasks.notebook import Notebook


@pytest.mark.parametrize("cls", registered("task").values())
def test_contract_of_a_task(cls: type[Task]) -> None:
    task = cls()
    data = task.data(Streams(0))
    assert data.x_train.shape == (task.rows, task.inputs)
    assert data.x_val.shape[1:] == (task.inputs,)
    assert data.x_train.dtype == data.x_val.dtype == torch.float32
    outputs = torch.zeros(len(data.y_val), task.outputs)
    assert task.loss(outputs, data.y_val).shape == ()
    assert task.metric(outputs, data.y_val) <= 1
    again, other = task.data(Streams(0)), task.data(Streams(1))
    assert torch.equal(again.x_train, data.x_train)
    assert not torch.equal(other.x_train, data.x_train)


def test_notebook_is_uniform_noise_with_a_validation_draw_of_its_own() -> None:
    many = [Notebook().data(Streams(seed)) for seed in range(50)]
    inputs = torch.cat([data.x_train for data in many]).flatten()
    targets = torch.cat([data.y_val for data in many]).flatten()
    for drawn in (inputs, targets):
        assert 0 <= float(drawn.min()) < 0.01
        assert 0.99 < float(drawn.max()) <= 1
        assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)
    # The constant 0.5 scores a twelfth: what the caution says.
    assert float((targets - 0.5).square().mean()) == pytest.approx(1 / 12, abs=0.005)
    assert not torch.equal(many[0].x_train, many[0].x_val)
    assert "noise" in Notebook.caution


def test_digits_are_scaled_on_the_training_split_alone() -> None:
    data = Digits().data(Streams(2))
    assert len(data.x_train) + len(data.x_val) == 1797
    mean, std = data.x_train.mean(0), data.x_train.std(0, correction=0)
    varies = std > 0
    assert torch.allclose(mean, torch.zeros(64), atol=1e-5)
    assert torch.allclose(std[varies], torch.ones(int(varies.sum())), atol=1e-4)
    assert not torch.allclose(data.x_val.mean(0), torch.zeros(64), atol=1e-3)


def test_digits_keep_each_image_with_its_class() -> None:
    pixels, classes = load_digits(return_X_y=True)
    order = Streams(2).permutation(1797, "split")
    data = Digits().data(Streams(2))
    assert data.y_train.tolist() == classes[order[:1437].numpy()].tolist()
    # Undo the scaling of one pixel that varies: the original grey values come back.
    grey = pixels[order[:1437].numpy(), 20]
    restored = data.x_train[:, 20].double().numpy() * grey.std() + grey.mean()
    assert restored == pytest.approx(grey, abs=1e-4)


def test_r2_and_accuracy() -> None:
    targets = torch.tensor([[0.0], [1.0], [2.0]])
    assert Notebook().metric(targets, targets) == 1
    assert Notebook().metric(torch.full((3, 1), 1.0), targets) == pytest.approx(0)
    logits = torch.eye(10)[[3, 1, 4]]
    assert Digits().metric(logits, torch.tensor([3, 1, 5])) == pytest.approx(2 / 3)
