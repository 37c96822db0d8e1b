"""Is the winner really that good? Chosen on some seeds, judged on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.complete import whole
from ablations.analysis.design import (
    STATED,
    Floats,
    Ints,
    Scale,
    at_level,
    done,
    fixed_order,
    measured,
    spelled,
)
from ablations.analysis.naming import any_names
from ablations.analysis.pairs import Level

SPLITS = 200
_FEWER = 30
"""Splits of each turn that leaves a seed out."""
WINNER_COLUMNS = [
    "naive", "held_out", "optimism", "chosen", "against", "effect", "low", "high", "change",
    "change_low", "change_high", "candidates", "seeds", *STATED,
]  # fmt: skip


@any_names
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

        - ``naive``: its mean over all seeds, those that chose it (geometric on the log scale).
        - ``held_out``: what the configuration that half of the seeds choose (which need not be
          this one) gives on the other half, over all ways to halve the seeds (or 200 of them).
        - ``optimism``: how much better ``naive`` is than ``held_out``: a ratio on the log scale
          (0.02: 2 %), a difference otherwise; positive where it looks better than it is.
        - ``chosen``: in what share of the splits half of the seeds choose this configuration.
        - ``effect, low, high``: ``held_out`` less ``against``, the control, paired by seed, and its
          95 % interval by the jackknife over seeds of the whole procedure, choices included
          (Efron & Stein, 1981); ``change, change_low, change_high`` as a fraction (log scale).
          Missing where the control did not end well in every seed.
        - ``candidates, seeds``: how many configurations it was chosen from, on how many seeds;
          ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

        Empty where no configuration ended well in every seed.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    kept = whole(runs, table, factors, block)
    if kept.values.empty:
        return pd.DataFrame(columns=[*factors, *WINNER_COLUMNS])
    # Ties go to the same one, and the same splits are drawn, in whatever order the rows came.
    order = np.argsort(spelled(kept.levels), kind="stable")
    levels = kept.levels.iloc[order]
    sign = -1 if higher_is_better else 1
    merit = kept.values.to_numpy(dtype=float)[:, order] * sign
    merit = merit[fixed_order(merit - merit.mean(axis=0))]
    seeds, candidates = merit.shape
    best = int(np.argmin(merit.mean(axis=0)))
    outside, chosen = _held_out(merit, best, SPLITS)
    base = _control(levels, control)
    effect = half = np.nan
    if base is not None and seeds >= 2:
        effect = float((outside - merit[:, base]).mean())
        half = _jackknife(merit, base)

    def shown(value: float) -> float:
        return float(np.exp(sign * value) if scale == "log" else sign * value)

    naive, held_out = float(merit[:, best].mean()), float(outside.mean())
    ends = {"effect": sign * effect, "low": sign * effect - half, "high": sign * effect + half}
    changes = ("change", "change_low", "change_high")
    rest = {
        "naive": shown(naive),
        "held_out": shown(held_out),
        "optimism": float(np.expm1(held_out - naive)) if scale == "log" else held_out - naive,
        "chosen": chosen,
        "against": "" if base is None else _described(levels.iloc[base]),
        **ends,
        **{
            name: float(np.expm1(value)) if scale == "log" else np.nan
            for name, value in zip(changes, ends.values(), strict=True)
        },
        "candidates": candidates,
        "seeds": seeds,
        "n": seeds,
        "procedure": done(
            pd.Series([seeds]),
            "best mean on half of the blocks, judged on the other half, over "
            f"{2 * len(halves(seeds, SPLITS)) if seeds >= 2 else 0} choices; jackknife over blocks",
        )[0],
        "assumes": (
            f"{block}s independent of one another; held_out and effect are of what half of the "
            f"{block}s choose, whichever that is"
        ),
        "left_out": kept.left_out,
    }
    row = pd.DataFrame([rest])[WINNER_COLUMNS]
    return pd.concat([levels.iloc[[best]].reset_index(drop=True), row], axis=1)


def _described(levels: pd.Series) -> str:
    return ", ".join(f"{name} {level}" for name, level in levels.items())


def _jackknife(merit: Floats, base: int) -> float:
    """Half the width of the 95 % interval of the held-out effect, leaving out a seed at a time."""
    n = len(merit)
    if n < 3:
        return np.nan
    without = []
    for seed in range(n):
        rest = np.delete(merit, seed, axis=0)
        outside, _ = _held_out(rest, 0, _FEWER)
        without.append(float((outside - rest[:, base]).mean()))
    error = np.sqrt((n - 1) / n * ((np.array(without) - np.mean(without)) ** 2).sum())
    return float(stats.t.ppf(0.975, n - 1) * error)


def _control(levels: pd.DataFrame, control: Mapping[str, Level] | None) -> int | None:
    """The place of the configuration with some levels, where exactly one has them."""
    if control is None:
        return None
    known = [name for name in control if name in levels]
    same = np.all([at_level(levels[name], control[name]) for name in known], axis=0)
    places = np.flatnonzero(np.broadcast_to(same, len(levels)))
    return int(places[0]) if len(places) == 1 else None


def _held_out(merit: Floats, best: int, splits: int) -> tuple[Floats, float]:
    """What the chosen gives in each seed, over the splits in which that seed did not choose; and
    how often the chosen is ``best``.
    """
    n = len(merit)
    sums, counts, same = np.zeros(n), np.zeros(n), []
    for half in halves(n, splits) if n >= 2 else []:
        rest = np.setdiff1d(np.arange(n), half)
        for judge, jury in ((half, rest), (rest, half)):
            pick = int(np.argmin(merit[judge].mean(axis=0)))
            sums[jury] += merit[jury, pick]
            counts[jury] += 1
            same.append(pick == best)
    if not same:
        return np.full(n, np.nan), np.nan
    return sums / counts, float(np.mean(same))


def halves(n: int, splits: int = SPLITS) -> list[Ints]:
    """Ways to choose half of n: all of them, or ``splits`` at random, always the same."""
    size = n // 2
    ways = list(combinations(range(n), size)) if n <= 10 else []
    if n % 2 == 0:
        ways = [way for way in ways if 0 in way]  # its complement is the same split
    if 0 < len(ways) <= splits:
        return [np.array(way) for way in ways]
    random = np.random.default_rng(0)
    return [random.permutation(n)[:size] for _ in range(splits)]
