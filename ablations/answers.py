"""A results folder that can be asked: what helps, what interacts, what matters, what wins.

Each method is one function of ``ablations.analysis`` with what the folder's study says about axes,
controls, direction and margin; its docstring there says what the columns are and where the method
comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablations import store
from ablations.errors import RequestError, nearest

if TYPE_CHECKING:
    from ablations.analysis.ranking import Ranking
    from ablations.analysis.winner import Winner
    from ablations.report.reading import Design
    from ablations.report.story import Story

__all__ = ["Results", "load"]

Level = str | float


@dataclass(frozen=True, repr=False)
class Results(store.Results):
    """What a results folder holds, and the questions that it answers.

    Levels are text in all answers, as in the report.  ``outcome`` is ``val_loss`` by default, for
    which lower is better, or any numeric column of ``runs``; of ``metric`` the study knows the
    direction.
    """

    def effects(
        self, outcome: str = "val_loss", *, tune_over: Sequence[str] = (), **how: Any
    ) -> pd.DataFrame:
        """Every level against its control (``analysis.main_effects``), with how many more seeds
        would decide it (``analysis.enough``).

        Parameters
        ----------
        tune_over
            Axes, ``["lr"]`` for instance, at whose best level each configuration is judged, chosen
            on the other half of the seeds (``analysis.tuning``).

        Returns
        -------
        DataFrame
            One row a level, in the study's order: the columns of ``main_effects`` and ``more``.
        """
        from ablations.analysis import main_effects
        from ablations.analysis.enough import seeds_needed
        from ablations.analysis.tuning import tuned

        asked = self._asked(outcome) | {"alpha": self._design.alpha} | how
        design = self._design
        runs, controls, factors = design.runs, design.controls, list(design.factors)
        if tune_over:
            self._refuse_unknown_axes(tune_over)
            names = ("outcome", "scale", "higher_is_better")
            runs = tuned(runs, tune_over, factors, **{name: asked[name] for name in names})
            controls = {axis: level for axis, level in controls.items() if axis not in tune_over}
            factors = [name for name in factors if name not in tune_over]
        table = main_effects(runs, controls, factors, **asked)
        margin = float(asked["margin"])
        bound = float(np.log1p(margin)) if asked["scale"] == "log" else margin
        table["more"] = seeds_needed(table, margin=bound, alpha=asked["alpha"])["more"]
        return self._in_order(table)

    def verdicts(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """What each level does, in four words.

        Returns
        -------
        DataFrame
            ``axis, level, control, verdict, change, change_low, change_high, p_adjusted, seeds,
            more`` (of ``effects``).
        """
        columns = [
            "axis", "level", "control", "verdict", "change", "change_low", "change_high",
            "p_adjusted", "seeds", "more",
        ]  # fmt: skip
        return self.effects(outcome, **how)[columns]

    def interactions(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Whether the effect of one level depends on another (``analysis.interactions``)."""
        from ablations.analysis import interactions

        asked = {"outcome": outcome, "scale": self._asked(outcome)["scale"]} | how
        design = self._design
        return interactions(design.runs, design.controls, design.factors, **asked)

    def importance(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Which axis matters: shares of the variance (``analysis.importance``)."""
        from ablations.analysis.importance import importance

        asked = {"outcome": outcome, "scale": self._asked(outcome)["scale"]} | how
        return importance(self._design.runs, self._design.factors, **asked)

    def one_factor(
        self,
        outcome: str = "val_loss",
        full: Mapping[str, Level] | None = None,
        **how: Any,
    ) -> pd.DataFrame:
        """The control plus each level, and the full model minus each (``analysis.one_factor``)."""
        from ablations.analysis.one_factor import one_factor

        asked = self._asked(outcome) | how
        asked.pop("margin")
        design = self._design
        return one_factor(design.runs, design.controls, design.factors, full=full, **asked)

    def ranking(self, best: int = 10, outcome: str = "val_loss", **how: Any) -> Ranking:
        """The best configurations, and which of them are tied (``analysis.ranking``)."""
        from ablations.analysis.ranking import ranking

        asked = self._asked(outcome) | how
        asked.pop("margin")
        return ranking(self._design.runs, self._design.factors, best=best, **asked)

    def winner(self, outcome: str = "val_loss", **how: Any) -> Winner:
        """The best configuration, and what of its lead is luck (``analysis.winner``)."""
        from ablations.analysis.winner import winner

        asked = self._asked(outcome) | how
        asked.pop("margin")
        return winner(self._design.runs, self._design.factors, **asked)

    def divergence(self, outcome: str = "val_loss", **how: Any) -> pd.DataFrame:
        """Every level against its control, diverged runs counted as the worst
        (``analysis.divergence_effects``).
        """
        from ablations.analysis.divergence import divergence_effects

        asked = self._asked(outcome) | how
        asked.pop("margin")
        design = self._design
        return divergence_effects(design.runs, design.controls, design.factors, **asked)

    def _refuse_unknown_axes(self, axes: Sequence[str]) -> None:
        known = self._design.axes
        for axis in axes:
            if axis not in known:
                raise RequestError(f"there is no axis '{axis}' here; {nearest(axis, known)}")

    @cached_property
    def _story(self) -> Story:
        from ablations.study import Study
        from ablations.telling import story

        return story(Study.from_toml(self.folder / "study.toml"))

    @cached_property
    def _design(self) -> Design:
        from ablations.report.reading import design

        return design(self, self._story)

    def _asked(self, outcome: str) -> dict[str, Any]:
        """Direction, scale and margin for an outcome."""
        if outcome not in self.runs:
            numeric = self.runs.select_dtypes("number").columns
            raise RequestError(f"there is no column '{outcome}'; {nearest(outcome, numeric)}")
        if outcome == "val_loss":
            design = self._design
            how = {"scale": design.scale, "margin": design.margin, "higher_is_better": False}
        else:
            values = pd.to_numeric(self.runs.loc[self.runs["status"] == "ok", outcome])
            higher = outcome == "metric" and self._story.higher_is_better
            log = outcome != "metric" and bool((values.dropna() > 0).all())
            size = 1.0 if log else float(values.abs().mean())
            how = {
                "scale": "log" if log else "difference",
                "margin": self._story.margin * size,
                "higher_is_better": higher,
            }
        return {"outcome": outcome, **how}

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        from ablations.report.reading import in_order

        return in_order(table, self._design.levels)


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    return Results(**vars(store.load(folder)))
