"""What went wrong, where, and how often: divergence rates by level, and endings grouped by their
reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint


def divergence_rates(
    runs: pd.DataFrame, axes: Sequence[str], *, block: str = "seed", status: str = "status"
) -> pd.DataFrame:
    """Count the runs of every level that diverged, among those that ended ``ok`` or ``diverged``.

    Returns
    -------
    DataFrame
        ``axis, level, diverged, runs, rate, low, high`` (Clopper-Pearson, 95 %, by statsmodels; it
        takes runs as independent, which runs that share a seed are not, so read it as a lower
        bound on the doubt), and ``seeds``: seeds in which at least one run diverged.
    """
    ended = runs[runs[status].isin(["ok", "diverged"])]
    ended = ended.assign(diverged=ended[status] == "diverged")
    tables = [_rates(ended, axis, block) for axis in axes]
    columns = ["axis", "level", "diverged", "runs", "rate", "low", "high", "seeds"]
    return (
        pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    )


def _rates(ended: pd.DataFrame, axis: str, block: str) -> pd.DataFrame:
    table = ended.groupby(axis, sort=False)["diverged"].agg(diverged="sum", runs="size")
    low, high = proportion_confint(table["diverged"], table["runs"], method="beta")
    table["rate"] = table["diverged"] / table["runs"]
    table["low"], table["high"] = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    seeds = ended[ended["diverged"]].groupby(axis)[block].nunique()
    table["seeds"] = seeds.reindex(table.index).fillna(0).astype(int)
    return table.rename_axis("level").reset_index().assign(axis=axis)


def endings(
    runs: pd.DataFrame, axes: Sequence[str] = (), *, block: str = "seed", status: str = "status"
) -> pd.DataFrame:
    """Group the runs that did not end ``ok`` by status and reason, most frequent first.

    Reasons that differ in nothing but their numbers (an epoch, a shape) are one group.

    Returns
    -------
    DataFrame
        ``status, reason`` (the first of the group), ``reasons`` (how many different ones), ``runs,
        seeds``, ``shared``: what all runs of the group have in common, as "axis = level" joined by
        ", ".
    """
    bad = runs[runs[status].isin(["diverged", "failed", "skipped"])]
    bad = bad.assign(reason=bad["reason"].fillna("no reason was recorded").astype(str))
    pattern = bad["reason"].str.replace(r"\d+(\.\d+)?(e[-+]?\d+)?", "0", regex=True)
    rows = []
    for (state, _), group in bad.groupby([status, pattern.rename("pattern")], sort=True):
        rows.append(
            {
                "status": state,
                "reason": group["reason"].min(),
                "reasons": group["reason"].nunique(),
                "runs": len(group),
                "seeds": group[block].nunique(),
                "shared": ", ".join(
                    f"{axis} = {group[axis].iloc[0]}"
                    for axis in axes
                    if len(group[axis].drop_duplicates()) == 1
                ),
            }
        )
    table = pd.DataFrame(rows, columns=["status", "reason", "reasons", "runs", "seeds", "shared"])
    return table.sort_values("runs", ascending=False, kind="stable").reset_index(drop=True)
