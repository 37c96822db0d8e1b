"""Random numbers that user code draws: seeded by the run, or refused."""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ablations
from ablations import RequestError, Study
from ablations.execution.progress import Silent
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.training import audit, loop
from ablations.training.fused import trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.repetition import find_irreproducible

NUMBER = itertools.count()
BUILD = """
import os, random, secrets, time
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

GENERATOR = np.random.default_rng()
TORCH_GENERATOR = torch.Generator()
TORCH_GENERATOR.seed()

class Net(nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, 16), norm(16)
        self.last = nn.Linear(16, outputs)
        {start}
    def forward(self, x):
        h = torch.tanh(self.norm(self.first(x)))
        {forward}
        return self.last(h)

def build(inputs, outputs, norm):
    return Net(inputs, outputs, norm)
"""


def user_runs(folder: Path, start: str = "pass", forward: str = "pass") -> tuple[Run, ...]:
    """Runs of a network with a line in its constructor, and another in its forward pass."""
    name = f"network_{next(NUMBER)}"
    (folder / f"{name}.py").write_text(BUILD.format(start=start, forward=forward))
    (folder / "study.toml").write_text(f'task = "diabetes"\nmodel = "python:{name}:build"\n')
    study = Study.from_toml(folder / "study.toml", seeds=2, epochs=2, batch_size=64)
    return expand(study.with_axis("norm", ["none", "layer"])).runs


def losses(run: Run) -> list[float]:
    return [record.val_loss for record in loop.train(run).curve]


@pytest.fixture(autouse=True)
def _search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.parametrize(
    "line",
    [
        "weight = torch.from_numpy(np.random.uniform(-1, 1, (16, inputs)))",
        "weight = torch.tensor(np.random.RandomState(np.random.randint(9)).rand(16, inputs))",
        "weight = torch.tensor([[random.gauss(0, 1) for _ in range(inputs)] for _ in range(16)])",
        "weight = torch.randn(16, inputs)",
    ],
)
def test_global_generators_are_seeded_by_the_run_in_both_engines(line: str, tmp_path: Path) -> None:
    line += "\n        self.first.weight.data.copy_(weight)"
    runs = user_runs(tmp_path, start=line)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    assert find_irreproducible(runs[:1]) == [None]
    first = {run.run_id: losses(run) for run in runs}
    np.random.seed(7)  # noqa: NPY002
    random.seed(8)
    assert {run.run_id: losses(run) for run in runs[::-1]} == first
    assert len({curve[0] for curve in first.values()}) == len(runs)
    for result in trainer.train(runs[:2], 8):
        expected = first[result.run.run_id]
        assert [e.val_loss for e in result.curve] == pytest.approx(expected, rel=1e-4)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    loop.train(runs[0])
    trainer.train(runs[:1], 8)
    assert random.getstate() == states[0]
    assert str(np.random.get_state()) == str(states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


START = "self.first.weight.data *= {}"


@pytest.mark.parametrize(
    ("start", "forward", "reason"),
    [
        (START.format("float(np.random.default_rng().random())"), "", "starts from other weights"),
        (START.format("float(GENERATOR.random())"), "", "starts from other weights"),
        (START.format("os.urandom(4)[0] / 256 + secrets.randbelow(9)"), "", "starts from other"),
        (START.format("time.time_ns() % 100_003"), "", "starts from other weights"),
        (START.format("random.SystemRandom().random()"), "", "starts from other weights"),
        ("nn.init.normal_(self.last.weight, generator=TORCH_GENERATOR)", "", "starts from other"),
        ("", "h = h * (1 + os.urandom(1)[0] * self.training)", "has other losses"),
        ("", "h = F.dropout(h, 0.5, training=True)", "is random in evaluation mode"),
        ("", "h = h + 0.01 * torch.randn_like(h)", "is random in evaluation mode"),
        ("", "h = h * np.random.uniform(0.9, 1.1)", "is random in evaluation mode"),
        ("self.calls = 0", "self.calls += 1; h = h * self.calls", "is random in evaluation mode"),
        ("", "h = F.dropout(h, 0.5, self.training)", None),
        ("", "h = h * (np.random.uniform(0.9, 1.1) if self.training else 1)", None),
    ],
)
def test_what_does_not_repeat_is_refused(
    start: str, forward: str, reason: str | None, tmp_path: Path
) -> None:
    runs = user_runs(tmp_path, start or "pass", forward or "pass")
    (message,) = find_irreproducible(runs[:1])
    assert (message is None) == (reason is None)
    assert message is None or (
        str(reason) in message and runs[0].configuration.model.title in message
    )
    if reason is None:
        assert losses(runs[0]) == losses(runs[0])


def test_draws_in_the_forward_pass_are_left_to_the_loop(tmp_path: Path) -> None:
    factor = "(np.random.uniform(0.9, 1.1) if self.training else 1)"
    runs = user_runs(tmp_path, forward=f"h = h * {factor}")
    with pytest.raises(NotStackableError, match="draws from a global generator"):
        build_program(runs[0].configuration)


def test_a_command_refuses_before_it_writes(tmp_path: Path) -> None:
    user_runs(tmp_path, forward="h = F.dropout(h, 0.5, training=True)")
    study = Study.from_toml(tmp_path / "study.toml", seeds=1, epochs=1)
    with pytest.raises(RequestError, match=r"the model python:.* is random in evaluation mode"):
        ablations.run(study, tmp_path / "out", backend="sequential", reporter=Silent())
    assert not (tmp_path / "out").exists()


def test_the_audit_never_excuses_a_run_that_does_not_repeat(tmp_path: Path) -> None:
    runs = user_runs(tmp_path, start=START.format("float(GENERATOR.uniform(0.5, 1.5))"))[:2]
    stored = {
        result.run.run_id: [(e.objective, e.train_loss, e.val_loss) for e in result.curve]
        for result in trainer.train(runs, 8)
    }
    for record in audit.audit_runs(runs, "vmap", 8, stored):
        assert "trained again by the same engine it has other losses" in str(record.reason)
        assert "from a generator without a seed" in str(record.reason)
