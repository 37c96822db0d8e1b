"""What of an incomplete design is compared: the same cells, or configurations, in every block.

Every choice here depends on which runs are missing and never on an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Floats, Ints, count_distinct, number_pairs, rank_rows
from ablations.analysis.design import Design, accept_table
from ablations.analysis.statements import format_counts, join_statements
from ablations.results.metadata import Level

MAX_CELLS = 150
"""Cells up to which all pairs of cells are tried in the search for a balanced part."""


@accept_table("factors", "scale")
def to_observations(design: Design) -> pd.DataFrame:
    """Keep the runs that carry a result, with the result on the scale of the comparison.

    Returns
    -------
    DataFrame
        The factors, the block, ``raw`` (the outcome), ``value`` (it on the scale; missing where the
        run diverged) and ``diverged``.  Failed, skipped and unmeasured runs are left out.
    """
    data = design.observations
    names = [*design.factors, *([] if design.block is None else [design.block])]
    table = design.runs[names].iloc[data.rows].reset_index(drop=True)
    return table.assign(raw=data.raw, value=data.value, diverged=data.diverged)


class Pairs(NamedTuple):
    """Runs with the run that differs in one thing, an axis at its control, where both ended.

    ``row``: position in ``design.observations``; ``level``, ``block``: codes; ``cell``: all other
    factors, numbered; ``difference``: level - control on the scale, missing where either diverged;
    ``control_row``: position of the run at the control.
    """

    row: Ints
    level: Ints
    cell: Ints
    block: Ints
    difference: Floats
    identical: Bools
    diverged: Bools
    control_diverged: Bools
    control_row: Ints

    def take(self, rows: Bools) -> Pairs:
        """Return some of the pairs."""
        return Pairs._make(column[rows] for column in self)


def pair_runs(design: Design, axis: str) -> Pairs:
    """Pair the runs on an axis with those at its control."""
    data = design.observations
    column = data.columns[axis]
    cell = data.sorted_cells([name for name in design.factors if name != axis])
    at_control = column.at(design.controls[axis])
    rows = np.flatnonzero(~at_control & (column.codes >= 0))
    controls = np.flatnonzero(at_control)
    key = cell * len(data.blocks) + data.block
    position = pd.Index(key[controls]).get_indexer(pd.Index(key[rows]))
    rows, control = rows[position >= 0], controls[position[position >= 0]]
    return Pairs(
        rows,
        column.codes[rows],
        cell[rows],
        data.block[rows],
        data.value[rows] - data.value[control],
        data.raw[rows] == data.raw[control],
        data.diverged[rows],
        data.diverged[control],
        control,
    )


def balanced_pairs(design: Design, axis: str) -> Pairs:
    """Return the pairs of an axis that are balanced within each level, as ``complete_blocks``."""
    pairs: Pairs = design.compute_once(pair_runs, axis)
    return pairs.take(find_balanced(pairs.level, pairs.cell, pairs.block))


@accept_table("factors", "scale")
def paired_differences(
    design: Design, axis: str, control: Level, *, keep: Sequence[str] = ()
) -> pd.DataFrame:
    """Pair every run with the run that differs from it in one thing: ``axis`` at its control.

    Returns
    -------
    DataFrame
        One row a pair: ``axis``, ``level``, ``control``, the columns of ``Pairs``, the block, and
        the factors in ``keep``, which both runs share.
    """
    pairs = pair_runs(replace(design, controls={axis: control}), axis)
    data = design.observations
    table = pd.DataFrame(
        {
            "axis": axis,
            "level": data.columns[axis].values.iloc[pairs.row].reset_index(drop=True),
            "control": [control] * len(pairs.row),
            **{name: getattr(pairs, name) for name in ("cell", *Pairs._fields[4:-1])},
        }
    )
    table[label_column(design.unit, table.columns)] = data.blocks.take(pairs.block)
    return table.assign(**data.levels(keep, pairs.row))


def label_column(name: str, columns: pd.Index) -> str:
    """Name a column of labels, ``factor ...`` where the table has that name already."""
    return f"factor {name}" if name in columns else name


def join_factors(levels: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Put the factors' columns before those of a table, under names that the table lacks."""
    levels = levels.rename(columns=lambda name: label_column(name, table.columns))
    return pd.concat([levels.reset_index(drop=True), table.reset_index(drop=True)], axis=1)


