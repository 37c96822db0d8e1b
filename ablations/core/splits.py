"""Which seeds of a study split one table in the same way.

With splits of their own alone, seeds cannot tell how much of their variance is that of the splits,
which more seeds on one table do not reduce.  So the second ten of every twenty seeds repeat the
splits of the first ten, with other initial weights, orders and noise (nested sources of variance;
Bouthillier et al., 2021).  The first ten seeds lose nothing: with so few, the parts could not be
told apart.
"""

from __future__ import annotations

from typing import Literal

FIRST_SEEDS = 10
"""Seeds that have splits of their own before others repeat these."""

Splits = Literal["", "repeated", "own"]
"""Whether seeds repeat splits, or each has a split of its own; "": repeated, if a study's results
folder holds no others.
"""


def split_seed(seed: int) -> int:
    """Return the seed whose split a seed has: that of 10 less in the second ten of every twenty.

    >>> [split_seed(seed) for seed in (0, 9, 10, 19, 20, 39)]
    [0, 9, 0, 9, 20, 29]
    """
    block, rest = divmod(seed, 2 * FIRST_SEEDS)
    return 2 * FIRST_SEEDS * block + rest % FIRST_SEEDS
