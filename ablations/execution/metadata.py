"""From a study to the metadata that analysis and report read."""

from __future__ import annotations

from collections.abc import Iterable

from ablations.results.metadata import Published, StudyMetadata
from ablations.study.configuration import TECHNIQUES
from ablations.study.study import Study, published
from ablations.techniques.base import CONTROLS
from ablations.training.step_timer import COSTLESS


def controls(study: Study) -> dict[str, str | float]:
    """Map each axis to the level that others are compared with: its control, else its first."""
    return {
        axis: CONTROLS[axis] if CONTROLS.get(axis) in labels else labels[0]
        for axis, labels in study.levels.items()
    }


def study_metadata(study: Study, other_runs: Iterable[str] = ()) -> StudyMetadata:
    """Collect all that analysis and report must know of a study.

    ``other_runs`` are ids of runs in its results folder that it does not include.
    """
    task = study.task
    return StudyMetadata(
        study=study.name,
        description=study.description or _describe(study),
        axes=tuple(study.levels),
        controls=controls(study),
        levels=study.levels,
        captions=_captions(study),
        cautions=tuple(filter(None, [task.caution, _describe_fixed(study)])),
        metric_name=task.metric_name,
        higher_is_better=task.higher_is_better,
        published=tuple(
            Published(name, {axis: run.columns[axis] for axis in study.levels}, objective)
            for name, run, objective in published(study)
        ),
        margin=study.margin,
        looks=study.looks,
        alpha=study.alpha,
        tune_over=study.tune_over,
        badges=tuple(filter(None, [task.badge, "not all varies" if study.fixed else ""])),
        command="ablations run study.toml --out .",
        costless=COSTLESS,
        other_runs=tuple(sorted(other_runs)),
    )


def _describe(study: Study) -> str:
    task = study.task
    data = f"{task.label}: {task.rows:,} rows to train on, {task.inputs:,} features"
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
    for grid in study.grids:
        for axis in (*TECHNIQUES, "optimizer"):
            for level in grid.axes.get(axis, ()):
                captions.setdefault(axis, {})[level.label] = level.caption()
    return captions
