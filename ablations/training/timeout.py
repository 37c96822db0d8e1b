"""Time limits of training.

An alarm raises an exception in code that takes too long.  Code that never returns to Python does
not see the exception; some time later, its process ends.  So only worker processes set a limit.
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

_RETRY_SECONDS = 0.05
"""Seconds until the next alarm, if this one would interrupt an import."""

PATIENCE = 2.0
"""A process that does not respond ends after ``PATIENCE * limit + 1`` seconds."""
EXIT_CODE = "EXIT(1)"
"""The exit code of such a process, in joblib's words."""


class RunTimeoutError(BaseException):
    """Training took too long.

    A subclass of BaseException, so that ``except Exception`` in user code does not swallow it.
    """


_limit: float | None = None


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise RunTimeoutError in the main thread after ``seconds``; None sets no limit."""
    if seconds is None:
        yield
        return
    # PyTorch imports it in the first step of a process, which can take seconds.
    importlib.import_module("torch._dynamo")
    try:
        try:
            _arm(seconds)
            yield
        finally:
            _disarm()
    finally:
        _disarm()  # again, in case the alarm went off in the line above


@contextmanager
def suspend_limit() -> Iterator[None]:
    """Suspend the limit; afterwards it starts again from zero."""
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
    faulthandler.dump_traceback_later(PATIENCE * seconds + 1, exit=True, file=_null_descriptor())


@lru_cache(maxsize=1)
def _null_descriptor() -> int:
    """A file descriptor that discards the traceback; faulthandler needs it to stay open."""
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
    if _is_importing():
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS, max(_limit, 1.0))
        return
    raise RunTimeoutError(f"took longer than {_limit:g} s")


def _is_importing() -> bool:
    """Whether an import is running, which leaves half a module behind if it is interrupted."""
    specs = (getattr(module, "__spec__", None) for module in list(sys.modules.values()))
    return any(getattr(spec, "_initializing", False) for spec in specs)
