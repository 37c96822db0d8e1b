"""How long training may take: an alarm that stops code which hangs.

The alarm raises an exception in the code that hangs.  Code that never comes back to Python does
not see it; then, a while later, its process ends.  So only worker processes set one.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_AGAIN = 0.05
"""Seconds until the alarm goes off again, where it would have broken an import."""

PATIENCE = 2.0
"""After so many times the limit, and a second more, a process that does not answer ends."""
EXIT_CODE = "EXIT(1)"
"""The exit code then, as joblib says it."""


class RunTimeoutError(BaseException):
    """Training took longer than it may; no Exception, which code that hangs may well catch."""


_limit: float | None = None


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TookTooLongError inside, in the main thread, after so many seconds, if any."""
    if seconds is None:
        yield
        return
    # PyTorch imports it in a process' first step, which can take seconds.
    importlib.import_module("torch._dynamo")
    try:
        try:
            _arm(seconds)
            yield
        finally:
            _disarm()
    finally:
        _disarm()  # once more, where the alarm went off in the line above


@contextmanager
def suspend_limit() -> Iterator[None]:
    """The time inside does not count, and the limit begins anew after it."""
    seconds = _limit
    if seconds is None:
        yield
        return
    _disarm()
    try:
        yield
    finally:
        _arm(seconds)


def _arm(seconds: float) -> None:
    global _limit
    _limit = seconds
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, seconds, max(seconds, 1.0))
    faulthandler.dump_traceback_later(PATIENCE * seconds + 1, exit=True, file=_nowhere())


@lru_cache(maxsize=1)
def _nowhere() -> int:
    """Where what would be printed goes: it is of this process' threads, and helps nobody.

    A descriptor that stays open, since the descriptor is what is kept.
    """
    return os.open(os.devnull, os.O_WRONLY)


def _disarm() -> None:
    global _limit
    _limit = None
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()


def _raise(*_: object) -> None:
    if _limit is None:
        return
    if _importing():
        signal.setitimer(signal.ITIMER_REAL, _AGAIN, max(_limit, 1.0))
        return
    raise RunTimeoutError(f"took longer than {_limit:g} s")


def _importing() -> bool:
    """Whether an import is under way, which leaves half a module behind where it is broken off."""
    specs = (getattr(module, "__spec__", None) for module in list(sys.modules.values()))
    return any(getattr(spec, "_initializing", False) for spec in specs)
