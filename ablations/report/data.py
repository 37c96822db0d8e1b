"""One reading of a folder of results: every analysis that the page draws on, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING

import pandas as pd

from ablations.analysis import (
    Scale,
    configurations,
    divergence_rates,
    endings,
    level_curves,
    main_effects,
    noise_floor,
    published_band,
    seed_effects,
)
from ablations.analysis.ablation import Effects
from ablations.analysis.costs import (
    best_configuration_cost,
    label_timings,
    time_costs,
    with_step_seconds,
)
from ablations.analysis.design import OUTCOME, Design, typical_size
from ablations.analysis.interactions import simple_effects
from ablations.analysis.power import min_seeds
from ablations.analysis.ranking import ranking, seed_spread
from ablations.analysis.results import Results
from ablations.analysis.selection import best_configuration
from ablations.analysis.variance import variance_shares
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
    """Whether the seconds of the configurations were timed alone; else they are shares of what
    training took.
    """

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
    best = best_configuration(design, control=design.controls)
    timings, timed_axes = label_timings(results, metadata)
    timed = with_step_seconds(untuned.runs, timings, timed_axes)
    curves = results.curves.sort_values(["run_id", "epoch"])
    order = [("axis", "level"), ("given", "given_level")]
    return ReportData(
        results=results,
        metadata=metadata,
        ablation=ablation,
        by_seed=seed_effects(design),
        metric_effects=_metric_effects(design, metadata),
        simple=in_order(simple_effects(design), design.levels, order),
        shares=variance_shares(design),
        spread=in_order(seed_spread(untuned, design.axes), design.levels),
        ranked=ranking(design),
        winner=best,
        curves=_curves(untuned.runs, curves, design.axes, untuned.factors),
        configurations=configurations(untuned if timed is None else replace(untuned, runs=timed)),
        published=_published(results, metadata),
        rates=in_order(divergence_rates(untuned.runs, design.axes), design.levels),
        endings=endings(untuned.runs, design.axes),
        costs=time_costs(results, metadata),
        floors=noise_floor(results.timings),
        winner_cost=best_configuration_cost(best, timings, timed_axes, design.controls),
        ranks_tell=untuned.n_blocks >= min_seeds(design.alpha),
        timed=timed is not None,
    )


def _metric_effects(design: Design, metadata: StudyMetadata) -> pd.DataFrame:
    metric = pd.to_numeric(design.runs["metric"]).astype(float)
    # A metric that merely repeats the loss would show everything twice.
    differs = metric.notna().any() and not metric.equals(design.runs[OUTCOME].astype(float))
    runs = design.runs.assign(metric=metric)
    return main_effects(
        replace(
            design,
            runs=runs,
            controls=design.controls if differs else {},
            outcome="metric",
            scale="difference",
            higher_is_better=metadata.higher_is_better,
            margin=metadata.margin * typical_size(runs, design.controls, "metric"),
            alpha=0.05,
        )
    )


def _curves(
    runs: pd.DataFrame, curves: pd.DataFrame, axes: tuple[str, ...], factors: Sequence[str]
) -> dict[str, dict[str, pd.DataFrame]]:
    curves_by_axis: dict[str, dict[str, pd.DataFrame]] = {}
    for axis in axes:
        tables = {}
        for outcome in (OUTCOME, "train_loss"):
            values = curves[outcome].astype(float)
            scale: Scale = "difference" if (values <= 0).any() else "log"
            tables[outcome] = level_curves(
                runs, curves, axis, factors, outcome=outcome, scale=scale
            )
        # One epoch is a point, and the effects show it better.
        if any(len(table) and table["epoch"].max() > 1 for table in tables.values()):
            curves_by_axis[axis] = tables
    return curves_by_axis


def _published(results: StoredResults, metadata: StudyMetadata) -> pd.DataFrame:
    bands = [
        published_band(
            results.runs, results.curves, curve.where, curve.objective, label=curve.label
        )
        for curve in metadata.published
    ]
    return pd.concat(bands, ignore_index=True) if bands else pd.DataFrame()
