"""The questions that a results folder answers: what helps, what interacts, what matters, what wins.

Each is a function of ``ablations.analysis``, whose docstring describes the columns and the method,
with what the folder's study says about axes, controls, direction and margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ablations.analysis.ablation import (
    Effects,
    ablation_effects,
    ablation_table,
    describe_tuning,
    tune_design,
)
from ablations.analysis.anova import analysis_of_variance
from ablations.analysis.baseline import against_baseline
from ablations.analysis.best_set import best_set
from ablations.analysis.by_scope import effects_by_scope
from ablations.analysis.by_task import ResultsByTask, answer_by_task, refuse_several
from ablations.analysis.confounding import confounding
from ablations.analysis.costs import time_costs, with_run_seconds
from ablations.analysis.curves import published_bands
from ablations.analysis.design import Design, typical_size
from ablations.analysis.divergence import divergence_effects
from ablations.analysis.interactions import interactions, simple_effects
from ablations.analysis.main_effects import main_effects
from ablations.analysis.one_factor import one_factor
from ablations.analysis.outcomes import (
    CAUTIONS,
    constant_column,
    first_metric,
    is_recorded,
    missing_metrics,
    state_missing,
)
from ablations.analysis.ranking import ranking
from ablations.analysis.row_orders import ORDERS, VERDICT_COLUMNS
from ablations.analysis.selection import best_configuration
from ablations.analysis.statements import join_statements
from ablations.analysis.trajectory import CONTROL, OVERFITTED, curve_endings, effects_by_epoch
from ablations.analysis.variance import variance_shares
from ablations.core.errors import RequestError, nearest
from ablations.results import store
from ablations.results.looks import Look
from ablations.results.metadata import Level, StudyMetadata, in_order, label

__all__ = ["Results", "load"]


@answer_by_task
@dataclass(frozen=True, repr=False)
class Results(ResultsByTask):
    """What a results folder holds, and the questions that it answers.

    Every answer is a DataFrame whose last columns say what it rests on: ``n``, ``procedure``,
    ``assumes`` and ``left_out`` (``aliases`` and ``tuning`` are themselves about that).  Levels are
    text in all of them, as in the report.

    All questions take ``outcome``: by default that of the study (the loss on test rows, or on
    validation rows without these); a loss (``val_loss``, ``test_loss``, ``best_val_loss``,
    ``train_loss``, ``objective``); ``metric``, the first metric; or the name of a metric that the
    runs recorded; and ``tune_over``: axes, ``["lr"]`` for instance, at whose best level each
    configuration is compared, chosen by validation loss on other seeds (``analysis.tune``),
    instead of those of the study.  Other keywords go to the function, or change a field of its
    ``Design``.  Of several tasks each has its rows, behind a column ``task``; ``by_task`` has the
    results of each, and questions over all of them are called ``datasets`` and ``dataset_...``.

    Raises
    ------
    RequestError
        From every question, if it names an unknown outcome, axis, level or keyword.
    """

    @classmethod
    def from_stored(cls, results: store.StoredResults, metadata: StudyMetadata) -> Self:
        """Return stored results as those of a study with this metadata."""
        tables = {field.name: getattr(results, field.name) for field in fields(results)}
        return cls(**{**tables, "metadata": metadata})

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

    def effects(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Every level against its control (``analysis.main_effects``), the axes that this depends
        on (``analysis.moderators``), and how many more seeds would decide it
        (``analysis.seeds_needed``).  The folder records the look (``analysis.spending``).

        Returns
        -------
        DataFrame
            One row a level, in the study's order: the columns of ``main_effects``, among them
            ``depends_on`` and ``more``.
        """
        table = self._answer(ablation_table, outcome, **options)
        look: Look | None = self._untuned_design.look
        self.record_look(look)
        return table

    def verdicts(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """What each level does, in four words.

        Returns
        -------
        DataFrame
            Of ``effects``: ``axis, level, control, verdict, caution, change, change_low,
            change_high, effect, low, high, p_adjusted, depends_on, more, n, procedure, assumes,
            left_out``.
        """
        return self.effects(outcome, **options)[VERDICT_COLUMNS]

    def interactions(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Whether the effect of one level depends on another (``analysis.interactions``)."""
        return self._answer(interactions, outcome, **options)

    def simple_effects(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """The effect of each level at each level of every other axis
        (``analysis.simple_effects``).
        """
        return self._answer(simple_effects, outcome, **options)

    def aliases(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """What these runs cannot estimate, and why (``analysis.confounding``)."""
        return self._answer(confounding, outcome, **options)

    def importance(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Which axis matters: shares of the variance (``analysis.variance_shares``)."""
        return self._answer(variance_shares, outcome, **options)

    def anova(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Effects and interactions beside their error, in any design, and what is confounded
        (``analysis.analysis_of_variance``).
        """
        return self._answer(analysis_of_variance, outcome, **options)

    def one_factor(
        self, outcome: str | None = None, full: Mapping[str, Level] | None = None, **options: Any
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

    def ranking(self, best: int = 10, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """The best configurations, and which of them are apart (``analysis.ranking``)."""
        return self._answer(ranking, outcome, best=best, **options)

    def winner(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """The best configuration, what of its lead is luck, and how far it is from the controls
        (``analysis.best_configuration``).
        """
        return self._answer(best_configuration, outcome, **options)

    def best_set(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """The configurations that cannot be told from the best (``analysis.best_set``)."""
        return self._answer(best_set, outcome, **options)

    def divergence(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Every level against its control, diverged runs counted as the worst
        (``analysis.divergence_effects``).
        """
        return self._answer(divergence_effects, outcome, **options)

    def costs(
        self, outcome: str | None = None, *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """What each level costs in time, as far as it was timed (``analysis.costs``)."""
        if outcome is not None or tune_over:
            raise RequestError("times have no outcome and nothing to tune", "costs")
        return time_costs(self, self._metadata)

    def tuning(
        self, outcome: str | None = None, *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The levels that were chosen for each configuration: one row each, with the ``seeds`` that
        it is compared on there.
        """
        design = self.design(outcome, tune_over)
        columns = [*design.factors, *design.tune_over]
        if not design.tune_over:
            return pd.DataFrame(columns=[*columns, "seeds"])
        seeds = design.runs.groupby(columns, sort=False, dropna=False)["seed"].nunique()
        return seeds.rename("seeds").reset_index().sort_values(columns, kind="stable")

    def scope(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """What the verdicts are about: new data, and this table alone
        (``analysis.effects_by_scope``).  The folder records the look.
        """
        table = self._answer(effects_by_scope, outcome, **options)
        self.record_look(self._untuned_design.look)
        return table

    @cached_property
    def ablation(self) -> Effects:
        """The ablation table of the study's outcome, with what tells how far to trust it."""
        design, metadata, endings = self.design(), self._metadata, self.endings()
        others = [self.loss if design.outcome != self.loss else first_metric(self.runs, metadata)]
        if metadata.judge == "last" and (endings["ending"] == OVERFITTED).any():
            others.insert(0, "best_val_loss")
        others = [n for n in others if is_recorded(self.runs, n) and n != design.outcome]
        tables = {n: main_effects(self.design(n)) for n in others}
        names = {n: metadata.metric_name if n == "metric" else n for n in tables}
        ablation = ablation_effects(design)
        if self.loss in tables and len(ablation.effects):
            # Equal accuracies are common; only equal losses show that a level changed nothing.
            identical = tables[self.loss].set_index(["axis", "level"])["identical"]
            rows = list(ablation.effects[["axis", "level"]].itertuples(index=False, name=None))
            counts = identical.reindex(rows).fillna(0).to_numpy(int)
            ablation = replace(ablation, effects=ablation.effects.assign(identical=counts))
        return replace(
            ablation,
            baseline=self.baseline(),
            missing=missing_metrics(self.runs, metadata),
            endings=endings,
            unrecorded=self.record_look(design.look),
            scope=self.scope(),
            best_set=self.best_set(),
            winner=self.winner(),
            others={names[n]: tables[n] for n in tables},
            other_designs={names[n]: self.design(n) for n in tables},
            published=published_bands(self.runs, self.curves, metadata.published),
        )

    def trajectory(
        self,
        outcome: str | None = None,
        *,
        epochs: Sequence[int] | None = None,
        tune_over: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The effects on the validation loss by epoch (``analysis.effects_by_epoch``)."""
        _refuse_any_outcome(outcome, "curves are of the validation loss")
        design = self.design(self.loss, tune_over)
        table = effects_by_epoch(design, self.curves, epochs=epochs)
        return in_order(table, design.levels)

    def endings(
        self, outcome: str | None = None, *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """How the curves of each level end (``analysis.curve_endings``)."""
        _refuse_any_outcome(outcome, "curves are of the validation loss")
        design = self.design(self.loss, tune_over)
        table = curve_endings(design, self.curves, margin=self._metadata.margin)
        return in_order(table, {"": [CONTROL], **design.levels})

    def baseline(
        self, outcome: str | None = None, *, tune_over: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The control and the best configuration against a constant prediction
        (``analysis.against_baseline``): by the study's outcome, the loss and the first metric, or
        by the named outcome alone.
        """
        if tune_over:
            raise RequestError("a constant has nothing to tune; leave it out", "tune_over")
        names = [self.outcome_column(outcome)]
        if outcome is None:
            names += [self.loss, first_metric(self.runs, self._metadata)]
        elif not constant_column(self.runs, names[0]):
            message = f"no run of this folder recorded what a constant scores by '{names[0]}'"
            raise RequestError(f"{message}; leave it out, or name {self.loss}", "outcome")
        names = [name for name in names if constant_column(self.runs, name)] or [self.loss]
        judging = self._metadata.judging
        tables = [against_baseline(self.design(name), judging) for name in dict.fromkeys(names)]
        return pd.concat(tables, ignore_index=True)

    def metadata_for(self, outcome: str) -> StudyMetadata:
        """Return the metadata of the study with another outcome."""
        tasks = {name: each.metadata_for(outcome) for name, each in self.by_task.items()}
        return replace(self._metadata, outcome=self.outcome_column(outcome), tasks=tasks)

    def design(self, outcome: str | None = None, tune_over: Sequence[str] | None = None) -> Design:
        """Return the design behind the answers on an outcome; it remembers what was computed.

        Parameters
        ----------
        tune_over
            Axes at whose best level each configuration is compared; by default those of the study.
        """
        refuse_several(self.by_task)
        if isinstance(tune_over, str):
            raise RequestError(f"expected a list of axes, found {tune_over!r}", "tune_over")
        axes = self._metadata.tune_over if tune_over is None else tuple(tune_over)
        key = self.outcome_column(outcome), axes
        if key not in self._designs:
            self._designs[key] = self._make_design(*key)
        return self._designs[key]

    def _make_design(self, outcome: str, tune_over: tuple[str, ...]) -> Design:
        if outcome == self.loss:
            return self._tuned_design(tune_over)
        values = pd.to_numeric(self.runs.loc[self.runs["status"] == "ok", outcome])
        higher_is_better = self.is_higher_better(outcome)
        is_log = not higher_is_better and bool((values.dropna() > 0).all())
        runs = self._untuned_design.runs
        size = 1.0 if is_log else typical_size(runs, self._untuned_design.controls, outcome)
        role: dict[str, Any] = {
            "outcome": outcome,
            "scale": "log" if is_log else "difference",
            "margin": self._metadata.margin * size,
            "higher_is_better": higher_is_better,
        }
        return replace(self.design(self.loss, tune_over), **role)

    def _tuned_design(self, tune_over: tuple[str, ...]) -> Design:
        design = self._untuned_design
        if tune_over != self._metadata.tune_over:
            for axis in tune_over:
                if axis not in design.axes:
                    message = f"there is no axis '{axis}' here; {nearest(axis, design.axes)}"
                    raise RequestError(message)
            if not set(design.axes) - set(tune_over):
                raise RequestError(
                    "all axes are tuned over, and none is left to compare", "tune_over"
                )
        judging = self._metadata.judging
        shares_rows = judging is not None and not judging.is_fixed
        return tune_design(design, tune_over, self._metadata.judge, shares_rows=shares_rows)

    def _answer(
        self,
        function: Callable[..., pd.DataFrame],
        outcome: str | None,
        *,
        tune_over: Sequence[str] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Answer one question in the study's order, with the assumptions behind it."""
        design = self.design(outcome, tune_over)
        try:
            table = function(design, **options)
        except (ValueError, TypeError) as error:
            # A call's error begins with the name of a function that the user did not call.
            raise RequestError(str(error).split("() ", 1)[-1]) from None
        if (caution := CAUTIONS.get(design.outcome)) and "assumes" in table:
            table["assumes"] = [f"{text}; {caution}" for text in table["assumes"]]
        if "left_out" in table:
            names = [self._metadata.outcome if outcome is None else outcome, design.outcome]
            missing = state_missing(self.runs, self._metadata, *names)
            table["left_out"] = [join_statements(text, missing) for text in table["left_out"]]
        table = describe_tuning(table, design)
        columns = ORDERS.get(function)
        return in_order(table, design.levels, columns) if columns else table

    @cached_property
    def _designs(self) -> dict[tuple[str, tuple[str, ...]], Design]:
        return {}

    @cached_property
    def _untuned_design(self) -> Design:
        design = with_run_seconds(Design.from_runs(self, self._metadata, self.loss), self)
        return design if design.looks else design.at_look(self.looks)

    @property
    def _metadata(self) -> StudyMetadata:
        return self.require_metadata()


def _refuse_any_outcome(outcome: str | None, reason: str) -> None:
    if outcome is not None:
        raise RequestError(f"{reason}; leave it out", "outcome")


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    return Results(**vars(store.load(folder))).with_missing()
