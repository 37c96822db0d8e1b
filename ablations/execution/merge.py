"""Several results folders merged into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd

from ablations.analysis.results import Results, load
from ablations.analysis.spending import unite_looks
from ablations.core.errors import RequestError
from ablations.core.registry import canonical
from ablations.core.schema import STATUS_RANK, TRAINED
from ablations.core.sources import UNSEEN
from ablations.execution.metadata import folder_metadata
from ablations.execution.trust import load_study
from ablations.results import settings, store
from ablations.results.inputs import save_inputs, unite_inputs
from ablations.results.looks import save_looks
from ablations.results.store import StoredResults
from ablations.study.expand import expand
from ablations.study.study import Study
from ablations.study.tasks import SETTINGS_BY_TASK, join_tasks

Keep = Literal["first", "last"]
_OF_TASK = ("lr", "batch_size", "epochs")
_LABELLED = (*_OF_TASK, "label")
_BY_TASK = ("task", "task_label", "tasks", *SETTINGS_BY_TASK)
_SHARED = ("model", "optimizer", "dtype", "exclude")
_NUMBERS = ("status", "parameters", "objective", "train_loss", "val_loss", "test_loss", "metric")


def merge_results(
    folders: Sequence[Path], out: Path, keep: Keep | None = None, *, trust: bool = False
) -> Results:
    """Put the runs of several results folders into a new one.

    Folders of different tasks become one study of all of them (``study.tasks``).  The looks at all
    folders count as looks at the new one.

    ``keep`` says which of two different results of a run to take, that of the first or the last
    folder; ``trust``, whether code that the folders' studies name may run.  If the folders do not
    fit together, or ``out`` is there already, nothing is written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError("is there already; merge into a new folder", source=str(out))
    inputs = [store.load(folder) for folder in folders]
    studies = [load_study(folder, trust=trust) for folder in folders]
    engine_settings = [settings.load_settings(folder) for folder in folders]
    _refuse_other_studies(folders, studies)
    for folder, other in zip(folders, engine_settings, strict=True):
        if other != engine_settings[0]:
            message = f"holds results of another engine than {folders[0]}"
            raise RequestError(f"{message}: {other}, not {engine_settings[0]}", source=str(folder))
    files = unite_inputs(folders)
    runs, curves = _merge_runs(inputs, keep)
    study = _unite_studies(studies)
    stored = [caution for each in inputs if each.metadata for caution in each.metadata.cautions]
    unseen = [caution for caution in dict.fromkeys(stored) if caution.endswith(UNSEEN)]
    metadata = folder_metadata(study, expand(study), runs["run_id"], unseen)
    environments = {name: text for each in inputs for name, text in each.environment.items()}
    audit = pd.concat([each.audit for each in inputs], ignore_index=True).drop_duplicates("run_id")
    timings = pd.concat([each.timings for each in inputs], ignore_index=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / out.name
        store.start(folder, study.to_toml(), environments, metadata)
        store.write_tables(folder, runs=runs, curves=curves, audit=audit, timings=timings)
        settings.save_settings(folder, engine_settings[0])
        save_inputs(folder, files)
        if looks := unite_looks([each.looks for each in inputs]):
            save_looks(folder, looks)
        if out.exists():
            out.rmdir()
        folder.replace(out)
    return load(out)


def _unite_studies(studies: Sequence[Study]) -> Study:
    """Return the study that includes the tasks, grids and seeds of all the studies."""
    first, seeds = studies[0], sorted({seed for study in studies for seed in study.seeds})
    keys = join_tasks(studies)
    splits = next((study.splits for study in studies if study.splits), "")
    if len(keys["tasks"]) > 1:
        metrics = dict.fromkeys(name for study in studies for name in study.metric)
        common = {name: value for name, value in first.as_dict().items() if name not in _BY_TASK}
        keys |= {"seeds": seeds, "splits": splits, "metric": tuple(metrics)}
        return Study(**(common | keys))
    grids: list[dict[str, object]] = []
    for study in studies:
        grids += [grid for grid in study.as_dict()["grid"] if grid not in grids]
    return first.replace(seeds=seeds, grid=grids, splits=splits)


def _refuse_other_studies(folders: Sequence[Path], studies: Sequence[Study]) -> None:
    """Refuse folders that differ in what all runs of a study share, or in a setting of a task."""
    first, by_task = studies[0].plain(), dict[str, tuple[Path, dict[str, object]]]()
    repeating: list[tuple[Path, dict[str, object]]] = []
    for folder, study in zip(folders, studies, strict=True):
        _refuse_differences(study.plain(), first, _SHARED, (folder, folders[0]))
        if "splits" in study.plain():  # where some seed could repeat a split, or does
            repeating.append((folder, study.plain()))
            other, expected = repeating[0]
            _refuse_differences(study.plain(), expected, ["splits"], (folder, other))
        for each in study.by_task:
            identity, fields = canonical(each.task.identity()), each.plain()
            fields |= {"label": each.task_label} if study.task_studies else {}
            other, expected = by_task.setdefault(identity, (folder, fields))
            keys = _OF_TASK if "label" not in expected or "label" not in fields else _LABELLED
            _refuse_differences(fields, expected, keys, (folder, other))


def _refuse_differences(
    fields: Mapping[str, object],
    expected: Mapping[str, object],
    keys: Sequence[str],
    folders: tuple[Path, Path],
) -> None:
    for key in keys:
        if fields.get(key) != expected.get(key):
            message = f"has {key} {fields.get(key)!r}, and {folders[1]} has {expected.get(key)!r}"
            advice = "only results of one study can be merged"
            raise RequestError(f"{message}; {advice}", source=str(folders[0]))


def _merge_runs(
    inputs: Sequence[StoredResults], keep: Keep | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row for each run, trained ones first, and the curves of these rows."""
    runs = pd.concat([each.runs for each in inputs], ignore_index=True)
    curves = pd.concat([each.curves for each in inputs], ignore_index=True)
    ids = _ids_with_other_numbers(runs, curves)
    if ids and keep is None:
        first = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
        message = f"{len(ids):,} runs have other numbers in another folder: {first}"
        raise RequestError(f"{message}; say which to keep, first or last", "--keep")
    numbers = np.arange(len(inputs))
    run_input = np.repeat(numbers, [len(each.runs) for each in inputs])
    curve_input = np.repeat(numbers, [len(each.curves) for each in inputs])
    rank = runs["status"].map(STATUS_RANK).to_numpy()
    order = np.lexsort((-run_input if keep == "last" else run_input, rank))
    merged = runs.iloc[order].drop_duplicates("run_id")
    source = pd.Series(run_input[merged.index], index=merged["run_id"])
    curves = curves[curves["run_id"].map(source).to_numpy() == curve_input]
    return merged.sort_values("run_id"), curves


def _ids_with_other_numbers(runs: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    """The runs that were trained more than once, with different numbers."""
    trained = runs[runs["status"].isin(TRAINED)]
    repeated = trained[trained["run_id"].duplicated(keep=False)]
    rows = repeated[["run_id", *_NUMBERS]].drop_duplicates()
    epochs = curves[curves["run_id"].isin(repeated["run_id"])].drop_duplicates()
    differing_rows = rows[rows["run_id"].duplicated()]
    differing_epochs = epochs[epochs.duplicated(["run_id", "epoch"])]
    return sorted({*differing_rows["run_id"], *differing_epochs["run_id"]})
