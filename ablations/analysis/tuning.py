"""Each configuration at its own best learning rate: a technique compared at another one's rate is
not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.analysis.design import Scale, cell_codes, measured, spelled


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

    The seeds are halved by their order, every other one.  For each combination of the other
    factors, the level of ``tune_over`` with the best mean on one half is reported on the other, and
    the other way round; so no seed chooses the level that it is judged at.  A level that diverged
    on a seed of the half that chooses is chosen only where all did; among those, one that diverged
    least often.

    What is then compared are configurations at the levels that were chosen.  That another choice
    might have been better is in no interval; the seeds of a half share theirs, so where levels
    hardly differ a technique that does nothing at its best is called certain in 6 to 9 % of
    studies rather than in 5 (``tests/analysis/test_calibration.py``).

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
    seeds = sorted(table[block].unique())
    if len(seeds) < 2:
        raise ValueError(f"tuning needs at least two {block}s, to choose on one half of them")
    half = table[block].map({seed: place % 2 for place, seed in enumerate(seeds)})
    others = [name for name in factors if name not in tune_over]
    table = table.assign(cell=cell_codes(table[others]), level=cell_codes(table[[*tune_over]]))
    sign = -1 if higher_is_better else 1
    merit = table.assign(merit=sign * table["value"], half=half).groupby(["cell", "level", "half"])
    score = merit.agg(diverged=("diverged", "sum"), mean=("merit", "mean"), runs=("merit", "size"))
    score = score.reset_index()
    named = table.drop_duplicates("level").set_index("level")[[*tune_over]]
    score["name"] = pd.Series(spelled(named), index=named.index).reindex(score["level"]).to_numpy()
    # A level that was not run on all seeds of the half has told less than the others.
    whole = score.groupby(["cell", "half"])["runs"].transform("max")
    score["incomplete"] = score["runs"] < whole
    order = ["cell", "half", "incomplete", "diverged", "mean", "name"]
    best = score.sort_values(order, kind="stable").drop_duplicates(["cell", "half"])
    # Chosen on one half, reported on the other.
    chosen = best.assign(half=1 - best["half"])[["cell", "half", "level"]]
    keys = table.assign(half=half)[["cell", "half", "level", *factors, block]]
    kept = keys.merge(chosen, on=["cell", "half", "level"])[[*factors, block]]
    kept = kept.drop_duplicates()
    codes = cell_codes(pd.concat([kept, runs[[*factors, block]]], ignore_index=True))
    return runs[np.isin(codes[len(kept) :], codes[: len(kept)])]
