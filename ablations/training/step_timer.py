"""The cost of one training step: the step that a user would write in PyTorch, timed alone.

    for block in blocks:
        for step in the configurations, and the control under a second name, in random order:
            build it anew, take a few steps to warm up, then time

No other work of ours runs meanwhile, the number of threads is fixed, garbage collection is off, and
the device is synchronised before a clock is read.  Configurations are compared within blocks, so
that a machine that becomes slower affects both sides.  Seeds, inits and learning rates cost
nothing, so one run represents all runs that differ in nothing else.  A step is one of a full batch,
always the same; drawing batches and evaluating, which no technique changes, are not timed.
"""

from __future__ import annotations

import gc
import itertools
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

import numpy as np
import torch
from torch import nn

from ablations.core.files import digest
from ablations.core.random import Draws, Streams
from ablations.core.registry import canonical
from ablations.models.base import initialise_network
from ablations.results.lease import hold_lock
from ablations.study.configuration import Configuration, Run
from ablations.techniques.base import RandomLayer
from ablations.training.cohorts import count_steps
from ablations.training.loop import PlainStep, load_data
from ablations.training.result import error_message

MIN_BLOCKS = 6
"""Fewest blocks for a 95 % interval (Wilcoxon's signed ranks)."""
CHUNKS = 5
"""Chunks of a repetition, whose median time counts."""
WARM_UP_STEPS = 3
MAX_STEPS = 60
"""Most steps of a repetition."""
CONTROL_ALIAS = "control again"
"""The second name of the control; its times against those of the first show the noise."""
LOCK = f"ablations-clock-{os.getuid() if hasattr(os, 'getuid') else 'user'}.lock"
"""A lock of this user: one process times at a time."""
COSTLESS = ("init", "lr")
"""Axes that change numbers and not the cost of a step."""


@dataclass(frozen=True)
class TimerSettings:
    """How long a measurement is."""

    blocks: int = 20
    """Blocks of a complete measurement."""
    seconds: float = 0.008
    """Seconds of one repetition, without its warm-up."""


DEFAULT_SETTINGS = TimerSettings()


@dataclass(frozen=True)
class Repetition:
    """One timed repetition; seconds are those of one step.

    The parts of a step add up to more on an accelerator, which is synchronised after each of them.
    """

    seconds: float
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    steps: int
    memory: int
    """Bytes.  On an accelerator, the peak that the device reports; else parameters, gradients, the
    optimizer's state, the batch, and what is stored for the backward pass."""
    parameters: int


