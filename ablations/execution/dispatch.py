"""Cohorts to workers, and their results to shards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib

from ablations.execution import workers
from ablations.execution.workers import Pool, WorkerDiedError
from ablations.results import store
from ablations.training import recovery, timeout
from ablations.training.cohorts import Cohort
from ablations.training.result import RunResult

IN_PROCESS_STEPS = 8_000
"""A study of fewer optimizer steps ends before worker processes have imported torch."""
THREADS_STEPS = 9_000  # the same bound if threads of this process can share the work
FUSED_SHARE = 0.15  # the cost of a run's step in a fused program, relative to the plain loop


@dataclass(frozen=True)
class OutputContext:
    """Where a worker writes results, what every row repeats, and how long training may take."""

    folder: Path
    study: str
    environment_id: str
    compiled: bool = False  # whether fused programs are compiled
    session: int = 0  # the number of this command among those that wrote to the folder
    seconds: float | None = None  # the time limit of a cohort, and of a run by itself

    @property
    def stop_file(self) -> Path:
        """A file whose presence tells workers on any machine to begin nothing more."""
        return self.folder / f"{store.STOP}{self.session}"


CohortBatch = tuple[Cohort, ...]


def dispatch(
    batches: Sequence[CohortBatch],
    context: OutputContext,
    pool: Pool,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Counter[str]]:
    """Train every batch; yields the counts of each status as batches finish, in any order.

    A batch that was, or may have been, at work in a worker process that died is trained again,
    each cohort in a process by itself, and in the end each run.  A run whose worker dies then is
    recorded as ``failed``, and the others go on.  If the process was killed for want of memory, the
    program is halved instead, as often as possible; its runs say so.
    """
    calls = [(batch, context) for batch in batches]
    yield from workers.map_calls(
        train_batch, calls, pool, on_worker_death=_train_again, is_stopped=is_stopped
    )


def train_batch(batch: CohortBatch, context: OutputContext) -> Counter[str]:
    """Train the cohorts one after the other and write their shard; the counts of each status."""
    results: list[RunResult] = []
    for cohort in batch:
        if context.stop_file.exists():
            break
        results += recovery.train_cohort(cohort, context.compiled, context.seconds)
    write_results(results, context)
    return Counter(result.status for result in results)


def write_results(results: Sequence[RunResult], context: OutputContext) -> None:
    """Write one shard of results."""
    rows = [result.row(context.study, context.environment_id) for result in results]
    curves = [(result.run.run_id, result.curve.values) for result in results]
    if rows:
        store.write_shard(context.folder, rows, curves, context.session)


def _train_again(
    call: tuple[CohortBatch, OutputContext], death: WorkerDiedError
) -> Iterator[Counter[str]]:
    """Train a batch that may have been in the hands of the worker that died."""
    batch, context = call
    finished = store.finished(context.folder, context.session)
    run_ids = [run.run_id for cohort in batch for run in cohort.runs]
    if finished.keys() >= set(run_ids):  # it was written, and only the reply was lost
        yield Counter(finished[run_id] for run_id in run_ids)
        return
    # A program that was not killed for want of memory may be innocent: it is tried once more whole.
    remaining = [
        smaller
        for cohort in batch
        for smaller in (_split(cohort, death) if death.memory or cohort.size is None else [cohort])
    ]
    while remaining and not context.stop_file.exists():
        cohort, start = remaining.pop(0), time.monotonic()
        try:
            statuses = workers.call_isolated(train_batch, (cohort,), context)
        except WorkerDiedError as error:
            if len(cohort) > 1 or (error.memory and cohort.size):
                remaining[:0] = _split(cohort, error)
                continue
            reason = _death_reason(error, time.monotonic() - start, context.seconds)
            engine = "fused" if cohort.size else "loop"
            result = RunResult(cohort.runs[0], "failed", reason, engine, cohort.size or 1)
            write_results([result], context)
            statuses = Counter(failed=1)
        yield statuses


def _split(cohort: Cohort, death: WorkerDiedError) -> list[Cohort]:
    """Smaller programs if there was no memory for a cohort, else its single runs."""
    if death.memory and cohort.size:
        return recovery.shrink_cohort(cohort)
    return [replace(cohort, runs=(run,)) for run in cohort.runs]


def _death_reason(death: WorkerDiedError, seconds: float, limit: float | None) -> str:
    is_late = limit is not None and seconds > timeout.PATIENCE * limit
    if is_late and death.exit_code == timeout.EXIT_CODE:
        return f"took longer than {limit:g} s, and its process did not answer"
    if death.silent:
        return "its worker process gave no sign of life each time, and was ended"
    if death.memory:
        return f"there was no memory for it: {death.exit_code}"
    return f"its worker process died each time: {death.exit_code}"


def choose_pool(
    cohorts: Sequence[Cohort], jobs: int | None, backend: str | None, isolate: bool = False
) -> Pool:
    """The number of jobs and the joblib backend: those that are requested, else what suits.

    By default processes, one a core.  A study that is over before they have started stays in this
    process: shared by threads if all of it is programs, which release the interpreter while they
    compute.  With ``isolate``, training may end the process that it runs in, so that it must not be
    this one.
    """
    cores = joblib.cpu_count()
    n_jobs = max(1, min(len(cohorts), cores))
    if jobs is not None:
        n_jobs = cores if jobs < 0 else jobs
    if backend is not None or isolate:
        return Pool(n_jobs, backend or "loky")
    if jobs is not None:
        return Pool(n_jobs, "loky") if n_jobs > 1 else Pool()
    work = sum(cohort.steps * (FUSED_SHARE if cohort.size else 1) for cohort in cohorts)
    can_share = len(cohorts) > 1 and all(cohort.size for cohort in cohorts)
    if n_jobs == 1 or (not can_share and work < IN_PROCESS_STEPS):
        return Pool()
    return Pool(n_jobs, "threading" if can_share and work < THREADS_STEPS else "loky")
