"""Stacked forms of layers, and networks of users."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ablations.techniques.base import Norm, PerPosition, Regularizer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.fused.networks import stack_sequence

from .foreign import Residual, foreign_runs
from .fused_runs import assert_is_the_loop_s, numbers, runs_of, train_fused


class Branching(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


@pytest.mark.parametrize(
    ("axis", "level"),
    [
        *(("norm", name) for name in ("none", "layer", "batch", "rms", "weight_norm")),
        *(("regularizer", name) for name in ("elastic", "dropout", "max_norm")),
    ],
)
def test_any_module_runs_mapped(axis: str, level: str) -> None:
    runs = foreign_runs(Residual, axes={axis: [level]}, batch_size=30, dtype="float64", seeds=5)
    results = train_fused(runs)
    for run in runs[:2]:
        assert results[run.run_id].engine == "vmap"
        # PyTorch's own batch norm sums in another order when it is mapped.
        assert_is_the_loop_s(results[run.run_id], 1e-7 if level == "batch" else 1e-9)
    few = train_fused(runs[2:4])
    for run_id, result in few.items():
        assert numbers(result) == numbers(results[run_id])


class Twice(Residual):
    """Asks the regularizer for one site twice."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__(inputs, outputs, norm, regularizer)
        self.again = regularizer.layer(1) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.again(x))


class Deeper(Residual):
    """Asks the regularizer for a site after its last."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, regularizer: Regularizer) -> None:
        super().__init__(inputs, outputs, norm, regularizer)
        self.drop = regularizer.layer(2) or nn.Identity()


def test_layers_that_share_a_purpose_draw_as_in_the_loop() -> None:
    runs = foreign_runs(Twice, axes={"regularizer": ["dropout"]}, batch_size=30, dtype="float64")
    for result in train_fused(runs).values():
        assert result.engine == "vmap"
        assert_is_the_loop_s(result, 1e-9)


def test_a_layer_whose_rate_no_cohort_knows_goes_through_the_loop() -> None:
    (run,) = foreign_runs(Deeper, axes={"regularizer": ["dropout"]})
    with pytest.raises(NotStackableError, match="'dropout/2' stands where"):
        build_program(run.configuration)


def test_a_task_without_a_loss_of_each_row_goes_through_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (run,) = runs_of()
    task = type(run.configuration.task)
    monkeypatch.setattr(task, "mean_loss", lambda self, outputs, targets: outputs.mean())
    with pytest.raises(NotStackableError, match="'notebook' has no loss of each row"):
        build_program(run.configuration)


def test_a_layer_that_comes_again_is_not_left_out() -> None:
    shared = nn.ReLU()
    module = nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2))
    network = stack_sequence(module, torch.zeros(1, 3))
    x = torch.randn(5, 3)
    parameters = network.split(network.flatten(module)[None])
    outputs, _ = network.forward(parameters, {}, x[None], (), training=False)
    torch.testing.assert_close(outputs[0], module(x))
    twice = nn.Linear(4, 4)
    with pytest.raises(NotStackableError, match="in two places"):
        stack_sequence(nn.Sequential(twice, nn.ReLU(), twice), torch.zeros(1, 4))


def unflattened(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *layers)


@pytest.mark.parametrize(
    "module",
    [
        unflattened(nn.Conv2d(1, 2, 2, dilation=2)),
        unflattened(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")),
        unflattened(nn.Conv2d(1, 2, 3, padding="same")),
        unflattened(nn.Conv2d(1, 2, 3, bias=False)),
        unflattened(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2)),
        unflattened(nn.LayerNorm(4)),
        unflattened(nn.LayerNorm((1, 4, 4))),
        unflattened(nn.Linear(4, 4)),
        unflattened(nn.Flatten(1, 2)),
        unflattened(nn.MaxPool2d(2)),
        nn.Sequential(weight_norm(nn.Linear(16, 16), dim=1)),
        nn.Linear(16, 2),
    ],
    ids=str,
)
def test_what_has_no_stacked_form_is_refused(module: nn.Module) -> None:
    with pytest.raises(NotStackableError):
        stack_sequence(module, torch.zeros(1, 16))


@pytest.mark.parametrize(
    "module",
    [
        unflattened(nn.Conv2d(1, 3, (3, 2), (2, 1), (1, 0)), nn.ReLU(), nn.Flatten()),
        unflattened(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)),
        unflattened(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(16)),
        unflattened(PerPosition(nn.LayerNorm(1)), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (4, 4)), PerPosition(nn.BatchNorm1d(4)), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (2, 8)), nn.Conv1d(2, 3, 3, 2), nn.Tanh(), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (2, 2, 2, 2)), nn.Conv3d(2, 3, 2, padding=1), nn.Flatten()),
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_pictures_and_series_are_what_the_layers_make_of_them(
    module: nn.Module, training: bool
) -> None:
    module = module.double()
    x = torch.randn(6, 16, dtype=torch.float64)
    network = stack_sequence(module, x[:1])
    parameters = network.split(network.flatten(module)[None])
    state = {name: tensor[None] for name, tensor in network.initial_state(module).items()}
    outputs, _ = network.forward(parameters, state, x[None], (), training=training)
    torch.testing.assert_close(outputs[0], module.train(training)(x))


def test_a_module_that_cannot_be_mapped_says_why() -> None:
    (run,) = foreign_runs(Branching)
    with pytest.raises(NotStackableError, match=r"torch\.func\.vmap cannot run its network"):
        build_program(run.configuration)
