"""Are the runs trained enough? Effects at every epoch, and how the curves of each level end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Floats, Ints
from ablations.analysis.design import OUTCOME, Design
from ablations.analysis.incomplete import compared_pairs, count_missing, fill_mean_differences
from ablations.analysis.inference import effect_columns, mean_and_sd, t_interval
from ablations.analysis.scope import MeanEffects, describe_interval
from ablations.analysis.statements import STATED, UNTESTED

NOT_FINISHED, OVERFITTED = "not finished", "overfitted"
CONTROL = "all at their controls"
"""The level of the row about the configuration of all control levels, whose axis is empty."""
LAST_PART = 0.2
"""The last part of the training, in which a level that still improves is not finished."""
LATE = 0.8
"""A best epoch after this share of the training is near its end."""
DEFAULT_MARGIN = 0.02
"""A change of the loss below it does not matter, as a fraction."""
MAX_POINTS = 200
"""Epochs at which curves are read; longer ones are read at as many, evenly apart."""
EFFECT_COLUMNS = [
    "axis", "level", "control", "epoch", "effect", "low", "high", "change", "change_low",
    "change_high", *STATED,
]  # fmt: skip
ENDING_COLUMNS = [
    "axis", "level", "epochs", "best_epoch", "ending", "late_effect", "late_low", "late_high",
    "late_change", "late_change_low", "late_change_high", "excess_effect", "excess_low",
    "excess_high", "excess_change", "excess_change_low", "excess_change_high", *STATED,
]  # fmt: skip


def effects_by_epoch(
    design: Design, curves: pd.DataFrame, *, epochs: Sequence[int] | None = None
) -> pd.DataFrame:
    """Compare every level with its control at every epoch: what helps early may hurt late.

    Parameters
    ----------
    curves
        One row a run and epoch: ``run_id, epoch, val_loss``.
    epochs
        The epochs to compare at; by default all of them, or 200 evenly apart if there are more.

    Returns
    -------
    DataFrame
        One row a level and epoch: ``effect, low, high`` as in ``main_effects``, of the validation
        loss after that epoch, over runs that never diverged; each interval is for its epoch alone.
    """
    if epochs is not None:
        curves = curves[curves["epoch"].isin(list(epochs))]
    points = _read_curves(design, curves, MAX_POINTS if epochs is None else len(epochs))
    tables = list(_effects_at(design, points, np.arange(len(points.epochs))))
    if not tables:
        return pd.DataFrame(columns=EFFECT_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    kind = "log ratio" if points.is_log else "difference"
    procedure = (
        f"{OUTCOME} after each epoch, lower is better, {kind}: differences paired within blocks, "
        f"mean over cells; {describe_interval(design)}, of this epoch alone"
    )
    return table.assign(
        procedure=[procedure if n >= 2 else UNTESTED for n in table["n"]],
        assumes=f"{design.unit}s independent of one another; differences by {design.unit} about "
        "normal; an effect at one epoch says nothing of the epoch that anybody would keep",
        left_out="runs that diverged, and runs that trained for fewer epochs",
    )[EFFECT_COLUMNS].sort_values(["axis", "level", "epoch"], kind="stable", ignore_index=True)


def curve_endings(
    design: Design, curves: pd.DataFrame, *, margin: float | None = None
) -> pd.DataFrame:
    """Say of each level whether its runs still improve at the end, or overfitted long before it.

    Parameters
    ----------
    margin
        The change that does not matter, as a fraction: of the loss, or, where some losses are zero
        or negative, of the mean size of the level's curve over all epochs, since a fraction of a
        loss of zero is nothing.  By default that of a design of ratios, else 2 %.

    Returns
    -------
    DataFrame
        One row a level, controls included, and first one of the configuration of all controls
        (an empty ``axis``):

        - ``late_effect, late_low, late_high``: change of the validation loss over the last fifth of
          the training, the mean over seeds of each seed's mean over cells, with its 95 % t
          interval, on the scale; ``late_change``… as a fraction.
        - ``best_epoch``: where the level's mean curve is lowest.  ``excess_effect, excess_low,
          excess_high``: the last validation loss against that of the best epoch, where the best
          epoch of a seed is that of the other seeds' mean curve: a seed that chose its own best
          epoch would always find an excess.
        - ``ending``: ``not finished`` where the loss surely still falls by more than the margin,
          ``overfitted`` where the last loss is surely above that of the best epoch by more than
          the margin and that epoch lies in the first 80 %; else empty.
    """
    points = _read_curves(design, curves)
    if margin is None:
        margin = design.margin if design.scale == "log" else DEFAULT_MARGIN
    rows = [_ending(design, points, margin, *key) for key in _groups(design, points)]
    if not rows:
        return pd.DataFrame(columns=ENDING_COLUMNS)
    procedure = (
        f"{OUTCOME} by epoch, mean over cells; 95 % t interval over blocks; the best epoch of a "
        f"block is that of the others; a margin of {margin:.2g} of the "
        + ("loss" if points.is_log else "mean size of the curve")
    )
    table = pd.DataFrame(rows)
    return table.assign(
        procedure=[procedure if n >= 2 else UNTESTED for n in table["n"]],
        assumes=f"{design.unit}s independent of one another; values by {design.unit} about normal",
        left_out="runs that diverged",
    )[ENDING_COLUMNS]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Validation losses of a design's observations, (observation, epoch), on the scale; missing
    where a run diverged or ended earlier.
    """

    values: Floats
    epochs: Ints
    is_log: bool
    last: Ints
    """Position of each run's last epoch, -1 without one."""


