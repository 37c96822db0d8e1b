"""Second opinions on a mean over seeds: robust, without its skewness, and without each seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from ablations.analysis.coding import Floats, Ints
from ablations.analysis.inference import hodges_lehmann, mean_and_sd, t_interval
from ablations.analysis.signs import SignPatterns

RESAMPLES = 999
EXACT_BLOCKS = 10
"""Seeds up to which all sign flips are counted."""
LEVEL = 0.05
"""The p up to which skewness is visible."""
FEWEST, MOST = 5, 200
"""Numbers of seeds that are examined: no verdict rests on fewer, and means of more are normal."""
ENOUGH_FLIPS = 10
ROBUST_COLUMNS = [
    "robust", "robust_low", "robust_high", "skewness", "p_skewed", "p_shared_skew", "p_corrected",
    "carrier",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Robustness:
    """What the seeds of each column (a level) say beside their mean.

    ``estimate, low, high``: Hodges and Lehmann's estimate with its exact interval, missing where
    95 % are not reached; ``skewness``: the third standardised moment; ``p_skewed``: that seeds of
    normal luck are so skewed in any column; ``p_shared``: that the median of all columns is so far
    from 0; ``factor``: by which the visible skewness reduces t; ``carrier``: row of the seed that
    alone carries the mean, or -1.

    The p are those of random rotations of the seeds around their mean, of all columns together,
    which are exact for normal luck of any correlation (Langsrud, 2005).  The median sees at six
    seeds of six exponential levels what no level alone can show.  By chance alone luck with heavy
    tails on both sides is skewed too, which sign flips know: from ten seeds on, where there are
    flips enough to tell, half of their p counts where it is larger.
    """

    estimate: Floats
    low: Floats
    high: Floats
    skewness: Floats
    p_skewed: Floats
    p_shared: float
    factor: Floats
    carrier: Ints

    @classmethod
    def from_differences(cls, d: Floats) -> Robustness:
        """Judge differences, seeds x levels, of which some may be missing."""
        size, parts = d.shape[1], list(_complete_parts(d))
        skewness, p_skewed, visible = np.full((3, size), np.nan)
        carrier = np.full(size, -1, dtype=np.int64)
        shared, p_shared, largest = 0.0, np.nan, (0, 0, 0.0)
        for rows, columns in parts:
            group, trials = _standardise(d[np.ix_(rows, columns)]), len(parts)
            # Rotations around the mean leave mean and spread as they are.
            rotated, of_flipped = _rotate(group), _flipped_skewness(group)
            skewness[columns], of_all = (group**3).mean(axis=0), (rotated**2 * rotated).mean(axis=1)
            sizes, of_rotated = np.abs(skewness[columns]), np.abs(of_all)
            # Half of the p of sign flips, since it only asks whether tails are heavy on both sides.
            weight = 0.5 if len(rows) >= ENOUGH_FLIPS else 0.0
            by_flips = weight * _tail(np.abs(of_flipped), sizes)
            by_rotations = _tail(of_rotated.max(axis=1)[:, None], sizes, trials)
            p_skewed[columns] = np.maximum(by_rotations, by_flips)
            # What a level alone shows reduces its own t only, which needs no adjustment.
            is_visible = np.maximum(_tail(of_rotated, sizes), by_flips) <= LEVEL
            visible[columns] = np.where(is_visible, skewness[columns], 0)
            median = float(np.median(skewness[columns]))
            # Of equally large parts the more skewed one, whatever the order of seeds and levels.
            key = *group.shape[::-1], round(abs(median), 9)
            if key > largest:
                largest, shared = key, median
                p_shared = max(
                    _tail(np.abs(np.median(of_all, axis=1)), abs(shared)),
                    weight * _tail(np.abs(np.median(of_flipped, axis=1)), abs(shared)),
                )
            carriers = _find_carriers(d[np.ix_(rows, columns)], rotated, trials)
            carrier[columns] = np.where(carriers >= 0, rows[carriers], -1)
        together = np.full(size, shared if p_shared <= LEVEL else 0.0)
        factor = np.fmin(skewness_factor(d, np.nan_to_num(visible)), skewness_factor(d, together))
        estimate, low, high = _locate(d)
        return cls(estimate, low, high, skewness, p_skewed, p_shared, factor, carrier)

    def columns(self, labels: Sequence[object], adjusted_p: Floats) -> dict[str, Any]:
        """Return ``ROBUST_COLUMNS``.

        ``labels`` names the seeds; ``adjusted_p`` is that of t reduced by ``factor``.
        """
        carrier = [str(labels[row]) if row >= 0 else "" for row in self.carrier]
        numbers = self.estimate, self.low, self.high, self.skewness, self.p_skewed
        shared = np.full(len(self.factor), self.p_shared)
        values = *numbers, shared, adjusted_p, carrier
        return dict(zip(ROBUST_COLUMNS, values, strict=True))


def skewness_factor(d: Floats, skewness: Floats) -> Floats:
    """Return the factor, at most 1, by which correcting for ``skewness`` reduces the |t| of the
    mean of each column.

    Method: the monotone transformation of t by Hall (1992), of the skewness corrected for the
    number of seeds.  Where its slope is 0, at t = -3 sqrt(n) / skewness, it stays flat: seeds so
    skewed do not exclude that the rare ones are missing, however alike the others are.
    """
    n = np.isfinite(d).sum(axis=0).astype(float)
    mean, sd = mean_and_sd(d)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / (sd / np.sqrt(n))
        slope = skewness * np.sqrt(n * (n - 1)) / (n - 2) / (3 * np.sqrt(n))
        corrected = (np.maximum(1 + slope * t, 0.0) ** 3 - 1) / (3 * slope) + slope / 2
        factor = corrected / t
    return np.where(np.isfinite(factor) & (slope != 0), np.clip(factor, 0.0, 1.0), 1.0)


def _locate(d: Floats) -> tuple[Floats, Floats, Floats]:
    """Return Hodges and Lehmann's estimates, and the bounds of their intervals."""
    locations = [hodges_lehmann(column) for column in d.T]
    reached = np.array([location.confidence >= 0.95 for location in locations])
    return (
        np.array([location.estimate for location in locations]),
        np.where(reached, [location.low for location in locations], np.nan),
        np.where(reached, [location.high for location in locations], np.nan),
    )


