"""Ctrl-C and SIGTERM: the first asks to stop, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A study was stopped between two cohorts; what was finished is written."""


class StopRequest:
    """Set once somebody asks to stop: what was begun is finished, and nothing new is begun.

    Parameters
    ----------
    marker
        A file that tells the same to workers, wherever they are.
    say
        Tells the person, once, that what was begun is finished first.
    """

    def __init__(self, marker: Path, say: Callable[[], None]) -> None:
        self._marker, self._say = marker, say
        self.asked = self.interrupted = False

    def __call__(self) -> bool:
        """Whether somebody asked."""
        return self.asked

    def interrupt(self) -> None:
        """Ask to stop, as a person or the system does; may be called by the handler of a signal."""
        self.interrupted = True
        self.ask()
        # Not in this thread, which may be in the middle of writing to the same terminal.
        threading.Thread(target=self._say, daemon=True).start()

    def ask(self) -> None:
        """Ask to stop."""
        self.asked = True
        with suppress(OSError):  # on a full disk workers finish what they were handed
            self._marker.touch()

    def withdraw(self) -> None:
        """Take the file away."""
        with suppress(OSError):
            self._marker.unlink(missing_ok=True)


@contextmanager
def handle_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal calls ``stop``, and the second raises KeyboardInterrupt.

    Only the main thread of a process can listen; in any other, and to signals that the process was
    told to ignore, nothing changes.
    """
    asked = False

    def handle(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    with _handling(handle):
        yield


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, both signals raise KeyboardInterrupt."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    with _handling(handle):
        yield


@contextmanager
def _handling(handle: Callable[..., None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = {n: known for n, known in before.items() if known not in (signal.SIG_IGN, None)}
    try:
        for number in heard:
            signal.signal(number, handle)
        yield
    finally:
        for number, known in heard.items():
            signal.signal(number, known)
