"""Several data sets in one study: the list ``tasks``, and the keys of the study of each.

::

    tasks = [
        "digits",
        "wine.toml",
        { name = "csv", path = "houses.csv", target = "price", label = "houses" },
        { task = "diabetes", epochs = 50, judge = "last" },
    ]

An entry is the name of a task, a table of a task with its parameters, or a table with a ``task``
and the keys of ``ENTRY_KEYS`` in which it differs from the study.  A text that ends in ``.toml`` is
a file with either table; of a study's file these keys count, and no other.

A run of a task has the id that it has in a study of this task alone with the same keys.
"""

from __future__ import annotations

import itertools
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from ablations.core.errors import RequestError
from ablations.core.files import read_text
from ablations.core.registry import STUDY_DIR, canonical, resolve, resolve_path
from ablations.study.grid import Grid, check_keys
from ablations.tasks.base import Task
from ablations.tasks.metrics import find_metric

SETTINGS_BY_TASK = ("judge", "lr", "batch_size", "epochs")
ENTRY_KEYS = ("label", "task", *SETTINGS_BY_TASK, "validation", "test")
"""The keys of an entry that names a ``task``; ``label`` is the task's level on the axis ``task``,
by default its name, or the name of its file without the suffix."""

Keys = dict[str, Any]


class StudyFields(Protocol):
    """What this module reads of a study, the class of which is built on it."""

    @property
    def task(self) -> Task: ...
    @property
    def task_label(self) -> str: ...
    @property
    def task_studies(self) -> tuple[Any, ...]: ...
    @property
    def by_task(self) -> tuple[Any, ...]: ...
    @property
    def grids(self) -> tuple[Grid, ...]: ...
    @property
    def metric(self) -> tuple[str, ...]: ...
    @property
    def levels(self) -> dict[str, tuple[Any, ...]]: ...


S = TypeVar("S", bound=StudyFields)


def studies_by_task(study: Mapping[str, Any], make: Callable[..., S]) -> tuple[S, ...]:
    """Return the study of each task, with its ``task_label``, of the keys of a study of several.

    Raises
    ------
    RequestError
        With the position of the entry in ``tasks``, if it is no task or does not suit the study.
    """
    if study.get("task") is not None:
        message = "a study has one task, or several in 'tasks'; leave one of the keys out"
        raise RequestError(message, "tasks")
    entries = [
        _parse_entry(entry, f"tasks[{i}]") for i, entry in enumerate(_check_list(study["tasks"]))
    ]
    _refuse_repeated(entries)
    labels = _label_entries(entries)
    if len(entries) == 1:
        labels = [""]  # one task needs no label to be told from others
    common = {key: value for key, value in study.items() if key not in ("tasks", "task")}
    metrics = list(_select_metrics(common.get("metric") or (), entries))
    studies = []
    for i, (entry, label) in enumerate(zip(entries, labels, strict=True)):
        keys = {key: value for key, value in entry.items() if key != "label"}
        keys |= {"task_label": label} | ({"metric": metrics[i]} if metrics else {})
        try:
            studies.append(make(**(common | keys)))
        except RequestError as error:
            root = error.key.partition(".")[0].partition("[")[0]
            stems_from_entry = root in (*ENTRY_KEYS, "outcome")
            raise (error.under(f"tasks[{i}]") if stems_from_entry else error) from None
    return tuple(studies)


def _check_list(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)) or not value:
        raise RequestError(f"expected a list of tasks, found {value!r}", "tasks")
    return value


def _parse_entry(entry: object, key: str) -> Keys:
    """Return the keys that an entry states, with the task itself and a ``label``."""
    if isinstance(entry, str) and entry.endswith(".toml"):
        return _read_entry(entry, key)
    if isinstance(entry, Mapping) and "task" in entry:
        try:
            check_keys(entry, ENTRY_KEYS)
        except RequestError as error:
            raise error.under(key) from None
        keys, task_key, spec = dict(entry), f"{key}.task", entry["task"]
    elif isinstance(entry, Mapping):
        keys = {"label": entry["label"]} if "label" in entry else {}
        task_key, spec = key, {name: v for name, v in entry.items() if name != "label"}
    else:
        keys, task_key, spec = {}, key, entry
    label = keys.get("label", "")
    if not isinstance(label, str) or ("label" in keys and not label.strip()):
        raise RequestError(f"expected a text, found {label!r}", f"{key}.label")
    return keys | {"task": cast(Task, resolve("task", spec, task_key)), "label": label}


def _read_entry(name: str, key: str) -> Keys:
    """Return the keys of a file with a task's table, or with a study."""
    path = resolve_path(name)
    try:
        table = tomllib.loads(read_text(path, "utf-8-sig"))
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", key) from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not a TOML file: {error}", key) from None
    if "tasks" in table:
        raise RequestError(f"{path} has several tasks itself; name each of them here", key)
    if "task" in table:
        table = {name: value for name, value in table.items() if name in ENTRY_KEYS}
    token = STUDY_DIR.set(path.parent)
    try:
        keys = _parse_entry(table, key)
    except RequestError as error:
        message = f"{error.message} (in {path})"
        raise RequestError(message, error.key or key, error.source) from None
    finally:
        STUDY_DIR.reset(token)
    return keys | {"label": keys["label"] or path.stem}


