"""Which configuration does best, and what does it cost? Summaries and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ablations.analysis.design import (
    STATED,
    Floats,
    Scale,
    any_names,
    cell_codes,
    done,
    format_counts,
    spelled,
    to_observations,
)
from ablations.analysis.inference import max_t, summarise
from ablations.analysis.pairing import complete_configurations

STATUSES = ("ok", "diverged", "failed", "skipped")


MEASURES = [
    "mean", "low", "high", "metric", "metric_low", "metric_high", "seconds", "runs", "ok",
    "diverged", "failed", "skipped", "complete", "pareto",
]  # fmt: skip


@any_names
def configurations(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    metric: str = "metric",
    seconds: str = "train_seconds",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    status: str = "status",
) -> pd.DataFrame:
    """Summarise every configuration over its seeds, best first.

    Returns
    -------
    DataFrame
        ``factors``; ``mean, low, high`` of the outcome (geometric on the log scale; 95 % t
        interval over seeds); ``metric, metric_low, metric_high`` (arithmetic); ``seconds``
        (median); ``runs, ok, diverged, failed, skipped``; ``complete``: every run ended well;
        ``pareto``: complete, and no complete configuration is at least as good and as fast, and
        better in one. Complete configurations come first, by their mean: a configuration that is
        good only where it survived does not lead the table.
    """
    runs = runs.assign(configuration=cell_codes(runs[list(factors)]))
    table = _described(runs, factors).join(_status_counts(runs, status))
    how = {"outcome": outcome, "block": block, "scale": scale, "status": status}
    values = to_observations(runs, ["configuration"], **how)  # type: ignore[arg-type]
    losses = summarise(values, ["configuration"], "value")[["mean", "low", "high"]]
    table = table.join(np.exp(losses) if scale == "log" else losses)
    ok = runs[runs[status] == "ok"] if status in runs else runs
    spent = ok.groupby("configuration")[seconds].median().rename("seconds")
    table = table.join(_metric(ok, metric)).join(spent)
    table["complete"] = (table["ok"] == table["runs"]) & table["mean"].notna()
    merit = table["mean"].to_numpy(dtype=float) * (-1 if higher_is_better else 1)
    front = pareto_front(np.where(table["complete"], merit, np.nan), table["seconds"].to_numpy())
    table = table.assign(pareto=front, merit=merit, incomplete=~table["complete"])
    table = table.sort_values(["incomplete", "merit", "name"], kind="stable")
    return table[[*factors, *MEASURES]].reset_index(drop=True)


def _described(runs: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """The levels of every configuration, and all of them as one ``name`` that orders ties."""
    table = runs.drop_duplicates("configuration").set_index("configuration")[list(factors)]
    # Ties come out in the same order whatever order the rows came in.
    table["name"] = spelled(table) if factors else ""
    return table


def _status_counts(runs: pd.DataFrame, status: str) -> pd.DataFrame:
    state = runs[status] if status in runs else pd.Series("ok", index=runs.index)
    counts = pd.crosstab(runs["configuration"], state).reindex(columns=list(STATUSES), fill_value=0)
    counts.columns.name = None
    return counts.assign(runs=runs.groupby("configuration").size())


def _metric(ok: pd.DataFrame, metric: str) -> pd.DataFrame:
    columns = {"mean": "metric", "low": "metric_low", "high": "metric_high"}
    numbers = ok[["configuration"]].assign(
        metric=pd.to_numeric(ok[metric]) if metric in ok else np.nan
    )
    return summarise(numbers, ["configuration"], "metric").rename(columns=columns)[
        [*columns.values()]
    ]


def pareto_front(loss: Floats, cost: Floats) -> npt.NDArray[np.bool_]:
    """Mark the points that no other point beats; smaller is better in both, and missing points are
    never on it.
    """
    front = np.zeros(len(loss), dtype=bool)
    best = np.inf
    for i in np.lexsort((loss, cost)):
        if np.isfinite(cost[i]) and loss[i] < best:
            front[i], best = True, loss[i]
    return front


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
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
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
                    format_counts((int(n), "run that diverged")) for n in by_level["lost"].sum()
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


RANKING_COLUMNS = [
    "place", "mean", "iqm", "iqm_low", "iqm_high", "mean_rank", "apart", "first_better", "p_first",
    "seeds", "friedman", "p", "critical_difference", *STATED,
]  # fmt: skip


RESAMPLES = 2_000


@any_names
def ranking(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    best: int = 10,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    alpha: float = 0.05,
    status: str = "status",
) -> pd.DataFrame:
    """Rank the best configurations by seed.

    Only configurations that ended well in every seed are ranked (one that diverged in some is
    not among the best; seeds that lack runs for another reason are left out).  Which ones are best
    is decided by their mean, on the scale, so ranks among few best of many look more different than
    they are: ``winner.winner`` says how much.

    Parameters
    ----------
    best
        How many; all where there are fewer.

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
          ``p_first``: sign-flip p of its difference from the first one, step-down max-T; ``seeds``.
        - the same in every row: ``friedman, p``: Friedman's statistic of the ranks, corrected for
          ties; ``critical_difference`` of two mean ranks, by Nemenyi's test at ``alpha`` (Demsar,
          2006).
        - ``n`` (seeds), ``procedure``, ``assumes``, ``left_out``.

    Raises
    ------
    ValueError
        As ``measured`` does.
    """
    table = to_observations(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    if best < 1:
        raise ValueError(f"best must be at least 1, not {best}")
    kept = complete_configurations(runs, table, factors, block)
    wide, named = kept.values, kept.levels
    complete = wide.columns
    if wide.empty:
        return pd.DataFrame(columns=[*factors, *RANKING_COLUMNS])
    sign = -1 if higher_is_better else 1
    merit = wide[complete].to_numpy(dtype=float) * sign
    order = np.lexsort((spelled(named.loc[complete]), merit.mean(axis=0)))[:best]
    chosen, merit = complete[order], merit[:, order]
    ranks = stats.rankdata(merit, axis=1)
    statistic, p = friedman(ranks)
    distance = critical_difference(len(chosen), len(merit), alpha)
    low, high = _interval(merit)
    first = np.full(len(chosen), np.nan)
    first[1:] = max_t(merit[:, 1:] - merit[:, :1])
    away = np.abs(ranks.mean(axis=0) - ranks[:, 0].mean())

    def shown(value: Floats) -> Floats:
        return np.exp(sign * value) if scale == "log" else sign * value

    bounds = np.sort([shown(low), shown(high)], axis=0)
    better = _share_below(merit[:, :1], merit)
    better[0] = np.nan
    said = format_counts((len(complete) - len(chosen), "configuration beyond the best"))
    found = named.loc[chosen].assign(
        place=np.arange(1, len(chosen) + 1),
        mean=shown(merit.mean(axis=0)),
        iqm=shown(interquartile_mean(merit)),
        iqm_low=bounds[0],
        iqm_high=bounds[1],
        mean_rank=ranks.mean(axis=0),
        apart=away > distance,
        first_better=better,
        p_first=first,
        seeds=len(merit),
        friedman=statistic,
        p=p,
        critical_difference=distance,
        n=len(merit),
        procedure=done(
            pd.Series(len(merit), index=chosen),
            f"ranks within blocks of the best {len(chosen)}, Friedman's test, Nemenyi's critical "
            f"difference at {alpha:g}; {RESAMPLES:,} joint resamples of blocks; sign flips against "
            "the first, max-T",
        ),
        assumes=f"{block}s independent of one another; chosen on the same runs that rank them",
        left_out="; ".join(filter(None, [kept.left_out, said])),
    )
    return found.reset_index(drop=True)


def friedman(ranks: Floats, *, ties: bool = True) -> tuple[float, float]:
    """Friedman's chi-square of ranks within blocks (blocks x treatments), and its p.

    Parameters
    ----------
    ties
        Whether to correct for ties, as scipy's ``friedmanchisquare`` does; Demsar's formula (2006)
        does not.
    """
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


def critical_difference(treatments: int, blocks: int, alpha: float = 0.05) -> float:
    """How far two mean ranks must be apart (Nemenyi's test; Demsar, 2006)."""
    if treatments < 2:
        return np.nan
    q = stats.studentized_range.ppf(1 - alpha, treatments, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(treatments * (treatments + 1) / (6 * blocks)))


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half of each column (Agarwal et al., 2021)."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=0), dtype=float)


def probability_of_improvement(x: Floats, y: Floats) -> float:
    """Probability that a run of ``x`` is larger than one of ``y``, ties half.

    Source: Agarwal et al. (2021), after Mann and Whitney.

    Parameters
    ----------
    x, y
        Runs x tasks; runs need not be paired, tasks must be the same.
    """
    shares = []
    for a, b in zip(np.asarray(x).T, np.asarray(y).T, strict=True):
        greater, equal = a[:, None] > b, a[:, None] == b
        shares.append(greater.mean() + equal.mean() / 2)
    return float(np.mean(shares))


def _share_below(first: Floats, others: Floats) -> Floats:
    return np.asarray((first < others).mean(axis=0) + (first == others).mean(axis=0) / 2)


def _interval(merit: Floats) -> tuple[Floats, Floats]:
    """Percentile bootstrap of the interquartile means, seeds drawn once for all columns."""
    n = len(merit)
    if n < 2:
        missing = np.full(merit.shape[1], np.nan)
        return missing, missing
    # Sorted by what they hold, so that the labels of the seeds do not choose the draws.
    merit = merit[np.lexsort(merit.T)]
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    means = stats.trim_mean(merit[draws], 0.25, axis=1)
    # Percentiles as far out as the t interval of a mean would be beside the normal one.
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
