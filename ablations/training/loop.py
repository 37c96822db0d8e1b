"""One run in plain PyTorch: the engine that judges every faster one.

The whole of it, with the places where techniques act in capitals::

    data = task.data(seed)
    network = model.build(NORM.layer, REGULARIZER.layer);  INIT.fill(weights);  NORM.wrap(layers)
    optimizer = OPTIMIZER.build(parameters, lr, REGULARIZER.decay)
    scheduler = SCHEDULE.scheduler(optimizer)
    for epoch in epochs:
        for batch in the order of (seed, epoch):
            objective = REGULARIZER.objective(network(batch), targets, parameters, loss)
            backward;  optimizer step;  REGULARIZER.shrink(weights);  SCHEDULE.after_step
        SCHEDULE.after_epoch(objective)
        losses on both splits, in evaluation mode
        stop as diverged where one of them is not finite
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ablations.core.random import Draws, Streams
from ablations.models.base import initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data
from ablations.techniques.base import RandomLayer
from ablations.training.result import EpochRecord, RunResult


def train(run: Run, stop: int | None = None) -> RunResult:
    """Train one run to its end, or to the epoch in which a loss is no longer finite.

    Every number of the result but ``train_seconds`` depends on the run alone.

    Parameters
    ----------
    stop
        The epoch after which to stop, for a look at the beginning; the last one by default.
    """
    streams, device = run.streams, run.configuration.device.torch_device()
    with one_thread(), streams.isolated(device):
        return _train(run, streams, stop)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside, as many as before after it: sums split over threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(run: Run, streams: Streams, stop: int | None) -> RunResult:
    configuration = run.configuration
    data = on_device(configuration.task.data(streams), configuration)
    network = initialise_network(configuration, streams)
    configuration.device.synchronize()
    start = time.perf_counter()
    curve = tuple(itertools.islice(train_epochs(configuration, network, data, streams), stop))
    configuration.device.synchronize()
    seconds = time.perf_counter() - start
    finished = curve[-1].finite
    metric = None
    if finished:
        with torch.no_grad():
            metric = float(configuration.task.metric(network(data.x_val), data.y_val))
    return RunResult(
        run,
        status="ok" if finished else "diverged",
        reason=None if finished else f"non-finite loss in epoch {curve[-1].epoch}",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        metric=metric,
        train_seconds=seconds,
        curve=curve,
    )


def on_device(data: Data, configuration: Configuration) -> Data:
    """The data on the configuration's device, in its precision."""
    device, dtype = configuration.device.torch_device(), configuration.torch_dtype

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

    return Data(move(data.x_train), move(data.y_train), move(data.x_val), move(data.y_val))


def train_epochs(
    configuration: Configuration, network: nn.Module, data: Data, streams: Streams
) -> Iterator[EpochRecord]:
    """Train epoch by epoch; the last one given is the run's last, or its first that is not
    finite.
    """
    regularizer, schedule = configuration.regularizer, configuration.schedule
    optimizer = configuration.optimizer.build(
        network.parameters(), configuration.lr, regularizer.penalties().decay
    )
    steps = configuration.steps_per_epoch
    scheduler = schedule.scheduler(optimizer, configuration.epochs, steps)
    draws = Draws(streams)
    set_draws(network, draws)
    for number in range(1, configuration.epochs + 1):
        lr = float(optimizer.param_groups[0]["lr"])
        network.train()
        total = 0.0
        for rows in batch_rows(configuration, streams, number, data.x_train.device):
            inputs, targets = data.x_train[rows], data.y_train[rows]
            optimizer.zero_grad()
            objective = regularizer.objective(
                network(inputs), targets, network.parameters(), configuration.task.loss
            )
            objective.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            shrink(configuration, network)
            schedule.after_step(scheduler)
            draws.step += 1
            total += float(objective.detach()) * len(inputs)
        mean = total / len(data.x_train)
        schedule.after_epoch(scheduler, mean)
        network.eval()
        with torch.no_grad():
            train_loss = float(configuration.task.loss(network(data.x_train), data.y_train))
            val_loss = float(configuration.task.loss(network(data.x_val), data.y_val))
        epoch = EpochRecord(number, mean, train_loss, val_loss, lr)
        yield epoch
        if not epoch.finite:
            return


def set_draws(network: nn.Module, draws: Draws | None) -> None:
    """Let the random layers of a network draw from a run's streams; None takes them away."""
    for layer in network.modules():
        if isinstance(layer, RandomLayer):
            layer.draws = draws


def batch_rows(
    configuration: Configuration, streams: Streams, epoch: int, device: torch.device
) -> Iterator[Tensor | slice]:
    """The rows of each batch of an epoch; a full batch keeps the rows as they lie."""
    rows, size = configuration.task.rows, configuration.rows_per_batch
    if size == rows:
        yield slice(None)
        return
    order = streams.permutation(rows, "order", epoch).to(device)
    yield from torch.split(order, size)


@torch.no_grad()
def shrink(configuration: Configuration, network: nn.Module) -> None:
    """Hold the weights to what the regularizer allows, after a step."""
    for _, layer, _ in configuration.model.weights(network):
        # A unit's weights are a vector, in a convolution as well.
        factor = configuration.regularizer.shrink(layer.weight.flatten(1))
        if factor is None:
            return
        lengths = configuration.norm.lengths(layer)
        lengths.mul_(factor.view(-1, *[1] * (lengths.ndim - 1)))
