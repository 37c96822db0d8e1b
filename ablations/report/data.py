"""One reading of a folder of results: every analysis that the page draws on, made once."""

from __future__ import annotations

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
from ablations.analysis.costs import clocked, time_costs, timings_of, winner_cost
from ablations.analysis.interactions import simple_effects
from ablations.analysis.power import min_seeds
from ablations.analysis.ranking import ranking, seed_spread
from ablations.analysis.selection import winner
from ablations.analysis.study_design import OUTCOME, Effects, ablation_effects, typical
from ablations.analysis.variance import importance
from ablations.results.metadata import StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


@dataclass(frozen=True)
class ReportData(Effects):
    """The tables of one report."""

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


def build_report_data(results: StoredResults, metadata: StudyMetadata) -> ReportData:
    """Make every table of the report from the runs and curves of ``results``."""
    of = ablation_effects(results, metadata)
    of_all = (of.judged, of.controls, of.contrasted)
    runs, axes = of.runs, of.axes
    best = winner(of.judged, of.contrasted, control=of.controls, scale=of.scale)
    timings, timed_axes = timings_of(results, metadata)
    alone = clocked(runs, timings, timed_axes)
    return ReportData(
        **vars(of),
        by_seed=seed_effects(*of_all, scale=of.scale),
        metric_effects=_metric_effects(*of_all, metadata),
        simple=in_order(
            simple_effects(*of_all, scale=of.scale),
            of.levels,
            [("axis", "level"), ("given", "given_level")],
        ),
        shares=importance(of.judged, of.contrasted, scale=of.scale),
        spread=in_order(seed_spread(runs, axes, of.factors, scale=of.scale), of.levels),
        ranked=ranking(of.judged, of.contrasted, scale=of.scale),
        winner=best,
        curves=_curves(runs, results.curves.sort_values(["run_id", "epoch"]), axes, of.factors),
        configurations=configurations(runs if alone is None else alone, of.factors, scale=of.scale),
        published=_published(results, metadata),
        rates=in_order(divergence_rates(runs, axes), of.levels),
        endings=endings(runs, axes),
        costs=time_costs(results, metadata),
        floors=noise_floor(results.timings),
        winner_cost=winner_cost(best, timings, timed_axes, of.controls),
        ranks_tell=runs["seed"].nunique() >= min_seeds(of.alpha),
        timed=alone is not None,
    )


def _metric_effects(
    runs: pd.DataFrame, controls: dict[str, str], factors: tuple[str, ...], metadata: StudyMetadata
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
        margin=metadata.margin * typical(runs, controls, "metric"),
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
