"""What the runs of a cohort start from, and the learning rates that they train with.

An initial state depends on (model, norm, init, seed) alone and a data set on the seed alone: each
is made once and serves every regularizer and schedule.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from ablations.core.random import Streams
from ablations.models.base import build_network, fill_network, initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data
from ablations.techniques.base import Init, Norm, Schedule
from ablations.training.cohorts import CohortKey, cohort_key
from ablations.training.fused import networks
from ablations.training.fused.layers import Tensors
from ablations.training.fused.program import CohortProgram, program
from ablations.training.loop import on_device

__all__ = ["InitialStateCache", "Member", "Rates", "origins"]

_KINDS_KEPT = 4


@dataclass(frozen=True)
class Member:
    """One run, ready to train."""

    run: Run
    flat: Tensor
    """Shape (P,)."""
    state: Tensors
    count: int
    """Its parameters."""
    data: Data
    rates: Tensor | None
    """The rate of each step, shape (steps,); None where it depends on how the training goes."""


class InitialStateCache:
    """What runs of one kind start from; each initial state and data set is made once."""

    def __init__(self, configuration: Configuration) -> None:
        self.program = program(configuration)
        self._initial = lru_cache(maxsize=256)(_Starts(self.program))
        self._data = lru_cache(maxsize=64)(partial(_data, configuration))

    def member(self, run: Run) -> Member:
        """A run, ready to train."""
        c = run.configuration
        flat, state, count = self._initial(c.init, run.seed)
        rates = None
        if not c.schedule.adaptive:
            rates = _rates(c.schedule, c.lr, c.epochs, c.steps_per_epoch)
        return Member(run, flat, state, count, self._data(run.seed), rates)


class _Kept(threading.local):
    """Each thread's own: networks are filled and handed numbers in place."""

    def __init__(self) -> None:
        self.origins: dict[CohortKey, InitialStateCache] = {}


_KEPT = _Kept()


def origins(configuration: Configuration) -> InitialStateCache:
    """Those of a configuration's kind; kept for as many kinds as a worker sees in turn."""
    key, kept = cohort_key(configuration), _KEPT.origins
    if key not in kept:
        while len(kept) >= _KINDS_KEPT:
            del kept[next(iter(kept))]
        kept[key] = InitialStateCache(configuration)
    return kept[key]


class _Starts:
    """Parameters and buffers that networks start with.

    Building a network costs as much as training it for a few epochs.  Where it draws nothing and
    no layer is wrapped, one network serves all members and is filled anew for each.
    """

    def __init__(self, made: CohortProgram) -> None:
        self._made = made
        configuration = made.configuration
        one, other = (_built(configuration, configuration.streams(seed)) for seed in (0, 1))
        self._template: nn.Module | None = None
        self._count = sum(parameter.numel() for parameter in one.parameters())
        if configuration.model.has_random_build or type(configuration.norm).wrap is not Norm.wrap:
            return
        for network in (one, other):  # what an init fills is no difference between the two
            for _, layer, _ in configuration.model.weights(network):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        states = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        if all(torch.equal(first, second) for first, second in states):
            self._template = one

    def __call__(self, init: Init, seed: int) -> tuple[Tensor, Tensors, int]:
        """One member's parameters, shape (P,), its buffers, and how many parameters it has."""
        network, configuration = self._made.network, self._made.configuration.with_(init=init)
        streams = configuration.streams(seed)
        device, dtype = configuration.device.torch_device(), configuration.torch_dtype
        if self._template is None:
            with streams.isolated(device):
                module = initialise_network(configuration, streams)
            count = sum(parameter.numel() for parameter in module.parameters())
        else:
            module, count = self._template, self._count
            fill_network(module, configuration, streams)
        state = {
            name: buffer.to(device, dtype if buffer.is_floating_point() else buffer.dtype)
            for name, buffer in network.state(module).items()
        }
        return networks.flatten(network, module).to(device, dtype), state, count


def _built(configuration: Configuration, streams: Streams) -> nn.Module:
    with streams.isolated(configuration.device.torch_device()):
        return build_network(configuration)


def _data(configuration: Configuration, seed: int) -> Data:
    return on_device(configuration.task.data(configuration.streams(seed)), configuration)


@lru_cache(maxsize=256)
def _rates(schedule: Schedule, lr: float, epochs: int, steps: int) -> Tensor:
    """The rate of every step, float64 of shape (epochs * steps,)."""
    live, seen = _Live(schedule, lr, epochs, steps), []
    for _ in range(epochs):
        for _ in range(steps):
            seen.append(live.rate)
            live.after_step()
        live.after_epoch(math.nan)
    return torch.tensor(seen, dtype=torch.float64)


class _Live:
    """A member's scheduler at work, PyTorch's own, on an optimizer of nothing."""

    def __init__(self, schedule: Schedule, lr: float, epochs: int, steps: int) -> None:
        self._schedule = schedule
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        self._scheduler = schedule.scheduler(self._optimizer, epochs, steps)
        self._optimizer.step()  # a scheduler warns where its optimizer never did

    @property
    def rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        self._schedule.after_step(self._scheduler)

    def after_epoch(self, objective: float) -> None:
        self._schedule.after_epoch(self._scheduler, objective)


class Rates:
    """The learning rates of every member, known ahead or from live schedulers."""

    def __init__(self, placed: Sequence[Member], device: torch.device, dtype: torch.dtype) -> None:
        c = placed[0].run.configuration
        unknown = torch.full((c.epochs * c.steps_per_epoch,), math.nan, dtype=torch.float64)
        self._live: dict[int, _Live] = {}
        for place, member in enumerate(placed):
            if member.rates is None:
                own = member.run.configuration
                self._live[place] = _Live(own.schedule, own.lr, c.epochs, c.steps_per_epoch)
        rates = [unknown if member.rates is None else member.rates for member in placed]
        self.exact_SM = torch.stack(rates, 1)
        """As they stand in the curves, float64 of shape (steps, M)."""
        self._device, self._dtype = device, dtype
        self._rates_SM = self.exact_SM.to(device, dtype)

    def at(self, step: int) -> Tensor:
        """Shape (M, 1)."""
        if self._live:
            for place, live in self._live.items():
                self.exact_SM[step, place] = live.rate
            return self.exact_SM[step].to(self._device, self._dtype)[:, None]
        return self._rates_SM[step][:, None]

    def after_step(self) -> None:
        for live in self._live.values():
            live.after_step()

    def after_epoch(self, objective_M: Tensor) -> None:
        if self._live:
            objectives = objective_M.tolist()
            for place, live in self._live.items():
                live.after_epoch(objectives[place])
