"""What a long table says about its own design: which rows make one cell, which of them count.

Every analysis here reads the same few facts from a row: which configuration it is, which block
(seed) it belongs to, and whether its number exists, was lost, or could not exist because the run
diverged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Scale = Literal["log", "difference"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STATED = ["n", "procedure", "assumes", "left_out"]
"""The last columns of every table of answers: how many blocks (seeds) it rests on, what was done,
what that takes for granted, and what is not in it, in words."""


def assumed(block: str) -> str:
    """What a paired comparison takes for granted, whatever the outcome."""
    return (
        f"{block}s independent of one another; p: a technique without effect is as often so much "
        f"better as so much worse in a {block}; interval: differences by {block} about normal"
    )


def cell_codes(levels: pd.DataFrame) -> Ints:
    """Number the distinct rows of ``levels``, one integer a distinct combination.

    Missing values are a level of their own: in a union of grids an axis that one grid does not
    have is missing there. Nothing is sorted, so levels of mixed types are welcome.
    """
    key = np.zeros(len(levels), dtype=np.int64)
    for column in levels.columns:
        code, uniques = pd.factorize(levels[column], use_na_sentinel=False)
        # Compressed after every column, so that the product of many axes never overflows.
        key, _ = pd.factorize(key * max(len(uniques), 1) + code)
    return np.asarray(key, dtype=np.int64)


def named_codes(levels: pd.DataFrame) -> Ints:
    """Number the distinct rows of ``levels`` like ``cell_codes``, in the order of their names."""
    codes = cell_codes(levels)
    named = spelled(levels.iloc[np.unique(codes, return_index=True)[1]])
    return np.argsort(np.argsort(named, kind="stable"))[codes] if len(codes) else codes


def measured(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Keep the rows that carry a result, with the result on the scale of the comparison.

    Parameters
    ----------
    runs : any long table; without a ``status`` column every row counts as ``ok``.
    factors : columns that tell one configuration from another.
    outcome, block : columns with the number to compare and the experimental unit.
    scale : ``"log"`` compares ratios (losses), ``"difference"`` compares the numbers themselves.

    Returns
    -------
    DataFrame
        The factors, ``block``, ``raw`` (the outcome as given), ``value`` (on the scale; missing
        where the run diverged) and ``diverged``. Failed, skipped and unmeasured rows are left out.

    Raises
    ------
    ValueError
        If two rows share configuration and block, a logarithm is asked of a number that has none,
        the outcome is no number, or the scale is none that there is.
    """
    if scale not in ("log", "difference"):
        raise ValueError(f"scale must be 'log' or 'difference', not {scale!r}")
    if not pd.api.types.is_numeric_dtype(runs[outcome]) and runs[outcome].notna().any():
        raise ValueError(f"{outcome!r} is no column of numbers")
    raw = runs[outcome].to_numpy(dtype=float, na_value=np.nan)
    state = runs[status].astype(object).to_numpy() if status in runs else np.full(len(runs), "ok")
    # An infinite number under another name is still a run that diverged.
    diverged = (state == "diverged") | ((state == "ok") & np.isinf(raw))
    usable = (state == "ok") & np.isfinite(raw)
    if scale == "log" and (raw[usable] <= 0).any():
        raise ValueError(
            f"{outcome!r} has values that are not positive: compare it with scale='difference'"
        )
    table = runs[[*factors, block]].copy()
    table["raw"] = np.where(usable, raw, np.nan)
    table["value"] = np.log(table["raw"]) if scale == "log" else table["raw"]
    table["diverged"] = diverged
    table = table[usable | diverged].reset_index(drop=True)
    _require_one_row_each(table, factors, block)
    return table


def _require_one_row_each(table: pd.DataFrame, factors: Sequence[str], block: str) -> None:
    doubles = int(pd.Series(cell_codes(table[[*factors, block]])).duplicated().sum())
    if doubles:
        raise ValueError(
            f"{doubles} rows repeat the configuration and {block} of another row: "
            f"name the column that tells them apart among the factors {list(factors)}"
        )


def at_level(column: pd.Series, level: object) -> npt.NDArray[np.bool_]:
    """Where a column has a level, of whatever type levels are."""
    codes, uniques = pd.factorize(column, use_na_sentinel=True)
    same = np.asarray([*(_equal(value, level) for value in uniques), False], dtype=bool)
    return np.asarray(same[codes])


