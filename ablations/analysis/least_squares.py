"""Effects of levels that no pair of runs shows: least squares with blocks, as in a fraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.anova import analysis_of_variance
from ablations.analysis.coding import Bools, Floats, Ints
from ablations.analysis.confounding import Unpaired, inestimable_main_effects
from ablations.analysis.design import Design, accept_table
from ablations.analysis.equality import equivalence_p
from ablations.analysis.inference import adjust, effect_columns, min_seeds
from ablations.analysis.pairing import mean_by_block
from ablations.analysis.statements import STATED, question_text
from ablations.analysis.terms import mean_within

REPLICATES = "rows are independent replicates, and no block pairs them"
NO_INTERACTIONS = "no interactions between factors"
TOLERANCE = 1e-8
"""Round-off that a contrast may differ by from what the runs estimate."""


def list_unpaired(design: Design) -> list[Unpaired]:
    """List the levels that no pair compares with their control, and why: without blocks, all."""
    unpaired = inestimable_main_effects(design)
    if design.block is None:
        inestimable = {(row.axis, row.level) for row in unpaired}
        for axis in design.contrasted_axes:
            levels = design.observations.columns[axis].levels
            others = [level for level in levels if level != design.controls[axis]]
            unpaired += [
                Unpaired(axis, x, REPLICATES, "") for x in others if (axis, x) not in inestimable
            ]
    return unpaired


@dataclass(frozen=True)
class BlockEstimates:
    """Levels that single blocks can tell from their control, with the reasons why they have no
    pairs: ``counts``, one row a level; ``differences`` and excess of diverged runs
    (``divergence``), blocks x levels.
    """

    levels: list[Unpaired]
    counts: pd.DataFrame
    differences: Floats
    divergence: Floats


@dataclass(frozen=True)
class _Comparison:
    """A level with its control: which runs have which."""

    missing: Unpaired
    code: int
    control: int
    at_level: Bools
    at_control: Bools


def _comparisons(design: Design, missing: Sequence[Unpaired]) -> list[_Comparison]:
    """List the levels of which and of whose control runs ended."""
    comparisons = []
    for item in missing:
        axis, level = item.axis, item.level
        column, control = design.observations.columns[axis], design.controls[axis]
        codes = column.code_of(level), column.code_of(control)
        masks = column.at(level), column.at(control)
        if all(mask.any() for mask in masks):
            comparisons.append(_Comparison(item, *codes, *masks))
    return comparisons


def _main_effect_columns(design: Design, rows: Ints) -> tuple[Floats, dict[tuple[str, int], int]]:
    """Return indicators of the levels of all factors, and the position of each level's."""
    columns, position = [np.ones(len(rows))], {}
    for name, column in design.observations.columns.items():
        codes = column.codes[rows]
        for code in np.unique(codes):
            position[name, int(code)] = len(columns)
            columns.append((codes == code).astype(float))
    return np.stack(columns, axis=1), position


def _contrast(item: _Comparison, position: dict[tuple[str, int], int], size: int) -> Floats | None:
    """Return the level's coefficient less its control's, of all; None where one has no column."""
    keys = (item.missing.axis, item.code), (item.missing.axis, item.control)
    if not all(key in position for key in keys):
        return None
    contrast = np.zeros(size)
    contrast[[position[key] for key in keys]] = 1, -1
    return contrast


def _contrast_weights(design: Design, rows: Ints, comparisons: Sequence[_Comparison]) -> Floats:
    """Weights of runs that estimate each comparison by least squares, missing where none do."""
    weights = np.full((len(comparisons), len(rows)), np.nan)
    if not len(rows):
        return weights
    columns, position = _main_effect_columns(design, rows)
    inverse = np.linalg.pinv(columns)
    for j, item in enumerate(comparisons):
        contrast = _contrast(item, position, columns.shape[1])
        if contrast is None:
            continue
        solution = contrast @ inverse
        if np.abs(solution @ columns - contrast).max() < TOLERANCE:
            weights[j] = solution
    return weights


