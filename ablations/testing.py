"""A contract test for techniques, which their authors can run.

>>> from ablations.testing import check
>>> from ablations.techniques.norms import LayerNorm
>>> check(LayerNorm())

In a test suite: ``@pytest.mark.parametrize("technique", [Mine(), Mine(strength=2.0)])`` over
``check(technique)``.  The same function tests the techniques of this package.
"""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablations.core.random import Draws, Streams
from ablations.core.registry import frozen, registered, resolve
from ablations.study.configuration import SETTINGS, Configuration, Run, to_plain
from ablations.study.study import Study
from ablations.tasks.base import Classification, Data, Task, split
from ablations.techniques.base import (
    Device,
    Init,
    Norm,
    Optimizer,
    Regularizer,
    Schedule,
    Technique,
)
from ablations.techniques.layers import RandomLayer
from ablations.training import loop
from ablations.training.cohorts import MIN_MEMBERS, cohort_key
from ablations.training.fused import trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.result import RunResult, error_message

__all__ = ["check"]

WIDTH = 16
EPOCHS = 5
RATE = 0.01
HIGH_RATE = 0.3

Requirements = Iterator[tuple[bool, str]]
"""Pairs: whether a technique fulfils a requirement, and the description of a violation."""


@frozen
class _Rows(Classification):
    """Random rows, the class by their first number."""

    rows = 96

    def data(self, streams: Streams) -> Data:
        x = streams.normal((144, self.inputs), "data/inputs")
        ranks = x[:, 0].argsort().argsort()
        return split(x, ranks * self.outputs // len(x), self.rows, streams)


@frozen
class _Binary(_Rows):
    name = "two classes"
    inputs, outputs = 8, 2


@frozen
class _Classes(_Rows):
    name = "four classes"
    inputs, outputs = 8, 4


@frozen
class _Images(_Rows):
    name = "images"
    inputs, outputs, shape = 64, 4, (1, 8, 8)


@frozen
class _Sequences(_Rows):
    name = "sequences"
    inputs, outputs, shape = 16, 4, (2, 8)


@dataclass(frozen=True)
class _Case:
    """A task and a model on which a technique is checked."""

    task: Any = "notebook"
    model: Any = "mlp"
    other_task: Task | None = field(default=None)
    """A task that no study can name."""

    @property
    def title(self) -> str:
        task = self.other_task or self.task
        names = [each if isinstance(each, str) else str(each.name) for each in (task, self.model)]
        return " with ".join(names)

    def configuration(self, technique: Any) -> Configuration:
        role = technique.role
        levels = {role: technique} if role in SETTINGS else {"axes": {role: [technique]}}
        settings = {"epochs": EPOCHS, "lr": RATE, "batch_size": 48, "dtype": "float64"}
        study = Study(task=self.task, model=self.model, **settings, **levels)
        configuration = study.configurations[0]
        return configuration.with_(task=self.other_task) if self.other_task else configuration


_CASES = (
    _Case(),
    _Case("digits", "mlp", _Classes()),
    _Case("digits", "mlp", _Binary()),
    _Case("digits", "cnn", _Images()),
    _Case("digits", "gru", _Sequences()),
)
"""Regression first: a technique that applies there is checked there alone."""


def check(technique: Technique, task: Any = None, model: Any = "mlp") -> None:
    """Check that a technique keeps the contract of its axis.

    A technique is a plain value with a caption that a study's file can hold. It fulfils the
    requirements of its axis. A run depends on its seed alone and differs from a run of the
    control. The fused engine, if it can train the technique, agrees with the plain loop to 1e-6 in
    float64.

    The runs are those of a regression. A technique whose ``skip`` gives a reason there is checked
    on all of these to which it applies: four classes, two classes, images with the model ``cnn``,
    sequences with the model ``gru``. One that applies to none is a failure.

    Parameters
    ----------
    technique
        The object, with the parameters to be checked.
    task, model
        The only task and model of the runs, as a study has them, for a technique that applies to
        none of the above.

    Raises
    ------
    AssertionError
        With a sentence about the first requirement that the technique does not fulfil.
    """
    checks = [f(technique) for base, f in _CHECKS.items() if isinstance(technique, base)]
    cases = _CASES if task is None else (_Case(task, model),)
    for is_fulfilled, violation in itertools.chain(*checks, _check_cases(technique, cases)):
        if not is_fulfilled:
            raise AssertionError(f"{technique.role} '{technique.label}': {violation}")


def _check_value(technique: Technique) -> Requirements:
    cls = type(technique)
    is_registered = registered(technique.role).get(technique.name) is cls
    yield is_registered, "its class is not registered; decorate it with @technique"
    copy = cls(**technique.parameters())
    yield copy == technique, "its parameters give another technique"
    yield hash(copy) == hash(technique), "its hash differs from that of its copy"
    unpickled = pickle.loads(pickle.dumps(technique))  # noqa: S301 - pickled in this line
    yield unpickled == technique, "it is another technique after pickling"
    yield cls.caption().endswith("."), "its docstring does not begin with a sentence"
    spec = to_plain(technique)
    if not str(technique.to_spec()[0]).startswith("python:"):
        is_same = resolve(technique.role, spec, technique.role) == technique
        yield is_same, f"{spec} in a study is another technique"


def _check_norm(norm: Norm) -> Requirements:
    layer, rows = norm.layer(WIDTH), 3 + 2 * _rows(WIDTH)
    if layer is not None:
        yield layer(rows).shape == rows.shape, "its layer changes the shape"
        yield bool(layer(rows).isfinite().all()), "its layer returns non-finite numbers"
        layer.eval()
        yield torch.equal(layer(rows), layer(rows)), "it is random in evaluation mode"
        layer.train()
        for dims in (1, 2):
            maps, images = norm.maps(WIDTH, dims), rows.view(3, WIDTH, 4, *(1,) * (dims - 1))
            yield maps is not None, "it has a layer for rows, but none for images"
            has_same_shape = maps is not None and maps(images).shape == images.shape
            yield has_same_shape, "its layer for images changes the shape"
    linear = nn.Linear(WIDTH, WIDTH)
    outputs = linear(rows)
    norm.wrap(linear)
    is_equal = torch.allclose(linear(rows), outputs, atol=1e-5)
    yield is_equal, "wrapping a layer changes its initial outputs"
    yield len(norm.lengths(linear)) == WIDTH, "'lengths' has not one row for each unit"


def _check_regularizer(regularizer: Regularizer) -> Requirements:
    for site in range(3):
        layer = regularizer.layer(site)
        if layer is not None:
            yield from _check_random_layer(layer)
    outputs, weight = _rows(3).requires_grad_(), _rows(WIDTH)[:3].requires_grad_()
    targets = torch.arange(len(outputs)) % 3
    objective = regularizer.objective(outputs, targets, [weight], cross_entropy)
    is_number = objective.shape == () and bool(objective.isfinite())
    yield is_number, "its objective is not a finite number"
    factors = regularizer.shrink(weight.detach())
    if factors is not None:
        yield factors.shape == (3, 1), "'shrink' has not one factor for each unit"
        yield bool((factors > 0).all()), "'shrink' has a factor of 0 or less"


def _check_random_layer(layer: RandomLayer) -> Requirements:
    yield isinstance(layer, RandomLayer), "its layer is not a RandomLayer"
    rows = _rows(WIDTH)
    layer.draws = Draws(Streams(0))
    first = layer(rows)
    yield first.shape == rows.shape, "its layer changes the shape"
    yield torch.equal(first, layer(rows)), "its layer draws other numbers when a step is repeated"
    layer.eval()
    yield torch.equal(layer(rows), rows), "its layer acts in evaluation mode"


def _check_init(init: Init) -> Requirements:
    state = torch.get_rng_state()
    weights = [torch.full((WIDTH, 2 * WIDTH), math.nan) for _ in range(3)]
    for weight, seed in zip(weights, (0, 0, 1), strict=True):
        init.fill(weight, "relu", torch.Generator().manual_seed(seed))
    first, again, other = weights
    yield bool(first.isfinite().all()), "it leaves non-finite weights"
    yield torch.equal(first, again), "it ignores the generator"
    follows_seed = not torch.equal(first, other) or float(first.std()) == 0
    yield follows_seed, "it draws the same weights for every seed"
    yield torch.equal(state, torch.get_rng_state()), "it draws from PyTorch's global generator"


def _check_schedule(schedule: Schedule) -> Requirements:
    for epochs, steps in ((1, 1), (4, 3), (20, 1)):
        rates = [_rates(schedule, epochs, steps, objective) for objective in (1.0, 2.0, math.nan)]
        is_in_range = all(0 <= rate <= RATE * (1 + 1e-9) for rate in rates[0])
        yield is_in_range, f"in {epochs} epochs, a rate is above the study's rate or below 0"
        is_fixed = rates[0] == rates[1] == rates[2]
        violation = "its rates depend on the objective, but 'adaptive' is False"
        yield is_fixed or not schedule.has_fixed_rates(), violation


def _rates(schedule: Schedule, epochs: int, steps: int, objective: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = schedule.scheduler(optimizer, epochs, steps)
    rates = []
    for _ in range(epochs):
        for _ in range(steps):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.after_step(scheduler)
        schedule.after_epoch(scheduler, objective)
    return rates


def _check_optimizer(optimizer: Optimizer) -> Requirements:
    if type(optimizer).update is Optimizer.update:
        return  # the plain loop trains it
    expected = _rows(WIDTH)[0].double().requires_grad_()
    parameter = expected.detach().clone()
    requested = Regularizer().penalties().decay
    reference, decay = optimizer.build([expected], RATE, requested), optimizer.decay(requested)
    moments = tuple(torch.zeros_like(parameter) for _ in range(optimizer.moments))
    for step in range(1, 6):
        gradient = (parameter * 2 - 1) * step
        expected.grad = gradient.clone()
        reference.step()
        factors = tuple(torch.tensor(f, dtype=torch.float64) for f in optimizer.factors(step))
        if not decay.decoupled:
            gradient = gradient + decay.amount * parameter
        change, moments = optimizer.update(gradient, moments, factors)
        if decay.decoupled:
            parameter = parameter * (1 - RATE * decay.amount)
        parameter = parameter - RATE * change
        is_equal = torch.allclose(parameter, expected.detach(), rtol=1e-6, atol=1e-12)
        yield is_equal, f"'update' and 'build' differ in step {step}"


_CHECKS: dict[type[Technique], Callable[[Any], Requirements]] = {
    Technique: _check_value,
    Norm: _check_norm,
    Regularizer: _check_regularizer,
    Init: _check_init,
    Schedule: _check_schedule,
    Optimizer: _check_optimizer,
}


def _rows(width: int) -> Tensor:
    return Streams(0).normal((12, width), "contract").to(torch.float32)


def _check_cases(technique: Technique, cases: tuple[_Case, ...]) -> Requirements:
    """Check the runs of the first case, or else of all to which the technique applies."""
    reasons = dict[str, str]()
    for case in cases:
        reason = case.configuration(technique).skip
        if reason is None:
            try:
                for is_fulfilled, violation in _check_runs(technique, case):
                    yield is_fulfilled, f"{violation} ({case.title})"
            except Exception as error:
                name = f"{technique.role} '{technique.label}'"
                message = f"{name}: its runs fail: {error_message(error)} ({case.title})"
                raise AssertionError(message) from error
            if not reasons:
                return
        else:
            failure = f"{technique.role} '{technique.name}' cannot say"
            violation = f"its 'skip' raises an exception: {reason}"
            yield not reason.startswith(failure), violation
            reasons[case.title] = reason
    is_missing = isinstance(technique, Device) and not technique.available()
    texts = "; ".join(f"{title}: {reason}" for title, reason in reasons.items())
    violation = f"it applies to no task of the check ({texts}); give a task and a model"
    yield is_missing or len(reasons) < len(cases), violation


def _check_runs(technique: Technique, case: _Case) -> Requirements:
    configuration = case.configuration(technique)
    first, again = (_train(configuration) for _ in range(2))
    yield first == again, "the same run has other losses when it is repeated"
    control = registered(technique.role)[technique.control]()
    if technique.role != "device" and technique.name != control.name:
        # At a high rate the weights move so far that every technique has an effect.
        pair = (case.configuration(level) for level in (technique, control))
        losses, control_losses = (_train(c.with_(lr=HIGH_RATE, epochs=20)) for c in pair)
        yield losses != control_losses, "its losses are those of the control: it has no effect"
    yield from _check_fused(configuration)


def _check_fused(configuration: Configuration) -> Requirements:
    try:
        cohort_key(configuration)
        engine = build_program(configuration).network.engine
    except NotStackableError:
        return  # the plain loop trains it, as the plan says
    for result in trainer.train([Run(configuration, seed) for seed in (1, 2)], MIN_MEMBERS):
        expected = loop.train(result.run)
        yield result.status == expected.status, f"its {engine} run has the status {result.status}"
        pairs = zip(_losses(result), _losses(expected), strict=True)
        is_close = all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)
        violation = f"its {engine} runs differ from those of the plain loop"
        yield is_close or expected.status == "diverged", violation


def _train(configuration: Configuration) -> list[float]:
    return _losses(loop.train(Run(configuration, 1)))


def _losses(result: RunResult) -> list[float]:
    return [loss for epoch in result.curve for loss in (epoch.objective, epoch.val_loss)]
