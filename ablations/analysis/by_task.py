"""Questions to a study of several tasks: each is answered for every task, or over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, Self, TypeVar

import pandas as pd

from ablations.analysis.datasets import KEY, effects_by_dataset, effects_over_datasets
from ablations.analysis.design import Design
from ablations.analysis.outcomes import find_outcome, judged_loss
from ablations.analysis.scores import (
    aggregate_scores,
    dataset_scores,
    performance_profiles,
    ranks_by_axis,
)
from ablations.analysis.statements import STATED
from ablations.core.errors import RequestError
from ablations.results.metadata import METADATA_FILE
from ablations.results.store import StoredResults

C = TypeVar("C", bound="ResultsByTask")
Question = Callable[..., pd.DataFrame]


class ResultsByTask(StoredResults):
    """Results that may be of several tasks: their outcomes, the results of each task, and the
    questions over data sets.
    """

    @cached_property
    def by_task(self) -> Mapping[str, Self]:
        """Label of each task to its results, as those of a study of this task; {} of one task."""
        if self.metadata is None:
            return {}
        tasks = self.metadata.tasks
        if tasks and len(self.runs) and not self.runs["task"].isin(list(tasks)).any():
            message = f"lists the tasks {', '.join(map(repr, tasks))}, and no run is of them"
            raise RequestError(message, source=str(self.folder / METADATA_FILE))
        results = {}
        for name, metadata in tasks.items():
            ids = set(self.runs.loc[self.runs["task"] == name, "run_id"])
            others = tuple(sorted(ids & set(self.metadata.other_runs)))
            timings = self.timings[self.timings["run_id"].isin(ids)].reset_index(drop=True)
            changes = {"metadata": replace(metadata, other_runs=others), "timings": timings}
            results[name] = replace(self.only(ids), **changes)
        return results

    @cached_property
    def loss(self) -> str:
        """The column of the loss on the rows that judge: test rows, where there are some."""
        return judged_loss(self.runs)

    def outcome_column(self, outcome: str | None = None) -> str:
        """Return the column of an outcome; ``None`` stands for that of the study.

        Raises
        ------
        RequestError
            If there is no such outcome, or no run recorded it.
        """
        return find_outcome(self.runs, self.require_metadata(), outcome)

    def is_higher_better(self, outcome: str) -> bool:
        """Whether higher is better for the column of an outcome."""
        metadata = self.require_metadata()
        directions = {"metric": metadata.higher_is_better, **metadata.metrics}
        return directions.get(outcome, False)

    def design(self, outcome: str | None = None, tune_over: Sequence[str] | None = None) -> Design:
        """Return the design behind the answers on an outcome."""
        raise NotImplementedError

    def datasets(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """What each level does over the data sets of a study of several tasks: the data set is the
        unit (``analysis.effects_over_datasets``).

        Returns
        -------
        DataFrame
            One row a level: the columns of ``effects_over_datasets``, with ``iqm`` and
            ``improvement`` and their intervals (``analysis.aggregate_scores``), and ``mean_rank``
            among the levels of its axis, 1 is best.
        """
        designs = self._designs_by_task(outcome, **options)
        effects, first = effects_by_dataset(designs), next(iter(designs.values()))
        is_higher, margin = first.higher_is_better, self.require_metadata().margin
        table = effects_over_datasets(
            effects,
            higher_is_better=is_higher,
            margin=margin,
            alpha=first.alpha,
            confidence=first.confidence,
        )
        names = [*KEY, "iqm", "iqm_low", "iqm_high"]
        names += ["improvement", "improvement_low", "improvement_high"]
        aggregates = aggregate_scores(dataset_scores(designs))[names]
        ranks = ranks_by_axis(effects, higher_is_better=is_higher)[[*KEY, "mean_rank"]]
        columns = [name for name in table if name not in STATED]
        added = [*names[2:], "mean_rank"]
        table = table.merge(aggregates, "left", KEY).merge(ranks, "left", KEY)
        return table[[*columns, *added, *STATED]]

    def dataset_effects(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Every level against its control on each data set of a study of several tasks, as one
        family (``analysis.effects_by_dataset``).
        """
        return effects_by_dataset(self._designs_by_task(outcome, **options))

    def dataset_ranks(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """The levels of each axis ranked over the data sets of a study of several tasks
        (``analysis.ranks_by_axis``).
        """
        designs = self._designs_by_task(outcome, **options)
        is_higher = next(iter(designs.values())).higher_is_better
        return ranks_by_axis(effects_by_dataset(designs), higher_is_better=is_higher)

    def dataset_profiles(self, outcome: str | None = None, **options: Any) -> pd.DataFrame:
        """Which share of the runs of each level is how good, over the data sets of a study of
        several tasks (``analysis.performance_profiles``).
        """
        return performance_profiles(dataset_scores(self._designs_by_task(outcome, **options)))

    def _designs_by_task(
        self, outcome: str | None, tune_over: Sequence[str] | None = None
    ) -> dict[str, Design]:
        if not self.by_task:
            message = "the study has one task; a question over data sets needs several"
            raise RequestError(message, "tasks")
        designs = {}
        for name, each in self.by_task.items():
            with _named_errors(name):
                designs[name] = each.design(outcome, tune_over)
        for design in designs.values():
            self.record_look(design.look)
        return designs


@contextmanager
def _named_errors(task: str) -> Iterator[None]:
    """Say of which task a refused question is."""
    try:
        yield
    except RequestError as error:
        message = f"{error.message} (of the task {task})"
        raise RequestError(message, error.key, error.source) from None


def refuse_several(tasks: Mapping[str, object]) -> None:
    """Refuse a question to several tasks that has an answer for one only."""
    if tasks:
        message = f"the study has several tasks; ask by_task[NAME]: {', '.join(tasks)}"
        raise RequestError(message, "tasks")


def answer_by_task(cls: type[C]) -> type[C]:
    """Let each method that returns a table answer for every task of a study of several.

    The answers stand below one another, behind a column ``task``.
    """
    for name, method in list(vars(cls).items()):
        is_question = getattr(method, "__annotations__", {}).get("return") == "pd.DataFrame"
        if is_question and not name.startswith("_"):
            setattr(cls, name, _by_task(method))
    return cls


def _by_task(method: Question) -> Question:
    @wraps(method)
    def answer(results: ResultsByTask, *args: Any, **options: Any) -> pd.DataFrame:
        if not results.by_task:
            return method(results, *args, **options)
        tables = []
        for name, each in results.by_task.items():
            with _named_errors(name):
                table = method(each, *args, **options)
            tables.append(table.drop(columns="task", errors="ignore").assign(task=name))
        answers = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
        return answers[["task", *(column for column in answers if column != "task")]]

    return answer
