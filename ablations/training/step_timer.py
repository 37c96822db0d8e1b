"""What a step costs: the plain step that a person would write, timed alone.

    for block in blocks:
        for step in the configurations, and the control under a second name, in random order:
            build it anew, take a few steps to warm up, then time

Nothing else of ours runs meanwhile, the number of threads is fixed, no garbage is collected, and
the device has done all its work before a clock is read.  Configurations are compared within blocks,
so that a pace that drifts slows both sides alike.  Seeds, inits and learning rates cost nothing, so
one run stands for all that differ in nothing else.  A step is one of a full batch, always the same;
drawing batches and evaluating, which no technique changes, are not timed.
"""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from torch import nn

from ablations.core.random import Draws, Streams
from ablations.core.registry import canonical
from ablations.models.base import initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.techniques.base import RandomLayer
from ablations.training.cohorts import count_steps
from ablations.training.loop import on_device, shrink
from ablations.training.result import error_message

BLOCKS = 20
"""Blocks that make a measurement whole."""
MIN_BLOCKS = 6
"""Blocks from which on there is a 95 % interval (Wilcoxon's signed ranks)."""
SECONDS = 0.008
"""What one repetition is to take, warming up not counted."""
CHUNKS = 5
"""Parts of a repetition, of which the median counts."""
WARM = 3
MOST_STEPS = 60
CONTROL_ALIAS = "control again"
"""The second name of the control, whose times against the first show what noise can do."""
LOCK = f"ablations-clock-{os.getuid() if hasattr(os, 'getuid') else 'user'}.lock"
"""One of ours times at once, of this user."""
COSTLESS = ("init", "lr")
"""Axes that change numbers and not what a step does."""


@dataclass(frozen=True)
class Repetition:
    """One timed repetition; seconds are those of one step.

    Attributes
    ----------
    seconds
        Of the whole step, the device waited for only at the ends of a chunk.
    forward_seconds, backward_seconds, update_seconds
        Of its parts, the device waited for after each: on an accelerator they add up to more.
    memory
        Bytes: the most that the device held, on an accelerator; else parameters, gradients, the
        optimizer's state, the batch, and what is kept for the backward pass.
    """

    seconds: float
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    steps: int
    memory: int
    parameters: int


