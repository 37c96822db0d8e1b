"""From a study to the metadata that analysis and report read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np

from ablations.core.random import Streams
from ablations.execution.lagging import describe_lagging_statistics
from ablations.results.metadata import Judging, Published, Scope, StudyMetadata
from ablations.study.configuration import TECHNIQUES
from ablations.study.expand import ExpandedGrid
from ablations.study.study import Study, published
from ablations.tasks.base import Task
from ablations.tasks.data import Data
from ablations.techniques.base import CONTROLS, Technique
from ablations.training.cohorts import count_steps
from ablations.training.evaluation import judging_rows, recorded_metrics
from ablations.training.step_timer import COSTLESS


def controls(study: Study) -> dict[str, str | float]:
    """Map each axis to the level that others are compared with: its control, else its first."""
    return {
        axis: CONTROLS[axis] if CONTROLS.get(axis) in labels else labels[0]
        for axis, labels in study.levels.items()
    }


def study_metadata(
    study: Study, other_runs: Iterable[str] = (), unseen: Sequence[str] = ()
) -> StudyMetadata:
    """Collect all that analysis and report must know of a study.

    ``other_runs`` are ids of runs in its results folder that it does not include, ``unseen``
    sentences on inputs of user code that no hash includes.
    """
    if study.task_studies:
        return _unite_metadata(study, other_runs, unseen)
    return _metadata_of_task(study, other_runs, unseen)


def folder_metadata(
    study: Study, grid: ExpandedGrid, run_ids: Iterable[str], unseen: Sequence[str] = ()
) -> StudyMetadata:
    """Collect the metadata of a results folder that holds runs with these ids, of any study."""
    metadata = study_metadata(study, set(run_ids) - grid.run_ids, unseen)
    return replace(metadata, planned=len(grid))


def _unite_metadata(
    study: Study, other_runs: Iterable[str], unseen: Sequence[str]
) -> StudyMetadata:
    """Collect the metadata of several tasks: those of each, and what they share.

    What differs between them, as the metric, is that of the first; every answer is by task.
    """
    by_task = {
        each.task_label: replace(
            _metadata_of_task(each, (), ()),
            study=f"{study.name} on {each.task_label}",
            description=_describe(each),
        )
        for each in study.task_studies
    }
    first, *_ = tables = list(by_task.values())
    captions = _merge_tables(table.captions for table in tables)
    names = ", ".join(by_task)
    cautions = [f"{name}: {text}" for name, m in by_task.items() for text in m.cautions]
    return replace(
        first,
        study=study.name,
        description=study.description or f"{len(by_task)} data sets: {names}.",
        axes=tuple(study.levels),
        controls=controls(study),
        levels=study.levels,
        captions=captions,
        strengths=_merge_tables(table.strengths for table in tables),
        cautions=(*cautions, *unseen),
        published=(),
        badges=tuple(dict.fromkeys(badge for table in tables for badge in table.badges)),
        other_runs=tuple(sorted(other_runs)),
        metrics={name: up for table in tables for name, up in table.metrics.items()},
        judging=None,
        columns=(),
        training="",
        tasks=by_task,
        title="",
    )


def _merge_tables(tables: Iterable[Mapping[str, Mapping[str, str]]]) -> dict[str, dict[str, str]]:
    """Merge texts of axes and levels; later tables replace earlier texts."""
    merged: dict[str, dict[str, str]] = {}
    for table in tables:
        for axis, texts in table.items():
            merged.setdefault(axis, {}).update(texts)
    return merged


def _metadata_of_task(
    study: Study, other_runs: Iterable[str], unseen: Sequence[str]
) -> StudyMetadata:
    task, lagging = study.task, describe_lagging_statistics(study)
    metrics = recorded_metrics(task.classification, study.metric)
    badges = [
        task.badge,
        "not all varies" if study.fixed else "",
        "lagging statistics" if lagging else "",
    ]
    return StudyMetadata(
        study=study.name,
        description=study.description or _describe(study),
        axes=tuple(study.levels),
        controls=controls(study),
        levels=study.levels,
        captions=_captions(study),
        cautions=tuple(filter(None, [*_describe_data(study), *lagging, *unseen])),
        metric_name=metrics[0].name if study.metric else task.metric_name,
        higher_is_better=(metrics[0] if study.metric else task).higher_is_better,
        published=tuple(
            Published(name, {axis: run.columns[axis] for axis in study.levels}, objective)
            for name, run, objective in published(study)
        ),
        margin=study.margin,
        looks=study.looks,
        alpha=study.alpha,
        tune_over=study.tune_over,
        badges=tuple(filter(None, badges)),
        command="ablations run study.toml --out .",
        costless=COSTLESS,
        other_runs=tuple(sorted(other_runs)),
        judge=study.judge,
        outcome=outcome_column(study),
        metrics={metric.name: metric.higher_is_better for metric in metrics},
        judging=describe_judging(study),
        scope=describe_scope(study),
        question=study.question,
        training=describe_training(study),
        columns=task.describe_columns(),
        strengths=_strengths(study),
        title=task.label,
    )


def _describe_data(study: Study) -> tuple[str, ...]:
    return study.task.caution, _describe_fixed(study), *describe_seeds(study)


def describe_seeds(study: Study) -> tuple[str, ...]:
    """Say what the splits of some of the study's seeds lack, such as a class."""
    configuration = study.configurations[0]
    seeds = study.seeds[:1] if "split" in study.fixed else study.seeds
    seeds = tuple(dict.fromkeys(map(configuration.data_seed, seeds)))
    return study.task.describe_seeds([configuration.streams(seed) for seed in seeds])


