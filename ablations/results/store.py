"""Results on disk: Parquet shards in, one DataFrame out.

A results folder holds ``study.toml``, ``metadata.json``, ``environment.json`` and the folders
``runs``, ``curves``, ``timings`` and ``audit`` of Parquet shards (``shards``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from ablations.core import files
from ablations.core.errors import RequestError
from ablations.core.files import write_text
from ablations.core.schema import STATUS_RANK, TRAINED
from ablations.results import environment, shards
from ablations.results.metadata import METADATA_FILE, StudyMetadata, load_metadata, save_metadata
from ablations.results.schema import (
    _AUDIT,
    _CURVES,
    _RUNS,
    _TABLES,
    _TIMED,
    _TIMINGS,
)

STOP = ".stop-"
"""How the name of a file begins that tells workers to begin nothing more."""


MOST_SHARDS = 8
"""Shards of a table beyond which a command that ends makes one of them."""


@dataclass(frozen=True)
class StoredResults:
    """What a results folder holds.

    Attributes
    ----------
    folder
        Where it lies.
    runs
        One row a run, ordered by axes and seed.
    curves
        One row a run and epoch, ordered by run and epoch.
    timings
        One row a timed repetition (``training.clock.Repetition`` says what its columns are).
    audit
        One row a run that the plain loop trained again to judge a faster engine
        (``training.audit.Judged`` says what its columns are).
    environment
        Environment id to its description.
    study_toml
        The resolved study, runnable as it is.
    metadata
        What analysis and report must know of the study; None in a folder of an earlier version.
    """

    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    audit: pd.DataFrame
    environment: dict[str, dict[str, object]]
    study_toml: str
    metadata: StudyMetadata | None = None

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{n:,} {status}" for status, n in self.runs["status"].value_counts().items()
        )
        return f"<Results of {len(self.runs):,} runs ({counts}) in {self.folder}>"

    def only(self, run_ids: Collection[str]) -> Self:
        """The same folder with the rows of some runs only."""
        runs = self.runs[self.runs["run_id"].isin(run_ids)].reset_index(drop=True)
        curves = self.curves[self.curves["run_id"].isin(run_ids)].reset_index(drop=True)
        audit = self.audit[self.audit["run_id"].isin(run_ids)].reset_index(drop=True)
        return replace(self, runs=runs, curves=curves, audit=audit)

    def of_study(self) -> Self:
        """The rows that the folder's study includes, without those of earlier studies."""
        others = set(self.require_metadata().other_runs)
        return self.only(set(self.runs["run_id"]) - others) if others else self

    def require_metadata(self) -> StudyMetadata:
        """The metadata of the study.

        Raises
        ------
        RequestError
            If the folder has none, because an earlier version wrote it.
        """
        if self.metadata is None:
            raise RequestError(
                f"has no {METADATA_FILE}: an earlier version wrote it, and only its study can tell "
                "what the axes are, which may run code and read files that study.toml names; if "
                "you trust the folder, --trust, or load(folder, trust=True), writes the file once",
                source=str(self.folder),
            )
        return self.metadata


def load(folder: Path | str) -> StoredResults:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    folder = Path(folder)
    study_toml = read_study(folder)
    # The runs first: whoever writes meanwhile adds a run's curves before the run.
    runs = _runs(_read(folder, "runs"))
    curves = _curves(_read(folder, "curves"))
    known = read_environments(folder)
    timed = timings(folder)
    lost = (set(runs["environment_id"].dropna()) | set(timed["environment_id"])) - set(known)
    if lost:
        message = f"does not describe the environment '{min(lost)}', which rows name"
        raise RequestError(message, source=str(folder / "environment.json"))
    without = _without_curves(runs, curves)
    if without:
        message = f"the curves of {len(without):,} runs are missing, the first {without[0]}"
        advice = f"'ablations repair {folder}' has them trained again"
        raise RequestError(f"{message}; {advice}", source=str(folder / "curves"))
    metadata = load_metadata(folder)
    for axis in metadata.axes if metadata and len(runs) else ():
        if axis not in runs:
            message = f"the runs have no column of the axis '{axis}'"
            raise RequestError(message, "axes", str(folder / METADATA_FILE))
    return StoredResults(
        folder=folder,
        runs=runs,
        curves=curves,
        timings=timed,
        audit=_read(folder, "audit").drop_duplicates("run_id", keep="last", ignore_index=True),
        environment=known,
        study_toml=study_toml,
        metadata=metadata,
    )


