"""Does a technique help on average? The main effect of every level against its control.

Rows are paired on all other factors and the seed, compared on the log scale, and collapsed to one
number a seed before anything is tested: the seed is the experimental unit, and pooling
configurations as if they were independent calls a third of all null techniques significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ablations.analysis.confounding import aliases
from ablations.analysis.design import (
    STATED,
    Floats,
    Scale,
    any_names,
    assumed,
    at_level,
    format_counts,
    on_scale,
    to_observations,
)
from ablations.analysis.inference import (
    EXACT_BLOCKS,
    RESAMPLES,
    adjust,
    equivalence_p,
    max_t,
    mean_and_sd,
    over_seeds,
    share_positive,
    sign_flip_p,
    smallest_p,
)
from ablations.analysis.pairing import Level, by_seed, complete_blocks, paired_differences
from ablations.analysis.verdicts import UNDECIDED, verdicts

EFFECT_COLUMNS = [
    "axis", "level", "control", "effect", "low", "high", "change", "change_low", "change_high",
    "p", "p_adjusted", "p_floor", "reachable", "p_equivalent", "better", "helped", "cells",
    "seeds", "pairs", "survivors", "seeds_dropped", "cells_dropped", "identical", "diverged",
    "control_diverged", "p_divergence", "conditional", "verdict", *STATED,
]  # fmt: skip


@any_names
def main_effects(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    higher_is_better: bool = False,
    margin: float = 0.02,
    alpha: float = 0.05,
    correction: Literal["max_t", "holm"] = "max_t",
    status: str = "status",
) -> pd.DataFrame:
    """Compare every level with its axis' control, and say in four words what that shows.

    Parameters
    ----------
    runs : one row a run; rows, seed labels and levels may come in any order.
    controls : axis -> its control level. An axis that is absent, or has one level, gives no row.
    factors : every column that tells configurations apart, the axes included.
    margin : differences below it do not matter: a fraction on the log scale, the outcome's unit
        otherwise.
    correction : ``max_t`` (step-down sign-flip max-T) or ``holm``. The family is every level
        against its control, together with the divergence contrasts wherever anything diverged.

    Returns
    -------
    DataFrame
        One row a level, in order of appearance; one that has no pair (``pairs`` 0) comes last,
        and ``left_out`` says why:

        - ``axis, level, control``; ``effect, low, high``: mean over seeds of the seeds' mean
          difference and its 95 % t interval, on the scale; ``change, change_low, change_high``: as
          a fraction (log scale only).
        - ``p, p_adjusted``: sign-flip, before and after correction; ``p_floor``: the smallest
          adjusted p these seeds can give; ``reachable``: whether that is below ``alpha``;
          ``p_equivalent``: two one-sided tests.
        - ``better``: share of seeds in which the level is better, ties half, diverging more counts
          as worse; ``helped``: share of cells in which it is better on average.
        - ``cells, seeds, pairs``: what was compared; ``seeds_dropped, cells_dropped``: left out as
          incomplete; ``identical``: pairs equal to the last bit.
        - ``diverged, control_diverged``: runs of ``pairs``; ``p_divergence`` (adjusted);
          ``conditional``: the effect is over pairs where both survived only.
        - ``verdict``: helps, hurts, practically equal, not enough evidence.
        - ``n`` (blocks), ``procedure``, ``assumes``, ``left_out``: what was done and with what, in
          words.

    Raises
    ------
    ValueError
        As ``measured`` does; if a control has another type than the levels; or if a number is out
        of its range.
    """
    if not 0 < alpha < 1 or not 0 < margin < np.inf:
        raise ValueError(f"alpha must lie between 0 and 1 and margin above 0: {alpha}, {margin}")
    if correction not in ("max_t", "holm"):
        raise ValueError(f"correction must be 'max_t' or 'holm', not {correction!r}")
    _refuse_other_types(runs, controls)
    seeds, rows = [], []
    unbalanced: list[tuple[object, ...]] = []
    for axis in (name for name in controls if name in runs):
        found = paired_differences(
            runs, axis, controls[axis], factors,
            outcome=outcome, block=block, scale=scale, status=status,
        )  # fmt: skip
        kept = complete_blocks(found.reset_index(drop=True), block=block)
        unbalanced += _unbalanced(found, kept, axis, controls[axis], block)
        if len(kept):
            planned = _planned(runs, axis, block, status)
            seeds.append(by_seed(kept, block))
            rows.append(_counts(found, kept, planned, block, higher_is_better))
    without = aliases(runs, controls, factors, outcome=outcome, block=block, status=status, order=1)
    without = pd.concat(
        [without, pd.DataFrame(unbalanced, columns=["axis", "level", "reason"])], ignore_index=True
    )
    if not rows:
        return _unpaired(without, controls)
    table = pd.concat(rows, ignore_index=True)
    d, excess = _wide(pd.concat(seeds, ignore_index=True), table[["axis", "level"]], block)
    bound = on_scale(margin, scale)
    table = table.assign(**over_seeds(d, scale), **_tests(d, excess, bound, correction, alpha))
    sign = 1 if higher_is_better else -1
    table["better"] = share_positive(np.where(excess != 0, -excess, sign * np.sign(d)))
    table["verdict"] = verdicts(table, alpha=alpha, higher_is_better=higher_is_better)
    table["n"] = table["seeds"]
    family = len(table) + int(table["p_divergence"].notna().sum())
    within = f"{margin:.2%}" if scale == "log" else f"{margin:.4g}"
    told = f"{outcome}, {'higher' if higher_is_better else 'lower'} is better, "
    told += "log ratio" if scale == "log" else "difference"
    table["procedure"] = [
        f"{told}: {_procedure(row, family, correction, within, alpha)}"
        for row in table.itertuples()
    ]
    table["assumes"] = assumed(block)
    ended = to_observations(
        runs, factors, outcome=outcome, block=block, scale="difference", status=status
    )
    table["left_out"] = _left_out(table, ended, block)
    both = [table[EFFECT_COLUMNS], _unpaired(without, controls)]
    return pd.concat([part for part in both if len(part)], ignore_index=True)


def _unbalanced(
    found: pd.DataFrame, kept: pd.DataFrame, axis: str, control: Level, block: str
) -> list[tuple[object, ...]]:
    """Levels that have pairs, of which no part is balanced."""
    left = set(kept["level"])
    return [
        (axis, level, f"{axis} {level} and its control {control} have {n:,} pairs, but no two "
         f"{block}s of the same cells")
        for level, n in found.groupby("level", sort=False).size().items()
        if level not in left
    ]  # fmt: skip


def _refuse_other_types(runs: pd.DataFrame, controls: Mapping[str, Level]) -> None:
    """A control ``"1"`` among levels 1 and 2 is a mistake, and no level that was not run."""
    for axis, control in controls.items():
        if axis not in runs:
            continue
        levels = list(pd.unique(runs[axis].dropna()))
        if not at_level(runs[axis], control).any() and str(control) in map(str, levels):
            kind, wanted = type(control).__name__, type(levels[0]).__name__
            raise ValueError(f"the control {control!r} of {axis!r} is a {kind}, not a {wanted}")


def _procedure(row: Any, family: int, correction: str, within: str, alpha: float) -> str:
    if row.seeds < 2:
        return "nothing, with fewer than two to compare"
    flips = "exact" if row.seeds <= EXACT_BLOCKS else f"{RESAMPLES:,} random"
    name = {"max_t": "step-down max-T", "holm": "Holm"}[correction]
    return (
        "differences paired within blocks, mean over cells; 95 % t interval over blocks, of this "
        f"comparison alone; p by {flips} sign flips, adjusted by {name} over {family}; equivalence "
        f"within {within} by two one-sided t tests, unadjusted; verdict at a level of {alpha:.2g}"
    )


def _left_out(table: pd.DataFrame, ended: pd.DataFrame, block: str) -> list[str]:
    said = []
    for _, row in table.iterrows():
        runs = int(at_level(ended[row["axis"]], row["level"]).sum())
        controls = int(at_level(ended[row["axis"]], row["control"]).sum())
        lost = row["pairs"] - row["survivors"]
        said.append(
            format_counts(
                (row["seeds_dropped"], f"{block} with a run missing"),
                (row["cells_dropped"], "cell with a run missing"),
                (runs - row["found"], "run without a partner at the control"),
                (controls - row["found"], "run of the control without a partner"),
                (lost, "pair of which a run diverged"),
            )
        )
    return said


def _unpaired(without: pd.DataFrame, controls: Mapping[str, Level]) -> pd.DataFrame:
    """Rows of levels that have no pair: the reason, the verdict, and nothing else."""
    table = pd.DataFrame(index=range(len(without)), columns=EFFECT_COLUMNS, dtype=float)
    counts = [
        "cells",
        "seeds",
        "pairs",
        "survivors",
        "seeds_dropped",
        "cells_dropped",
        "identical",
        "n",
    ]
    numbers = dict.fromkeys([*counts, "diverged", "control_diverged"], 0)
    table = table.assign(**numbers, reachable=False, conditional=False)
    return table.assign(
        axis=without["axis"].to_numpy(dtype=object),
        level=without["level"].to_numpy(dtype=object),
        control=[controls[axis] for axis in without["axis"]],
        verdict=UNDECIDED,
        procedure="none: nothing to pair",
        assumes="",
        left_out=without["reason"].to_numpy(dtype=object),
    )


def _planned(runs: pd.DataFrame, axis: str, block: str, status: str) -> dict[object, int]:
    """How many blocks each level of ``axis`` was to be run in."""
    planned = runs[runs[status] != "skipped"] if status in runs else runs
    return dict(planned.groupby(axis, sort=False)[block].nunique())


def _counts(
    found: pd.DataFrame, kept: pd.DataFrame, planned: Mapping[object, int], block: str, higher: bool
) -> pd.DataFrame:
    """What each contrast rests on, as far as it can be counted without a test."""
    keys = ["axis", "level", "control"]
    gain = kept.groupby([*keys, "cell"], sort=False)["difference"].mean().dropna()
    gain = gain if higher else -gain
    table = kept.groupby(keys, sort=False).agg(
        cells=("cell", "nunique"),
        blocks=(block, "nunique"),
        pairs=("cell", "size"),
        survivors=("difference", "count"),
        identical=("identical", "sum"),
        diverged=("diverged", "sum"),
        control_diverged=("control_diverged", "sum"),
    )
    table["helped"] = (gain > 0).groupby(level=keys, sort=False).mean()
    table["found"] = found.groupby(keys, sort=False).size()
    table["conditional"] = table["survivors"] < table["pairs"]
    table["cells_dropped"] = found.groupby(keys, sort=False)["cell"].nunique() - table["cells"]
    table = table.reset_index()
    table["seeds_dropped"] = [planned[level] for level in table["level"]] - table["blocks"]
    return table


def _wide(seeds: pd.DataFrame, contrasts: pd.DataFrame, block: str) -> tuple[Floats, Floats]:
    """Differences and excess divergence, one row a block and one column a contrast."""
    order = pd.MultiIndex.from_frame(contrasts)
    wide = seeds.set_index([block, "axis", "level"])[["difference", "divergence"]]
    wide = wide.unstack(["axis", "level"])  # noqa: PD010 - every entry is one number already
    d, excess = (wide[name].reindex(columns=order) for name in ("difference", "divergence"))
    return d.to_numpy(dtype=float), excess.to_numpy(dtype=float)


def _tests(
    d: Floats, excess: Floats, bound: float, correction: str, alpha: float
) -> dict[str, object]:
    """Sign-flip p of the differences and, where anything diverged, of the divergence; and p of
    being within ``bound``.
    """
    n = np.isfinite(d).sum(axis=0)
    p = sign_flip_p(d)
    # Where nothing diverged there is no second question, and it must not cost the family anything.
    asked = np.where(np.nansum(np.abs(excess), axis=0) > 0, excess, np.nan)
    if correction == "max_t":
        adjusted, tests = max_t(np.hstack([d, asked])), 1
    else:
        raw = np.concatenate([p, sign_flip_p(asked)])
        adjusted, tests = adjust(raw, "holm"), int(np.isfinite(raw).sum())
    floor = smallest_p(n, tests)
    return {
        "seeds": n, "p": p, "p_adjusted": adjusted[: len(n)], "p_divergence": adjusted[len(n) :],
        "p_floor": floor, "reachable": floor <= alpha,
        "p_equivalent": equivalence_p(*mean_and_sd(d), n, bound),
    }  # fmt: skip