class TimedStep(PlainStep):
    """The plain step on the first batch of a run."""

    def __init__(self, run: Run, steps: int) -> None:
        c, streams = run.configuration, run.streams
        self.device = c.device
        data = load_data(c, c.data_streams(run.seed))
        size = c.rows_per_batch
        self._batch = data.x_train[:size], data.y_train[:size]
        network = with_plain_layers(initialise_network(c, streams), streams).train()
        super().__init__(c, network, max(c.epochs, -(-steps // c.steps_per_epoch)))
        self._steps_per_epoch, self._step = c.steps_per_epoch, 0

    def objective(self) -> torch.Tensor:
        return self.forward(*self._batch)

    def finish(self, objective: torch.Tensor) -> None:
        """Update the parameters after ``backward``, and the schedule after an epoch."""
        self.update()
        self._step += 1
        if self._step % self._steps_per_epoch == 0 and self._scheduler is not None:
            self.after_epoch(float(objective.detach()))

    def __call__(self) -> None:
        objective = self.objective()
        objective.backward()  # type: ignore[no-untyped-call]
        self.finish(objective)

    def count_bytes(self) -> int:
        """Count the bytes of the state, the batch and what is stored for the backward pass."""
        parameters = list(self.network.parameters())
        inputs = set(map(_storage, (*parameters, *self._batch)))
        saved: set[tuple[int, int]] = set()

        def note(tensor: torch.Tensor) -> torch.Tensor:
            saved.add(_storage(tensor))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            objective = self.objective()
        objective.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        state = itertools.chain.from_iterable(d.values() for d in self.optimizer.state.values())
        gradients = [parameter.grad for parameter in parameters]
        # The saved tensors are freed by now, and later ones may have their addresses.
        tensors = [t for t in (*gradients, *state) if isinstance(t, torch.Tensor)]
        later = set(map(_storage, tensors))
        return sum(size for storages in (inputs, saved - inputs, later) for _, size in storages)


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    """Address and bytes of a tensor's memory."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def with_plain_layers(network: nn.Module, streams: Streams) -> nn.Module:
    """Replace layers that draw from our streams by PyTorch's own."""
    draws = Draws(streams)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, RandomLayer):
                layer.draws = draws
                setattr(parent, name, layer.plain())
    return network


@cache
def cost_id(configuration: Configuration) -> str:
    """Hash what the cost of a step depends on: everything but init and learning rate."""
    levels = {axis: level for axis, level in configuration.columns.items() if axis not in COSTLESS}
    return digest(canonical(levels).encode(), size=8)


def _seconds_per_step(step: TimedStep, steps: int) -> float:
    step.device.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    step.device.synchronize()
    return (time.perf_counter() - start) / steps


def time_repetition(run: Run, steps: int) -> Repetition:
    """Build a run's step anew and time it."""
    device = run.configuration.device

    def now() -> float:
        device.synchronize()
        return time.perf_counter()

    with run.streams.isolated(device.torch_device()):
        step = TimedStep(run, 2 * steps + WARM_UP_STEPS + 1)
        chunk_steps = max(1, steps // CHUNKS)
        device.forget_peak()
        for _ in range(WARM_UP_STEPS):
            step()
        seconds = statistics.median(_seconds_per_step(step, chunk_steps) for _ in range(CHUNKS))
        phase_seconds = []
        for _ in range(max(CHUNKS, steps // 4)):
            times = [now()]
            objective = step.objective()
            times.append(now())
            objective.backward()  # type: ignore[no-untyped-call]
            times.append(now())
            step.finish(objective)
            times.append(now())
            phase_seconds.append([end - start for start, end in itertools.pairwise(times)])
        peak = device.peak()
        forward, backward, update = map(statistics.median, zip(*phase_seconds, strict=True))
        memory = step.count_bytes() if peak is None else peak
        n_parameters = sum(parameter.numel() for parameter in step.network.parameters())
        n_steps = CHUNKS * chunk_steps
        return Repetition(seconds, forward, backward, update, n_steps, memory, n_parameters)


def steps_per_repetition(run: Run, seconds: float = DEFAULT_SETTINGS.seconds) -> int:
    """Time a few steps, and return how many steps take about ``seconds``."""
    device = run.configuration.device
    with run.streams.isolated(device.torch_device()):
        step = TimedStep(run, 2 * WARM_UP_STEPS)
        for _ in range(WARM_UP_STEPS):
            step()
        step_seconds = _seconds_per_step(step, WARM_UP_STEPS)
    return CHUNKS * max(1, min(MAX_STEPS, round(seconds / max(step_seconds, 1e-9))) // CHUNKS)


@contextmanager
def exclusive_timing(threads: int) -> Iterator[None]:
    """Hold the lock for timing, with a fixed number of threads and without garbage collection."""
    before, collecting = torch.get_num_threads(), gc.isenabled()
    with hold_lock(Path(tempfile.gettempdir()) / LOCK):
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
    """Return the first run of each cost id, in their order."""
    run_of_cost: dict[str, Run] = {}
    for run in runs:
        run_of_cost.setdefault(cost_id(run.configuration), run)
    return list(run_of_cost.values())


def cost_levels(run: Run, controls: Mapping[str, object]) -> dict[str, object]:
    """Return a run's level on each axis that may cost something."""
    levels = run.configuration.columns
    return {axis: levels.get(axis) for axis in controls if axis not in COSTLESS}


def axes_off_control(run: Run, controls: Mapping[str, object]) -> list[str]:
    """Return the axes on which a run differs from the control, without costless axes."""
    return [axis for axis, level in cost_levels(run, controls).items() if level != controls[axis]]


def describe_levels(run: Run, controls: Mapping[str, object]) -> str:
    """Describe the levels of a run, for a message."""
    return ", ".join(f"{axis} {level}" for axis, level in cost_levels(run, controls).items())


def select_runs(
    runs: Sequence[Run], controls: Mapping[str, object], most: int, preferred: Collection[str] = ()
) -> list[Run]:
    """Select which of some runs with distinct costs to time if there is time for ``most`` of them.

    If there is not time for all, these are the controls together, every configuration that differs
    from them on one axis, and those with ``preferred`` cost ids.
    """
    if len(runs) <= most:
        return list(runs)
    near = [run for run in runs if len(axes_off_control(run, controls)) <= 1]
    others = [run for run in runs if cost_id(run.configuration) in preferred and run not in near]
    # Without a run at the controls, no run is near them.
    return [*near, *others] or list(runs[:most])


@dataclass(frozen=True)
class BlockEntry:
    """One entry of a block: a run, its second name or "", and its steps."""

    run: Run
    alias: str
    steps: int


def build_block(
    runs: Sequence[Run], controls: Mapping[str, object], settings: TimerSettings = DEFAULT_SETTINGS
) -> tuple[list[BlockEntry], list[tuple[Run, str]]]:
    """Return the entries of a block, and the runs that cannot be timed, with the reason.

    The entries are all other runs, and the control again under a second name.
    """
    entries, failures = [], []
    for run in runs:
        try:
            entries.append(BlockEntry(run, "", steps_per_repetition(run, settings.seconds)))
        except Exception as error:  # a user's technique may raise anything
            failures.append((run, error_message(error)))
    if entries:
        control = min(entries, key=lambda entry: len(axes_off_control(entry.run, controls)))
        entries.append(replace(control, alias=CONTROL_ALIAS))
    return entries, failures


def time_block(entries: Sequence[BlockEntry], threads: int) -> list[dict[str, Any]]:
    """Time every entry once, in random order; return one row for each."""
    # The number of a block is its start in milliseconds since 1970.
    number = time.time_ns() // 1_000_000
    order = np.random.default_rng(number).permutation(len(entries))
    rows = []
    for position, index in enumerate(order):
        run, alias, c = entries[index].run, entries[index].alias, entries[index].run.configuration
        repetition = time_repetition(run, entries[index].steps)
        row = {"run_id": run.run_id, "cost_id": cost_id(c), "alias": alias, "block": number}
        row |= {"place": position, "threads": threads, "run_steps": count_steps(c)}
        rows.append(row | asdict(repetition) | c.columns)
    gc.collect()
    return rows
