"""Worker processes without a sign of life, watched from outside, and ended.

A process that is stopped (SIGSTOP), or that the system never lets run again, ends no call and says
nothing, so that whoever waits for it waits for ever.  Linux counts how often each thread of a
process was on a processor; a worker wakes a thread twice a second (``workers``), so that its counts
change unless it cannot run at all.  Its parent reads them and kills a worker whose counts have not
changed for too long: from there on it is a worker that died.  Other systems keep no such counts.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ablations.training import timeout

PATIENCE = 60.0
"""Seconds without a sign of life after which a worker that has a call is ended."""
STOPPED_PATIENCE = 2.0
"""The same for a stopped process that nobody waits for: it has no call, or a stop is requested."""
EVERY = 0.5

Signs = tuple[str, ...]


@dataclass(frozen=True)
class Watched:
    """What is waited for: how long, whether a stop is requested, and whom to tell."""

    patience: float
    is_stopped: Callable[[], bool]
    say: Callable[[str], None]


class Watch:
    """A thread that watches the workers of this process, as long as there are any."""

    def __init__(self) -> None:
        self.n_ended = 0
        """How many workers it has ended."""
        self._calls: list[Watched] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def calls(
        self,
        patience: float = PATIENCE,
        is_stopped: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda _: None,
    ) -> Iterator[None]:
        """Inside, workers have calls, whose end is waited for."""
        call = Watched(patience, is_stopped, say)
        with self._lock:
            self._calls.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)

    def _run(self) -> None:
        signs: dict[int, tuple[Signs, float]] = {}
        last = time.monotonic()
        while True:
            time.sleep(EVERY)
            now = time.monotonic()
            if now - last > 4 * EVERY:
                signs.clear()  # this process did not run either
            last, workers = now, _worker_ids()
            with self._lock:
                calls = tuple(self._calls)
                if not calls and not workers:
                    self._thread = None
                    return
            signs = {pid: signs[pid] for pid in workers if pid in signs}
            for pid in workers:
                with suppress(OSError):  # it has ended
                    state, current = _read_signs(pid)
                    if pid not in signs or signs[pid][0] != current:
                        signs[pid] = current, now
                    elif (silent := now - signs[pid][1]) >= _patience(calls, state):
                        os.kill(pid, signal.SIGKILL)
                        self.n_ended += 1
                        _tell(calls, silent)


WATCH = Watch()


def limit_patience(seconds: float | None) -> float:
    """The patience with workers whose training may take ``seconds``; None is no limit."""
    return PATIENCE if seconds is None else min(PATIENCE, timeout.PATIENCE * seconds + 1)


def _patience(calls: tuple[Watched, ...], state: str) -> float:
    is_awaited = bool(calls) and not any(each.is_stopped() for each in calls)
    if state in ("T", "t") and not is_awaited:
        return STOPPED_PATIENCE
    return min([PATIENCE, *(each.patience for each in calls)])


def _tell(calls: tuple[Watched, ...], silent: float) -> None:
    if calls:
        message = f"a worker process gave no sign of life for {silent:.0f} s and was ended"
        calls[0].say(f"{message}: other workers get its runs")


def _worker_ids() -> list[int]:
    """The processes of joblib's pools that this process has started; none if it cannot tell."""
    workers = []
    for task in _list(Path("/proc/self/task")):
        with suppress(OSError):
            children = (task / "children").read_text(encoding="utf-8")
            workers += [int(pid) for pid in children.split() if _is_worker(pid)]
    return workers


def _is_worker(pid: str) -> bool:
    with suppress(OSError):
        return b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _read_signs(pid: int) -> tuple[str, Signs]:
    """The state of a process, and what changes whenever a thread of it runs."""
    process = Path(f"/proc/{pid}")
    state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    counts = [(task / "schedstat").read_text(encoding="utf-8") for task in _list(process / "task")]
    return state.split()[0], tuple(counts)


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