def _read_curves(design: Design, curves: pd.DataFrame, max_points: int = MAX_POINTS) -> _Curves:
    data = design.observations
    run_ids = design.runs["run_id"].iloc[data.rows[~data.diverged]]
    curves = curves[curves["run_id"].isin(run_ids)]
    epochs = np.sort(curves["epoch"].unique())
    if len(epochs) > max_points:
        epochs = np.unique(np.linspace(epochs[0], epochs[-1], max_points).round().astype(np.int64))
        curves = curves[curves["epoch"].isin(epochs)]
    raw = np.full((len(data), len(epochs)), np.nan)
    row = pd.Index(design.runs["run_id"].iloc[data.rows]).get_indexer(pd.Index(curves["run_id"]))
    raw[row, np.searchsorted(epochs, curves["epoch"])] = curves[OUTCOME].astype(float)
    is_log = not bool((raw <= 0).any())
    values = np.log(raw) if is_log else raw
    present = np.isfinite(values)
    position = np.arange(1, len(epochs) + 1)
    last = (present * position).max(axis=1, initial=0) - 1
    return _Curves(values, epochs, is_log, last)


def _effects_at(design: Design, curves: _Curves, positions: Ints) -> Iterator[pd.DataFrame]:
    """The effects of each axis at some epochs, those with the same runs together."""
    data = design.observations
    present = np.isfinite(curves.values[:, positions]) | data.diverged[:, None]
    patterns, pattern = np.unique(present, axis=1, return_inverse=True)
    for k in range(patterns.shape[1] if len(data) else 0):
        alike = positions[pattern.ravel() == k]
        # Ready on the scale: a logarithm of a logarithm is no loss.
        losses = np.full(len(design.runs), np.nan)
        losses[data.rows] = curves.values[:, alike[0]]
        runs = design.runs.assign(**{OUTCOME: losses, design.status: design.statuses})
        scaled = replace(design, runs=runs, outcome=OUTCOME, scale="difference")
        rows = np.searchsorted(data.rows, scaled.observations.rows)
        for axis in scaled.contrasted_axes:
            yield _axis_effects(scaled, axis, curves, rows, alike)


