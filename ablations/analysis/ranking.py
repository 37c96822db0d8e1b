"""Which configuration does best, and what does it cost? Summaries, ranks and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.arguments import check_columns, check_names
from ablations.analysis.best_set import BestTests, compare_with_best
from ablations.analysis.coding import Bools, Floats, Ints, rank_rows
from ablations.analysis.design import Design, accept_table
from ablations.analysis.inference import group_intervals
from ablations.analysis.pairing import join_factors
from ablations.analysis.statements import STATED, format_counts, join_statements, state_basis
from ablations.analysis.statuses import STATUSES

MEASURES = [
    "mean", "low", "high", "metric", "metric_low", "metric_high", "seconds", "runs", "ok",
    "diverged", "failed", "skipped", "complete", "pareto",
]  # fmt: skip
SPREAD_COLUMNS = ["axis", "level", "spread", "low", "high", "cells", "seeds", *STATED]
RANKING_COLUMNS = [
    "place", "mean", "iqm", "iqm_low", "iqm_high", "mean_rank", "apart", "first_better", "p_first",
    "seeds", "friedman", "p", "critical_difference", *STATED,
]  # fmt: skip
RESAMPLES = 2_000
MOST_DRAWN, AT_A_TIME = 2**26, 2**24
"""Most numbers in all resamples beyond the first 200, and in those in memory at a time."""


@accept_table("factors", "scale", "higher_is_better")
def configurations(
    design: Design,
    *,
    metric: str = "metric",
    seconds: str = "train_seconds",
    averages: Sequence[str] = (),
) -> pd.DataFrame:
    """Summarise every configuration over its seeds, best first.

    Returns
    -------
    DataFrame
        ``factors``; ``mean, low, high`` of the outcome (geometric on the log scale; 95 % t
        interval over seeds); ``metric, metric_low, metric_high`` (arithmetic); ``seconds``
        (median); ``runs, ok, diverged, failed, skipped``; ``complete``: every run ended well;
        ``pareto``: complete, and no complete configuration is at least as good and as fast, and
        better in one; the arithmetic means of the columns ``averages``. Complete configurations
        come first, by their mean: a configuration that is good only where it survived does not
        lead the table.
    """
    runs, data, cell = design.runs, design.observations, design.cells
    counts = pd.crosstab(cell, design.statuses).reindex(columns=list(STATUSES), fill_value=0)
    table = counts.assign(runs=np.bincount(cell))
    losses = group_intervals(pd.Series(data.value), cell[data.rows])[["mean", "low", "high"]]
    table = table.join(np.exp(losses) if design.scale == "log" else losses)
    ok = design.statuses == "ok"
    metrics = pd.to_numeric(runs.loc[ok, metric]) if metric in runs else pd.Series(np.nan, cell[ok])
    scores = group_intervals(metrics, cell[ok])[["mean", "low", "high"]]
    table = table.join(scores.set_axis(["metric", "metric_low", "metric_high"], axis=1))
    table["seconds"] = runs.loc[ok, seconds].groupby(cell[ok]).median()
    for name in averages:
        table[name] = runs.loc[ok, name].astype(float).groupby(cell[ok]).mean()
    table["complete"] = (table["ok"] == table["runs"]) & table["mean"].notna()
    merit = table["mean"].to_numpy(dtype=float) * (-1 if design.higher_is_better else 1)
    complete = table["complete"].to_numpy()
    table["pareto"] = pareto_front(np.where(complete, merit, np.nan), table["seconds"].to_numpy())
    levels = runs.iloc[np.unique(cell, return_index=True)[1]][list(design.factors)]
    # Ties come out in the same order whatever order the rows came in.
    order = np.lexsort((rank_rows(levels), merit, ~complete))
    return join_factors(levels.iloc[order], table[[*MEASURES, *averages]].iloc[order])


def pareto_front(loss: Floats, cost: Floats) -> Bools:
    """Mark the points that no other point beats; smaller is better, missing points are never on."""
    front = np.zeros(len(loss), dtype=bool)
    best = np.inf
    for i in np.lexsort((loss, cost)):
        if np.isfinite(cost[i]) and loss[i] < best:
            front[i], best = True, loss[i]
    return front


@accept_table("factors", "scale")
def seed_spread(design: Design, axes: Sequence[str]) -> pd.DataFrame:
    """Describe the standard deviation over seeds of a configuration's outcome, level by level.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance:

        - ``spread``: the median over configurations of the standard deviation over seeds, on the
          scale, with their quartiles ``low, high`` (of chance and configuration, no interval).
        - ``cells``: configurations with at least two results; ``seeds``: the most that one has.
    """
    check_names("axes", axes)
    check_columns(design.runs, axes)
    data = design.observations
    cell = data.cells(design.factors)
    of_cell = pd.Series(data.value).groupby(cell).agg(spread="std", seeds="count")
    of_cell["lost"] = np.bincount(cell[data.diverged], minlength=len(of_cell))
    rows = data.rows[np.unique(cell, return_index=True)[1]]
    tables = []
    for axis in axes:
        levels = design.runs[axis].iloc[rows].reset_index(drop=True).rename("level")
        groups = of_cell.groupby(levels, sort=False, dropna=False)
        spread, lost = groups["spread"], groups["lost"].sum()
        table = pd.DataFrame(
            {
                "spread": spread.median(),
                "low": spread.quantile(0.25),
                "high": spread.quantile(0.75),
                "cells": spread.count(),
                "seeds": groups["seeds"].max(),
                "left_out": [format_counts((n, "run that diverged")) for n in lost],
            }
        )
        tables.append(table.reset_index().assign(axis=axis))
    if not tables:
        return pd.DataFrame(columns=SPREAD_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    procedure = "median over configurations of the standard deviation over blocks"
    assumptions = f"{design.unit}s independent of one another"
    return state_basis(table, table["seeds"], procedure, assumptions)[SPREAD_COLUMNS]


@accept_table("factors", "scale", "higher_is_better", "overlap", "split")
def ranking(design: Design, *, best: int = 10, alpha: float = 0.05) -> pd.DataFrame:
    """Rank the best configurations by seed.

    Only configurations that ended well in every seed are ranked (one that diverged is not among the
    best; seeds that lack runs for another reason are left out).  The best are those of best mean,
    so ranks among few of many look more different than they are; ``best_set`` says which
    configurations cannot be told from the best.

    Parameters
    ----------
    best
        How many, at least 1; all where there are fewer.
    alpha
        The level of Nemenyi's test, whatever the level of verdicts.

    Returns
    -------
    DataFrame
        One row a configuration, best first: the factors, and

        - ``place``; ``mean`` of the outcome (geometric on the log scale); ``iqm``, the
          interquartile mean, with the bounds ``iqm_low, iqm_high`` of its 95 % bootstrap, for
          which seeds are drawn jointly for all configurations (Agarwal et al., 2021), with the
          percentiles expanded for few seeds (Hesterberg, 2015).
        - ``mean_rank`` over seeds, 1 is best; ``apart``: its mean rank is farther from the first
          one's than the critical difference, among as many as are ranked here.
        - ``first_better``: the share of seeds in which the first one beats it, ties half;
          ``p_first``: p of its difference from the first one, by sign flips of the largest t of all
          pairs of configurations, also of those that are not ranked, so that it may be compared
          with one that was chosen by its mean; ``seeds``.
        - the same in every row: ``friedman, p``: Friedman's statistic of the ranks, corrected for
          ties; ``critical_difference`` of two mean ranks, by Nemenyi's test at ``alpha`` (Demsar,
          2006).
    """
    if best < 1:
        raise ValueError(f"best must be at least 1, not {best}")
    tests: BestTests = design.compute_once(compare_with_best)
    if not tests.merit.size:
        return pd.DataFrame(columns=[*design.factors, *RANKING_COLUMNS])
    order = tests.order[:best]
    beyond = format_counts((len(tests.levels) - len(order), "configuration beyond the best"))
    left_out = join_statements(tests.left_out, beyond)
    table = _rank(tests, order, design, alpha).assign(left_out=left_out)
    return join_factors(tests.levels.iloc[order], table[RANKING_COLUMNS])


def _rank(tests: BestTests, order: Ints, design: Design, alpha: float) -> pd.DataFrame:
    """The columns of ``ranking`` for some configurations, best first."""
    merit, sign = tests.merit[:, order], -1 if design.higher_is_better else 1
    n, k = merit.shape
    ranks = stats.rankdata(merit, axis=1)
    mean_ranks = ranks.mean(axis=0)
    statistic, p = friedman(ranks)
    distance = critical_difference(k, n, alpha)
    lead = merit[:, 1:] - merit[:, :1]

    def to_unit(value: Floats) -> Floats:
        return np.exp(sign * value) if design.scale == "log" else sign * value

    low, high = np.sort([to_unit(bound) for bound in _bootstrap_interval(merit)], axis=0)
    table = pd.DataFrame(
        {
            "place": np.arange(1, k + 1),
            "mean": to_unit(merit.mean(axis=0)),
            "iqm": to_unit(interquartile_mean(merit)),
            "iqm_low": low,
            "iqm_high": high,
            "mean_rank": mean_ranks,
            "apart": np.abs(mean_ranks - mean_ranks[0]) > distance,
            "first_better": [np.nan, *((lead > 0).mean(axis=0) + (lead == 0).mean(axis=0) / 2)],
            "p_first": tests.p_first[order],
            "seeds": n,
            "friedman": statistic,
            "p": p,
            "critical_difference": distance,
        }
    )
    procedure = (
        f"ranks within blocks of the best {k}, Friedman's test, Nemenyi's critical "
        f"difference at {alpha:g}; {_count_resamples(merit):,} joint resamples of blocks; sign "
        f"flips of the largest t of all pairs of {len(tests.levels)} configurations"
    )
    assumptions = (
        f"{design.unit}s independent of one another; chosen on the same runs that rank them"
    )
    return state_basis(table, table["seeds"], procedure, assumptions)


def friedman(ranks: Floats, *, ties: bool = True) -> tuple[float, float]:
    """Friedman's chi-square of ranks within blocks, and its p; Demsar (2006) ignores ties."""
    n, k = ranks.shape
    if n < 2 or k < 2:
        return np.nan, np.nan
    statistic = 12 * n / (k * (k + 1)) * ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum()
    if ties:
        counts = (np.unique(row, return_counts=True)[1] for row in ranks)
        tied = sum(float((count**3 - count).sum()) for count in counts)
        correction = 1 - tied / (n * k * (k**2 - 1))
        statistic = statistic / correction if correction > 0 else 0.0
    return float(statistic), float(stats.chi2.sf(statistic, k - 1))


