"""What every technique must keep to, as checks that its author can run.

>>> from ablations.testing import check
>>> from ablations.techniques.norms import LayerNorm
>>> check(LayerNorm())

In a test suite: ``@pytest.mark.parametrize("technique", [Mine(), Mine(strength=2.0)])`` over
``check(technique)``.  Ours are tested by the same function.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ablations.core.random import Draws, Streams
from ablations.core.registry import registered, resolve
from ablations.study.configuration import SETTINGS, Configuration, Run
from ablations.study.parsing import to_plain
from ablations.study.study import Study
from ablations.techniques.base import (
    CONTROLS,
    Init,
    Norm,
    Optimizer,
    RandomLayer,
    Regularizer,
    Schedule,
    Technique,
)
from ablations.training import loop
from ablations.training.cohorts import MIN_MEMBERS, cohort_key
from ablations.training.fused import trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers import NotStackableError

__all__ = ["check"]

WIDTH = 16
EPOCHS = 5
RATE = 0.01
ROUGH = 0.3


def check(technique: Technique, task: str = "notebook") -> None:
    """Raise AssertionError, with a sentence, where a technique breaks a promise of its axis.

    That it is a plain value with a caption and a way into a study's file; what its axis asks of it;
    that a run depends on its seed alone and differs from the control's; and, where the fused engine
    can train it, that the loop agrees with it to 1e-6 in float64.

    Parameters
    ----------
    technique
        The object, with the parameters to be checked.
    task
        What the runs train on; ``"digits"`` for what needs classes.
    """
    _is_a_value(technique)
    for axis, asked in _OF_AXIS.items():
        if isinstance(technique, axis):
            asked(technique)
    _trains(technique, task)


def _demand(holds: bool, promise: str, technique: Technique) -> None:
    if not holds:
        raise AssertionError(f"{technique.role} '{technique.label}': {promise}")


def _is_a_value(technique: Technique) -> None:
    cls = type(technique)
    known = registered(technique.role).get(technique.name)
    _demand(known is cls, "its class is not registered; decorate it with @technique", technique)
    _demand(cls(**technique.parameters()) == technique, "its parameters make another", technique)
    _demand(hash(cls(**technique.parameters())) == hash(technique), "it has no hash", technique)
    _demand(pickle.loads(pickle.dumps(technique)) == technique, "workers get another", technique)  # noqa: S301 - its own
    _demand(cls.caption().endswith("."), "its docstring begins with no sentence", technique)
    spelled = to_plain(technique)
    if not str(technique.to_spec()[0]).startswith("python:"):
        same = resolve(technique.role, spelled, technique.role) == technique
        _demand(same, f"a study that says {spelled} means another", technique)


# --------------------------------------------------------------------------- what each axis asks


def _norm(norm: Norm) -> None:
    layer, rows = norm.layer(WIDTH), 3 + 2 * _rows(WIDTH)
    if layer is not None:
        _demand(layer(rows).shape == rows.shape, "its layer changes the shape", norm)
        _demand(bool(layer(rows).isfinite().all()), "its layer gives what is not finite", norm)
        layer.eval()
        _demand(torch.equal(layer(rows), layer(rows)), "it is random in evaluation", norm)
        layer.train()
        for dims in (1, 2):
            maps, picture = norm.maps(WIDTH, dims), rows.view(3, WIDTH, 4, *(1,) * (dims - 1))
            _demand(maps is not None, "it has a layer, and none for pictures", norm)
            same = maps is not None and maps(picture).shape == picture.shape
            _demand(same, "its layer for pictures changes the shape", norm)
    linear = nn.Linear(WIDTH, WIDTH)
    before = linear(rows)
    norm.wrap(linear)
    kept = torch.allclose(linear(rows), before, atol=1e-5)
    _demand(kept, "wrapping a layer changes what it computes at the start", norm)
    _demand(len(norm.lengths(linear)) == WIDTH, "its lengths are not one a unit", norm)


def _regularizer(regularizer: Regularizer) -> None:
    for place in range(3):
        layer = regularizer.layer(place)
        if layer is None:
            continue
        _demand(isinstance(layer, RandomLayer), "its layers are no RandomLayer", regularizer)
        rows = _rows(WIDTH)
        layer.draws = Draws(Streams(0))
        first = layer(rows)
        _demand(first.shape == rows.shape, "its layer changes the shape", regularizer)
        _demand(torch.equal(first, layer(rows)), "its draws are not those of the step", regularizer)
        layer.eval()
        _demand(torch.equal(layer(rows), rows), "its layer acts in evaluation", regularizer)
    outputs, weight = _rows(3).requires_grad_(), _rows(WIDTH)[:3].requires_grad_()
    targets = torch.arange(len(outputs)) % 3
    loss = nn.functional.cross_entropy
    found = regularizer.objective(outputs, targets, [weight], loss)
    _demand(found.shape == () and bool(found.isfinite()), "its objective is no number", regularizer)
    factor = regularizer.shrink(weight.detach())
    if factor is not None:
        _demand(factor.shape == (3, 1), "it shrinks by other than a factor a unit", regularizer)
        _demand(bool((factor > 0).all()), "it shrinks weights to nothing", regularizer)


def _init(init: Init) -> None:
    state = torch.get_rng_state()
    weights = [_filled(init, seed) for seed in (0, 0, 1)]
    _demand(bool(weights[0].isfinite().all()), "it leaves weights that are not finite", init)
    _demand(torch.equal(weights[0], weights[1]), "it draws from another generator", init)
    drawn = not torch.equal(weights[0], weights[2]) or float(weights[0].std()) == 0
    _demand(drawn, "it draws the same for every seed", init)
    global_ = torch.equal(state, torch.get_rng_state())
    _demand(global_, "it draws from PyTorch's global generator", init)


def _filled(init: Init, seed: int) -> Tensor:
    weight = torch.full((WIDTH, 2 * WIDTH), math.nan)
    init.fill(weight, "relu", torch.Generator().manual_seed(seed))
    return weight


def _schedule(schedule: Schedule) -> None:
    for epochs, steps in ((1, 1), (4, 3), (20, 1)):
        rates = [_rates(schedule, epochs, steps, objective) for objective in (1.0, 2.0, math.nan)]
        fine = all(0 <= rate <= RATE * (1 + 1e-9) for rate in rates[0])
        _demand(fine, f"a rate in {epochs} epochs is above the study's or below 0", schedule)
        if not schedule.adaptive:
            ahead = rates[0] == rates[1] == rates[2]
            _demand(ahead, "its rates depend on the objective, but adaptive is False", schedule)


def _rates(schedule: Schedule, epochs: int, steps: int, objective: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = schedule.scheduler(optimizer, epochs, steps)
    found = []
    for _ in range(epochs):
        for _ in range(steps):
            found.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.after_step(scheduler)
        schedule.after_epoch(scheduler, objective)
    return found


def _optimizer(optimizer: Optimizer) -> None:
    if type(optimizer).update is Optimizer.update:
        return  # trained one by one
    parameter = _rows(WIDTH)[0].double().requires_grad_()
    ours = parameter.detach().clone()
    asked = Regularizer().penalties().decay
    theirs, decay = optimizer.build([parameter], RATE, asked), optimizer.decay(asked)
    moments = tuple(torch.zeros_like(ours) for _ in range(optimizer.moments))
    for step in range(1, 6):
        gradient = (ours * 2 - 1) * step
        parameter.grad = gradient.clone()
        theirs.step()
        factors = tuple(torch.tensor(f, dtype=torch.float64) for f in optimizer.factors(step))
        if not decay.decoupled:
            gradient = gradient + decay.amount * ours
        change, moments = optimizer.update(gradient, moments, factors)
        kept = ours * (1 - RATE * decay.amount) if decay.decoupled else ours
        ours = kept - RATE * change
        same = torch.allclose(ours, parameter.detach(), rtol=1e-6, atol=1e-12)
        _demand(same, f"'update' is not what 'build' does, in step {step}", optimizer)


_OF_AXIS: dict[type[Technique], Callable[[Any], None]] = {
    Norm: _norm,
    Regularizer: _regularizer,
    Init: _init,
    Schedule: _schedule,
    Optimizer: _optimizer,
}


def _rows(width: int) -> Tensor:
    return Streams(0).normal((12, width), "contract").to(torch.float32)


# ------------------------------------------------------------------------------------- whole runs


def _trains(technique: Technique, task: str) -> None:
    ours = _configuration(technique, task)
    if ours.skip is not None:
        own = f"{technique.role} '{technique.name}' cannot say"
        _demand(not ours.skip.startswith(own), f"its 'skip' raises: {ours.skip}", technique)
        return
    first, again = (_losses(loop.train(Run(ours, 1))) for _ in range(2))
    _demand(first == again, "the same run twice has other losses", technique)
    control = registered(technique.role)[CONTROLS[technique.role]]()
    if technique.role != "device" and technique.name != control.name:
        # At a rate that throws weights about, so that what only stands by has to act.
        rough = (
            _configuration(one, task).with_(lr=ROUGH, epochs=20) for one in (technique, control)
        )
        found, other = (_losses(loop.train(Run(one, 1))) for one in rough)
        _demand(found != other, "its losses are those of the control: it does nothing", technique)
    try:
        cohort_key(ours)
        made = build_program(ours)
    except NotStackableError:
        return  # trained one by one, which the plan says
    results = trainer.train([Run(ours, seed) for seed in (1, 2)], MIN_MEMBERS)
    for result in results:
        judge = loop.train(result.run)
        _demand(result.status == judge.status, f"fused it ends as {result.status}", technique)
        pairs = zip(_losses(result), _losses(judge), strict=True)
        close = all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)
        message = f"its {made.network.engine} runs are not those of the plain loop"
        _demand(close or judge.status == "diverged", message, technique)


def _configuration(technique: Any, task: str) -> Configuration:
    setting = {technique.role: technique} if technique.role in SETTINGS else {}
    axes = {} if setting else {technique.role: [technique]}
    study = Study(
        task=task, epochs=EPOCHS, lr=RATE, batch_size=48, dtype="float64", axes=axes, **setting
    )
    return study.configurations[0]


def _losses(result: Any) -> list[float]:
    return [loss for epoch in result.curve for loss in (epoch.objective, epoch.val_loss)]
