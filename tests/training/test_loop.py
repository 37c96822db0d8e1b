"""The loop engine against plain code in the notebook's manner, and its own promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn, optim

from ablations import Study
from ablations.core.random import Streams
from ablations.core.registry import registered
from ablations.models.base import initialise_network
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.training.loop import batch_rows, train, train_epochs
from ablations.training.result import RunResult


def runs_of(**study: Any) -> tuple[Run, ...]:
    return expand(Study(**({"task": "notebook", "seeds": 1} | study))).runs


def result_of(**study: Any) -> RunResult:
    (run,) = runs_of(**study)
    return train(run)


def dropout(
    streams: Streams, shape: tuple[int, int], rate: float, place: int, step: int
) -> torch.Tensor:
    """A mask as the definition has it: 16 bits an entry, and the scale of the rate really kept."""
    dropped = round(rate * 2**16)
    mask = streams.lanes(shape, f"dropout/{place}", step) >= dropped - 2**15
    return mask.double() * 2**16 / (2**16 - dropped)


class SimpleNN(nn.Module):
    """The notebook's network, with the layers of its regularization and normalisation cells."""

    def __init__(self, norm: type[nn.Module] | None, masks: list[Any] | None) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(10, 64), nn.Linear(64, 32), nn.Linear(32, 1)
        self.norm1 = norm(64) if norm else nn.Identity()
        self.norm2 = norm(32) if norm else nn.Identity()
        self.masks = masks
        self.step = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(torch.relu(self.fc1(x)))
        x = self.drop(x, 0)
        x = self.norm2(torch.relu(self.fc2(x)))
        x = self.drop(x, 1)
        return self.fc3(x)  # type: ignore[no-any-return]

    def drop(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        if self.masks is None or not self.training:
            return x
        mask: torch.Tensor = self.masks[layer][self.step]
        return x * mask


@pytest.mark.parametrize(
    ("axes", "norm", "l1", "l2"),
    [
        ({}, None, 0.0, 0.0),
        ({"regularizer": ["elastic"]}, None, 0.01, 0.01),
        ({"regularizer": ["l1"]}, None, 0.01, 0.0),
        ({"regularizer": ["l2"]}, None, 0.0, 0.01),
        ({"regularizer": ["dropout"]}, None, 0.0, 0.0),
        ({"norm": ["layer"]}, nn.LayerNorm, 0.0, 0.0),
        ({"norm": ["batch"]}, nn.BatchNorm1d, 0.0, 0.0),
        ({"norm": ["group"]}, lambda width: nn.GroupNorm(width // 8, width), 0.0, 0.0),
        ({"schedule": ["step"]}, None, 0.0, 0.0),
    ],
)
def test_a_run_is_what_the_notebook_would_have_computed(
    axes: dict[str, list[str]], norm: Any, l1: float, l2: float
) -> None:
    (run,) = runs_of(axes=axes, lr=0.01, dtype="float64")
    streams = Streams(run.seed)
    masks = None
    if "regularizer" in axes and axes["regularizer"] == ["dropout"]:
        masks = [
            [dropout(streams, (100, width), rate, place, n) for n in range(20)]
            for place, width, rate in ((1, 64, 0.5), (2, 32, 0.2))
        ]
    model = SimpleNN(norm, masks).double()
    start = dict(initialise_network(run.configuration, streams).named_children())
    for ours, theirs in (("hidden1", model.fc1), ("hidden2", model.fc2), ("output", model.fc3)):
        theirs.load_state_dict(start[ours].state_dict())
    data = run.configuration.task.data(streams)
    x, y = data.x_train.double(), data.y_train.double()

    optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=l2)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.1)
    criterion = nn.MSELoss()
    printed = []
    for epoch in range(20):
        model.train()
        model.step = epoch
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss = loss + l1 * sum(p.abs().sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
        if "schedule" in axes:
            scheduler.step()
        printed.append(loss.item())
    model.eval()
    with torch.no_grad():
        val_loss = criterion(model(data.x_val.double()), data.y_val.double()).item()

    result = train(run)
    assert [e.objective for e in result.curve] == pytest.approx(printed, rel=1e-9)
    assert result.curve[-1].val_loss == pytest.approx(val_loss, rel=1e-9)
    assert result.parameters == sum(p.numel() for p in model.parameters())


LEVELS = [
    pytest.param(axis, name, id=f"{axis}-{name}")
    for axis in ("regularizer", "norm", "init", "schedule")
    for name, cls in registered(axis).items()
    if name != cls.control  # type: ignore[attr-defined]
]


@pytest.mark.parametrize(("axis", "name"), LEVELS)
def test_every_level_changes_the_run_and_keeps_it_finite(axis: str, name: str) -> None:
    # A rate at which the objective rises now and then, so that the plateau schedule has its say.
    common: dict[str, Any] = {"task": "digits", "epochs": 40, "batch_size": 479, "lr": 0.3}
    if axis != "schedule":
        common |= {"lr": 0.01, "epochs": 8}
    control = result_of(**common)
    changed = result_of(**common, axes={axis: [name]})
    assert changed.status == "ok"
    assert [e.train_loss for e in changed.curve] != [e.train_loss for e in control.curve]
    if axis == "schedule":
        rates = [e.lr for e in changed.curve]
        assert max(rates) <= common["lr"] * (1 + 1e-12)
        assert min(rates) < common["lr"]


@pytest.mark.parametrize(
    "axes", [{}, {"regularizer": ["dropout"]}, {"regularizer": ["input_noise"]}]
)
def test_a_run_alone_and_among_others_is_the_same_to_the_last_bit(axes: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"batch_size": 30, "epochs": 3, "axes": axes}
    alone = result_of(seeds=[4], **settings)
    among = [train(run) for run in runs_of(seeds=[9, 4, 1], **settings)]
    assert among[1].curve == alone.curve
    assert len({result.curve for result in among}) == 3


def test_techniques_on_one_seed_start_from_the_same_weights_and_data() -> None:
    plain, other = runs_of(axes={"regularizer": ["none", "dropout"], "norm": ["none"]})
    normed = runs_of(axes={"norm": ["batch"]})[0]
    states = [
        initialise_network(r.configuration, Streams(0)).state_dict() for r in (plain, other, normed)
    ]
    for state in states[1:]:
        for name, tensor in states[0].items():
            assert torch.equal(state[name], tensor)


def test_base_draws_of_two_inits_are_paired() -> None:
    xavier, kaiming = runs_of(axes={"init": ["xavier_uniform", "kaiming_uniform"]})
    xavier_weight, kaiming_weight = (
        initialise_network(run.configuration, Streams(0)).state_dict()["hidden1.weight"]
        for run in (xavier, kaiming)
    )
    ratio = xavier_weight / kaiming_weight
    assert float(ratio.std() / ratio.mean()) < 1e-5


def test_an_explosion_is_a_result_with_its_epoch() -> None:
    result = result_of(optimizer="sgd", lr=1e4, epochs=30)
    assert result.status == "diverged"
    assert result.reason == f"non-finite loss in epoch {len(result.curve)}"
    assert 1 <= len(result.curve) < 30
    assert result.metric is None
    assert all(torch.isfinite(torch.tensor(e.objective)) for e in result.curve[:-1])


def test_mini_batches_are_a_new_order_every_epoch_and_use_each_row_once() -> None:
    (run,) = runs_of(batch_size=30)
    epochs = [
        torch.cat(list(batch_rows(run.configuration, Streams(0), n, torch.device("cpu"))))  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    for rows in epochs:
        assert sorted(rows.tolist()) == list(range(100))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_the_objective_of_an_epoch_is_the_mean_over_its_rows() -> None:
    # With a rate of almost nothing the network stands still, so batches must average to the whole.
    full = result_of(lr=1e-12, epochs=1, dtype="float64")
    parts = result_of(lr=1e-12, epochs=1, batch_size=30, dtype="float64")
    assert parts.curve[0].objective == pytest.approx(full.curve[0].objective, rel=1e-6)


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    result_of(axes={"regularizer": ["dropout"], "norm": ["batch"]}, epochs=2)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("norm", registered("norm"))
def test_a_max_norm_that_never_binds_changes_nothing(norm: str) -> None:
    loose = {"name": "max_norm", "c": 1e6}
    plain, bound = runs_of(axes={"regularizer": ["none", loose], "norm": [norm]}, epochs=5)
    assert train(bound).curve == train(plain).curve


def test_the_number_of_threads_outside_changes_nothing() -> None:
    # Batch norm sums over a batch, and rounds otherwise when the sum is split over threads.
    (run,) = runs_of(task="digits", batch_size=32, epochs=1, axes={"norm": ["batch"]})
    before = torch.get_num_threads()
    try:
        curves = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            curves.append(train(run).curve)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert curves[0] == curves[1]


def test_layers_that_draw_from_the_global_generator_repeat_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def linear_norm(self: Any, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, width), nn.Dropout(0.3))

    monkeypatch.setattr(registered("norm")["layer"], "layer", linear_norm)
    (run,) = runs_of(axes={"norm": ["layer"]}, epochs=3)
    first = train(run)
    torch.rand(7)
    before = torch.random.get_rng_state()
    assert train(run).curve == first.curve
    assert torch.equal(before, torch.random.get_rng_state())


def test_max_norm_holds_after_every_step_with_weight_norm_too() -> None:
    for norm in ("none", "weight_norm"):
        (run,) = runs_of(
            axes={"regularizer": [{"name": "max_norm", "c": 0.3}], "norm": [norm]}, epochs=2
        )
        network = _trained(run)
        for _, layer, _ in run.configuration.model.weights(network):
            assert float(layer.weight.detach().norm(dim=1).max()) <= 0.3 * (1 + 1e-5)


def _trained(run: Run) -> nn.Module:
    streams = Streams(run.seed)
    network = initialise_network(run.configuration, streams)
    list(train_epochs(run.configuration, network, run.configuration.task.data(streams), streams))
    return network


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_agrees_with_cpu() -> None:
    axes = {"regularizer": ["dropout"], "norm": ["batch"], "device": ["cpu", "cuda"]}
    cpu, cuda = (train(run) for run in runs_of(axes=axes, batch_size=25, dtype="float64"))
    assert [e.val_loss for e in cuda.curve] == pytest.approx(
        [e.val_loss for e in cpu.curve], rel=1e-9
    )


def test_digits_reach_what_a_practitioner_expects() -> None:
    results = [train(run) for run in runs_of(task="digits", batch_size=32, epochs=20, seeds=3)]
    accuracies = [result.metric for result in results]
    assert all(accuracy is not None and 0.95 <= accuracy <= 0.995 for accuracy in accuracies)