def _find_carriers(d: Floats, rotated: Floats, trials: int) -> Ints:
    """Return the row of the seed that alone carries the mean of each column, or -1.

    Such a seed is farther from the mean than the farthest seed of all columns is by normal luck
    (Grubbs, 1950, by rotations), and without it the 95 % interval contains 0.
    """
    distance, carriers = np.abs(_standardise(d)), np.full(d.shape[1], -1)
    p = _tail(np.abs(rotated).max(axis=(1, 2))[:, None], distance.max(axis=0), trials)
    for column in np.flatnonzero(p <= LEVEL):
        farthest = int(distance[:, column].argmax())
        rest = np.delete(d[:, [column]], farthest, axis=0)
        low, high = t_interval(*mean_and_sd(rest), np.array([len(rest)], dtype=float))
        if low[0] <= 0 <= high[0]:
            carriers[column] = farthest
    return carriers


def _complete_parts(d: Floats) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows and columns of levels that have the same seeds, in an order that follows from
    their numbers; without levels that do not vary, or have too few or too many seeds.
    """
    present = np.isfinite(d)
    _, sd = mean_and_sd(d)
    varies = sd > 1e-9 * np.abs(np.nan_to_num(d)).max(axis=0, initial=0.0)
    for pattern in np.unique(present, axis=1).T:
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0) & varies)
        if FEWEST <= pattern.sum() <= MOST and len(columns):
            rows = np.flatnonzero(pattern)
            # Rotations depend on the order of seeds; labels, signs and units must not count.
            distance = np.abs(_standardise(d[np.ix_(rows, columns)]))
            keys = [(distance**power).sum(axis=1).round(9) for power in (3, 2, 1)]
            yield rows[np.lexsort(keys)], columns


def _standardise(d: Floats) -> Floats:
    """Return how far each seed is from the mean, in standard deviations of all of them."""
    centred = d - d.mean(axis=0)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=0)))


def _tail(resampled: Floats, observed: Floats | float, trials: int = 1) -> Any:
    """Return the share of resampled numbers that are at least as large as those observed."""
    exceeded = (resampled >= observed - 1e-9).sum(axis=0)
    return np.minimum(1.0, trials * (exceeded + 1) / (len(resampled) + 1))


def _flipped_skewness(d: Floats) -> Floats:
    """Return the skewness of standardised numbers, flipped around their mean: flips x columns."""
    n = len(d)
    signs = SignPatterns(n, RESAMPLES + 1, EXACT_BLOCKS)
    mean, cubes = (signs.sums(numbers)[n > EXACT_BLOCKS :] / n for numbers in (d, d**3))
    # Of two values that flips make equal there is no spread, and no skewness.
    return np.asarray((cubes - 3 * mean + 2 * mean**3) / np.maximum(1 - mean**2, 1e-9) ** 1.5)


def _rotate(d: Floats) -> Floats:
    """Rotate the seeds of ``d`` around their mean at random: rotations x seeds x columns."""
    basis = linalg.helmert(len(d))
    return np.asarray(basis.T @ (_rotations(len(d) - 1) @ (basis @ d)))


@lru_cache(maxsize=4)
def _rotations(n: int) -> Floats:
    """Return random rotations of n dimensions, always the same; fewer where these are many."""
    count = max(99, min(RESAMPLES, RESAMPLES * 64**2 // n**2))
    normal = np.random.default_rng(0).normal(size=(count, n, n))
    # Threads that share so small matrices wait for one another much longer than they compute.
    with threadpool_limits(1, user_api="blas"):
        q, r = np.linalg.qr(normal)
    return np.asarray(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :])
