"""Limits of the memory that a process may map (``ulimit -v``)."""

from __future__ import annotations

import mmap
import os

_SPARING = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Environment variables of libraries: OpenMP ends the process if there is no room for the stack of
a thread, and Arrow's own allocator maps 1 GiB at once."""


ANALYSIS_BYTES = 300_000_000
"""What reading results and analysing them maps at least."""


def spare_memory() -> None:
    """Let libraries map little where the memory of the process is limited."""
    if is_limited():
        for name, value in _SPARING.items():
            os.environ.setdefault(name, value)


def require_memory(size: int) -> None:
    """Raise MemoryError where so many more bytes cannot be mapped because of a limit.

    Without that memory, the import of a library for linear algebra may never return, and a library
    that reads tables in threads may end the process.
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
