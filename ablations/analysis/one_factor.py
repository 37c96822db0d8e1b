"""The ablation table of a paper: one thing added to the control, one thing taken from the full
model.

Both are look-ups of single cells, paired by seed.  A main effect averages over all partners of a
technique; where it disagrees with what a technique does alone, or in the full model, there is an
interaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablations.analysis.design import (
    STATED,
    Scale,
    any_names,
    assumed,
    at_level,
    by_configuration,
    format_counts,
    spelled,
    to_observations,
)
from ablations.analysis.inference import max_t, over_seeds, share_positive, sign_flip_p
from ablations.analysis.pairing import Level, complete_configurations

ONE_FACTOR_COLUMNS = [
    "view", "axis", "level", "against", "effect", "low", "high", "change", "change_low",
    "change_high", "p", "p_adjusted", "better", "seeds", "diverged", "against_diverged",
    *STATED,
]  # fmt: skip
PLUS, MINUS = "control plus", "full minus"


@any_names
def one_factor(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    full: Mapping[str, Level] | None = None,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Compare the control with each level added, and the full model with each level taken out.

    Parameters
    ----------
    controls
        Axis to its control level.  Factors that are no axis must have one level where the control
        was run; rows of other levels are not looked at.
    full
        Axis to its level in the full model.  By default the configuration with the best mean of
        those that ended well in every seed; chosen on the same runs, it flatters every level in
        it, so name it where it was fixed before.

    Returns
    -------
    DataFrame
        One row a look-up:

        - ``view``: ``control plus`` (the control with ``level`` on ``axis``, against the control)
          or ``full minus`` (the full model with ``axis`` at its control, ``level``, against the
          full model); ``against``: the level it is compared with.
        - ``effect, low, high``: mean over seeds of the difference and its 95 % t interval, on the
          scale; ``change, change_low, change_high``: as a fraction (log scale only).
        - ``p``: sign-flip over seeds; ``p_adjusted``: step-down max-T over the rows of its view.
        - ``better``: share of seeds in which it is better than what it is compared with, ties half;
          ``seeds``: pairs in which both ended well; ``diverged, against_diverged``: runs of each
          that diverged, over the seeds that both were run on.
        - ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

        A look-up of which a cell was not run gives no row.

    Raises
    ------
    ValueError
        As ``measured`` does; if ``full`` names an axis without a control or a level that was not
        run; if the control was run with several settings of the other factors.
    """
    axes = [axis for axis in controls if axis in runs]
    full = _full(runs, controls, axes, full)
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    others = [name for name in factors if name not in axes]
    base = _matching(table, {axis: controls[axis] for axis in axes})
    if base.empty and full is not None:
        base = _matching(table, full)
    if others and base.empty:
        return pd.DataFrame(columns=ONE_FACTOR_COLUMNS)
    if others:
        # What no axis names (epochs, say) is held at what the control was trained with.
        settings = base[others].drop_duplicates()
        if len(settings) > 1:
            raise ValueError(
                f"the control was run with {len(settings)} settings of {', '.join(others)}: "
                "give only the runs of one of them"
            )
        table = table[_same(table, settings.iloc[0])]
    wide, levels = by_configuration(table, axes, block)
    diverged, _ = by_configuration(table, axes, block, "diverged")
    control = _find(levels, {axis: controls[axis] for axis in axes})
    sign = 1 if higher_is_better else -1
    top = _find(levels, full) if full is not None else _best(runs, table, axes, block, sign)
    rows = []
    for axis in axes:
        for level in pd.unique(levels[axis]):
            if control is None or at_level(pd.Series([level]), controls[axis])[0]:
                continue
            added = _find(levels, {**_levels(levels, control), axis: level})
            rows.append((PLUS, axis, level, controls[axis], added, control))
        if top is not None and levels.loc[top, axis] != controls[axis]:
            taken = _find(levels, {**_levels(levels, top), axis: controls[axis]})
            rows.append((MINUS, axis, controls[axis], levels.loc[top, axis], taken, top))
    found = [row for row in rows if row[4] is not None]
    if not found:
        return pd.DataFrame(columns=ONE_FACTOR_COLUMNS)
    result = pd.DataFrame([row[:4] for row in found], columns=ONE_FACTOR_COLUMNS[:4])
    first, second = ([row[place] for row in found] for place in (4, 5))
    d = wide[first].to_numpy(dtype=float) - wide[second].to_numpy(dtype=float)
    both = diverged[first].notna().to_numpy() & diverged[second].notna().to_numpy()
    ended = [
        np.where(both, diverged[side].to_numpy(dtype=float), 0).sum(axis=0).astype(int)
        for side in (first, second)
    ]
    views = result["view"].to_numpy()
    adjusted = np.full(len(result), np.nan)
    for view in (PLUS, MINUS):
        if (views == view).any():
            adjusted[views == view] = max_t(d[:, views == view])
    sizes = {view: int((views == view).sum()) for view in (PLUS, MINUS)}
    seeds, asked = np.isfinite(d).sum(axis=0), runs[block].nunique()
    return result.assign(
        **over_seeds(d, scale), p=sign_flip_p(d), p_adjusted=adjusted,
        better=share_positive(sign * d), seeds=seeds,
        diverged=ended[0], against_diverged=ended[1], n=seeds,
        procedure=[
            "two cells paired by block; t interval and sign flips over blocks; "
            f"step-down max-T over {sizes[view]}"
            if n >= 2
            else "nothing, with fewer than two to compare"
            for view, n in zip(views, seeds, strict=True)
        ],
        assumes=[_assumed(block, view, chosen=full is None) for view in views],
        left_out=[
            format_counts(
                (lost, f"{block} in which one of the two diverged"),
                (asked - run, f"{block} in which one of the two has no result"),
            )
            for lost, run in zip(both.sum(axis=0) - seeds, both.sum(axis=0), strict=True)
        ],
    )[ONE_FACTOR_COLUMNS]  # fmt: skip


