"""Times of two revisions in matched pairs of processes, and what they prove.

``benchmatrix`` orders, runs and keeps the pairs, and refuses those that do not fit together.  Its
own interval is of the ratio of two medians, each over all processes of a side; on a machine whose
pace drifts, the ratios within pairs tell more, and their centre is asked for here (Hodges &
Lehmann, 1963), with its exact interval.  Both are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np
import pandas as pd
from benchmatrix import BenchmarkPairedRunGroup, RegressionPolicy

from ablations.analysis.location import hodges_lehmann

SLOWER, FASTER, EQUAL, OPEN = "slower", "faster", "equal", "inconclusive"
LEVEL = 0.95
"""Confidence of all intervals of a comparison together."""


def pairs(group: BenchmarkPairedRunGroup) -> pd.DataFrame:
    """Every benchmark's time in every pair of processes.

    Returns
    -------
    DataFrame
        ``benchmark, pair, order``; ``base, candidate``: seconds, medians over the rounds of a
        process.
    """
    rows = []
    for pair in group.complete_pairs:
        sides = [
            {row.implementation_name: statistics.median(row.samples) for row in run.rows}
            for run in (pair.baseline, pair.candidate)
        ]
        rows += [
            (name, pair.pair_index, pair.pair_order, seconds, sides[1][name])
            for name, seconds in sides[0].items()
        ]
    return pd.DataFrame(rows, columns=["benchmark", "pair", "order", "base", "candidate"])


def verdicts(times: pd.DataFrame, threshold: float, level: float = LEVEL) -> pd.DataFrame:
    """Judge every benchmark by the ratio of its times, candidate over base.

    Parameters
    ----------
    times
        As ``pairs`` gives them.
    threshold
        What matters: 0.05 is five percent, in both directions.
    level
        Confidence of all intervals together (Bonferroni).

    Returns
    -------
    DataFrame
        ``benchmark``; ``base, candidate``: seconds, medians over pairs; ``ratio, low, high``;
        ``pairs``; ``verdict``: slower or faster where the whole interval is beyond the threshold,
        equal where it is within, else inconclusive.
    """
    rows = []
    beyond = np.log1p(threshold)
    names = list(dict.fromkeys(times["benchmark"]))
    each = 1 - (1 - level) / max(len(names), 1)
    for name in names:
        part = times[times["benchmark"] == name]
        found = hodges_lehmann(np.log(part["candidate"] / part["base"]).to_numpy(), each)
        enough = found.confidence >= each
        if enough and found.low > beyond:
            verdict = SLOWER
        elif enough and found.high < -beyond:
            verdict = FASTER
        elif enough and -beyond <= found.low and found.high <= beyond:
            verdict = EQUAL
        else:
            verdict = OPEN
        middle = np.exp([found.estimate, found.low, found.high])
        seconds = (part["base"].median(), part["candidate"].median())
        rows.append((name, *seconds, *middle, found.n, verdict))
    columns = ["benchmark", "base", "candidate", "ratio", "low", "high", "pairs", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def second_opinion(group: BenchmarkPairedRunGroup, threshold: float) -> pd.DataFrame:
    """What ``benchmatrix`` itself finds: BCa intervals of the ratio of medians, Bonferroni.

    Returns
    -------
    DataFrame
        ``benchmark, ratio, low, high, verdict``, ratios as in ``verdicts``.
    """
    policy = RegressionPolicy(default_threshold_percent=100 * threshold)
    words = {"regressed": SLOWER, "improved": FASTER, "unchanged": EQUAL}
    rows = []
    for found in group.compare(regression_policy=policy).comparisons:
        inferred = found.inference
        bounds: Iterable[float | None] = (None, None, None)
        if inferred is not None and inferred.adequate:
            bounds = (
                inferred.estimate_percent,
                inferred.confidence_high_percent,
                inferred.confidence_low_percent,
            )
        # There an improvement is positive, in percent of the base.
        ratios = [np.nan if bound is None else 1 - bound / 100 for bound in bounds]
        rows.append((found.implementation_name, *ratios, words.get(found.regression, OPEN)))
    return pd.DataFrame(rows, columns=["benchmark", "ratio", "low", "high", "verdict"])
