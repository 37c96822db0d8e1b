"""From the table of runs to answers: pure functions, DataFrame to DataFrame, one module
a question.

Each takes any long table: outcome, factors and block (the experimental unit) are columns by name.
"""

from ablations.analysis.audit import audit_failure
from ablations.analysis.confounding import aliases
from ablations.analysis.costs import cost_between, costs, noise_floor
from ablations.analysis.curves import level_curves, published_band
from ablations.analysis.design import Scale, cell_codes, to_observations, varying
from ablations.analysis.divergence import divergence_effects, divergence_rates, endings
from ablations.analysis.inference import (
    adjust,
    equivalence_p,
    hodges_lehmann,
    max_t,
    sign_flip_p,
    t_interval,
)
from ablations.analysis.interactions import (
    depends_on,
    interactions,
    simple_effects,
    strongest_pairs,
)
from ablations.analysis.main_effects import main_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.pairing import complete_blocks, paired_differences, seed_effects
from ablations.analysis.power import seeds_needed
from ablations.analysis.ranking import configurations, pareto_front, ranking, seed_spread
from ablations.analysis.selection import tuned, winner
from ablations.analysis.variance import importance
from ablations.analysis.verdicts import EQUAL, HELPS, HURTS, UNDECIDED, VERDICTS, verdicts

__all__ = [
    "EQUAL",
    "HELPS",
    "HURTS",
    "UNDECIDED",
    "VERDICTS",
    "Scale",
    "adjust",
    "aliases",
    "audit_failure",
    "cell_codes",
    "complete_blocks",
    "configurations",
    "cost_between",
    "costs",
    "depends_on",
    "divergence_effects",
    "divergence_rates",
    "endings",
    "equivalence_p",
    "hodges_lehmann",
    "importance",
    "interactions",
    "level_curves",
    "main_effects",
    "max_t",
    "noise_floor",
    "one_factor",
    "paired_differences",
    "pareto_front",
    "published_band",
    "ranking",
    "seed_effects",
    "seed_spread",
    "seeds_needed",
    "sign_flip_p",
    "simple_effects",
    "strongest_pairs",
    "t_interval",
    "to_observations",
    "tuned",
    "varying",
    "verdicts",
    "winner",
]
