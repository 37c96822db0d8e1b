"""Several results folders merged into one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ablations.analysis.results import Results, load
from ablations.core.errors import RequestError
from ablations.core.schema import STATUS_RANK, TRAINED
from ablations.execution.metadata import study_metadata
from ablations.execution.trust import load_study
from ablations.results import settings, store
from ablations.results.settings import EngineSettings
from ablations.results.store import StoredResults
from ablations.study.configuration import SETTINGS
from ablations.study.expand import expand
from ablations.study.study import Study

Keep = Literal["first", "last"]


_NUMBERS = ("status", "parameters", "objective", "train_loss", "val_loss", "metric")


def merge_results(
    folders: Sequence[Path], out: Path, keep: Keep | None = None, *, trust: bool = False
) -> Results:
    """Put the runs of several results folders into a new one.

    Parameters
    ----------
    keep
        Which of two results of one run that differ: that of the first or the last folder.
    trust
        Whether code that the folders' studies name may run.

    Raises
    ------
    RequestError
        If the folders hold results of different tasks, models, settings or engines; if two of them
        hold different numbers for a run and ``keep`` does not say which to take; if ``out`` is
        there already.  Nothing is written then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError("is there already; merge into a new folder", source=str(out))
    inputs = [store.load(folder) for folder in folders]
    studies = [load_study(folder, trust=trust) for folder in folders]
    engine_settings = [settings.load_settings(folder) for folder in folders]
    _refuse_other_studies(folders, studies)
    _refuse_other_settings(folders, engine_settings)
    runs, curves = _merge_runs(inputs, keep)
    study = union_of_studies(studies)
    metadata = study_metadata(study, set(runs["run_id"]) - expand(study).run_ids)
    environments = {name: text for each in inputs for name, text in each.environment.items()}
    audit = pd.concat([each.audit for each in inputs], ignore_index=True)
    timings = pd.concat([each.timings for each in inputs], ignore_index=True)
    with _new_folder(out) as folder:
        store.start(folder, study.to_toml(), environments, metadata)
        audit = audit.drop_duplicates("run_id")
        store.write_tables(folder, runs=runs, curves=curves, audit=audit, timings=timings)
        settings.save_settings(folder, engine_settings[0])
    return load(out)


def _refuse_other_studies(folders: Sequence[Path], studies: Sequence[Study]) -> None:
    first = studies[0].plain()
    for folder, study in zip(folders, studies, strict=True):
        fields = study.plain()
        for key in ("task", "model", *SETTINGS, "exclude"):
            if fields.get(key) != first.get(key):
                message = f"has {key} {fields.get(key)!r}, and {folders[0]} has {first.get(key)!r}"
                advice = "only results of one study can be merged"
                raise RequestError(f"{message}; {advice}", source=str(folder))


def _refuse_other_settings(folders: Sequence[Path], stored: Sequence[EngineSettings]) -> None:
    for folder, current in zip(folders, stored, strict=True):
        if current != stored[0]:
            message = f"holds results of another engine than {folders[0]}"
            raise RequestError(f"{message}: {current}, not {stored[0]}", source=str(folder))


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


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` if nothing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield folder
        folder.chmod(0o755)
        if path.exists():
            path.rmdir()
        folder.replace(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def union_of_studies(studies: Sequence[Study]) -> Study:
    """The study that includes the grids and seeds of all the studies."""
    first = studies[0]
    seeds = sorted({seed for study in studies for seed in study.seeds})
    grids: list[dict[str, object]] = []
    for study in studies:
        grids += [grid for grid in study.as_dict()["grid"] if grid not in grids]
    return first.replace(seeds=seeds, grid=grids)