def _equal(value: object, level: object) -> bool:
    if isinstance(value, bool) is not isinstance(level, bool):
        return False  # True is no 1 here
    return isinstance(value, tuple) == isinstance(level, tuple) and bool(value == level)


def unmeasured(
    runs: pd.DataFrame, table: pd.DataFrame, factors: Sequence[str], block: str
) -> list[str]:
    """Say what ``measured`` left out: runs without a result, and levels and blocks of which nothing
    is left.
    """
    asked = runs
    if "status" in runs:
        asked = runs[runs["status"] != "skipped"]
    said = [counted((len(asked) - len(table), "run without a result"))]
    for name in factors:
        left = set(table.loc[~table["diverged"], name].dropna())
        gone = [level for level in pd.unique(asked[name].dropna()) if level not in left]
        said += [f"{name} {', '.join(map(str, gone))}"] if gone else []
    blocks = asked[block].nunique() - table.loc[~table["diverged"], block].nunique()
    return [text for text in (*said, counted((blocks, block))) if text]


@dataclass(frozen=True)
class Whole:
    """Configurations with a number in every block, of the blocks that are kept for it.

    Attributes
    ----------
    values
        One row a block and one column a configuration.
    levels
        The factors' levels, one row a configuration.
    left_out
        What is not in it, in words.
    """

    values: pd.DataFrame
    levels: pd.DataFrame
    left_out: str


def whole(runs: pd.DataFrame, table: pd.DataFrame, factors: Sequence[str], block: str) -> Whole:
    """Keep the configurations that ended well in every block.

    One that diverged anywhere is out.  Where runs are missing for another reason, blocks that lack
    a configuration go, as long as that costs no more than half of them; else the configurations
    that lack most.
    """
    wide, levels = by_configuration(table, factors, block)
    diverged, _ = by_configuration(table, factors, block, "diverged")
    bad = diverged.fillna(value=False).astype(bool).any()
    present = wide.loc[:, ~bad].notna()
    while not present.to_numpy().all():
        complete = present.all(axis=1)
        if 2 * complete.sum() >= len(present) and complete.sum() >= min(2, len(present)):
            present = present[complete]
            continue
        shares = present.mean()
        worst = shares.index[shares == shares.min()]
        last = worst[int(np.argmax(np.argsort(np.argsort(spelled(levels.loc[worst])))))]
        present = present.drop(columns=last)
    said = [
        counted(
            (int(bad.sum()), f"configuration that diverged in some {block}"),
            (wide.shape[1] - int(bad.sum()) - present.shape[1], "configuration with runs missing"),
            (len(wide) - len(present), f"{block} with runs missing"),
        ),
        *unmeasured(runs, table, factors, block),
    ]
    kept = wide.loc[present.index, present.columns]
    return Whole(kept, levels.loc[present.columns], "; ".join(filter(None, said)))


def fixed_order(d: Floats) -> Ints:
    """An order of the rows of ``d`` (seeds x contrasts) that follows from their numbers alone: not
    from their labels, the order of columns, the sign or the unit.
    """
    size = np.abs(np.nan_to_num(d))
    ranks = np.empty_like(size)
    for j, column in enumerate(size.T):
        ranks[:, j] = np.unique(np.round(column / (column.max() or 1.0), 9), return_inverse=True)[1]
    sums = ranks.sum(axis=1), (ranks**2).sum(axis=1), (ranks**3).sum(axis=1)
    return np.asarray(np.lexsort(sums[::-1]), dtype=np.int64)


