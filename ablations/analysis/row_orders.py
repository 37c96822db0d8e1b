"""Columns of the shortest answer, and which columns put the rows of an answer into order."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ablations.analysis.ablation import ablation_table
from ablations.analysis.by_scope import effects_by_scope
from ablations.analysis.divergence import divergence_effects
from ablations.analysis.interactions import interactions, simple_effects
from ablations.analysis.one_factor import one_factor

VERDICT_COLUMNS = [
    "axis", "level", "control", "verdict", "caution", "change", "change_low", "change_high",
    "effect", "low", "high", "p_adjusted", "depends_on", "more", "n", "procedure", "assumes",
    "left_out",
]  # fmt: skip
ORDERS: dict[Callable[..., pd.DataFrame], list[tuple[str, str]]] = {
    ablation_table: [("axis", "level")],
    divergence_effects: [("axis", "level")],
    effects_by_scope: [("axis", "level")],
    interactions: [("axis_a", "level_a"), ("axis_b", "level_b")],
    one_factor: [("axis", "level"), ("axis", "against")],
    simple_effects: [("axis", "level"), ("given", "given_level")],
}
"""Columns of an axis and its level by which the rows of an answer are put into the study's order;
other answers are in an order of their own."""
