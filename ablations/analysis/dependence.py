"""Where a main effect hides what it averages over: the effect of a level at each level of another
axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from ablations.analysis.complete import complete_blocks
from ablations.analysis.design import STATED, Scale, assumed, cell_codes, counted, done
from ablations.analysis.inference import adjust, over_seeds, sign_flip_p
from ablations.analysis.naming import any_names
from ablations.analysis.pairs import Level, paired_differences

SIMPLE_COLUMNS = [
    "axis", "level", "control", "given", "given_level", "effect", "low", "high", "change",
    "change_low", "change_high", "p", "p_adjusted", "cells", "seeds", "pairs", "identical",
    "diverged", "control_diverged", *STATED,
]  # fmt: skip

UNKNOWN = "unknown: too few seeds"


@any_names
def simple_effects(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Compare every level with its control at each level of every other axis, one at a time.

    Returns
    -------
    DataFrame
        One row for ``level`` of ``axis`` against ``control`` where ``given`` is at
        ``given_level``, in order of appearance:

        - ``effect, low, high``: mean over seeds of the seeds' mean difference over the remaining
          cells, and its 95 % t interval, on the scale; ``change, change_low, change_high`` as a
          fraction (log scale only).
        - ``p``: sign-flip over seeds; ``p_adjusted``: Benjamini-Hochberg over all rows, for
          exploring.
        - ``cells, seeds, pairs, diverged, control_diverged``: as in ``effects.main_effects``, whose
          effects these are averaged to; ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    axes = [axis for axis in controls if axis in runs]
    parts = []
    for axis, given in permutations(axes, 2):
        pairs = paired_differences(
            runs, axis, controls[axis], factors,
            outcome=outcome, block=block, scale=scale, status=status, keep=[given],
        )  # fmt: skip
        pairs = pairs[pairs[given].notna()]
        if len(pairs):
            parts.append(_given(pairs, given, block, scale, runs[block].nunique()))
    if not parts:
        return pd.DataFrame(columns=SIMPLE_COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    table["p_adjusted"] = adjust(table["p"].to_numpy(dtype=float), "fdr_bh")
    return table.assign(
        n=table["seeds"],
        procedure=done(
            table["seeds"],
            "differences paired within blocks, mean over cells, then t interval and sign flips "
            f"over blocks; Benjamini-Hochberg over {int(table['p'].notna().sum())}",
        ),
        assumes=assumed(block),
    )[SIMPLE_COLUMNS]


def _given(pairs: pd.DataFrame, given: str, block: str, scale: Scale, blocks: int) -> pd.DataFrame:
    keys = ["axis", "level", "control", given]
    pairs = pairs.assign(contrast=cell_codes(pairs[["level", given]]))
    found = pairs.groupby("contrast", sort=True).size()
    kept = complete_blocks(pairs.reset_index(drop=True), contrast="contrast", block=block)
    by_contrast = kept.groupby("contrast", sort=True)
    table = by_contrast.agg(
        cells=("cell", "nunique"),
        pairs=("cell", "size"),
        survivors=("difference", "count"),
        identical=("identical", "sum"),
        diverged=("diverged", "sum"),
        control_diverged=("control_diverged", "sum"),
    )
    named = kept.drop_duplicates("contrast").set_index("contrast")[keys]
    means = kept.groupby([block, "contrast"], sort=False)["difference"].mean()
    d = means.unstack("contrast").reindex(columns=table.index)  # noqa: PD010
    values = d.to_numpy(dtype=float)
    incomplete = found.reindex(table.index) - table["pairs"]
    lost = table["pairs"] - table["survivors"]
    present = kept.groupby("contrast", sort=True)[block].nunique().reindex(table.index)
    planned = np.full(len(table), blocks)
    said = [
        counted(
            (gone, f"pair of an incomplete {block} or cell"),
            (bad, "pair of which a run diverged"),
            (asked - n, f"{block} without a pair"),
        )
        for gone, bad, asked, n in zip(incomplete, lost, planned, present, strict=True)
    ]
    numbers = over_seeds(values, scale)
    table = table.join(named).rename(columns={given: "given_level"})
    return table.assign(
        given=given,
        **numbers,
        p=sign_flip_p(values),
        seeds=np.isfinite(values).sum(axis=0),
        left_out=said,
    )


def depends_on(
    effects: pd.DataFrame, interactions: pd.DataFrame, *, margin: float, alpha: float = 0.05
) -> pd.Series:
    """Name the axes that the effect of each level depends on, the one that matters most first.

    An axis counts where some double difference of the level with a level of it is both certain
    (``p_adjusted`` or ``p_family`` at most ``alpha``) and larger than ``margin``: then the main
    effect is a mean over different effects, and ``simple_effects`` says which.

    Parameters
    ----------
    effects
        Of ``effects.main_effects``.
    interactions
        Of ``interactions.interactions``.
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.

    Returns
    -------
    Series of str
        On the index of ``effects``: axes joined by ``", "``; empty where none is known to matter;
        ``UNKNOWN`` where so few seeds could not tell.
    """
    double = interactions["double"].astype(float).abs()
    p = interactions[["p_adjusted", "p_family"]].astype(float).min(axis=1)
    real = (p <= alpha) & (double > margin)
    sides = [
        pd.DataFrame(
            {
                "axis": interactions[f"axis_{one}"],
                "level": interactions[f"level_{one}"],
                "on": interactions[f"axis_{other}"],
                "size": double,
            }
        )[real]
        for one, other in ("ab", "ba")
    ]
    found = pd.concat(sides).sort_values("size", ascending=False, kind="stable")
    found = found.drop_duplicates(["axis", "level", "on"])
    named = {
        key: ", ".join(map(str, group["on"]))
        for key, group in found.groupby(["axis", "level"], sort=False)
    }
    asked = interactions.dropna(subset="double")
    told = asked[asked["p_floor"] <= alpha]
    able = {
        (row[f"axis_{side}"], row[f"level_{side}"]) for side in "ab" for _, row in told.iterrows()
    }
    hidden = {
        (row[f"axis_{side}"], row[f"level_{side}"]) for side in "ab" for _, row in asked.iterrows()
    } - able
    keys = list(zip(effects["axis"], effects["level"], strict=True))
    words = [UNKNOWN if key in hidden else named.get(key, "") for key in keys]
    return pd.Series(words, index=effects.index, dtype=object)
