"""Which column of the runs table an outcome is, and what is known of such a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.core.errors import RequestError, nearest
from ablations.core.schema import LOSS_COLUMNS, baseline_column
from ablations.results.metadata import StudyMetadata

CAUTIONS = {
    "best_val_loss": "the rows of this loss chose the epoch too, which makes it a little too low",
    "objective": "the objective holds penalties, which techniques add to by what they are",
    "train_loss": "a training loss tells how well rows are remembered",
}


_OF_EACH_CLASS = frozenset({"roc_auc", "average_precision"})
"""Metrics that are undefined where a class has no row."""


def judged_loss(runs: pd.DataFrame) -> str:
    """Return the column of the loss on the rows that judge: test rows, where there are some."""
    return "test_loss" if is_recorded(runs, "test_loss") else "val_loss"


def is_recorded(runs: pd.DataFrame, column: str) -> bool:
    """Whether a run has a number in this column."""
    return column in runs and bool(runs[column].notna().any())


def first_metric(runs: pd.DataFrame, metadata: StudyMetadata) -> str:
    """Return the column of the first metric: its own, or ``metric`` where no other repeats it, as
    where a task's own metric has the name of a standard one.
    """
    name = metadata.metric_name
    if name not in metadata.metrics:
        return "metric"
    if not is_recorded(runs, name):
        return "metric" if is_recorded(runs[runs["metric_name"] == name], "metric") else name
    first, other = (pd.to_numeric(runs[column]).astype(float) for column in ("metric", name))
    return name if np.allclose(first, other, rtol=1e-4, atol=1e-5, equal_nan=True) else "metric"


def constant_column(runs: pd.DataFrame, outcome: str) -> str | None:
    """Return the column with the best constant's value of an outcome; None where no run has it."""
    name = "baseline" if outcome == judged_loss(runs) else baseline_column(outcome)
    return name if is_recorded(runs, name) else None


@dataclass(frozen=True)
class MissingMetric:
    """A metric that is undefined for runs that ended well."""

    name: str
    missing: int
    """How many of the ``runs`` have no number."""
    runs: int
    lacks_class: bool
    """Whether it is undefined since the rows that judge a run lack a class."""

    def __str__(self) -> str:
        cause = ", whose judging rows lack a class" if self.lacks_class else ""
        return f"{self.name} is missing in {self.missing:,} of {self.runs:,} runs{cause}"


def find_missing(runs: pd.DataFrame, names: Iterable[str]) -> list[MissingMetric]:
    """Return the metrics among these columns that some runs lack, or all of them."""
    ok = runs[runs["status"] == "ok"]
    counts = {
        name: int(ok[name].isna().sum()) if name in ok else len(ok)
        for name in dict.fromkeys(names)
        if name not in LOSS_COLUMNS
    }
    return [
        MissingMetric(name, count, len(ok), name in _OF_EACH_CLASS and name in ok)
        for name, count in counts.items()
        if count
    ]


def missing_metrics(runs: pd.DataFrame, metadata: StudyMetadata) -> list[MissingMetric]:
    """Return the study's outcome and its first metric where some runs lack them."""
    names = [metadata.outcome, first_metric(runs, metadata)]
    return find_missing(runs, [name for name in names if name in metadata.metrics])


def state_missing(runs: pd.DataFrame, metadata: StudyMetadata, outcome: str, column: str) -> str:
    """Say how many runs lack a metric, and which column stands in for it; else nothing."""
    if outcome in metadata.metrics and column in LOSS_COLUMNS:
        (missing,) = find_missing(runs, [outcome])
        return f"{missing}; {column} stands in for it"
    return "; ".join(map(str, find_missing(runs, [column])))


def find_outcome(runs: pd.DataFrame, metadata: StudyMetadata, outcome: str | None = None) -> str:
    """Return the column of an outcome; ``None`` stands for that of the study.

    Raises
    ------
    RequestError
        If there is no such outcome, or no run recorded it.
    """
    name = outcome or metadata.outcome
    if name == "metric" or name == metadata.metric_name not in metadata.metrics:
        name = first_metric(runs, metadata)
    if outcome is None and not is_recorded(runs, name):
        name = judged_loss(runs)  # as for runs of an earlier version, or an undefined metric
    valid = [*LOSS_COLUMNS, "metric", *metadata.metrics]
    _refuse_other_outcomes(name, valid)
    is_optional = name in ("test_loss", "best_val_loss", *metadata.metrics)
    if is_optional and not is_recorded(runs, name) and (runs["status"] == "ok").any():
        message = f"no run of this folder recorded '{name}'; --force trains them again"
        if name in metadata.metrics and name in runs:
            message = str(*find_missing(runs, [name]))
        raise RequestError(message, "outcome")
    return name


def _refuse_other_outcomes(outcome: str, valid: Sequence[str]) -> None:
    if outcome in valid:
        return
    message = f"there is no outcome '{outcome}'; {nearest(outcome, valid)}"
    if outcome.endswith("seconds"):
        message = (
            "the time of a run that is trained with others is its share of theirs, and tells "
            "nothing of a technique"
        )
    raise RequestError(message, "outcome")
