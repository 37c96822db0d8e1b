"""study_design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations.analysis import Scale, interactions, main_effects, varying
from ablations.analysis.design import on_scale
from ablations.analysis.interactions import depends_on
from ablations.analysis.power import seeds_needed
from ablations.analysis.selection import choices, tuned
from ablations.results.metadata import (
    NOT_SET,
    StudyMetadata,
    in_order,
    label,
    levels_in_order,
    with_text_levels,
)

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


OUTCOME = "val_loss"


# Columns that tell configurations apart even where no axis names them: `cells` trains each for
# its own epochs.
SETTINGS = ("task", "model", "optimizer", "lr", "batch_size", "dtype", "epochs")


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Levels are text throughout; ``axes`` are those with at least two levels that ran; ``margin`` is
    a fraction on the log scale, else in the loss's unit.  What is compared are the runs ``judged``,
    told apart by ``contrasted``: all runs and factors, unless configurations are ``tuned`` over
    some axes.
    """

    runs: pd.DataFrame
    axes: tuple[str, ...]
    factors: tuple[str, ...]
    controls: dict[str, str]
    levels: dict[str, tuple[str, ...]]
    scale: Scale
    margin: float
    alpha: float
    looks: tuple[int, ...]
    judged: pd.DataFrame
    contrasted: tuple[str, ...]
    tuned: tuple[str, ...]

    @property
    def bound(self) -> float:
        """The margin on the scale of the effects."""
        return on_scale(self.margin, self.scale)


@dataclass(frozen=True)
class Effects(Design):
    """The ablation table: every level against its control, what its effect depends on, and how
    many more seeds would decide it.
    """

    effects: pd.DataFrame
    interactions: pd.DataFrame


def design(results: StoredResults, story: StudyMetadata) -> Design:
    """Find the axes, factors and controls that the runs of ``results`` offer."""
    names = tuple(name for name in story.axes if name in results.runs)
    # In an order of their own, so that the same runs give the same bytes however they are stored.
    runs = with_text_levels(results.runs.sort_values("run_id", kind="stable"), names)
    scale = scale_of(runs)
    ended = runs[runs["status"].isin(["ok", "diverged", "failed"])]
    axes = tuple(varying(ended, names))
    factors = tuple(varying(runs, list(dict.fromkeys([*names, *SETTINGS]))))
    # A level of which nothing ended is still one that was asked for.
    asked = varying(runs, names)
    controls = {axis: label(story.controls[axis]) for axis in asked if axis in story.controls}
    levels = {axis: levels_in_order(runs[axis], story, axis) for axis in asked}
    margin = story.margin * (1.0 if scale == "log" else typical(runs, controls, OUTCOME))
    judged, contrasted = runs, factors
    over = tuple(axis for axis in story.tune_over if axis in axes)
    if over and len(set(ended["seed"])) > 1:
        judged = tuned(runs, over, factors, scale=scale)
        contrasted = tuple(name for name in factors if name not in over)
        controls = {axis: level for axis, level in controls.items() if axis not in over}
    return Design(
        runs, axes, factors, controls, levels, scale, margin, story.alpha, story.looks,
        judged, contrasted, over,
    )  # fmt: skip


def ablation_effects(results: StoredResults, story: StudyMetadata) -> Effects:
    """Compare every level with its control, in the study's order."""
    of = design(results, story)
    how = {"scale": of.scale, "margin": of.margin, "alpha": of.alpha}
    of_all = (of.judged, of.controls, of.contrasted)
    effects = main_effects(*of_all, **how)  # type: ignore[arg-type]
    effects = effects[(effects["level"] != NOT_SET) | (effects["pairs"] > 0)]
    # A study in which nothing has a pair compares nothing, and its report says so in a sentence.
    effects = effects if effects["pairs"].sum() else effects.iloc[:0]
    both = interactions(*of_all, scale=of.scale)
    effects = completed(effects, both, of.bound, of.alpha)
    effects = tuning_told(in_order(effects, of.levels), of)
    both = in_order(both, of.levels, [("axis_a", "level_a"), ("axis_b", "level_b")])
    return Effects(**vars(of), effects=effects, interactions=both)


def completed(
    effects: pd.DataFrame, both: pd.DataFrame, margin: float, alpha: float
) -> pd.DataFrame:
    """A table of effects with what each depends on, of the interactions ``both``, and how many more
    seeds would decide it; the margin is on their scale.
    """
    sure = {"margin": margin, "alpha": alpha}
    place = list(effects).index("n")
    effects = effects.copy()
    effects.insert(place, "more", seeds_needed(effects, **sure)["more"])
    effects.insert(place, "depends_on", depends_on(effects, both, **sure))
    return effects


def typical(runs: pd.DataFrame, controls: Mapping[str, str], outcome: str) -> float:
    """The size of an outcome, of which a margin that is a fraction is one: the median of the runs
    in which all axes are at their controls, or of all where there is none.
    """
    ok = runs[runs["status"] == "ok"]
    base = (
        ok[np.all([ok[axis] == level for axis, level in controls.items()], axis=0)]
        if controls
        else ok
    )
    size = pd.to_numeric((base if len(base) else ok)[outcome]).astype(float).abs().median()
    # A margin must be some width, even of outcomes that are all zero.
    return float(size) if size > 0 else 1e-12


def scale_of(runs: pd.DataFrame) -> Scale:
    """Losses are compared as ratios, unless one of them is zero or negative and has none."""
    loss = runs.loc[runs["status"] == "ok", OUTCOME].astype(float)
    return "difference" if (loss <= 0).any() else "log"


def tuning_told(table: pd.DataFrame, of: Design) -> pd.DataFrame:
    """The answer, saying that configurations were judged at their best levels, and which."""
    if not of.tuned or "procedure" not in table:
        return table
    chosen, lost = choices(of.runs, of.judged, of.tuned)
    axes = ", ".join(of.tuned)
    done = (
        f"each configuration at its best {axes} by {OUTCOME}, chosen on the other half of the "
        f"seeds ({chosen})"
    )
    taken = (
        "the levels chosen are taken as given; where they hardly differ, 7 to 10 % of techniques "
        "without effect are called rather than 5 %"
    )
    return table.assign(
        procedure=[f"{text}; {done}" for text in table["procedure"]],
        assumes=["; ".join(filter(None, [text, taken])) for text in table["assumes"]],
        left_out=["; ".join(filter(None, [text, lost])) for text in table["left_out"]],
    )