def read_study(folder: Path) -> str:
    """The text of ``study.toml``, without its first line, the seal.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or the file cannot be read or was changed.
    """
    path = folder / "study.toml"
    try:
        there = path.is_file()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=str(folder)) from None
    if not there:
        found = "its study.toml is missing" if is_results(folder) else "it holds no study.toml"
        advice = "; the command that made it writes it again" if is_results(folder) else ""
        raise RequestError(f"not a results folder: {found}{advice}", source=str(folder))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None
    _, _, study_toml = text.partition("\n")
    if text != _sealed(study_toml):
        message = "was changed since it was written; 'ablations run' makes the folder fit it"
        raise RequestError(message, source=str(path))
    return study_toml


def finished(folder: Path, session: int | None = None) -> dict[str, str]:
    """The runs that need no further training: id to status, ok or diverged.

    Parameters
    ----------
    session
        Only those that the command with this number wrote.
    """
    columns = ["run_id", "status"]
    found = shards.read(folder / "runs", columns)
    if session is not None:
        found = [shard for shard in found if shard.session == session]
    runs = _together("runs", found, columns)
    done = runs[runs["status"].isin(TRAINED)]
    return dict(zip(done["run_id"], done["status"], strict=True))


def verify(folder: Path) -> None:
    """Check that every shard is as it was written.

    Raises
    ------
    RequestError
        Naming the first that is not.
    """
    for name in _TABLES:
        shards.verify(folder / name)


def run_ids(folder: Path) -> set[str]:
    """The ids of all runs that a folder holds."""
    return set(_read(folder, "runs", ["run_id"])["run_id"])


def timings(folder: Path) -> pd.DataFrame:
    """The timed repetitions of a folder alone."""
    return _timings(_read(folder, "timings"))


def engines(folder: Path) -> set[str]:
    """What trained the runs of a folder."""
    runs = _read(folder, "runs", ["status", "engine"])
    return set(runs.loc[runs["status"].isin(TRAINED), "engine"])


def list_shards(folder: Path) -> list[Path]:
    """The files of runs that a folder holds, which tell whether somebody wrote meanwhile."""
    return shards.paths(folder / "runs")


def content_hash(folder: Path) -> str:
    """Changes whenever a byte changes of what a report shows."""
    tables = [path for table in _TABLES for path in shards.paths(folder / table)]
    described = [folder / name for name in ("study.toml", METADATA_FILE, "environment.json")]
    said = [
        f"{path.name} {files.digest(path.read_bytes())}"
        for path in (*tables, *described)
        if path.is_file()
    ]
    return files.digest("\n".join(said).encode())


