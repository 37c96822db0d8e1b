"""Results on disk: Parquet shards in, one DataFrame out.

A results folder holds ``study.toml``, ``environment.json`` and the folders ``runs``,
``curves``, ``timings`` and ``audit`` of Parquet shards.  Every file is written beside its place,
synced and renamed, so that a reader sees whole files only.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ablations.errors import RequestError

SCHEMA = 1
"""Version of the tables' layout, written into every shard."""

_VERSION_KEY = b"ablations.schema"
_RUNS: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "study": pa.string(),
    "task": pa.string(),
    "model": pa.string(),
    "regularizer": pa.string(),
    "norm": pa.string(),
    "init": pa.string(),
    "schedule": pa.string(),
    "device": pa.string(),
    "seed": pa.int64(),
    "optimizer": pa.string(),
    "lr": pa.float64(),
    "batch_size": pa.string(),
    "dtype": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "engine": pa.string(),
    "cohort_size": pa.int64(),
    "epochs": pa.int64(),
    "parameters": pa.int64(),
    "objective": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "metric": pa.float64(),
    "metric_name": pa.string(),
    "train_seconds": pa.float64(),
    "environment_id": pa.string(),
    "traceback": pa.string(),
}
_CURVES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "epoch": pa.int64(),
    "objective": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "lr": pa.float64(),
}
COLUMNS = tuple(_RUNS)
"""Columns of every runs table, whatever the study."""
_TIMINGS: dict[str, pa.DataType] = {"run_id": pa.string()}
_AUDIT: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "engine": pa.string(),
    "cohort_size": pa.int64(),
    "epochs_compared": pa.int64(),
    "deviation": pa.float64(),
    "tolerance": pa.float64(),
    "deviation_float64": pa.float64(),
    "tolerance_float64": pa.float64(),
    "repeated": pa.bool_(),
    "drift": pa.float64(),
    "reason": pa.string(),
    "environment_id": pa.string(),
}
_TABLES = {"runs": _RUNS, "curves": _CURVES, "timings": _TIMINGS, "audit": _AUDIT}

# What a later attempt may replace: the first of two rows of one run in this order is kept.
_RANK = {"ok": 0, "diverged": 0, "failed": 1, "skipped": 2}


@dataclass(frozen=True)
class Results:
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
        One row a timed repetition.
    audit
        One row a run that the plain loop trained again to judge a faster engine
        (``training.audit.Judged`` says what its columns are).
    environment
        Environment id to its description.
    study_toml
        The resolved study, runnable as it is.
    """

    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    audit: pd.DataFrame
    environment: dict[str, dict[str, object]]
    study_toml: str

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{n:,} {status}" for status, n in self.runs["status"].value_counts().items()
        )
        return f"<Results of {len(self.runs):,} runs ({counts}) in {self.folder}>"

    def only(self, run_ids: Collection[str]) -> Results:
        """The same folder with the rows of some runs only."""
        runs = self.runs[self.runs["run_id"].isin(run_ids)].reset_index(drop=True)
        curves = self.curves[self.curves["run_id"].isin(run_ids)].reset_index(drop=True)
        audit = self.audit[self.audit["run_id"].isin(run_ids)].reset_index(drop=True)
        return replace(self, runs=runs, curves=curves, audit=audit)


def load(folder: Path | str) -> Results:
    """Read a results folder.

    Raises
    ------
    RequestError
        If ``folder`` is no results folder, or one of its files cannot be read.
    """
    folder = Path(folder)
    study = folder / "study.toml"
    if not study.is_file():
        raise RequestError("not a results folder: it holds no study.toml", source=str(folder))
    try:
        study_toml = study.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(study)) from None
    return Results(
        folder=folder,
        runs=_runs(folder),
        curves=_curves(folder),
        timings=_read(folder, "timings"),
        audit=_read(folder, "audit").drop_duplicates("run_id", ignore_index=True),
        environment=_environments(folder),
        study_toml=study_toml,
    )


def finished(folder: Path) -> dict[str, str]:
    """The runs that need no further training: id to status, ok or diverged."""
    runs = _read(folder, "runs", ["run_id", "status"])
    done = runs[runs["status"].isin(["ok", "diverged"])]
    return dict(zip(done["run_id"], done["status"], strict=True))


def start(folder: Path, study_toml: str, environment_id: str, environment: dict[str, Any]) -> None:
    """Make the results folder and write what describes the study and the machine."""
    for name in _TABLES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    known = _environments(folder) | {environment_id: environment}
    write_text(folder / "environment.json", json.dumps(known, indent=2, sort_keys=True) + "\n")
    write_text(folder / "study.toml", study_toml)


def write_shard(
    folder: Path, runs: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]
) -> None:
    """Add one shard of runs with their curves; the curves first, so that no run lacks its own."""
    name = _name_of(runs)
    if curves:
        _write(folder / "curves" / name, _table(curves, _CURVES))
    _write(folder / "runs" / name, _table(runs, _RUNS))


def write_audit(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add what an audit found, or put it in the place of what it found of the same runs before."""
    _write(folder / "audit" / _name_of(rows), _table(rows, _AUDIT))


