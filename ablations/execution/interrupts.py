"""Ctrl-C, SIGTERM and SIGHUP: the first requests a stop, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What a person, a scheduler, or a terminal that is closed sends to end a command."""


class Interrupted(KeyboardInterrupt):
    """A study was stopped between two cohorts; what was finished is written."""


class StopRequest:
    """A request to finish what is in training and to begin nothing more; calling it tells whether
    it was made.

    The presence of the file ``marker`` tells the same to workers on any machine.  ``on_interrupt``
    is called once if a signal makes the request; ``is_interrupt`` is true then.
    """

    def __init__(self, marker: Path, on_interrupt: Callable[[], None]) -> None:
        self._marker, self._on_interrupt = marker, on_interrupt
        self._is_made = self.is_interrupt = False

    def __call__(self) -> bool:
        return self._is_made

    def request(self) -> None:
        """Make the request."""
        self._is_made = True
        with suppress(OSError):  # on a full disk workers finish the calls that they have
            self._marker.touch()

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Inside, the first signal makes the request, and the second raises KeyboardInterrupt."""
        try:
            with handle_signals(self._interrupt):
                yield
        finally:
            with suppress(OSError):
                self._marker.unlink(missing_ok=True)

    def _interrupt(self, *_: object) -> None:
        if self.is_interrupt:
            raise KeyboardInterrupt
        self.is_interrupt = True
        self.request()
        # Not in this thread, which may be in the middle of writing to the same terminal.
        threading.Thread(target=self._on_interrupt, daemon=True).start()


@contextmanager
def handle_signals(handle: Callable[..., None] = signal.default_int_handler) -> Iterator[None]:
    """Inside, the signals are handled; by default they raise KeyboardInterrupt.

    Only the main thread of a process can handle signals; in any other thread, and for signals that
    the process ignores, nothing changes.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    replaced = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in replaced:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