def start(
    folder: Path,
    study_toml: str,
    environments: Mapping[str, Mapping[str, Any]],
    metadata: StudyMetadata | None = None,
) -> int:
    """Make the results folder, and write what describes the study and the machines (by id).

    Parameters
    ----------
    metadata
        Of the study; None keeps what the folder holds.

    Returns
    -------
    int
        The number of this session, which its shards carry.
    """
    for name in _TABLES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in shards.leftovers(folder / name):
            path.unlink(missing_ok=True)
    for path in (*shards.leftovers(folder), *folder.glob(f"{STOP}*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    known = read_environments(folder) | dict(environments)
    write_text(folder / "environment.json", json.dumps(known, indent=2, sort_keys=True) + "\n")
    if metadata is not None:
        save_metadata(folder, metadata)
    write_text(folder / "study.toml", _sealed(study_toml))
    return shards.next_session([folder / name for name in _TABLES])


def _sealed(study_toml: str) -> str:
    """The study below a comment that tells whether it was changed."""
    return f"# checked by {files.digest(study_toml.encode())}\n{study_toml}"


def write_shard(
    folder: Path,
    runs: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    session: int = 0,
) -> None:
    """Add one shard of runs with their curves; the curves first, so that no run lacks its own."""
    if curves:
        shards.write(folder / "curves", shards.table(curves, _CURVES), session)
    shards.write(folder / "runs", shards.table(runs, _RUNS), session)


def write_audit(folder: Path, rows: Sequence[Mapping[str, Any]], session: int = 0) -> None:
    """Add what an audit found."""
    shards.write(folder / "audit", shards.table(rows, _AUDIT), session)


def write_timings(folder: Path, rows: Sequence[Mapping[str, Any]], session: int = 0) -> None:
    """Add timed repetitions."""
    shards.write(folder / "timings", shards.table(rows, _TIMINGS), session)


def tidy(folder: Path, session: int) -> None:
    """Make one shard of many, table by table; safe to be killed, and to be read meanwhile."""
    curves = partial(_compacted, "curves", _curves)
    shards.compact(folder / "curves", session, MOST_SHARDS, curves)
    shards.compact(folder / "runs", session, MOST_SHARDS, partial(_compacted, "runs", _runs))
    timings = partial(_compacted, "timings", _timings)
    shards.compact(folder / "timings", session, MOST_SHARDS, timings)


def _compacted(
    name: str, once: Callable[[pd.DataFrame], pd.DataFrame], found: Sequence[shards.Shard]
) -> pa.Table:
    schema = _whole(name, [shard.table for shard in found]).schema
    kept = once(_together(name, found))
    return pa.Table.from_pandas(kept, schema=schema, preserve_index=False)


def is_results(folder: Path) -> bool:
    """Whether a folder holds results, or did before something was set aside."""
    if (folder / "study.toml").is_file():
        return True
    ours = [folder / name for name in ("environment.json", "engine.json")]
    there = any(path.is_file() for path in ours)
    runs = folder / "runs"
    return (runs.is_dir() and (there or any(map(shards.is_named, runs.iterdir())))) or (
        there and (folder / "curves").is_dir()
    )


def write_tables(
    folder: Path,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    audit: pd.DataFrame,
    timings: pd.DataFrame,
) -> None:
    """Write whole tables, one shard each."""
    whole_tables = {"curves": curves, "runs": runs, "audit": audit, "timings": timings}
    for name, table in whole_tables.items():
        if len(table):
            whole = pa.Table.from_pandas(table, preserve_index=False)
            types = [(f.name, _TABLES[name].get(f.name, f.type)) for f in whole.schema]
            shards.write(folder / name, whole.cast(pa.schema(types)), session=1)


def _read(folder: Path, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    found = shards.read(folder / name, columns)
    return _together(name, found, columns)


def _together(
    name: str, found: Sequence[shards.Shard], columns: list[str] | None = None
) -> pd.DataFrame:
    """The rows of some shards; of curves, each run's from the latest shard that has it.

    A run that is trained again may end in another epoch than before.
    """
    table = _whole(name, [shard.table for shard in found], columns).to_pandas()
    if name != "curves" or len(found) < 2:
        return table
    origin = np.repeat(np.arange(len(found)), [len(shard.table) for shard in found])
    latest = pd.Series(origin).groupby(table["run_id"].to_numpy()).transform("max")
    return table[origin == latest.to_numpy()].reset_index(drop=True)


def _whole(name: str, tables: Sequence[pa.Table], columns: list[str] | None = None) -> pa.Table:
    empty = pa.schema(list(_TABLES[name].items())).empty_table()
    tables = [*tables, empty.select(columns) if columns else empty]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        # An axis of numbers in one shard and of words in another: words then, in all of them.
        return pa.concat_tables(map(_free_columns_as_text, tables), promote_options="permissive")


def _free_columns_as_text(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if field.name not in (*_RUNS, *_CURVES, *_TIMINGS) and not pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table


def _runs(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: a trained one before a failed one before a skipped one, the latest of each."""
    rank = table["status"].map(STATUS_RANK).fillna(len(STATUS_RANK)).to_numpy()
    if table["run_id"].duplicated().any():
        latest_first = np.arange(len(table))[::-1]
        order = np.lexsort((latest_first, rank))
        table = table.iloc[order].drop_duplicates("run_id")
    return table.sort_values(_order(table.columns), ignore_index=True)


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run and epoch, the latest.

    A writer that is killed between a cohort's curves and its runs leaves curves behind; the
    same numbers come again when those runs are trained in other company.
    """
    table = table.drop_duplicates(["run_id", "epoch"], keep="last")
    return table.sort_values(["run_id", "epoch"], ignore_index=True)


def _timings(table: pd.DataFrame) -> pd.DataFrame:
    """Each repetition once."""
    return table.drop_duplicates(_TIMED, ignore_index=True)


def _without_curves(runs: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    trained = runs.loc[runs["status"].isin(TRAINED), "run_id"]
    return sorted(set(trained) - set(curves["run_id"].unique()))


def _order(columns: Iterable[str]) -> list[str]:
    """The columns that name a configuration, then the seed, then the id."""
    results = list(_RUNS)[list(_RUNS).index("status") :]
    named = [name for name in columns if name not in (*results, "run_id", "seed")]
    return [*named, "epochs", "seed", "run_id"]


def read_environments(folder: Path) -> dict[str, dict[str, Any]]:
    """The environments that runs of a folder were trained in, by id.

    Raises
    ------
    RequestError
        If the file cannot be read, or was changed.
    """
    path = folder / "environment.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None
    if not isinstance(found, dict):
        raise RequestError("expected a JSON object of environments", source=str(path))
    for name, description in found.items():
        if description == {}:
            continue  # lost, and repaired
        whole = isinstance(description, dict) and isinstance(description.get("packages"), dict)
        if not whole or environment.identify(description) != name:
            message = f"the environment '{name}' was changed since it was written"
            raise RequestError(message, source=str(path))
    return found
