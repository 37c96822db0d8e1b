"""One run in plain PyTorch: the reference engine, which every faster engine must reproduce.

The training, with the places where techniques act in capitals::

    data = task.data(seed)
    network = model.build(NORM.layer, REGULARIZER.layer);  INIT.fill(weights);  NORM.wrap(layers)
    optimizer = OPTIMIZER.build(parameters, lr, REGULARIZER.decay)
    scheduler = SCHEDULE.scheduler(optimizer)
    for epoch in epochs:
        for batch in the order of (seed, epoch):
            objective = REGULARIZER.objective(network(batch), targets, parameters, loss)
            backward;  optimizer step;  REGULARIZER.shrink(weights);  SCHEDULE.after_step
        SCHEDULE.after_epoch(objective)
        losses of both splits, in evaluation mode (if NORM.recomputes_statistics: with statistics
            of all training rows, taken with the present weights)
        stop as diverged if one of them is not finite
    loss and metrics of the judged epoch, on test rows if there are some
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ablations.core.random import Draws, Streams
from ablations.models.base import initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data
from ablations.techniques.base import RandomLayer
from ablations.training.curve import Curve, EpochRecord
from ablations.training.evaluation import Evaluation, evaluate, find_baseline, judging_rows
from ablations.training.result import RunResult
from ablations.training.statistics import recompute_statistics


def train(run: Run, stop: int | None = None) -> RunResult:
    """Train one run to its last epoch, or to the epoch in which a loss is not finite.

    Every number of the result but ``train_seconds`` depends on the run alone.  Training ends after
    ``stop`` epochs, if given.
    """
    configuration, streams = run.configuration, run.streams
    device = configuration.device
    with one_thread(), streams.isolated(device.torch_device()):
        data = load_data(configuration, configuration.data_streams(run.seed))
        network = initialise_network(configuration, streams)
        device.synchronize()
        start = time.perf_counter()
        epochs = itertools.islice(train_epochs(configuration, network, data, streams), stop)
        curve = _train_to_judged_epoch(configuration, network, epochs)
        device.synchronize()
        seconds = time.perf_counter() - start
        finite, evaluation = curve[-1].finite, Evaluation()
        if finite:
            x, y = judging_rows(data)
            with torch.no_grad():
                outputs = network(x)
            baselines = [find_baseline(configuration, run.seed, data)]
            (evaluation,) = evaluate(configuration, [data], outputs[None], y[None], baselines)
    return RunResult(
        run,
        status="ok" if finite else "diverged",
        reason=None if finite else f"non-finite loss in epoch {curve[-1].epoch}",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        evaluation=evaluation,
        train_seconds=seconds,
        curve=curve,
    )


def _train_to_judged_epoch(
    configuration: Configuration, network: nn.Module, epochs: Iterable[EpochRecord]
) -> Curve:
    """Train all epochs, and leave the network as it was after the epoch that is judged."""
    if configuration.judge == "last":
        return Curve.collect(epochs)
    best: dict[str, Tensor] = {}
    curve = Curve.collect(_copy_best_state(network, epochs, best))
    if best:
        network.load_state_dict(best)
    return curve


def _copy_best_state(
    network: nn.Module, epochs: Iterable[EpochRecord], best: dict[str, Tensor]
) -> Iterator[EpochRecord]:
    """Yield the epochs; ``best`` becomes the state after that with the lowest validation loss."""
    lowest = math.inf
    for record in epochs:
        if record.val_loss < lowest:
            lowest = record.val_loss
            best.update({name: value.clone() for name, value in network.state_dict().items()})
        yield record


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread of PyTorch: a sum that is split over threads is rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_device(tensor: Tensor, c: Configuration) -> Tensor:
    """Move a tensor to the configuration's device, in its precision."""
    dtype = c.torch_dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.to(c.device.torch_device(), dtype)


def load_data(configuration: Configuration, streams: Streams) -> Data:
    """Load the task's data, and move them to the configuration's device, in its precision."""
    data = configuration.task.splits(streams)
    names = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
    tensors = {n: tensor for n in names if (tensor := getattr(data, n)) is not None}
    return replace(data, **{n: to_device(tensor, configuration) for n, tensor in tensors.items()})


class PlainStep:
    """A network's optimizer and schedule, and an optimizer step as a user would write it."""

    def __init__(self, configuration: Configuration, network: nn.Module, epochs: int) -> None:
        c = configuration
        self._configuration, self.network = c, network
        decay = c.regularizer.penalties().decay
        self.optimizer = c.optimizer.build(network.parameters(), c.lr, decay)
        self._scheduler = c.schedule.scheduler(self.optimizer, epochs, c.steps_per_epoch)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the objective of a batch."""
        self.optimizer.zero_grad()
        c, outputs = self._configuration, self.network(x)
        return c.regularizer.objective(outputs, y, self.network.parameters(), c.task.mean_loss)

    def update(self) -> None:
        """Update the parameters after ``backward``."""
        self.optimizer.step()
        shrink(self._configuration, self.network)
        self._configuration.schedule.after_step(self._scheduler)

    def after_epoch(self, objective: float) -> None:
        self._configuration.schedule.after_epoch(self._scheduler, objective)


def train_epochs(
    configuration: Configuration, network: nn.Module, data: Data, streams: Streams
) -> Iterator[EpochRecord]:
    """Train epoch by epoch, to the last one or the first whose losses are not finite."""
    task = configuration.task
    step = PlainStep(configuration, network, configuration.epochs)
    draws = Draws(streams)
    set_draws(network, draws)
    for number in range(1, configuration.epochs + 1):
        lr = float(step.optimizer.param_groups[0]["lr"])
        network.train()
        total = 0.0
        for rows in batch_rows(configuration, streams, number, data.x_train.device):
            x, y = data.x_train[rows], data.y_train[rows]
            objective = step.forward(x, y)
            objective.backward()  # type: ignore[no-untyped-call]
            step.update()
            draws.step += 1
            total += float(objective.detach()) * len(x)
        mean = total / len(data.x_train)
        step.after_epoch(mean)
        network.eval()
        if configuration.norm.recomputes_statistics():
            recompute_statistics(network, data.x_train)
        with torch.no_grad():
            train_loss = float(task.mean_loss(network(data.x_train), data.y_train))
            val_loss = float(task.mean_loss(network(data.x_val), data.y_val))
        yield (epoch := EpochRecord(number, mean, train_loss, val_loss, lr))
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
    """The rows of each batch of an epoch; a full batch has the rows in their stored order."""
    rows, size = configuration.task.rows, configuration.rows_per_batch
    if size == rows:
        yield slice(None)
        return
    order = streams.permutation(rows, "order", epoch).to(device)
    yield from torch.split(order, size)


@torch.no_grad()
def shrink(configuration: Configuration, network: nn.Module) -> None:
    """Scale weights to what the regularizer allows, after a step."""
    for layer in configuration.model.weighted_layers(network):
        # The weights of a unit are one vector, in a convolution too.
        factor = configuration.regularizer.shrink(layer.weight.flatten(1))
        if factor is None:
            return
        lengths = configuration.norm.lengths(layer)
        lengths.mul_(factor.view(-1, *[1] * (lengths.ndim - 1)))
