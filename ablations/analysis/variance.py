"""Shares of the variance of a design's balanced part: all combinations of levels in all blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.linalg import helmert

from ablations.analysis.coding import Bools, Column, Floats, Ints, factorize, varying
from ablations.analysis.design import Design, accept_table
from ablations.analysis.pairing import describe_unmeasured
from ablations.analysis.statements import STATED, format_counts, join_statements, state_basis
from ablations.analysis.terms import without_round_off


@dataclass(frozen=True)
class BalancedPart:
    """A full cross: ``values`` have one axis a factor, and last one of blocks or replicates."""

    values: Floats
    levels: dict[str, tuple[object, ...]]
    left_out: tuple[str, ...]


def find_balanced_part(design: Design) -> BalancedPart:
    """Find the largest full cross of varying factors with blocks, by a greedy search.

    While combinations of levels are missing, the level that has the smallest share of its
    combinations goes (of two alike the one whose text comes last).  Runs that diverged count as
    missing.  Then blocks that lack a combination go, unless that would leave fewer than half of
    them, or than two: then levels go instead, or blocks that all lack the same.  The choice
    depends neither on an outcome, nor on the order of rows or the labels of blocks.
    """
    design = replace(design, factors=tuple(varying(design.runs, design.factors)))
    data, has_blocks = design.observations, design.block is not None
    left_out = describe_unmeasured(design) if has_blocks else []
    rows = np.flatnonzero(~data.diverged)
    if has_blocks:
        unit, labels = pd.factorize(data.block[rows])
        for name, column in data.columns.items():
            codes = pd.Series(column.codes[rows])
            n_levels = codes.where(codes >= 0).groupby(unit).nunique()
            if len(set(codes)) > 1 and (n_levels < 2).all():
                raise ValueError(
                    f"no {design.unit} was measured at two levels of {name!r}; where rows are "
                    "independent, give block=None"
                )
    else:
        # Numbered within each combination: what is missing is no replicate.
        cells = data.cells(design.factors)[rows]
        unit = pd.Series(cells).groupby(cells).cumcount().to_numpy()
        labels = np.unique(unit)
    coded = {name: _sort_levels(column, rows) for name, column in data.columns.items()}
    cube = np.full([*(len(levels) for _, levels in coded.values()), len(labels)], np.nan)
    cube[(*(codes for codes, _ in coded.values()), unit)] = data.value[rows]
    remaining = _full_cross(np.isfinite(cube), replicates=not has_blocks)
    balanced = {}
    for (name, (_, levels)), axis in zip(coded.items(), remaining, strict=False):
        balanced[name] = tuple(levels[index] for index in axis)
        removed = [str(level) for i, level in enumerate(levels) if i not in axis]
        left_out += [f"{name} {', '.join(removed)}"] if removed else []
    left_out += [
        format_counts((len(labels) - len(remaining[-1]), design.unit)),
        format_counts((len(data) - len(rows), "run that diverged")),
    ]
    return BalancedPart(cube[np.ix_(*remaining)], balanced, tuple(filter(None, left_out)))


def _sort_levels(column: Column, rows: Ints) -> tuple[Ints, list[object]]:
    """Levels as numbers, in the order of their text: that of the rows must not matter."""
    codes, levels = factorize(column.values.iloc[rows])
    order = sorted(range(len(levels)), key=lambda i: str(levels[i]))
    return np.argsort(order)[codes], [levels[i] for i in order]


def _full_cross(present: Bools, replicates: bool) -> list[list[int]]:
    """Indices on each axis of a sub-array in which all entries are present."""
    remaining = [list(range(size)) for size in present.shape]
    if replicates and not present.all():
        counts = present.sum(axis=-1)
        raise ValueError(
            f"combinations have between {counts.min()} and {counts.max()} replicates: "
            "variance shares need as many of each"
        )
    while True:
        inside = present[np.ix_(*remaining)]
        if inside.size == 0 or inside.all():
            return remaining
        complete = np.atleast_1d(inside.reshape(-1, inside.shape[-1]).all(axis=0))
        enough = complete.sum() >= min(2, len(complete)) and 2 * complete.sum() >= len(complete)
        if inside.any(axis=-1).all() and enough:
            removed = set(np.flatnonzero(~complete).tolist())
            axis = inside.ndim - 1
        else:
            axis, removed = _emptiest(inside)
        remaining[axis] = [index for i, index in enumerate(remaining[axis]) if i not in removed]


def _emptiest(inside: Bools) -> tuple[int, set[int]]:
    """The axis and indices of the emptiest part: one level, or all blocks that lack the same."""
    shares = [
        (inside.mean(axis=tuple(a for a in range(inside.ndim) if a != axis)), axis)
        for axis in range(inside.ndim)
        if inside.shape[axis] > 1
    ]
    _, axis, index = min(
        (round(float(share), 9), axis, -index)
        for of_axis, axis in shares
        for index, share in enumerate(of_axis)
    )
    if axis < inside.ndim - 1:
        return axis, {-index}
    # Blocks have no names to choose by, only what they lack.
    lacks = [inside[..., i].tobytes() for i in range(inside.shape[-1])]
    fewest = np.flatnonzero(np.isclose(shares[-1][0], shares[-1][0].min()))
    worst = max(lacks[i] for i in fewest)
    return axis, {int(i) for i in fewest if lacks[i] == worst}


SHARE_COLUMNS = [
    "source", "kind", "ss", "df", "ms", "eta2", "omega2", "error_ms", "error_df", "f", "p",
    "epsilon", "p_epsilon", "numbers", *STATED,
]  # fmt: skip
WITHIN = (
    "balanced analysis of variance, repeated measures: each effect against its interaction with "
    "the blocks",
    "blocks independent of one another, differences about normal; p: differences between levels "
    "vary alike (p_epsilon does without)",
)
BETWEEN = (
    "balanced analysis of variance, between groups: each effect against the spread within "
    "combinations",
    "numbers independent of one another, about normal, and of one spread in all combinations",
)


@accept_table("factors", "scale")
def variance_shares(design: Design, *, order: int = 2) -> pd.DataFrame:
    """Split the variance of the outcome into shares of factors, interactions, seeds and chance.

    An analysis of variance of the balanced part of the design (``find_balanced_part``), in which
    sums of squares add up to the total.  With blocks, the error of an effect is its own interaction
    with the blocks (repeated measures); with replicates, it is the spread within combinations.

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
        - ``epsilon``: how far the differences between levels are from varying alike over blocks (1:
          alike; Greenhouse & Geisser, 1959); ``p_epsilon``: p with both degrees of freedom times
          that, which holds where they do not. Missing without blocks.
        - ``numbers``: how many were analysed; ``n``: blocks, or numbers where there are none.

        Empty where fewer than two numbers are balanced.
    """
    factors, has_blocks = varying(design.runs, design.factors), design.block is not None
    if not has_blocks and len(factors) == 1:
        return _one_way(replace(design, factors=tuple(factors)))
    balanced = find_balanced_part(design)
    factors = [name for name, levels in balanced.levels.items() if len(levels) > 1]
    values = balanced.values.reshape([s for s in balanced.values.shape[:-1] if s > 1] + [-1])
    if values.size < 2:
        return pd.DataFrame(columns=SHARE_COLUMNS)
    n = balanced.values.shape[-1] if has_blocks else values.size
    table = _split_variance(values, factors, order, has_blocks)
    table = table.assign(numbers=values.size, left_out=join_statements(*balanced.left_out))
    basis = WITHIN if has_blocks else BETWEEN
    return state_basis(table, [n] * len(table), *basis)[SHARE_COLUMNS]


def _one_way(design: Design) -> pd.DataFrame:
    """One factor, replicates: sums of squares add up however many each level has."""
    data, (factor,) = design.observations, design.factors
    rows = np.flatnonzero(~data.diverged)
    if len(rows) < 2:
        return pd.DataFrame(columns=SHARE_COLUMNS)
    values = pd.Series(data.value[rows])
    centred = values - values.mean()
    groups = centred.groupby(data.columns[factor].codes[rows], sort=False)
    sums = (
        ((centred - groups.transform("mean")) ** 2).sum(),
        (groups.mean() ** 2 * groups.size()).sum(),
    )
    within, between = without_round_off(np.array(sums), values.to_numpy()).tolist()
    df, error_df = groups.ngroups - 1, len(rows) - groups.ngroups
    sources = [
        (factor, "factor", between, df, within, error_df, np.nan),
        ("residual", "residual", within, error_df, *MISSING),
    ]
    table = pd.DataFrame(sources, columns=SOURCE_COLUMNS)
    left_out = format_counts((int(data.diverged.sum()), "run that diverged"))
    table = _tested(table, total=between + within).assign(numbers=len(rows), left_out=left_out)
    return state_basis(table, [len(rows)] * len(table), *BETWEEN)[SHARE_COLUMNS]


SOURCE_COLUMNS = ["source", "kind", "ss", "df", "error_ss", "error_df", "epsilon"]
MISSING = (np.nan, np.nan, np.nan)


def _split_variance(
    values: Floats, factors: list[str], order: int, has_blocks: bool
) -> pd.DataFrame:
    k = len(factors)
    components = _components(values)
    residuals = [components[s] for s in components if s and s[-1] == k and len(s) > 1]
    residual_ss, residual_df = sum(ss for ss, _ in residuals), sum(df for _, df in residuals)
    block_ss, block_df = components.get((k,), (0.0, 0))
    if not has_blocks:
        # Replicates are numbered at will: all that varies with the number is chance.
        residual_ss, residual_df = residual_ss + block_ss, residual_df + block_df
    effects = []
    for subset, (ss, df) in components.items():
        if subset and subset[-1] != k:
            error = components[(*subset, k)] if has_blocks else (residual_ss, residual_df)
            epsilon = _epsilon(values, subset) if has_blocks and error[0] else np.nan
            effects.append((subset, ss, df, *error, epsilon))
    shown = [row for row in effects if len(row[0]) <= order]
    shown.sort(key=lambda row: (len(row[0]) > 1, -row[1]))
    rows: list[tuple[object, ...]] = []
    for subset, *numbers in shown:
        kind = "factor" if len(subset) == 1 else "interaction"
        rows.append((" × ".join(factors[i] for i in subset), kind, *numbers))
    higher = [row[1:] for row in effects if len(row[0]) > order]
    if higher:
        total = np.array(higher).sum(axis=0)
        if not has_blocks:
            total[2:4] = residual_ss, residual_df
        rows.append(("higher interactions", "interaction", *total[:4], np.nan))
    if has_blocks:
        rows.append(("blocks", "block", block_ss, block_df, *MISSING))
    rows.append(("residual", "residual", residual_ss, residual_df, *MISSING))
    table = pd.DataFrame(rows, columns=SOURCE_COLUMNS)
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
        p = stats.f.sf(f, df, error_df)
        p_epsilon = stats.f.sf(f, table["epsilon"] * df, table["epsilon"] * error_df)
        eta2 = table["ss"] / total if total > 0 else table["ss"] * np.nan
    return table.assign(
        ms=ms, error_ms=error_ms, f=f, p=p, p_epsilon=p_epsilon, eta2=eta2, omega2=omega2
    )


def _epsilon(values: Floats, subset: tuple[int, ...]) -> float:
    """Greenhouse and Geisser's epsilon of an effect, from orthonormal contrasts by block."""
    others = tuple(axis for axis in range(values.ndim - 1) if axis not in subset)
    contrasts = values.mean(axis=others)
    for _ in subset:
        # Each turn takes the first axis, and puts its contrasts last.
        contrasts = np.tensordot(contrasts, helmert(contrasts.shape[0]), axes=(0, 1))
    by_block = contrasts.reshape(len(contrasts), -1)
    if len(by_block) < 2:
        return np.nan
    covariance = np.atleast_2d(np.cov(by_block, rowvar=False))
    spread = len(covariance) * float((covariance**2).sum())
    return float(np.trace(covariance) ** 2 / spread) if spread > 0 else np.nan


def _components(values: Floats) -> dict[tuple[int, ...], tuple[float, int]]:
    """Sum of squares and degrees of freedom of every subset of the array's axes: of its table of
    means less the components of all smaller subsets.
    """
    # Centred first: squares of large numbers that differ little have few digits left.
    centred = values - values.mean()
    axes = range(values.ndim)
    components: dict[tuple[int, ...], Floats] = {(): np.zeros((1,) * values.ndim)}
    result: dict[tuple[int, ...], tuple[float, int]] = {}
    for size in range(1, values.ndim + 1):
        for subset in combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in subset)
            effect = centred.mean(axis=others, keepdims=True)
            for smaller in range(1, size):
                for inner in combinations(subset, smaller):
                    effect = effect - components[inner]
            components[subset] = effect
            repeats = values.size / effect.size
            df = int(np.prod([values.shape[axis] - 1 for axis in subset]))
            ss = without_round_off(repeats * (effect**2).sum(), values)
            result[subset] = (float(ss), df)
    return result
