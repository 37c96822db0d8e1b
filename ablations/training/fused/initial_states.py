"""Initial parameters, buffers, data and learning rates of the members of a cohort.

An initial state depends on (model, norm, init, seed) only, and a data set on the seed only: each is
made once and serves every regularizer and schedule.

Letters in names: M member, P parameter of a member, S step.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ablations.core.optimizers import without_compiler
from ablations.core.random import GlobalDraws, Streams
from ablations.models.base import build_network, fill_network, initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data
from ablations.tasks.baseline import Baseline
from ablations.techniques.base import Init, Norm, Schedule
from ablations.training.cohorts import CohortKey, cohort_key
from ablations.training.evaluation import find_baseline
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import Tensors
from ablations.training.fused.program import BLOCK_STEPS
from ablations.training.loop import load_data, to_device

_CACHED_KEYS = 4
"""Cohort keys whose initial states are cached: as many as a worker trains in turn."""
CACHED_DATA, CACHED_STATES = 64, 256
"""Data sets and initial states that are cached for each of them."""


class InitialState(NamedTuple):
    """What a network starts with."""

    flat_P: Tensor
    buffers: Tensors
    n_parameters: int


@dataclass(frozen=True)
class Member:
    """A run with everything that its training starts from."""

    run: Run
    initial: InitialState
    data: Data
    baseline: Baseline
    """The best constants on the rows that judge."""
    lr_S: Tensor | None
    """The learning rate of each step; None if it depends on how the training goes."""


class InitialStateCache:
    """What the runs of one cohort key start from.

    Building a network takes as long as training it for a few epochs.  If building draws nothing
    and no layer is wrapped, one network serves all members and is filled again for each.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.program = build_program(configuration)
        self._template = _shared_template(configuration)
        self._initial = lru_cache(maxsize=CACHED_STATES)(self._initialise)
        self._data = lru_cache(maxsize=CACHED_DATA)(self._load_data)

    def member(self, run: Run) -> Member:
        c, lr_S = run.configuration, None
        initial = self._initial(c.init, run.seed)
        if c.schedule.has_fixed_rates():
            lr_S = _scheduled_rates(c.schedule, c.lr, c.epochs, c.steps_per_epoch)
        return Member(run, initial, *self._data(c.data_seed(run.seed)), lr_S)

    def count_bytes(self, run: Run) -> tuple[int, int]:
        """Return the bytes of the data set of a run, and of its initial state."""
        member = self.member(run)
        state = (member.initial.flat_P, *member.initial.buffers.values())
        tensors = [each for each in vars(member.data).values() if isinstance(each, Tensor)]
        return sum(each.nbytes for each in tensors), sum(each.nbytes for each in state)

    def _load_data(self, seed: int) -> tuple[Data, Baseline]:
        c = self.program.configuration
        data = load_data(c, c.data_streams(seed))
        return data, find_baseline(c, seed, data)

    def _initialise(self, init: Init, seed: int) -> InitialState:
        network, c = self.program.network, self.program.configuration.with_(init=init)
        streams, module = c.streams(seed), self._template
        # An init of a user may draw from global generators, as it does after a network is built.
        if module is None or init.user_modules():
            with streams.isolated(c.device.torch_device()):
                module = initialise_network(c, streams)
        else:
            fill_network(module, c, streams)
        buffers = network.initial_state(module)
        return InitialState(
            to_device(network.flatten(module), c),
            {name: to_device(buffer, c) for name, buffer in buffers.items()},
            n_parameters=sum(parameter.numel() for parameter in module.parameters()),
        )


def _shared_template(configuration: Configuration) -> nn.Module | None:
    """Build a network that can be filled for every member; None if there is no such network."""
    c = configuration
    if c.model.has_random_build or type(c.norm).wrap is not Norm.wrap:
        return None
    if c.model.user_modules():  # its ``fill`` may count on weights that were just built
        return None
    template, other = (_build_unfilled(c, c.streams(seed)) for seed in (0, 1))
    states = zip(template.state_dict().values(), other.state_dict().values(), strict=True)
    return template if all(torch.equal(*pair) for pair in states) else None


def _build_unfilled(configuration: Configuration, streams: Streams) -> nn.Module:
    """Build a network, with zeros for the weights that an init fills."""
    with streams.isolated(configuration.device.torch_device()):
        network = build_network(configuration)
    for layer in configuration.model.weighted_layers(network):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


