"""What a design cannot separate: a level that always comes with something else, pairs never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.analysis.design import any_names, at_level, cell_codes, to_observations
from ablations.analysis.pairing import Level

ALIAS_COLUMNS = ["axis", "level", "axis_b", "level_b", "confounded_with", "reason"]
_MOST = 4
"""Factors that are looked at together, at most."""


@any_names
def aliases(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    status: str = "status",
    order: int = 2,
) -> pd.DataFrame:
    """Name the effects that these runs cannot tell, and what they cannot be told from.

    A main effect needs a run of the level and one of its control that agree in everything else,
    the block included; an interaction needs four runs.  Where none agree, the fewest factors
    are sought (the block among them) on which they already differ everywhere: with these the
    effect is confounded.  (A model in which blocks only shift all runs could tell more; pairs do
    not need to believe in it.)  In a half fraction of a two-level design with C = AB, for
    instance, C is confounded with the interaction of A and B (Box & Hunter, 1961).

    Parameters
    ----------
    order
        1: main effects only; 2: interactions of two as well.

    Returns
    -------
    DataFrame
        One row an effect that cannot be told: ``axis, level``; ``axis_b, level_b`` (missing for a
        main effect); ``confounded_with``: factors, an interaction written ``a × b``, alternatives
        with commas, empty where runs are missing or more than four factors are in it;
        ``reason``: a sentence.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = to_observations(
        runs, factors, outcome=outcome, block=block, scale="difference", status=status
    )
    axes = [axis for axis in controls if axis in runs]
    rows = [
        row
        for axis in axes
        for row in _main(runs, table, axis, controls[axis], [*factors, block], outcome)
    ]
    rows += [
        row
        for a, b in (combinations(axes, 2) if order > 1 else ())
        for row in _pairs(table, a, controls[a], b, controls[b], [*factors, block])
    ]
    return pd.DataFrame(rows, columns=ALIAS_COLUMNS)


def _main(
    runs: pd.DataFrame,
    table: pd.DataFrame,
    axis: str,
    control: Level,
    names: Sequence[str],
    outcome: str,
) -> list[tuple[object, ...]]:
    others = [name for name in names if name != axis]
    rest = cell_codes(table[others])
    here = table[axis]
    at_control = at_level(here, control)
    told = set(here[np.isin(rest, rest[at_control])])
    rows: list[tuple[object, ...]] = []
    for level in pd.unique(runs[axis].dropna()):
        if level == control or level in told:
            continue
        at = at_level(here, level)
        if not at.any() or not at_control.any():
            who = f"its control {control}" if at.any() else f"{axis} {level}"
            found, why = "", f"no run of {who} ended with a {outcome}"
        else:
            what = f"{axis} {level} and its control {control}"
            found, why = _why([table[at], table[at_control]], others, what)
        rows.append((axis, level, None, None, found, why))
    return rows


def _pairs(
    table: pd.DataFrame, a: str, a0: Level, b: str, b0: Level, names: Sequence[str]
) -> list[tuple[object, ...]]:
    others = [name for name in names if name not in (a, b)]
    levels = {axis: list(pd.unique(table[axis].dropna())) for axis in (a, b)}
    if a0 not in levels[a] or b0 not in levels[b]:
        return []  # their main effects cannot be told either, which says more
    rest = cell_codes(table[others])
    size = (int(rest.max()) + 1 if len(rest) else 0, len(levels[a]), len(levels[b]))
    ran = np.zeros(size, dtype=bool)
    code = {axis: pd.Index(levels[axis]).get_indexer(pd.Index(table[axis])) for axis in (a, b)}
    known = (code[a] >= 0) & (code[b] >= 0)
    ran[rest[known], code[a][known], code[b][known]] = True
    i0, j0 = levels[a].index(a0), levels[b].index(b0)
    corners = ran & ran[:, [i0], :] & ran[:, :, [j0]] & ran[:, [i0], [j0]][:, :, None]
    told = corners.any(axis=0)
    rows: list[tuple[object, ...]] = []
    for i, j in np.argwhere(~told):
        if i == i0 or j == j0:
            continue
        cells = [(i, j), (i, j0), (i0, j), (i0, j0)]
        empty = [cell for cell in cells if not ran[:, cell[0], cell[1]].any()]
        if empty:
            p, q = empty[0]
            found = ""
            why = f"{a} {levels[a][p]} and {b} {levels[b][q]} were never run together"
        else:
            groups = [table[(code[a] == p) & (code[b] == q)] for p, q in cells]
            what = f"the four combinations of {a} {levels[a][i]} and {b} {levels[b][j]}"
            # The contrast: both or neither, against one of the two.
            sides = [pd.concat([groups[0], groups[3]]), pd.concat(groups[1:3])]
            found, why = _why(sides, others, what)
        rows.append((a, levels[a][i], b, levels[b][j], found, why))
    return rows


def _share(*groups: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether some combination of the columns stands in every group."""
    codes = cell_codes(pd.concat([group[list(columns)] for group in groups], ignore_index=True))
    parts = np.split(codes, np.cumsum([len(group) for group in groups])[:-1])
    return bool(set(parts[0]).intersection(*parts[1:]))


def _why(groups: list[pd.DataFrame], others: Sequence[str], what: str) -> tuple[str, str]:
    """The fewest columns that already tell the groups apart, and a sentence that says so."""
    apart: list[tuple[str, ...]] = []
    for size in range(1, min(_MOST, len(others)) + 1):
        apart = [
            columns
            for columns in combinations(others, size)
            if not _share(*groups, columns=columns)
        ]
        if apart:
            break
    if not apart:
        everything = ", ".join(others)
        return "", f"{what} were never run with all of {everything} the same"
    found = ", ".join(" × ".join(columns) for columns in apart)
    same = " and ".join(apart[0])
    return found, f"{what} were never run at the same {same}, and cannot be told from {found}"
