"""The runs that carry a result, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.analysis.coding import Bools, Column, Floats, Ints, combine, rank_texts


@dataclass(frozen=True, eq=False)
class Observations:
    """The runs that carry a result, as arrays with one entry a run.

    ``rows``: positions in the design's ``runs``; ``raw``: the outcome, missing where the run
    ``diverged``; ``value``: the same on the scale of the comparison; ``block``: a position in
    ``blocks``, the sorted labels of all blocks; ``columns``: the factors, which may have any names.
    """

    rows: Ints
    raw: Floats
    value: Floats
    diverged: Bools
    block: Ints
    blocks: pd.Index
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, factors: Sequence[str]) -> Ints:
        """Number the combinations of some factors, in order of appearance."""
        return combine((self.columns[name] for name in factors), len(self))

    def sorted_cells(self, factors: Sequence[str]) -> Ints:
        """Number the combinations of some factors, in the order of their levels as text."""
        cells = self.cells(factors)
        if not len(cells):
            return cells
        first = np.unique(cells, return_index=True)[1]
        columns = [self.columns[name] for name in factors]
        parts = [[column.texts[code] for code in column.codes[first]] for column in columns]
        texts = [" ".join(row) for row in zip(*parts, strict=True)] or [""] * len(first)
        return rank_texts(texts)[cells]

    def levels(self, factors: Sequence[str], rows: Ints) -> pd.DataFrame:
        """Return the levels of some factors in some observations."""
        columns = {name: self.columns[name].values.iloc[rows].array for name in factors}
        return pd.DataFrame(columns, index=range(len(rows)))
