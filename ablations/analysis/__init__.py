"""From the table of runs to answers: pure functions, DataFrame to DataFrame, one module a question.

Each takes any long table and the names of its columns, ``main_effects(runs, controls, factors,
outcome="loss", block="subject")``, or a ``Design``, which holds both; the fields of ``Design`` are
the keywords of the functions.  Tables of answers end with the number of blocks behind a row (``n``)
and with what was computed of them (``procedure``), what that ``assumes``, and what it ``left_out``.
A wrong request raises ``ValueError``, as do ``Design`` and its ``observations``.
"""

import warnings
from typing import Any

from ablations.analysis import _memory  # noqa: F401  (before SciPy is imported)
from ablations.analysis.anova import analysis_of_variance, lenth_p, variance_components
from ablations.analysis.baseline import against_baseline
from ablations.analysis.best_set import best_set
from ablations.analysis.by_scope import effects_by_scope
from ablations.analysis.coding import cell_codes, varying
from ablations.analysis.confounding import confounding
from ablations.analysis.costs import cost_between, costs, noise_floor
from ablations.analysis.curves import level_curves, published_band
from ablations.analysis.datasets import effects_by_dataset, effects_over_datasets
from ablations.analysis.design import Design, Scale
from ablations.analysis.divergence import (
    audit_failure,
    divergence_effects,
    divergence_rates,
    endings,
)
from ablations.analysis.equality import equivalence_p
from ablations.analysis.incomplete import seed_effects
from ablations.analysis.inference import (
    adjust,
    hodges_lehmann,
    max_t,
    sign_flip_p,
    t_interval,
)
from ablations.analysis.interactions import (
    interactions,
    moderators,
    simple_effects,
    strongest_pairs,
)
from ablations.analysis.least_squares import blocked_effects
from ablations.analysis.main_effects import main_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.pairing import (
    complete_blocks,
    paired_differences,
    to_observations,
)
from ablations.analysis.power import seeds_needed
from ablations.analysis.ranking import configurations, pareto_front, ranking, seed_spread
from ablations.analysis.scores import (
    aggregate_scores,
    dataset_scores,
    mean_ranks,
    performance_profiles,
    ranks_by_axis,
)
from ablations.analysis.selection import best_configuration, tune
from ablations.analysis.trajectory import curve_endings, effects_by_epoch
from ablations.analysis.variance import variance_shares
from ablations.analysis.verdicts import EQUAL, HELPS, HURTS, UNDECIDED, VERDICTS, verdicts

__all__ = [
    "EQUAL", "HELPS", "HURTS", "UNDECIDED", "VERDICTS", "Design", "Scale", "adjust",
    "against_baseline", "aggregate_scores", "analysis_of_variance", "audit_failure",
    "best_configuration", "best_set", "blocked_effects", "cell_codes", "complete_blocks",
    "configurations", "confounding", "cost_between", "costs", "curve_endings", "dataset_scores",
    "divergence_effects", "divergence_rates", "effects_by_dataset", "effects_by_epoch",
    "effects_by_scope", "effects_over_datasets", "endings", "equivalence_p", "hodges_lehmann",
    "interactions", "lenth_p", "level_curves", "main_effects", "max_t", "mean_ranks", "moderators",
    "noise_floor", "one_factor", "paired_differences", "pareto_front", "performance_profiles",
    "published_band", "ranking", "ranks_by_axis", "seed_effects", "seed_spread", "seeds_needed",
    "sign_flip_p", "simple_effects", "strongest_pairs", "t_interval", "to_observations", "tune",
    "variance_components", "variance_shares", "varying", "verdicts",
]  # fmt: skip
RENAMED = {
    "aliases": "confounding",
    "depends_on": "moderators",
    "importance": "variance_shares",
    "measured": "to_observations",
    "tuned": "tune",
    "winner": "best_configuration",
}
"""Names of version 0.1, which still work."""


def __getattr__(name: str) -> Any:
    if name not in RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"ablations.analysis.{name} is now called {RENAMED[name]}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return globals()[RENAMED[name]]
