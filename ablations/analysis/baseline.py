"""Was anything learned? The control and the best configuration against a constant prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.coding import Floats, Ints
from ablations.analysis.design import Design
from ablations.analysis.inference import effect_columns, mean_and_sd, t_interval
from ablations.analysis.outcomes import constant_column, is_recorded, judged_loss
from ablations.analysis.pairing import Cells, join_factors, spread_cells
from ablations.analysis.statements import STATED, UNTESTED
from ablations.core.schema import LOSS_COLUMNS, baseline_column
from ablations.results.metadata import Judging

CONTROL, BEST = "control", "best"
_GUESSED = ("accuracy", "f1_", "precision_", "recall_")
"""Metrics, or how their names begin, of which a guess at a class is better than some constants."""
BASELINE_COLUMNS = [
    "configuration", "outcome", "value", "baseline", "effect", "low", "high", "change",
    "change_low", "change_high", "p", "p_adjusted", "learned", "learning", "candidates", *STATED,
]  # fmt: skip


def scale_losses(runs: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return loss and constant of each run, and whether as logarithms, if all are positive."""
    return _scale_outcome(runs, judged_loss(runs), "baseline")


def _scale_outcome(
    runs: pd.DataFrame, outcome: str, constant: str, *, higher_is_better: bool = False
) -> tuple[pd.DataFrame, bool]:
    """Return outcome and constant of each run, and whether as logarithms: of positive numbers of
    which lower is better.
    """
    numbers = runs[[outcome, constant]].astype(float)
    is_positive = bool((numbers[runs["status"] == "ok"].dropna() > 0).all(axis=None))
    is_log = is_positive and not higher_is_better
    return (np.log(numbers.where(numbers > 0)) if is_log else numbers), is_log


def _score_without_inputs(
    runs: pd.DataFrame, outcome: str, constant: str, judging: Judging | None
) -> pd.Series:
    """Return what a prediction without relation to the inputs scores in each run.

    That is the constant, or, where it scores more, a guess.  A guess at one of k classes has the
    accuracy and the F1 1 / k, which is the balanced accuracy of any constant; the class that is
    frequent among the training rows of a table is rarer among its others.  A random order of n
    rows of which m are of a class has a mean average precision above m / n (Bestgen, 2015).
    """
    score = runs[constant].astype(float)
    chance = baseline_column("balanced_accuracy")
    if outcome.startswith(_GUESSED) and is_recorded(runs, chance):
        score = score.clip(lower=runs[chance].astype(float))
    if outcome == "average_precision" and judging is not None and judging.rows > 1:
        n = judging.rows
        harmonic = float((1 / np.arange(1, n + 1)).sum())
        score = ((n * score - 1) * (n - harmonic) / (n - 1) + harmonic) / n
    return score


def against_baseline(design: Design, judging: Judging | None = None) -> pd.DataFrame:
    """Compare the control and the best configuration with the best constant prediction.

    By a loss it is the constant with the lowest training loss (mean or class frequencies); by a
    metric the constant with the best value on the training rows among a few
    (``tasks.baseline.judge_constants``), or a guess where it scores more.  It is judged on the same
    rows as the runs; both are paired by seed.

    Parameters
    ----------
    design
        Its outcome is a metric whose constant was recorded, or else the loss is compared.
    judging
        The rows that judge, where all seeds share the rows of one table: seeds then agree on what
        is true of that table by chance (``_chance_of_shared_rows``).  None where each seed has
        data of its own.

    Returns
    -------
    DataFrame
        The factors' levels, and ``configuration`` (``control``, ``best``: best mean), ``outcome``,
        ``value`` and ``baseline`` (means over seeds, geometric on the log scale); ``effect, low,
        high``: value against constant with its t interval of the design's ``confidence``, on the
        log scale where all numbers are positive and lower ones better; ``p``: one-sided t test that
        the value is better than the constant's, whose standard error the interval shares;
        ``p_adjusted``: times the ``candidates`` (Bonferroni) for the best configuration, unless it
        is the control, which no look at the results chose; ``learned``: whether that is at most
        ``alpha``; ``learning``: how many of the candidates surely beat the constant, by the same
        adjustment.  Empty where no run recorded a
        constant.
    """
    comparison = _Comparison.from_design(design, judging)
    if comparison is None:
        return pd.DataFrame(columns=[*design.untuned.factors, *BASELINE_COLUMNS])
    design, values = design.untuned, comparison.values
    candidates = _find_candidates(comparison.difference, values)
    columns = [(CONTROL, int(column)) for column in _control_columns(design, values)[:1]]
    if len(candidates):
        best = candidates[np.nanmean(comparison.excess[:, candidates], axis=0).argmin()]
        columns.append((BEST, int(best)))
    controls = {column for name, column in columns if name == CONTROL}
    is_control = np.isin(candidates, list(controls))
    p = comparison.p(candidates) * np.where(is_control, 1, len(candidates))
    rows = [
        {
            "configuration": name,
            "outcome": comparison.outcome,
            **comparison.test(
                column,
                1 if column in controls else len(candidates),
                design.alpha,
                design.confidence,
            ),
            "candidates": len(candidates) if name == BEST else 1,
            "learning": int((p <= design.alpha).sum()),
        }
        for name, column in columns
    ]
    table = _state(pd.DataFrame(rows, columns=BASELINE_COLUMNS), design, comparison)
    return join_factors(values.levels.iloc[[column for _, column in columns]], table)


