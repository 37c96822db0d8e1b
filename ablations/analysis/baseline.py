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
from ablations.results.metadata import Judging, StudyMetadata

CONTROL, BEST = "control", "best"
BASELINE_COLUMNS = [
    "configuration", "loss", "baseline", "effect", "low", "high", "change", "change_low",
    "change_high", "p", "p_adjusted", "learned", "learning", "candidates", *STATED,
]  # fmt: skip


def judged_loss(runs: pd.DataFrame) -> str:
    """Return the column of the loss on the rows that judge: test rows, where there are some."""
    return "test_loss" if is_recorded(runs, "test_loss") else "val_loss"


def is_recorded(runs: pd.DataFrame, column: str) -> bool:
    """Whether a run has a number in this column."""
    return column in runs and bool(runs[column].notna().any())


def first_metric(runs: pd.DataFrame, metadata: StudyMetadata) -> str:
    """Return the column of the first metric: its own, or ``metric`` where no other repeats it, as
    where a task's own metric has the name of a standard one.
    """
    name = metadata.metric_name
    if name not in metadata.metrics:
        return "metric"
    if not is_recorded(runs, "metric"):
        return name
    if not is_recorded(runs, name):
        return "metric"
    first, other = (pd.to_numeric(runs[column]).astype(float) for column in ("metric", name))
    return name if np.allclose(first, other, rtol=1e-4, atol=1e-5, equal_nan=True) else "metric"


