"""The questions that a results folder answers: what helps, what interacts, what matters, what wins.

Each is a function of ``ablations.analysis``, whose docstring describes the columns and the method,
with what the folder's study says about axes, controls, direction and margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.analysis.ablation import ablation_table, describe_tuning, tune_design
from ablations.analysis.confounding import confounding
from ablations.analysis.costs import time_costs
from ablations.analysis.design import OUTCOME, Design, Question, typical_size
from ablations.analysis.divergence import divergence_effects
from ablations.analysis.interactions import interactions, simple_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.ranking import ranking
from ablations.analysis.selection import best_configuration
from ablations.analysis.variance import variance_shares
from ablations.core.errors import RequestError, nearest
from ablations.results import store
from ablations.results.metadata import Level, StudyMetadata, in_order, label

__all__ = ["Results", "load"]
OUTCOMES = (OUTCOME, "train_loss", "objective", "metric")
CAUTIONS = {
    "objective": "the objective holds penalties, which techniques add to by what they are",
    "train_loss": "a training loss tells how well rows are remembered",
}
VERDICT_COLUMNS = [
    "axis", "level", "control", "verdict", "change", "change_low", "change_high", "effect", "low",
    "high", "p_adjusted", "depends_on", "more", "n", "procedure", "assumes", "left_out",
]  # fmt: skip
ORDERS: dict[Question, list[tuple[str, str]]] = {
    ablation_table: [("axis", "level")],
    divergence_effects: [("axis", "level")],
    interactions: [("axis_a", "level_a"), ("axis_b", "level_b")],
    one_factor: [("axis", "level"), ("axis", "against")],
    simple_effects: [("axis", "level"), ("given", "given_level")],
}
"""Columns of an axis and its level by which the rows of an answer are put into the study's order;
other answers are in an order of their own."""


Axes = Sequence[str] | None


@dataclass(frozen=True, repr=False)
class Results(store.StoredResults):
    """What a results folder holds, and the questions that it answers.

    Every answer is a DataFrame whose last columns say what it rests on: ``n``, ``procedure``,
    ``assumes`` and ``left_out`` (``aliases`` and ``tuning`` are themselves about that).  Levels are
    text in all of them, as in the report.

    All questions take ``outcome``: ``val_loss`` by default, ``train_loss`` or ``objective``, for
    which lower is better, or ``metric``, of which the study knows the direction; and ``tune_over``:
    axes, ``["lr"]`` for instance, at whose best level each configuration is compared, chosen by
    validation loss on the other half of the seeds (``analysis.tune``), instead of those of the
    study.  Other keywords go to the function, or change a field of its ``Design``.

    Raises
    ------
    RequestError
        From every question, if it names an unknown outcome, axis, level or keyword.
    """

    def _repr_html_(self) -> str:
        """The answer and the ablation table, as a notebook shows them."""
        from ablations.results.answer import as_html, load_answer

        answer = load_answer(self.folder, self.runs["run_id"])
        if answer:
            return as_html(answer, repr(self)[1:-1])
        try:
            table = self.verdicts()
        except RequestError as error:
            return f"<p>{escape(repr(self))}; {escape(str(error))}</p>"
        shown = table.drop(columns=["procedure", "assumes", "left_out"])
        html: str = shown.to_html(index=False, border=0, float_format="{:.3g}".format)
        return f"{html}<p>{escape(repr(self)[1:-1])}</p>"

    def effects(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """Every level against its control (``analysis.main_effects``), the axes on which this
        ``depends_on`` (``moderators``), and how many ``more`` seeds decide it (``seeds_needed``).
        """
        return self._answer(ablation_table, outcome, **options)

    def verdicts(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """What each level does, in four words: the columns of ``effects`` that matter most."""
        return self.effects(outcome, **options)[VERDICT_COLUMNS]

    def interactions(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """Whether the effect of one level depends on another (``analysis.interactions``)."""
        return self._answer(interactions, outcome, **options)

    def simple_effects(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """The effect of a level at each level of other axes (``analysis.simple_effects``)."""
        return self._answer(simple_effects, outcome, **options)

    def aliases(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """What these runs cannot estimate, and why (``analysis.confounding``)."""
        return self._answer(confounding, outcome, **options)

    def importance(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """Which axis matters: shares of the variance (``analysis.variance_shares``)."""
        return self._answer(variance_shares, outcome, **options)

    def one_factor(
        self, outcome: str = OUTCOME, full: Mapping[str, Level] | None = None, **options: Any
    ) -> pd.DataFrame:
        """The control plus each level, and the full model minus each (``analysis.one_factor``).

        Parameters
        ----------
        full
            Axis to its level in the full model, its control where it is not named; by default the
            best configuration.
        """
        levels = None if full is None else {axis: label(level) for axis, level in full.items()}
        table = self._answer(one_factor, outcome, full=levels, **options)
        return table.sort_values("view", kind="stable").reset_index(drop=True)

    def ranking(self, best: int = 10, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """The best configurations, and which of them are apart (``analysis.ranking``)."""
        return self._answer(ranking, outcome, best=best, **options)

    def winner(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """The best configuration, its lead without luck (``analysis.best_configuration``)."""
        controls = self.design(outcome, options.get("tune_over")).controls
        return self._answer(best_configuration, outcome, **({"control": controls} | options))

    def divergence(self, outcome: str = OUTCOME, **options: Any) -> pd.DataFrame:
        """Levels against controls, diverged runs as the worst (``analysis.divergence_effects``)."""
        return self._answer(divergence_effects, outcome, **options)

    def costs(self, outcome: str = OUTCOME, *, tune_over: Axes = None) -> pd.DataFrame:
        """What each level costs in time, as far as it was timed (``analysis.costs``)."""
        if outcome != OUTCOME or tune_over:
            raise RequestError("times have no outcome and nothing to tune", "costs")
        return time_costs(self, self._metadata)

    def tuning(self, outcome: str = OUTCOME, *, tune_over: Axes = None) -> pd.DataFrame:
        """The levels chosen for each configuration, and how many ``seeds`` it has there."""
        design = self.design(outcome, tune_over)
        columns = [*design.factors, *design.tune_over]
        if not design.tune_over:
            return pd.DataFrame(columns=[*columns, "seeds"])
        seeds = design.runs.groupby(columns, sort=False, dropna=False)["seed"].nunique()
        return seeds.rename("seeds").reset_index().sort_values(columns, kind="stable")

    def design(self, outcome: str = OUTCOME, tune_over: Axes = None) -> Design:
        """Return the design behind the answers on an outcome; it remembers what was computed."""
        if isinstance(tune_over, str):
            raise RequestError(f"expected a list of axes, found {tune_over!r}", "tune_over")
        axes = self._metadata.tune_over if tune_over is None else tuple(tune_over)
        if (outcome, axes) not in self._designs:
            self._designs[outcome, axes] = self._make_design(outcome, axes)
        return self._designs[outcome, axes]

    def _make_design(self, outcome: str, tune_over: tuple[str, ...]) -> Design:
        if outcome == OUTCOME:
            return self._tuned_design(tune_over)
        if outcome.endswith("seconds"):
            message = (
                "the time of a run that is trained with others is its share of theirs, and tells "
                "nothing of a technique"
            )
            raise RequestError(message, "outcome")
        if outcome not in OUTCOMES:
            message = f"there is no outcome '{outcome}'; {nearest(outcome, OUTCOMES)}"
            raise RequestError(message, "outcome")
        default, metadata = self.design(), self._metadata
        values = pd.to_numeric(self.runs.loc[self.runs["status"] == "ok", outcome])
        is_log = outcome != "metric" and bool((values.dropna() > 0).all())
        size = 1.0 if is_log else typical_size(default.untuned.runs, default.controls, outcome)
        return replace(
            self.design(OUTCOME, tune_over),
            outcome=outcome,
            scale="log" if is_log else "difference",
            margin=metadata.margin * size,
            higher_is_better=outcome == "metric" and metadata.higher_is_better,
        )

    def _tuned_design(self, tune_over: tuple[str, ...]) -> Design:
        design = self._untuned_design
        if tune_over != self._metadata.tune_over:
            if unknown := [axis for axis in tune_over if axis not in design.axes]:
                nearest_axes = nearest(unknown[0], design.axes)
                raise RequestError(f"there is no axis '{unknown[0]}' here; {nearest_axes}")
            if not set(design.axes) - set(tune_over):
                message = "all axes are tuned over, and none is left to compare"
                raise RequestError(message, "tune_over")
        return tune_design(design, tune_over)

    def _answer(
        self, function: Question, outcome: str, tune_over: Axes = None, **options: Any
    ) -> pd.DataFrame:
        """Answer one question in the study's order, with the assumptions behind it."""
        design = self.design(outcome, tune_over)
        try:
            table = function(design, **options)
        except (ValueError, TypeError) as error:
            # A call's error begins with the name of a function that the user did not call.
            raise RequestError(str(error).split("() ", 1)[-1]) from None
        if outcome in CAUTIONS and "assumes" in table:
            table["assumes"] = [f"{text}; {CAUTIONS[outcome]}" for text in table["assumes"]]
        table = describe_tuning(table, design)
        columns = ORDERS.get(function)
        return in_order(table, design.levels, columns) if columns else table

    @cached_property
    def _designs(self) -> dict[tuple[str, tuple[str, ...]], Design]:
        return {}

    @cached_property
    def _untuned_design(self) -> Design:
        return Design.from_runs(self, self._metadata)

    @property
    def _metadata(self) -> StudyMetadata:
        return self.require_metadata()


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    return Results(**vars(store.load(folder)))
