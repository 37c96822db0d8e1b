"""Pairs of runs that differ in one thing: the stuff that every comparison is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ablations.analysis.complete import complete_blocks
from ablations.analysis.design import Scale, at_level, measured, named_codes
from ablations.analysis.naming import any_names

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
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
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