def _find_candidates(excess: Floats, losses: Cells) -> Ints:
    """Return the configurations of which none diverged, on most of the blocks that any has."""
    n_blocks = np.isfinite(excess).sum(axis=0)
    has_most = (n_blocks > 0) & (2 * n_blocks >= n_blocks.max(initial=0))
    return np.flatnonzero(has_most & ~losses.diverged.any(axis=0))


def _state(table: pd.DataFrame, design: Design, comparison: _Comparison) -> pd.DataFrame:
    """Add the columns that say how the comparison was tested."""
    block, kind = design.unit, "log ratio" if comparison.is_log else "difference"
    procedure = f"against the constant, {kind} by {block}; one-sided t test over {block}s"
    procedure += ", corrected for the rows that they share" if comparison.judging else ""
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


@dataclass(frozen=True, eq=False)
class _Comparison:
    """An outcome against that of the constant, in blocks x configurations, on the scale."""

    outcome: str
    values: Cells
    constants: Floats
    is_log: bool
    sign: int
    """1 where lower is better, else -1."""
    judging: Judging | None

    @classmethod
    def from_design(cls, design: Design, judging: Judging | None) -> _Comparison | None:
        """Compare the design's outcome, or the loss; None where no run recorded a constant."""
        outcome, higher_is_better = design.outcome, design.higher_is_better
        design, runs = design.untuned, design.untuned.runs
        if outcome in LOSS_COLUMNS or not is_recorded(runs, baseline_column(outcome)):
            outcome, higher_is_better = judged_loss(runs), False
        constant = constant_column(runs, outcome)
        if constant is None:
            return None
        # Runs of an earlier version lack the constant, and a metric may be undefined for a run.
        has_both = runs[[outcome, constant]].notna().all(axis=1)
        runs = runs[has_both | (runs[design.status] != "ok")]
        if not (runs[design.status] == "ok").any():
            return None
        design = replace(design, runs=runs)
        runs = runs.assign(**{constant: _score_without_inputs(runs, outcome, constant, judging)})
        scaled, is_log = _scale_outcome(runs, outcome, constant, higher_is_better=higher_is_better)
        values, constants = (_spread(design, scaled[name]) for name in (outcome, constant))
        sign = -1 if higher_is_better else 1
        return cls(outcome, values, constants.values, is_log, sign, judging)

    @cached_property
    def difference(self) -> Floats:
        """Outcome less constant."""
        return self.values.values - self.constants

    @property
    def excess(self) -> Floats:
        """How much worse than the constant: below zero is better."""
        return self.sign * self.difference

    def p(self, columns: Ints) -> Floats:
        """Return the p of one-sided t tests that configurations are better than the constant."""
        excess = self.excess[:, columns]
        mean, sd = mean_and_sd(excess)
        n = np.isfinite(excess).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.t.cdf(mean / (sd / np.sqrt(n)), n - 1)
            p = np.where(sd > 0, p, mean >= 0)
            if self.judging is not None:
                chance = self._chance_of_shared_rows(mean, sd, n, columns, self.judging)
                p = np.maximum(p, chance)
        return np.where(n >= 2, p, np.nan)

    def test(self, column: int, tests: int, alpha: float, confidence: float) -> dict[str, object]:
        """Test whether one configuration, one of so many ``tests``, surely beats the constant.

        A configuration that diverged on most blocks has learned nothing.
        """
        means = [np.nanmean(cells[:, column]) for cells in (self.values.values, self.constants)]
        means = [np.exp(mean) for mean in means] if self.is_log else means
        n_diverged = int(self.values.diverged[:, column].sum())
        values = self.difference[:, column]
        values = values[np.isfinite(values)]
        n = len(values)
        p = float(self.p(np.array([column]))[0])
        effect, low, high = self._interval(column, p, confidence)
        p_adjusted = min(1.0, tests * p) if n >= 2 else np.nan
        return {
            **dict(zip(("value", "baseline"), means, strict=True)),
            **effect_columns(effect, low, high, "log" if self.is_log else "difference"),
            "p": p,
            "p_adjusted": p_adjusted,
            "learned": bool(p_adjusted <= alpha and n > n_diverged),
            "n": n,
        }

    def _interval(self, column: int, p: float, confidence: float) -> tuple[float, float, float]:
        """Return the mean difference with its t interval, whose standard error is that of ``p``.

        Where the rows that seeds share make a gain less sure, the error is the one with which the
        t test has this p; of no gain, that of repeated splits.
        """
        values = self.difference[:, [column]]
        n = np.isfinite(values).sum(axis=0)
        mean, sd = mean_and_sd(values)
        if self.judging is not None and n[0] >= 2:
            overlap = 0.0 if self.judging.is_fixed else self.judging.overlap
            error = sd * np.sqrt(1 / n + overlap)
            if 0 < p < 0.5:
                error = np.maximum(sd / np.sqrt(n), np.abs(mean) / stats.t.isf(p, n - 1))
            sd = error * np.sqrt(n)
        low, high = t_interval(mean, sd, n, confidence)
        return float(mean[0]), float(low[0]), float(high[0])

    def _chance_of_shared_rows(
        self, mean: Floats, sd: Floats, n: Ints, columns: Ints, judging: Judging
    ) -> Floats:
        """Return how likely a mean excess is by an accident of one table's rows.

        The lower probability of two, each of which stays above the true one.  The t test for
        repeated splits of one table, in which the variance of the mean is ``1 / n + overlap``
        times that of a seed (Nadeau & Bengio, 2003).  And, where it is known, how likely a
        prediction without relation to the targets gains so much on the rows of one seed.  Where
        all seeds share the rows that judge and the second is not known, neither is: 0.
        """
        by_rows = self._chance_by_rows(mean, columns, judging)
        if judging.is_fixed:
            return np.zeros(len(mean)) if by_rows is None else by_rows
        by_splits = stats.t.cdf(mean / (sd * np.sqrt(1 / n + judging.overlap)), n - 1)
        by_splits = np.where(sd > 0, by_splits, 1.0)
        if by_rows is None:
            # Equal numbers in all seeds: a metric of few values, such as the accuracy of few rows.
            return np.where(sd > 0, by_splits, 0.0)
        return np.minimum(by_splits, by_rows)

    def _chance_by_rows(self, mean: Floats, columns: Ints, judging: Judging) -> Floats | None:
        """Return how likely a prediction without relation to the targets gains so much on the rows
        of one seed; None if nothing is known of the outcome.

        For a likelihood: with predictions of variance v the gain per row, in nats, is about normal
        with mean -v / 2 and variance v / rows, so that a gain g has at most the probability
        ``Phi(-sqrt(2 g rows))``, whatever v is.  For an accuracy: a prediction gains on no more
        rows than those on which the constant is wrong and loses on others; of all rows on which
        they differ about half are gains, and their number is at most ``rows * (2 (1 - constant) -
        gain)``.
        """
        if self.outcome == "accuracy":
            constant = np.nanmean(self.constants[:, columns], axis=0)
            differing = np.clip(2 * (1 - constant) + mean, 0, 1)
            chance = stats.norm.cdf(mean * np.sqrt(judging.rows / differing))
            return np.where(mean < 0, chance, 1.0)
        gain = self._gain_per_row(mean, columns, judging)
        if gain is None:
            return None
        chance = stats.norm.cdf(-np.sqrt(2 * np.maximum(gain, 0) * judging.rows))
        return np.where(gain > 0, chance, 1.0)

    def _gain_per_row(self, mean: Floats, columns: Ints, judging: Judging) -> Floats | None:
        """Return the gain in log-likelihood of each row; None where the outcome tells none."""
        constants, gain = self.constants[:, columns], None
        is_loss = self.outcome in LOSS_COLUMNS
        if self.outcome == "r2":
            residual = 1 - self.difference[:, columns] - constants
            with np.errstate(all="ignore"):
                gain = -np.nanmean(np.log(residual / (1 - constants)), axis=0) / 2
        elif not self.is_log or (is_loss and not judging.is_likelihood):
            gain = None
        elif self.outcome == "log_loss" or (is_loss and judging.classification):
            gain = np.exp(np.nanmean(constants, axis=0)) * -np.expm1(mean)
        elif self.outcome == "rmse":
            gain = -mean
        elif is_loss or self.outcome == "mse":
            gain = -mean / 2
        return gain
