"""One reading of a folder of results: every analysis that the page draws on, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from ablations import analysis
from ablations.analysis import Scale
from ablations.analysis.ablation import Effects
from ablations.analysis.costs import (
    best_configuration_cost,
    label_timings,
    time_costs,
    with_step_seconds,
)
from ablations.analysis.design import OUTCOME, Design, typical_size
from ablations.analysis.power import min_seeds
from ablations.analysis.results import Results
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


@dataclass(frozen=True)
class ReportData:
    """The results of a study, and every table that the report computes from them."""

    results: StoredResults
    metadata: StudyMetadata
    ablation: Effects
    by_seed: pd.DataFrame
    metric_effects: pd.DataFrame
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


def build_report_data(results: StoredResults, metadata: StudyMetadata) -> ReportData:
    """Make every table of the report from the runs and curves of ``results``."""
    fields = {field.name: getattr(results, field.name) for field in fields_of(results)}
    ablation = Results(**(fields | {"metadata": metadata})).ablation
    design, untuned = ablation.design, ablation.design.untuned
    best = analysis.best_configuration(design, control=design.controls)
    timings, timed_axes = label_timings(results, metadata)
    timed = with_step_seconds(untuned.runs, timings, timed_axes)
    design_of_times = untuned if timed is None else replace(untuned, runs=timed)
    curves = results.curves.sort_values(["run_id", "epoch"])
    order = [("axis", "level"), ("given", "given_level")]
    return ReportData(
        results=results,
        metadata=metadata,
        ablation=ablation,
        by_seed=analysis.seed_effects(design),
        metric_effects=_metric_effects(design, metadata),
        simple=in_order(analysis.simple_effects(design), design.levels, order),
        shares=analysis.variance_shares(design),
        spread=in_order(analysis.seed_spread(untuned, design.axes), design.levels),
        ranked=analysis.ranking(design),
        winner=best,
        curves=_curves(untuned.runs, curves, design.axes, untuned.factors),
        configurations=analysis.configurations(design_of_times),
        published=_published(results, metadata),
        rates=in_order(analysis.divergence_rates(untuned.runs, design.axes), design.levels),
        endings=analysis.endings(untuned.runs, design.axes),
        costs=time_costs(results, metadata),
        floors=analysis.noise_floor(results.timings),
        winner_cost=best_configuration_cost(best, timings, timed_axes, design.controls),
        ranks_tell=untuned.n_blocks >= min_seeds(design.alpha),
        timed=timed is not None,
    )


def _metric_effects(design: Design, metadata: StudyMetadata) -> pd.DataFrame:
    metric = pd.to_numeric(design.runs["metric"]).astype(float)
    # A metric that merely repeats the loss would show everything twice.
    differs = metric.notna().any() and not metric.equals(design.runs[OUTCOME].astype(float))
    runs = design.runs.assign(metric=metric)
    margin = metadata.margin * typical_size(runs, design.controls, "metric")
    design = replace(
        design, runs=runs, controls=design.controls if differs else {}, outcome="metric",
        scale="difference", higher_is_better=metadata.higher_is_better, margin=margin, alpha=0.05,
    )  # fmt: skip
    return analysis.main_effects(design)


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


def _published(results: StoredResults, metadata: StudyMetadata) -> pd.DataFrame:
    runs, curves = results.runs, results.curves
    bands = [
        analysis.published_band(runs, curves, curve.where, curve.objective, label=curve.label)
        for curve in metadata.published
    ]
    return pd.concat(bands, ignore_index=True) if bands else pd.DataFrame()
