"""The part of a design that is balanced: every combination of some levels, in the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.linalg import helmert

from ablations.analysis.design import (
    STATED,
    Floats,
    Ints,
    Scale,
    any_names,
    format_counts,
    to_observations,
    varying,
)
from ablations.analysis.pairing import unmeasured

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Balanced:
    """A full cross of factors with blocks.

    Attributes
    ----------
    values
        One axis a factor, in their order, then one of blocks (or of replicates).
    levels
        Factor to its levels, in the order of ``values``.
    blocks
        The labels of the last axis; None where it is of replicates.
    left_out
        What is not in it, in words; empty where that is nothing.
    """

    values: Floats
    levels: dict[str, tuple[object, ...]]
    blocks: tuple[object, ...] | None
    left_out: tuple[str, ...]


def balanced(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str | None = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> Balanced:
    """The largest full cross that a greedy search finds, with the blocks that have all of it.

    While combinations of levels are missing, the level that has the smallest share of its
    combinations goes (of two that are alike the one whose name comes last).  Runs that diverged
    have no number and count as missing.  Then blocks that lack a combination go, unless that would
    leave fewer than half of them, or than two: then levels go instead, or blocks that all lack the
    same.  The choice never looks at an outcome, nor at the order of rows or the names of blocks.

    Parameters
    ----------
    block
        The experimental unit that is crossed with the factors, a column; None where rows of a
        combination are independent replicates, of which each combination must have as many.

    Raises
    ------
    ValueError
        As ``measured`` does; or if combinations have different numbers of replicates.
    """
    names = varying(runs, factors)
    unit = block or "replicate"
    if block is None:
        runs = runs.assign(**{unit: np.arange(len(runs))})
    table = to_observations(runs, names, outcome=outcome, block=unit, scale=scale, status=status)
    said = unmeasured(runs, table, names, unit) if block is not None else []
    lost = int(table["diverged"].sum())
    table = table[~table["diverged"]].copy()
    if block is None:
        # Numbered where they have one: what is missing is no replicate.
        cells = table.groupby(names, sort=False, dropna=False) if names else None
        table[unit] = np.arange(len(table)) if cells is None else cells.cumcount()
    elif names:
        _refuse_nested(table, names, unit)
    coded = {name: _by_name(table[name]) for name in names}
    units, labels = pd.factorize(table[unit])
    shape = [*(len(uniques) for _, uniques in coded.values()), len(labels)]
    cube = np.full(shape, np.nan)
    cube[(*(codes for codes, _ in coded.values()), units)] = table["value"]
    kept = _full_cross(np.isfinite(cube), replicates=block is None)
    levels = {
        name: tuple(uniques[index] for index in kept[axis])
        for axis, (name, (_, uniques)) in enumerate(coded.items())
    }
    said += [
        f"{name} {', '.join(str(uniques[i]) for i in range(len(uniques)) if i not in kept[axis])}"
        for axis, (name, (_, uniques)) in enumerate(coded.items())
        if len(kept[axis]) < len(uniques)
    ]
    parts = ((len(labels) - len(kept[-1]), unit), (lost, "run that diverged"))
    said += [text for part in parts if (text := format_counts(part))]
    blocks = None if block is None else tuple(labels[index] for index in kept[-1])
    return Balanced(cube[np.ix_(*kept)], levels, blocks, tuple(said))


def _refuse_nested(table: pd.DataFrame, names: Sequence[str], block: str) -> None:
    """Blocks that each have one level of a factor are no blocks for it."""
    for name in names:
        if len(set(table[name])) > 1 and (table.groupby(block)[name].nunique() < 2).all():
            raise ValueError(
                f"no {block} was measured at two levels of {name!r}; where rows are independent, "
                "give block=None"
            )


def _by_name(column: pd.Series) -> tuple[Ints, list[object]]:
    """Levels as numbers, in the order of their names: that of the rows must not matter."""
    codes, uniques = pd.factorize(column, use_na_sentinel=False)
    order = sorted(range(len(uniques)), key=lambda i: str(uniques[i]))
    return np.argsort(order)[codes], [uniques[i] for i in order]


def _full_cross(present: Bools, replicates: bool) -> list[list[int]]:
    """Indices on each axis of a sub-array in which all entries are present."""
    kept = [list(range(size)) for size in present.shape]
    if replicates and not present.all():
        counts = present.sum(axis=-1)
        raise ValueError(
            f"combinations have between {counts.min()} and {counts.max()} replicates: "
            "variance shares need as many of each"
        )
    while True:
        part = present[np.ix_(*kept)]
        if part.size == 0 or part.all():
            return kept
        whole = np.atleast_1d(part.reshape(-1, part.shape[-1]).all(axis=0))
        ever = part.any(axis=-1)
        if ever.all() and whole.sum() >= min(2, len(whole)) and 2 * whole.sum() >= len(whole):
            kept[-1] = [index for index, ok in zip(kept[-1], whole, strict=True) if ok]
            continue
        # Of all levels, and of blocks where no level may go, the one that has the least.
        shares = [
            (part.mean(axis=tuple(a for a in range(part.ndim) if a != axis)), axis)
            for axis in range(part.ndim)
            if len(kept[axis]) > 1
        ]
        _, axis, index = min(
            (round(float(share), 9), axis, -index)
            for found, axis in shares
            for index, share in enumerate(found)
        )
        going = {-index}
        if axis == part.ndim - 1:
            # Blocks have no names to choose by, only what they lack.
            lacks = [part[..., i].tobytes() for i in range(part.shape[-1])]
            fewest = np.flatnonzero(np.isclose(shares[-1][0], shares[-1][0].min()))
            worst = max(lacks[i] for i in fewest)
            going = {int(i) for i in fewest if lacks[i] == worst}
        kept[axis] = [place for i, place in enumerate(kept[axis]) if i not in going]


IMPORTANCE_COLUMNS = [
    "source", "kind", "ss", "df", "ms", "eta2", "omega2", "error_ms", "error_df", "f", "p",
    "epsilon", "p_epsilon", "numbers", *STATED,
]  # fmt: skip


@any_names
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
        - ``epsilon``: how far the differences between levels are from varying alike over blocks (1:
          alike; Greenhouse & Geisser, 1959); ``p_epsilon``: p with both degrees of freedom times
          that, which holds where they do not. Missing without blocks.
        - ``numbers``: how many were analysed; ``n``: blocks, or numbers where there are none;
          ``procedure``; ``assumes``; ``left_out``: what was not balanced.

        Empty where fewer than two numbers are balanced.

    Raises
    ------
    ValueError
        As ``balance.balanced`` does; but replicates of one factor alone may be of different
        numbers.
    """
    if block is None and len(varying(runs, factors)) == 1:
        return _one_way(runs, varying(runs, factors)[0], outcome, scale, status)
    design = balanced(runs, factors, outcome=outcome, block=block, scale=scale, status=status)
    factors = [name for name, levels in design.levels.items() if len(levels) > 1]
    values = design.values.reshape([s for s in design.values.shape[:-1] if s > 1] + [-1])
    if values.size < 2:
        return pd.DataFrame(columns=IMPORTANCE_COLUMNS)
    table = _shares(values, factors, order, design)
    if design.blocks is None:
        n, how = values.size, _BETWEEN
    else:
        n = len(design.blocks)
        how = _WITHIN if n >= 2 else ("nothing, with fewer than two to compare", _WITHIN[1])
    return table.assign(
        numbers=values.size,
        n=n,
        procedure=how[0],
        assumes=how[1],
        left_out="; ".join(design.left_out),
    )[IMPORTANCE_COLUMNS]


