"""The convolutional network: its layers, its sizes and its norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablations import Study
from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import registered
from ablations.models.cnn import CNN
from ablations.study.expand import expand
from ablations.tasks.base import Task
from ablations.tasks.mnist1d import MNIST1D
from ablations.tasks.sklearn import Digits
from ablations.techniques.base import Norm, PerPosition
from ablations.techniques.inits import DefaultInit
from ablations.techniques.norms import BatchNorm, GroupNorm, LayerNorm, NoNorm
from ablations.techniques.regularizers import Dropout, NoRegularizer


def test_layers_are_in_the_usual_order() -> None:
    network = CNN().build(Digits(), BatchNorm(), Dropout())
    assert [name for name, _ in network.named_children()] == [
        "maps", "hidden1", "norm1", "activation1", "regularizer1",
        "hidden2", "norm2", "activation2", "regularizer2", "flat", "output",
    ]  # fmt: skip


@pytest.mark.parametrize("task", [Digits(), MNIST1D()], ids=lambda task: task.name)
@pytest.mark.parametrize(
    "model", [CNN(), CNN(kernel=5, stride=3), CNN(channels=(4,), kernel=1, stride=1)], ids=repr
)
@pytest.mark.parametrize("name", sorted(registered("norm")))
def test_every_kernel_size_and_stride_fits(task: Task, model: CNN, name: str) -> None:
    norm: Norm = registered("norm")[name]()  # type: ignore[assignment]
    if name == "group":
        norm = GroupNorm(channels=4)
    network = model.build(task, norm, NoRegularizer())
    assert network(torch.zeros(3, task.inputs)).shape == (3, task.outputs)


def test_initial_biases_are_within_the_bound_of_their_fan_in() -> None:
    model = CNN(channels=(5, 7))
    network = model.build(Digits(), NoNorm(), NoRegularizer())
    with torch.no_grad():
        model.fill(network, DefaultInit(), Streams(0))
    layer = network.get_submodule("hidden2")
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    bound = 1 / (5 * 9) ** 0.5
    assert 0.5 * bound < float(layer.bias.detach().abs().max()) <= bound
    assert float(layer.weight.detach().abs().max()) <= bound


def test_a_task_without_a_shape_is_skipped_with_the_reason() -> None:
    grid = expand(Study(task="diabetes", model="cnn", seeds=2))
    assert not grid.runs
    (reason,) = {reason for _, reason in grid.skipped}
    assert reason == (
        "the model 'cnn' needs rows of shape (channel, …) with 2 to 4 dimensions; "
        "a row of the task 'diabetes' is 10 numbers"
    )


def test_an_even_kernel_size_is_refused() -> None:
    with pytest.raises(RequestError, match="has a middle"):
        Study(task="digits", model={"name": "cnn", "kernel": 4}, seeds=1)


def test_layer_norm_is_over_examples_and_batch_norm_over_channels() -> None:
    x = torch.randn(6, 8, 5, 5)
    over_example = LayerNorm().maps(8, 2)(x)
    assert torch.allclose(over_example.mean((1, 2, 3)), torch.zeros(6), atol=1e-5)
    over_channel = BatchNorm().maps(8, 2)(x)
    assert torch.allclose(over_channel.mean((0, 2, 3)), torch.zeros(8), atol=1e-5)


def test_a_norm_without_maps_normalises_each_position() -> None:
    class NormOfRows(Norm):
        def layer(self, width: int) -> nn.Module:
            return nn.LayerNorm(width)

    layer = NormOfRows().maps(4, 2)
    assert isinstance(layer, PerPosition)
    x = torch.randn(2, 4, 3, 5)
    expected = nn.LayerNorm(4)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), expected)
