"""What of an incomplete design is compared: the same cells, or configurations, in every block.

Every choice here looks at what is missing and never at an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.analysis.design import (
    Scale,
    any_names,
    at_level,
    by_configuration,
    format_counts,
    named_codes,
    spelled,
    to_observations,
)


def unmeasured(
    runs: pd.DataFrame, table: pd.DataFrame, factors: Sequence[str], block: str
) -> list[str]:
    """Say what ``measured`` left out: runs without a result, and levels and blocks of which nothing
    is left.
    """
    asked = runs
    if "status" in runs:
        asked = runs[runs["status"] != "skipped"]
    said = [format_counts((len(asked) - len(table), "run without a result"))]
    for name in factors:
        left = set(table.loc[~table["diverged"], name].dropna())
        gone = [level for level in pd.unique(asked[name].dropna()) if level not in left]
        said += [f"{name} {', '.join(map(str, gone))}"] if gone else []
    blocks = asked[block].nunique() - table.loc[~table["diverged"], block].nunique()
    return [text for text in (*said, format_counts((blocks, block))) if text]


@dataclass(frozen=True)
class CompleteDesign:
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


def complete_configurations(
    runs: pd.DataFrame, table: pd.DataFrame, factors: Sequence[str], block: str
) -> CompleteDesign:
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
        format_counts(
            (int(bad.sum()), f"configuration that diverged in some {block}"),
            (wide.shape[1] - int(bad.sum()) - present.shape[1], "configuration with runs missing"),
            (len(wide) - len(present), f"{block} with runs missing"),
        ),
        *unmeasured(runs, table, factors, block),
    ]
    kept = wide.loc[present.index, present.columns]
    return CompleteDesign(kept, levels.loc[present.columns], "; ".join(filter(None, said)))


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


Level = str | float


PAIR_COLUMNS = [
    "axis", "level", "control", "cell", "difference", "identical", "diverged",
    "control_diverged",
]  # fmt: skip


def paired_differences(
    runs: pd.DataFrame,
    axis: str,
    control: Level,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """Pair every run with the run that differs from it in one thing: ``axis`` at its control.

    Parameters
    ----------
    keep
        Factors, shared by both runs of a pair, to add as columns.

    Returns
    -------
    DataFrame
        One row a pair of which both sides ended (``ok`` or ``diverged``): ``axis``, ``level``,
        ``control``, ``cell`` (all other factors, numbered), the block, ``difference`` (level -
        control on the scale; missing where either diverged), ``identical`` (equal to the last
        bit), ``diverged``, ``control_diverged``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    table["cell"] = named_codes(table[[name for name in factors if name != axis]])
    is_control = at_level(table[axis], control)
    slim = table[["cell", block, "raw", "value", "diverged"]]
    treated = slim.assign(level=table[axis], **{name: table[name] for name in keep})[
        ~is_control & table[axis].notna().to_numpy()
    ]
    pairs = treated.merge(slim[is_control], on=["cell", block], suffixes=("", "_control"))
    pairs["difference"] = pairs["value"] - pairs["value_control"]
    pairs["identical"] = pairs["raw"] == pairs["raw_control"]
    pairs = pairs.rename(columns={"diverged_control": "control_diverged"}).assign(
        axis=axis, control=[control] * len(pairs)
    )
    return pairs[[*PAIR_COLUMNS, block, *keep]]


@any_names
def seed_effects(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Return the points behind ``main_effects``: one row a contrast and seed, on complete blocks.

    Returns
    -------
    DataFrame
        ``axis``, ``level``, the block, ``difference`` (mean over the cells where both survived),
        ``divergence`` (share of cells where the level diverged minus the share where its control
        did), ``cells``.
    """
    tables = []
    for axis, control in controls.items():
        pairs = paired_differences(
            runs, axis, control, factors, outcome=outcome, block=block, scale=scale, status=status
        )
        tables.append(by_seed(complete_blocks(pairs.reset_index(drop=True), block=block), block))
    columns = ["axis", "level", block, "difference", "divergence", "cells"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def by_seed(pairs: pd.DataFrame, block: str = "seed") -> pd.DataFrame:
    """Collapse the pairs of each contrast to one number a seed; columns as in ``seed_effects``."""
    excess = pairs["diverged"].astype(float) - pairs["control_diverged"].astype(float)
    grouped = pairs.assign(excess=excess).groupby(["axis", "level", block], sort=False)
    return grouped.agg(
        difference=("difference", "mean"), divergence=("excess", "mean"), cells=("cell", "size")
    ).reset_index()
