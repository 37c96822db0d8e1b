"""From the table of runs to answers: pure functions, DataFrame to DataFrame, one module
a question.
"""

from ablations.analysis.audited import fault
from ablations.analysis.configurations import configurations, pareto_front
from ablations.analysis.curves import level_curves
from ablations.analysis.design import Scale, cell_codes, complete_blocks, measured, varying
from ablations.analysis.divergence import divergence_rates, endings
from ablations.analysis.effects import main_effects
from ablations.analysis.inference import adjust, equivalence_p, max_t, sign_flip_p, t_interval
from ablations.analysis.interactions import interactions, strongest_pairs
from ablations.analysis.pairs import paired_differences, seed_effects
from ablations.analysis.published import published_band
from ablations.analysis.verdicts import EQUAL, HELPS, HURTS, UNDECIDED, VERDICTS, verdicts

__all__ = [
    "EQUAL",
    "HELPS",
    "HURTS",
    "UNDECIDED",
    "VERDICTS",
    "Scale",
    "adjust",
    "cell_codes",
    "complete_blocks",
    "configurations",
    "divergence_rates",
    "endings",
    "equivalence_p",
    "fault",
    "interactions",
    "level_curves",
    "main_effects",
    "max_t",
    "measured",
    "paired_differences",
    "pareto_front",
    "published_band",
    "seed_effects",
    "sign_flip_p",
    "strongest_pairs",
    "t_interval",
    "varying",
    "verdicts",
]
