"""Cohorts to joblib: who trains what, and the shards that come of it."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ablations import store
from ablations.cohorts import Cohort
from ablations.errors import RequestError, nearest
from ablations.grid import Run
from ablations.training import fused, loop
from ablations.training.result import Result

IN_PROCESS_STEPS = 8_000
"""A study of fewer optimizer steps is over before worker processes have imported torch."""

THREADS_STEPS = 12_000
"""The same where threads of this process can share the work."""

FUSED_SHARE = 0.15
"""What a step of a run costs in a program, where the plain loop is 1."""

IN_FLIGHT = 2
"""Parcels handed out for each job at a time: one in training, one waiting for its worker."""


T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Where results go and what stands in every row."""

    folder: Path
    study: str
    environment_id: str
    compiled: bool = False
    """Whether its programs are compiled."""
    session: int = 0
    """The number of this command among those that wrote to the folder."""


Parcel = tuple[Cohort, ...]


def dispatch(
    parcels: Sequence[Parcel], target: Target, jobs: int, backend: str
) -> Iterator[Counter[str]]:
    """Train every parcel; gives the count of each status as parcels finish, in any order.

    The workers write the shards themselves: what is finished is safe whatever happens to
    this process.  A cohort whose worker process dies is trained once more, with a worker to itself;
    if that dies too, each of its runs has one; a run whose worker dies then is recorded as
    ``failed``, and the others go on.

    Parameters
    ----------
    jobs
        Worker processes; 1 trains in this one.
    backend
        A joblib backend: loky, threading, sequential, or one that was registered.
    """
    left = dict(enumerate(parcels))
    while left:
        try:
            for index, statuses in _parallel(tuple(left.items()), target, jobs, backend):
                del left[index]
                yield statuses
        except TerminatedWorkerError:
            done = store.finished(target.folder)
            written = [i for i, parcel in left.items() if done.keys() >= set(_ids(parcel))]
            yield from (Counter(done[run_id] for run_id in _ids(left.pop(i))) for i in written)
            # joblib hands out in order, so the dead worker held one of the first that are left.
            suspects = [left.pop(index) for index in list(left)[: IN_FLIGHT * jobs]]
            yield from _one_by_one(suspects, target)


def _ids(parcel: Parcel) -> list[str]:
    return [run.run_id for cohort in parcel for run in cohort.runs]


def _parallel(
    parcels: Sequence[tuple[int, Parcel]], target: Target, jobs: int, backend: str
) -> Iterator[tuple[int, Counter[str]]]:
    calls = ((_train_numbered, (index, parcel, target)) for index, parcel in parcels)
    yield from parallel(calls, jobs, backend)


def parallel(
    calls: Iterable[tuple[Callable[..., T], tuple[Any, ...]]], jobs: int, backend: str
) -> Iterator[T]:
    """What each function gives for its arguments, in any order."""
    if in_process(jobs, backend):
        yield from (function(*arguments) for function, arguments in calls)
        return
    options: dict[str, Any] = {"inner_max_num_threads": 1} if backend == "loky" else {}
    # Threads of this process share how many threads torch uses: let none set it under the others.
    alone = loop.one_thread() if backend == "threading" else nullcontext()
    with alone, joblib.parallel_config(backend=backend, n_jobs=jobs, **options):
        streams = joblib.Parallel()._backend.supports_return_generator
        pool = joblib.Parallel(
            batch_size=1,
            pre_dispatch=f"{IN_FLIGHT}*n_jobs",
            return_as="generator_unordered" if streams else "list",
        )
        yield from pool(joblib.delayed(function)(*arguments) for function, arguments in calls)


def _train_numbered(index: int, parcel: Parcel, target: Target) -> tuple[int, Counter[str]]:
    return index, train_parcel(parcel, target)


def in_process(jobs: int, backend: str) -> bool:
    """Whether a backend with so many jobs trains in this process, one cohort after the other."""
    return backend == "sequential" or (jobs == 1 and backend in ("loky", "threading"))


def check_backend(backend: str | None, jobs: int | None) -> None:
    """Refuse a backend that joblib does not have here, or a number of jobs that makes no sense.

    Raises
    ------
    RequestError
        Naming the option.
    """
    if jobs is not None and (jobs == 0 or jobs < -1):
        message = f"expected a number from 1 up, or -1 for all cores, found {jobs}"
        raise RequestError(message, "--jobs")
    if backend is None:
        return
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


def _one_by_one(parcels: Sequence[Parcel], target: Target) -> Iterator[Counter[str]]:
    """Train each cohort in a worker process by itself, where its death harms nothing else."""
    for cohort in (cohort for parcel in parcels for cohort in parcel):
        try:
            yield _alone(cohort, target)
        except TerminatedWorkerError:
            for run in cohort.runs:
                part = replace(cohort, runs=(run,))
                try:
                    yield _alone(part, target)
                except TerminatedWorkerError as error:
                    write([_killed(run, error)], target)
                    yield Counter(failed=1)


def _alone(cohort: Cohort, target: Target) -> Counter[str]:
    executor = get_reusable_executor(max_workers=1, kill_workers=True)
    statuses: Counter[str] = executor.submit(train_parcel, (cohort,), target).result()
    return statuses


def _killed(run: Run, error: TerminatedWorkerError) -> Result:
    exit_codes = str(error).partition("exit codes of the workers are ")[2].splitlines()
    cause = "".join(exit_codes[:1]) or "unknown cause"
    return Result(run, status="failed", reason=f"its worker process died each time: {cause}")


def arrange(cohorts: Sequence[Cohort], jobs: int | None, backend: str | None) -> tuple[int, str]:
    """Jobs and joblib backend: what was asked for, else what suits the work.

    By default processes, one a core.  A study that is over sooner than they start stays in this
    process: shared by threads where all of it is programs, which leave the interpreter to others
    while they compute.
    """
    cores = joblib.cpu_count()
    if jobs is not None or backend is not None:
        asked = min(len(cohorts), cores) if jobs is None else cores if jobs < 0 else jobs
        return max(1, asked), backend or "loky"
    work = sum(cohort.steps * (FUSED_SHARE if cohort.size else 1) for cohort in cohorts)
    threads = len(cohorts) > 1 and all(cohort.size for cohort in cohorts)
    if work >= (THREADS_STEPS if threads else IN_PROCESS_STEPS):
        return min(len(cohorts), cores), "loky"
    return (min(len(cohorts), cores), "threading") if threads else (1, "loky")


def train_parcel(parcel: Parcel, target: Target) -> Counter[str]:
    """Train the cohorts one after the other and write their shard; the count of each status."""
    results = [result for cohort in parcel for result in train_cohort(cohort, target.compiled)]
    write(results, target)
    return Counter(result.status for result in results)


def train_cohort(cohort: Cohort, compiled: bool) -> list[Result]:
    """Train the members, as one program or one by one."""
    if cohort.size is None:
        return [_attempt(run) for run in cohort.runs]
    return fused.train(cohort.runs, cohort.size, compiled=compiled)


def write(results: Sequence[Result], target: Target) -> None:
    """One shard of results."""
    rows = [result.row(target.study, target.environment_id) for result in results]
    curves = [
        {"run_id": result.run.run_id, **vars(epoch)} for result in results for epoch in result.curve
    ]
    store.write_shard(target.folder, rows, curves, target.session)


def _attempt(run: Run) -> Result:
    try:
        return loop.train(run)
    except Exception as error:
        return Result.of_exception(run, error)
