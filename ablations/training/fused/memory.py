"""The memory allocator of the C library."""

from __future__ import annotations

import ctypes
from functools import lru_cache

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
