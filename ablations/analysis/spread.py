"""How much does a result change with nothing but the seed? The spread over seeds, by level."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ablations.analysis.design import STATED, Scale, cell_codes, counted, done, measured
from ablations.analysis.naming import any_names

SPREAD_COLUMNS = ["axis", "level", "spread", "low", "high", "cells", "seeds", *STATED]


@any_names
def seed_spread(
    runs: pd.DataFrame,
    axes: Sequence[str],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Describe the standard deviation over seeds of a configuration's outcome, level by level.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance:

        - ``spread``: the median over configurations of the standard deviation over seeds, on the
          scale, with ``low, high``, the quarter and three quarters of them (no interval: what they
          differ by is chance and configuration together).
        - ``cells``: configurations with at least two results; ``seeds``: the most that one has.
        - ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = measured(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    cell = cell_codes(table[list(factors)])
    of_cell = table.groupby(cell)["value"].agg(spread="std", seeds="count")
    levels = table.assign(cell=cell).drop_duplicates("cell").set_index("cell")
    lost = table.groupby(cell)["diverged"].sum()
    parts = []
    for axis in axes:
        by_level = of_cell.assign(lost=lost).groupby(levels[axis], sort=False, dropna=True)
        spread = by_level["spread"]
        part = pd.DataFrame(
            {
                "spread": spread.median(),
                "low": spread.quantile(0.25),
                "high": spread.quantile(0.75),
                "cells": spread.count(),
                "seeds": by_level["seeds"].max(),
                "left_out": [
                    counted((int(n), "run that diverged")) for n in by_level["lost"].sum()
                ],
            }
        )
        parts.append(part.rename_axis("level").reset_index().assign(axis=axis))
    if not parts:
        return pd.DataFrame(columns=SPREAD_COLUMNS)
    return pd.concat(parts, ignore_index=True).assign(
        n=lambda t: t["seeds"],
        procedure=lambda t: done(
            t["n"], "median over configurations of the standard deviation over blocks"
        ),
        assumes=f"{block}s independent of one another",
    )[SPREAD_COLUMNS]
