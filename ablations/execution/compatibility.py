"""Which results folders a study may continue; every other one is refused, with the reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ablations.core.errors import RequestError
from ablations.core.files import WRITING, read_parsed
from ablations.core.plugins import without_imports, without_inputs
from ablations.core.random import SOURCES
from ablations.core.registry import resolve
from ablations.execution.options import RunOptions
from ablations.execution.trust import load_study
from ablations.results import environment, settings, store
from ablations.results.inputs import INPUTS_FILE, changed_input
from ablations.results.lock import LOCK
from ablations.results.looks import load_looks
from ablations.results.manifest import SESSION_FILE
from ablations.results.settings import EngineSettings
from ablations.study.configuration import SETTINGS
from ablations.study.parsing import parse_seeds
from ablations.study.splits import stored_splits
from ablations.study.study import Study
from ablations.training.engine import refuse_other_engine

OTHER_FOLDER = "choose another folder with --out"


def check_folder(study: Study, folder: Path, options: RunOptions) -> EngineSettings | None:
    """Refuse a folder in which the study may not be run.

    Returns the settings of the runs in the folder; None if it holds no trained runs.
    """
    if not store.is_results(folder):
        _refuse_other_files(folder)
        return None
    store.verify(folder)
    refuse_other_study(study, folder)
    if not options.force and (path := changed_input(folder)):
        message = f"holds runs that read {path}, which has changed since"
        _refuse(folder, message, f"{OTHER_FOLDER}, or train them again with --force")
    if not options.accept_environment:
        _refuse_other_environment(folder)
    if not (folder / settings.ENGINE_FILE).exists() and not store.engines(folder):
        return None
    engine_settings = settings.load_settings(folder)
    refuse_other_engine(engine_settings, options.engine, options.compile, folder)
    return engine_settings


def _refuse_other_files(folder: Path) -> None:
    """Refuse what is no folder, or holds more than the first files of a command."""
    if not folder.exists():
        return
    first, prefixes = (SESSION_FILE, settings.ENGINE_FILE, INPUTS_FILE), (LOCK, WRITING)
    if not folder.is_dir() or any(
        path.name not in first and not path.name.startswith(prefixes) for path in folder.iterdir()
    ):
        raise RequestError("is there already and is no results folder", source=str(folder))


def refuse_other_study(study: Study, folder: Path) -> None:
    """Refuse a folder whose runs were trained under other settings than those of ``study``.

    Levels and seeds may differ: runs of one folder differ in these, and a study may grow.  So may
    its tasks, as long as one of the folder's is among them.
    """
    path = folder / store.STUDY_FILE
    if not path.exists():
        return  # set aside by a repair
    stored = read_parsed(path, tomllib.loads)
    try:
        _refuse_differences(study, stored, folder)
    except (RequestError, TypeError, ValueError, AttributeError, KeyError) as error:
        if not _is_study(folder):
            return  # a text that no command wrote, and this one replaces
        if isinstance(error, RequestError):
            raise
        _refuse(folder, f"holds a {store.STUDY_FILE} that no command of this version wrote")


def _is_study(folder: Path) -> bool:
    """Whether the study of a results folder is one, as far as no code and no data say it."""
    try:
        with without_inputs():
            load_study(folder)
    except RequestError as error:
        return "--trust" in error.message
    return True


def _refuse_differences(study: Study, stored: Mapping[str, Any], folder: Path) -> None:
    """Refuse a folder whose ``study.toml`` has other settings than ``study``."""
    for each, table in _match_tasks(study, stored, folder):
        _refuse_other_settings(each, table, folder)
    for name, code in stored.get("code", {}).items():
        if study.code.get(name, code) != code:
            _refuse(folder, f"holds runs of other code: {name} has changed since")
    sources = list(stored.get("vary", SOURCES))
    if sources != list(study.vary):
        message = f"holds results in which seeds vary {', '.join(sources)}"
        _refuse(folder, f"{message}, not {', '.join(study.vary)}")
    _refuse_other_splits(study, stored, folder)
    _refuse_other_looks(study, stored, folder)


def _refuse_other_looks(study: Study, stored: Mapping[str, Any], folder: Path) -> None:
    """Refuse looks that were not stated before the first one, or that are at other seeds."""
    expected, looks = study.plain(), stored.get("looks")
    if not looks and study.looks and (shown := load_looks(folder)):
        numbers = ", ".join(f"{look.seeds:,}" for look in shown)
        message = f"its verdicts at {numbers} seeds were shown before any looks were stated"
        _refuse(folder, message, f"continue without stated looks, or {OTHER_FOLDER}")
    if looks and expected.get("looks") != looks:  # too little evidence would become enough
        advice = (
            f"continue with --seeds-until decided --max-seeds {looks[-1]} and the seeds that it "
            f"began with, or {OTHER_FOLDER}"
        )
        _refuse(folder, f"its looks were stated at {', '.join(map(str, looks))} seeds", advice)
    seeds, others = set(parse_seeds(stored["seeds"]) if looks else ()), set(study.seeds)
    if looks and len(seeds) >= looks[0] and not (seeds <= others or others <= seeds):
        advice = f"continue with the seeds that it began with, or {OTHER_FOLDER}"
        _refuse(folder, "its looks were stated for other seeds, which would be looks too", advice)


def continue_splits(study: Study, folder: Path) -> Study:
    """Return a study that leaves its splits open with those of a results folder that holds others
    than it would have.
    """
    path = folder / store.STUDY_FILE
    if study.splits or not store.is_results(folder) or not path.exists():
        return study
    has_own = stored_splits(read_parsed(path, tomllib.loads)) == "own"
    return study.replace(splits="own") if has_own else study


def _refuse_other_splits(study: Study, stored: Mapping[str, Any], folder: Path) -> None:
    """Refuse seeds that would have other splits than those of the folder."""
    splits = stored_splits(stored)
    if study.splits and splits and study.splits != splits:
        message = f"holds seeds with {splits} splits, not {study.splits} ones"
        _refuse(folder, message, f'give the study splits = "{splits}", or {OTHER_FOLDER}')


def _match_tasks(
    study: Study, stored: Mapping[str, Any], folder: Path
) -> Iterator[tuple[Study, Mapping[str, Any]]]:
    """Yield the study of each task that the folder has, and the keys of the folder's study of it.

    Refuse a folder that has none, or other data of one.
    """
    tables = [stored | entry for entry in stored.get("tasks", [{}])]
    identities = [_stored_identity(table.get("task"), study) for table in tables]
    is_matched = False
    for each in study.by_task:
        current, changed = each.task.identity(), ""
        for identity, table in zip(identities, tables, strict=True):
            if current == identity:
                is_matched = True
                yield each, table
            elif current | {"content": None} == identity | {"content": None}:
                changed = each.task.label
        if changed and current not in identities:
            _refuse(folder, f"holds results of other data: {changed} has changed since")
    if is_matched:
        return
    if len(tables) > 1 or study.task_studies:
        _refuse(folder, "holds results of other tasks, none of which this study has")
    current, identity = study.task.identity(), identities[0]
    same_name = current["name"] == identity["name"]
    if same_name:  # the default of its test rows depends on the judge
        _refuse_other_judge(study, tables[0], folder)
    keys = [key for key in current if current[key] != identity.get(key)] if same_name else ["name"]
    differences = [f"{key} {identity.get(key)!r}, not {current[key]!r}" for key in keys]
    _refuse(folder, f"holds results with task {', '.join(differences).removeprefix('name ')}")


def _stored_identity(spec: object, study: Study) -> dict[str, Any]:
    """Return the identity of the task of a folder; its name alone if code would define it."""
    for each in study.by_task:
        if spec == each.plain()["task"]:
            return each.task.identity()
    try:
        with without_imports():  # the folder must not decide what code runs
            return resolve("task", spec, "task").identity()
    except RequestError:
        return {"name": spec}


def _refuse_other_settings(study: Study, stored: Mapping[str, Any], folder: Path) -> None:
    """Refuse a folder whose runs of a task were trained or judged in another way."""
    expected, suffix = study.plain(), f" of {study.task_label}" if study.task_label else ""
    _refuse_other_judge(study, stored, folder, suffix)
    for key in ("model", *SETTINGS):
        if key in stored and expected[key] != stored[key]:  # every command writes them all
            differences = f"{key} {stored.get(key)!r}, not {expected[key]!r}"
            _refuse(folder, f"holds results{suffix} with {differences}")
    label = stored.get("label", study.task_label)
    if study.task_label and label != study.task_label:
        advice = f"give it this label, or {OTHER_FOLDER}"
        _refuse(folder, f"its task {study.task_label} has the label {label!r} there", advice)


def _refuse_other_judge(
    study: Study, stored: Mapping[str, Any], folder: Path, suffix: str = ""
) -> None:
    """Refuse a folder whose runs are judged by another epoch."""
    judge = stored.get("judge", "last")
    if judge != study.judge:
        message = f"holds results{suffix} judged by the {judge} epoch, not by the {study.judge} one"
        _refuse(folder, message, f'give the study judge = "{judge}", or {OTHER_FOLDER}')


def _refuse_other_environment(folder: Path) -> None:
    """Refuse a folder whose runs were all trained by other versions of the libraries, or under
    other switches of their arithmetic.
    """
    environments = environment.read_environments(folder).values()
    stored = [_arithmetic(described) for described in environments if described]
    current = _arithmetic(environment.describe())
    if not stored or current in stored:
        return
    others = list(zip(stored[-1], current, ("not installed", "unset"), strict=True))
    kinds = ("versions", "settings of the arithmetic")
    differences = [
        f"{kind}: {', '.join(_differences(*both))}"
        for kind, both in zip(kinds, others, strict=True)
        if both[0] != both[1]
    ]
    advice = f"{OTHER_FOLDER}, or mix them with --accept-environment"
    _refuse(folder, f"holds runs of other {' and other '.join(differences)}", advice)


def _arithmetic(described: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The versions and switches of an environment; earlier descriptions have no switches."""
    return described["packages"], described.get("switches", {})


def _differences(
    stored: Mapping[str, str], current: Mapping[str, str], missing: str
) -> Iterator[str]:
    for name in dict.fromkeys([*current, *stored]):
        there, here = stored.get(name, missing), current.get(name, missing)
        if there != here:
            yield f"{name} {there} there and {here} here"


def _refuse(folder: Path, message: str, advice: str = OTHER_FOLDER) -> NoReturn:
    raise RequestError(f"{message}; {advice}", source=str(folder))
