"""Each configuration at its own best learning rate: a technique compared at another one's rate is
not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.analysis.design import Scale, cell_codes, measured, spelled
from ablations.analysis.naming import any_names


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
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
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
