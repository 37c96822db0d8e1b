"""One reading of a folder of results: every analysis that the page draws on, made once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations import analysis
from ablations.analysis import Scale
from ablations.analysis.ablation import Effects
from ablations.analysis.baseline import scale_losses
from ablations.analysis.costs import (
    best_configuration_cost,
    label_timings,
    time_costs,
    with_step_seconds,
)
from ablations.analysis.design import OUTCOME, Design
from ablations.analysis.inference import min_seeds
from ablations.analysis.outcomes import first_metric
from ablations.analysis.results import Results
from ablations.core.schema import LOSS_COLUMNS
from ablations.report.formatting import name_outcome
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

MOST_EPOCHS = 25
"""Epochs at which the effect over time is computed."""
FEWEST_EPOCHS = 3
"""Epochs from which on there is an effect over time."""
EXCESS = "constant_excess"
"""Column of the loss against the constant: a log ratio, or a difference."""


@dataclass(frozen=True)
class ReportData:
    """The results of a study, and every table that the report computes from them."""

    results: Results
    metadata: StudyMetadata
    ablation: Effects
    untuned: Design
    """The design of all runs, before configurations are compared at the best of tuned levels."""
    second: str
    """Column of the other number: the first metric, or the loss where a metric is the outcome."""
    by_seed: pd.DataFrame
    by_outcome: dict[str, pd.DataFrame]
    """Main effects by the outcome of the study and by every recorded metric."""
    trajectory: pd.DataFrame
    simple: pd.DataFrame
    shares: pd.DataFrame
    spread: pd.DataFrame
    ranked: pd.DataFrame
    winner: pd.DataFrame
    curves: dict[str, dict[str, pd.DataFrame]]
    configurations: pd.DataFrame
    published: pd.DataFrame
    rates: pd.DataFrame
    endings: pd.DataFrame
    costs: pd.DataFrame
    floors: pd.DataFrame
    winner_cost: pd.DataFrame
    ranks_tell: bool
    """Whether there are seeds enough for any difference to be certain."""
    timed: bool
    """Whether the seconds of the configurations were timed alone, or are shares of training."""

    @property
    def design(self) -> Design:
        """What the report compares with what."""
        return self.ablation.design

    @property
    def effects(self) -> pd.DataFrame:
        """Every level against its control."""
        return self.ablation.effects

    @property
    def interactions(self) -> pd.DataFrame:
        """Every pair of levels."""
        return self.ablation.interactions

    @property
    def outcome(self) -> str:
        """The outcome in words."""
        return self.name(self.design.outcome)

    @property
    def constant(self) -> float:
        """The mean loss of the best constant on the rows that judge; missing if not recorded."""
        baseline = self.ablation.baseline
        by_loss = baseline[baseline["outcome"] == self.results.loss]
        return float(by_loss["baseline"].iloc[0]) if len(by_loss) else math.nan

    def name(self, column: str) -> str:
        """Return the words for the column of an outcome."""
        return self.metadata.metric_name if column == "metric" else name_outcome(column)


def build_report_data(results: StoredResults, metadata: StudyMetadata) -> ReportData:
    """Make every table of the report from the runs and curves of ``results``."""
    answers = Results.from_stored(results, metadata)
    ablation, untuned = answers.ablation, answers.design(tune_over=())
    design, second = ablation.design, _second_outcome(answers, ablation.design.outcome)
    timings, timed_axes = label_timings(results, metadata)
    timed = with_step_seconds(untuned.runs, timings, timed_axes)
    curves = results.curves.sort_values(["run_id", "epoch"])
    return ReportData(
        results=answers,
        metadata=metadata,
        ablation=ablation,
        untuned=untuned,
        second=second,
        by_seed=analysis.seed_effects(design),
        by_outcome=_effects_by_outcome(answers, ablation, second),
        trajectory=_trajectory(answers),
        simple=ablation.simple,
        shares=analysis.variance_shares(design),
        spread=in_order(analysis.seed_spread(untuned, design.axes), design.levels),
        ranked=analysis.ranking(design),
        winner=ablation.winner,
        curves=_curves(untuned.runs, curves, design.axes, untuned.factors),
        configurations=_configurations(untuned, timed, second),
        published=ablation.published,
        rates=in_order(analysis.divergence_rates(untuned.runs, design.axes), design.levels),
        endings=analysis.endings(untuned.runs, design.axes),
        costs=time_costs(results, metadata),
        floors=analysis.noise_floor(results.timings),
        winner_cost=best_configuration_cost(ablation.winner, timings, timed_axes, design.controls),
        ranks_tell=untuned.n_blocks >= min_seeds(design.alpha),
        timed=timed is not None,
    )


def _second_outcome(answers: Results, outcome: str) -> str:
    if outcome not in LOSS_COLUMNS:
        return answers.loss
    return first_metric(answers.runs, answers.require_metadata())


def _effects_by_outcome(
    answers: Results, ablation: Effects, second: str
) -> dict[str, pd.DataFrame]:
    """Main effects by the study's outcome first, then by the loss and the recorded metrics."""
    runs, effects = answers.runs, {ablation.design.outcome: ablation.effects}
    for name in dict.fromkeys([second, *answers.require_metadata().metrics]):
        if name in runs and _is_new(runs, name, effects):
            effects[name] = analysis.main_effects(answers.design(name))
    return effects


def _is_new(runs: pd.DataFrame, name: str, columns: Iterable[str]) -> bool:
    """Whether a column has numbers that no other column repeats, as log_loss does the loss."""
    values, *others = (pd.to_numeric(runs[column]).astype(float) for column in (name, *columns))
    repeats = any(np.allclose(values, other, rtol=1e-4, equal_nan=True) for other in others)
    return bool(values.notna().any()) and not repeats


def _trajectory(answers: Results) -> pd.DataFrame:
    """The effect of each level at no more than 25 epochs, the first and the last among them."""
    epochs = np.sort(answers.curves["epoch"].unique())
    if len(epochs) < FEWEST_EPOCHS:
        epochs = epochs[:0]
    positions = np.linspace(0, len(epochs) - 1, min(MOST_EPOCHS, len(epochs))).round().astype(int)
    return answers.trajectory(epochs=epochs[positions].tolist())


def _configurations(untuned: Design, timed: pd.DataFrame | None, second: str) -> pd.DataFrame:
    """Summarise all configurations: outcome, other number, time, and loss against the constant."""
    runs = untuned.runs if timed is None else timed
    averages: tuple[str, ...] = ()
    if "baseline" in runs and runs["baseline"].notna().any():
        losses, _ = scale_losses(runs)
        runs, averages = runs.assign(**{EXCESS: losses.iloc[:, 0] - losses["baseline"]}), (EXCESS,)
    design = replace(untuned, runs=runs)
    return analysis.configurations(design, metric=second, averages=averages)


def _curves(
    runs: pd.DataFrame, curves: pd.DataFrame, axes: tuple[str, ...], factors: Sequence[str]
) -> dict[str, dict[str, pd.DataFrame]]:
    scales: dict[str, Scale] = {
        outcome: "difference" if (curves[outcome].astype(float) <= 0).any() else "log"
        for outcome in (OUTCOME, "train_loss")
    }
    average = partial(analysis.level_curves, runs, curves)
    curves_by_axis = {
        axis: {name: average(axis, factors, outcome=name, scale=scales[name]) for name in scales}
        for axis in axes
    }
    # One epoch is a point, and the effects show it better.
    return {
        axis: tables
        for axis, tables in curves_by_axis.items()
        if any(len(table) and table["epoch"].max() > 1 for table in tables.values())
    }