def outcome_column(study: Study) -> str:
    """Return the column of the runs table that the study's verdicts are about."""
    is_own = bool(study.task.user_modules()) and study.outcome == study.task.metric_name
    if study.outcome == "metric" or (is_own and not study.metric):
        return "metric" if not study.metric else study.metric[0]
    return study.outcome or ("test_loss" if study.task.has_test_rows else "val_loss")


def describe_scope(study: Study) -> Scope:
    """Return what the seeds of a study vary."""
    task = study.task
    if not task.varies or "split" in study.fixed:
        return "rows"
    return "table" if task.shared_rows or _splits_own_table(task) else "generator"


def _splits_own_table(task: Task) -> bool:
    """Whether a task of a user, which says nothing of its rows, has the same ones for two seeds."""
    if not task.user_modules():
        return False
    try:
        first, second = (_sorted_rows(task.splits(Streams(seed))) for seed in (0, 1))
    except Exception:  # the runs say what is wrong with it
        return False
    return first.shape == second.shape and np.allclose(first, second, atol=2e-4)


def _sorted_rows(data: Data) -> np.ndarray:
    """All rows of some data with their targets, each column from 0 to 1 whatever its unit, in an
    order that no split changes.
    """
    splits = [(data.x_train, data.y_train), (data.x_val, data.y_val)]
    if data.x_test is not None and data.y_test is not None:
        splits.append((data.x_test, data.y_test))
    rows = np.concatenate(
        [np.column_stack([x.flatten(1).numpy(), y.reshape(len(y), -1)]) for x, y in splits]
    ).astype(float)
    rows -= rows.min(axis=0)
    rows /= np.maximum(rows.max(axis=0), 1e-12)
    return rows[np.lexsort(rows.round(4).T)]


def describe_judging(study: Study) -> Judging | None:
    """Describe the rows that judge, where the seeds share those of one table."""
    task = study.task
    is_fixed = not task.varies or "split" in study.fixed
    rows = task.shared_rows
    is_known = not task.user_modules() if is_fixed else describe_scope(study) == "table"
    if not rows and is_known:
        rows = len(judging_rows(task.splits(Streams(0)))[0])
    if not rows:
        return None
    keys = ("loss", "class_weight", "has_own_losses")
    return Judging(
        rows=rows,
        overlap=_overlap(task, rows),
        is_fixed=is_fixed,
        is_likelihood=not any(getattr(task, key, False) for key in keys),
        classification=task.classification,
    )


def _overlap(task: Task, rows: int) -> float:
    """Judging rows over training rows; of groups, which are units themselves, the ratio of their
    shares where it is larger, as rows of a group are left out of the split that it does not fit.
    """
    ratio = rows / task.rows
    if not getattr(task, "group", ""):
        return ratio
    validation: float = getattr(task, "validation", 0.0)
    return max(ratio, (task.test or validation) / (1 - task.test - validation))


def describe_training(study: Study) -> str:
    """Say in one sentence how long the runs train, and what judges them."""
    configurations, task = study.configurations, study.task
    epochs = _count([c.epochs for c in configurations], "epoch")
    steps = _count([count_steps(c) for c in configurations], "step")
    sizes = {c.batch_size for c in configurations}
    batches = "full batches" if sizes == {"full"} else f"batches of {_format_sizes(sizes)} rows"
    rows_of = "test rows" if task.has_test_rows else "validation rows"
    epoch = "last epoch"
    if study.judge == "best":
        epoch = "epoch with the lowest validation loss"
    metric = (*study.metric, task.metric_name)[0]
    return (
        f"Each run trains for {epochs} in {batches} of {task.rows:,} training rows, {steps} in "
        f"all. Its {epoch} is judged on {rows_of}, by loss and by {metric}."
    )


def format_range(numbers: Sequence[int]) -> str:
    """Write the one number that there is, or the lowest and the highest."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _count(numbers: Sequence[int], noun: str) -> str:
    return f"{format_range(numbers)} {noun}{'' if max(numbers) == 1 else 's'}"


def _format_sizes(sizes: Set[int | str]) -> str:
    counts = [size for size in sizes if isinstance(size, int)]
    return format_range(counts) + (" or all" if "full" in sizes else "")


def _describe(study: Study) -> str:
    task = study.task
    data = f"{task.label}, {task.rows:,} rows to train on, {task.inputs:,} features"
    return f"{data}; the model is {study.model.label}."


def _describe_fixed(study: Study) -> str:
    if not study.fixed:
        return ""
    descriptions = {
        "split": "the split of the data",
        "init": "the initial weights",
        "order": "the order of the rows",
        "noise": "what is drawn while training",
    }
    what = " and ".join(descriptions[source] for source in study.fixed)
    return f"All seeds share {what}: the intervals say nothing of others."


def _captions(study: Study) -> dict[str, dict[str, str]]:
    captions: dict[str, dict[str, str]] = {}
    for axis, level in _techniques(study):
        captions.setdefault(axis, {})[level.label] = level.caption()
    return captions


def _strengths(study: Study) -> dict[str, dict[str, str]]:
    """Write the levels with the values of their parameters, where they have any."""
    strengths: dict[str, dict[str, str]] = {}
    for axis, level in _techniques(study):
        if strength := level.describe_strength():
            strengths.setdefault(axis, {})[level.label] = f"{level.name} ({strength})"
    return strengths


def _techniques(study: Study) -> Iterator[tuple[str, Technique]]:
    """Yield each level of the axes of techniques and of the optimizer, with its axis."""
    for grid in study.grids:
        for axis in (*TECHNIQUES, "optimizer"):
            yield from ((axis, level) for level in grid.axes.get(axis, ()))
