"""Calls to joblib's workers, and what becomes of a call whose worker process dies."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import joblib
from joblib.executor import get_memmapping_executor
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from ablations.core.plugins import import_state, unimportable_modules
from ablations.training import loop
from ablations.training.result import ignore_interrupts

_LOCAL_BACKENDS = (None, "loky", "multiprocessing", "threading", "sequential")

IN_FLIGHT = 2
"""Calls handed out for each worker at a time: one at work, one waiting."""

_WATCH_SECONDS = 0.5

T = TypeVar("T")
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Pool:
    """Where calls are made.

    Attributes
    ----------
    jobs
        How many at a time.
    backend
        A joblib backend; ``sequential`` makes them in this process, one after the other.
    """

    jobs: int = 1
    backend: str = "sequential"

    @property
    def one_worker(self) -> bool:
        """Whether it is one worker process, which joblib would leave out."""
        return self.backend == "loky" and self.jobs == 1


class WorkerDiedError(Exception):
    """A worker process ended before it answered.

    Attributes
    ----------
    exit_code
        As joblib says it: ``SIGKILL(-9)``, ``EXIT(1)``.
    memory
        Whether the system killed it for want of memory.
    """

    def __init__(self, exit_code: str, memory: bool) -> None:
        super().__init__(exit_code)
        self.exit_code, self.memory = exit_code, memory


class CannotSendError(Exception):
    """A call, or its arguments, cannot be had in a worker process."""


def map_calls(
    function: Callable[..., T],
    calls: Sequence[Arguments],
    pool: Pool,
    *,
    again: Callable[[Arguments, WorkerDiedError], Iterable[T]],
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """What a function gives for each of the arguments, in any order.

    Parameters
    ----------
    again
        What to do with a call whose worker may have been the one that died, and with its error.
    stopped
        Asked before each call: whether to make no more.
    """
    left = dict(enumerate(calls))
    while left and not stopped():
        before = memory_kills()
        try:
            for index, answer in _parallel(function, tuple(left.items()), pool, stopped):
                del left[index]
                before = memory_kills()
                yield answer
            break
        except TerminatedWorkerError as error:
            death = _death(error, before, unknown=False)
            # Calls are made in order, so the worker that died held one of the first that are left.
            suspects = [left.pop(index) for index in list(left)[: IN_FLIGHT * pool.jobs]]
            for arguments in suspects:
                if stopped():
                    return
                yield from again(arguments, death)


def call_isolated(function: Callable[..., T], *arguments: Any) -> T:
    """What a function gives in a worker process by itself, where its death harms nothing else.

    Raises
    ------
    WorkerDiedError
        If the process ends before it answers.
    """
    before = memory_kills()
    try:
        return _in_one_worker(function, arguments)
    except TerminatedWorkerError as error:
        # Where the system keeps no count: killed twice, and nothing else says why.
        raise _death(error, before, unknown=True) from None
    except (BrokenProcessPool, pickle.PicklingError) as error:
        raise CannotSendError(str(error)) from error


def _in_one_worker(function: Callable[..., T], arguments: Arguments) -> T:
    with _unheard():
        executor = get_memmapping_executor(
            1, initializer=_begin, initargs=_initargs(), env={"OMP_NUM_THREADS": "1"}
        )
        answer = executor.submit(function, *arguments)
    try:
        return answer.result()  # type: ignore[no-any-return]
    except KeyboardInterrupt:
        executor.shutdown(kill_workers=True)
        raise


def _parallel(
    function: Callable[..., T],
    calls: Sequence[tuple[int, Arguments]],
    pool: Pool,
    stopped: Callable[[], bool],
) -> Iterator[tuple[int, T]]:
    wanted = ((index, arguments) for index, arguments in calls if not stopped())
    if pool.backend == "sequential":
        yield from ((index, function(*arguments)) for index, arguments in wanted)
        return
    if pool.one_worker:
        yield from ((index, _in_one_worker(function, arguments)) for index, arguments in wanted)
        return
    options: dict[str, Any] = {}
    if pool.backend == "loky":
        options = {"inner_max_num_threads": 1, "initializer": _begin, "initargs": _initargs()}
    # Threads of this process share how many threads torch uses: let none set it under the others.
    one = loop.one_thread() if pool.backend == "threading" else nullcontext()
    with one, joblib.parallel_config(backend=pool.backend, n_jobs=pool.jobs, **options):
        streams = joblib.Parallel()._backend.supports_return_generator
        parallel = joblib.Parallel(
            batch_size=1,
            pre_dispatch=f"{IN_FLIGHT}*n_jobs",
            return_as="generator_unordered" if streams else "list",
        )
        # The first calls are made here, and start the workers.
        with _unheard() if pool.backend == "loky" else nullcontext():
            answers = parallel(joblib.delayed(_numbered)(function, *call) for call in wanted)
        yield from answers


def _numbered(function: Callable[..., T], index: int, arguments: Arguments) -> tuple[int, T]:
    return index, function(*arguments)


# ------------------------------------------------------------------------ a worker's life


def _initargs() -> tuple[Any, ...]:
    """Return the arguments of ``_begin``; a pool with other arguments starts new workers."""
    return (os.getpid(), *import_state())


def _begin(parent: int, path: Sequence[str], _module_hashes: Sequence[str]) -> None:
    """What a worker process does first: leave signals to its parent, and not outlive it."""
    ignore_interrupts()
    sys.path[:] = path
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # Windows tells of a dead parent as of a living one; there workers end after some idle minutes.
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)  # files are written whole or not at all, so this is safe at any moment


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Worker processes that start inside never hear of an interruption, not even while starting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(
    error: TerminatedWorkerError, kills_before: int | None, unknown: bool
) -> WorkerDiedError:
    """What is known of a death.

    Parameters
    ----------
    unknown
        Whether it was for want of memory where the system does not count such deaths.
    """
    found = re.search(r"exit codes of the workers are \{(.*?)\}", str(error), re.DOTALL)
    exit_code = found[1] if found else "unknown exit code"
    now = memory_kills()
    memory = now > kills_before if now is not None and kills_before is not None else unknown
    return WorkerDiedError(exit_code, memory and "SIGKILL" in exit_code)


def memory_kills() -> int | None:
    """How many processes the system has killed for want of memory; None where it does not say."""
    found = [
        int(words[1])
        for path in (Path("/proc/vmstat"), *_cgroups())
        for line in _lines(path)
        if len(words := line.split()) == 2 and words[0] == "oom_kill"
    ]
    return sum(found) if found else None


def _cgroups() -> Iterator[Path]:
    """Where the control group of this process counts the same (versions 2 and 1)."""
    root = Path("/sys/fs/cgroup")
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield root / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/") / "memory.oom_control"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


# -------------------------------------------------------------------- code of other people


def carry(module_names: Iterable[str], backend: str | None) -> None:
    """Have cloudpickle send the user modules that workers cannot import.

    Workers of other backends than joblib's own may run on another machine.
    """
    for module in unimportable_modules(module_names, same_path=backend in _LOCAL_BACKENDS):
        cloudpickle.register_pickle_by_value(module)
