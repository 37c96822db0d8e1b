"""Optimizers without PyTorch's compiler do the same, and do not import it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from ablations.core.optimizers import without_compiler

PROGRAM = """
import sys
import ablations
from ablations.study.expand import expand
from ablations.training import loop, recovery
from ablations.training.cohorts import Cohort

schedules = ["constant", "step", "plateau", "cyclic", "one_cycle"]
study = ablations.Study(
    task="notebook",
    axes={"schedule": schedules, "optimizer": ["adam", "adamw", "sgd", "rmsprop"]},
    seeds=1,
    epochs=1,
)
for run in expand(study).runs:
    assert loop.train(run).status == "ok"
    assert recovery.train_cohort(Cohort((run,), 8), False, None)[0].status == "ok"
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
"""


@pytest.mark.slow
def test_eager_training_does_not_import_the_compiler() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.Adam, {"weight_decay": 0.1}),
        (torch.optim.AdamW, {}),
        (torch.optim.RMSprop, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_an_optimizer_does_the_same_without_the_compiler(
    optimizer: Any, options: dict[str, Any]
) -> None:
    weights = []
    for cls in (optimizer, without_compiler(optimizer)):
        weight = torch.linspace(-1, 1, 7, requires_grad=True)
        trained = cls([weight], lr=0.05, **options)
        for power in range(1, 5):
            trained.zero_grad()
            weight.pow(2 * power).sum().backward()  # type: ignore[no-untyped-call]
            trained.step()
        assert trained.state_dict()["state"] or not options
        weights.append(weight.detach().tolist())
    assert weights[0] == weights[1]
    assert isinstance(trained, optimizer)