_WITHIN = (
    "balanced analysis of variance, repeated measures: each effect against its interaction with "
    "the blocks",
    "blocks independent of one another, differences about normal; p: differences between levels "
    "vary alike (p_epsilon does without)",
)


_BETWEEN = (
    "balanced analysis of variance, between groups: each effect against the spread within "
    "combinations",
    "numbers independent of one another, about normal, and of one spread in all combinations",
)


def _one_way(
    runs: pd.DataFrame, factor: str, outcome: str, scale: Scale, status: str
) -> pd.DataFrame:
    """One factor, replicates: sums of squares add up however many each level has."""
    runs = runs.assign(replicate=np.arange(len(runs)))
    how = {"outcome": outcome, "block": "replicate", "scale": scale, "status": status}
    table = to_observations(runs, [factor], **how)  # type: ignore[arg-type]
    lost = format_counts((int(table["diverged"].sum()), "run that diverged"))
    table = table[~table["diverged"]]
    centred = table["value"] - table["value"].mean()
    groups = centred.groupby(table[factor], sort=False, dropna=False)
    within = float(((centred - groups.transform("mean")) ** 2).sum())
    between = float((groups.mean() ** 2 * groups.size()).sum())
    df, error_df = groups.ngroups - 1, len(table) - groups.ngroups
    if len(table) < 2:
        return pd.DataFrame(columns=IMPORTANCE_COLUMNS)
    rows = [
        (factor, "factor", between, df, within, error_df),
        ("residual", "residual", within, error_df, np.nan, np.nan),
    ]
    found = pd.DataFrame(rows, columns=["source", "kind", "ss", "df", "error_ss", "error_df"])
    return _tested(found.assign(epsilon=np.nan), total=between + within).assign(
        numbers=len(table), n=len(table), procedure=_BETWEEN[0], assumes=_BETWEEN[1], left_out=lost
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
        epsilon = np.nan if design.blocks is None else _epsilon(values, subset)
        rows.append((subset, ss, df, error_ss, error_df, epsilon))
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
            parts[2:4] = residual_ss, residual_df
        parts[4] = np.nan
        named.append(("higher interactions", "interaction", *parts))
    missing = (np.nan, np.nan, np.nan)
    if design.blocks is not None:
        named.append(("blocks", "block", block_ss, block_df, *missing))
    named.append(("residual", "residual", residual_ss, residual_df, *missing))
    columns = ["source", "kind", "ss", "df", "error_ss", "error_df", "epsilon"]
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
