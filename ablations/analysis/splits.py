"""Which blocks have the same split of one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.coding import Ints


def complete_splits(runs: pd.DataFrame) -> pd.DataFrame:
    """Add the split of each run; an earlier version wrote none, and each seed had its own."""
    splits = runs["seed"] if "split" not in runs else runs["split"].fillna(runs["seed"])
    return runs.assign(split=splits)


def number_splits(codes: Ints, labels: Sequence[Any] | pd.Index, splits: pd.Series) -> Ints:
    """Return a number for the split of each block; blocks without a split have one of their own.

    ``codes``: the block of each run, a position among the ``labels`` of blocks; ``splits``: the
    split of each run.

    Raises
    ------
    ValueError
        If a block has several splits.
    """
    numbers = np.arange(len(labels))
    table = pd.DataFrame({"block": codes, "split": splits.to_numpy()}).dropna().drop_duplicates()
    if repeated := table.loc[table["block"].duplicated(), "block"].tolist():
        raise ValueError(f"{labels[repeated[0]]} has several splits in {splits.name!r}")
    numbers[table["block"]] = len(labels) + pd.factorize(table["split"])[0]
    return numbers
