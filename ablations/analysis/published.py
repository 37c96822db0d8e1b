"""Do our runs agree with a curve printed elsewhere? The printed numbers beside the band of our
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

PUBLISHED_COLUMNS = [
    "label", "epoch", "low", "median", "high", "printed", "inside", "runs",
]  # fmt: skip


def published_band(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    where: Mapping[str, object],
    printed: Sequence[float],
    *,
    label: str = "",
    outcome: str = "objective",
) -> pd.DataFrame:
    """Set one printed number an epoch against the percentiles of the runs that ``where`` selects.

    Parameters
    ----------
    where : column of ``runs`` -> value.
    printed : from epoch 1.

    Returns
    -------
    DataFrame
        One row an epoch: ``label, epoch, low, median, high`` (percentiles 0.5, 50 and 99.5 of our
        runs at that epoch), ``printed``, ``inside`` (between ``low`` and ``high``), ``runs``.
        Epochs we did not train have missing percentiles and are not inside.

    Raises
    ------
    KeyError
        If ``where`` names a column the runs do not have.
    """
    chosen = np.ones(len(runs), dtype=bool)
    for column, value in where.items():
        chosen &= (runs[column] == value).to_numpy(dtype=bool, na_value=False)
    ours = curves[curves["run_id"].isin(runs.loc[chosen, "run_id"])]
    # A curve that diverged is part of the spread: infinity is above every percentile but the last.
    values = ours.assign(value=ours[outcome].astype(float)).dropna(subset=["value"])
    grouped = values.groupby("epoch")["value"]
    table = pd.DataFrame(
        {"label": label, "epoch": np.arange(1, len(printed) + 1), "printed": list(printed)}
    )
    for name, share in (("low", 0.005), ("median", 0.5), ("high", 0.995)):
        table[name] = table["epoch"].map(grouped.quantile(share)).astype(float)
    table["runs"] = table["epoch"].map(grouped.size()).fillna(0).astype(int)
    table["inside"] = table["printed"].between(table["low"], table["high"])
    return table[PUBLISHED_COLUMNS]
