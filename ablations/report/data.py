"""One reading of a folder of results: every analysis that the page draws on, made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from ablations.analysis.ablation import Effects, ablation_effects, study_design
from ablations.analysis.costs import clocked, time_costs, timings_of, winner_cost
from ablations.analysis.design import OUTCOME, Design, typical_size
from ablations.analysis.interactions import simple_effects
from ablations.analysis.power import min_seeds
from ablations.analysis.ranking import ranking, seed_spread
from ablations.analysis.selection import winner
from ablations.analysis.variance import importance
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


@dataclass(frozen=True)
class ReportData:
    """The tables of one report."""

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
    ablation = ablation_effects(study_design(results, metadata))
    design, scale = ablation.design, ablation.design.scale
    columns = (design.runs, design.controls, design.factors)
    runs, factors, axes = design.untuned.runs, design.untuned.factors, design.axes
    best = winner(design.runs, design.factors, control=design.controls, scale=scale)
    timings, timed_axes = timings_of(results, metadata)
    alone = clocked(runs, timings, timed_axes)
    return ReportData(
        ablation=ablation,
        by_seed=seed_effects(*columns, scale=scale),
        metric_effects=_metric_effects(*columns, metadata),
        simple=in_order(
            simple_effects(*columns, scale=scale),
            design.levels,
            [("axis", "level"), ("given", "given_level")],
        ),
        shares=importance(design.runs, design.factors, scale=scale),
        spread=in_order(seed_spread(runs, axes, factors, scale=scale), design.levels),
        ranked=ranking(design.runs, design.factors, scale=scale),
        winner=best,
        curves=_curves(runs, results.curves.sort_values(["run_id", "epoch"]), axes, factors),
        configurations=configurations(runs if alone is None else alone, factors, scale=scale),
        published=_published(results, metadata),
        rates=in_order(divergence_rates(runs, axes), design.levels),
        endings=endings(runs, axes),
        costs=time_costs(results, metadata),
        floors=noise_floor(results.timings),
        winner_cost=winner_cost(best, timings, timed_axes, design.controls),
        ranks_tell=runs["seed"].nunique() >= min_seeds(design.alpha),
        timed=alone is not None,
    )


def _metric_effects(
    runs: pd.DataFrame,
    controls: Mapping[str, str],
    factors: tuple[str, ...],
    metadata: StudyMetadata,
) -> pd.DataFrame:
    metric = pd.to_numeric(runs["metric"]).astype(float)
    # A metric that merely repeats the loss would say everything twice.
    told = metric.notna().any() and not metric.equals(runs[OUTCOME].astype(float))
    runs = runs.assign(metric=metric)
    return main_effects(
        runs,
        controls if told else {},
        list(factors),
        outcome="metric",
        scale="difference",
        higher_is_better=metadata.higher_is_better,
        margin=metadata.margin * typical_size(runs, controls, "metric"),
    )


def _curves(
    runs: pd.DataFrame, curves: pd.DataFrame, axes: tuple[str, ...], factors: tuple[str, ...]
) -> dict[str, dict[str, pd.DataFrame]]:
    found: dict[str, dict[str, pd.DataFrame]] = {}
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
            found[axis] = tables
    return found


def _published(results: StoredResults, metadata: StudyMetadata) -> pd.DataFrame:
    bands = [
        published_band(
            results.runs, results.curves, curve.where, curve.objective, label=curve.label
        )
        for curve in metadata.published
    ]
    return pd.concat(bands, ignore_index=True) if bands else pd.DataFrame()
