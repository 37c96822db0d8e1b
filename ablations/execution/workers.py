"""Calls in joblib's workers, and what happens to a call whose worker process dies."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import joblib
from joblib.executor import get_memmapping_executor
from joblib.externals import loky
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from ablations.core.plugins import (
    import_state,
    loaded_hashes,
    refuse_changed_modules,
    unimportable_modules,
)
from ablations.core.recorder import start_recording
from ablations.execution.heartbeat import PATIENCE, WATCH
from ablations.execution.interrupts import SIGNALS
from ablations.training import loop
from ablations.training.result import error_message, ignore_interrupts

IN_FLIGHT = 2  # calls that each worker has at a time: one at work, one waiting

_WATCH_SECONDS = 0.5  # a sign of life, too: ``heartbeat``
OOM_SCORE = 800
"""Added to a worker's score by which Linux selects what to kill for want of memory, of 1,000."""

T = TypeVar("T")
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Pool:
    """Where calls are made: ``jobs`` at a time, by a joblib backend.

    ``sequential`` makes them in this process, one after the other.
    """

    jobs: int = 1
    backend: str = "sequential"
    patience: float = field(default=PATIENCE, compare=False)
    """Seconds without a sign of life after which a worker process is ended."""
    say: Callable[[str], None] = field(default=lambda _: None, compare=False, repr=False)
    """Called with a sentence when that happens."""


class WorkerDiedError(Exception):
    """A worker process ended before it replied.

    ``exit_code`` is in joblib's notation, ``SIGKILL(-9)`` or ``EXIT(1)``; ``memory`` says whether
    the system killed the process for want of memory, ``silent`` whether it was ended because it
    gave no sign of life.
    """

    def __init__(self, exit_code: str, memory: bool, silent: bool = False) -> None:
        super().__init__(exit_code)
        self.exit_code, self.memory, self.silent = exit_code, memory, silent


class CannotSendError(Exception):
    """A call, or its arguments, cannot be loaded in a worker process."""


class WorkerError(Exception):
    """A call raised what would end the process that waits for it, such as SystemExit."""


