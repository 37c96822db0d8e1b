"""Does a technique help on average? The main effect of every level against its control.

Rows are paired on all other factors and the seed, compared on the log scale, and collapsed to one
number a seed before anything is tested: the seed is the experimental unit, and pooling
configurations as if they were independent calls a third of all null techniques significant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.coding import Floats, Ints, count_distinct
from ablations.analysis.confounding import Unpaired
from ablations.analysis.design import Design, accept_table
from ablations.analysis.incomplete import compared_pairs, fill_mean_differences
from ablations.analysis.inference import (
    EXACT_BLOCKS,
    EXACT_FAMILY_BLOCKS,
    RESAMPLES,
    adjust,
    min_seeds,
    share_positive,
    sign_flip_p,
    smallest_p,
)
from ablations.analysis.least_squares import (
    NO_INTERACTIONS,
    describe_models,
    estimate_by_block,
    estimate_over_blocks,
    judge_over_blocks,
    list_unpaired,
)
from ablations.analysis.pairing import (
    Pairs,
    count_pairs,
    mean_by_block,
    pair_runs,
)
from ablations.analysis.robustness import ROBUST_COLUMNS, Robustness
from ablations.analysis.scope import MeanEffects, describe_assumptions, describe_interval
from ablations.analysis.statements import (
    STATED,
    UNTESTED,
    join_statements,
    list_counts,
    question_text,
)
from ablations.analysis.verdicts import UNDECIDED, describe_cautions, find_doubts, verdicts

EFFECT_COLUMNS = [
    "axis", "level", "control", "effect", "low", "high", "change", "change_low", "change_high",
    "lasting_error", "p", "p_adjusted", "p_floor", "reachable", "p_equivalent",
    "p_equivalent_adjusted", "within_margin", *ROBUST_COLUMNS, "better", "helped", "cells",
    "seeds", "pairs", "survivors", "seeds_dropped", "cells_dropped", "filled", "identical",
    "diverged", "control_diverged", "p_divergence", "conditional", "verdict", "caution",
    "confounded_with", *STATED,
]  # fmt: skip
COUNTS = [
    "cells", "seeds", "pairs", "survivors", "seeds_dropped", "cells_dropped", "filled", "identical",
    "diverged", "control_diverged", "n",
]  # fmt: skip
Correction = Literal["max_t", "holm"]


@accept_table(
    *("controls", "factors", "scale", "higher_is_better", "margin", "alpha", "confidence"),
    *("overlap", "split"),
)
def main_effects(design: Design, *, correction: Correction = "max_t") -> pd.DataFrame:
    """Compare every level with its axis' control, and say in four words what that shows.

    Parameters
    ----------
    correction
        ``max_t`` (step-down sign-flip max-T) or ``holm``. The family is every level against its
        control, together with the divergence contrasts wherever anything diverged.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance.  Levels without pairs come last: estimated by
        least squares of main effects and blocks where that is possible (``procedure`` says so), or
        else with ``pairs`` 0; ``left_out`` says why:

        - ``effect, low, high``: mean over seeds of the seeds' mean difference and its t interval,
          of the design's ``confidence``, on the scale; ``change, change_low, change_high``: as a
          fraction (log scale).
          Where seeds split one table, the interval is about new data like it (``overlap``), or
          about this table (``overlap`` 0); ``lasting_error`` is the standard error that would
          stay with any number of seeds.
        - ``p, p_adjusted``: sign-flip, before and after correction; ``p_floor``: the smallest
          adjusted p these seeds can give; ``reachable``: whether that is below ``alpha``;
          ``p_equivalent``: two one-sided t tests; ``p_equivalent_adjusted``: over all levels
          (``adjusted_equivalence_p``), missing with fewer seeds than can show a difference;
          ``within_margin``: share of the posterior within the margin (``share_within``).
        - ``robust, robust_low, robust_high``: Hodges and Lehmann's estimate over seeds and its
          exact 95 % interval, missing with fewer than six seeds; ``skewness`` of the seeds;
          ``p_skewed`` (over all levels), ``p_shared_skew`` (of most levels): that normal luck is as
          skewed; ``p_corrected``: ``p_adjusted``, of t corrected for the skewness that is visible;
          ``carrier``: the seed that alone carries the effect, if any (``Robustness``).
        - ``better``: share of seeds in which the level is better, ties half, diverging more counts
          as worse; ``helped``: share of cells in which it is better on average.
        - ``cells, seeds, pairs``: what was compared (without pairs: runs of the level);
          ``seeds_dropped, cells_dropped``: left out as incomplete; ``filled``: pairs that are
          missing, and filled in by least squares; ``identical``: pairs equal to the last bit.
        - ``diverged, control_diverged``: runs of ``pairs``; ``p_divergence`` (adjusted);
          ``conditional``: the effect is over pairs where both survived only.
        - ``verdict``: helps, hurts, practically equal, not enough evidence; ``caution``: why it is
          not what the other columns suggest, in a sentence or more, or nothing.
        - ``confounded_with``: factors and interactions that an effect without pairs cannot be told
          from.
    """
    _check_request(design, correction)
    return pd.concat(_list_tables(design, correction), ignore_index=True)


def _list_tables(design: Design, correction: str) -> list[pd.DataFrame]:
    """Return the effects with pairs, those of least squares, and levels without an effect."""
    by_axis = [_compare_axis(design, axis) for axis in design.contrasted_axes]
    contrasts = [axis for axis in by_axis if len(axis.counts)]
    unpaired = list_unpaired(design)
    by_block = estimate_by_block(design, unpaired)
    if by_block.levels:
        contrasts.append(_Contrasts(by_block.counts, by_block.differences, by_block.divergence, []))
    tables = [_tested(design, contrasts, correction)] if contrasts else []
    unpaired = [row for row in unpaired if row not in by_block.levels]
    # What a table of its own says of new data like it takes differences by block.
    fits = estimate_over_blocks(design, [] if design.overlap else unpaired)
    if len(fits):
        others = tables[0]["p"].to_numpy(dtype=float) if tables else np.zeros(0)
        tables.append(_judge(design, judge_over_blocks(design, fits, others)))
        fitted = set(zip(fits["axis"], fits["level"], strict=True))
        unpaired = [row for row in unpaired if row[:2] not in fitted]
    missing = unpaired + [row for axis in by_axis for row in axis.missing]
    if missing or not tables:
        tables.append(_unpaired(design, missing))
    return tables


def _check_request(design: Design, correction: str) -> None:
    if not 0 < design.alpha < 1 or not 0 < design.margin < np.inf:
        raise ValueError(
            f"alpha must lie between 0 and 1 and margin above 0: {design.alpha}, {design.margin}"
        )
    if correction not in ("max_t", "holm"):
        raise ValueError(f"correction must be 'max_t' or 'holm', not {correction!r}")
    # A control "1" among levels 1 and 2 is a mistake, and no level that was not run.
    for axis in design.contrasted_axes:
        column, control = design.columns[axis], design.controls[axis]
        if not column.at(control).any() and str(control) in map(str, column.levels):
            kind, expected = type(control).__name__, type(column.levels[0]).__name__
            raise ValueError(f"the control {control!r} of {axis!r} is a {kind}, not a {expected}")


@dataclass(frozen=True)
class _Contrasts:
    """The levels of one axis against its control: ``counts``, one row a level; ``differences`` and
    excess of diverged runs (``divergence``), blocks x levels, means over cells; and axis, level and
    reason of levels ``missing`` because none of their pairs are balanced.
    """

    counts: pd.DataFrame
    differences: Floats
    divergence: Floats
    missing: list[Unpaired]


def _compare_axis(design: Design, axis: str) -> _Contrasts:
    data, control = design.observations, design.controls[axis]
    column = data.columns[axis]
    pairs: Pairs = design.compute_once(pair_runs, axis)
    balanced: Pairs = design.compute_once(compared_pairs, axis)
    contrast, level = pd.factorize(balanced.level)
    size = len(column.levels)
    n_pairs = np.bincount(pairs.level, minlength=size)
    n_runs = np.bincount(column.codes[column.codes >= 0], minlength=size)
    n_cells = count_distinct(pairs.level, pairs.cell, size)
    codes, planned = design.columns[axis].codes, design.statuses != "skipped"
    planned &= codes >= 0
    n_planned = count_distinct(codes[planned], design.blocks[0][planned], size)
    missing = [
        Unpaired(axis, column.levels[code], f"{axis} {column.levels[code]} and its control "
                 f"{control} have {n_pairs[code]:,} pairs, but no two {design.unit}s of the same "
                 "cells", "")
        for code in pd.unique(pairs.level) if code not in set(level)
    ]  # fmt: skip
    counts = count_pairs(balanced, contrast, len(level))
    shape = len(data.blocks), len(level)
    differences, divergence, filled = fill_mean_differences(balanced, contrast, shape)
    table = pd.DataFrame(
        {
            "axis": pd.Series([axis] * len(level), dtype="str"),
            "level": column.infer_levels(balanced.row[np.unique(contrast, return_index=True)[1]]),
            "control": pd.Series([control] * len(level)),
            **counts,
            "conditional": counts["survivors"] < counts["pairs"],
            "helped": _share_helped(design, balanced, contrast, len(level)),
            "seeds_dropped": n_planned[level] - counts["blocks"],
            "cells_dropped": n_cells[level] - counts["cells"],
            "unpaired": n_runs[level] - n_pairs[level],
            "control_unpaired": column.at(control).sum() - n_pairs[level],
            "filled": filled,
            "confounded_with": "",
            "reason": "",
        }
    )
    return _Contrasts(table, differences, divergence, missing)


def _share_helped(design: Design, pairs: Pairs, contrast: Ints, size: int) -> Floats:
    shape = pairs.cell.max(initial=-1) + 1, size
    gains = mean_by_block(pairs.difference, contrast, pairs.cell, shape)
    wins = gains > 0 if design.higher_is_better else gains < 0
    n = np.isfinite(gains).sum(axis=0)
    return np.where(n > 0, wins.sum(axis=0) / np.maximum(n, 1), np.nan)


def _tested(design: Design, contrasts: Sequence[_Contrasts], correction: str) -> pd.DataFrame:
    table = pd.concat([axis.counts for axis in contrasts], ignore_index=True)
    d = np.asfortranarray(np.hstack([axis.differences for axis in contrasts]))
    excess = np.asfortranarray(np.hstack([axis.divergence for axis in contrasts]))
    compared = np.isfinite(excess).any(axis=1)
    d, excess = d[compared], excess[compared]
    means = MeanEffects.from_differences(design, d, np.flatnonzero(compared))
    n, p = np.isfinite(d).sum(axis=0), means.p()
    # Where nothing diverged there is no second question, and it must not cost the family anything.
    uneven = np.where(np.nansum(np.abs(excess), axis=0) > 0, excess, np.nan)
    adjusted, tests = _adjust(means, uneven, correction)
    robust, corrected = Robustness.from_differences(d), adjusted
    if (robust.factor < 1).any():
        corrected = np.fmax(adjusted, _adjust(means, uneven, correction, robust.factor)[0])
    counted = EXACT_FAMILY_BLOCKS if correction == "max_t" else EXACT_BLOCKS
    floor, p_divergence = smallest_p(n, tests, counted), adjusted[len(n) :]
    family = len(table) + int(np.isfinite(p_divergence).sum())
    block, sign = design.unit, 1 if design.higher_is_better else -1
    table = table.assign(
        **means.columns(design.scale),
        seeds=n,
        p=p,
        p_adjusted=adjusted[: len(n)],
        p_divergence=p_divergence,
        p_floor=floor,
        reachable=floor <= design.verdict_level,
        p_equivalent=means.p_equivalent(design.bound),
        p_equivalent_adjusted=means.adjusted_equivalence_p(design.bound, design.alpha),
        within_margin=means.share_within(design.bound),
        lasting_error=means.lasting_error(),
        **robust.columns(design.blocks[1][compared], corrected[: len(n)]),
        better=share_positive(np.where(excess != 0, -excess, sign * np.sign(d))),
        n=n,
        procedure=[
            _procedure(design, seeds, family, correction, len(d), bool(reason))
            for seeds, reason in zip(n, table["reason"], strict=True)
        ],
        assumes=[
            join_statements(describe_assumptions(design), NO_INTERACTIONS if reason else "")
            for reason in table["reason"]
        ],
        left_out=[*map(join_statements, _list_missing(table, block), table["reason"])],
    )
    return _judge(design, table)


def _adjust(
    means: MeanEffects, uneven: Floats, correction: str, factor: Floats | None = None
) -> tuple[Floats, int]:
    """Adjust the p of means, each t reduced by a factor, and of divergence; and count the tests
    that the smallest p is adjusted for.
    """
    if correction == "max_t":
        return means.family_p(uneven, factor), 1
    p = means.p()
    if factor is not None:
        n = np.isfinite(means.d).sum(axis=0)
        p = np.fmax(p, 2 * stats.t.sf(factor * means.t(), np.maximum(n - 1, 1)))
    raw = np.concatenate([p, sign_flip_p(uneven)])
    return adjust(raw, "holm"), int(np.isfinite(raw).sum())


def _list_missing(table: pd.DataFrame, block: str) -> list[str]:
    return list_counts(
        (table["seeds_dropped"], f"{block} with a run missing"),
        (table["filled"], "pair that is missing, filled in by least squares"),
        (table["cells_dropped"], "cell with a run missing"),
        (table["unpaired"], "run without a partner at the control"),
        (table["control_unpaired"], "run of the control without a partner"),
        (table["pairs"] - table["survivors"], "pair of which a run diverged"),
    )


def _judge(design: Design, table: pd.DataFrame) -> pd.DataFrame:
    if "robust" not in table:
        table = table.assign(**dict.fromkeys(ROBUST_COLUMNS[:-1], np.nan), carrier="")
    table = table.assign(doubt=find_doubts(table, design))
    words = verdicts(table, alpha=design.verdict_level, higher_is_better=design.higher_is_better)
    table = table.assign(verdict=words)
    cautions = describe_cautions(table, design), describe_models(table)
    table["caution"] = [" ".join(filter(None, texts)) for texts in zip(*cautions, strict=True)]
    return table[EFFECT_COLUMNS]


def _procedure(
    design: Design, seeds: int, family: int, correction: str, blocks: int, is_fitted: bool
) -> str:
    higher_is_better = design.higher_is_better
    question = question_text(design.outcome, design.scale, higher_is_better=higher_is_better)
    if seeds < 2:
        return question + UNTESTED
    flips = "exact" if seeds <= EXACT_BLOCKS else f"{RESAMPLES:,} random"
    name = {"max_t": "step-down max-T", "holm": "Holm"}[correction]
    if correction == "max_t" and min(family - 1, blocks - EXACT_FAMILY_BLOCKS) > 0:
        name += f" of {RESAMPLES:,} random flips" if flips == "exact" else ""
    fewest = f"{min_seeds(design.alpha)} {design.unit}s"
    verdict = f"verdict at a level of {design.alpha:.2g}"
    verdict += f", at look {design.position}" if design.position else ""
    if not design.verdict_level:
        verdict = f"no verdict, as looks were stated at {', '.join(map(str, design.looks))} seeds"
    margin = f"{design.margin:.2%}" if design.scale == "log" else f"{design.margin:.4g}"
    model = "differences paired within blocks, mean over cells"
    if is_fitted:
        model = "least squares of main effects within each block, as nothing pairs"
    return (
        f"{question}{model}; {describe_interval(design)}"
        f", of this comparison alone; p by {flips} sign flips, adjusted by {name} over "
        f"{family}; equivalence within {margin} by two one-sided t tests and step-down max-T, "
        f"from {fewest} on; {verdict}"
    )


def _unpaired(design: Design, missing: Sequence[Unpaired]) -> pd.DataFrame:
    """Rows of levels that have no pair: the reason, the verdict, and no numbers."""
    axes, levels, reasons, aliases = zip(*missing, strict=True) if missing else ((),) * 4
    table = pd.DataFrame(index=range(len(missing)), columns=EFFECT_COLUMNS, dtype=float)
    return table.assign(
        **dict.fromkeys(COUNTS, 0),
        reachable=False,
        conditional=False,
        axis=np.array(axes, dtype=object),
        level=pd.Series(levels, dtype=object).to_numpy(),
        control=[design.controls[axis] for axis in axes],
        verdict=UNDECIDED,
        caution="",
        confounded_with=np.array(aliases, dtype=object),
        procedure="none: nothing to pair",
        assumes="",
        left_out=np.array(reasons, dtype=object),
    )
