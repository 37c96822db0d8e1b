"""The multi-layer perceptron: the order of its layers and those of the techniques."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from ablations.models.mlp import MLP
from ablations.tasks.notebook import Notebook
from ablations.tasks.sklearn import Digits
from ablations.techniques.norms import LayerNorm, NoNorm
from ablations.techniques.regularizers import Dropout, InputNoise, NoRegularizer


def names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_children()]


def test_the_norm_follows_the_activation_as_in_the_notebook() -> None:
    network = MLP().build(Notebook(), LayerNorm(), Dropout())
    assert names(network) == [
        "hidden1", "activation1", "norm1", "regularizer1",
        "hidden2", "activation2", "norm2", "regularizer2", "output",
    ]  # fmt: skip


def test_a_parameter_puts_the_norm_before_the_activation() -> None:
    network = MLP(norm_position="before", hidden=(8,)).build(Notebook(), LayerNorm(), InputNoise())
    assert names(network) == ["regularizer0", "hidden1", "norm1", "activation1", "output"]


@pytest.mark.parametrize("hidden", [(64, 32), (5,), (8, 8, 8)])
def test_widths_and_parameters(hidden: tuple[int, ...]) -> None:
    model = MLP(hidden=hidden)
    network = model.build(Digits(), NoNorm(), NoRegularizer())
    sizes = (64, *hidden, 10)
    expected = sum((a + 1) * b for a, b in pairwise(sizes))
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.zeros(4, 64)).shape == (4, 10)
    assert [kind for *_, kind in model.weights(network)] == ["relu"] * len(hidden) + ["linear"]


def test_each_layer_has_its_dropout_rate_and_deeper_ones_the_last() -> None:
    network = MLP(hidden=(8, 8, 8)).build(Notebook(), NoNorm(), Dropout(p=(0.5, 0.2)))
    rates = [getattr(layer, "rate", None) for layer in network.children() if hasattr(layer, "rate")]
    assert rates == [0.5, 0.2, 0.2]
