"""Was anything learned? The control and the best configuration against a constant prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.coding import Floats, Ints
from ablations.analysis.design import Design
from ablations.analysis.inference import effect_columns, mean_and_sd, t_interval
from ablations.analysis.pairing import Cells, join_factors, spread_cells
from ablations.analysis.statements import STATED, UNTESTED

CONTROL, BEST = "control", "best"
BASELINE_COLUMNS = [
    "configuration", "loss", "baseline", "effect", "low", "high", "change", "change_low",
    "change_high", "p", "p_adjusted", "learned", "learning", "candidates", *STATED,
]  # fmt: skip


def judged_loss(runs: pd.DataFrame) -> str:
    """Return the column of the loss on the rows that judge: test rows, where there are some."""
    has_test_loss = "test_loss" in runs and bool(runs["test_loss"].notna().any())
    return "test_loss" if has_test_loss else "val_loss"


def scale_losses(runs: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return loss and constant of each run, and whether as logarithms, if all are positive."""
    numbers = runs[[judged_loss(runs), "baseline"]].astype(float)
    is_log = bool((numbers[runs["status"] == "ok"].dropna() > 0).all(axis=None))
    return (np.log(numbers.where(numbers > 0)) if is_log else numbers), is_log


def against_baseline(design: Design) -> pd.DataFrame:
    """Compare the control and the best configuration with the constant of the training rows.

    The constant is the one prediction with the lowest training loss (mean or class frequencies),
    judged on the same rows as the runs; both are paired by seed.

    Returns
    -------
    DataFrame
        The factors' levels, and ``configuration`` (``control``, ``best``: lowest mean loss),
        ``loss`` and ``baseline`` (means over seeds, geometric on the log scale); ``effect, low,
        high``: loss against constant with its 95 % t interval, on the log scale where all losses
        are positive; ``p``: one-sided t test that the loss is lower than the constant's;
        ``p_adjusted``: times the ``candidates`` (Bonferroni) for the best configuration;
        ``learned``: whether that is at most ``alpha``; ``learning``: how many of the candidates
        surely beat the constant (Bonferroni).  Empty where no run recorded a constant.
    """
    design, runs = design.untuned, design.untuned.runs
    if "baseline" not in runs or not runs["baseline"].notna().any():
        return pd.DataFrame(columns=[*design.factors, *BASELINE_COLUMNS])
    loss = judged_loss(runs)
    scaled, is_log = scale_losses(runs)
    losses, constants = (_spread(design, scaled[name]) for name in (loss, "baseline"))
    excess = losses.values - constants.values
    is_complete = np.isfinite(excess).all(axis=0)
    columns = [(CONTROL, column) for column in _control_columns(design, losses)[:1]]
    if is_complete.any():
        best = int(np.where(is_complete, excess.mean(axis=0), np.inf).argmin())
        columns.append((BEST, best))
    candidates = np.flatnonzero(is_complete)
    tests = [_test(excess[:, i], is_log, len(candidates), design.alpha) for i in candidates]
    learning = sum(bool(test["learned"]) for test in tests)
    rows = []
    for name, column in columns:
        n_candidates = len(candidates) if name == BEST else 1
        means = [np.nanmean(cells.values[:, column]) for cells in (losses, constants)]
        rows.append(
            {
                "configuration": name,
                **dict(zip(("loss", "baseline"), np.exp(means) if is_log else means, strict=True)),
                **_test(excess[:, column], is_log, n_candidates, design.alpha),
                "learning": learning,
            }
        )
    table = pd.DataFrame(rows, columns=BASELINE_COLUMNS)
    block, kind = design.unit, "log ratio" if is_log else "difference"
    procedure = f"{loss} against the constant, {kind} by {block}; one-sided t test over {block}s"
    table = table.assign(
        procedure=[procedure if n >= 2 else UNTESTED for n in table["n"]],
        assumes=f"{block}s independent of one another; differences by {block} about normal",
        left_out="",
    )
    return join_factors(losses.levels.iloc[[column for _, column in columns]], table)


def _spread(design: Design, values: pd.Series) -> Cells:
    """Arrange a number of each run, ready on the scale, by block and configuration."""
    runs = design.runs.assign(**{design.outcome: values})
    return spread_cells(replace(design, runs=runs, scale="difference"))


def _control_columns(design: Design, cells: Cells) -> Ints:
    """Return the configurations that have all control levels."""
    controls = {axis: level for axis, level in design.controls.items() if axis in cells.levels}
    at_control = [(cells.levels[axis] == level).to_numpy() for axis, level in controls.items()]
    return np.flatnonzero(np.broadcast_to(np.all(at_control, axis=0), len(cells.levels)))


def _test(excess: Floats, is_log: bool, candidates: int, alpha: float) -> dict[str, object]:
    """Test whether the numbers of one configuration, one a block, are surely below zero."""
    values = excess[np.isfinite(excess)]
    n, p = len(values), np.nan
    mean, sd = (float(number[0]) for number in mean_and_sd(values[:, None]))
    low, high = (float(bound[0]) for bound in t_interval(*np.array([[mean], [sd], [n]])))
    if n >= 2:
        p = float(stats.t.cdf(mean / (sd / np.sqrt(n)), n - 1)) if sd > 0 else float(mean >= 0)
    p_adjusted = min(1.0, candidates * p) if n >= 2 else np.nan
    return {
        **effect_columns(mean, low, high, "log" if is_log else "difference"),
        "p": p,
        "p_adjusted": p_adjusted,
        "learned": bool(p_adjusted <= alpha and n == len(excess)),
        "candidates": candidates,
        "n": n,
    }
