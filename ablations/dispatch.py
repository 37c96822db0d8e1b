"""Cohorts to joblib: who trains what, and the shards that come of it."""

from __future__ import annotations

import importlib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ablations import store
from ablations.cohorts import Cohort, steps
from ablations.errors import RequestError, nearest
from ablations.grid import Run
from ablations.training import loop
from ablations.training.result import Result

IN_PROCESS_STEPS = 8_000
"""A study of fewer optimizer steps is over before worker processes have imported torch."""

IN_FLIGHT = 2
"""Cohorts handed out for each job at a time: one in training, one waiting for its worker."""


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
    this process.  A run whose worker process dies is trained once more, with a worker to itself;
    if that dies too, the run is recorded as ``failed`` and the others go on.

    Parameters
    ----------
    jobs
        Worker processes; 1 trains in this one.
    backend
        A joblib backend: loky, threading, sequential, or one that was registered.
    """
    left = dict(enumerate(cohorts))
    while left:
        try:
            for index, statuses in _parallel(tuple(left.items()), target, jobs, backend):
                del left[index]
                yield statuses
        except TerminatedWorkerError:
            done = store.finished(target.folder)
            written = [i for i, cohort in left.items() if done.keys() >= set(_ids(cohort))]
            yield from (Counter(done[run_id] for run_id in _ids(left.pop(i))) for i in written)
            # joblib hands out in order, so the dead worker held one of the first that are left.
            suspects = [left.pop(index) for index in list(left)[: IN_FLIGHT * jobs]]
            yield from _one_by_one(suspects, target)


def _ids(cohort: Cohort) -> list[str]:
    return [run.run_id for run in cohort.runs]


def _parallel(
    cohorts: Sequence[tuple[int, Cohort]], target: Target, jobs: int, backend: str
) -> Iterator[tuple[int, Counter[str]]]:
    if in_process(jobs, backend):
        yield from ((index, train_cohort(cohort, target)) for index, cohort in cohorts)
        return
    options: dict[str, Any] = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with joblib.parallel_config(backend=backend, n_jobs=jobs, **options):
        streams = joblib.Parallel()._backend.supports_return_generator
        parallel = joblib.Parallel(
            batch_size=1,
            pre_dispatch=f"{IN_FLIGHT}*n_jobs",
            return_as="generator_unordered" if streams else "list",
        )
        yield from parallel(
            joblib.delayed(_train_numbered)(index, cohort, target) for index, cohort in cohorts
        )


def _train_numbered(index: int, cohort: Cohort, target: Target) -> tuple[int, Counter[str]]:
    return index, train_cohort(cohort, target)


def in_process(jobs: int, backend: str) -> bool:
    """Whether a backend with so many jobs trains in this process, one cohort after the other."""
    return backend == "sequential" or (jobs == 1 and backend in ("loky", "threading"))


def check_backend(backend: str, jobs: int | None) -> None:
    """Refuse a backend that joblib does not have here, or a number of jobs that makes no sense.

    Raises
    ------
    RequestError
        Naming the option.
    """
    if jobs is not None and (jobs == 0 or jobs < -1):
        message = f"expected a number from 1 up, or -1 for all cores, found {jobs}"
        raise RequestError(message, "--jobs")
    if backend == "ray":
        _register_ray()
    names = sorted({*joblib.parallel.BACKENDS, *joblib.parallel.EXTERNAL_BACKENDS, "dask", "ray"})
    if backend not in names:
        message = f"there is no backend '{backend}'; {nearest(backend, names)}"
        raise RequestError(message, "--backend")
    try:
        with joblib.parallel_config(backend=backend):
            joblib.Parallel(n_jobs=2)
    except (ValueError, ImportError, RuntimeError) as error:
        raise RequestError(f"'{backend}' cannot be used here: {error}", "--backend") from None


def _register_ray() -> None:
    try:
        register = importlib.import_module("ray.util.joblib").register_ray
    except ImportError:
        raise RequestError("'ray' cannot be used here: it is not installed", "--backend") from None
    register()


def _one_by_one(cohorts: Sequence[Cohort], target: Target) -> Iterator[Counter[str]]:
    """Train each run in a worker process by itself, where its death harms nothing else."""
    for run in (run for cohort in cohorts for run in cohort.runs):
        executor = get_reusable_executor(max_workers=1, kill_workers=True)
        try:
            yield executor.submit(train_cohort, Cohort((run,)), target).result()
        except TerminatedWorkerError as error:
            exit_codes = str(error).partition("exit codes of the workers are ")[2].splitlines()
            reason = f"its worker process died twice: {''.join(exit_codes[:1]) or 'unknown cause'}"
            write([Result(run, status="failed", reason=reason)], target)
            yield Counter(failed=1)


def workers(cohorts: Sequence[Cohort], jobs: int | None) -> int:
    """How many jobs to use: what was asked for, else all cores, but one for a short study."""
    if jobs is not None:
        return joblib.cpu_count() if jobs < 0 else jobs
    work = sum(steps(run.configuration) for cohort in cohorts for run in cohort.runs)
    return 1 if work < IN_PROCESS_STEPS else min(len(cohorts), joblib.cpu_count())


def train_cohort(cohort: Cohort, target: Target) -> Counter[str]:
    """Train the members one by one and write their shard; gives the count of each status."""
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
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Result(run, status="failed", reason=reason, traceback=traceback.format_exc())
