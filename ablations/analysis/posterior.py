"""The effect on new data like a table's, estimated from seeds that split this table at random.

A contrast has a difference for each seed, ``d_s = mu + c_g(s) + e_s``.  Seeds with the same split g
share ``c``, which has the share ``f`` of the variance; ``e`` is the rest (initial weights, order,
noise).  Splits of one table share most of their rows, so the mean over all its splits is itself a
draw around the effect on new data, with a variance of ``overlap * f`` times that of a seed:
``overlap`` is the number of judging rows over that of training rows (Nadeau & Bengio, 2003, who
have f = 1).

Given f, the effect has Student's t distribution.  Seeds that repeat a split tell the two parts
apart (Bouthillier et al., 2021), and the distributions are mixed over f by their likelihood.  The
prior is uniform in the logarithm of the ratio of the mean squares between and within splits
(independent Jeffreys priors of the two), as for generalised confidence intervals of variance
components (Weerahandi, 1995).  Where each seed has a split of its own, f cannot be estimated, and
is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ablations.analysis.coding import Bools, Floats, Ints

LARGEST_RATIO = 1e4
"""Ratio of the mean squares between and within splits beyond which f counts as 1."""
MIN_NODES = 48
"""Fewest values of f over which distributions are mixed."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of the effect of each contrast: a mixture of Student's t distributions.

    ``share`` (the split's part of the variance), ``location``, ``scale`` and ``weight`` have shape
    (node, contrast), ``degrees`` (contrast,).  All are missing for contrasts with one seed.
    """

    share: Floats
    location: Floats
    scale: Floats
    lasting: Floats
    """The part of the square of ``scale`` that more seeds would not reduce (node, contrast)."""
    weight: Floats
    degrees: Floats
    is_estimated: Bools
    """Whether seeds repeat splits, so that the share could be estimated (contrast,)."""

    @property
    def mean(self) -> Floats:
        """The centre of each effect's distribution."""
        return self._mix(self.location)

    def _mix(self, values: Floats) -> Floats:
        return np.asarray((self.weight * values).sum(axis=0))

    def _standardise(self, x: Floats | float) -> Floats:
        distance = x - self.location
        with np.errstate(divide="ignore", invalid="ignore"):
            # Without any spread the effect is certain.
            return np.where(self.scale == 0, np.sign(distance) * np.inf, distance / self.scale)

    def share_below(self, x: Floats | float) -> Floats:
        """Return the probability that each effect is below ``x``."""
        z = self._standardise(x)
        probability = special.stdtr(self.degrees, np.where(np.isnan(z), 0.0, z))
        return np.where(np.isnan(self.degrees), np.nan, self._mix(probability))

    def share_above(self, x: Floats | float) -> Floats:
        """Return the probability that each effect is above ``x``, exact where it is tiny."""
        z = self._standardise(x)
        probability = special.stdtr(self.degrees, np.where(np.isnan(z), 0.0, -z))
        return np.where(np.isnan(self.degrees), np.nan, self._mix(probability))

    def share_within(self, margin: float) -> Floats:
        """Return the probability that each effect is smaller than ``margin`` in size."""
        return np.maximum(1 - self.share_above(margin) - self.share_below(-margin), 0.0)

    def p(self) -> Floats:
        """Return twice the probability of the less likely sign of each effect."""
        smaller = np.minimum(self.share_below(0.0), self.share_above(0.0))
        return np.asarray(np.minimum(2 * smaller, 1.0))

    def p_equivalent(self, margin: float) -> Floats:
        """Return the larger probability of an effect beyond ``margin`` on one side."""
        return np.maximum(self.share_above(margin), self.share_below(-margin))

    def t(self) -> Floats:
        """Return the absolute t, with one degree less than seeds, whose p is that of ``p``."""
        return np.asarray(np.abs(special.stdtrit(self.degrees, self.p() / 2)))

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the bounds between which each effect lies with the probability ``level``."""
        tail = (1 - level) / 2
        if len(self.share) == 1:
            half = -special.stdtrit(self.degrees, tail) * self.scale[0]
            return self.location[0] - half, self.location[0] + half
        return self._quantile(tail), self._quantile(1 - tail)

    def _quantile(self, probability: float) -> Floats:
        """Solve ``share_below(x) = probability`` by bisection, to a millionth of the bracket."""
        spread = special.stdtrit(self.degrees, probability) * self.scale
        low, high = (self.location + spread).min(axis=0), (self.location + spread).max(axis=0)
        for _ in range(26):
            middle = (low + high) / 2
            is_below = self.share_below(middle) < probability
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return np.asarray((low + high) / 2)

    def split_share(self, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """Return the median of the split's part of the variance of each contrast, and the bounds
        between which it lies with the probability ``level``; missing where it is not estimated, or
        where nothing varies.
        """
        cumulative = np.cumsum(self.weight, axis=0) - self.weight / 2
        tails = (0.5, (1 - level) / 2, (1 + level) / 2)
        quantiles = np.full((3, len(self.degrees)), np.nan)
        varies = self.is_estimated & (self.scale > 0).any(axis=0)
        for j in np.flatnonzero(varies & np.isfinite(self.degrees)):
            quantiles[:, j] = np.interp(tails, cumulative[:, j], self.share[:, j])
        return quantiles[0], quantiles[1], quantiles[2]

    def limit(self) -> Floats:
        """Return the standard error of each effect that no number of seeds would reduce."""
        return np.sqrt(self._mix(self.lasting))


def infer_effects(d: Floats, splits: Ints, overlap: float) -> Posterior:
    """Return what is known of the mean effect of each contrast on new data.

    Parameters
    ----------
    d
        Differences, seeds x contrasts; missing entries are left out.
    splits
        A number for the split of each seed (seed,).
    overlap
        Judging rows over training rows; 0 for the effect on this one table over its splits.
    """
    size, present = d.shape[1], np.isfinite(d)
    repeats = len(np.unique(splits)) < len(splits)
    n_nodes = _count_nodes(len(d)) if repeats else 1
    nodes = {name: np.full((n_nodes, size), np.nan) for name in _FIELDS}
    nodes["weight"][:] = 1 / n_nodes
    degrees, is_estimated = np.full(size, np.nan), np.zeros(size, dtype=bool)
    patterns, pattern = np.unique(present, axis=1, return_inverse=True)
    for k in range(patterns.shape[1] if size else 0):
        rows, columns = patterns[:, k], np.flatnonzero(pattern.ravel() == k)
        if rows.sum() < 2:
            continue
        answer = _infer_alike(d[np.ix_(rows, columns)], splits[rows], overlap, n_nodes)
        for name in _FIELDS:
            nodes[name][:, columns] = answer[name]
        degrees[columns] = rows.sum() - 1
        is_estimated[columns] = len(np.unique(splits[rows])) < rows.sum()
    return Posterior(**nodes, degrees=degrees, is_estimated=is_estimated)


_FIELDS = ("share", "location", "scale", "weight", "lasting")


def _infer_alike(d: Floats, splits: Ints, overlap: float, n_nodes: int) -> dict[str, Floats]:
    """Infer contrasts that have the same seeds, two at least and all present."""
    n, centre = len(d), d.mean(axis=0)
    group, sizes = np.unique(splits, return_inverse=True, return_counts=True)[1:]
    deviations = d - centre
    means = np.zeros((len(sizes), d.shape[1]))
    np.add.at(means, group, deviations)
    means /= sizes[:, None]
    within = ((deviations - means[group]) ** 2).sum(axis=0)
    share, prior = _grid(n / len(sizes), n_nodes)
    rest = 1 - share
    precision = 1 / (share[:, None] + rest[:, None] / sizes)  # (node, split)
    total = precision.sum(axis=1, keepdims=True)
    location = precision @ means / total
    between = np.maximum(precision @ means**2 - total * location**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(within > 0, within / rest[:, None], 0.0)
        squares = between + inner
        fit = -(n - 1) / 2 * np.where(squares > 0, np.log(squares), 0.0)
        fit -= ((n - len(sizes)) * np.where(rest > 0, np.log(rest), 0.0))[:, None] / 2
    fit += (np.log(precision).sum(axis=1) / 2 - np.log(total[:, 0]) / 2)[:, None]
    weight = prior[:, None] * np.exp(fit - fit.max(axis=0))
    variance = squares / (n - 1) * (1 / total + overlap * share[:, None])
    return {
        "share": np.broadcast_to(share[:, None], weight.shape),
        "location": centre + location,
        "scale": np.sqrt(variance),
        "weight": weight / weight.sum(axis=0),
        "lasting": squares / (n - 1) * overlap * share[:, None],
    }


def _grid(seeds_per_split: float, n_nodes: int) -> tuple[Floats, Floats]:
    """Return shares of the variance and their prior weights."""
    if seeds_per_split == 1:
        return np.ones(n_nodes), np.ones(n_nodes)
    ratio, prior = _ratios(n_nodes)
    return (ratio - 1) / (ratio - 1 + seeds_per_split), prior


def mixing_nodes(seeds: int) -> tuple[Floats, Floats]:
    """Return the ratios of the mean squares between and within splits over which distributions of
    so many seeds are mixed, some of which have the same split, and their prior weights.
    """
    return _ratios(_count_nodes(seeds))


def _count_nodes(seeds: int) -> int:
    return max(MIN_NODES, int(6 * np.sqrt(seeds)))


def _ratios(n_nodes: int) -> tuple[Floats, Floats]:
    """Return ratios of the mean squares and their prior weights, by Gauss and Legendre's rule."""
    x, weight = np.polynomial.legendre.leggauss(n_nodes)
    root = (x + 1) / 2
    # Dense where the ratio of the mean squares is near 1, as many seeds can tell it well there.
    return np.exp(np.log(LARGEST_RATIO) * root**2), weight * root
