"""The public contract: kept by all of ours, and found broken by those that break it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablations.core.registry import registered
from ablations.techniques.base import (
    Init,
    Norm,
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
OURS = [
    pytest.param(cls(), id=f"{axis}-{name}")
    for axis in AXES
    for name, cls in registered(axis).items()
    if cls.__module__.startswith("ablations.")
]


@pytest.mark.parametrize("ours", OURS)
def test_ours_keep_it(ours: Technique) -> None:
    check(ours, task="digits" if ours.name == "label_smoothing" else "notebook")


@pytest.mark.parametrize("ours", [GroupNorm(channels=4), Dropout(p=(0.3,)), InputNoise(std=0.3)])
def test_ours_keep_it_with_other_parameters(ours: Technique) -> None:
    check(ours)


def made(base: type[Any], **body: Any) -> Any:
    """A technique with these methods, registered as long as a test lasts."""
    docs = {"__doc__": "A technique that breaks its word.", "__module__": __name__}
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
    (Norm, {}, "it does nothing"),
    (Norm, {"layer": lambda self, width: nn.Linear(width, 3)}, "changes the shape"),
    (Norm, {"layer": lambda self, width: Loud("x")}, "random in evaluation"),
    (Norm, {"wrap": lambda self, linear: nn.init.zeros_(linear.weight)}, "at the start"),
    (Regularizer, {"layer": lambda self, place: Loud("x")}, "not those of the step"),
    (Regularizer, {"layer": lambda self, place: Eager("x")}, "acts in evaluation"),
    (Regularizer, {"layer": lambda self, place: nn.Identity()}, "no RandomLayer"),
    (Regularizer, {"objective": lambda self, o, t, p, loss: o}, "is no number"),
    (Regularizer, {"shrink": lambda self, weight: weight * 0}, "factor a unit"),
    (Init, {"fill": lambda self, w, n, g: unit(w, n, g)}, "another generator"),
    (Init, {"fill": lambda self, w, n, g: None}, "not finite"),
    (Schedule, {"scheduler": lambda self, o, e, s: rises(o, e, s)}, "above the study's"),
    (Norm, {"__doc__": "no sentence"}, "begins with no sentence"),
]


@pytest.mark.parametrize(("base", "body", "promise"), BROKEN)
def test_a_broken_promise_is_named(base: type[Any], body: dict[str, Any], promise: str) -> None:
    broken = made(base, **body)
    # A class that is made in a test cannot be pickled by its name; it is put where it can be.
    globals()["Broken"] = type(broken)
    with pytest.raises(AssertionError, match=promise):
        check(broken)