def scale_losses(runs: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return loss and constant of each run, and whether as logarithms, if all are positive."""
    numbers = runs[[judged_loss(runs), "baseline"]].astype(float)
    is_log = bool((numbers[runs["status"] == "ok"].dropna() > 0).all(axis=None))
    return (np.log(numbers.where(numbers > 0)) if is_log else numbers), is_log


def against_baseline(design: Design, judging: Judging | None = None) -> pd.DataFrame:
    """Compare the control and the best configuration with the constant of the training rows.

    The constant is the one prediction with the lowest training loss (mean or class frequencies),
    judged on the same rows as the runs; both are paired by seed.

    Parameters
    ----------
    judging
        The rows that judge, where all seeds share the rows of one table: seeds then agree on what
        is true of that table by chance (``_chance_of_shared_rows``).  None where each seed has
        data of its own.

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
    if not is_recorded(runs, "baseline"):
        return pd.DataFrame(columns=[*design.factors, *BASELINE_COLUMNS])
    loss = judged_loss(runs)
    scaled, is_log = scale_losses(runs)
    losses, constants = (_spread(design, scaled[name]) for name in (loss, "baseline"))
    excess = losses.values - constants.values
    candidates = _find_candidates(excess, losses)
    columns = [(CONTROL, column) for column in _control_columns(design, losses)[:1]]
    if len(candidates):
        best = candidates[np.nanmean(excess[:, candidates], axis=0).argmin()]
        columns.append((BEST, int(best)))

    def test(i: int, n_candidates: int) -> dict[str, object]:
        numbers = excess[:, i], constants.values[:, i], int(losses.diverged[:, i].sum())
        return _test(
            *numbers, is_log=is_log, candidates=n_candidates, alpha=design.alpha, judging=judging
        )

    learning = sum(bool(test(i, len(candidates))["learned"]) for i in candidates)
    rows = []
    for name, column in columns:
        n_candidates = len(candidates) if name == BEST else 1
        means = [np.nanmean(cells.values[:, column]) for cells in (losses, constants)]
        rows.append(
            {
                "configuration": name,
                **dict(zip(("loss", "baseline"), np.exp(means) if is_log else means, strict=True)),
                **test(column, n_candidates),
                "learning": learning,
            }
        )
    table = pd.DataFrame(rows, columns=BASELINE_COLUMNS)
    kind = "log ratio" if is_log else "difference"
    table = _state(table, design, f"{loss} against the constant, {kind}", judging is not None)
    return join_factors(losses.levels.iloc[[column for _, column in columns]], table)


def _find_candidates(excess: Floats, losses: Cells) -> Ints:
    """Return the configurations of which none diverged, on most of the blocks that any has."""
    n_blocks = np.isfinite(excess).sum(axis=0)
    has_most = (n_blocks > 0) & (2 * n_blocks >= n_blocks.max(initial=0))
    return np.flatnonzero(has_most & ~losses.diverged.any(axis=0))


def _state(table: pd.DataFrame, design: Design, comparison: str, is_shared: bool) -> pd.DataFrame:
    """Add the columns that say how the comparison was tested."""
    block = design.unit
    procedure = f"{comparison} by {block}; one-sided t test over {block}s"
    procedure += ", corrected for the rows that they share" if is_shared else ""
    return table.assign(
        procedure=[procedure if n >= 2 else UNTESTED for n in table["n"]],
        assumes=f"{block}s independent of one another; differences by {block} about normal",
        left_out="runs that diverged, and seeds without a run",
    )


def _spread(design: Design, values: pd.Series) -> Cells:
    """Arrange a number of each run, ready on the scale, by block and configuration."""
    runs = design.runs.assign(**{design.outcome: values})
    return spread_cells(replace(design, runs=runs, scale="difference"))


def _control_columns(design: Design, cells: Cells) -> Ints:
    """Return the configurations that have all control levels."""
    controls = {axis: level for axis, level in design.controls.items() if axis in cells.levels}
    at_control = [(cells.levels[axis] == level).to_numpy() for axis, level in controls.items()]
    return np.flatnonzero(np.broadcast_to(np.all(at_control, axis=0), len(cells.levels)))


def _test(
    excess: Floats,
    constants: Floats,
    n_diverged: int,
    *,
    is_log: bool,
    candidates: int,
    alpha: float,
    judging: Judging | None,
) -> dict[str, object]:
    """Test whether the numbers of one configuration, one a block, are surely below zero.

    A configuration that diverged on most blocks has learned nothing.
    """
    values = excess[np.isfinite(excess)]
    n, p = len(values), np.nan
    mean, sd = (float(number[0]) for number in mean_and_sd(values[:, None]))
    low, high = (float(bound[0]) for bound in t_interval(*np.array([[mean], [sd], [n]])))
    if n >= 2:
        p = float(stats.t.cdf(mean / (sd / np.sqrt(n)), n - 1)) if sd > 0 else float(mean >= 0)
        if judging is not None and is_log:
            constant = float(np.exp(np.nanmean(constants)))
            p = max(p, _chance_of_shared_rows(mean, sd, n, constant, judging))
    p_adjusted = min(1.0, candidates * p) if n >= 2 else np.nan
    return {
        **effect_columns(mean, low, high, "log" if is_log else "difference"),
        "p": p,
        "p_adjusted": p_adjusted,
        "learned": bool(p_adjusted <= alpha and n > n_diverged),
        "candidates": candidates,
        "n": n,
    }


def _chance_of_shared_rows(
    mean: float, sd: float, n: int, constant: float, judging: Judging
) -> float:
    """Return how likely a mean log ratio of losses is by an accident of one table's rows.

    The lower probability of two, each of which stays above the true one.  The t test for repeated
    splits of one table, in which the variance of the mean is ``1 / n + overlap`` times that of a
    seed (Nadeau & Bengio, 2003).  And, for a likelihood, that a prediction without relation to
    the targets gains so much on the rows of one seed: with predictions of variance v the gain per
    row, in nats, is about normal with mean -v / 2 and variance v / rows, so that a gain g has at
    most the probability ``Phi(-sqrt(2 g rows))``, whatever v is.
    """
    if judging.is_fixed and not judging.is_likelihood:
        return 0.0  # neither is known
    p = 1.0
    if not judging.is_fixed and sd > 0:
        p = float(stats.t.cdf(mean / (sd * np.sqrt(1 / n + judging.overlap)), n - 1))
    gain = constant * -np.expm1(mean) if judging.classification else -mean / 2
    if judging.is_likelihood and gain > 0:
        p = min(p, float(stats.norm.cdf(-np.sqrt(2 * gain * judging.rows))))
    return p
