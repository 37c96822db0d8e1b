"""The public contract test: all techniques of this package pass, and violations are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablations.core import registry
from ablations.core.registry import registered
from ablations.techniques.base import (
    Init,
    Norm,
    Penalties,
    RandomLayer,
    Regularizer,
    Schedule,
    Technique,
    technique,
)
from ablations.techniques.norms import GroupNorm
from ablations.techniques.regularizers import Dropout, InputNoise
from ablations.testing import check

pytestmark = pytest.mark.usefixtures("temporary_registry")

AXES = ("regularizer", "norm", "init", "schedule", "device", "optimizer")
TECHNIQUES = [
    pytest.param(cls(), id=f"{axis}-{name}")
    for axis in AXES
    for name, cls in registered(axis).items()
    if cls.__module__.startswith("ablations.")
]


@pytest.mark.parametrize("level", TECHNIQUES)
def test_registered_techniques_pass(level: Technique) -> None:
    check(level)


@pytest.mark.parametrize("level", [GroupNorm(channels=4), Dropout(p=(0.3,)), InputNoise(std=0.3)])
def test_techniques_with_other_parameters_pass(level: Technique) -> None:
    check(level)


def register_broken(base: type[Any], **body: Any) -> Any:
    """Return a technique with these methods, registered during the test."""
    docs = {"__doc__": "A technique that violates the contract.", "__module__": __name__}
    cls: Any = type("Broken", (base,), docs | {"name": "broken"} | body)
    return technique(cls)()


class Loud(RandomLayer):
    """Draws from the global generator."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.rand(1)


class Eager(RandomLayer):
    """Acts in evaluation."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 0.5


def unit(weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
    nn.init.normal_(weight)


def rises(optimizer: Any, epochs: int, steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 + epoch)


BROKEN: list[tuple[type[Any], dict[str, Any], str]] = [
    (Norm, {}, "it has no effect"),
    (Norm, {"layer": lambda self, width: nn.Linear(width, 3)}, "changes the shape"),
    (Norm, {"layer": lambda self, width: Loud("x")}, "random in evaluation mode"),
    (
        Norm,
        {"wrap": lambda self, linear: nn.init.zeros_(linear.weight)},
        "changes its initial outputs",
    ),
    (
        Regularizer,
        {"layer": lambda self, place: Loud("x")},
        "other numbers when a step is repeated",
    ),
    (Regularizer, {"layer": lambda self, place: Eager("x")}, "acts in evaluation mode"),
    (Regularizer, {"layer": lambda self, place: nn.Identity()}, "is not a RandomLayer"),
    (Regularizer, {"objective": lambda self, o, t, p, loss: o}, "is not a finite number"),
    (Regularizer, {"shrink": lambda self, weight: weight * 0}, "not one factor for each unit"),
    (Init, {"fill": lambda self, w, n, g: unit(w, n, g)}, "ignores the generator"),
    (Init, {"fill": lambda self, w, n, g: None}, "non-finite weights"),
    (Schedule, {"scheduler": lambda self, o, e, s: rises(o, e, s)}, "above the study's rate"),
    (Norm, {"__doc__": "no sentence"}, "does not begin with a sentence"),
]


@pytest.mark.parametrize(("base", "body", "failure"), BROKEN)
def test_violations_are_reported(base: type[Any], body: dict[str, Any], failure: str) -> None:
    broken = register_broken(base, **body)
    # Pickle looks a class up in its module by its name.
    globals()["Broken"] = type(broken)
    with pytest.raises(AssertionError, match=failure):
        check(broken)


SOME_TASKS: dict[str, Callable[[Any], bool]] = {
    "images": lambda context: len(context.task.shape) == 3,
    "sequences": lambda context: len(context.task.shape) == 2,
    "binary": lambda context: context.task.classification and context.task.outputs == 2,
    "classes": lambda context: context.task.classification,
}


@pytest.mark.parametrize("kind", SOME_TASKS)
def test_a_technique_for_some_tasks_is_checked_on_those(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = []

    def skip(self: Any, context: Any) -> str | None:
        return None if SOME_TASKS[kind](context) else f"it is for {kind} only"

    def penalties(self: Any) -> Penalties:
        return Penalties(l1=0.01)

    def objective(self: Any, outputs: Tensor, targets: Tensor, *rest: Any) -> Tensor:
        tasks.append(outputs.shape[1:])
        return Regularizer.objective(self, outputs, targets, *rest)

    good = register_broken(Regularizer, skip=skip, penalties=penalties, objective=objective)
    monkeypatch.setitem(globals(), "Broken", type(good))
    check(good)
    assert tasks
    with registry.temporary():
        # It changes nothing, which shows only where it applies.
        idle = register_broken(Regularizer, name="idle", skip=skip)
        monkeypatch.setitem(globals(), "Broken", type(idle))
        with pytest.raises(AssertionError, match="its losses are those of the control"):
            check(idle)


def test_a_technique_that_applies_nowhere_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip(self: Any, context: Any) -> str | None:
        return None if context.task.name == "diabetes" else "it is for patients"

    norm = register_broken(Norm, skip=skip, layer=lambda self, width: nn.LayerNorm(width))
    monkeypatch.setitem(globals(), "Broken", type(norm))
    message = r"applies to no task of the check \(notebook with mlp: it is for patients; four"
    with pytest.raises(AssertionError, match=message):
        check(norm)
    with pytest.raises(AssertionError, match=r"\(digits with mlp: it is for patients\); give a t"):
        check(norm, "digits")
    check(norm, "diabetes")


def test_an_exception_in_training_is_a_failure_that_names_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def skip(self: Any, context: Any) -> str | None:
        return None if context.task.classification else "it needs classes"

    def objective(self: Any, outputs: Tensor, targets: Tensor, *rest: Any) -> Tensor:
        if outputs.shape[-1] == 2:
            raise OSError("no")
        return 1.5 * Regularizer.objective(self, outputs, targets, *rest)

    level = register_broken(Regularizer, skip=skip, objective=objective)
    monkeypatch.setitem(globals(), "Broken", type(level))
    with pytest.raises(
        AssertionError, match=r"its runs fail: OSError: no \(two classes with mlp\)"
    ):
        check(level)


def test_an_exception_in_skip_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = register_broken(Norm, skip=lambda self, context: context.task.pixels)
    monkeypatch.setitem(globals(), "Broken", type(norm))
    with pytest.raises(AssertionError, match="its 'skip' raises an exception: norm 'broken'"):
        check(norm)
