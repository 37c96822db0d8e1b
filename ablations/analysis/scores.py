"""Scores over data sets: ranks, aggregates and their distributions.

Ranks of levels within data sets (Demsar, 2006); the interquartile mean over all runs, and how
probably a run of a level is better than one of its control, with a bootstrap stratified by data set
(Agarwal, Schwarzer, Castro, Courville & Bellemare, 2021).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.coding import Bools, Floats
from ablations.analysis.design import Design, typical_size
from ablations.analysis.pairing import Pairs, balanced_pairs
from ablations.analysis.ranking import critical_difference, friedman
from ablations.analysis.statements import STATED

RESAMPLES = 2_000
PERMUTATIONS, EXACT_ORDERS = 9_999, 50_000
THRESHOLDS = 101
"""Thresholds of a performance profile."""
POINT_COLUMNS = ["task", "axis", "level", "control", "seed", "score", "control_score"]
AGGREGATE_COLUMNS = [
    "axis", "level", "control", "iqm", "iqm_low", "iqm_high", "improvement", "improvement_low",
    "improvement_high", "datasets", *STATED,
]  # fmt: skip
RANK_COLUMNS = [
    "level", "mean_rank", "apart", "datasets", "friedman", "p", "critical_difference", *STATED,
]  # fmt: skip
PROFILE_COLUMNS = ["axis", "level", "threshold", "share", "low", "high"]


def dataset_scores(designs: Mapping[str, Design]) -> pd.DataFrame:
    """Return what each level and its control score with each seed, relative to the data set.

    Parameters
    ----------
    designs
        Name of each data set to its design.

    Returns
    -------
    DataFrame
        One row a data set (``task``), ``axis``, ``level`` and ``seed``: ``score`` and
        ``control_score``, means over the cells that both have.  A log ratio to the control's mean
        over seeds, or the difference from it over the outcome's typical size; lower is better.  A
        mean of which a run diverged is infinite.
    """
    tables = []
    for name, design in designs.items():
        unit = (-1.0 if design.higher_is_better else 1.0) / common_unit(design)
        for axis in design.contrasted_axes:
            pairs: Pairs = design.compute_once(balanced_pairs, axis)
            data, column = design.observations, design.observations.columns[axis]
            table = pd.DataFrame(
                {
                    "level": column.levels.take(pairs.level) if len(pairs.level) else [],
                    "seed": data.blocks.take(pairs.block),
                    "score": _worst_if(data.value[pairs.row] * unit, pairs.diverged),
                    "control_score": _worst_if(
                        data.value[pairs.control_row] * unit, pairs.control_diverged
                    ),
                }
            )
            means = table.groupby(["level", "seed"], sort=False, as_index=False).mean()
            finite = means["control_score"].replace(np.inf, np.nan)
            center = finite.groupby(means["level"], sort=False).transform("mean")
            for score in ("score", "control_score"):
                means[score] -= center.fillna(0)
            tables.append(means.assign(task=name, axis=axis, control=design.controls[axis]))
    points = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=POINT_COLUMNS)
    return points[POINT_COLUMNS]


def common_unit(design: Design) -> float:
    """Return the size of an effect in a unit that data sets share: 1 of log ratios, else the
    typical size of the outcome.
    """
    if design.scale == "log":
        return 1.0
    return typical_size(design.runs, design.controls, design.outcome)


def _worst_if(values: Floats, diverged: Bools) -> Floats:
    return np.where(diverged, np.inf, values)


def improvement_probability(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """Return how probably a run of the first is greater than one of the second: the mean over data
    sets of the share of pairs of runs, ties half (Agarwal et al., 2021).

    Parameters
    ----------
    first, second
        The scores on each data set, in the same order of data sets.
    """
    wins = [_wins(*map(np.asarray, pair)).mean() for pair in zip(first, second, strict=True)]
    return float(np.mean(wins))


def _wins(first: Floats, second: Floats) -> Floats:
    """1 where a number of the first is greater than one of the second, ties half."""
    return np.asarray((first[:, None] > second) + (first[:, None] == second) / 2, dtype=float)


def aggregate_scores(points: pd.DataFrame, *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Aggregate each level over all runs of all data sets, against its control.

    About these data sets: the bootstrap draws seeds within each of them, and its interval says
    nothing of others.

    Parameters
    ----------
    points
        Of ``dataset_scores``.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance:

        - ``iqm``: interquartile mean over data sets and seeds of the score less the control's with
          the same seed, below zero is better; ``iqm_low, iqm_high``: 95 % bootstrap.
        - ``improvement``: how probably a run of the level is better than one of its control on the
          same data set (``improvement_probability``), with its interval.
        - ``datasets``, and ``n``: pairs of runs.
    """
    rows = []
    for (axis, level), group in points.groupby(["axis", "level"], sort=False):
        by_task = [table for _, table in group.groupby("task", sort=False)]
        scores = [table[["score", "control_score"]].to_numpy(dtype=float) for table in by_task]
        # Sorted by their numbers, so that the labels of the seeds do not change the draws.
        scores = [table[np.lexsort(table.T)] for table in scores]
        differences = [_difference(table) for table in scores]
        wins = [_wins(-table[:, 0], -table[:, 1]) for table in scores]
        bounds = _stratified_bounds(differences, wins, resamples)
        rows.append(
            {
                "axis": axis,
                "level": level,
                "control": group["control"].iloc[0],
                "iqm": _iqm(np.concatenate(differences)[None])[0],
                "improvement": float(np.mean([table.mean() for table in wins])),
                **bounds,
                "datasets": len(scores),
                "n": len(group),
                "left_out": "pairs of which both runs diverged count as equal",
            }
        )
    table = pd.DataFrame(rows, columns=AGGREGATE_COLUMNS)
    return table.assign(
        procedure=(
            f"interquartile mean over runs, share of better pairs of runs; {resamples:,} resamples "
            "of seeds within data sets"
        ),
        assumes="seeds independent of one another; about these data sets, not about others",
    )


