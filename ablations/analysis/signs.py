"""Patterns of signs for sign-flip tests, of which only a part is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ablations.analysis.coding import Floats

SIGNS_AT_A_TIME = 2**20
"""Most signs of a part: 8 MB."""
MOST_STORED = 2**22
"""Signs up to which patterns are stored, one byte each; more are drawn again each time."""

MOST_FLIPPED = 1_000
"""Rows that have signs of their own; of more seeds some flip together."""


@dataclass(frozen=True)
class SignPatterns:
    """Patterns of ``n`` signs: without their opposites all that there are, or random ones.  Of more
    than 1,000 they have one for each sum of ``bundle_rows``.

    Up to ``exact_blocks`` signs they are all patterns; else ``count`` of them, the first that of
    the data and the others random, but always the same.
    """

    n: int
    count: int
    exact_blocks: int

    @property
    def width(self) -> int:
        """The number of signs of a pattern."""
        return min(self.n, MOST_FLIPPED)

    @property
    def is_exact(self) -> bool:
        """Whether they are all patterns."""
        return self.n <= self.exact_blocks

    def __len__(self) -> int:
        return 2 ** max(self.n - 1, 0) if self.is_exact else self.count

    def parts(self, least: int = 1) -> Iterator[Floats]:
        """Yield the patterns in at least so many parts of about equal size, a row each."""
        n_parts = max(least, -(-len(self) // max(1, SIGNS_AT_A_TIME // max(self.width, 1))))
        size, larger = divmod(len(self), n_parts)
        rows = [size + (number < larger) for number in range(n_parts)]
        if not self.is_exact and self.width * self.count > MOST_STORED:
            yield from _draw_parts(self.width, rows)
            return
        patterns, first = _stored_patterns(self), 0
        for n_rows in rows:
            yield patterns[first : first + n_rows].astype(float)
            first += n_rows

    def sums(self, d: Floats) -> Floats:
        """Return the sum of each column of ``d`` with the signs of each pattern: patterns x
        columns.
        """
        d = bundle_rows(d)
        return np.concatenate([block @ d for block in self.parts()])


@lru_cache(maxsize=4)
def _stored_patterns(patterns: SignPatterns) -> np.ndarray:
    n, count = patterns.width, len(patterns)
    if patterns.is_exact:
        signs = all_signs(max(n - 1, 0))
        return np.hstack([np.ones((count, min(n, 1))), signs]).astype(np.int8)
    rows = max(1, SIGNS_AT_A_TIME // n)
    sizes = [min(rows, count - first) for first in range(0, count, rows)]
    return np.concatenate([block.astype(np.int8) for block in _draw_parts(n, sizes)])


def _draw_parts(n: int, rows: list[int]) -> Iterator[Floats]:
    """Draw random patterns; they are the same, however many are drawn at a time."""
    generator, skipped = np.random.default_rng(0), 1
    for n_rows in rows:
        signs = np.ones((n_rows, n))
        # The signs that ``generator.choice([-1.0, 1.0])`` draws, in a part of its time and memory.
        bits = generator.integers(0, 2**32, size=signs[skipped:].shape, dtype=np.uint32)
        bits >>= 31
        np.multiply(bits, 2.0, out=signs[skipped:])
        signs[skipped:] -= 1.0
        skipped = 0
        yield signs


def bundle_rows(d: Floats) -> Floats:
    """Return ``d`` (seeds x columns), or of more than 1,000 seeds the sums of those that flip
    together: all patterns in which they do are a group, so that a test by them errs no more often.
    """
    if len(d) <= MOST_FLIPPED:
        return d
    size = -(-len(d) // MOST_FLIPPED)
    padding = np.zeros((size * MOST_FLIPPED - len(d), d.shape[1]))
    parts = np.concatenate([d, padding]).reshape(size, MOST_FLIPPED, -1)
    return np.asarray(parts.sum(axis=0))


def all_signs(n: int) -> Floats:
    """Return all patterns of n signs, with their opposites, a row each."""
    bits = np.arange(2**n)[:, None] >> np.arange(n)
    return np.asarray(1 - 2 * (bits & 1), dtype=float)
