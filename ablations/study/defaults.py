"""What a study that names no splits, judge, batch size or epochs means: a practitioner's choice.

A table of one's own is split three ways and judged by each run's best epoch: whoever trains a
network keeps the epoch with the lowest validation loss, and a regularizer that only repairs the
epochs after it helps nobody.  The test rows judge, because the validation rows chose.  The data
sets of this package are judged by the last epoch, as the sources that they repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ablations.core.errors import RequestError, nearest
from ablations.core.random import SOURCES
from ablations.core.registry import resolve
from ablations.core.schema import LOSS_COLUMNS
from ablations.study.configuration import TECHNIQUES, Configuration
from ablations.tasks.base import Task
from ablations.tasks.metrics import find_metric, standard_metrics

DEFAULT_STEPS = 2_000
"""Optimizer steps of a run, by default."""
MIN_EPOCHS, MAX_EPOCHS = 10, 100
"""Bounds of the epochs that these steps make."""


def complete_settings(study: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a study with its task's splits, the judge, batch size and epochs.

    Raises
    ------
    RequestError
        If the task cannot be split as stated, or a judge needs test rows that it cannot have.
    """
    fields = {key: value for key, value in study.items() if key not in ("validation", "test")}
    fields |= _split(study)
    task: Task = fields["task"]
    if "batch_size" not in fields:
        fields["batch_size"] = default_batch_size(task)
    if "epochs" not in fields:
        sizes = axes.get("batch_size") or (fields["batch_size"],)
        fields["epochs"] = default_epochs(task, sizes[0])
    return fields


def _split(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task with its splits, and the judge."""
    spec = study["task"]
    task = cast(Task, resolve("task", spec, "task"))
    # An earlier version stored the file's content in study.toml, and no judge: the last epoch.
    is_stored = isinstance(spec, Mapping) and bool(spec.get("content"))
    judge = study.get("judge") or ("last" if is_stored else task.default_judge)
    shares = {key: study[key] for key in ("validation", "test") if study.get(key) is not None}
    if shares:
        task = task.with_splits(**shares)
    else:
        task.check_splits()
    if judge == "best" and not task.has_test_rows:
        task = _with_test_rows(task)
    return {"task": task, "judge": judge}


def _with_test_rows(task: Task) -> Task:
    advice = 'judge = "last" needs no test rows'
    share = task.default_test()
    if not share:
        message = f"the best epoch is judged on test rows, which the task '{task.name}' lacks"
        raise RequestError(f"{message}; {advice}", "judge")
    try:
        task = task.with_splits(test=share)
    except RequestError as error:
        message = f"the best epoch is judged on test rows: {error.message}; {advice}"
        raise RequestError(message, "judge", error.source) from None
    if not task.has_test_rows:  # each class has too few rows for three splits
        message = (
            f"the best epoch is judged on test rows, for which classes are too small; {advice}"
        )
        raise RequestError(message, "judge")
    return task


def default_batch_size(task: Task) -> int | str:
    """Return the task's own batch size, or all rows of a small table.

    It is less where it would leave a last batch of one row, on which batch norm cannot train.
    """
    size = task.default_batch_size
    if size == "full" or size >= task.rows:
        return "full"
    sizes = range(size, 1, -1)
    return next((n for n in sizes if task.rows % n != 1), "full")


def default_epochs(task: Task, batch_size: object) -> int:
    """Return the epochs of about ``DEFAULT_STEPS`` steps, between ``MIN_`` and ``MAX_EPOCHS``.

    A batch size that is none is refused elsewhere.
    """
    if task.default_epochs is not None:
        return task.default_epochs
    is_count = isinstance(batch_size, int) and batch_size > 0
    steps = -(-task.rows // batch_size) if is_count else 1  # type: ignore[operator]
    return min(MAX_EPOCHS, max(MIN_EPOCHS, -(-DEFAULT_STEPS // steps)))


def check_outcome(task: Task, metrics: Sequence[str], outcome: str) -> None:
    """Refuse a metric that the task does not have, and an outcome that no run would record."""
    names = [find_metric(name, task.classification).name for name in metrics]
    names += [metric.name for metric in standard_metrics(task.classification)]
    first = [] if metrics else [task.metric_name]
    valid = list(dict.fromkeys([*LOSS_COLUMNS, "metric", *first, *names]))
    if outcome and outcome not in valid:
        message = f"there is no outcome '{outcome}'; {nearest(outcome, valid)}"
        raise RequestError(message, "outcome")
    if outcome == "test_loss" and not task.has_test_rows:
        message = 'there are no test rows; hold some out with test = 0.2 or judge = "best"'
        raise RequestError(message, "outcome")


def refuse_equal_runs(
    configurations: Iterable[Configuration], sources: Sequence[str], n_seeds: int
) -> None:
    """Refuse seeds that are the same run, since none of the ``sources`` that vary affects it: they
    would show no variance.  The plan does so for code of users, which must not run here.
    """
    if set(sources) >= set(SOURCES) or n_seeds < 2:
        return
    for configuration in configurations:
        if not any(configuration.follows(source) for source in sources):
            axes = [axis for axis in TECHNIQUES if axis != "device"]
            levels = ", ".join(f"{axis} {configuration.columns[axis]}" for axis in axes)
            names = " and ".join(f"'{source}'" for source in sources)
            message = f"{names} alone changes nothing with {levels}"
            raise RequestError(f"{message}: all its seeds are one run", "vary")
