"""Where a main effect hides what it averages over: the effect of a level at each level of another
axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd

from ablations.analysis.design import (
    STATED,
    Scale,
    any_names,
    assumed,
    at_level,
    cell_codes,
    done,
    format_counts,
    named_codes,
    to_observations,
)
from ablations.analysis.inference import (
    adjust,
    max_t,
    over_seeds,
    sign_flip_p,
    smallest_p,
    summarise,
)
from ablations.analysis.pairing import Level, complete_blocks, paired_differences

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
        format_counts(
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


INTERACTION_COLUMNS = [
    "axis_a", "level_a", "axis_b", "level_b", "effect", "low", "high", "seeds", "cells",
    "diverged", "double", "double_low", "double_high", "double_seeds", "p", "p_adjusted",
    "p_family", "p_floor", "reachable", *STATED,
]  # fmt: skip


@any_names
def interactions(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Compare every pair of levels, on every pair of axes, with the joint control.

    Returns
    -------
    DataFrame
        One row for ``level_a`` of ``axis_a`` with ``level_b`` of ``axis_b``, the controls' own
        rows included:

        - ``effect, low, high``: mean over seeds of (a, b) - (a0, b0), all else equal, on the
          scale, and its 95 % t interval; ``seeds``, ``cells``; ``diverged``: runs of (a, b) that
          diverged in these cells. The effect is over pairs where both survived.
        - ``double, double_low, double_high``: mean of (a, b) - (a, b0) - (a0, b) + (a0, b0): what
          the two do together beyond what each does alone; ``double_seeds``. Missing where a or b
          is the control.
        - ``p``: sign-flip over seeds; ``p_adjusted``: Benjamini-Hochberg over all double
          differences, for exploring; ``p_family``: step-down max-T over them, which holds for all
          together; ``p_floor``: the smallest that this can be with these seeds, ``reachable``:
          whether that is at most 0.05.  The F test of all levels of two axes at once is a row of
          ``importance.importance``.
        - ``n`` (blocks of the double difference, or of the effect where there is none),
          ``procedure``, ``assumes``, ``left_out``.

    Pairs of levels of which not all four corners were run are in ``aliases.aliases``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    axes = [axis for axis in controls if axis in table]
    found = [
        _two_factors(table, a, controls[a], b, controls[b], factors, block)
        for a, b in combinations(axes, 2)
    ]
    found = [(part, wide) for part, wide in found if len(part)]
    if not found:
        return pd.DataFrame(columns=INTERACTION_COLUMNS)
    both = pd.concat([part for part, _ in found], ignore_index=True)
    both["p_adjusted"] = adjust(both["p"].to_numpy(dtype=float), "fdr_bh")
    blocks = pd.Index(table[block].unique())
    d = np.hstack([wide.reindex(index=blocks).to_numpy(dtype=float) for _, wide in found])
    both["p_family"] = max_t(d)
    both["p_floor"] = smallest_p(np.isfinite(d).sum(axis=0))
    both["reachable"] = both["p_floor"] <= 0.05
    both["n"] = both["double_seeds"].fillna(both["seeds"]).astype(int)
    both["procedure"] = done(
        both["n"],
        "double differences paired within blocks, mean over cells, then t interval and sign flips "
        f"over blocks; Benjamini-Hochberg and max-T over {int(both['p'].notna().sum())}",
    )
    both["assumes"] = assumed(block)
    return both[INTERACTION_COLUMNS]


def _two_factors(
    table: pd.DataFrame, a: str, a0: Level, b: str, b0: Level, factors: Sequence[str], block: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two axes, and their double differences by block, one column a row."""
    cell = named_codes(table[[name for name in factors if name not in (a, b)]])
    slim = table[[a, b, block, "value", "diverged"]].assign(cell=cell)
    slim.columns = pd.Index(["level_a", "level_b", block, "value", "diverged", "cell"])
    slim = slim[slim["level_a"].notna() & slim["level_b"].notna()]
    at_a0, at_b0 = at_level(slim["level_a"], a0), at_level(slim["level_b"], b0)
    key = ["cell", block]
    joint = slim.loc[at_a0 & at_b0, [*key, "value"]].rename(columns={"value": "joint"})
    alone_a = slim.loc[at_b0, [*key, "level_a", "value"]].rename(columns={"value": "alone_a"})
    alone_b = slim.loc[at_a0, [*key, "level_b", "value"]].rename(columns={"value": "alone_b"})
    cross = slim.merge(joint, on=key)
    cross["difference"] = cross["value"] - cross["joint"]
    corners = cross[~at_level(cross["level_a"], a0) & ~at_level(cross["level_b"], b0)]
    corners = corners.merge(alone_a, on=[*key, "level_a"]).merge(alone_b, on=[*key, "level_b"])
    corners["difference"] = (
        corners["value"] - corners["alone_a"] - corners["alone_b"] + corners["joint"]
    )
    effects, _, dropped = _over_seeds(cross, block)
    doubles, wide, corners_dropped = _over_seeds(corners, block)
    levels = ["level_a", "level_b"]
    alone = slim.groupby(levels, sort=False).size() - cross.groupby(levels, sort=False).size()
    lost = cross[cross["difference"].isna()].groupby(levels, sort=False).size()
    dropped = corners_dropped.reindex(dropped.index).fillna(dropped)
    effects["left_out"] = [
        format_counts(
            (int(dropped.get(key, 0)), f"pair of an incomplete {block} or cell"),
            (int(alone.get(key, 0)), "run without its like at both controls"),
            (int(lost.get(key, 0)), "pair of which a run diverged"),
        )
        for key in effects.index
    ]
    doubles = doubles[["mean", "low", "high", "seeds", "p"]]
    doubles.columns = pd.Index(["double", "double_low", "double_high", "double_seeds", "p"])
    effects = effects.drop(columns="p").rename(columns={"mean": "effect"})
    wide = wide.reindex(columns=effects.index)
    return effects.join(doubles).reset_index().assign(axis_a=a, axis_b=b), wide


def _over_seeds(cross: pd.DataFrame, block: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Each pair of levels over its blocks; the numbers themselves, blocks by pairs; and how many
    rows were dropped as incomplete.
    """
    levels = ["level_a", "level_b"]
    cross = cross.assign(contrast=cell_codes(cross[levels]))
    before = cross.groupby(levels, sort=False).size()
    cross = complete_blocks(cross.reset_index(drop=True), contrast="contrast", block=block)
    grouped = cross.groupby(levels, sort=False)
    by_seed = cross.groupby([*levels, block], sort=False)["difference"].mean().reset_index()
    table = summarise(by_seed, levels, "difference")
    table["cells"] = grouped["cell"].nunique()
    table["diverged"] = grouped["diverged"].sum()
    wide = by_seed.set_index([block, *levels])["difference"].unstack(levels)  # noqa: PD010
    wide = wide.reindex(columns=table.index)
    p = sign_flip_p(wide.to_numpy(dtype=float)) if len(table) else np.empty(0)
    dropped = before - grouped.size().reindex(before.index).fillna(0)
    return table.assign(seeds=table["n"], p=p), wide, dropped


def strongest_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Order the pairs of axes by how far they are from simply adding up.

    Returns
    -------
    DataFrame
        ``axis_a, axis_b, strength``: the root mean square of the double differences, largest first.
    """
    square = table.assign(strength=table["double"].astype(float) ** 2)
    mean = square.groupby(["axis_a", "axis_b"], sort=False)["strength"].mean()
    return np.sqrt(mean).sort_values(ascending=False, kind="stable").reset_index()
