"""Is the winner really that good? Chosen on some seeds, judged on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.analysis.design import Floats, Ints, Scale, by_configuration, measured, spelled

SPLITS = 200


@dataclass(frozen=True)
class Winner:
    """The best configuration, and what of its lead is luck.

    Attributes
    ----------
    levels
        Factor to its level; empty where no configuration ended well in every seed.
    naive
        Its mean over all seeds, those included that chose it (geometric on the log scale).
    held_out
        What the configuration that half of the seeds choose gives on the other half, over all
        ways to halve the seeds (or ``SPLITS`` of them).
    optimism
        How much better a winner looks on the seeds that chose it than on the others: a ratio on
        the log scale (0.02: 2 % better), a difference otherwise; positive where it looks better.
    chosen
        In what share of the splits half of the seeds choose this same configuration.
    candidates, seeds
        How many configurations it was chosen from, on how many seeds.
    left_out
        What was not a candidate, in words.
    """

    levels: dict[str, object]
    naive: float
    held_out: float
    optimism: float
    chosen: float
    candidates: int
    seeds: int
    left_out: str


def winner(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> Winner:
    """Choose the configuration with the best mean, and take the luck out of it.

    Each split chooses on one half of the seeds and reports on the other, and then the other way
    round; with fewer than two seeds nothing can be held out, and ``held_out`` is missing.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    wide, named = by_configuration(table, factors, block)
    complete = wide.columns[wide.notna().all()]
    left = wide.shape[1] - len(complete)
    said = f"{left} configurations that did not end well in every {block}" if left else ""
    # Ties go to the same one, and the same splits are drawn, in whatever order the rows came.
    complete = complete[np.argsort(spelled(named.loc[complete]), kind="stable")]
    merit = wide[complete].to_numpy(dtype=float) * (-1 if higher_is_better else 1)
    seeds, candidates = merit.shape
    if not candidates:
        return Winner({}, np.nan, np.nan, np.nan, np.nan, 0, seeds, said)
    best = int(np.argmin(merit.mean(axis=0)))
    inside, outside, chosen = _splits(merit, best)
    sign = -1 if higher_is_better else 1

    def shown(value: float) -> float:
        return float(np.exp(sign * value) if scale == "log" else sign * value)

    gap = outside - inside
    return Winner(
        levels=dict(named.loc[complete[best]]),
        naive=shown(float(merit[:, best].mean())),
        held_out=shown(outside),
        optimism=float(np.expm1(gap)) if scale == "log" else gap,
        chosen=chosen,
        candidates=candidates,
        seeds=seeds,
        left_out=said,
    )


def _splits(merit: Floats, best: int) -> tuple[float, float, float]:
    """Mean of the chosen inside and outside of the half that chose, and how often it is best."""
    if len(merit) < 2:
        return np.nan, np.nan, np.nan
    # Sorted by what they hold, so that the labels of the seeds do not choose the splits.
    merit = merit[np.lexsort(merit.T)]
    inside, outside, same = [], [], []
    for half in halves(len(merit)):
        rest = np.setdiff1d(np.arange(len(merit)), half)
        for judge, jury in ((half, rest), (rest, half)):
            means = merit[judge].mean(axis=0)
            pick = int(np.argmin(means))
            inside.append(means[pick])
            outside.append(merit[jury, pick].mean())
            same.append(pick == best)
    return float(np.mean(inside)), float(np.mean(outside)), float(np.mean(same))


def halves(n: int) -> list[Ints]:
    """Ways to choose half of n: all of them, or ``SPLITS`` at random, always the same."""
    size = n // 2
    ways = list(combinations(range(n), size)) if n <= 10 else []
    if n % 2 == 0:
        ways = [way for way in ways if 0 in way]  # its complement is the same split
    if 0 < len(ways) <= SPLITS:
        return [np.array(way) for way in ways]
    random = np.random.default_rng(0)
    return [random.permutation(n)[:size] for _ in range(SPLITS)]
