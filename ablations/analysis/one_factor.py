"""The ablation table of a paper: one thing added to the control, or taken from the full model.

Both are look-ups of single cells, paired by seed.  Where what a technique does alone, or in the
full model, differs from its main effect, which averages over all partners, there is an interaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools
from ablations.analysis.design import Design, accept_table
from ablations.analysis.inference import share_positive
from ablations.analysis.observations import Observations
from ablations.analysis.pairing import complete_configurations, spread_cells
from ablations.analysis.scope import MeanEffects, describe_assumptions, describe_interval
from ablations.analysis.statements import STATED, UNTESTED, list_counts
from ablations.results.metadata import Level

ONE_FACTOR_COLUMNS = [
    "view", "axis", "level", "against", "effect", "low", "high", "change", "change_low",
    "change_high", "p", "p_adjusted", "better", "seeds", "diverged", "against_diverged",
    *STATED,
]  # fmt: skip
PLUS, MINUS = "control plus", "full minus"
SELECTED = "; the full model was chosen on these same runs, which flatters it"
LookUp = tuple[str, str, object, object, tuple[int, int]]
"""View, axis, level, the level it is compared with, and the numbers of both cells."""


@accept_table(
    *("controls", "factors", "scale", "higher_is_better", "confidence", "overlap", "split")
)
def one_factor(design: Design, *, full: Mapping[str, Level] | None = None) -> pd.DataFrame:
    """Compare the control with each level added, and the full model with each level taken out.

    Parameters
    ----------
    controls
        Axis to its control level.  Factors that are no axis must have one level where the control
        was run; rows of other levels are ignored.
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
        - ``effect, low, high``: mean difference over seeds, its 95 % t interval, on the scale;
          ``change, change_low, change_high``: as a fraction (log scale only).
        - ``p``: sign-flip over seeds; ``p_adjusted``: step-down max-T over the rows of its view.
        - ``better``: share of seeds in which it is better than what it is compared with, ties half;
          ``seeds``: pairs in which both ended well; ``diverged, against_diverged``: runs of each
          that diverged, over the seeds that both were run on.

        A look-up of which a cell was not run gives no row.
    """
    if full is not None:
        full = _complete_full(design, full)
    inner = _hold_settings(design, full)
    look_ups = _list_look_ups(inner, full)
    if not look_ups:
        return pd.DataFrame(columns=ONE_FACTOR_COLUMNS)
    table = _compare_cells(inner, look_ups)
    ended, block, sizes = table.pop("ended"), design.unit, Counter(table["view"])
    luck = "" if full is not None else SELECTED
    return table.assign(
        n=table["seeds"],
        procedure=[
            f"two cells paired by block; {describe_interval(design)}; sign flips over blocks; "
            f"step-down max-T over {sizes[view]}"
            if n >= 2
            else UNTESTED
            for view, n in zip(table["view"], table["seeds"], strict=True)
        ],
        assumes=[describe_assumptions(design) + luck * (view == MINUS) for view in table["view"]],
        left_out=list_counts(
            (ended - table["seeds"], f"{block} in which one of the two diverged"),
            (design.n_blocks - ended, f"{block} in which one of the two has no result"),
        ),
    )[ONE_FACTOR_COLUMNS]


def _compare_cells(design: Design, look_ups: Sequence[LookUp]) -> pd.DataFrame:
    """The numbers of each look-up; ``ended``: seeds that both cells were run on."""
    cells = spread_cells(design)
    first, second = ([row[-1][side] for row in look_ups] for side in (0, 1))
    d = np.ascontiguousarray(cells.values[:, first] - cells.values[:, second])
    both = cells.present[:, first] & cells.present[:, second]
    table = pd.DataFrame([row[:-1] for row in look_ups], columns=ONE_FACTOR_COLUMNS[:4])
    views, adjusted = table["view"].to_numpy(), np.full(len(table), np.nan)
    blocks = np.unique(design.observations.block)
    for view in set(views):
        means = MeanEffects.from_differences(design, d[:, views == view], blocks)
        adjusted[views == view] = means.family_p()
    means = MeanEffects.from_differences(design, d, blocks)
    return table.assign(
        **means.columns(design.scale),
        p=means.p(),
        p_adjusted=adjusted,
        better=share_positive(d if design.higher_is_better else -d),
        seeds=np.isfinite(d).sum(axis=0),
        diverged=(both & cells.diverged[:, first]).sum(axis=0),
        against_diverged=(both & cells.diverged[:, second]).sum(axis=0),
        ended=both.sum(axis=0),
    )


def _complete_full(design: Design, full: Mapping[str, Level]) -> dict[str, Level]:
    """The full model's level on every axis; the control's where it names none."""
    axes = design.contrasted_axes
    for axis, level in full.items():
        if axis not in axes:
            names = ", ".join(axes)
            raise ValueError(f"the full model names {axis!r}, which is no axis; there are {names}")
        if not design.columns[axis].at(level).any():
            levels = ", ".join(map(repr, pd.unique(design.runs[axis])))
            raise ValueError(f"{level!r} is no level of {axis!r}; there are {levels}")
    return {axis: full.get(axis, design.controls[axis]) for axis in axes}


def _hold_settings(design: Design, full: Mapping[str, Level] | None) -> Design:
    """The design of the axes alone, at the other settings of the control, or of the full model."""
    data, axes = design.observations, design.contrasted_axes
    others = [name for name in design.factors if name not in axes]
    rows = np.ones(len(data), dtype=bool)
    if others:
        base = _matching(data, {axis: design.controls[axis] for axis in axes})
        if not base.any() and full is not None:
            base = _matching(data, full)
        settings = data.cells(others)
        of_control = pd.unique(settings[base])
        if len(of_control) > 1:
            raise ValueError(
                f"the control was run with {len(of_control)} settings of {', '.join(others)}: "
                "give only the runs of one of them"
            )
        rows = np.isin(settings, of_control)
    return replace(design, runs=design.runs.iloc[data.rows[rows]], factors=tuple(axes))


def _matching(data: Observations, levels: Mapping[str, Level]) -> Bools:
    matches = np.ones(len(data), dtype=bool)
    for axis, level in levels.items():
        matches &= data.columns[axis].codes == data.columns[axis].code_of(level)
    return matches


def _list_look_ups(design: Design, full: Mapping[str, Level] | None) -> list[LookUp]:
    data, axes = design.observations, list(design.factors)
    levels = spread_cells(design).levels
    first = np.unique(data.cells(axes), return_index=True)[1]
    codes = list(zip(*(data.columns[axis].codes[first].tolist() for axis in axes), strict=True))
    number = {code: cell for cell, code in enumerate(codes)}

    def encode(configuration: Mapping[str, Level]) -> tuple[int, ...]:
        return tuple(data.columns[axis].code_of(configuration[axis]) for axis in axes)

    at_control = encode(design.controls)
    control = number.get(at_control)
    best = None if full is None else number.get(encode(full))
    if full is None and (complete := complete_configurations(design)).values.size:
        merit = complete.values.mean(axis=0) * (1 if design.higher_is_better else -1)
        best = int(complete.levels.index[np.argmax(merit)])
    look_ups: list[LookUp] = []
    for k, axis in enumerate(axes):
        base = design.controls[axis]
        for code in dict.fromkeys(code[k] for code in codes):
            added = number.get((*at_control[:k], code, *at_control[k + 1 :]))
            if control is not None and added is not None and added != control:
                level = levels[axis].iloc[added]
                look_ups.append((PLUS, axis, level, base, (added, control)))
        if best is not None:
            without = number.get((*codes[best][:k], at_control[k], *codes[best][k + 1 :]))
            if without is not None and without != best:
                level = levels[axis].iloc[best]
                look_ups.append((MINUS, axis, base, level, (without, best)))
    return look_ups
