"""What of an incomplete design is compared: the same cells, or configurations, in every block.

Every choice here depends on which runs are missing and never on an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.analysis.coding import (
    Bools,
    Floats,
    Ints,
    count_distinct,
    number_pairs,
    rank_texts,
    row_labels,
)
from ablations.analysis.design import Design, accept_table
from ablations.analysis.statements import format_counts, join_statements
from ablations.results.metadata import Level

PAIR_COLUMNS = [
    "axis", "level", "control", "cell", "difference", "identical", "diverged",
    "control_diverged",
]  # fmt: skip


MAX_CELLS = 150
"""Cells up to which all pairs of cells are tried in the search for a balanced part."""


def pair_runs(design: Design, axis: str) -> pd.DataFrame:
    """Pair every run with the run that differs from it in one thing: ``axis`` at its control.

    Returns
    -------
    DataFrame
        One row a pair of which both runs ended (``ok`` or ``diverged``), all columns numbers:
        ``row`` (the run's position in ``design.observations``), ``level`` and ``block`` (codes),
        ``cell`` (all other factors, numbered), ``difference`` (level - control on the scale;
        missing where either diverged), ``identical`` (equal to the last bit), ``diverged``,
        ``control_diverged``.
    """
    data = design.observations
    column = data.columns[axis]
    cell = data.sorted_cells([name for name in design.factors if name != axis])
    at_control = column.at(design.controls[axis])
    key = cell * len(data.blocks) + data.block
    rows = np.flatnonzero(~at_control & (column.codes >= 0))
    controls = np.flatnonzero(at_control)
    controls = controls[np.argsort(key[controls])]
    position = np.searchsorted(key[controls], key[rows])
    inside = position < len(controls)
    rows, position = rows[inside], position[inside]
    matches = key[controls[position]] == key[rows]
    rows, control = rows[matches], controls[position[matches]]
    return pd.DataFrame(
        {
            "row": rows,
            "level": column.codes[rows],
            "cell": cell[rows],
            "block": data.block[rows],
            "difference": data.value[rows] - data.value[control],
            "identical": data.raw[rows] == data.raw[control],
            "diverged": data.diverged[rows],
            "control_diverged": data.diverged[control],
        }
    )


def paired_differences(
    runs: pd.DataFrame, axis: str, control: Level, factors: Sequence[str], **fields: object
) -> pd.DataFrame:
    """Pair every run with the run that differs from it in one thing: ``axis`` at its control.

    Parameters
    ----------
    fields
        ``outcome``, ``block``, ``scale`` and ``status`` of ``Design``.

    Returns
    -------
    DataFrame
        One row a pair of which both sides ended (``ok`` or ``diverged``): ``axis``, ``level``,
        ``control``, ``cell`` (all other factors, numbered), ``difference`` (level - control on the
        scale; missing where either diverged), ``identical`` (equal to the last bit), ``diverged``,
        ``control_diverged``, and the block.

    Raises
    ------
    ValueError
        As ``Design`` and its ``observations`` do.
    """
    design = Design(runs, factors, {axis: control}, **fields)  # type: ignore[arg-type]
    data, pairs = design.observations, pair_runs(design, axis)
    table = pairs.assign(
        axis=axis,
        level=data.columns[axis].values.iloc[pairs["row"]].reset_index(drop=True),
        control=[control] * len(pairs),
    )[PAIR_COLUMNS]
    labels = data.blocks.take(pairs["block"])
    return table.assign(**{label_column(design.unit, table.columns): labels})


def label_column(name: str, columns: pd.Index) -> str:
    """Name a column of labels; ``factor `` comes first where the table has that name already."""
    return f"factor {name}" if name in columns else name


def join_factors(levels: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Put the factors' columns before those of a table; ``factor `` comes before the name of a
    factor that is called like one of them.
    """
    names = {name: f"factor {name}" for name in levels if name in table}
    parts = [levels.rename(columns=names).reset_index(drop=True), table.reset_index(drop=True)]
    return pd.concat(parts, axis=1)


def balanced_pairs(design: Design, axis: str) -> pd.DataFrame:
    """Return the pairs of an axis that are balanced within each level, as ``complete_blocks``."""
    pairs = design.compute_once(pair_runs, axis)
    codes = (pairs[name].to_numpy() for name in ("level", "cell", "block"))
    return pairs[find_balanced(*codes)]


@accept_table("controls", "factors", "scale")
def seed_effects(design: Design) -> pd.DataFrame:
    """Return the points behind ``main_effects``: one row a contrast and seed, on complete blocks.

    Returns
    -------
    DataFrame
        ``axis``, ``level``, the block, ``difference`` (mean over the cells where both survived),
        ``divergence`` (share of cells where the level diverged minus the share where its control
        did), ``cells``.
    """
    data, tables = design.observations, []
    for axis in design.contrasted_axes:
        pairs = design.compute_once(balanced_pairs, axis)
        level, block = pairs["level"].to_numpy(), pairs["block"].to_numpy()
        numbers, first = number_pairs(level, block)
        order = np.sort(first)
        difference, divergence = mean_differences(
            pairs, level, (len(data.blocks), len(data.columns[axis].levels))
        )
        table = pd.DataFrame(
            {
                "axis": pd.Series([axis] * len(order), dtype="str"),
                "level": data.columns[axis].infer_levels(pairs["row"].iloc[order]),
                "difference": difference[block[order], level[order]],
                "divergence": divergence[block[order], level[order]],
                "cells": np.bincount(numbers)[numbers[order]],
            }
        )
        labels = data.blocks.take(block[order])
        name = label_column(design.unit, table.columns)
        table.insert(2, name, labels)
        tables.append(table)
    columns = ["axis", "level", design.unit, "difference", "divergence", "cells"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def mean_differences(
    pairs: pd.DataFrame, contrast: Ints, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Average the differences, and the excess of diverged runs, over the cells of each block.

    Returns
    -------
    Two arrays, blocks x contrasts, missing where a block has no number.
    """
    block = pairs["block"].to_numpy()
    excess = pairs["diverged"].to_numpy(float) - pairs["control_diverged"].to_numpy(float)
    difference = pairs["difference"].to_numpy()
    return (
        mean_by_block(difference, contrast, block, shape),
        mean_by_block(excess, contrast, block, shape),
    )


def mean_by_block(values: Floats, contrast: Ints, block: Ints, shape: tuple[int, int]) -> Floats:
    """Average values within each block and contrast; an array of blocks x contrasts."""
    n_blocks, _ = shape
    means = pd.Series(values).groupby(contrast * n_blocks + block, sort=False).mean()
    key = means.index.to_numpy(dtype=np.int64)
    wide = np.full(shape, np.nan)
    wide[key % n_blocks, key // n_blocks] = means.to_numpy()
    return wide


def count_pairs(pairs: pd.DataFrame, contrast: Ints, size: int) -> dict[str, Ints]:
    """Count what each contrast rests on."""
    cell, block, difference = (pairs[name].to_numpy() for name in ("cell", "block", "difference"))
    marks = ("identical", "diverged", "control_diverged")
    return {
        "cells": count_distinct(contrast, cell, size),
        "blocks": count_distinct(contrast, block, size),
        "pairs": np.bincount(contrast, minlength=size),
        "survivors": np.bincount(contrast[np.isfinite(difference)], minlength=size),
        **{name: np.bincount(contrast[pairs[name].to_numpy()], minlength=size) for name in marks},
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

    Returns
    -------
    DataFrame
        The remaining rows.
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

    The candidates are the blocks that a cell, or two cells, have, with all cells that have these
    blocks.  Of crosses of the same size, the one of more blocks is taken, then the one whose cells
    and blocks have more pairs in total.
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
    """The observations of a design as arrays of blocks x configurations.

    Attributes
    ----------
    values
        On the scale; missing where a run is missing or diverged.
    present, diverged
        Whether a run ended, and whether it diverged.
    levels
        The factors' levels, one row a configuration, in order of appearance.
    """

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
    levels = data.levels(design.factors, first).reset_index(drop=True)
    return Cells(values, present, diverged, levels)


@dataclass(frozen=True)
class CompleteDesign:
    """Configurations with a number in every block, of the blocks that remain for them.

    Attributes
    ----------
    values
        Blocks x configurations, on the scale.
    levels
        The factors' levels, one row a configuration, in the order of their text; indexed by the
        number of the configuration in ``spread_cells``.
    left_out
        What is not in it, in words.
    """

    values: Floats
    levels: pd.DataFrame
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
    rank = rank_texts(row_labels(cells.levels))
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
        join_statements(counts, *describe_unmeasured(design)),
    )


def _complete_part(present: Bools, columns: Ints, rank: Ints) -> tuple[Ints, Ints]:
    """Find rows and columns of which all entries are present.

    Parameters
    ----------
    columns
        The columns to choose from.
    rank
        The order of all columns; of those that lack most, the last goes first.
    """
    rows = np.arange(len(present))
    while not (part := present[np.ix_(rows, columns)]).all():
        complete = part.all(axis=1)
        if 2 * complete.sum() >= len(rows) and complete.sum() >= min(2, len(rows)):
            rows = rows[complete]
            continue
        shares = part.mean(axis=0)
        worst = columns[shares == shares.min()]
        columns = columns[columns != worst[np.argmax(rank[worst])]]
    return rows, columns


def describe_unmeasured(design: Design) -> list[str]:
    """Write what has no result: how many runs, and which levels and how many blocks have none."""
    data, planned = design.observations, design.planned
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