def _axis_effects(
    scaled: Design, axis: str, curves: _Curves, rows: Ints, positions: Ints
) -> pd.DataFrame:
    """The effects of one axis at epochs with the same runs, whose rows in the curves are given."""
    data = scaled.observations
    pairs, column = compared_pairs(scaled, axis), data.columns[axis]
    values = curves.values[rows][:, positions]
    present, contrast = np.unique(pairs.level, return_inverse=True)
    by_pair = values[pairs.row] - values[pairs.control_row]
    means = pd.DataFrame(by_pair).groupby([pairs.block, pairs.level]).mean()
    shape = len(data.blocks), len(present)
    differences = np.full((*shape, len(positions)), np.nan)
    blocks, levels = (means.index.get_level_values(i).to_numpy() for i in (0, 1))
    differences[blocks, np.searchsorted(present, levels)] = means.to_numpy()
    if count_missing(pairs, contrast).any():
        for k, difference in enumerate(by_pair.T):
            at_epoch = pairs._replace(difference=difference)
            differences[..., k] = fill_mean_differences(at_epoch, contrast, shape)[0]
    flat = differences.reshape(shape[0], -1)
    means = MeanEffects.from_differences(scaled, flat, np.arange(shape[0]))
    return pd.DataFrame(
        {
            "axis": axis,
            "level": pd.Series(column.levels).iloc[present.repeat(len(positions))].to_numpy(object),
            "control": scaled.controls[axis],
            "epoch": np.tile(curves.epochs[positions], len(present)),
            **means.columns("log" if curves.is_log else "difference"),
            "n": np.isfinite(flat).sum(axis=0),
        }
    )


def _groups(design: Design, curves: _Curves) -> Iterator[tuple[str, object, Bools]]:
    """Yield axis, level and observations of each group of runs: the controls first."""
    data = design.observations
    trained = curves.last >= 0
    at_control = trained.copy()
    for axis in design.contrasted_axes:
        at_control &= data.columns[axis].at(design.controls[axis])
    if at_control.any():
        yield "", CONTROL, at_control
    for axis in design.contrasted_axes:
        column = data.columns[axis]
        for code, level in enumerate(column.levels):
            rows = trained & (column.codes == code)
            if rows.any():
                yield axis, level, rows


def _ending(
    design: Design, curves: _Curves, margin: float, axis: str, level: object, rows: Bools
) -> dict[str, object]:
    """Measure how the curves of some observations end."""
    # Runs of different lengths are read at the same shares of their training.
    last = curves.last[rows]
    shares = np.linspace(0, 1, int(last.max()) + 1)
    at = np.rint(shares * last[:, None]).astype(np.int64)
    values = np.take_along_axis(curves.values[rows], at, axis=1)
    block = design.observations.block[rows]
    means = pd.DataFrame(values).groupby(block).mean().to_numpy()
    n, n_points = means.shape
    start = int(np.floor((1 - LAST_PART) * (n_points - 1)))
    late = means[:, -1] - means[:, start]
    best = int(np.nanargmin(means.mean(axis=0)))
    excess = np.full(n, np.nan)
    if n >= 2:
        others = (means.sum(axis=0) - means) / (n - 1)
        excess = means[:, -1] - means[np.arange(n), others.argmin(axis=1)]
    bound = float(np.log1p(margin)) if curves.is_log else margin * float(np.nanmean(np.abs(means)))
    _, _, late_high = _interval(late)
    _, excess_low, _ = _interval(excess)
    is_early = best <= LATE * (n_points - 1)
    ending = OVERFITTED if excess_low > bound and is_early else ""
    epoch = curves.epochs[round(float(shares[best] * last.max()))]
    return {
        "axis": axis,
        "level": level,
        "epochs": int(curves.epochs[last.max()]),
        "best_epoch": int(epoch),
        "ending": NOT_FINISHED if late_high < -bound else ending,
        **_name_effect("late", late, curves.is_log),
        **_name_effect("excess", excess, curves.is_log),
        "n": n,
    }


def _name_effect(prefix: str, values: Floats, is_log: bool) -> dict[str, object]:
    """Return mean and interval of some numbers as columns with a prefix."""
    columns = effect_columns(*_interval(values), "log" if is_log else "difference")
    return {f"{prefix}_{name}": value for name, value in columns.items()}


def _interval(values: Floats) -> tuple[float, float, float]:
    """Return the mean of some numbers and its 95 % t interval."""
    column = values[:, None]
    mean, sd = mean_and_sd(column)
    low, high = t_interval(mean, sd, np.isfinite(column).sum(axis=0))
    return float(mean[0]), float(low[0]), float(high[0])
