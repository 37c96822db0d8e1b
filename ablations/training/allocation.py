"""Memory that a program frees at each step and takes again at the next stays in the process.

The GNU C library hands large blocks back to the system, which must fill them with zeros when they
are asked for again: a quarter of a small program's time.  How long it keeps them is raised here
to where its own adaptive rule may take it anyhow.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_LARGEST = 32 * 2**20
"""What the library's own adaptive threshold for such blocks may reach (mallopt(3))."""


@lru_cache(maxsize=1)
def keep() -> bool:
    """Keep freed memory from here on; whether the C library could be told."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library
    asked = {
        _MMAP_THRESHOLD: _LARGEST,
        _TRIM_THRESHOLD: 4 * _LARGEST,
        _TOP_PAD: _LARGEST,
    }
    return all(tell(option, value) for option, value in asked.items())
