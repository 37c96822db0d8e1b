"""Runs trained by the fused engine, and their comparison with the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ablations import Study
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.training import loop
from ablations.training.cohorts import group_runs
from ablations.training.fused import trainer
from ablations.training.result import RunResult

SIZE = 32
AXES = ("regularizer", "norm", "init", "schedule", "optimizer")


def runs_of(**study: Any) -> list[Run]:
    settings = {"task": "notebook", "seeds": 1, "batch_size": "full", "epochs": 20}
    return list(expand(Study(**(settings | study))).runs)


def train_fused(runs: Sequence[Run], size: int = SIZE, **options: Any) -> dict[str, RunResult]:
    """Each run's result by the fused engine, cohort by cohort."""
    results = [
        result
        for members in group_runs(runs)
        for start in range(0, len(members), size)
        for result in trainer.train(members[start : start + size], size, **options)
    ]
    assert len(results) == len(runs)
    return {result.run.run_id: result for result in results}


def numbers(result: RunResult) -> list[float]:
    curve = [list(vars(epoch).values()) for epoch in result.curve]
    return [number for epoch in curve for number in epoch] + [result.metric or 0.0]


def assert_is_the_loop_s(result: RunResult, relative: float) -> None:
    """Compare a fused run with the plain loop's."""
    expected = loop.train(result.run)
    assert result.traceback is None, result.traceback
    assert (result.status, result.reason) == (expected.status, expected.reason)
    assert result.parameters == expected.parameters
    assert numbers(result) == pytest.approx(numbers(expected), rel=relative, nan_ok=True)


def assert_same_bits(
    cohorts: Sequence[Sequence[Run]], expected: dict[str, list[float]], size: int, **options: Any
) -> None:
    """Train cohorts, and compare the runs that were trained before."""
    for runs in cohorts:
        for result in trainer.train(runs, size, **options):
            if result.run.run_id in expected:
                assert numbers(result) == expected[result.run.run_id]