def estimate_by_block(design: Design, missing: Sequence[Unpaired]) -> BlockEstimates:
    """Estimate levels without pairs within each block, by least squares of all main effects.

    A fraction of a design, run in each block, tells main effects although no two of its runs differ
    in one factor only.  Then each block gives one number, as it does where runs are paired.

    Returns
    -------
    BlockEstimates
        Of levels that at least two blocks can estimate.
    """
    data, comparisons = design.observations, _comparisons(design, missing)
    d = np.full((len(data.blocks), len(comparisons)), np.nan)
    if comparisons and design.block is not None:
        cells = data.cells(design.factors)
        by_pattern: dict[bytes, Floats] = {}
        for block in np.unique(data.block):
            rows = np.flatnonzero((data.block == block) & ~data.diverged)
            rows = rows[np.argsort(cells[rows])]
            pattern = cells[rows].tobytes()
            if pattern not in by_pattern:
                by_pattern[pattern] = _contrast_weights(design, rows, comparisons)
            weights, value = by_pattern[pattern], data.value[rows]
            # What round-off leaves of no difference is none.
            near = 1e-12 * (np.abs(weights) @ np.abs(value))
            d[block] = np.where(np.abs(weights @ value) < near, 0.0, weights @ value)
    enough = np.flatnonzero(np.isfinite(d).sum(axis=0) >= 2)
    comparisons, d = [comparisons[j] for j in enough], d[:, enough]
    excess = _excess_of_diverged(design, comparisons)
    counts = [
        _count(design, item, np.isfinite(column))
        for item, column in zip(comparisons, excess.T, strict=True)
    ]
    return BlockEstimates([item.missing for item in comparisons], pd.DataFrame(counts), d, excess)


def _excess_of_diverged(design: Design, comparisons: Sequence[_Comparison]) -> Floats:
    """Share of diverged runs of each level less that of its control, blocks x levels."""
    data, shape = design.observations, (len(design.observations.blocks), 1)
    columns = [np.zeros((shape[0], 0))]
    for item in comparisons:
        level, control = (
            mean_by_block(
                data.diverged[at].astype(float), np.zeros(at.sum(), int), data.block[at], shape
            )
            for at in (item.at_level, item.at_control)
        )
        columns.append(level - control)
    return np.hstack(columns)


def _count(design: Design, item: _Comparison, in_block: Bools) -> dict[str, Any]:
    """Count what the comparison of a level rests on: runs of the level stand for pairs."""
    data, axis, level = design.observations, item.missing.axis, item.missing.level
    at, at_control = (mask & in_block[data.block] for mask in (item.at_level, item.at_control))
    cells = data.cells([name for name in design.factors if name != axis])
    planned = (design.columns[axis].codes == item.code) & (design.statuses != "skipped")
    n_planned = len(np.unique(design.blocks[0][planned]))
    n_diverged = int(data.diverged[at].sum())
    return {
        "axis": axis,
        "level": level,
        "control": design.controls[axis],
        "cells": len(np.unique(cells[at])),
        "blocks": int(in_block.sum()),
        "pairs": int(at.sum()),
        "identical": 0,
        "diverged": n_diverged,
        "control_diverged": int(data.diverged[at_control].sum()),
        "survivors": int(at.sum()) - n_diverged,
        "conditional": bool(data.diverged[at | at_control].any()),
        "helped": np.nan,
        "seeds_dropped": n_planned - int(in_block.sum()),
        "cells_dropped": 0,
        "unpaired": 0,
        "filled": 0,
        "control_unpaired": 0,
        "confounded_with": item.missing.confounded_with,
        "reason": item.missing.reason,
    }


@dataclass(frozen=True)
class _PooledFit:
    """A contrast over all blocks: its estimate, standard error and degrees of freedom."""

    effect: float
    error: float
    degrees: float


