"""Several results folders merged into one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
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
    parts = [store.load(folder) for folder in folders]
    studies = [load_study(folder, trust=trust) for folder in folders]
    settled = [settings.load_settings(folder) for folder in folders]
    for folder, study, one in zip(folders, studies, settled, strict=True):
        _refuse_others(folder, study, folders[0], studies[0])
        if one != settled[0]:
            message = f"holds results of another engine than {folders[0]}: {one}, not {settled[0]}"
            raise RequestError(message, source=str(folder))
    runs = pd.concat([part.runs for part in parts], ignore_index=True)
    curves = pd.concat([part.curves for part in parts], ignore_index=True)
    origin = np.repeat(np.arange(len(parts)), [len(part.runs) for part in parts])
    of_curve = np.repeat(np.arange(len(parts)), [len(part.curves) for part in parts])
    differing = _differing(runs, curves)
    if differing and keep is None:
        named = ", ".join(differing[:3]) + (", …" if len(differing) > 3 else "")
        message = f"{len(differing):,} runs have other numbers in another folder: {named}"
        raise RequestError(f"{message}; say which to keep, first or last", "--keep")
    rank = runs["status"].map(STATUS_RANK).to_numpy()
    order = np.lexsort((-origin if keep == "last" else origin, rank))
    chosen = runs.iloc[order].drop_duplicates("run_id")
    source = pd.Series(origin[chosen.index], index=chosen["run_id"])
    curves = curves[curves["run_id"].map(source).to_numpy() == of_curve]
    audit = pd.concat([part.audit for part in parts], ignore_index=True)
    environments = {name: text for part in parts for name, text in part.environment.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    study = union_of_studies(studies)
    metadata = study_metadata(study, set(runs["run_id"]) - expand(study).run_ids)
    beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        store.start(beside, study.to_toml(), environments, metadata)
        chosen = chosen.sort_values("run_id")
        timings = pd.concat([part.timings for part in parts], ignore_index=True)
        store.write_tables(beside, chosen, curves, audit.drop_duplicates("run_id"), timings)
        settings.save_settings(beside, settled[0])
        beside.chmod(0o755)
        if out.exists():
            out.rmdir()
        beside.replace(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return load(out)


def _refuse_others(folder: Path, study: Study, first: Path, of_first: Study) -> None:
    found, wanted = study.plain(), of_first.plain()
    for key in ("task", "model", *SETTINGS, "exclude"):
        if found.get(key) != wanted.get(key):
            message = f"has {key} {found.get(key)!r}, and {first} has {wanted.get(key)!r}"
            raise RequestError(
                f"{message}; only results of one study can be merged", source=str(folder)
            )


def _differing(runs: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    """The runs that were trained more than once, with different numbers."""
    trained = runs[runs["status"].isin(TRAINED)]
    twice = trained[trained["run_id"].duplicated(keep=False)]
    rows = twice[["run_id", *_NUMBERS]].drop_duplicates()
    own = curves[curves["run_id"].isin(twice["run_id"])].drop_duplicates()
    of_curve = own[own.duplicated(["run_id", "epoch"])]
    of_row = rows[rows["run_id"].duplicated()]
    return sorted({*of_row["run_id"], *of_curve["run_id"]})


def union_of_studies(studies: Sequence[Study]) -> Study:
    """The study that asks for all that any of the studies asks for."""
    first = studies[0]
    seeds = sorted({seed for study in studies for seed in study.seeds})
    grids: list[dict[str, object]] = []
    for study in studies:
        grids += [grid for grid in study.as_dict()["grid"] if grid not in grids]
    return first.replace(seeds=seeds, grid=grids)
