"""A results folder that can be asked: what helps, what interacts, what matters, what wins.

Each method is one function of ``ablations.analysis`` with what the folder's study says about axes,
controls, direction and margin; its docstring there says what the columns are and where the method
comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablations import store
from ablations.errors import RequestError, nearest

if TYPE_CHECKING:
    from ablations.report.reading import Design
    from ablations.report.story import Story

__all__ = ["Results", "load"]

Level = str | float

_DIRECTED = ("scale", "higher_is_better")


@dataclass(frozen=True, repr=False)
class Results(store.Results):
    """What a results folder holds, and the questions that it answers.

    Every answer is a DataFrame whose last columns say what it rests on: ``n``, ``procedure``,
    ``assumes`` and ``left_out``.  Levels are text in all of them, as in the report.

    All questions take ``outcome``: ``val_loss`` by default, for which lower is better, or any
    numeric column of ``runs``; of ``metric`` the study knows the direction; and ``tune_over``:
    axes, ``["lr"]`` for instance, at whose best level each configuration is judged, chosen by
    validation loss on the other half of the seeds (``analysis.tuning``); by default those of the
    study.  Other keywords go to the function.
    """

    def effects(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """Every level against its control (``analysis.main_effects``), the axes that this depends
        on (``analysis.dependence``), and how many more seeds would decide it (``analysis.enough``).

        Returns
        -------
        DataFrame
            One row a level, in the study's order: the columns of ``main_effects``, ``depends_on``
            and ``more``.
        """
        from ablations.analysis import interactions, main_effects
        from ablations.analysis.dependence import depends_on
        from ablations.analysis.enough import seeds_needed
        from ablations.report.reading import in_order

        of = self._tuned(tune_over)
        asked = self._asked(outcome, *_DIRECTED, "margin") | {"alpha": of.alpha} | how
        table = main_effects(of.judged, of.controls, of.contrasted, **asked)
        both = interactions(
            of.judged, of.controls, of.contrasted, outcome=outcome, scale=asked["scale"]
        )
        sure = {"margin": _bound(**asked), "alpha": asked["alpha"]}
        table["depends_on"] = depends_on(table, both, **sure)
        table["more"] = seeds_needed(table, **sure)["more"]
        return in_order(table, of.levels)

    def verdicts(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """What each level does, in four words.

        Returns
        -------
        DataFrame
            ``axis, level, control, verdict, change, change_low, change_high, p_adjusted,
            depends_on, seeds, more, left_out`` (of ``effects``).
        """
        columns = [
            "axis", "level", "control", "verdict", "change", "change_low", "change_high",
            "p_adjusted", "depends_on", "seeds", "more", "left_out",
        ]  # fmt: skip
        return self.effects(outcome, **how)[columns]

    def interactions(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """Whether the effect of one level depends on another (``analysis.interactions``)."""
        from ablations.analysis import interactions
        from ablations.report.reading import in_order

        of, asked = self._tuned(tune_over), self._asked(outcome, "scale") | how
        table = interactions(of.judged, of.controls, of.contrasted, **asked)
        return in_order(table, of.levels, [("axis_a", "level_a"), ("axis_b", "level_b")])

    def simple_effects(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """The effect of each level at each level of every other axis
        (``analysis.dependence.simple_effects``).
        """
        from ablations.analysis.dependence import simple_effects
        from ablations.report.reading import in_order

        of, asked = self._tuned(tune_over), self._asked(outcome, "scale") | how
        table = simple_effects(of.judged, of.controls, of.contrasted, **asked)
        return in_order(table, of.levels, [("axis", "level"), ("given", "given_level")])

    def aliases(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """What these runs cannot tell, and why (``analysis.aliases``)."""
        from ablations.analysis.aliases import aliases

        of, asked = self._tuned(tune_over), self._asked(outcome) | how
        return aliases(of.judged, of.controls, of.contrasted, **asked)

    def importance(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """Which axis matters: shares of the variance (``analysis.importance``)."""
        from ablations.analysis.importance import importance

        of, asked = self._tuned(tune_over), self._asked(outcome, "scale") | how
        return importance(of.judged, of.contrasted, **asked)

    def one_factor(
        self,
        outcome: str = "val_loss",
        full: Mapping[str, Level] | None = None,
        *,
        tune_over: Sequence[str] | None = None,
        **how: Any,
    ) -> pd.DataFrame:
        """The control plus each level, and the full model minus each (``analysis.one_factor``)."""
        from ablations.analysis.one_factor import one_factor
        from ablations.report.reading import in_order

        of, asked = self._tuned(tune_over), self._asked(outcome, *_DIRECTED) | how
        table = in_order(
            one_factor(of.judged, of.controls, of.contrasted, full=full, **asked), of.levels
        )
        return table.sort_values("view", kind="stable").reset_index(drop=True)

    def ranking(
        self,
        best: int = 10,
        outcome: str = "val_loss",
        *,
        tune_over: Sequence[str] | None = None,
        **how: Any,
    ) -> pd.DataFrame:
        """The best configurations, and which of them are tied (``analysis.ranking``)."""
        from ablations.analysis.ranking import ranking

        of, asked = self._tuned(tune_over), self._asked(outcome, *_DIRECTED) | how
        return ranking(of.judged, of.contrasted, best=best, **asked)

    def winner(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """The best configuration, what of its lead is luck, and how far it is from the controls
        (``analysis.winner``).
        """
        from ablations.analysis.winner import winner

        of, asked = self._tuned(tune_over), self._asked(outcome, *_DIRECTED) | how
        return winner(of.judged, of.contrasted, **({"control": of.controls} | asked))

    def divergence(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] | None = None, **how: Any
    ) -> pd.DataFrame:
        """Every level against its control, diverged runs counted as the worst
        (``analysis.divergence_effects``).
        """
        from ablations.analysis.divergence import divergence_effects
        from ablations.report.reading import in_order

        of, asked = self._tuned(tune_over), self._asked(outcome, *_DIRECTED) | how
        return in_order(
            divergence_effects(of.judged, of.controls, of.contrasted, **asked), of.levels
        )

    def _tuned(self, axes: Sequence[str] | None) -> Design:
        """The design, its configurations judged at their best levels of ``axes``."""
        from ablations.report.reading import design

        if axes is None or tuple(axes) == self._story.tune_over:
            return self._design
        for axis in axes:
            if axis not in self._design.axes:
                known = self._design.axes
                raise RequestError(f"there is no axis '{axis}' here; {nearest(axis, known)}")
        return design(self, replace(self._story, tune_over=tuple(axes)))

    @cached_property
    def _story(self) -> Story:
        from ablations.study import Study
        from ablations.telling import story

        return story(Study.from_toml(self.folder / "study.toml"))

    @cached_property
    def _design(self) -> Design:
        from ablations.report.reading import design

        return design(self, self._story)

    def _asked(self, outcome: str, *names: str) -> dict[str, Any]:
        """The outcome and, of its scale, direction and margin, what is named."""
        if outcome not in self.runs:
            numeric = self.runs.select_dtypes("number").columns
            raise RequestError(f"there is no column '{outcome}'; {nearest(outcome, numeric)}")
        if outcome == "val_loss":
            of = self._design
            how = {"scale": of.scale, "margin": of.margin, "higher_is_better": False}
        else:
            values = pd.to_numeric(self.runs.loc[self.runs["status"] == "ok", outcome])
            log = outcome != "metric" and bool((values.dropna() > 0).all())
            size = 1.0 if log else float(values.abs().mean())
            how = {
                "scale": "log" if log else "difference",
                "margin": self._story.margin * size,
                "higher_is_better": outcome == "metric" and self._story.higher_is_better,
            }
        return {"outcome": outcome} | {name: how[name] for name in names}


def _bound(*, margin: float, scale: str, **_: Any) -> float:
    """A margin on the scale of the effects."""
    return float(np.log1p(margin)) if scale == "log" else margin


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    return Results(**vars(store.load(folder)))
