"""Ctrl-C and SIGTERM: the first requests a stop, the second stops at once."""

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
    """A request to finish what is in training and to begin nothing more; false until made.

    Parameters
    ----------
    marker
        A file whose presence tells the same to workers on any machine.
    on_interrupt
        Called once if a signal makes the request.

    Attributes
    ----------
    is_made
        Whether the request was made.
    is_interrupt
        Whether a signal made it.
    """

    def __init__(self, marker: Path, on_interrupt: Callable[[], None]) -> None:
        self._marker, self._on_interrupt = marker, on_interrupt
        self.is_made = self.is_interrupt = False

    def __call__(self) -> bool:
        """Whether the request was made."""
        return self.is_made

    def request(self) -> None:
        """Make the request."""
        self.is_made = True
        with suppress(OSError):  # on a full disk workers finish the calls that they have
            self._marker.touch()

    def interrupt(self) -> None:
        """Make the request from the handler of a signal."""
        self.is_interrupt = True
        self.request()
        # Not in this thread, which may be in the middle of writing to the same terminal.
        threading.Thread(target=self._on_interrupt, daemon=True).start()

    def clear(self) -> None:
        """Remove the marker."""
        with suppress(OSError):
            self._marker.unlink(missing_ok=True)


@contextmanager
def handle_signals(stop: StopRequest) -> Iterator[None]:
    """Inside, the first signal requests a stop, and the second raises KeyboardInterrupt.

    Only the main thread of a process can handle signals; in any other thread, and for signals that
    the process ignores, nothing changes.
    """

    def handle(*_: object) -> None:
        if stop.is_interrupt:
            raise KeyboardInterrupt
        stop.interrupt()

    try:
        with _signal_handler(handle):
            yield
    finally:
        stop.clear()


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Inside, both signals raise KeyboardInterrupt."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    with _signal_handler(handle):
        yield


@contextmanager
def _signal_handler(handle: Callable[..., None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = {
        number: handler
        for number, handler in before.items()
        if handler not in (signal.SIG_IGN, None)
    }
    try:
        for number in replaced:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
