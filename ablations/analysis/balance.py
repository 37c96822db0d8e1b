"""The part of a design that is balanced: every combination of some levels, in the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.analysis.complete import unmeasured
from ablations.analysis.design import Floats, Ints, Scale, counted, measured, varying

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Balanced:
    """A full cross of factors with blocks.

    Attributes
    ----------
    values
        One axis a factor, in their order, then one of blocks (or of replicates).
    levels
        Factor to its levels, in the order of ``values``.
    blocks
        The labels of the last axis; None where it is of replicates.
    left_out
        What is not in it, in words; empty where that is nothing.
    """

    values: Floats
    levels: dict[str, tuple[object, ...]]
    blocks: tuple[object, ...] | None
    left_out: tuple[str, ...]


def balanced(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str | None = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> Balanced:
    """The largest full cross that a greedy search finds, with the blocks that have all of it.

    While combinations of levels are missing, the level that has the smallest share of its
    combinations goes (of two that are alike the one whose name comes last).  Runs that diverged
    have no number and count as missing.  Then blocks that lack a combination go, unless that would
    leave fewer than half of them, or than two: then levels go instead, or blocks that all lack the
    same.  The choice never looks at an outcome, nor at the order of rows or the names of blocks.

    Parameters
    ----------
    block
        The experimental unit that is crossed with the factors, a column; None where rows of a
        combination are independent replicates, of which each combination must have as many.

    Raises
    ------
    ValueError
        As ``measured`` does; or if combinations have different numbers of replicates.
    """
    names = varying(runs, factors)
    unit = block or "replicate"
    if block is None:
        runs = runs.assign(**{unit: np.arange(len(runs))})
    table = measured(runs, names, outcome=outcome, block=unit, scale=scale, status=status)
    said = unmeasured(runs, table, names, unit) if block is not None else []
    lost = int(table["diverged"].sum())
    table = table[~table["diverged"]].copy()
    if block is None:
        # Numbered where they have one: what is missing is no replicate.
        cells = table.groupby(names, sort=False, dropna=False) if names else None
        table[unit] = np.arange(len(table)) if cells is None else cells.cumcount()
    elif names:
        _refuse_nested(table, names, unit)
    coded = {name: _by_name(table[name]) for name in names}
    units, labels = pd.factorize(table[unit])
    shape = [*(len(uniques) for _, uniques in coded.values()), len(labels)]
    cube = np.full(shape, np.nan)
    cube[(*(codes for codes, _ in coded.values()), units)] = table["value"]
    kept = _full_cross(np.isfinite(cube), replicates=block is None)
    levels = {
        name: tuple(uniques[index] for index in kept[axis])
        for axis, (name, (_, uniques)) in enumerate(coded.items())
    }
    said += [
        f"{name} {', '.join(str(uniques[i]) for i in range(len(uniques)) if i not in kept[axis])}"
        for axis, (name, (_, uniques)) in enumerate(coded.items())
        if len(kept[axis]) < len(uniques)
    ]
    parts = ((len(labels) - len(kept[-1]), unit), (lost, "run that diverged"))
    said += [text for part in parts if (text := counted(part))]
    blocks = None if block is None else tuple(labels[index] for index in kept[-1])
    return Balanced(cube[np.ix_(*kept)], levels, blocks, tuple(said))


def _refuse_nested(table: pd.DataFrame, names: Sequence[str], block: str) -> None:
    """Blocks that each have one level of a factor are no blocks for it."""
    for name in names:
        if len(set(table[name])) > 1 and (table.groupby(block)[name].nunique() < 2).all():
            raise ValueError(
                f"no {block} was measured at two levels of {name!r}; where rows are independent, "
                "give block=None"
            )


def _by_name(column: pd.Series) -> tuple[Ints, list[object]]:
    """Levels as numbers, in the order of their names: that of the rows must not matter."""
    codes, uniques = pd.factorize(column, use_na_sentinel=False)
    order = sorted(range(len(uniques)), key=lambda i: str(uniques[i]))
    return np.argsort(order)[codes], [uniques[i] for i in order]


def _full_cross(present: Bools, replicates: bool) -> list[list[int]]:
    """Indices on each axis of a sub-array in which all entries are present."""
    kept = [list(range(size)) for size in present.shape]
    if replicates and not present.all():
        counts = present.sum(axis=-1)
        raise ValueError(
            f"combinations have between {counts.min()} and {counts.max()} replicates: "
            "variance shares need as many of each"
        )
    while True:
        part = present[np.ix_(*kept)]
        if part.size == 0 or part.all():
            return kept
        whole = np.atleast_1d(part.reshape(-1, part.shape[-1]).all(axis=0))
        ever = part.any(axis=-1)
        if ever.all() and whole.sum() >= min(2, len(whole)) and 2 * whole.sum() >= len(whole):
            kept[-1] = [index for index, ok in zip(kept[-1], whole, strict=True) if ok]
            continue
        # Of all levels, and of blocks where no level may go, the one that has the least.
        shares = [
            (part.mean(axis=tuple(a for a in range(part.ndim) if a != axis)), axis)
            for axis in range(part.ndim)
            if len(kept[axis]) > 1
        ]
        _, axis, index = min(
            (round(float(share), 9), axis, -index)
            for found, axis in shares
            for index, share in enumerate(found)
        )
        going = {-index}
        if axis == part.ndim - 1:
            # Blocks have no names to choose by, only what they lack.
            lacks = [part[..., i].tobytes() for i in range(part.shape[-1])]
            fewest = np.flatnonzero(np.isclose(shares[-1][0], shares[-1][0].min()))
            worst = max(lacks[i] for i in fewest)
            going = {int(i) for i in fewest if lacks[i] == worst}
        kept[axis] = [place for i, place in enumerate(kept[axis]) if i not in going]
