"""Cohorts to joblib: who trains what, and the shards that come of it."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import torch

from ablations import store
from ablations.cohorts import Cohort, steps
from ablations.grid import Run
from ablations.training import loop
from ablations.training.result import Result

IN_PROCESS_STEPS = 8_000
"""A study of fewer optimizer steps is over before worker processes have imported torch."""


@dataclass(frozen=True)
class Target:
    """Where results go and what stands in every row."""

    folder: Path
    study: str
    environment_id: str


def dispatch(
    cohorts: Sequence[Cohort], target: Target, jobs: int, backend: str
) -> Iterator[Counter[str]]:
    """Train every cohort; gives the count of each status as cohorts finish, in any order.

    The workers write the shards themselves: what is finished is safe whatever happens to
    this process, and a backend that cannot stream results loses nothing by it.

    Parameters
    ----------
    jobs
        Worker processes; 1 trains in this one.
    backend
        A joblib backend: loky, threading, sequential, or one that was registered.
    """
    if jobs == 1:
        backend = "sequential"
    options: dict[str, Any] = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with _threads_restored(), joblib.parallel_config(backend=backend, n_jobs=jobs, **options):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(train_cohort)(cohort, target) for cohort in cohorts)


def workers(cohorts: Sequence[Cohort], jobs: int | None) -> int:
    """How many jobs to use: what was asked for, else all cores, but one for a short study."""
    if jobs is not None:
        return joblib.cpu_count() if jobs < 0 else jobs
    work = sum(steps(run.configuration) for cohort in cohorts for run in cohort.runs)
    return 1 if work < IN_PROCESS_STEPS else min(len(cohorts), joblib.cpu_count())


def train_cohort(cohort: Cohort, target: Target) -> Counter[str]:
    """Train the members one by one and write their shard; gives the count of each status."""
    # One thread wherever a run is trained: sums that are split over threads round otherwise.
    torch.set_num_threads(1)
    results = [_attempt(run) for run in cohort.runs]
    write(results, target)
    return Counter(result.status for result in results)


def write(results: Sequence[Result], target: Target) -> None:
    """One shard of results."""
    rows = [result.row(target.study, target.environment_id) for result in results]
    curves = [
        {"run_id": result.run.run_id, **asdict(epoch)}
        for result in results
        for epoch in result.curve
    ]
    store.write_shard(target.folder, rows, curves)


def _attempt(run: Run) -> Result:
    try:
        return loop.train(run)
    except Exception as error:
        # One run's exception is that run's result; the others of the cohort go on.
        reason = f"{type(error).__name__}: {error}"
        return Result(run, status="failed", reason=reason, traceback=traceback.format_exc())


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Give this process back its number of threads after training in it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
