"""What went wrong, where, and how often: divergence by level, endings by reason, failed audits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from ablations.analysis.arguments import check_columns, check_names
from ablations.analysis.coding import Column, Floats, Ints
from ablations.analysis.design import OUTCOME, Design, accept_table
from ablations.analysis.inference import max_t, mean_intervals, sign_flip_p
from ablations.analysis.pairing import Pairs, balanced_pairs, mean_by_block, pair_runs
from ablations.analysis.scope import describe_interval
from ablations.analysis.statements import STATED, assumptions_text, format_counts, state_basis
from ablations.analysis.statuses import complete_runs

RATE_COLUMNS = ["axis", "level", "diverged", "runs", "rate", "low", "high", "seeds"]
DIVERGENCE_COLUMNS = [
    "axis", "level", "control", "pairs", "only_level", "only_control", "p_mcnemar", "advantage",
    "low", "high", "p_advantage", "p_adjusted", "seeds", *STATED,
]  # fmt: skip
PROCEDURE = (
    "McNemar's exact test over pairs, taken as independent; wins less losses with diverged as the "
    "worst, mean over cells"
)


def divergence_rates(
    runs: pd.DataFrame,
    axes: Sequence[str],
    *,
    block: str = "seed",
    status: str = "status",
    outcome: str = OUTCOME,
) -> pd.DataFrame:
    """Count the runs of every level that diverged, among those that ended ``ok`` or ``diverged``.

    Returns
    -------
    DataFrame
        ``axis, level, diverged, runs, rate, low, high`` (Clopper-Pearson, 95 %, by statsmodels; it
        takes runs as independent, which runs that share a seed are not, so read it as a lower
        bound on the uncertainty), and ``seeds``: seeds in which at least one run diverged.
    """
    check_names("axes", axes)
    check_columns(runs, [*axes, block])
    runs = complete_runs(runs, axes, outcome, status)
    ended = runs[runs[status].isin(["ok", "diverged"])]
    diverged = (ended[status] == "diverged").rename("diverged")
    tables = []
    for axis in axes:
        column = Column.from_values(ended[axis])
        level = pd.Series(column.codes, index=ended.index, name="level")
        table = diverged.groupby(level, sort=False).agg(diverged="sum", runs="size")
        low, high = proportion_confint(table["diverged"], table["runs"], method="beta")
        seeds = ended.loc[diverged, block].groupby(level[diverged]).nunique()
        table = table.assign(
            rate=table["diverged"] / table["runs"],
            low=np.asarray(low, dtype=float),
            high=np.asarray(high, dtype=float),
            seeds=seeds.reindex(table.index).fillna(0).astype(int),
        )
        table = table.reset_index().assign(axis=axis)
        levels = column.infer_levels(np.unique(column.codes, return_index=True)[1])
        tables.append(table.assign(level=levels.array)[RATE_COLUMNS])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=RATE_COLUMNS)


@accept_table("controls", "factors", "scale", "higher_is_better", "confidence")
def divergence_effects(design: Design) -> pd.DataFrame:
    """Compare every level with its control where runs may have diverged: two views that drop none.

    Returns
    -------
    DataFrame
        One row a level, on complete blocks:

        - ``axis, level, control, pairs``; ``only_level, only_control``: pairs in which only that
          one diverged; ``p_mcnemar``: McNemar's exact test of these two (statsmodels; it takes
          pairs as independent, which pairs that share a seed are not).
        - ``advantage``: share of pairs that the level wins less those that it loses, a run that
          diverged being worse than any that did not, averaged over seeds; ``low, high``: its t
          interval; ``p_advantage``: sign-flip over seeds; ``p_adjusted``: step-down max-T over
          the rows; ``seeds``.
    """
    by_axis = [_compare_axis(design, axis) for axis in design.contrasted_axes]
    rows = [row for axis_rows, _, _ in by_axis for row in axis_rows]
    table = pd.DataFrame(rows, columns=[*DIVERGENCE_COLUMNS[: -len(STATED)], "left_out"])
    adjusted = np.empty(0)
    if rows:
        order = pd.unique(np.concatenate([blocks for _, _, blocks in by_axis]))
        adjusted = max_t(np.hstack([gains for _, gains, _ in by_axis])[order])
    table = table.assign(p_adjusted=adjusted)
    assumptions = assumptions_text(design.unit)
    procedure = f"{PROCEDURE}; {describe_interval(design)}; p by sign flips over blocks"
    return state_basis(table, table["seeds"], procedure, assumptions)[DIVERGENCE_COLUMNS]


def _compare_axis(design: Design, axis: str) -> tuple[list[list[object]], Floats, Ints]:
    """The rows of an axis; mean gains, blocks x levels; blocks as they appear, level by level."""
    data, block = design.observations, design.unit
    column, control = data.columns[axis], design.controls[axis]
    pairs: Pairs = design.compute_once(balanced_pairs, axis)
    contrast, level = pd.factorize(pairs.level)
    levels = pd.Series(column.levels[level].tolist()).tolist()
    n_pairs = np.bincount(design.compute_once(pair_runs, axis).level, minlength=len(column.levels))
    gain = np.sign(np.nan_to_num(pairs.difference)) * (1 if design.higher_is_better else -1)
    gain += pairs.control_diverged.astype(float) - pairs.diverged.astype(float)
    gains = mean_by_block(gain, contrast, pairs.block, (len(data.blocks), len(level)))
    orders = [pd.unique(pairs.block[contrast == k]) for k in range(len(level))]
    rows: list[list[object]] = []
    for k, code in enumerate(level):
        at = contrast == k
        by_block = gains[orders[k], k][:, None]
        effect = mean_intervals(by_block, "difference", design.confidence)
        # A share of wins less one of losses lies between -1 and 1, and so do its bounds.
        bounds = [float(np.clip(effect[name][0], -1, 1)) for name in ("effect", "low", "high")]
        left_out = format_counts(
            (n_pairs[code] - at.sum(), f"pair of an incomplete {block} or cell"),
            (design.n_blocks - len(by_block), f"{block} without a pair"),
        )
        outcomes = 2 * pairs.diverged[at] + pairs.control_diverged[at]
        neither, only_control, only_level, both = np.bincount(outcomes, minlength=4).tolist()
        table = [[both, only_level], [only_control, neither]]
        p_mcnemar = float(mcnemar(table, exact=True).pvalue)
        counts = len(outcomes), only_level, only_control, p_mcnemar
        p = float(sign_flip_p(by_block)[0])
        numbers = (*counts, *bounds, p, np.nan, len(by_block))
        rows.append([axis, levels[k], control, *numbers, left_out])
    return rows, gains, np.concatenate([np.empty(0, dtype=np.int64), *orders])


def endings(
    runs: pd.DataFrame,
    axes: Sequence[str] = (),
    *,
    block: str = "seed",
    status: str = "status",
    outcome: str = OUTCOME,
) -> pd.DataFrame:
    """Group the runs that did not end ``ok`` by status and reason, most frequent first.

    Reasons that differ in nothing but their numbers (an epoch, a shape) are one group.

    Returns
    -------
    DataFrame
        ``status, reason`` (the first of the group), ``reasons`` (how many different ones), ``runs,
        seeds``, ``shared``: the ``axis = level`` that all runs of the group have.
    """
    runs = complete_runs(runs, axes, outcome, status)
    bad = runs[runs[status].isin(["diverged", "failed", "skipped"])]
    reasons = bad["reason"] if "reason" in bad else pd.Series(np.nan, index=bad.index)
    bad = bad.assign(reason=reasons.astype(object).fillna("no reason was recorded").astype(str))
    pattern = bad["reason"].str.replace(r"\d+(\.\d+)?(e[-+]?\d+)?", "0", regex=True)
    rows = []
    for (state, _), group in bad.groupby([status, pattern.rename("pattern")], sort=True):
        reasons, seeds = group["reason"], group[block].nunique()
        same = [axis for axis in axes if len(group[axis].drop_duplicates()) == 1]
        shared = ", ".join(f"{axis} = {group[axis].iloc[0]}" for axis in same)
        rows.append((state, reasons.min(), reasons.nunique(), len(group), seeds, shared))
    table = pd.DataFrame(rows, columns=["status", "reason", "reasons", "runs", "seeds", "shared"])
    return table.sort_values("runs", ascending=False, kind="stable").reset_index(drop=True)


MAX_DRIFT = 0.05
"""Largest mean difference of final losses, on the log scale, that may be more than chance."""
MIN_AUDITED = 4
"""Runs from which on a mean difference says something."""


def audit_failure(audit: pd.DataFrame) -> str | None:
    """Return in a sentence where audited runs (``Results.audit``) differ from the plain loop."""
    wrong = audit[audit["reason"].notna()]
    if len(wrong):
        first = wrong.iloc[0]
        return (
            f"the fusion audit failed for {len(wrong)} of {len(audit)} runs; "
            f"run {first['run_id']}: {first['reason']}"
        )
    drift = audit["drift"].dropna()
    if len(drift) < MIN_AUDITED:
        return None
    mean, error = float(drift.mean()), float(drift.std(ddof=1)) / math.sqrt(len(drift))
    if abs(mean) <= max(MAX_DRIFT, 5 * error):
        return None
    return (
        f"the fusion audit failed: the final validation losses of {len(drift)} runs are "
        f"{math.expm1(mean):+.0%} from the plain loop's in the mean, give or take {error:.0%}"
    )