def by_configuration(
    table: pd.DataFrame, factors: Sequence[str], block: str, column: str = "value"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spread a column of what ``measured`` gives, and say what each configuration is.

    Returns
    -------
    wide, levels
        One row a block and one column a configuration, numbered, missing where it has no number;
        and the factors' levels, one row a configuration.
    """
    table = table.assign(configuration=cell_codes(table[list(factors)]))
    levels = table.drop_duplicates("configuration").set_index("configuration")[list(factors)]
    return table.pivot(index=block, columns="configuration", values=column), levels  # noqa: PD010


def spelled(levels: pd.DataFrame) -> list[str]:
    """Each configuration as one text, by which ties are put in the same order always."""
    return [" ".join(map(str, row)) for row in levels.itertuples(index=False, name=None)]


def counted(*parts: tuple[int, str]) -> str:
    """Say what there is any of: ``"2 seeds, 1 pair of which one diverged"``."""
    said = []
    for n, noun in parts:
        first, space, rest = noun.partition(" ")
        if n:
            said.append(f"{int(n):,} {first}{'' if n == 1 else 's'}{space}{rest}")
    return ", ".join(said)


def done(n: pd.Series, what: str) -> list[str]:
    """What was done in each row; nothing was, where there are fewer than two blocks."""
    return [what if blocks >= 2 else "nothing, with fewer than two to compare" for blocks in n]


def varying(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of ``columns`` that take at least two values: one level is not a factor (trap
    11).
    """
    return [name for name in columns if name in runs and len(runs[name].drop_duplicates()) > 1]


def complete_blocks(
    pairs: pd.DataFrame, *, contrast: str = "level", block: str = "seed"
) -> pd.DataFrame:
    """Keep, within each contrast, what is balanced: the same cells in every block.

    A block that lacks a pair which other blocks have lost it to an accident, and is dropped whole.
    Only where that would cost more than half of the blocks, or leave fewer than two, the
    incomplete cells go instead; and where that would leave none, the largest part that is
    balanced stays. The choice looks at what is missing and never at an outcome.

    Parameters
    ----------
    pairs : one row a (contrast, ``cell``, block) that was observed, diverged or not; cells are
        numbered by name (``named_codes``).

    Returns
    -------
    DataFrame
        The rows kept.
    """
    if pairs.empty:
        return pairs
    by_contrast = pairs.groupby(contrast, sort=False)
    cells = by_contrast["cell"].transform("nunique")
    blocks = by_contrast[block].transform("nunique")
    whole_block = pairs.groupby([contrast, block], sort=False)["cell"].transform("size") == cells
    whole_cell = pairs.groupby([contrast, "cell"], sort=False)[block].transform("size") == blocks
    kept = pairs[block].where(whole_block).groupby(pairs[contrast], sort=False).transform("nunique")
    enough = (kept >= 2) & (kept * 2 >= blocks)
    keep = np.where(enough, whole_block, whole_cell)
    left = pd.Series(keep, index=pairs.index).groupby(pairs[contrast], sort=False).transform("any")
    for _, rows in pairs[~left.to_numpy()].groupby(contrast, sort=False):
        keep[pairs.index.get_indexer(rows.index)] = _balanced(rows, block)
    return pairs[keep]


_MOST_CELLS = 150
"""Cells of which all pairs are tried in the search for what is balanced."""


def _balanced(pairs: pd.DataFrame, block: str) -> npt.NDArray[np.bool_]:
    """Rows of one contrast that form the largest full cross of cells and blocks.

    Tried are the blocks that a cell, or two cells, have; with them all cells that have these
    blocks, too.  Of crosses that are as large, the one of more blocks is taken, then the one whose
    cells and blocks have more pairs in all.
    """
    present = pd.crosstab(pairs["cell"], pairs[block]) > 0
    has = present.to_numpy(dtype=bool)
    tried = has
    if len(has) <= _MOST_CELLS:
        tried = (has[:, None] & has[None]).reshape(-1, has.shape[1])
    tried = np.unique(tried, axis=0)
    tried = tried[tried.sum(axis=1) >= min(2, has.shape[1])]
    if not len(tried):
        return np.zeros(len(pairs), dtype=bool)
    holding = np.stack([(has | ~row).all(axis=1) for row in tried])
    blocks, cells = tried.sum(axis=1), holding.sum(axis=1)
    weights = (holding * has.sum(axis=1)).sum(axis=1), (tried * has.sum(axis=0)).sum(axis=1)
    # At last by the cells, which are numbered by name; blocks have none that counts.
    byname = np.unique(holding, axis=0, return_inverse=True)[1]
    best = np.lexsort((byname, *weights, blocks, blocks * cells))[-1]
    inside = pairs["cell"].isin(present.index[holding[best]])
    inside &= pairs[block].isin(present.columns[tried[best]])
    return np.asarray(inside.to_numpy(dtype=bool))
