"""The ablation table: every level against its control, what its effect depends on, and how many
more seeds would decide it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from ablations.analysis.design import OUTCOME, Design
from ablations.analysis.interactions import depends_on, interactions
from ablations.analysis.main_effects import main_effects
from ablations.analysis.power import seeds_needed
from ablations.analysis.selection import choices, tuned
from ablations.results.metadata import NOT_SET, StudyMetadata, in_order

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


@dataclass(frozen=True)
class Effects:
    """The ablation table of a design, and the interactions behind its ``depends_on``."""

    design: Design
    effects: pd.DataFrame
    interactions: pd.DataFrame


def study_design(results: StoredResults, metadata: StudyMetadata) -> Design:
    """Return the design of a study's runs, tuned over the axes that the study names."""
    return tune_design(Design.from_runs(results, metadata), metadata.tune_over)


def tune_design(design: Design, tune_over: tuple[str, ...]) -> Design:
    """Compare each configuration at its best levels of ``tune_over``.

    The design itself where none of these axes varies, or only one seed ended.
    """
    runs = design.runs
    ended = runs[runs["status"].isin(["ok", "diverged", "failed"])]
    axes = tuple(axis for axis in tune_over if axis in design.axes)
    if not axes or len(set(ended["seed"])) < 2:
        return design
    return replace(
        design,
        runs=tuned(runs, axes, design.factors, scale=design.scale),
        factors=tuple(name for name in design.factors if name not in axes),
        controls={axis: level for axis, level in design.controls.items() if axis not in axes},
        tune_over=axes,
        source=design,
    )


def ablation_effects(design: Design) -> Effects:
    """Compare every level with its control, in the study's order."""
    columns = (design.runs, design.controls, design.factors)
    effects = main_effects(*columns, scale=design.scale, margin=design.margin, alpha=design.alpha)
    effects = effects[(effects["level"] != NOT_SET) | (effects["pairs"] > 0)]
    # A study in which nothing has a pair compares nothing, and its report says so in a sentence.
    effects = effects if effects["pairs"].sum() else effects.iloc[:0]
    pairs = interactions(*columns, scale=design.scale)
    effects = with_advice(effects, pairs, design.bound, design.alpha)
    effects = describe_tuning(in_order(effects, design.levels), design)
    pairs = in_order(pairs, design.levels, [("axis_a", "level_a"), ("axis_b", "level_b")])
    return Effects(design, effects, pairs)


def with_advice(
    effects: pd.DataFrame, interactions: pd.DataFrame, margin: float, alpha: float
) -> pd.DataFrame:
    """Add what each effect depends on, and how many more seeds would decide it.

    Parameters
    ----------
    margin
        On the scale of the effects.
    """
    column = list(effects).index("n")
    needed = seeds_needed(effects, margin=margin, alpha=alpha)
    moderators = depends_on(effects, interactions, margin=margin, alpha=alpha)
    effects = effects.copy()
    effects.insert(column, "more", needed["more"])
    effects.insert(column, "depends_on", moderators)
    return effects


def describe_tuning(table: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Add to ``procedure``, ``assumes`` and ``left_out`` that configurations were compared at
    their best levels, and which levels these are.
    """
    if not design.tune_over or "procedure" not in table:
        return table
    shares, lost = choices(design.untuned.runs, design.runs, design.tune_over)
    axes = ", ".join(design.tune_over)
    procedure = (
        f"each configuration at its best {axes} by {OUTCOME}, chosen on the other half of the "
        f"seeds ({shares})"
    )
    assumption = (
        "the levels chosen are taken as given; where they hardly differ, 7 to 10 % of techniques "
        "without effect are called rather than 5 %"
    )
    return table.assign(
        procedure=[f"{text}; {procedure}" for text in table["procedure"]],
        assumes=["; ".join(filter(None, [text, assumption])) for text in table["assumes"]],
        left_out=["; ".join(filter(None, [text, lost])) for text in table["left_out"]],
    )
