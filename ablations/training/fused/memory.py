"""Memory of the fused engine: what happens when it is freed, and when it does not suffice."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # options of mallopt(3)

_MAX_BLOCK_BYTES = 32 * 2**20
"""The greatest block for which glibc's own adaptive threshold would reuse freed memory."""


@lru_cache(maxsize=1)
def retain_freed_memory() -> bool:
    """Let the C library reuse freed memory; return whether it can (glibc can)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    factors = {_MMAP_THRESHOLD: 1, _TRIM_THRESHOLD: 4, _TOP_PAD: 1}
    return all(mallopt(option, factor * _MAX_BLOCK_BYTES) for option, factor in factors.items())


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that host or device has no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