def estimate_over_blocks(
    design: Design, missing: Sequence[Unpaired], *, allow_clusters: bool = True
) -> pd.DataFrame:
    """Estimate levels that no single block tells from their control, by least squares of main
    effects and block effects over all runs, as in a Latin square or an unreplicated fraction.

    Where no block has two runs of a level, the error is the residual; otherwise runs of a level in
    a block share what the block does to that level, and the error is that of clusters (blocks),
    with the small-sample correction CR2 and Satterthwaite's degrees of freedom (Bell & McCaffrey,
    2002; Pustejovsky & Tipton, 2018).

    Returns
    -------
    DataFrame
        One row a level that can be estimated: counts as for pairs; ``effect, error, degrees``;
        ``p`` of a t test and ``p_equivalent``, missing where no degrees of freedom are left;
        ``is_clustered``; ``reason`` why there are no pairs.
    """
    data = design.observations
    rows = np.flatnonzero(~data.diverged)
    comparisons = _comparisons(design, missing)
    if not comparisons or not len(rows):
        return pd.DataFrame()
    block = pd.factorize(data.block[rows] if design.block is not None else rows * 0)[0]
    indicators, position = _main_effect_columns(design, rows)
    columns = indicators - mean_within(indicators, block)
    value = data.value[rows] - mean_within(data.value[rows], block)
    in_all = np.ones(len(data.blocks), dtype=bool)
    table = []
    for item in comparisons:
        contrast = _contrast(item, position, columns.shape[1])
        if contrast is None:
            continue
        level = data.columns[item.missing.axis].codes[rows]
        is_repeated = bool(pd.DataFrame([block, level]).T.duplicated().any())
        is_clustered = allow_clusters and block.max() > 0 and is_repeated
        fit = _fit_contrast(columns, value, contrast, block, is_clustered=is_clustered)
        if fit is not None:
            counts = _count(design, item, in_all)
            units = len(np.unique(block)) if block.max() > 0 else len(rows)
            table.append({**counts, **vars(fit), "blocks": units, "is_clustered": is_clustered})
    return pd.DataFrame(table)


def _fit_contrast(
    columns: Floats, value: Floats, contrast: Floats, block: Ints, *, is_clustered: bool
) -> _PooledFit | None:
    """Estimate a contrast of columns, all free of block means; None where that is impossible."""
    inverse = np.linalg.pinv(columns)
    weights = contrast @ inverse
    if np.abs(weights @ columns - contrast).max() > TOLERANCE:
        return None
    hat = columns @ inverse
    residual = value - hat @ value
    # Round-off must not pass for an estimate of error.
    degrees = float(len(value) - (block.max() + 1) - round(np.trace(hat)))
    error = np.sqrt(residual @ residual / degrees * (weights @ weights)) if degrees > 0 else np.nan
    if is_clustered and degrees > 0:
        error, degrees = _cluster_error(hat, residual, weights, block)
    return _PooledFit(float(weights @ value), float(error), degrees)


def _cluster_error(
    hat: Floats, residual: Floats, weights: Floats, block: Ints
) -> tuple[float, float]:
    """Standard error of a contrast by CR2 over blocks, and its degrees of freedom."""
    same_block = block[:, None] == block[None, :]
    share = same_block / np.bincount(block)[block]
    maker = np.eye(len(block)) - hat - share
    scores, influence = [], []
    for name in np.unique(block):
        rows = np.flatnonzero(block == name)
        sizes, vectors = np.linalg.eigh(np.eye(len(rows)) - hat[np.ix_(rows, rows)])
        root = np.where(sizes > TOLERANCE, 1 / np.sqrt(np.maximum(sizes, TOLERANCE)), 0.0)
        adjusted = (vectors * root) @ vectors.T @ weights[rows]
        scores.append(adjusted @ residual[rows])
        influence.append(maker[:, rows] @ adjusted)
    products = np.array(influence) @ np.array(influence).T
    total = float((products**2).sum())
    degrees = float(np.trace(products) ** 2 / total) if total > 0 else 0.0
    return float(np.sqrt(np.sum(np.square(scores)))), degrees


