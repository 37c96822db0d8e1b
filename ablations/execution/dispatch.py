"""Cohorts to workers: who trains what, and the shards that come of it."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib

from ablations.core.errors import RequestError, nearest
from ablations.execution import workers
from ablations.execution.workers import Pool, WorkerDiedError
from ablations.results import store
from ablations.training import recovery, timeout
from ablations.training.cohorts import Cohort
from ablations.training.result import RunResult

IN_PROCESS_STEPS = 8_000
"""A study of fewer optimizer steps is over before worker processes have imported torch."""

THREADS_STEPS = 9_000
"""The same where threads of this process can share the work."""

FUSED_SHARE = 0.15
"""What a step of a run costs in a program, where the plain loop is 1."""


@dataclass(frozen=True)
class OutputContext:
    """Where results go, what stands in every row, and what training may cost."""

    folder: Path
    study: str
    environment_id: str
    compiled: bool = False
    """Whether its programs are compiled."""
    session: int = 0
    """The number of this command among those that wrote to the folder."""
    seconds: float | None = None
    """How long a cohort may take, and a run by itself."""

    @property
    def stop(self) -> Path:
        """A file that tells workers, wherever they are, to begin nothing more."""
        return self.folder / f"{store.STOP}{self.session}"


CohortBatch = tuple[Cohort, ...]


def dispatch(
    parcels: Sequence[CohortBatch],
    target: OutputContext,
    pool: Pool,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Counter[str]]:
    """Train every parcel; gives the count of each status as parcels finish, in any order.

    The workers write the shards themselves: what is finished is safe whatever happens to
    this process.

    A program whose worker process dies is trained once more, with a worker to itself.  If that dies
    too, each of its runs has one, as runs of the plain loop have at once; a run whose worker dies
    then is recorded as ``failed``, and the others go on.  Where the process was killed for want of
    memory, the program is halved instead, as often as it can be; its runs say so.
    """
    yield from workers.map_calls(
        train_parcel,
        [(parcel, target) for parcel in parcels],
        pool,
        again=_again,
        stopped=stopped,
    )


def train_parcel(parcel: CohortBatch, target: OutputContext) -> Counter[str]:
    """Train the cohorts one after the other and write their shard; the count of each status."""
    results: list[RunResult] = []
    for cohort in parcel:
        if target.stop.exists():
            break
        results += recovery.train_cohort(cohort, target.compiled, target.seconds)
    write(results, target)
    return Counter(result.status for result in results)


def write(results: Sequence[RunResult], target: OutputContext) -> None:
    """One shard of results."""
    rows = [result.row(target.study, target.environment_id) for result in results]
    curves = [
        {"run_id": result.run.run_id, **vars(epoch)} for result in results for epoch in result.curve
    ]
    if rows:
        store.write_shard(target.folder, rows, curves, target.session)


def _again(
    call: tuple[CohortBatch, OutputContext], death: WorkerDiedError
) -> Iterator[Counter[str]]:
    """Train a parcel that may have been in the hands of a worker that died."""
    parcel, target = call
    done = store.finished(target.folder, target.session)
    ids = [run.run_id for cohort in parcel for run in cohort.runs]
    if done.keys() >= set(ids):  # it was written, and only its answer was lost
        yield Counter(done[run_id] for run_id in ids)
        return
    for cohort in parcel:
        if cohort.size is None:
            parts = _singly(cohort)
        else:
            parts = recovery.shrink_cohort(cohort) if death.memory else [cohort]
        for part in parts:
            yield from _by_itself(part, target)


def _by_itself(cohort: Cohort, target: OutputContext) -> Iterator[Counter[str]]:
    start = time.monotonic()
    try:
        statuses = workers.call_isolated(train_parcel, (cohort,), target)
    except WorkerDiedError as error:
        death, took = error, time.monotonic() - start
    else:
        yield statuses
        return
    if death.memory and cohort.size:
        parts = recovery.shrink_cohort(cohort)
    elif len(cohort) > 1:
        parts = _singly(cohort)
    else:
        write([_killed(cohort, death, took, target)], target)
        yield Counter(failed=1)
        return
    for part in parts:
        if not target.stop.exists():
            yield from _by_itself(part, target)


def _singly(cohort: Cohort) -> list[Cohort]:
    return [replace(cohort, runs=(run,)) for run in cohort.runs]


def _killed(
    cohort: Cohort, death: WorkerDiedError, took: float, target: OutputContext
) -> RunResult:
    reason = f"its worker process died each time: {death.exit_code}"
    late = target.seconds is not None and took > timeout.PATIENCE * target.seconds
    if late and death.exit_code == timeout.EXIT_CODE:
        reason = f"took longer than {target.seconds:g} s, and its process did not answer"
    elif death.memory:
        reason = f"there was no memory for it: {death.exit_code}"
    engine = "fused" if cohort.size else "loop"
    return RunResult(cohort.runs[0], "failed", reason, engine, cohort.size or 1)


def arrange(
    cohorts: Sequence[Cohort], jobs: int | None, backend: str | None, apart: bool = False
) -> Pool:
    """Jobs and joblib backend: what was asked for, else what suits the work.

    By default processes, one a core.  A study that is over sooner than they start stays in this
    process: shared by threads where all of it is programs, which leave the interpreter to others
    while they compute.

    Parameters
    ----------
    apart
        Whether training may end the process that it runs in, so that it must not be this one.
    """
    cores = joblib.cpu_count()
    if backend is not None:
        return Pool(_jobs(jobs, cohorts, cores), backend)
    if apart:
        return Pool(_jobs(jobs, cohorts, cores), "loky")
    if jobs is not None:
        asked = _jobs(jobs, cohorts, cores)
        return Pool(asked, "loky") if asked > 1 else Pool()
    work = sum(cohort.steps * (FUSED_SHARE if cohort.size else 1) for cohort in cohorts)
    threads = len(cohorts) > 1 and all(cohort.size for cohort in cohorts)
    found = _jobs(None, cohorts, cores)
    if found == 1 or (not threads and work < IN_PROCESS_STEPS):
        return Pool()
    return Pool(found, "threading" if threads and work < THREADS_STEPS else "loky")


def _jobs(asked: int | None, cohorts: Sequence[Cohort], cores: int) -> int:
    if asked is None:
        return max(1, min(len(cohorts), cores))
    return cores if asked < 0 else asked


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
    if backend == "multiprocessing":
        message = "'multiprocessing' waits for ever where a worker dies; 'loky' does not"
        raise RequestError(message, "--backend")
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