def mean_differences(pairs: Pairs, contrast: Ints, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Average differences and excess of diverged runs over cells; both blocks x contrasts."""
    excess = pairs.diverged.astype(float) - pairs.control_diverged.astype(float)
    differences = mean_by_block(pairs.difference, contrast, pairs.block, shape)
    return differences, mean_by_block(excess, contrast, pairs.block, shape)


def mean_by_block(values: Floats, contrast: Ints, block: Ints, shape: tuple[int, int]) -> Floats:
    """Average values within each block and contrast; an array of blocks x contrasts."""
    n_blocks, _ = shape
    means = pd.Series(values).groupby(contrast * n_blocks + block, sort=False).mean()
    key = means.index.to_numpy(dtype=np.int64)
    wide = np.full(shape, np.nan)
    wide[key % n_blocks, key // n_blocks] = means.to_numpy()
    return wide


def count_pairs(pairs: Pairs, contrast: Ints, size: int) -> dict[str, Ints]:
    """Count what each contrast rests on."""
    marks = {name: getattr(pairs, name) for name in ("identical", "diverged", "control_diverged")}
    marks["survivors"] = np.isfinite(pairs.difference)
    return {
        "cells": count_distinct(contrast, pairs.cell, size),
        "blocks": count_distinct(contrast, pairs.block, size),
        "pairs": np.bincount(contrast, minlength=size),
        **{name: np.bincount(contrast[mark], minlength=size) for name, mark in marks.items()},
    }


def complete_blocks(
    pairs: pd.DataFrame, *, contrast: str = "level", block: str = "seed"
) -> pd.DataFrame:
    """Keep, within each contrast, what is balanced: the same cells in every block.

    A block that lacks a pair which other blocks have lost it to an accident, and is dropped whole.
    Only where that would cost more than half of the blocks, or leave fewer than two, the
    incomplete cells go instead; and where that would leave none, the largest part that is
    balanced stays.

    Parameters
    ----------
    pairs
        One row a (contrast, ``cell``, block) that was observed, diverged or not; cells are
        numbered in the order of their levels as text.
    """
    codes = (pd.Categorical(pairs[name]).codes for name in (contrast, "cell", block))
    return pairs[find_balanced(*(np.asarray(code, dtype=np.int64) for code in codes))]


def find_balanced(contrast: Ints, cell: Ints, block: Ints) -> Bools:
    """Mark the rows that ``complete_blocks`` keeps, by their codes."""
    if not len(contrast):
        return np.zeros(0, dtype=bool)
    by_block, first = number_pairs(contrast, block)
    of_block = contrast[first]
    by_cell, first = number_pairs(contrast, cell)
    of_cell = contrast[first]
    n_cells, n_blocks = np.bincount(of_cell), np.bincount(of_block)
    full_block = np.bincount(by_block) == n_cells[of_block]
    full_cell = np.bincount(by_cell) == n_blocks[of_cell]
    n_full = np.bincount(of_block, weights=full_block)
    enough = (n_full >= 2) & (n_full * 2 >= n_blocks)
    balanced = np.where(enough[contrast], full_block[by_block], full_cell[by_cell])
    remaining = np.bincount(contrast, weights=balanced)
    for empty in np.flatnonzero((remaining == 0) & (n_cells > 0)):
        rows = contrast == empty
        balanced[rows] = _largest_cross(cell[rows], block[rows])
    return np.asarray(balanced)


def _largest_cross(cell: Ints, block: Ints) -> Bools:
    """Mark the rows of one contrast that form the largest full cross of cells and blocks.

    The candidates are the blocks that one or two cells have, with all cells that have these; of
    equal ones, that of more blocks, then that whose cells and blocks have more pairs.
    """
    _, cell = np.unique(cell, return_inverse=True)
    _, block = np.unique(block, return_inverse=True)
    present = np.zeros((cell.max() + 1, block.max() + 1), dtype=bool)
    present[cell, block] = True
    sets = present
    if len(present) <= MAX_CELLS:
        sets = (present[:, None] & present[None]).reshape(-1, present.shape[1])
    sets = np.unique(sets, axis=0)
    sets = sets[sets.sum(axis=1) >= min(2, present.shape[1])]
    if not len(sets):
        return np.zeros(len(cell), dtype=bool)
    holding = np.stack([(present | ~row).all(axis=1) for row in sets])
    blocks, cells = sets.sum(axis=1), holding.sum(axis=1)
    pairs_of_cells = (holding * present.sum(axis=1)).sum(axis=1)
    pairs_of_blocks = (sets * present.sum(axis=0)).sum(axis=1)
    # Last by the cells, which are numbered by their levels; labels of blocks have no meaning.
    by_name = np.unique(holding, axis=0, return_inverse=True)[1]
    best = np.lexsort((by_name, pairs_of_cells, pairs_of_blocks, blocks, blocks * cells))[-1]
    return np.asarray(holding[best][cell] & sets[best][block])


@dataclass(frozen=True)
class Cells:
    """Observations as arrays of blocks x configurations (``levels``, in order of appearance)."""

    values: Floats
    present: Bools
    diverged: Bools
    levels: pd.DataFrame


def spread_cells(design: Design) -> Cells:
    """Arrange the observations by block, in the order of their labels, and configuration."""
    data = design.observations
    cell = data.cells(design.factors)
    first = np.unique(cell, return_index=True)[1]
    blocks, block = np.unique(data.block, return_inverse=True)
    # Columns are contiguous, as in a data frame: sums over blocks round accordingly.
    values = np.full((len(blocks), len(first)), np.nan, order="F")
    present, diverged = np.zeros(values.shape, dtype=bool), np.zeros(values.shape, dtype=bool)
    values[block, cell] = data.value
    present[block, cell], diverged[block, cell] = True, data.diverged
    return Cells(values, present, diverged, data.levels(design.factors, first))


@dataclass(frozen=True)
class CompleteDesign:
    """Values in blocks x configurations, none missing; ``levels`` of the latter, in the order of
    their text, indexed by the column of ``spread_cells``; the ``blocks``, as positions among the
    labels of the design; and what is ``left_out``.
    """

    values: Floats
    levels: pd.DataFrame
    blocks: Ints
    left_out: str


def complete_configurations(design: Design) -> CompleteDesign:
    """Keep the configurations that ended well in every block.

    One that diverged anywhere is out.  Where runs are missing for another reason, blocks that lack
    a configuration go, as long as that costs no more than half of them; else the configurations
    that lack most.
    """
    cells, block = spread_cells(design), design.unit
    n_blocks, n_cells = cells.values.shape
    bad = cells.diverged.any(axis=0)
    rank = rank_rows(cells.levels)
    rows, columns = _complete_part(np.isfinite(cells.values), np.flatnonzero(~bad), rank)
    columns = columns[np.argsort(rank[columns])]
    counts = format_counts(
        (int(bad.sum()), f"configuration that diverged in some {block}"),
        (n_cells - int(bad.sum()) - len(columns), "configuration with runs missing"),
        (n_blocks - len(rows), f"{block} with runs missing"),
    )
    return CompleteDesign(
        np.asfortranarray(cells.values[np.ix_(rows, columns)]),
        cells.levels.iloc[columns],
        np.unique(design.observations.block)[rows],
        join_statements(counts, *describe_unmeasured(design)),
    )


def _complete_part(present: Bools, columns: Ints, rank: Ints) -> tuple[Ints, Ints]:
    """Find rows and columns of which all are present; the last by ``rank`` of equal ones goes."""
    rows = np.arange(len(present))
    while not (inside := present[np.ix_(rows, columns)]).all():
        complete = inside.all(axis=1)
        if 2 * complete.sum() >= len(rows) and complete.sum() >= min(2, len(rows)):
            rows = rows[complete]
            continue
        shares = inside.mean(axis=0)
        worst = columns[shares == shares.min()]
        columns = columns[columns != worst[np.argmax(rank[worst])]]
    return rows, columns


def describe_unmeasured(design: Design) -> list[str]:
    """Write what has no result: how many runs, and which levels and how many blocks have none."""
    data, planned = design.observations, design.statuses != "skipped"
    ended = data.rows[~data.diverged]
    parts = [format_counts((int(planned.sum()) - len(data), "run without a result"))]
    for name, column in design.columns.items():
        codes = pd.unique(column.codes[planned & (column.codes >= 0)])
        without = codes[~np.isin(codes, column.codes[ended])]
        missing = [str(column.levels[code]) for code in without]
        parts += [f"{name} {', '.join(missing)}"] if missing else []
    block, _ = design.blocks
    lost = len(np.unique(block[planned])) - len(np.unique(block[ended]))
    return [text for text in (*parts, format_counts((lost, design.unit))) if text]
