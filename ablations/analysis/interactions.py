"""What a main effect averages over: the effect of a level at each level of another axis."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Floats, Ints, count_distinct, number_pairs
from ablations.analysis.design import Design, accept_table
from ablations.analysis.inference import (
    adjust,
    group_intervals,
    smallest_p,
)
from ablations.analysis.pairing import Pairs, count_pairs, find_balanced, mean_by_block, pair_runs
from ablations.analysis.scope import MeanEffects, describe_assumptions, describe_interval
from ablations.analysis.statements import STATED, list_counts, state_basis

SIMPLE_COLUMNS = [
    "axis", "level", "control", "given", "given_level", "effect", "low", "high", "change",
    "change_low", "change_high", "p", "p_adjusted", "cells", "seeds", "pairs", "identical",
    "diverged", "control_diverged", *STATED,
]  # fmt: skip
INTERACTION_COLUMNS = [
    "axis_a", "level_a", "axis_b", "level_b", "effect", "low", "high", "seeds", "cells",
    "diverged", "double", "double_low", "double_high", "double_seeds", "p", "p_adjusted",
    "p_family", "p_floor", "reachable", *STATED,
]  # fmt: skip
UNKNOWN = "unknown: too few seeds"


@accept_table("controls", "factors", "scale", "confidence", "overlap", "split")
def simple_effects(design: Design) -> pd.DataFrame:
    """Compare every level with its control at each level of every other axis, one at a time.

    Returns
    -------
    DataFrame
        One row for ``level`` of ``axis`` against ``control`` where ``given`` is at ``given_level``:

        - ``effect, low, high``: mean over seeds of the seeds' mean difference over remaining cells,
          its t interval; ``change, change_low, change_high``: as a fraction (log scale).
        - ``p``: sign-flip over seeds; ``p_adjusted``: Benjamini-Hochberg over rows, for exploring.
        - ``cells, seeds, pairs, diverged, control_diverged``: as in ``main_effects``, whose effects
          are averages of these.
    """
    axes = permutations(design.contrasted_axes, 2)
    tables = [table for pair in axes if (table := _effects_at(design, *pair)) is not None]
    if not tables:
        return pd.DataFrame(columns=SIMPLE_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    procedure = (
        f"differences paired within blocks, mean over cells, then {describe_interval(design)} and "
        f"sign flips; Benjamini-Hochberg over {int(table['p'].notna().sum())}"
    )
    table["p_adjusted"] = adjust(table["p"].to_numpy(dtype=float), "fdr_bh")
    assumptions = describe_assumptions(design)
    return state_basis(table, table["seeds"], procedure, assumptions)[SIMPLE_COLUMNS]


def _effects_at(design: Design, axis: str, other: str) -> pd.DataFrame | None:
    """The effects of the levels of ``axis`` at each level of ``other``; None without any pair."""
    data, block = design.observations, design.unit
    pairs: Pairs = design.compute_once(pair_runs, axis)
    at = data.columns[other].codes[pairs.row]
    pairs, at = pairs.take(at >= 0), at[at >= 0]
    if not len(at):
        return None
    contrast = pd.factorize(pairs.level * (at.max() + 1) + at)[0]
    n_pairs = np.bincount(contrast)
    balanced = find_balanced(contrast, pairs.cell, pairs.block)
    pairs = pairs.take(balanced)
    present, first, contrast = np.unique(contrast[balanced], return_index=True, return_inverse=True)
    shape = len(data.blocks), len(present)
    blocks = pd.unique(pairs.block)
    d = mean_by_block(pairs.difference, contrast, pairs.block, shape)[blocks]
    means = MeanEffects.from_differences(design, d, blocks)
    counts = pd.DataFrame(count_pairs(pairs, contrast, len(present)))
    rows = pairs.row[first]
    return counts.assign(
        axis=axis,
        level=data.columns[axis].values.iloc[rows].array,
        control=[design.controls[axis]] * len(rows),
        given=other,
        given_level=data.columns[other].values.iloc[rows].array,
        **means.columns(design.scale),
        p=means.p(),
        seeds=np.isfinite(d).sum(axis=0),
        left_out=list_counts(
            (n_pairs[present] - counts["pairs"], f"pair of an incomplete {block} or cell"),
            (counts["pairs"] - counts["survivors"], "pair of which a run diverged"),
            (design.n_blocks - counts["blocks"], f"{block} without a pair"),
        ),
    )


def moderators(
    effects: pd.DataFrame, interactions: pd.DataFrame, *, margin: float, alpha: float = 0.05
) -> pd.Series:
    """Name the axes that the effect of each level depends on, the one that matters most first.

    An axis counts where some double difference of the level with a level of it is both certain
    (``p_adjusted`` or ``p_family`` at most ``alpha``) and larger than ``margin``: then the main
    effect is a mean over different effects, which ``simple_effects`` lists.

    Parameters
    ----------
    margin
        On the scale of the effects: log(1 + margin) for a margin that is a fraction.

    Returns
    -------
    Series of str
        On the index of ``effects``: axes joined by ``", "``; empty where no axis is known to
        matter; ``UNKNOWN`` where so few seeds could not show it.
    """
    columns = {"axis_a": "axis", "level_a": "level", "axis_b": "on"}
    swapped = {"axis_b": "axis", "level_b": "level", "axis_a": "on"}
    sides = [
        interactions.rename(columns=names)[["axis", "level", "on"]] for names in (columns, swapped)
    ]
    size = interactions["double"].astype(float).abs()
    p = interactions[["p_adjusted", "p_family"]].astype(float).min(axis=1)
    certain = (p <= alpha) & (size > margin)
    able = interactions["double"].notna() & (interactions["p_floor"] <= alpha)
    table = pd.concat([side.assign(size=size)[certain] for side in sides])
    table = table.sort_values("size", ascending=False, kind="stable")
    table = table.drop_duplicates(["axis", "level", "on"])
    names = {
        key: ", ".join(map(str, group["on"]))
        for key, group in table.groupby(["axis", "level"], sort=False)
    }
    examined, testable = (
        {key for side in sides for key in zip(side["axis"][rows], side["level"][rows], strict=True)}
        for rows in (interactions["double"].notna(), able)
    )
    unknown = examined - testable
    keys = zip(effects["axis"], effects["level"], strict=True)
    words = [UNKNOWN if key in unknown else names.get(key, "") for key in keys]
    return pd.Series(words, index=effects.index, dtype=object)


@accept_table("controls", "factors", "scale", "confidence", "overlap", "split")
def interactions(design: Design) -> pd.DataFrame:
    """Compare every pair of levels, on every pair of axes, with the joint control.

    Returns
    -------
    DataFrame
        One row for ``level_a`` of ``axis_a`` with ``level_b`` of ``axis_b``, the controls' own
        rows included:

        - ``effect, low, high``: mean over seeds of (a, b) - (a0, b0), all else equal, on the
          scale, and its t interval; ``seeds``, ``cells``; ``diverged``: runs of (a, b) that
          diverged in these cells. The effect is over pairs where both survived.
        - ``double, double_low, double_high``: mean of (a, b) - (a, b0) - (a0, b) + (a0, b0), beyond
          what each does alone; ``double_seeds``. Missing where a or b is the control.
        - ``p``: sign-flip over seeds; ``p_adjusted``: Benjamini-Hochberg over all double
          differences, for exploring; ``p_family``: step-down max-T over them, which holds for all
          together; ``p_floor``: the smallest that this can be with these seeds, ``reachable``:
          whether that is at most 0.05.  The F test of all levels of two axes at once is a row of
          ``variance_shares``.
        - ``n``: blocks of the double difference, or of the effect where there is none.

    Pairs of levels of which not all four corners were run are in ``confounding``.
    """
    axes = [axis for axis in design.controls if axis in design.factors]
    answers = [_compare_axes(design, a, b) for a, b in combinations(axes, 2)]
    tables = [table for table, _ in answers if len(table)]
    if not tables:
        return pd.DataFrame(columns=INTERACTION_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    d = np.hstack([wide for _, wide in answers])
    floor = smallest_p(np.isfinite(d).sum(axis=0))
    means = MeanEffects.from_differences(design, d, pd.unique(design.observations.block))
    n = table["double_seeds"].fillna(table["seeds"]).astype(int)
    procedure = (
        f"double differences paired within blocks, mean over cells, {describe_interval(design)} "
        f"and sign flips; Benjamini-Hochberg and max-T over {int(table['p'].notna().sum())}"
    )
    adjusted = adjust(table["p"].to_numpy(dtype=float), "fdr_bh")
    table = table.assign(
        p_adjusted=adjusted, p_family=means.family_p(), p_floor=floor, reachable=floor <= 0.05
    )
    return state_basis(table, n, procedure, describe_assumptions(design))[INTERACTION_COLUMNS]


def _compare_axes(design: Design, a: str, b: str) -> tuple[pd.DataFrame, Floats]:
    """The rows of two axes, and their double differences, blocks x rows."""
    data, block = design.observations, design.unit
    runs = _partners(design, a, b)
    value, size = data.value, int(runs["contrast"].max()) + 1 if len(runs) else 0
    cross = runs[runs["joint"] >= 0]
    cross = cross.assign(difference=value[cross["row"]] - value[cross["joint"]])
    corners = cross[cross["treated"] & (cross["alone_a"] >= 0) & (cross["alone_b"] >= 0)]
    corners = corners.assign(
        difference=value[corners["row"]] - value[corners["alone_a"]] - value[corners["alone_b"]]
        + value[corners["joint"]]
    )  # fmt: skip
    effects, _, incomplete = _average(design, cross, size)
    doubles, wide, incomplete_corners = _average(design, corners, size)
    contrast = effects.index.to_numpy(dtype=np.int64)
    n_runs, n_cross, n_corners, lost = (
        np.bincount(rows["contrast"], minlength=size)
        for rows in (runs, cross, corners, cross[cross["difference"].isna()])
    )
    dropped = np.where(n_corners > 0, incomplete_corners, incomplete)
    rows = runs.drop_duplicates("contrast").set_index("contrast")["row"][contrast]
    names = {"mean": "double", "low": "double_low", "high": "double_high", "seeds": "double_seeds"}
    table = effects.drop(columns="p").rename(columns={"mean": "effect"})
    table = table.join(doubles.rename(columns=names)[[*names.values(), "p"]]).assign(
        axis_a=a,
        level_a=data.columns[a].infer_levels(rows).array,
        axis_b=b,
        level_b=data.columns[b].infer_levels(rows).array,
        left_out=list_counts(
            (dropped[contrast], f"pair of an incomplete {block} or cell"),
            ((n_runs - n_cross)[contrast], "run without its like at both controls"),
            (lost[contrast], "pair of which a run diverged"),
        ),
    )
    return table, wide[pd.unique(data.block)][:, contrast]


def _partners(design: Design, a: str, b: str) -> pd.DataFrame:
    """Find the partners of each run at the controls of two axes, all else equal.

    ``contrast`` numbers the run's pair of levels; ``joint, alone_a, alone_b`` are the rows of its
    partners at both controls, at that of b, and at that of a, or -1; ``treated``: at no control.
    """
    data = design.observations
    column_a, column_b = data.columns[a], data.columns[b]
    rows = np.flatnonzero((column_a.codes >= 0) & (column_b.codes >= 0))
    cell = data.sorted_cells([name for name in design.factors if name not in (a, b)])[rows]
    at_a, at_b = (data.columns[axis].at(design.controls[axis])[rows] for axis in (a, b))
    place = cell * len(data.blocks) + data.block[rows]

    def find(key: Ints, candidates: Bools) -> Ints:
        position = pd.Index(key[candidates]).get_indexer(pd.Index(key))
        return np.asarray(np.append(rows[candidates], -1)[position])

    return pd.DataFrame(
        {
            "row": rows,
            "cell": cell,
            "block": data.block[rows],
            "diverged": data.diverged[rows],
            "contrast": pd.factorize(data.cells([a, b])[rows])[0],
            "joint": find(place, at_a & at_b),
            "alone_a": find(place * len(column_a.levels) + column_a.codes[rows], at_b),
            "alone_b": find(place * len(column_b.levels) + column_b.codes[rows], at_a),
            "treated": ~at_a & ~at_b,
        }
    )


def _average(design: Design, rows: pd.DataFrame, size: int) -> tuple[pd.DataFrame, Floats, Ints]:
    """Average the balanced rows of contrasts, also by block; and count the others."""
    before = np.bincount(rows["contrast"], minlength=size)
    codes = (rows[name].to_numpy() for name in ("contrast", "cell", "block"))
    rows = rows[find_balanced(*codes)]
    contrast, block = rows["contrast"].to_numpy(), rows["block"].to_numpy()
    shape = len(design.observations.blocks), size
    wide = mean_by_block(rows["difference"].to_numpy(), contrast, block, shape)
    order = np.sort(number_pairs(contrast, block)[1])
    values = pd.Series(wide[block[order], contrast[order]])
    table = group_intervals(values, contrast[order], design.confidence)
    present = table.index.to_numpy(dtype=np.int64)
    diverged = contrast[rows["diverged"].to_numpy()]
    means = MeanEffects.from_differences(design, wide[:, present], np.arange(len(wide)))
    if means.posterior is not None:
        low, high = means.posterior.interval(design.confidence)
        table = table.assign(mean=means.posterior.mean, low=low, high=high)
    table = table.assign(
        seeds=table["n"],
        cells=count_distinct(contrast, rows["cell"].to_numpy(), size)[present],
        diverged=np.bincount(diverged, minlength=size)[present],
        p=means.p() if len(present) else np.empty(0),
    )
    return table, wide, before - np.bincount(contrast, minlength=size)


def strongest_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Order pairs of axes (``axis_a, axis_b``) by ``strength``: root mean square of ``double``."""
    square = table.assign(strength=table["double"].astype(float) ** 2)
    mean = square.groupby(["axis_a", "axis_b"], sort=False)["strength"].mean()
    return np.sqrt(mean).sort_values(ascending=False, kind="stable").reset_index()