def _name_of(rows: Sequence[Mapping[str, Any]]) -> str:
    ids = "".join(str(row["run_id"]) for row in rows)
    return f"{hashlib.blake2b(ids.encode(), digest_size=8).hexdigest()}.parquet"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all, as UTF-8."""
    write_bytes(path, content.encode())


def _table(rows: Sequence[Mapping[str, Any]], known: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table with the known columns first; types of other columns follow their values."""
    others = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = {
        name: pa.array([row.get(name) for row in rows], type=known.get(name))
        for name in (*known, *others)
    }
    return pa.table(columns).replace_schema_metadata({_VERSION_KEY: str(SCHEMA)})


def _write(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def _read(folder: Path, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    known = _TABLES[name]
    paths = sorted((folder / name).glob("*.parquet"))
    tables = [_shard(path, columns) for path in paths]
    empty = pa.schema(list(known.items())).empty_table()
    tables.append(empty.select(columns) if columns else empty)
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        # An axis of numbers in one shard and of words in another: words then, in all of them.
        whole = pa.concat_tables(map(_free_columns_as_text, tables), promote_options="permissive")
    return whole.to_pandas()


def _free_columns_as_text(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if field.name not in (*_RUNS, *_CURVES) and not pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table


def _shard(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"not a readable Parquet file: {error}", source=str(path)) from None
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version != str(SCHEMA).encode():
        found = "no version" if version is None else f"version {version.decode()}"
        message = f"expected a table of schema version {SCHEMA}, found {found}"
        raise RequestError(message, source=str(path))
    return table


def _runs(folder: Path) -> pd.DataFrame:
    """One row a run: a trained one before a failed one before a skipped one."""
    table = _read(folder, "runs")
    rank = table["status"].map(_RANK).fillna(len(_RANK))
    table = table.assign(_rank=rank).sort_values(["run_id", "_rank"], kind="stable")
    table = table.drop_duplicates("run_id").drop(columns="_rank")
    return table.sort_values(_order(table.columns), ignore_index=True)


def _curves(folder: Path) -> pd.DataFrame:
    """One row a run and epoch.

    A writer that is killed between a cohort's curves and its runs leaves curves behind; the
    same numbers come again when those runs are trained in other company.
    """
    table = _read(folder, "curves").drop_duplicates(["run_id", "epoch"])
    return table.sort_values(["run_id", "epoch"], ignore_index=True)


def _order(columns: Iterable[str]) -> list[str]:
    """The columns that name a configuration, then the seed, then the id."""
    results = list(_RUNS)[list(_RUNS).index("status") :]
    named = [name for name in columns if name not in (*results, "run_id", "seed")]
    return [*named, "epochs", "seed", "run_id"]


def _environments(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "environment.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot be read: {error}", source=str(path)) from None
    if not isinstance(found, dict):
        raise RequestError("expected a JSON object of environments", source=str(path))
    return found