@lru_cache
def critical_difference(treatments: int, blocks: int, alpha: float = 0.05) -> float:
    """Return how far two mean ranks must be apart (Nemenyi's test; Demsar, 2006)."""
    if treatments < 2:
        return np.nan
    q = stats.studentized_range.ppf(1 - alpha, treatments, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(treatments * (treatments + 1) / (6 * blocks)))


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half of each column (Agarwal et al., 2021)."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=0), dtype=float)


def _count_resamples(merit: Floats) -> int:
    """Return how often the seeds are drawn: less often where they are very many, to bound time."""
    return max(200, min(RESAMPLES, MOST_DRAWN // merit.size))


def _bootstrap_interval(merit: Floats) -> tuple[Floats, Floats]:
    """Percentile bootstrap of the interquartile means, seeds resampled jointly for all columns."""
    n = len(merit)
    if n < 2:
        missing = np.full(merit.shape[1], np.nan)
        return missing, missing
    # Sorted by their numbers, so that the labels of the seeds do not change the draws.
    merit = merit[np.lexsort(merit.T)]
    random, count = np.random.default_rng(0), _count_resamples(merit)
    n_parts = min(count, -(-count * merit.size // AT_A_TIME))
    sizes = [len(rows) for rows in np.array_split(np.arange(count), n_parts)]
    samples = (merit[random.integers(n, size=(size, n))] for size in sizes)
    means = np.concatenate([stats.trim_mean(sample, 0.25, axis=1) for sample in samples])
    # Percentiles as far out as the t interval of a mean would be beside the normal one.
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
