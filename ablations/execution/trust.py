"""Studies of results folders, whose code runs only if a person trusts the folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.core.errors import RequestError
from ablations.results import store
from ablations.results.metadata import load_metadata, save_metadata

if TYPE_CHECKING:
    from ablations.analysis.results import Results
    from ablations.study.study import Study


def load(folder: Path | str, *, trust: bool = False) -> Results:
    """Read a results folder; no code that it names is run.

    Parameters
    ----------
    trust
        Whether the study of a folder of an earlier version, which has no ``metadata.json``, may
        run the code and read the files that it names. The file is written then. Without trust,
        such a folder has tables, and its questions are answered only if its study consists of
        components of this package.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    from ablations.analysis.results import load as load_results

    results = load_results(folder)
    if results.metadata is not None:
        return results
    from ablations.core.plugins import without_inputs
    from ablations.execution.metadata import folder_metadata
    from ablations.study.expand import expand

    try:
        with nullcontext() if trust else without_inputs():
            study = load_study(results.folder, trust=trust, plugins=trust)
            grid = expand(study)
        metadata = folder_metadata(study, grid, results.runs["run_id"])
    except RequestError:
        if trust:
            raise
        return results
    with suppress(OSError, RequestError):  # a folder that cannot be written can be read
        # A command that writes meanwhile knows better.
        is_unchanged = store.read_study(results.folder) == results.study_toml
        if is_unchanged and load_metadata(results.folder) is None:
            save_metadata(results.folder, metadata)
    return replace(results, metadata=metadata).with_missing()


def load_study(folder: Path, *, trust: bool = False, plugins: bool = True) -> Study:
    """Read the study of a results folder; refuse one that names code, without trust.

    ``trust`` allows to import code that the study names (``python:module:name``); ``plugins`` are
    components of installed packages, known without trust.
    """
    from ablations.core.plugins import without_imports
    from ablations.core.registry import registered
    from ablations.study.files import read_study_file, refuse_code
    from ablations.study.study import Study

    path = folder / store.STUDY_FILE
    if not trust:
        refuse_code(path, read_study_file(path))
    if plugins:
        registered("task")  # loads what installed packages offer
    with nullcontext() if trust else without_imports():
        return Study.from_toml(path, trust=trust)
