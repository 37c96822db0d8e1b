"""Is the winner really that good? Chosen on some seeds, judged on the others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.design import (
    STATED,
    Floats,
    Ints,
    Scale,
    any_names,
    at_level,
    cell_codes,
    done,
    fixed_order,
    spelled,
    to_observations,
)
from ablations.analysis.pairing import Level, complete_configurations

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
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    kept = complete_configurations(runs, table, factors, block)
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


@any_names
def tuned(
    runs: pd.DataFrame,
    tune_over: Sequence[str],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Judge each configuration at its best level of some axes, chosen on the other half of seeds.

    The seeds are halved at random, always the same way for the same numbers, whatever the seeds
    are called.  For each combination of the other factors, the level of ``tune_over`` with the best
    mean on one half is reported on the other, and the other way round; so no seed chooses the level
    that it is judged at.  A level that diverged on a seed of the half that chooses is chosen only
    where all did; among those, one that diverged least often.  All levels of a combination are
    compared on the same seeds: a seed that lacks a run of any of them is left out there, or, where
    that would cost more than half of the seeds, the levels with most runs missing.

    What is then compared are configurations at the levels that were chosen.  That another choice
    might have been better is in no interval; the seeds of a half share theirs, so where levels
    hardly differ a technique that does nothing at its best is called certain in 7 % of studies
    rather than in 5 (``tests/analysis/test_calibration.py``, over four cells), in up to 10 where
    there is one cell only.

    Parameters
    ----------
    tune_over
        The axes to choose from, learning rate for instance.
    factors
        Every column that tells configurations apart, those of ``tune_over`` included.

    Returns
    -------
    DataFrame
        The rows of ``runs`` that are reported, one for each combination of the other factors and
        seed: as the input of any other analysis, whose factors are the others.

    Raises
    ------
    ValueError
        As ``measured`` does; if an axis is not among the factors; or with fewer than two seeds.
    """
    missing = [axis for axis in tune_over if axis not in factors]
    if missing:
        raise ValueError(f"{missing[0]!r} is to be tuned over, and is none of the factors")
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    others = [name for name in factors if name not in tune_over]
    table = table.assign(cell=cell_codes(table[others]), level=cell_codes(table[[*tune_over]]))
    table["half"] = table[block].map(_halves(table, factors, block))
    kept = _comparable(table, block)
    chosen = _chosen(kept, tune_over, -1 if higher_is_better else 1)
    judged = kept.merge(chosen, on=["cell", "half", "level"])[[*factors, block]].drop_duplicates()
    codes = cell_codes(pd.concat([judged, runs[[*factors, block]]], ignore_index=True))
    return runs[np.isin(codes[len(judged) :], codes[: len(judged)])]


def choices(
    runs: pd.DataFrame, judged: pd.DataFrame, tune_over: Sequence[str], block: str = "seed"
) -> tuple[str, str]:
    """Say which levels were chosen and what was left out for it.

    Parameters
    ----------
    judged
        Of ``tuned``, from ``runs``.

    Returns
    -------
    chosen, left_out
        ``"lr 0.01 in 60 %, 0.1 in 40 %"`` of what is judged; and the seeds that nothing is judged
        on, in words.
    """
    said = []
    for axis in tune_over:
        shares = judged[axis].value_counts(normalize=True)
        order = sorted(shares.index, key=lambda level: (-shares[level], str(level)))
        said.append(f"{axis} " + ", ".join(f"{level} in {shares[level]:.0%}" for level in order))
    gone = runs[block].nunique() - judged[block].nunique()
    lost = f"{gone} {block}{'s' if gone > 1 else ''} without all levels to choose from"
    return "; ".join(said), lost if gone else ""


def _halves(table: pd.DataFrame, factors: Sequence[str], block: str) -> dict[object, int]:
    """Which half each block belongs to, by what is in it and by no name.

    Blocks are ordered by a hash of their ranks within each configuration, which neither labels, the
    order of rows nor the unit change, and which has nothing to do with who is better.
    """
    configuration = cell_codes(table[list(factors)])
    named = table.drop_duplicates(list(factors))[list(factors)]
    place = pd.Series(np.argsort(np.argsort(spelled(named))), index=configuration[named.index])
    wide = table.assign(place=place.loc[configuration].to_numpy())
    values = wide.pivot(index=block, columns="place", values="value")  # noqa: PD010
    ranks = values.round(12).rank(method="dense").fillna(0).astype(int).to_numpy()
    if len(values) < 2:
        raise ValueError(f"tuning needs at least two {block}s, to choose on one half of them")
    keys = [hashlib.blake2b(row.tobytes()).digest() for row in ranks]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return {values.index[row]: place % 2 for place, row in enumerate(order)}


def _comparable(table: pd.DataFrame, block: str) -> pd.DataFrame:
    """Within each cell, the same blocks for all levels that are left."""
    of_cell = table.groupby("cell")
    levels = of_cell["level"].transform("nunique")
    whole = table.groupby(["cell", block])["level"].transform("size") == levels
    blocks = of_cell[block].transform("nunique")
    kept = table[block].where(whole).groupby(table["cell"]).transform("nunique")
    runs = table.groupby(["cell", "level"])[block].transform("size")
    most = runs == runs.groupby(table["cell"]).transform("max")
    return table[np.where(2 * kept >= blocks, whole, most)]


def _chosen(table: pd.DataFrame, tune_over: Sequence[str], sign: int) -> pd.DataFrame:
    """The level that is reported in each cell and half: the best one of the other half."""
    merit = table.assign(merit=sign * table["value"]).groupby(["cell", "level", "half"])
    score = merit.agg(diverged=("diverged", "sum"), mean=("merit", "mean")).reset_index()
    named = table.drop_duplicates("level").set_index("level")[[*tune_over]]
    score["name"] = pd.Series(spelled(named), index=named.index).reindex(score["level"]).to_numpy()
    order = ["cell", "half", "diverged", "mean", "name"]
    best = score.sort_values(order, kind="stable").drop_duplicates(["cell", "half"])
    return best.assign(half=1 - best["half"])[["cell", "half", "level"]]
