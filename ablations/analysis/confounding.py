"""What a design cannot separate: a level that always comes with something else, pairs never run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Column, Ints, combine
from ablations.analysis.design import Design, accept_table

CONFOUNDING_COLUMNS = ["axis", "level", "axis_b", "level_b", "confounded_with", "reason"]
MAX_FACTORS = 4
"""Factors that are examined together, at most."""


@accept_table("controls", "factors", scale="difference")
def confounding(design: Design, *, order: int = 2) -> pd.DataFrame:
    """Name the effects that these runs cannot estimate, and what they are confounded with.

    A main effect needs a run of the level and one of its control that agree in everything else,
    the block included; an interaction needs four runs.  Where none agree, the effect is confounded
    with the fewest factors (the block among them) on which they already differ everywhere.  In a
    half fraction of a two-level design with C = AB, for instance, C is confounded with the
    interaction of A and B (Box & Hunter, 1961).

    Parameters
    ----------
    order
        1: main effects only; 2: interactions of two as well.

    Returns
    -------
    DataFrame
        One row an effect that cannot be estimated: ``axis, level``; ``axis_b, level_b`` (missing
        for a main effect); ``confounded_with``: factors, an interaction written ``a × b``,
        alternatives with commas, empty where runs are missing or more than four factors are in it;
        ``reason``: a sentence.
    """
    axes = design.contrasted_axes
    rows = [row for axis in axes for row in _main_effects(design, axis)]
    if order > 1:
        rows += [row for a, b in combinations(axes, 2) for row in _interactions(design, a, b)]
    return pd.DataFrame(rows, columns=CONFOUNDING_COLUMNS)


class Unpaired(NamedTuple):
    """A level that no pair of runs compares with its control: why not, and its confounders."""

    axis: str
    level: object
    reason: str
    confounded_with: str


def inestimable_main_effects(design: Design) -> list[Unpaired]:
    """List the levels that no two runs alone compare with their control."""
    rows = (row for axis in design.contrasted_axes for row in _main_effects(design, axis))
    return [Unpaired(axis, level, reason, names) for axis, level, *_, names, reason in rows]


Row = tuple[str, object, str | None, object, str, str]


def _main_effects(design: Design, axis: str) -> list[Row]:
    data, control = design.observations, design.controls[axis]
    column = data.columns[axis]
    rest = _cells(design, _others(design, axis))
    at_control = column.at(control)
    paired = np.isin(rest, rest[at_control])
    rows: list[Row] = []
    for level in column.levels:
        at = column.at(level)
        if level == control or (paired & at).any():
            continue
        if not at.any() or not at_control.any():
            level_or_control = f"its control {control}" if at.any() else f"{axis} {level}"
            explanation = "", f"no run of {level_or_control} ended with a {design.outcome}"
        else:
            effect = f"{axis} {level} and its control {control}"
            explanation = _explain(design, [at, at_control], [axis], effect)
        rows.append((axis, level, None, None, *explanation))
    return rows


def _interactions(design: Design, a: str, b: str) -> list[Row]:
    data = design.observations
    at_a0, at_b0 = (data.columns[axis].at(design.controls[axis]) for axis in (a, b))
    if not at_a0.any() or not at_b0.any():
        return []  # their main effects cannot be estimated either, which says more
    rest = _cells(design, _others(design, a, b))
    (code_a, levels_a), (code_b, levels_b) = (_observed_levels(data.columns[x]) for x in (a, b))
    i0, j0 = code_a[at_a0][0], code_b[at_b0][0]
    ran = np.zeros((int(rest.max()) + 1, len(levels_a), len(levels_b)), dtype=bool)
    present = (code_a >= 0) & (code_b >= 0)
    ran[rest[present], code_a[present], code_b[present]] = True
    corners = ran & ran[:, [i0], :] & ran[:, :, [j0]] & ran[:, [i0], [j0]][:, :, None]
    rows: list[Row] = []
    for i, j in np.argwhere(~corners.any(axis=0)):
        if i == i0 or j == j0:
            continue
        cells = [(i, j), (i, j0), (i0, j), (i0, j0)]
        empty = [cell for cell in cells if not ran[:, cell[0], cell[1]].any()]
        if empty:
            p, q = empty[0]
            explanation = "", f"{a} {levels_a[p]} and {b} {levels_b[q]} were never run together"
        else:
            both, only_a, only_b, neither = ((code_a == p) & (code_b == q) for p, q in cells)
            groups = [both | neither, only_a | only_b]
            effect = f"the four combinations of {a} {levels_a[i]} and {b} {levels_b[j]}"
            explanation = _explain(design, groups, [a, b], effect)
        rows.append((a, levels_a[i], b, levels_b[j], *explanation))
    return rows


def _others(design: Design, *axes: str) -> list[str]:
    """All factors but some, and the block if there is one: replicates have no labels."""
    names = design.factors if design.block is None else (*design.factors, design.block)
    return [name for name in names if name not in axes]


def _observed_levels(column: Column) -> tuple[Ints, list[object]]:
    """Codes of a column among the levels that occur in it, and these, in order of appearance."""
    codes, observed = pd.factorize(np.where(column.codes < 0, np.nan, column.codes))
    return codes, column.levels[observed.astype(int)].tolist()


def _cells(design: Design, names: Sequence[str]) -> Ints:
    """Number the combinations of some factors and the block."""
    data = design.observations
    block = Column(data.block, data.blocks, data.blocks.to_series())
    columns = {**data.columns, design.unit: block}
    return combine((columns[name] for name in names), len(data))


def _explain(
    design: Design, groups: Sequence[Bools], axes: Sequence[str], effect: str
) -> tuple[str, str]:
    """Find the fewest columns in which groups of runs differ everywhere; and say it."""
    names = _others(design, *axes)

    def is_separating(columns: Sequence[str]) -> bool:
        first, second = (set(_cells(design, columns)[group]) for group in groups)
        return not first & second

    for size in range(1, min(MAX_FACTORS, len(names)) + 1):
        if separating := list(filter(is_separating, combinations(names, size))):
            break
    else:
        return "", f"{effect} were never run with all of {', '.join(names)} the same"
    with_factors, same = ", ".join(map(" × ".join, separating)), " and ".join(separating[0])
    reason = f"{effect} were never run at the same {same}, and cannot be told from {with_factors}"
    return with_factors, reason