def _difference(scores: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(scores[:, 0] - scores[:, 1], nan=0.0, posinf=np.inf, neginf=-np.inf)


def _iqm(values: Floats) -> Floats:
    """Mean of the middle half of each row."""
    cut = values.shape[1] // 4
    middle = np.sort(values, axis=1)[:, cut : values.shape[1] - cut]
    return np.asarray(middle.mean(axis=1))


def _stratified_bounds(
    differences: Sequence[Floats], wins: Sequence[Floats], resamples: int
) -> dict[str, float]:
    """Percentile bootstrap of both aggregates, seeds resampled within each data set.

    The percentiles are as far out as the t interval of a mean would be beside the normal one
    (Hesterberg, 2015).
    """
    random = np.random.default_rng(0)
    sizes = np.array([len(values) for values in differences])
    names = ("iqm_low", "iqm_high", "improvement_low", "improvement_high")
    if (sizes < 2).any():
        return dict.fromkeys(names, np.nan)
    resampled, shares = [], []
    for values, table in zip(differences, wins, strict=True):
        draws = random.integers(len(values), size=(resamples, len(values)))
        resampled.append(values[draws])
        counts = np.eye(len(values))[draws].sum(axis=1)
        shares.append(np.einsum("bi,ij,bj->b", counts, table, counts) / len(values) ** 2)
    widening = np.sqrt(sizes.mean() / (sizes.mean() - 1))
    tail = stats.norm.cdf(-widening * stats.t.ppf(0.975, (sizes - 1).sum()))
    bounds = [
        np.quantile(sample, [tail, 1 - tail], method="nearest")
        for sample in (_iqm(np.hstack(resampled)), np.mean(shares, axis=0))
    ]
    return dict(zip(names, map(float, np.concatenate(bounds)), strict=True))


def mean_ranks(
    scores: pd.DataFrame, *, higher_is_better: bool = False, alpha: float = 0.05
) -> pd.DataFrame:
    """Rank levels within data sets, and average the ranks (Demsar, 2006).

    Parameters
    ----------
    scores
        One row a data set, one column a level; data sets with a missing number are left out.  The
        first level is the control.

    Returns
    -------
    DataFrame
        One row a level, in the order of the columns: ``mean_rank``, 1 is best; ``apart``: farther
        from the control's than the ``critical_difference`` of Nemenyi's test at ``alpha``;
        ``friedman``: Friedman's chi-square, corrected for ties; ``p``: of its permutation
        distribution (``permutation_p``), since that of chi-square is wrong for few data sets.
    """
    complete = scores.dropna()
    values = complete.to_numpy(dtype=float) * (-1 if higher_is_better else 1)
    n, k = values.shape
    # Rounded, since equal numbers may differ by round-off.
    ranks = stats.rankdata(np.round(values, 12), axis=1) if n else np.full((0, k), np.nan)
    averages = ranks.mean(axis=0) if n else np.full(k, np.nan)
    statistic, _ = friedman(ranks)
    distance = critical_difference(k, n, alpha) if n else np.nan
    lost = len(scores) - n
    return pd.DataFrame(
        {
            "level": list(scores.columns),
            "mean_rank": averages,
            "apart": np.abs(averages - averages[0]) > distance,
            "datasets": n,
            "friedman": statistic,
            "p": permutation_p(ranks),
            "critical_difference": distance,
            "n": n,
            "procedure": (
                "ranks within data sets; Friedman's statistic corrected for ties, p by orders "
                f"within data sets; Nemenyi's critical difference at {alpha:g}"
            ),
            "assumes": "data sets independent of one another",
            "left_out": f"{lost} data set{'' if lost == 1 else 's'} with a level missing"
            if lost
            else "",
        },
        columns=RANK_COLUMNS,
    )


def permutation_p(ranks: Floats) -> float:
    """P of Friedman's statistic: the share of orders of the ranks within data sets that give at
    least as large a one; exact up to ``EXACT_ORDERS``, else of 9,999 random ones, always the same.
    """
    n, k = ranks.shape
    if n < 2 or k < 2:
        return np.nan
    if math.factorial(k) ** (n - 1) <= EXACT_ORDERS:
        # The order of the first data set is fixed: only the others' order relative to it counts.
        orders = np.array(list(itertools.permutations(range(k))))
        sums = ranks[0][None]
        for row in ranks[1:]:
            sums = (sums[:, None] + row[orders][None]).reshape(-1, k)
    else:
        random = np.random.default_rng(0)
        orders = random.random((PERMUTATIONS, n, k)).argsort(axis=2)
        shuffled = np.take_along_axis(np.broadcast_to(ranks, orders.shape), orders, axis=2)
        sums = np.vstack([ranks.sum(axis=0), shuffled.sum(axis=1)])
    # Of given ranks, and so ties, the statistic grows with the sum of squared rank sums.
    squares = (sums**2).sum(axis=1)
    return float((squares >= (ranks.sum(axis=0) ** 2).sum() - 1e-9).mean())


def ranks_by_axis(
    effects: pd.DataFrame, *, higher_is_better: bool = False, alpha: float = 0.05
) -> pd.DataFrame:
    """Rank the levels of each axis over data sets, the control among them, by their effects.

    Parameters
    ----------
    effects
        Of ``effects_by_dataset``: needs ``task, axis, level, control, relative``.

    Returns
    -------
    DataFrame
        The columns of ``mean_ranks`` behind ``axis``, axis by axis, the control first.
    """
    tables = []
    for axis, group in effects.groupby("axis", sort=False):
        levels = list(dict.fromkeys(group["level"]))
        wide = group.pivot_table(
            index="task", columns="level", values="relative", sort=False, dropna=False
        ).reindex(columns=levels)
        # A level that no data set has a pair for cannot be ranked, and must not drop them all.
        wide = wide.dropna(axis=1, how="all")
        wide.insert(0, group["control"].iloc[0], 0.0)
        table = mean_ranks(wide, higher_is_better=higher_is_better, alpha=alpha)
        table.insert(0, "axis", axis)
        tables.append(table)
    columns = ["axis", *RANK_COLUMNS]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def performance_profiles(points: pd.DataFrame, *, resamples: int = 500) -> pd.DataFrame:
    """Say which share of runs is at least as good as each threshold (Agarwal et al., 2021).

    Parameters
    ----------
    points
        Of ``dataset_scores``.

    Returns
    -------
    DataFrame
        One row a level and ``threshold`` (a score; 0 is the control's mean on each data set),
        axis by axis, the control first: ``share`` of the runs whose score is at most the
        threshold, all data sets weighing the same; ``low, high``: 95 % bootstrap of seeds within
        data sets, of each threshold alone.
    """
    tables = []
    for axis, group in points.groupby("axis", sort=False):
        finite = group[["score", "control_score"]].replace(np.inf, np.nan)
        spread = np.nanquantile(finite.abs().to_numpy(dtype=float), 0.98) if len(group) else np.nan
        if not spread > 0:
            continue
        thresholds = np.linspace(-spread, spread, THRESHOLDS)
        control = group.drop_duplicates(["task", "seed"])
        curves = [(control["control"].iloc[0], control, "control_score")] if len(control) else []
        curves += [(level, rows, "score") for level, rows in group.groupby("level", sort=False)]
        for level, rows, column in curves:
            shares = _profile(rows, column, thresholds, resamples)
            columns = dict(zip(("share", "low", "high"), shares, strict=True))
            tables.append(
                pd.DataFrame({"axis": axis, "level": level, "threshold": thresholds, **columns})
            )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PROFILE_COLUMNS)


def _profile(
    rows: pd.DataFrame, column: str, thresholds: Floats, resamples: int
) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(0)
    shares, resampled = [], []
    for _, table in rows.groupby("task", sort=False):
        below = np.sort(table[column].to_numpy(dtype=float))[:, None] <= thresholds
        draws = random.integers(len(below), size=(resamples, len(below)))
        counts = np.eye(len(below))[draws].sum(axis=1)
        shares.append(below.mean(axis=0))
        resampled.append(counts @ below / len(below))
    low, high = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975], axis=0)
    return np.mean(shares, axis=0), low, high
