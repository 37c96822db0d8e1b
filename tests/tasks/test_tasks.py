"""The tasks' data."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from sklearn.datasets import load_digits, make_friedman1
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from ablations.core.random import Streams
from ablations.core.registry import registered
from ablations.tasks.base import Task
from ablations.tasks.files import Table
from ablations.tasks.friedman1 import Friedman1
from ablations.tasks.mnist1d import MNIST1D, draw_sequences
from ablations.tasks.notebook import Notebook
from ablations.tasks.sklearn import BreastCancer, Diabetes, Digits

SPLITS = ("train", "val")


OURS = [cls for cls in registered("task").values() if not issubclass(cls, Table)]


@pytest.mark.parametrize("cls", OURS)
def test_contract_of_a_task(cls: type[Task]) -> None:
    task = cls()
    data = task.data(Streams(0))
    assert data.x_train.shape == (task.rows, task.inputs)
    assert data.x_val.shape[1:] == (task.inputs,)
    assert data.x_train.dtype == data.x_val.dtype == torch.float32
    outputs = torch.zeros(len(data.y_val), task.outputs)
    assert task.mean_loss(outputs, data.y_val).shape == ()
    assert task.metric(outputs, data.y_val) <= 1
    again, other = task.data(Streams(0)), task.data(Streams(1))
    assert torch.equal(again.x_train, data.x_train)
    assert not torch.equal(other.x_train, data.x_train)


def test_notebook_is_uniform_noise_with_a_validation_draw_of_its_own() -> None:
    many = [Notebook().data(Streams(seed)) for seed in range(50)]
    inputs = torch.cat([data.x_train for data in many]).flatten()
    targets = torch.cat([data.y_val for data in many]).flatten()
    for values in (inputs, targets):
        assert 0 <= float(values.min()) < 0.01
        assert 0.99 < float(values.max()) <= 1
        assert float(values.mean()) == pytest.approx(0.5, abs=0.02)
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


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "friedman1", "digits"])
def test_a_split_is_scaled_by_its_training_rows_alone(name: str) -> None:
    task = registered("task")[name]()
    assert isinstance(task, Task)
    data = task.data(Streams(3))
    assert len(data.x_train) == task.rows
    assert torch.allclose(data.x_train.mean(0), torch.zeros(task.inputs), atol=1e-5)
    assert not torch.allclose(data.x_val.mean(0), torch.zeros(task.inputs), atol=1e-3)
    if not task.classification:
        assert data.y_train.shape == (task.rows, 1)
        assert float(data.y_train.mean()) == pytest.approx(0, abs=1e-5)
        assert float(data.y_train.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_known_facts_of_the_data() -> None:
    # R² of a least-squares fit: 0.52 on all 442 patients (Efron et al., 2004).
    data = Diabetes().data(Streams(0))
    x = torch.cat([data.x_train, data.x_val]).double()
    y = torch.cat([data.y_train, data.y_val]).double()
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    fitted = design @ torch.linalg.lstsq(design, y).solution
    assert float(Diabetes().metric(fitted, y)) == pytest.approx(0.518, abs=0.001)
    classes = torch.cat([*(getattr(BreastCancer().data(Streams(1)), f"y_{s}") for s in SPLITS)])
    assert classes.bincount().tolist() == [212, 357]


def test_friedman_s_function_is_scikit_learn_s() -> None:
    x, y = make_friedman1(1_200, random_state=0, noise=0.0)

    class Given(Streams):
        """Streams that give scikit-learn's inputs."""

        def uniform(self, shape: Sequence[int], purpose: str, counter: int = 0) -> torch.Tensor:
            return (
                torch.from_numpy(x)
                if purpose == "data/inputs"
                else super().uniform(shape, purpose, counter)
            )

    streams = Given(5)
    order = streams.permutation(1_200, "split").numpy()
    y = y[order]
    scaled = (y - y[:200].mean()) / y[:200].std()
    data = Friedman1(noise=0.0).data(streams)
    assert data.y_train[:, 0].numpy() == pytest.approx(scaled[:200], abs=1e-5)
    assert data.y_val[:, 0].numpy() == pytest.approx(scaled[200:], abs=1e-5)


@pytest.mark.slow
def test_series_of_mnist1d_are_curves_moved_and_covered_by_noise() -> None:
    x, digits = draw_sequences(Streams(0), 400)
    again, _ = draw_sequences(Streams(0), 400)
    other, _ = draw_sequences(Streams(1), 400)
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert x.shape == (4_000, 40)
    assert digits.bincount().tolist() == [400] * 10
    # The shear is a line through the middle of at most 0.375 at the ends; noise has no mean.
    slope = (x - x.mean(1, keepdim=True)) @ torch.linspace(-1, 1, 40, dtype=x.dtype)
    assert abs(float(slope.mean())) < 0.1 * float(slope.std())
    # A curve can be found by its shape wherever it lies, which a linear model cannot use.
    data = MNIST1D().data(Streams(0))
    assert float(data.x_train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.x_train.std()) == pytest.approx(1, abs=1e-3)
    linear = LogisticRegression(max_iter=200).fit(data.x_train, data.y_train)
    assert 0.25 < linear.score(data.x_val, data.y_val) < 0.4
    forest = RandomForestClassifier(60, random_state=0).fit(data.x_train, data.y_train)
    assert 0.7 < forest.score(data.x_val, data.y_val) < 0.85
