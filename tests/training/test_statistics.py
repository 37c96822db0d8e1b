"""Batch norm that evaluates with statistics of all training rows, in both engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablations.models.base import initialise_network
from ablations.study.configuration import Run
from ablations.training import loop
from ablations.training.fused.trainer import TrainerSettings
from ablations.training.result import RunResult

from .foreign import Residual, foreign_runs
from .fused_runs import assert_is_the_loop_s, assert_same_bits, numbers, runs_of, train_fused

RECOMPUTED: dict[str, Any] = {"name": "batch", "statistics": "training rows"}
FAST = {"name": "batch", "momentum": 1.0}
AXES = {"norm": [RECOMPUTED]}
SMALL = {"name": "mlp", "hidden": [7]}
IN_CHUNKS = TrainerSettings(max_split_bytes=0, chunk_bytes=0, min_chunk_rows=42)


def evaluate_in_pytorch(run: Run, recompute: bool) -> tuple[list[tuple[float, float]], float]:
    """Train a run by a loop of its own; return the losses of each epoch, and the accuracy.

    The statistics of the training rows come from a network with momentum 1.
    """
    c, streams = run.configuration, run.streams
    data, network = loop.load_data(c, streams), initialise_network(c, streams)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d)]
    optimizer = torch.optim.Adam(network.parameters(), c.lr)
    losses = []
    for epoch in range(1, c.epochs + 1):
        network.train()
        for rows in torch.split(streams.permutation(c.task.rows, "order", epoch), c.rows_per_batch):
            optimizer.zero_grad()
            outputs = network(data.x_train[rows])
            loss = nn.functional.cross_entropy(outputs, data.y_train[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if recompute:
            for layer in layers:
                layer.momentum = 1.0
            with torch.no_grad():
                network(data.x_train)
            for layer in layers:
                layer.momentum = c.norm.parameters()["momentum"]
        network.eval()
        with torch.no_grad():
            pairs = ((data.x_train, data.y_train), (data.x_val, data.y_val))
            values = [nn.functional.cross_entropy(network(x), y).item() for x, y in pairs]
        losses.append((values[0], values[1]))
    return losses, accuracy(network(data.x_val), data.y_val)


def accuracy(outputs: Tensor, y: Tensor) -> float:
    return float((outputs.argmax(1) == y).double().mean())


@pytest.mark.parametrize("level", [RECOMPUTED, FAST, {"name": "batch", "momentum": 0.3}], ids=str)
def test_the_losses_are_those_of_a_hand_written_loop(level: dict[str, Any]) -> None:
    axes = {"norm": [level]}
    (run,) = runs_of(task="digits", axes=axes, batch_size=300, epochs=2, dtype="float64")
    expected, metric = evaluate_in_pytorch(run, level is RECOMPUTED)
    for result in (loop.train(run), train_fused([run], 8)[run.run_id]):
        losses = [(epoch.train_loss, epoch.val_loss) for epoch in result.curve]
        assert losses == [pytest.approx(pair, rel=1e-9) for pair in expected]
        assert result.metric == pytest.approx(metric)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"settings": IN_CHUNKS},
        pytest.param({"compiled": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "study",
    [
        {},
        {"batch_size": 30, "model": SMALL, "axes": AXES | {"regularizer": ["dropout"]}},
    ],
    ids=str,
)
def test_fused_is_the_loop(study: dict[str, Any], options: dict[str, Any]) -> None:
    runs = runs_of(**({"axes": AXES, "epochs": 3, "dtype": "float64", "seeds": 2} | study))
    for result in train_fused(runs, 8, **options).values():
        assert result.engine == ("fused-compiled" if "compiled" in options else "fused")
        assert_is_the_loop_s(result, 1e-9)


@pytest.mark.parametrize("model", [{"name": "cnn", "channels": [8]}, {"name": "gru", "width": 5}])
def test_fused_is_the_loop_with_other_models(model: dict[str, Any]) -> None:
    (run,) = runs_of(
        task="digits", model=model, axes=AXES, batch_size=240, epochs=1, dtype="float64"
    )
    result = train_fused([run], 8)[run.run_id]
    assert result.engine == "fused"
    assert_is_the_loop_s(result, 1e-9)


def test_a_network_mapped_over_members_is_the_loop_s() -> None:
    runs = foreign_runs(
        Residual, axes=AXES | {"regularizer": ["dropout"]}, batch_size=30, epochs=2, dtype="float64"
    )
    (result,) = train_fused(runs, 8).values()
    assert result.engine == "vmap"
    assert_is_the_loop_s(result, 1e-9)


@pytest.mark.parametrize("batch_size", ["full", 32])
def test_the_best_epoch_is_judged_with_its_own_statistics(batch_size: Any) -> None:
    study = {"task": {"name": "diabetes", "test": 0.2}, "judge": "best", "batch_size": batch_size}
    runs = runs_of(**study, axes=AXES, lr=0.1, epochs=6, dtype="float64", seeds=3)
    results = train_fused(runs, 8).values()
    for result in results:
        assert_is_the_loop_s(result, 1e-8)
        judged = loop.train(result.run).evaluation
        assert result.evaluation.test_loss == pytest.approx(judged.test_loss, rel=1e-8)
    assert any((best := result.curve.best_epoch()) and best.epoch < 6 for result in results)


@pytest.mark.parametrize("settings", [TrainerSettings(), IN_CHUNKS], ids=["at once", "chunks"])
def test_bit_for_bit_in_any_company(settings: TrainerSettings) -> None:
    runs = runs_of(task="diabetes", axes=AXES, model=SMALL, batch_size=32, seeds=12, epochs=1)
    first = {run_id: numbers(r) for run_id, r in train_fused(runs, 16, settings=settings).items()}
    assert_same_bits((runs[7:8], runs[::-1], runs[5:]), first, 16, settings=settings)


def test_statistics_that_caught_up_show_that_batch_norm_helps() -> None:
    axes = {"norm": ["none", "batch", FAST, RECOMPUTED]}
    runs = runs_of(task="digits", axes=axes, seeds=2, epochs=5, batch_size="full", lr=1e-2)
    results = train_fused(runs, 8)

    def losses(level: str) -> list[float]:
        runs_of_level = [r for r in results.values() if r.run.configuration.norm.label == level]
        return [last_loss(result) for result in runs_of_level]

    without, lagging = losses("none"), losses("batch")
    fast, recomputed = losses("batch(momentum=1.0)"), losses("batch(statistics=training rows)")
    for loss, *others in zip(without, lagging, fast, recomputed, strict=True):
        assert others[0] > 0.8 * loss
        assert max(others[1:]) < 0.6 * loss


def last_loss(result: RunResult) -> float:
    return result.curve[-1].val_loss
