"""The table of curves, from blocks of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ablations.results.schema import CURVES

Curves = Sequence[tuple[str, NDArray[np.float64]]]
"""Run ids, and the numbers of their epochs: those columns of ``CURVES`` that follow the epoch."""


def curves_table(curves: Curves) -> pa.Table:
    """Return one row for each epoch of each run, in their order."""
    numbers = [np.empty((0, len(CURVES.columns) - 2)), *(values for _, values in curves)]
    lengths = [len(values) for _, values in curves]
    indices = np.repeat(np.arange(len(curves), dtype=np.int32), lengths)
    run_ids = pa.DictionaryArray.from_arrays(indices, pa.array([i for i, _ in curves], pa.string()))
    epochs = np.concatenate([np.arange(0), *(np.arange(1, length + 1) for length in lengths)])
    columns = [run_ids, epochs, *np.concatenate(numbers).T]
    return pa.table(
        {
            name: column.cast(kind) if column is run_ids else pa.array(column, kind)
            for (name, kind), column in zip(CURVES.columns.items(), columns, strict=True)
        }
    )