def map_calls(
    function: Callable[..., T],
    calls: Sequence[Arguments],
    pool: Pool,
    *,
    on_worker_death: Callable[[Arguments, WorkerDiedError], Iterable[T]],
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """Yield what a function returns for each of the arguments, in any order.

    ``on_worker_death`` gets each call that a worker that died may have worked at, and its values
    are yielded.  ``is_stopped`` is called before each call: whether to make no more.
    """
    remaining = dict(enumerate(calls))
    while remaining and not is_stopped():
        kills = _count_kills()
        try:
            for index, value in _call_in_pool(function, tuple(remaining.items()), pool, is_stopped):
                del remaining[index]
                kills = _count_kills()
                yield value
            break
        except TerminatedWorkerError as error:
            death = _describe_death(error, kills, memory_if_unknown=False)
            # Calls are made in order: the worker that died had one of the first that remain.
            suspects = [remaining.pop(index) for index in list(remaining)[: IN_FLIGHT * pool.jobs]]
            with WATCH.calls(pool.patience, is_stopped, pool.say):
                for arguments in suspects:
                    if is_stopped():
                        return
                    yield from on_worker_death(arguments, death)


def stop_idle(pool: Pool) -> None:
    """End the worker processes that wait for further calls; the next call starts new ones."""
    if pool.backend == "loky":
        loky.get_reusable_executor().shutdown(wait=True)


def call_isolated(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a worker process by itself, whose death harms nothing else.

    Raises WorkerDiedError if it ends before it replies, and CannotSendError if it cannot be sent
    the function or an argument.
    """
    kills = _count_kills()
    try:
        return _call_in_one_process(function, 0, arguments)[1]
    except TerminatedWorkerError as error:
        # The calls of a worker that died come here: killed twice, and for no other known reason.
        raise _describe_death(error, kills, memory_if_unknown=True) from None
    except (BrokenProcessPool, pickle.PicklingError) as error:
        raise CannotSendError(str(error)) from error


def _call_in_one_process(
    function: Callable[..., T], index: int, arguments: Arguments
) -> tuple[int, T]:
    with _starting_processes():
        executor = get_memmapping_executor(1, env={"OMP_NUM_THREADS": "1"}, **_worker_start())
        future = executor.submit(_call, loaded_hashes(), function, index, arguments)
    try:
        with WATCH.calls():
            return future.result()  # type: ignore[no-any-return]
    except KeyboardInterrupt:
        executor.shutdown(kill_workers=True)
        raise


def _call_in_pool(
    function: Callable[..., T],
    calls: Sequence[tuple[int, Arguments]],
    pool: Pool,
    is_stopped: Callable[[], bool],
) -> Iterator[tuple[int, T]]:
    requested = ((index, arguments) for index, arguments in calls if not is_stopped())
    if pool.backend == "sequential":
        yield from ((index, function(*arguments)) for index, arguments in requested)
        return
    if pool == Pool(1, "loky"):  # joblib would make the calls in this process
        with WATCH.calls(pool.patience, is_stopped, pool.say):
            yield from (_call_in_one_process(function, *call) for call in requested)
        return
    is_loky = pool.backend == "loky"
    options = {"inner_max_num_threads": 1, **_worker_start()} if is_loky else {}
    # Threads of this process share torch's number of threads, which none of them may change.
    threads = loop.one_thread() if pool.backend == "threading" else nullcontext()
    with threads, joblib.parallel_config(backend=pool.backend, n_jobs=pool.jobs, **options):
        can_stream = joblib.Parallel()._backend.supports_return_generator
        parallel = joblib.Parallel(
            batch_size=1,
            pre_dispatch=f"{IN_FLIGHT}*n_jobs",
            return_as="generator_unordered" if can_stream else "list",
        )
        # The first calls are made here, and start the workers.
        with _starting_processes() if is_loky else nullcontext():
            hashes = loaded_hashes()
            values = parallel(joblib.delayed(_call)(hashes, function, *call) for call in requested)
        if not is_loky:
            yield from values
            return
        # A worker that ends when it was idle for long, or has grown, is replaced meanwhile.
        with _worker_environment(), WATCH.calls(pool.patience, is_stopped, pool.say):
            yield from values


def _call(
    hashes: Mapping[str, str], function: Callable[..., T], index: int, arguments: Arguments
) -> tuple[int, T]:
    """Make a call in a worker; the number of the call tells the caller which one has ended."""
    refuse_changed_modules(hashes)
    try:
        return index, function(*arguments)
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        raise WorkerError(error_message(error)) from None


# -------------------------------------------------------------- the life of a worker process


def _worker_start() -> dict[str, Any]:
    """How worker processes start; with other arguments than before, a pool starts new ones."""
    state = (os.getpid(), sys.flags.safe_path, *import_state())
    return {"initializer": _start_worker, "initargs": state}


def _start_worker(
    parent: int, is_path_safe: bool, path: Sequence[str], _module_hashes: Sequence[str]
) -> None:
    """Initialise a worker process: leave signals to its parent, and end with it."""
    ignore_interrupts()
    sys.path[:] = path
    if not is_path_safe:  # what user code starts here finds its modules as it does elsewhere
        os.environ.pop("PYTHONSAFEPATH", None)
    start_recording()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # The last thing of a process that ends: threads that user code has started hold it up no more.
    Finalize(None, os._exit, args=(0,), exitpriority=-100)


def _end_with(parent: int) -> None:
    # Windows never reports that a parent has died; there workers end after some idle minutes.
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)  # files are written whole or not at all, so this is safe at any moment


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Worker processes that start inside never get an interruption, not even while starting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Worker processes that start inside get no interruption, and their environment.  Where memory
    is short, the system ends them and not their parent.
    """
    score = _oom_score()
    try:
        with _worker_environment(), _signals_blocked():
            # They inherit it, and have it before they import anything.
            _set_oom_score(score and str(max(int(score), OOM_SCORE)))
            yield
    finally:
        _set_oom_score(score)


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Worker processes that start inside import from the current folder only what their parent
    would, and hash texts alike: the order of a set is no chance.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONHASHSEED", "PYTHONSAFEPATH")}
    if before["PYTHONHASHSEED"] in (None, "random"):
        os.environ["PYTHONHASHSEED"] = "0"
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            os.environ |= {} if value is None else {name: value}


_SCORE_FILE = Path("/proc/self/oom_score_adj")


def _oom_score() -> str:
    return next(iter(_read_lines(_SCORE_FILE)), "")


def _set_oom_score(score: str) -> None:
    """Set what Linux adds to the score by which it selects what to kill; "" changes nothing."""
    if score:
        with suppress(OSError):
            _SCORE_FILE.write_text(score, encoding="utf-8")


Kills = tuple[int | None, int]
"""Processes killed by the system for want of memory (None: unknown), and for their silence."""


def _describe_death(
    error: TerminatedWorkerError, kills_before: Kills, memory_if_unknown: bool
) -> WorkerDiedError:
    match = re.search(r"exit codes of the workers are \{(.*?)\}", str(error), re.DOTALL)
    exit_code = match[1] if match else "unknown exit code"
    (before, silent_before), (now, silent_now) = kills_before, _count_kills()
    if silent_now > silent_before:
        return WorkerDiedError(exit_code, memory=False, silent=True)
    memory = memory_if_unknown if now is None or before is None else now > before
    return WorkerDiedError(exit_code, memory and "SIGKILL" in exit_code)


def _count_kills() -> Kills:
    return _count_memory_kills(), WATCH.n_ended


def _count_memory_kills() -> int | None:
    """How many processes the system has killed for want of memory; None if it keeps no count."""
    counts = [
        int(words[1])
        for path in (Path("/proc/vmstat"), *_cgroup_files())
        for line in _read_lines(path)
        if len(words := line.split()) == 2 and words[0] == "oom_kill"
    ]
    return sum(counts) if counts else None


def _cgroup_files() -> Iterator[Path]:
    """Where the control group of this process keeps the same count (versions 2 and 1)."""
    root = Path("/sys/fs/cgroup")
    for line in _read_lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield root / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/") / "memory.oom_control"


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def carry(module_names: Iterable[str], backend: str | None) -> None:
    """Have cloudpickle send the user modules that workers cannot import."""
    # Workers of other backends than joblib's own may run on another machine.
    is_local = backend in (None, "loky", "multiprocessing", "threading", "sequential")
    for module in unimportable_modules(module_names, same_path=is_local):
        cloudpickle.register_pickle_by_value(module)