def _refuse_repeated(entries: Sequence[Keys]) -> None:
    identities = [entry["task"].identity() for entry in entries]
    for i, identity in enumerate(identities):
        if identity in identities[:i]:
            message = f"the same task as tasks[{identities.index(identity)}]"
            raise RequestError(message, f"tasks[{i}]")


def _label_entries(entries: Sequence[Keys]) -> list[str]:
    """Return a label for each entry: its own, or a name that tells it from the others."""
    names = [entry["label"] or entry["task"].short_name for entry in entries]
    counts = Counter(names)
    labels = [
        name if entry["label"] or counts[name] == 1 else entry["task"].label
        for name, entry in zip(names, entries, strict=True)
    ]
    titles = [entry["task"].label for entry in entries]
    for i, label in enumerate(labels):
        others = {*labels[:i], *(title for j, title in enumerate(titles) if j != i)}
        if label in others:
            message = f"another task is called '{label}' too; tell them apart"
            raise RequestError(message, f"tasks[{i}].label")
    return labels


def _select_metrics(names: object, entries: Sequence[Keys]) -> Iterator[tuple[str, ...]]:
    """Yield the metrics for each task: those of its kind; one that suits no task is refused."""
    metrics = (names,) if isinstance(names, str) else tuple(cast(Sequence[str], names))
    if not metrics:
        return
    kinds = [entry["task"].classification for entry in entries]
    suitable = {kind: [name for name in metrics if _suits(name, kind)] for kind in set(kinds)}
    for name in metrics:
        if not any(name in selected for selected in suitable.values()):
            find_metric(name, kinds[0])  # says which there are
    for i, kind in enumerate(kinds):
        if not suitable[kind]:
            noun = "classification" if kind else "regression"
            message = f"no metric of {', '.join(metrics)} is for a {noun}; add one"
            raise RequestError(message, f"tasks[{i}]")
        yield tuple(suitable[kind])


def _suits(name: str, classification: bool) -> bool:
    try:
        find_metric(name, classification)
    except RequestError:
        return False
    return True


def combine_studies(studies: Sequence[StudyFields]) -> Keys:
    """Return the fields of a study of several tasks, of the studies of each; one stays as it is.

    Settings that the tasks have in different ways are those of the first; ``task_studies`` has all.
    """
    first = studies[0]
    metrics = dict.fromkeys(name for study in studies for name in study.metric)
    names: list[str] = [name for name in type(first).model_fields if name != "grids"]  # type: ignore[attr-defined]
    fields = {name: getattr(first, name) for name in names}
    grids = tuple(dict(grid) for grid in first.grids)
    return fields | {
        "metric": tuple(metrics),
        "task_label": "",
        "task_studies": tuple(studies) if len(studies) > 1 else (),
        "grid": grids,
    }


def arguments_by_task(study: StudyFields, arguments: Keys) -> Keys:
    """Return the arguments of an equal study of several tasks, of those of its first task.

    What all tasks share is an argument of the study, other settings are keys of the entries.
    """
    studies = study.by_task
    shared = [
        name
        for name in SETTINGS_BY_TASK
        if all(getattr(each, name) == getattr(studies[0], name) for each in studies)
    ]
    entries = [
        ({"label": each.task_label} if each.task_label else {})
        | {"task": each.task}
        | {name: getattr(each, name) for name in SETTINGS_BY_TASK if name not in shared}
        for each in studies
    ]
    excluded = {"task", "task_label", *SETTINGS_BY_TASK} - set(shared)
    common = {name: value for name, value in arguments.items() if name not in excluded}
    return common | {"tasks": entries, "grid": stated_grids(study)}


def stated_grids(study: StudyFields) -> list[Keys]:
    """Return the arguments of the grids, without settings that are those of each task."""
    return [
        {name: value for name, value in dict(grid).items() if _states(study, index, name)}
        for index, grid in enumerate(study.grids)
    ]


def _states(study: StudyFields, index: int, name: str) -> bool:
    if name not in SETTINGS_BY_TASK:
        return True
    return any(getattr(each.grids[index], name) != getattr(each, name) for each in study.by_task)


def join_tasks(studies: Sequence[StudyFields]) -> Keys:
    """Return the keys of a study of all tasks of some studies: ``tasks``, with their settings, and
    the union of the grids.
    """
    tasks: dict[str, Keys] = {}
    grids: list[Keys] = []
    for study in studies:
        grids += [grid for grid in stated_grids(study) if grid not in grids]
        for each in study.by_task:
            entry = {"label": each.task_label} if each.task_label else {}
            entry |= {name: getattr(each, name) for name in ("task", *SETTINGS_BY_TASK)}
            tasks.setdefault(canonical(each.task.identity()), entry)
    return {"tasks": list(tasks.values()), "grid": grids}


def unite_levels(studies: Sequence[StudyFields]) -> dict[str, tuple[Any, ...]]:
    """Return every axis of the studies with its levels, in order."""
    axes = dict.fromkeys(axis for study in studies for axis in study.levels)
    levels = {axis: [study.levels.get(axis, ()) for study in studies] for axis in axes}
    return {axis: tuple(dict.fromkeys(itertools.chain(*levels[axis]))) for axis in axes}
