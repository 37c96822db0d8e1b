"""Do our runs agree with a curve printed elsewhere? The printed numbers beside the band of our
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablations.analysis.design import Scale, cell_codes
from ablations.analysis.inference import summarise

PUBLISHED_COLUMNS = [
    "label", "epoch", "low", "median", "high", "printed", "inside", "runs",
]  # fmt: skip


def published_band(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    where: Mapping[str, object],
    printed: Sequence[float],
    *,
    label: str = "",
    outcome: str = "objective",
) -> pd.DataFrame:
    """Set one printed number an epoch against the percentiles of the runs that ``where`` selects.

    Parameters
    ----------
    where : column of ``runs`` -> value.
    printed : from epoch 1.

    Returns
    -------
    DataFrame
        One row an epoch: ``label, epoch, low, median, high`` (percentiles 0.5, 50 and 99.5 of our
        runs at that epoch), ``printed``, ``inside`` (between ``low`` and ``high``), ``runs``.
        Epochs we did not train have missing percentiles and are not inside.

    Raises
    ------
    KeyError
        If ``where`` names a column the runs do not have.
    """
    chosen = np.ones(len(runs), dtype=bool)
    for column, value in where.items():
        chosen &= (runs[column] == value).to_numpy(dtype=bool, na_value=False)
    ours = curves[curves["run_id"].isin(runs.loc[chosen, "run_id"])]
    # A curve that diverged is part of the spread: infinity is above every percentile but the last.
    values = ours.assign(value=ours[outcome].astype(float)).dropna(subset=["value"])
    grouped = values.groupby("epoch")["value"]
    table = pd.DataFrame(
        {"label": label, "epoch": np.arange(1, len(printed) + 1), "printed": list(printed)}
    )
    for name, share in (("low", 0.005), ("median", 0.5), ("high", 0.995)):
        table[name] = table["epoch"].map(grouped.quantile(share)).astype(float)
    table["runs"] = table["epoch"].map(grouped.size()).fillna(0).astype(int)
    table["inside"] = table["printed"].between(table["low"], table["high"])
    return table[PUBLISHED_COLUMNS]


CURVE_COLUMNS = [
    "axis", "level", "epoch", "mean", "low", "high", "seeds", "cells", "survivors",
    "runs",
]  # fmt: skip


def level_curves(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    axis: str,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Average the curves of each level of ``axis``: over cells first, then over seeds.

    Only cells that all drawn levels have are averaged, so that two curves differ by the level and
    nothing else. Drawn are the levels of the richest cell; the others share no cell with them and
    are left out. Runs that diverged are not in a curve: it is conditional on survival, and
    ``survivors`` of ``runs`` says how much that leaves out.

    Returns
    -------
    DataFrame
        ``axis, level, epoch, mean, low, high``: on the log scale the geometric mean, with the 95 %
        t interval over ``seeds``; ``cells, survivors, runs``. Empty if no two levels share a cell.
    """
    state = runs[status] if status in runs else pd.Series("ok", index=runs.index)
    planned = runs[state.isin(["ok", "diverged", "failed"]) & runs[axis].notna()]
    planned = planned.assign(cell=cell_codes(planned[[name for name in factors if name != axis]]))
    planned = _shared(planned, axis)
    ok = planned[state.reindex(planned.index) == "ok"]
    points = _points(ok, curves, axis, outcome, block, scale)
    if points.empty:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    by_seed = points.groupby(["level", "epoch", block], sort=False, observed=True)["value"].mean()
    table = summarise(by_seed.reset_index(), ["level", "epoch"], "value").reset_index()
    table["level"] = table["level"].astype(object)
    if scale == "log":
        table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    counts = planned.groupby(axis, sort=False).agg(runs=("cell", "size"), cells=("cell", "nunique"))
    counts["survivors"] = ok.groupby(axis, sort=False).size()
    table = table.rename(columns={"n": "seeds"}).join(counts, on="level").assign(axis=axis)
    return table[CURVE_COLUMNS].sort_values("epoch", kind="stable")


def _shared(planned: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Keep the levels of the richest kind of cell, in the cells that have them all."""
    pairs = planned[["cell", axis]].drop_duplicates()
    pairs = pairs.assign(code=pd.factorize(pairs[axis])[0])
    sets = pairs.groupby("cell", sort=False)["code"].agg(frozenset)
    # The most levels first, then the most cells; the rest only makes the choice the same each time.
    ranked = sets.value_counts(sort=False)
    if ranked.empty or max(map(len, ranked.index)) < 2:
        return planned.iloc[:0]
    best = max(ranked.index, key=lambda held: (len(held), ranked[held]))
    cells = sets.index[[held >= best for held in sets]]
    levels = pairs.loc[pairs["code"].isin(best), axis].unique()
    return planned[planned["cell"].isin(cells) & planned[axis].isin(levels)]


def _points(
    ok: pd.DataFrame, curves: pd.DataFrame, axis: str, outcome: str, block: str, scale: Scale
) -> pd.DataFrame:
    place = pd.Index(ok["run_id"]).get_indexer(pd.Index(curves["run_id"]))
    value = curves[outcome].to_numpy(dtype=float, na_value=np.nan)
    if scale == "log":
        value = np.log(np.where(value > 0, value, np.nan))
    keep = (place >= 0) & np.isfinite(value)
    codes, levels = pd.factorize(ok[axis])
    blocks = ok[block].to_numpy()
    place = place[keep]
    # Levels travel as integers through the grouping of millions of points, and get their
    # names back at the end.
    return pd.DataFrame(
        {
            "level": pd.Categorical.from_codes(codes[place], categories=levels),
            "epoch": curves["epoch"].to_numpy()[keep],
            block: blocks[place],
            "value": value[keep],
        }
    )