_THREAD = threading.local()
"""The caches of one thread by cohort key: networks are filled in place, and may not be shared."""


def initial_state_cache(configuration: Configuration) -> InitialStateCache:
    """Return this thread's cache for a configuration's cohort key; the oldest is dropped."""
    caches: dict[CohortKey, InitialStateCache] = vars(_THREAD).setdefault("caches", {})
    key = cohort_key(configuration)
    if key not in caches:
        while len(caches) >= _CACHED_KEYS:
            del caches[next(iter(caches))]
        caches[key] = InitialStateCache(configuration)
    return caches[key]


@lru_cache(maxsize=256)
def _scheduled_rates(schedule: Schedule, lr: float, epochs: int, steps: int) -> Tensor:
    """Compute the rate of every step, float64 of shape (epochs * steps,)."""
    scheduler, rates = _LiveScheduler(schedule, lr, epochs, steps), array("d")
    for _ in range(epochs):
        for _ in range(steps):
            rates.append(scheduler.lr)
            scheduler.after_step()
        scheduler.after_epoch(math.nan)
    rates_S = torch.frombuffer(rates, dtype=torch.float64)
    is_constant = bool((rates_S == rates_S[0]).all())
    return rates_S[:1].clone().expand(len(rates)) if is_constant else rates_S


class _LiveScheduler:
    """PyTorch's scheduler of one member, on an optimizer of a dummy parameter."""

    def __init__(self, schedule: Schedule, lr: float, epochs: int, steps: int) -> None:
        self._schedule = schedule
        self._optimizer = without_compiler(torch.optim.SGD)([torch.zeros(1)], lr=lr)
        with self._without_draws():
            self._scheduler = schedule.scheduler(self._optimizer, epochs, steps)
        self._optimizer.step()  # a scheduler warns if its optimizer never took a step

    @property
    def lr(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        with self._without_draws():
            self._schedule.after_step(self._scheduler)

    def after_epoch(self, objective: float) -> None:
        with self._without_draws():
            self._schedule.after_epoch(self._scheduler, objective)

    @contextmanager
    def _without_draws(self) -> Iterator[None]:
        """Refuse a user's schedule that draws, since a program has no generators of one run."""
        draws = GlobalDraws() if self._schedule.user_modules() else None
        yield
        if draws:
            message = f"the schedule '{self._schedule.name}' draws from a global generator"
            raise ValueError(f"{message}, which a program cannot follow; use --engine loop")


class LearningRates:
    """The learning rates of every member, computed ahead or from live schedulers."""

    def __init__(self, members: Sequence[Member], device: torch.device, dtype: torch.dtype) -> None:
        configurations = [member.run.configuration for member in members]
        self._live = {
            slot: _LiveScheduler(c.schedule, c.lr, c.epochs, c.steps_per_epoch)
            for slot, c in enumerate(configurations)
            if members[slot].lr_S is None
        }
        steps = configurations[0].epochs * configurations[0].steps_per_epoch
        unknown_S = torch.tensor(math.nan, dtype=torch.float64).expand(steps)
        self._members = [unknown_S if m.lr_S is None else m.lr_S for m in members]
        self._device, self._dtype = device, dtype
        self._first = -BLOCK_STEPS
        self._exact_SM = self._rates_SM = torch.empty(0)

    def exact(self, step: int) -> Tensor:
        """Return the rates of a step for the results, float64 of shape (M,)."""
        if not 0 <= step - self._first < BLOCK_STEPS:
            self._first = step - step % BLOCK_STEPS
            block = slice(self._first, self._first + BLOCK_STEPS)
            self._exact_SM = torch.stack([lr_S[block] for lr_S in self._members], 1)
            self._rates_SM = self._exact_SM.to(self._device, self._dtype)
        exact_M = self._exact_SM[step - self._first]
        for slot, scheduler in self._live.items():
            exact_M[slot] = scheduler.lr
        return exact_M

    def at_step(self, step: int) -> Tensor:
        """Return the rates of a step, shape (M, 1)."""
        exact_M = self.exact(step)
        if self._live:
            return exact_M.to(self._device, self._dtype)[:, None]
        return self._rates_SM[step - self._first][:, None]

    def after_step(self) -> None:
        for scheduler in self._live.values():
            scheduler.after_step()

    def after_epoch(self, objective_M: Tensor) -> None:
        if self._live:
            objectives = objective_M.tolist()
            for slot, scheduler in self._live.items():
                scheduler.after_epoch(objectives[slot])
