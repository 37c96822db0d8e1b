"""The recurrent network against PyTorch's, and the effect of its norms and inits."""

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
def test_without_norm_it_equals_pytorch(shape: tuple[int, ...]) -> None:
    recurrence = Recurrence(shape, 6, NoNorm())
    features = torch.Size(shape).numel() // shape[1]
    reference = nn.GRU(features, 6, batch_first=True)
    with torch.no_grad():
        for suffix, layer in (("ih", recurrence.input), ("hh", recurrence.hidden)):
            reference.get_parameter(f"weight_{suffix}_l0").copy_(layer.weight)
            reference.get_parameter(f"bias_{suffix}_l0").copy_(layer.bias)
    x = torch.randn(4, *shape)
    steps = torch.stack([x[:, :, step].flatten(1) for step in range(shape[1])], 1)
    torch.testing.assert_close(recurrence(x.flatten(1)), reference(steps)[0][:, -1])


def test_norms_precede_the_gates_and_all_steps_share_them() -> None:
    network = GRU(width=16).build(Digits(), LayerNorm(), Dropout())
    names = [name for name, _ in network.named_parameters()]
    assert [name for name in names if "norm" in name] == [
        f"recurrence.{norm}.{parameter}"
        for norm in ("input_norm", "hidden_norm")
        for parameter in ("weight", "bias")
    ]
    assert [name for name, _ in network.named_children()] == [
        "recurrence",
        "regularizer1",
        "output",
    ]
    batch = Recurrence((1, 8, 8), 4, BatchNorm())
    batch(torch.randn(10, 64))
    n_batches = batch.hidden_norm.num_batches_tracked
    assert isinstance(n_batches, torch.Tensor)
    assert int(n_batches) == 8


def test_each_gate_is_filled_as_a_separate_layer() -> None:
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


def test_weight_norm_wraps_both_products_and_does_not_change_the_initial_outputs() -> None:
    model = GRU(width=8)
    network = model.build(Digits(), WeightNorm(), NoRegularizer())
    x = torch.randn(3, 64)
    before = network(x)
    for _, layer, kind in model.weights(network):
        if kind != "linear":
            WeightNorm().wrap(layer)
    torch.testing.assert_close(network(x), before)
    assert len(list(network.parameters())) == 8
