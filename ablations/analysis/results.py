"""A results folder that can be asked: what helps, what interacts, what matters, what wins.

Each method is one function of ``ablations.analysis`` with what the folder's study says about axes,
controls, direction and margin; its docstring there says what the columns are and where the method
comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablations.core.errors import RequestError, nearest
from ablations.results import store

if TYPE_CHECKING:
    from ablations.analysis.design import Design
    from ablations.results.metadata import StudyMetadata

__all__ = ["Results", "load"]

Level = str | float

_DIRECTED = ("scale", "higher_is_better")
_OUTCOMES = ("val_loss", "train_loss", "objective", "metric")
_INCLUDES = {
    "objective": "the objective holds penalties, which techniques add to by what they are",
    "train_loss": "a training loss tells how well rows are remembered",
}


@dataclass(frozen=True, repr=False)
class Results(store.StoredResults):
    """What a results folder holds, and the questions that it answers.

    Every answer is a DataFrame whose last columns say what it rests on: ``n``, ``procedure``,
    ``assumes`` and ``left_out`` (``aliases`` and ``tuning`` are themselves about that).  Levels are
    text in all of them, as in the report.

    All questions take ``outcome``: ``val_loss`` by default, ``train_loss`` or ``objective``, for
    which lower is better, or ``metric``, of which the study knows the direction; and ``tune_over``:
    axes, ``["lr"]`` for instance, at whose best level each configuration is judged, chosen by
    validation loss on the other half of the seeds (``analysis.tuning``), instead of those of the
    study.  Other keywords go to the function, whose docstring names the columns.

    Raises
    ------
    RequestError
        From every question, if an outcome, axis, level or keyword is none that there is.
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

    def effects(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Every level against its control (``analysis.main_effects``), the axes that this depends
        on (``analysis.depends_on``), and how many more seeds would decide it
        (``analysis.seeds_needed``).

        Returns
        -------
        DataFrame
            One row a level, in the study's order: the columns of ``main_effects``, among them
            ``depends_on`` and ``more``.
        """
        from ablations import analysis
        from ablations.analysis.ablation import with_advice
        from ablations.analysis.design import on_scale

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            level = {"alpha": of.alpha} | asked
            table = analysis.main_effects(of.runs, of.controls, of.factors, **level)
            both = analysis.interactions(
                of.runs, of.controls, of.factors, outcome=outcome, scale=level["scale"]
            )
            bound = on_scale(level["margin"], level["scale"])
            return with_advice(table, both, bound, level["alpha"])

        return self._ask(ask, outcome, (*_DIRECTED, "margin"), [("axis", "level")], **how)

    def verdicts(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """What each level does, in four words.

        Returns
        -------
        DataFrame
            Of ``effects``: ``axis, level, control, verdict, change, change_low, change_high,
            effect, low, high, p_adjusted, depends_on, more, n, procedure, assumes, left_out``.
        """
        columns = [
            "axis", "level", "control", "verdict", "change", "change_low", "change_high", "effect",
            "low", "high", "p_adjusted", "depends_on", "more", "n", "procedure", "assumes",
            "left_out",
        ]  # fmt: skip
        return self.effects(outcome, **how)[columns]

    def interactions(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Whether the effect of one level depends on another (``analysis.interactions``)."""
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.interactions(of.runs, of.controls, of.factors, **asked)

        pairs = [("axis_a", "level_a"), ("axis_b", "level_b")]
        return self._ask(ask, outcome, ("scale",), pairs, **how)

    def simple_effects(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """The effect of each level at each level of every other axis
        (``analysis.simple_effects``).
        """
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.simple_effects(of.runs, of.controls, of.factors, **asked)

        pairs = [("axis", "level"), ("given", "given_level")]
        return self._ask(ask, outcome, ("scale",), pairs, **how)

    def aliases(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """What these runs cannot tell, and why (``analysis.aliases``)."""
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.aliases(of.runs, of.controls, of.factors, **asked)

        return self._ask(ask, outcome, **how)

    def importance(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Which axis matters: shares of the variance (``analysis.importance``)."""
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.importance(of.runs, of.factors, **asked)

        return self._ask(ask, outcome, ("scale",), **how)

    def one_factor(
        self, outcome: str = "val_loss", full: Mapping[str, Level] | None = None, **how: Any
    ) -> pd.DataFrame:
        """The control plus each level, and the full model minus each (``analysis.one_factor``).

        Parameters
        ----------
        full
            Axis to its level in the full model, its control where it is not named; by default the
            best configuration.
        """
        from ablations import analysis
        from ablations.results.metadata import label

        named = None if full is None else {axis: label(level) for axis, level in full.items()}

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.one_factor(of.runs, of.controls, of.factors, full=named, **asked)

        table = self._ask(ask, outcome, _DIRECTED, [("axis", "level"), ("axis", "against")], **how)
        return table.sort_values("view", kind="stable").reset_index(drop=True)

    def ranking(self, best: int = 10, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """The best configurations, and which of them are apart (``analysis.ranking``)."""
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.ranking(of.runs, of.factors, best=best, **asked)

        return self._ask(ask, outcome, _DIRECTED, **how)

    def winner(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """The best configuration, what of its lead is luck, and how far it is from the controls
        (``analysis.winner``).
        """
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            level = {"control": of.controls} | asked
            return analysis.winner(of.runs, of.factors, **level)

        return self._ask(ask, outcome, _DIRECTED, **how)

    def divergence(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Every level against its control, diverged runs counted as the worst
        (``analysis.divergence_effects``).
        """
        from ablations import analysis

        def ask(of: Design, **asked: Any) -> pd.DataFrame:
            return analysis.divergence_effects(of.runs, of.controls, of.factors, **asked)

        return self._ask(ask, outcome, _DIRECTED, [("axis", "level")], **how)

    def costs(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """What each level costs in time, as far as it was timed (``analysis.costs``)."""
        from ablations.analysis.costs import time_costs

        if outcome != "val_loss" or tune_over:
            raise RequestError("times have no outcome and nothing to tune", "costs")
        return time_costs(self, self._story)

    def tuning(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The levels that were chosen for each configuration: one row each, with the ``seeds`` that
        it is judged on there.
        """
        self._asked(outcome)
        of = self._tuned(tune_over)
        columns = [*of.factors, *of.tune_over]
        if not of.tune_over:
            return pd.DataFrame(columns=[*columns, "seeds"])
        found = of.runs.groupby(columns, sort=False, dropna=False)["seed"].nunique()
        return found.rename("seeds").reset_index().sort_values(columns, kind="stable")

    def _ask(
        self,
        ask: Callable[..., pd.DataFrame],
        outcome: str,
        names: Sequence[str] = (),
        pairs: Sequence[tuple[str, str]] = (),
        *,
        tune_over: Sequence[str] | None = None,
        **how: Any,
    ) -> pd.DataFrame:
        """Ask one question of the design, in the study's order, with what it takes for granted."""
        from ablations.analysis.ablation import describe_tuning
        from ablations.results.metadata import in_order

        of = self._tuned(tune_over)
        asked = self._asked(outcome, *names) | how
        try:
            table = ask(of, **asked)
        except (ValueError, TypeError) as error:
            raise RequestError(str(error)) from None
        if outcome in _INCLUDES and "assumes" in table:
            table["assumes"] = [f"{text}; {_INCLUDES[outcome]}" for text in table["assumes"]]
        table = describe_tuning(table, of)
        return in_order(table, of.levels, pairs) if pairs else table

    def _tuned(self, axes: Sequence[str] | None) -> Design:
        """The design, its configurations judged at their best levels of ``axes``."""
        from ablations.analysis.ablation import study_design

        if isinstance(axes, str):
            raise RequestError(f"expected a list of axes, found {axes!r}", "tune_over")
        if axes is None or tuple(axes) == self._story.tune_over:
            return self._design
        known = self._design.axes
        for axis in axes:
            if axis not in known:
                raise RequestError(f"there is no axis '{axis}' here; {nearest(axis, known)}")
        if not set(known) - set(axes):
            raise RequestError("all axes are tuned over, and none is left to compare", "tune_over")
        return study_design(self, replace(self._story, tune_over=tuple(axes)))

    @property
    def _story(self) -> StudyMetadata:
        return self.require_metadata()

    @cached_property
    def _design(self) -> Design:
        from ablations.analysis.ablation import study_design

        return study_design(self, self._story)

    def _asked(self, outcome: str, *names: str) -> dict[str, Any]:
        """The outcome and, of its scale, direction and margin, what is named."""
        from ablations.analysis.design import typical_size

        if outcome not in _OUTCOMES:
            said = f"there is no outcome '{outcome}'; {nearest(outcome, _OUTCOMES)}"
            if outcome.endswith("seconds"):
                said = (
                    "the time of a run that is trained with others is its share of theirs, and "
                    "tells nothing of a technique"
                )
            raise RequestError(said, "outcome")
        if outcome == "val_loss":
            of = self._design
            how = {"scale": of.scale, "margin": of.margin, "higher_is_better": False}
        else:
            values = pd.to_numeric(self.runs.loc[self.runs["status"] == "ok", outcome])
            log = outcome != "metric" and bool((values.dropna() > 0).all())
            size = (
                1.0
                if log
                else typical_size(self._design.untuned.runs, self._design.controls, outcome)
            )
            how = {
                "scale": "log" if log else "difference",
                "margin": self._story.margin * size,
                "higher_is_better": outcome == "metric" and self._story.higher_is_better,
            }
        return {"outcome": outcome} | {name: how[name] for name in names}


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    return Results(**vars(store.load(folder)))