class PlainStep:
    """A configuration's network, optimizer and schedule as a person would write them, and a step
    of them.
    """

    def __init__(self, run: Run, steps: int) -> None:
        configuration = run.configuration
        streams = run.streams
        self._configuration = configuration
        self.device = configuration.device
        data = on_device(configuration.task.data(streams), configuration)
        size = configuration.rows_per_batch
        self._inputs, self._targets = data.x_train[:size], data.y_train[:size]
        self.network = with_plain_layers(
            initialise_network(configuration, streams), streams
        ).train()
        self.optimizer = configuration.optimizer.build(
            self.network.parameters(), configuration.lr, configuration.regularizer.penalties().decay
        )
        each = configuration.steps_per_epoch
        epochs = max(configuration.epochs, -(-steps // each))
        self._scheduler = configuration.schedule.scheduler(self.optimizer, epochs, each)
        self._each, self._done = each, 0

    def forward(self) -> torch.Tensor:
        """The objective of a batch."""
        self.optimizer.zero_grad()
        outputs = self.network(self._inputs)
        regularizer, task = self._configuration.regularizer, self._configuration.task
        return regularizer.objective(outputs, self._targets, self.network.parameters(), task.loss)

    def update(self, objective: torch.Tensor) -> None:
        """What follows the gradient."""
        self.optimizer.step()
        shrink(self._configuration, self.network)
        schedule = self._configuration.schedule
        schedule.after_step(self._scheduler)
        self._done += 1
        if self._done % self._each == 0 and self._scheduler is not None:
            schedule.after_epoch(self._scheduler, float(objective.detach()))

    def __call__(self) -> None:
        objective = self.forward()
        objective.backward()  # type: ignore[no-untyped-call]
        self.update(objective)

    def kept(self) -> int:
        """Bytes of all that a step keeps: state, batch, and what the backward pass needs."""
        parameters = list(self.network.parameters())
        given = {_place(tensor) for tensor in (*parameters, self._inputs, self._targets)}
        saved: set[tuple[int, int]] = set()

        def note(tensor: torch.Tensor) -> torch.Tensor:
            saved.add(_place(tensor))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            objective = self.forward()
        objective.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        state = [
            value
            for values in self.optimizer.state.values()
            for value in values.values()
            if isinstance(value, torch.Tensor)
        ]
        gradients = [p.grad for p in parameters if p.grad is not None]
        # What is saved is gone by now, and others may lie where it lay.
        after = {_place(tensor) for tensor in (*gradients, *state)}
        return sum(size for found in (given, saved - given, after) for _, size in found)


def _place(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor's memory lies, and how much of it there is."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def with_plain_layers(network: nn.Module, streams: Streams) -> nn.Module:
    """The network with PyTorch's own layers in place of those that draw from our streams."""
    draws = Draws(streams)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, RandomLayer):
                layer.draws = draws
                setattr(parent, name, layer.plain())
    return network


@cache
def cost_id(configuration: Configuration) -> str:
    """A hash of what a step's cost depends on: all but init and learning rate."""
    told = {name: level for name, level in configuration.columns.items() if name not in COSTLESS}
    return hashlib.blake2b(canonical(told).encode(), digest_size=8).hexdigest()


def time_repetition(run: Run, steps: int) -> Repetition:
    """Build a run's step anew and time it.

    Raises
    ------
    Exception
        Whatever building or training it raises.
    """
    device = run.configuration.device
    with run.streams.isolated(device.torch_device()):
        return _repetition(PlainStep(run, 2 * steps + WARM + 1), steps)


def _repetition(step: PlainStep, steps: int) -> Repetition:
    wait, now = step.device.synchronize, time.perf_counter
    chunk = max(1, steps // CHUNKS)
    step.device.forget_peak()
    for _ in range(WARM):
        step()
    whole = []
    wait()
    for _ in range(CHUNKS):
        start = now()
        for _ in range(chunk):
            step()
        wait()
        whole.append((now() - start) / chunk)
    parts = []
    for _ in range(max(CHUNKS, steps // 4)):
        begun = now()
        objective = step.forward()
        wait()
        passed = now()
        objective.backward()  # type: ignore[no-untyped-call]
        wait()
        known = now()
        step.update(objective)
        wait()
        parts.append((passed - begun, known - passed, now() - known))
    peak = step.device.peak()
    ahead, back, after = (statistics.median(part) for part in zip(*parts, strict=True))
    memory = step.kept() if peak is None else peak
    count = sum(parameter.numel() for parameter in step.network.parameters())
    return Repetition(statistics.median(whole), ahead, back, after, CHUNKS * chunk, memory, count)


def steps_per_repetition(run: Run) -> int:
    """How many steps make a repetition of about ``SECONDS``, from a first look."""
    device = run.configuration.device
    with run.streams.isolated(device.torch_device()):
        step = PlainStep(run, 2 * WARM)
        for _ in range(WARM):
            step()
        device.synchronize()
        start = time.perf_counter()
        for _ in range(WARM):
            step()
        device.synchronize()
    each = (time.perf_counter() - start) / WARM
    return CHUNKS * max(1, min(MOST_STEPS, round(SECONDS / max(each, 1e-9))) // CHUNKS)


@contextmanager
def exclusive_timing(threads: int) -> Iterator[None]:
    """Nothing else of ours is timed on this machine meanwhile, and no garbage is collected."""
    before, collecting = torch.get_num_threads(), gc.isenabled()
    with filelock.FileLock(Path(tempfile.gettempdir()) / LOCK):
        torch.set_num_threads(threads)
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            torch.set_num_threads(before)
            if collecting:
                gc.enable()


def distinct_cost_runs(runs: Iterable[Run]) -> list[Run]:
    """One run for each configuration that differs in what a step costs, in their order."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(cost_id(run.configuration), run)
    return list(found.values())


def cost_levels(run: Run, controls: Mapping[str, object]) -> dict[str, object]:
    """A run's level on each axis that may cost something."""
    columns = run.configuration.columns
    return {axis: columns.get(axis) for axis in controls if axis not in COSTLESS}


def axes_off_control(run: Run, controls: Mapping[str, object]) -> list[str]:
    """The axes on which a run is not at its control, those that cost nothing left out."""
    return [axis for axis, level in cost_levels(run, controls).items() if level != controls[axis]]


def describe_levels(run: Run, controls: Mapping[str, object]) -> str:
    """A run's levels in words."""
    return ", ".join(f"{axis} {level}" for axis, level in cost_levels(run, controls).items())


def select_runs(
    runs: Sequence[Run],
    controls: Mapping[str, object],
    most: int,
    first: Collection[str] = (),
) -> list[Run]:
    """Which configurations to time where there is time for ``most``: all, or the controls
    together, what differs from them on one axis, and those named ``first``.

    Parameters
    ----------
    runs
        One for each configuration that differs in cost.
    first
        Cost ids.
    """
    if len(runs) <= most:
        return list(runs)
    near = [run for run in runs if len(axes_off_control(run, controls)) <= 1]
    named = [run for run in runs if cost_id(run.configuration) in first and run not in near]
    # Where nothing is at its controls there is nothing to be near to.
    return [*near, *named] or list(runs[:most])


@dataclass(frozen=True)
class BlockEntry:
    """What stands in a block: a run, under a second name or not, and its steps."""

    run: Run
    alias: str
    steps: int


def build_block(
    runs: Sequence[Run], controls: Mapping[str, object]
) -> tuple[list[BlockEntry], list[tuple[Run, str]]]:
    """The entries of a block, which are all runs and the control once more under a second name;
    and the runs that cannot be timed, with the reason.
    """
    entries, failed = [], []
    for run in runs:
        try:
            entries.append(BlockEntry(run, "", steps_per_repetition(run)))
        except Exception as error:  # of techniques of somebody else, anything
            failed.append((run, error_message(error)))
    if entries:
        control = min(entries, key=lambda entry: len(axes_off_control(entry.run, controls)))
        entries.append(replace(control, alias=CONTROL_ALIAS))
    return entries, failed


def time_block(entries: Sequence[BlockEntry], threads: int) -> list[dict[str, Any]]:
    """Time every entry once, in an order drawn for this block; one row each.

    A block is named by the moment at which it began, in milliseconds since 1970.
    """
    number = time.time_ns() // 1_000_000
    order = np.random.default_rng(number).permutation(len(entries))
    rows = []
    for place, index in enumerate(order):
        entry = entries[index]
        found = time_repetition(entry.run, entry.steps)
        rows.append(
            {
                "run_id": entry.run.run_id,
                "cost_id": cost_id(entry.run.configuration),
                "alias": entry.alias,
                "block": number,
                "place": place,
                "threads": threads,
                "run_steps": count_steps(entry.run.configuration),
                **asdict(found),
                **entry.run.configuration.columns,
            }
        )
    gc.collect()
    return rows
