"""What each look at a growing study may err, so that all looks together err in 5 % of studies.

Whoever adds seeds where a verdict is undecided, and judges every look at 5 %, errs in 10 to 16 % of
studies.  Here the looks of a study spend its 5 % (Lan & DeMets, 1983): the first one 3.2 %, so that
six seeds, whose smallest sign-flip p is 2/64, can still decide; and a later look at n seeds, after
one at m, ``1 - (m / n) ** 1.5`` of what is left: 65 % if it doubles the seeds, and little if it
adds few.  What is spent depends on the numbers of seeds alone and not on how many looks there were,
so that nobody has to state them before.  1.5 % is left for all later looks, and 0.3 % of the 5 % is
kept back: the advice chooses the next number of seeds by the data, which adds a fifth to the error
that later looks are allowed (measured).

A look compares the family-wise adjusted p with its *nominal level*, which is larger than what it
spends, since it shares seeds with the looks before it: the statistics of n and m seeds have a
correlation of ``sqrt(m / n)``.  It is solved for normal statistics by the recursion of Armitage,
McPherson & Rowe (1969).  The maximum over several levels is less correlated between looks than one
statistic; the levels are taken for independent, for which the recursion is exact and which is
cautious for levels that share a control.

Intervals of confidence ``1 - nominal level`` are repeated confidence intervals (Jennison &
Turnbull, 1989): all of them together cover in 95 % of studies, whenever somebody stops.

Alternatives, by simulation (one level, 0.8 standard deviations better, looks at 6, 12 and 24 seeds,
share of studies decided in the end): this 84 %; the same error spent without the correlation
(Bonferroni) 78 %; a self-normalised confidence sequence (mixture e-values, valid after any number
of looks) 55 %, and none at six seeds, whose e-value cannot reach 20.  Three looks at 5 %/3, stated
before the first, reach 91 %, but 17 instead of 27 % at the first: who knows the looks states them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import special, stats
from scipy.optimize import brentq

from ablations.analysis.coding import Floats
from ablations.results.looks import Look, is_counted

FIRST, TOTAL = 0.032, 0.047
"""The error that the first look spends, and all of them, of 0.05."""
EXPONENT = 1.5
"""Of the share of seeds of the look before in those of a look; what is left is multiplied by it."""
_NODES, _WEIGHTS = special.roots_legendre(256)

_Chain = tuple[tuple[int, float], ...]
"""Seeds and nominal level of looks at more and more seeds."""


def next_look(
    past: Sequence[Look], seeds: int, contrasts: int = 1, labels: tuple[int, ...] = ()
) -> Look:
    """Return the look at a number of seeds, after the ``past`` ones, in their order.

    It has no date and no command.  The look at seeds that were looked at before is that one.  With
    fewer seeds than six nothing can be decided, and nothing is spent.

    Parameters
    ----------
    contrasts
        The number of levels that are compared with their controls.
    labels
        The seeds themselves, where it may be others than so many seeds were before: seeds 6 to 11
        after seeds 0 to 5 are new evidence, and a look of their own.
    """
    for look in past:
        if look.is_at(seeds, labels):
            return look
    spent = past[-1].spent if past else 0.0
    if not past or 2.0 ** (1 - seeds) > FIRST:
        first = Look(seeds, FIRST, FIRST, labels=labels)
        return first if is_counted(first) else replace(first, spent=spent)
    error = (TOTAL - spent) * _share(max(look.seeds for look in past), seeds)
    if error <= 0:
        return Look(seeds, 1e-12, spent, labels=labels)
    nested = _nested_looks(past, labels)
    chain = tuple((look.seeds, look.level) for look in nested)
    # Of fewer seeds than before, and of others, the error is added, which is cautious.
    is_more = bool(chain) and seeds > chain[-1][0]
    level = nominal_level(chain, seeds, error, contrasts) if is_more else error
    return Look(seeds, level, spent + error, labels=labels)


def _nested_looks(past: Sequence[Look], labels: tuple[int, ...]) -> list[Look]:
    """Return looks of which each is at more seeds than the one before it, all of them ``labels``,
    and includes its seeds.
    """
    nested: list[Look] = []
    for look in past:
        is_more = not nested or (
            look.seeds > nested[-1].seeds and nested[-1].is_within(look.labels)
        )
        if is_more and look.is_within(labels):
            nested.append(look)
    return nested


def _share(before: int, seeds: int) -> float:
    """The share of what is left that a look spends; with fewer seeds as much as with twice."""
    return float(1 - (before / seeds if seeds > before else 0.5) ** EXPONENT)


def unite_looks(ledgers: Sequence[Sequence[Look]]) -> tuple[Look, ...]:
    """Return the looks of several folders as those of one study, ordered by their seeds.

    Of two looks at the same seeds the stricter is kept; what they spent follows from the numbers of
    seeds.
    """
    levels: dict[tuple[int, tuple[int, ...]], Look] = {}
    for look in sorted((look for ledger in ledgers for look in ledger), key=lambda x: -x.level):
        levels[look.seeds, look.labels] = look
    looks_of_all: list[Look] = []
    for (seeds, _), look in sorted(levels.items(), key=lambda item: item[0]):
        if looks_of_all:
            before = looks_of_all[-1]
            spent = before.spent + (TOTAL - before.spent) * _share(before.seeds, seeds)
        else:
            spent = FIRST
        looks_of_all.append(replace(look, spent=spent))
    return tuple(looks_of_all)


@lru_cache(maxsize=4096)
def nominal_level(chain: _Chain, seeds: int, error: float, contrasts: int = 1) -> float:
    """Return the level at which a look at more ``seeds`` errs with probability ``error``, where no
    look before it has erred.

    Parameters
    ----------
    chain
        Seeds and nominal levels of the looks before, at more and more seeds.
    contrasts
        Independent two-sided statistics of which the largest counts.
    """
    before = _survival(chain, contrasts)
    after = max(before**contrasts - error, 0.0) ** (1 / contrasts)
    if not chain:
        return _of_family(1 - after, contrasts)
    sums, mass = _density(chain, contrasts)
    sd, root = np.sqrt(seeds - chain[-1][0]), np.sqrt(seeds)

    def excess(critical: float) -> float:
        crossed = 2 * np.dot(mass, stats.norm.sf((critical * root - sums) / sd))
        return float(crossed - (before - after))

    critical = brentq(excess, 0.0, 40.0, xtol=1e-10)
    return _of_family(float(2 * stats.norm.sf(critical)), contrasts)


def _of_family(level: float, contrasts: int) -> float:
    """The level of the largest of independent statistics, each at a level."""
    return float(-np.expm1(contrasts * np.log1p(-level)))


def _of_each(level: float, contrasts: int) -> float:
    return float(-np.expm1(np.log1p(-level) / contrasts))


def _survival(chain: _Chain, contrasts: int) -> float:
    """The probability that one statistic was beyond its bound at no look of a chain."""
    return float(_density(chain, contrasts)[1].sum()) if chain else 1.0


@lru_cache(maxsize=4096)
def _density(chain: _Chain, contrasts: int) -> tuple[Floats, Floats]:
    """Sums of n standard normal numbers within the bounds of a chain's last look, and the
    probability of each together with no crossing at any look.
    """
    (seeds, level), earlier = chain[-1], chain[:-1]
    bound = stats.norm.isf(_of_each(level, contrasts) / 2) * np.sqrt(seeds)
    sums, widths = bound * _NODES, bound * _WEIGHTS
    if not earlier:
        return sums, widths * stats.norm.pdf(sums, scale=np.sqrt(seeds))
    before, mass = _density(earlier, contrasts)
    step = np.sqrt(seeds - earlier[-1][0])
    return sums, widths * (stats.norm.pdf(sums[:, None] - before, scale=step) @ mass)
