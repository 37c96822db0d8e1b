"""Which factor matters? Shares of the variance, with what the seed and chance have of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.balance import Balanced, balanced
from ablations.analysis.design import Floats, Scale

IMPORTANCE_COLUMNS = [
    "source", "kind", "ss", "df", "ms", "eta2", "omega2", "error_ms", "error_df", "f", "p",
    "procedure", "n", "left_out",
]  # fmt: skip


def importance(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str | None = "seed",
    scale: Scale = "log",
    order: int = 2,
    status: str = "status",
) -> pd.DataFrame:
    """Split the variance of the outcome into shares of factors, interactions, seeds and chance.

    An analysis of variance of the balanced part of the design (``balance.balanced``), in which
    sums of squares add up to the total without any model fitted.  With blocks, each block is
    measured under every combination, and the error of an effect is its own interaction with the
    blocks (repeated measures); with replicates, the error is the spread within combinations.

    Parameters
    ----------
    block
        The experimental unit; None where rows of a combination are independent replicates.
    order
        Interactions of up to so many factors have a row each; higher ones share one.

    Returns
    -------
    DataFrame
        One row a source, factors first, then interactions, each by its share; then the blocks and
        the residual (all interactions with blocks, or the spread within combinations):

        - ``kind``: factor, interaction, block or residual; ``ss, df, ms``.
        - ``eta2``: share of the total sum of squares; they add up to 1.  ``omega2``: the same
          without what chance alone would give, (ss - df error_ms) / (total ss + residual ms).
        - ``error_ms, error_df, f, p``: the F test of the effect against its error term.
        - ``procedure``, ``n`` (numbers that were analysed), ``left_out`` (what was not balanced).

        Empty where fewer than two numbers are balanced.

    Raises
    ------
    ValueError
        As ``balance.balanced`` does.
    """
    design = balanced(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    factors = [name for name, levels in design.levels.items() if len(levels) > 1]
    values = design.values.reshape([s for s in design.values.shape[:-1] if s > 1] + [-1])
    if values.size < 2:
        return pd.DataFrame(columns=IMPORTANCE_COLUMNS)
    table = _shares(values, factors, order, design)
    name = "repeated measures" if design.blocks is not None else "between groups"
    return table.assign(
        procedure=f"balanced analysis of variance, {name}",
        n=values.size,
        left_out="; ".join(design.left_out),
    )[IMPORTANCE_COLUMNS]


def _shares(values: Floats, factors: list[str], order: int, design: Balanced) -> pd.DataFrame:
    k = len(factors)
    effects = _components(values)
    within = [subset for subset in effects if subset and subset[-1] == k]
    residual_ss = sum(effects[s][0] for s in within if len(s) > 1)
    residual_df = sum(effects[s][1] for s in within if len(s) > 1)
    block_ss, block_df = effects.get((k,), (0.0, 0))
    if design.blocks is None:
        # Replicates are numbered at will: all that varies with the number is chance.
        residual_ss, residual_df = residual_ss + block_ss, residual_df + block_df
    rows = []
    for subset, (ss, df) in effects.items():
        if not subset or subset[-1] == k:
            continue
        if design.blocks is None:
            error_ss, error_df = residual_ss, residual_df
        else:
            error_ss, error_df = effects[(*subset, k)]
        rows.append((subset, ss, df, error_ss, error_df))
    shown = [row for row in rows if len(row[0]) <= order]
    higher = [row for row in rows if len(row[0]) > order]
    named = [
        (
            " × ".join(factors[i] for i in subset),
            "factor" if len(subset) == 1 else "interaction",
            *numbers,
        )
        for subset, *numbers in sorted(shown, key=lambda row: (len(row[0]) > 1, -row[1]))
    ]
    if higher:
        parts = np.array([row[1:] for row in higher]).sum(axis=0)
        if design.blocks is None:
            parts[2:] = residual_ss, residual_df
        named.append(("higher interactions", "interaction", *parts))
    if design.blocks is not None:
        named.append(("blocks", "block", block_ss, block_df, np.nan, np.nan))
    named.append(("residual", "residual", residual_ss, residual_df, np.nan, np.nan))
    columns = ["source", "kind", "ss", "df", "error_ss", "error_df"]
    table = pd.DataFrame(named, columns=columns)
    return _tested(table, total=float(table["ss"].sum()))


def _tested(table: pd.DataFrame, total: float) -> pd.DataFrame:
    df, error_df = table["df"].astype(float), table["error_df"].astype(float)
    residual = table[table["kind"] == "residual"].iloc[0]
    residual_ms = residual["ss"] / residual["df"] if residual["df"] else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ms = (table["ss"] / df.where(df > 0)).astype(float)
        error_ms = (table["error_ss"] / error_df.where(error_df > 0)).astype(float)
        f = ms / error_ms
        omega2 = (table["ss"] - df * error_ms) / (total + residual_ms)
        p = pd.Series(stats.f.sf(f, df, error_df), index=table.index)
        eta2 = table["ss"] / total if total > 0 else table["ss"] * np.nan
    return table.assign(ms=ms, error_ms=error_ms, f=f, p=p, eta2=eta2, omega2=omega2)


def _components(values: Floats) -> dict[tuple[int, ...], tuple[float, int]]:
    """Sum of squares and degrees of freedom of every subset of the array's axes.

    The component of a subset is its table of means less all components of smaller subsets.  Means
    are taken of centred numbers: squares of large numbers that differ little have few digits left.
    """
    centred = values - values.mean()
    axes = range(values.ndim)
    components: dict[tuple[int, ...], Floats] = {(): np.zeros((1,) * values.ndim)}
    found: dict[tuple[int, ...], tuple[float, int]] = {}
    for size in range(1, values.ndim + 1):
        for subset in combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in subset)
            effect = centred.mean(axis=others, keepdims=True)
            for smaller in range(1, size):
                for part in combinations(subset, smaller):
                    effect = effect - components[part]
            components[subset] = effect
            repeats = values.size / effect.size
            df = int(np.prod([values.shape[axis] - 1 for axis in subset]))
            found[subset] = (float(repeats * (effect**2).sum()), df)
    return found
