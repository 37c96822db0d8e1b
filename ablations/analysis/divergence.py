"""What went wrong, where, and how often: divergence rates by level, and endings grouped by their
reason.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from ablations.analysis.design import STATED, Floats, Scale, any_names, assumed, done, format_counts
from ablations.analysis.inference import max_t, over_seeds, sign_flip_p
from ablations.analysis.pairing import Level, complete_blocks, paired_differences

_PROCEDURE = (
    "McNemar's exact test over pairs, taken as independent; wins less losses with diverged as the "
    "worst, mean over cells, then t interval and sign flips over blocks"
)


@any_names
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


@any_names
def divergence_effects(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Compare every level with its control where runs may have diverged: two views that drop none.

    Returns
    -------
    DataFrame
        One row a level, on complete blocks:

        - ``axis, level, control, pairs``; ``only_level, only_control``: pairs in which only that
          one diverged; ``p_mcnemar``: McNemar's exact test of these two (statsmodels; it takes
          pairs as independent, which pairs that share a seed are not).
        - ``advantage``: share of pairs that the level wins less those that it loses, a run that
          diverged being worse than any that did not, averaged over seeds; ``low, high``: its 95 %
          t interval; ``p_advantage``: sign-flip over seeds; ``p_adjusted``: step-down max-T over
          the rows; ``seeds``.
        - ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    rows, gains = [], {}
    for axis in (name for name in controls if name in runs):
        pairs = paired_differences(
            runs, axis, controls[axis], factors,
            outcome=outcome, block=block, scale=scale, status=status,
        )  # fmt: skip
        found = pairs.groupby("level", sort=False).size()
        pairs = complete_blocks(pairs.reset_index(drop=True), block=block)
        gain = np.sign(pairs["difference"].fillna(0.0)) * (1 if higher_is_better else -1)
        gain += pairs["control_diverged"].astype(float) - pairs["diverged"].astype(float)
        pairs = pairs.assign(gain=gain)
        for level, kept in pairs.groupby("level", sort=False):
            by_seed = kept.groupby(block, sort=False)["gain"].mean()
            gains[axis, level] = by_seed
            row = _compared(kept, axis, level, controls[axis], block)
            lost = format_counts(
                (int(found[level]) - len(kept), f"pair of an incomplete {block} or cell"),
                (runs[block].nunique() - len(by_seed), f"{block} without a pair"),
            )
            rows.append([*row, row[-1], _PROCEDURE, assumed(block), lost])
    columns = [
        "axis", "level", "control", "pairs", "only_level", "only_control", "p_mcnemar",
        "advantage", "low", "high", "p_advantage", "seeds",
        *STATED,
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    table["procedure"] = done(table["n"], _PROCEDURE)
    table.insert(columns.index("p_advantage") + 1, "p_adjusted", _adjusted(gains, table))
    return table


def _adjusted(gains: dict[tuple[str, object], pd.Series], table: pd.DataFrame) -> Floats:
    """Max-T over all levels; what is the same in all blocks of all has nothing to flip."""
    if table.empty:
        return np.empty(0)
    keys = zip(table["axis"], table["level"], strict=True)
    wide = pd.concat([gains[key] for key in keys], axis=1)
    return max_t(wide.to_numpy(dtype=float))


def _compared(
    pairs: pd.DataFrame, axis: str, level: Hashable, control: Level, block: str
) -> list[object]:
    ours, theirs = pairs["diverged"].astype(bool), pairs["control_diverged"].astype(bool)
    both, neither = int((ours & theirs).sum()), int((~ours & ~theirs).sum())
    only_level, only_control = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    table = [[both, only_level], [only_control, neither]]
    p = float(mcnemar(table, exact=True).pvalue) if only_level + only_control else 1.0
    by_seed = pairs.groupby(block, sort=False)["gain"].mean().to_numpy(dtype=float)[:, None]
    effect = over_seeds(by_seed, "difference")
    # A share of wins less one of losses lies between -1 and 1, and so do its bounds.
    bounds = (float(np.clip(effect[name][0], -1, 1)) for name in ("effect", "low", "high"))
    counts = (len(pairs), only_level, only_control, p)
    return [axis, level, control, *counts, *bounds, float(sign_flip_p(by_seed)[0]), len(by_seed)]


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
