"""A study as plain data: names and numbers, as ``study.toml`` holds them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol, cast

from ablations.core.splits import Splits
from ablations.results.metadata import Question
from ablations.study.configuration import SETTINGS, to_plain
from ablations.study.grid import Settings
from ablations.study.splits import stated_splits
from ablations.study.tasks import SETTINGS_BY_TASK, StudyFields, arguments_by_task

HEAD = ("name", "description", "task", "model", *SETTINGS, "judge", "margin")
LISTS = ("metric", "looks", "tune_over")


class CompleteStudy(StudyFields, Protocol):
    """What a file holds of a study."""

    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def outcome(self) -> str: ...
    @property
    def fixed(self) -> tuple[str, ...]: ...
    @property
    def vary(self) -> tuple[str, ...]: ...
    @property
    def splits(self) -> Splits: ...
    @property
    def code(self) -> dict[str, str]: ...
    @property
    def question(self) -> Question | None: ...
    @property
    def exclude(self) -> tuple[dict[str, tuple[Any, ...]], ...]: ...


def plain_study(study: CompleteStudy) -> dict[str, Any]:
    """Return the keys of a study that can be run again, in the order of the file."""
    data = {name: to_plain(getattr(study, name)) for name in HEAD}
    grids = [grid.plain(cast(Settings, study)) for grid in study.grids]
    if study.task_studies:
        grids = _plain_grids(study)
        arguments = arguments_by_task(study, {})
        entries = [{k: to_plain(v) for k, v in entry.items()} for entry in arguments["tasks"]]
        head = {name: value for name, value in data.items() if name != "task"}
        entry_keys = {name for entry in entries for name in entry}
        data = {name: value for name, value in head.items() if name not in entry_keys}
        data["tasks"] = entries
    consecutive = range(study.seeds[0], study.seeds[0] + len(study.seeds))
    is_range = study.seeds == tuple(consecutive)
    data["seeds"] = f"{consecutive.start}:{consecutive.stop}" if is_range else list(study.seeds)
    data |= {name: list(getattr(study, name)) for name in LISTS if getattr(study, name)}
    if study.outcome:
        data["outcome"] = study.outcome
    if study.fixed:
        data["vary"] = list(study.vary)
    tasks = [each.task for each in study.by_task]
    data |= stated_splits(study.splits, tasks, study.vary, study.seeds)
    if study.code:
        data["code"] = study.code
    if study.question:
        data["question"] = {k: v for k, v in asdict(study.question).items() if v not in (None, "")}
    data |= grids[0] if len(grids) == 1 and set(grids[0]) == {"axes"} else {"grid": grids}
    if study.exclude:
        # Each level is a table: a bare name would exclude every level with that name.
        tables = [{k: to_plain(v, as_table=True) for k, v in e.items()} for e in study.exclude]
        data["exclude"] = tables
    return data


def _plain_grids(study: StudyFields) -> list[dict[str, Any]]:
    """Return the grids of a study of several tasks, each with the settings that it states."""
    tables = [[grid.plain(each) for grid in each.grids] for each in study.task_studies]
    grids = []
    for by_task in zip(*tables, strict=True):
        table = dict(by_task[0])
        stated = {k: v for each in by_task for k, v in each.items() if k in SETTINGS_BY_TASK}
        axes = table.pop("axes")
        published = {"published": table.pop("published")} if "published" in table else {}
        grids.append(table | stated | {"axes": axes} | published)
    return grids
