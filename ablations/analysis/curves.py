"""Curves of levels, averaged over cells and seeds; printed curves beside the band of our runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Column, Ints, cell_codes, count_distinct
from ablations.analysis.design import Scale
from ablations.analysis.inference import group_intervals
from ablations.analysis.statuses import complete_runs
from ablations.results.metadata import Published

PUBLISHED_COLUMNS = ["label", "epoch", "low", "median", "high", "printed", "inside", "runs"]


def published_bands(
    runs: pd.DataFrame, curves: pd.DataFrame, published: Sequence[Published]
) -> pd.DataFrame:
    """Set every curve that a study reproduces against its runs (``published_band``)."""
    bands = [
        published_band(runs, curves, curve.where, curve.objective, label=curve.label)
        for curve in published
    ]
    return pd.concat(bands, ignore_index=True) if bands else pd.DataFrame()


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
    """
    selected = np.ones(len(runs), dtype=bool)
    for column, value in where.items():
        selected &= (runs[column] == value).to_numpy(dtype=bool, na_value=False)
    candidates = curves[curves["run_id"].isin(runs.loc[selected, "run_id"])]
    # A curve that diverged is part of the spread: infinity is above every percentile but the last.
    values = candidates.assign(value=candidates[outcome].astype(float)).dropna(subset=["value"])
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
    "axis", "level", "epoch", "mean", "low", "high", "seeds", "cells", "survivors", "runs",
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

    The levels are those of the cell with most of them, and only cells that have all of these are
    averaged, so that two curves differ by the level and nothing else. A curve is conditional on
    survival: runs that diverged are not in it, and ``survivors`` of ``runs`` says how many are.

    Parameters
    ----------
    curves
        One row a run and epoch: ``run_id``, ``epoch`` and the outcome.

    Returns
    -------
    DataFrame
        ``axis, level, epoch, mean, low, high``: on the log scale the geometric mean, with the 95 %
        t interval over ``seeds``; ``cells, survivors, runs``. Empty if no two levels share a cell.
    """
    runs = complete_runs(runs, [*factors, axis], outcome, status)
    state = runs[status]
    planned = runs[state.isin(["ok", "diverged", "failed"])]
    cell = cell_codes(planned[[name for name in factors if name != axis]])
    level = Column.from_values(planned[axis])
    shared = _shared_rows(cell, level.codes)
    planned, cell, codes = planned[shared], cell[shared], level.codes[shared]
    ok = (state.reindex(planned.index) == "ok").to_numpy()
    points = _points(planned[ok], codes[ok], curves, outcome, block, scale)
    if points.empty:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    means = points.groupby(["level", "epoch", "block"], sort=False)["value"].mean().reset_index()
    table = group_intervals(means["value"], [means["level"], means["epoch"]])
    if scale == "log":
        table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    table = table.rename(columns={"n": "seeds"}).reset_index()
    codes_of = table["level"].to_numpy()
    size = len(level.levels)
    return table.assign(
        axis=axis,
        level=level.levels.astype(object).take(codes_of),
        runs=np.bincount(codes, minlength=size)[codes_of],
        cells=count_distinct(codes, cell, size)[codes_of],
        survivors=np.bincount(codes[ok], minlength=size)[codes_of],
    )[CURVE_COLUMNS].sort_values("epoch", kind="stable")


def _shared_rows(cell: Ints, level: Ints) -> Bools:
    """Mark the levels of the cells with most levels, in the cells that have all of these."""
    sets = pd.Series(level).groupby(cell, sort=False).agg(frozenset)
    # The most levels first, then the most cells; the rest only makes the choice the same each time.
    counts = sets.value_counts(sort=False)
    if counts.empty or max(map(len, counts.index)) < 2:
        return np.zeros(len(cell), dtype=bool)
    largest = max(counts.index, key=lambda levels: (len(levels), counts[levels]))
    cells = sets.index[[levels >= largest for levels in sets]]
    return np.isin(cell, cells) & np.isin(level, list(largest))


def _points(
    runs: pd.DataFrame, level: Ints, curves: pd.DataFrame, outcome: str, block: str, scale: Scale
) -> pd.DataFrame:
    """The points of the runs' curves, with codes for the levels: there may be millions."""
    row = pd.Index(runs["run_id"]).get_indexer(pd.Index(curves["run_id"]))
    value = curves[outcome].to_numpy(dtype=float, na_value=np.nan)
    if scale == "log":
        value = np.log(np.where(value > 0, value, np.nan))
    present = (row >= 0) & np.isfinite(value)
    row = row[present]
    return pd.DataFrame(
        {
            "level": level[row],
            "epoch": curves["epoch"].to_numpy()[present],
            "block": pd.factorize(runs[block])[0][row],
            "value": value[present],
        }
    )
