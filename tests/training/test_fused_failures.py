"""Members that go wrong, and programs that cannot be compiled."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ablations.study.configuration import Run
from ablations.techniques.base import Schedule
from ablations.techniques.inits import XavierUniform
from ablations.training import loop
from ablations.training.fused import trainer
from ablations.training.fused.memory import retain_freed_memory

from .fused_runs import SIZE, numbers, runs_of, train_fused


def test_a_member_that_explodes_harms_no_other_and_ends_as_in_the_loop() -> None:
    runs = runs_of(axes={"optimizer": ["sgd"], "lr": [1e-3, 1e6]}, seeds=4)
    results = train_fused(runs)
    calm = {run.run_id: run for run in runs if run.configuration.lr < 1}
    alone = train_fused(list(calm.values()))
    for run in runs:
        result = results[run.run_id]
        if run.run_id in calm:
            assert result.status == "ok"
            assert numbers(result) == numbers(alone[run.run_id])
        else:
            expected = loop.train(run)
            assert (result.status, result.reason) == ("diverged", expected.reason)
            assert len(result.curve) == len(expected.curve) < 20
            assert result.metric is None


@dataclass(frozen=True)
class Counts(Schedule):
    """Notes the objective of every epoch."""

    name = "counts"

    def scheduler(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> Any:
        return None

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        OBJECTIVES.append(objective)


OBJECTIVES: list[float] = []


def test_a_cohort_without_a_finite_member_stops() -> None:
    OBJECTIVES.clear()
    runs = runs_of(axes={"optimizer": ["sgd"]}, lr=1e6, seeds=3, epochs=500)
    runs = [Run(run.configuration.with_(schedule=Counts()), run.seed) for run in runs]
    results = trainer.train(runs, 8)
    assert {result.status for result in results} == {"diverged"}
    assert 0 < len(OBJECTIVES) < 10 * 8  # of each of eight members


@dataclass(frozen=True)
class Breaks(Schedule):
    """Raises in the third step."""

    name = "breaks"

    def scheduler(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> Any:
        return iter(range(2))

    def after_step(self, scheduler: Any) -> None:
        if next(scheduler, None) is None:
            raise ArithmeticError("no third step")

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        pass


class NoInit(XavierUniform):
    """Raises while a member is prepared."""

    name = "no_init"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        raise ArithmeticError("no weights today")


@pytest.mark.parametrize(
    ("guilty", "reason"),
    [({"schedule": Breaks()}, "no third step"), ({"init": NoInit()}, "no weights today")],
)
def test_an_exception_is_one_row_and_the_others_are_as_without_it(
    guilty: dict[str, Any], reason: str
) -> None:
    runs = runs_of(seeds=6)
    other = runs[3]
    bad = Run(other.configuration.with_(**guilty), other.seed)
    # A new thread has no cached initial states, as a worker that sees the guilty run first.
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(trainer.train, [bad, *runs], SIZE).result()
    assert len(results) == 7
    failures = [result for result in results if result.run is bad]
    assert [(r.status, r.engine, r.cohort_size) for r in failures] == [("failed", "fused", SIZE)]
    message = f"ArithmeticError: {reason} (test_fused_failures.py, line "
    assert str(failures[0].reason).startswith(message)
    assert "Traceback" in (failures[0].traceback or "")
    without = train_fused(runs)
    for result in results:
        if result.run is not bad:
            assert numbers(result) == numbers(without[result.run.run_id])


def test_freed_memory_is_retained_where_the_c_library_supports_it() -> None:
    assert retain_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_where_the_compiler_fails_programs_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def broken(*_: Any, **__: Any) -> Any:
        attempts.append(1)
        raise OSError("no room for the compiler's files")

    monkeypatch.setattr(torch, "compile", broken)
    # No other test compiles this network, so this process has not seen it.
    runs = runs_of(seeds=5, epochs=2, model={"name": "mlp", "hidden": [12, 3]})
    eager = train_fused(runs)
    for _ in range(2):
        for run_id, result in train_fused(runs, compiled=True).items():
            assert result.engine == "fused"
            assert numbers(result) == numbers(eager[run_id])
    assert attempts == [1]
