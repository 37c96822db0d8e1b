"""Every level against its control, what its effect depends on, and how many seeds decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from ablations.analysis.design import Design, accept_table
from ablations.analysis.interactions import interactions, moderators, simple_effects
from ablations.analysis.main_effects import Correction, main_effects
from ablations.analysis.outcomes import MissingMetric
from ablations.analysis.power import seeds_needed
from ablations.analysis.selection import describe_choices, tune
from ablations.analysis.statements import join_statements
from ablations.results.metadata import NOT_SET, in_order

FIRST_REPEAT = 20
"""Seeds of a study with which each of its splits has two."""


@dataclass(frozen=True)
class Effects:
    """The ablation table of a design, the interactions behind its ``depends_on``, and what tells
    how far to trust it.
    """

    design: Design
    effects: pd.DataFrame
    interactions: pd.DataFrame
    baseline: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``against_baseline``."""
    missing: Sequence[MissingMetric] = ()
    """The study's outcome and its first metric, where runs lack them."""
    endings: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``curve_endings``."""
    scope: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``effects_by_scope``."""
    unrecorded: str = ""
    """Why the look could not be recorded in the results folder; "" if it was."""
    best_set: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``best_set``."""
    winner: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``best_configuration``."""
    others: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """``main_effects`` by other outcomes: the loss or the first metric, and after overfitting the
    loss of each run's best epoch."""
    other_designs: Mapping[str, Design] = field(default_factory=dict)
    """The designs of ``others``."""
    published: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``published_band`` of every curve that the study reproduces."""

    @cached_property
    def simple(self) -> pd.DataFrame:
        """``simple_effects``, in the study's order."""
        columns = [("axis", "level"), ("given", "given_level")]
        return in_order(simple_effects(self.design), self.design.levels, columns)


def tune_design(
    design: Design, tune_over: tuple[str, ...], judge: str = "last", *, shares_rows: bool = False
) -> Design:
    """Compare configurations at their best levels of these axes, if one varies over two seeds.

    Validation rows choose, also where test rows judge: in the epoch that ``judge`` names.

    Parameters
    ----------
    shares_rows
        Whether the seeds split the rows of one table, each in another way.  Other seeds then knew
        the test rows of a seed, so that each chooses for itself, by its own validation rows.
    """
    runs = design.runs
    ended = runs[runs["status"].isin(["ok", "diverged", "failed"])]
    axes = tuple(axis for axis in tune_over if axis in design.axes)
    if not axes or len(set(ended["seed"])) < 2:
        return design
    by, by_seed = design, shares_rows and design.outcome == "test_loss"
    if design.outcome == "test_loss":
        column = "best_val_loss" if judge == "best" else "val_loss"
        is_positive = (runs.loc[runs["status"] == "ok", column].astype(float) > 0).all()
        by = replace(design, outcome=column, scale="log" if is_positive else "difference")
    return replace(
        design,
        runs=tune(by, axes, by_seed=by_seed),
        factors=tuple(name for name in design.factors if name not in axes),
        controls={axis: level for axis, level in design.controls.items() if axis not in axes},
        tune_over=axes,
        tuned_by_seed=by_seed,
        source=by,
    )


def ablation_effects(design: Design) -> Effects:
    """Compare every level with its control, in the study's order."""
    effects = ablation_table(design)
    effects = effects[(effects["level"] != NOT_SET) | (effects["pairs"] > 0)]
    # A study in which nothing has a pair compares nothing, and its report says so in a sentence.
    effects = effects if effects["pairs"].sum() else effects.iloc[:0]
    effects = describe_tuning(in_order(effects, design.levels), design)
    columns = [("axis_a", "level_a"), ("axis_b", "level_b")]
    return Effects(design, effects, in_order(interactions(design), design.levels, columns))


@accept_table(
    *("controls", "factors", "scale", "higher_is_better", "margin", "alpha", "confidence"),
    *("overlap", "split"),
)
def ablation_table(design: Design, *, correction: Correction = "max_t") -> pd.DataFrame:
    """Return main effects with ``depends_on`` (``moderators``), ``more`` and ``needs_rows``
    (``seeds_needed``).
    """
    effects = main_effects(design, correction=correction)
    margin, alpha, column = design.bound, design.alpha, effects.columns.get_loc("n")
    axes = moderators(effects, interactions(design), margin=margin, alpha=alpha)
    first_repeat = FIRST_REPEAT if design.may_repeat_splits else 0
    needed = seeds_needed(
        effects,
        margin=margin,
        alpha=alpha,
        first_repeat=first_repeat,
        level_at=design.level_at,
        confidence=design.confidence,
    )
    effects.insert(column, "needs_rows", needed["needs_rows"])
    effects.insert(column, "more", needed["more"])
    effects.insert(column, "depends_on", axes)
    return effects


def describe_tuning(table: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Add that configurations were compared at their best levels, and which levels these are."""
    if not design.tune_over or "procedure" not in table:
        return table
    shares, lost = describe_choices(design)
    axes, chooser = ", ".join(design.tune_over), "chosen on the other half of the seeds"
    assumption = (
        "the levels chosen are taken as given; where they hardly differ, 7 to 10 % of techniques "
        "without effect are called rather than 5 %"
    )
    if design.tuned_by_seed:
        chooser, assumption = "which each seed chose", ""
    outcome = design.untuned.outcome
    procedure = f"each configuration at its best {axes} by {outcome}, {chooser} ({shares})"
    return table.assign(
        procedure=[f"{text}; {procedure}" for text in table["procedure"]],
        assumes=[join_statements(text, assumption) for text in table["assumes"]],
        left_out=[join_statements(text, lost) for text in table["left_out"]],
    )