def judge_over_blocks(design: Design, table: pd.DataFrame, others: Floats) -> pd.DataFrame:
    """Add intervals, p, and p adjusted by Holm together with ``others``, which stay as they are."""
    effect, error = (table[name].to_numpy(dtype=float) for name in ("effect", "error"))
    degrees = table["degrees"].to_numpy(dtype=float)
    degrees = np.where((degrees > 0) & np.isfinite(error), degrees, np.nan)
    half = stats.t.ppf(0.5 + design.confidence / 2, degrees) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(np.isnan(degrees), np.nan, 2 * stats.t.sf(np.abs(effect) / error, degrees))
    equivalent = equivalence_p(effect, error * np.sqrt(degrees + 1), degrees + 1, design.bound)
    adjusted = adjust(np.concatenate([p, others]), "holm")[: len(p)]
    enough = degrees + 1 >= min_seeds(design.alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        above, below = (
            stats.t.cdf((end - effect) / error, degrees) for end in (design.bound, -design.bound)
        )
    return table.assign(
        **effect_columns(effect, effect - half, effect + half, design.scale),
        p=p,
        p_adjusted=adjusted,
        p_floor=0.0,
        reachable=np.isfinite(p),
        p_equivalent=equivalent,
        p_equivalent_adjusted=np.where(enough, adjust(equivalent, "holm"), np.nan),
        within_margin=above - below,
        p_divergence=np.nan,
        lasting_error=np.where(np.isnan(p), np.nan, 0.0),
        better=np.nan,
        seeds=table["blocks"],
        n=table["blocks"],
        assumes=f"{NO_INTERACTIONS}; numbers about normal, and of one spread",
        procedure=[_describe_fit(design, row, len(table)) for row in table.to_dict("records")],
        left_out=[_describe_reason(design, row) for row in table.to_dict("records")],
    )


def describe_models(table: pd.DataFrame) -> list[str]:
    """Say of effects that no pairs show what they take for granted, and nothing of others."""
    texts = []
    for reason, names in zip(table["reason"], table["confounded_with"], strict=True):
        alias = f"; cannot be told from {names}" if names else ""
        is_model = reason not in ("", REPLICATES)
        texts.append(f"Estimated as if axes did not interact{alias}." if is_model else "")
    return texts


def _describe_fit(design: Design, row: dict[str, Any], family: int) -> str:
    blocks = "" if design.block is None else f" and of {design.block}s"
    question = question_text(design.outcome, design.scale, higher_is_better=design.higher_is_better)
    model = f"{question}least squares of main effects{blocks} over all runs"
    if not row["degrees"] > 0:
        return f"{model}, without an estimate of error"
    error = (
        f"errors of clusters ({design.unit}s, CR2)" if row["is_clustered"] else "error of residuals"
    )
    return (
        f"{model}; {100 * design.confidence:.4g} % t interval with {row['degrees']:.3g} degrees of "
        f"freedom, {error}; p by t, "
        f"adjusted by Holm with those of all comparisons; equivalence by two one-sided t tests, "
        f"adjusted by Holm over {family}; verdict at a level of {design.alpha:.2g}"
    )


def _describe_reason(design: Design, row: dict[str, Any]) -> str:
    reason = str(row["reason"])
    if row["degrees"] > 0:
        return reason
    table = analysis_of_variance(design)
    p = table.loc[table["source"] == row["axis"], "p_lenth"].astype(float)
    opinion = f" (Lenth's p {p.iloc[0]:.2g})" if p.notna().any() else ""
    return f"{reason}; no estimate of error: as many effects as runs{opinion}"


BLOCKED_COLUMNS = [
    "axis", "level", "control", "effect", "error", "degrees", "low", "high", "change", "change_low",
    "change_high", "p", "p_adjusted", *STATED,
]  # fmt: skip


@accept_table("controls", "factors", "scale")
def blocked_effects(design: Design) -> pd.DataFrame:
    """Compare every level with its control by least squares of main effects and block effects.

    The intra-block analysis of field trials, with interactions as error; runs are independent but
    for their blocks.  ``main_effects`` uses it only where nothing pairs, since what a technique
    does may differ by block (seed), and then runs of a block are no independent evidence.

    Returns
    -------
    DataFrame
        One row a level: ``effect``, its standard ``error`` and ``degrees`` of freedom; 95 % t
        interval ``low, high``, both also as fractions on the log scale; ``p`` of a t test, and
        adjusted by Holm over all levels. Levels that cannot be estimated are left out.
    """
    data = design.observations
    levels = [
        Unpaired(axis, level, "", "")
        for axis in design.contrasted_axes
        for level in data.columns[axis].levels
        if level != design.controls[axis]
    ]
    table = estimate_over_blocks(design, levels, allow_clusters=False)
    if table.empty:
        return pd.DataFrame(columns=BLOCKED_COLUMNS)
    return judge_over_blocks(design, table, np.zeros(0))[BLOCKED_COLUMNS]