def _assumed(block: str, view: str, *, chosen: bool) -> str:
    luck = "; the full model was chosen on these same runs, which flatters it"
    return assumed(block) + (luck if view == MINUS and chosen else "")


def _matching(table: pd.DataFrame, levels: Mapping[str, Level]) -> pd.DataFrame:
    return table[_same(table, pd.Series(dict(levels), dtype=object))]


def _same(table: pd.DataFrame, levels: pd.Series) -> pd.Series:
    same = pd.Series(data=True, index=table.index)
    for name, level in levels.items():
        same &= table[name].isna() if _missing(level) else at_level(table[name], level)
    return same


def _missing(level: object) -> bool:
    return not isinstance(level, tuple) and bool(pd.isna(level))


def _find(levels: pd.DataFrame, wanted: Mapping[str, Level]) -> int | None:
    """The configuration with some levels; None where it was not run, or they do not name one."""
    found = levels.index[_same(levels, pd.Series(dict(wanted), dtype=object))]
    return int(found[0]) if len(found) == 1 else None


def _levels(levels: pd.DataFrame, configuration: int) -> dict[str, Level]:
    return {str(axis): level for axis, level in levels.loc[configuration].items()}


def _full(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    axes: Sequence[str],
    full: Mapping[str, Level] | None,
) -> dict[str, Level] | None:
    """The full model's level on every axis; the control's where it does not say."""
    if full is None:
        return None
    for axis, level in full.items():
        if axis not in axes:
            there = ", ".join(axes)
            raise ValueError(f"the full model names {axis!r}, which is no axis; there are {there}")
        if not at_level(runs[axis], level).any():
            there = ", ".join(map(repr, pd.unique(runs[axis])))
            raise ValueError(f"{level!r} is no level of {axis!r}; there are {there}")
    return {axis: full.get(axis, controls[axis]) for axis in axes}


def _best(
    runs: pd.DataFrame, table: pd.DataFrame, axes: Sequence[str], block: str, sign: int
) -> int | None:
    """The configuration with the best mean, numbered as in ``by_configuration``."""
    kept = complete_configurations(runs, table, axes, block)
    if kept.values.empty:
        return None
    order = np.argsort(spelled(kept.levels), kind="stable")
    merit = sign * kept.values.mean().to_numpy(dtype=float)[order]
    return int(kept.values.columns[order[int(np.argmax(merit))]])
