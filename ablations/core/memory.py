"""Limits of the memory that a process may map (``ulimit -v``)."""

from __future__ import annotations

import mmap
import os

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def limit_threads() -> None:
    """Let libraries start no threads of their own where the memory of the process is limited.

    OpenMP ends the process if there is no room for the stack of a thread.
    """
    if is_limited():
        for name in _THREADS:
            os.environ.setdefault(name, "1")


def require_memory(size: int) -> None:
    """Raise MemoryError where so many more bytes cannot be mapped because of a limit.

    A library for linear algebra that finds no memory while it is imported never returns.
    """
    if is_limited():
        try:
            mmap.mmap(-1, size).close()
        except OSError:
            raise MemoryError from None


def is_limited() -> bool:
    """Whether the memory that this process may map is limited."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
