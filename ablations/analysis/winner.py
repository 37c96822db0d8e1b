"""Is the winner really that good? Chosen on some seeds, judged on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.analysis.design import (
    STATED,
    Floats,
    Ints,
    Scale,
    by_configuration,
    counted,
    measured,
    spelled,
)
from ablations.analysis.inference import over_seeds
from ablations.analysis.pairs import Level

SPLITS = 200
WINNER_COLUMNS = [
    "naive", "held_out", "optimism", "chosen", "change", "change_low", "change_high", "effect",
    "low", "high", "candidates", "seeds", *STATED,
]  # fmt: skip


def winner(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    control: Mapping[str, Level] | None = None,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Choose the configuration with the best mean, and take the luck out of it.

    Each split chooses on one half of the seeds and reports on the other, and then the other way
    round; with fewer than two seeds nothing can be held out, and ``held_out`` is missing.

    Parameters
    ----------
    control
        Factor to its level in the configuration that the winner is compared with; what it does not
        name must not vary, or none is found.

    Returns
    -------
    DataFrame
        One row: the factors' levels of the best configuration, and

        - ``naive``: its mean over all seeds, those included that chose it (geometric on the log
          scale); ``held_out``: what the configuration that half of the seeds choose gives on the
          other half, over all ways to halve the seeds (or 200 of them).
        - ``optimism``: how much better a winner looks on the seeds that chose it than on the
          others, a ratio on the log scale (0.02: 2 % better), a difference otherwise; ``chosen``:
          in what share of the splits half of the seeds choose this same configuration.
        - ``effect, low, high``: the held-out winner less ``control``, paired by seed, and its 95 %
          t interval, on the scale; ``change, change_low, change_high`` as a fraction (log scale).
        - ``candidates, seeds``: how many configurations it was chosen from, on how many seeds;
          ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

        Empty where no configuration ended well in every seed.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    wide, named = by_configuration(table, factors, block)
    complete = wide.columns[wide.notna().all()]
    said = counted(
        (wide.shape[1] - len(complete), f"configuration that did not end well in every {block}")
    )
    # Ties go to the same one, and the same splits are drawn, in whatever order the rows came.
    complete = complete[np.argsort(spelled(named.loc[complete]), kind="stable")]
    merit = wide[complete].to_numpy(dtype=float) * (-1 if higher_is_better else 1)
    seeds, candidates = merit.shape
    if not candidates:
        return pd.DataFrame(columns=[*factors, *WINNER_COLUMNS])
    best = int(np.argmin(merit.mean(axis=0)))
    # Sorted by what they hold, so that the labels of the seeds do not choose the splits.
    merit = merit[np.lexsort(merit.T)]
    inside, outside, chosen = _splits(merit, best)
    sign = -1 if higher_is_better else 1

    def shown(value: float) -> float:
        return float(np.exp(sign * value) if scale == "log" else sign * value)

    gap = float(outside.mean() - inside.mean())
    base = _control(named.loc[complete], control)
    against = np.full(seeds, np.nan) if base is None else merit[:, base]
    found = over_seeds(sign * (outside - against)[:, None], scale)
    rest = {
        "naive": shown(float(merit[:, best].mean())),
        "held_out": shown(float(outside.mean())),
        "optimism": float(np.expm1(gap)) if scale == "log" else gap,
        "chosen": chosen,
        **{name: float(value[0]) for name, value in found.items()},
        "candidates": candidates,
        "seeds": seeds,
        "n": seeds,
        "procedure": (
            "best mean on half of the blocks, judged on the other half, over "
            f"{2 * len(halves(seeds))} choices; t interval over blocks"
        ),
        "assumes": f"{block}s independent of one another",
        "left_out": said,
    }
    row = pd.DataFrame([rest])[WINNER_COLUMNS]
    return pd.concat([named.loc[[complete[best]]].reset_index(drop=True), row], axis=1)


def _control(levels: pd.DataFrame, control: Mapping[str, Level] | None) -> int | None:
    """The place of the configuration with some levels, where exactly one has them."""
    if control is None:
        return None
    known = [name for name in control if name in levels]
    same = np.all([levels[name].to_numpy() == control[name] for name in known], axis=0)
    places = np.flatnonzero(np.broadcast_to(same, len(levels)))
    return int(places[0]) if len(places) == 1 else None


def _splits(merit: Floats, best: int) -> tuple[Floats, Floats, float]:
    """What the chosen gives in each seed, in splits in which that seed chose and in those in which
    it did not; and how often the chosen is the best.
    """
    n = len(merit)
    sums, counts, same = np.zeros((2, n)), np.zeros((2, n)), []
    for half in halves(n) if n >= 2 else []:
        rest = np.setdiff1d(np.arange(n), half)
        for judge, jury in ((half, rest), (rest, half)):
            pick = int(np.argmin(merit[judge].mean(axis=0)))
            for side, rows in enumerate((judge, jury)):
                sums[side, rows] += merit[rows, pick]
                counts[side, rows] += 1
            same.append(pick == best)
    if not same:
        return np.full(n, np.nan), np.full(n, np.nan), np.nan
    inside, outside = sums / counts
    return inside, outside, float(np.mean(same))


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
