"""The recurrent network against PyTorch's own, and where its norms and inits act."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablations.core.random import Streams
from ablations.models.gru import GRU, Recurrence
from ablations.tasks.sklearn import Digits
from ablations.techniques.inits import Orthogonal, XavierUniform
from ablations.techniques.norms import BatchNorm, LayerNorm, NoNorm, WeightNorm
from ablations.techniques.regularizers import Dropout, NoRegularizer


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7), (2, 5, 3)])
def test_without_norm_it_is_pytorch_s(shape: tuple[int, ...]) -> None:
    ours = Recurrence(shape, 6, NoNorm())
    features = torch.Size(shape).numel() // shape[1]
    theirs = nn.GRU(features, 6, batch_first=True)
    with torch.no_grad():
        for part, layer in (("ih", ours.input), ("hh", ours.hidden)):
            theirs.get_parameter(f"weight_{part}_l0").copy_(layer.weight)
            theirs.get_parameter(f"bias_{part}_l0").copy_(layer.bias)
    x = torch.randn(4, *shape)
    steps = torch.stack([x[:, :, step].flatten(1) for step in range(shape[1])], 1)
    torch.testing.assert_close(ours(x.flatten(1)), theirs(steps)[0][:, -1])


def test_norms_stand_before_the_gates_and_serve_all_steps() -> None:
    network = GRU(width=16).build(Digits(), LayerNorm(), Dropout())
    names = [name for name, _ in network.named_parameters()]
    assert [name for name in names if "norm" in name] == [
        f"recurrence.{norm}.{part}"
        for norm in ("input_norm", "hidden_norm")
        for part in ("weight", "bias")
    ]
    assert [name for name, _ in network.named_children()] == [
        "recurrence",
        "regularizer1",
        "output",
    ]
    batch = Recurrence((1, 8, 8), 4, BatchNorm())
    batch(torch.randn(10, 64))
    counted = batch.hidden_norm.num_batches_tracked
    assert isinstance(counted, torch.Tensor)
    assert int(counted) == 8


def test_each_gate_is_filled_as_a_layer_of_its_own() -> None:
    model = GRU(width=8)
    network = model.build(Digits(), NoNorm(), NoRegularizer())
    with torch.no_grad():
        model.fill(network, Orthogonal(), Streams(0))
        hidden = network.get_parameter("recurrence.hidden.weight")
        for gate in hidden.chunk(3):
            torch.testing.assert_close(gate @ gate.t(), torch.eye(8), atol=1e-5, rtol=0)
        model.fill(network, XavierUniform(), Streams(0))
        bound = (6 / (8 + 8)) ** 0.5
        assert 0.9 * bound < float(hidden.abs().max()) <= bound


def test_weight_norm_wraps_both_products_and_changes_nothing_at_the_start() -> None:
    model = GRU(width=8)
    network = model.build(Digits(), WeightNorm(), NoRegularizer())
    x = torch.randn(3, 64)
    before = network(x)
    for _, layer, kind in model.weights(network):
        if kind != "linear":
            WeightNorm().wrap(layer)
    torch.testing.assert_close(network(x), before)
    assert len(list(network.parameters())) == 8
