"""Rows of a results folder: from shards to tables, and from many shards to few."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ablations.core.errors import RequestError
from ablations.core.schema import STATUS_RANK, TRAINED
from ablations.results import shards
from ablations.results.curves import Curves, curves_table
from ablations.results.manifest import record_shards, require_session
from ablations.results.schema import (
    AUDIT,
    CURVES,
    RUNS,
    TABLES,
    TIMINGS,
    TableSpec,
    is_result,
)
from ablations.results.shards import Shard

MOST_SHARDS = 8  # of a table, beyond which a command that ends compacts them
_ATTEMPTS = 100

Rows = Sequence[Mapping[str, Any]]


# -------------------------------------------------------------- reading


def load_table(folder: Path, spec: TableSpec) -> pd.DataFrame:
    """Read timings or audit of a results folder: each row once, in the order of the table."""
    table = _concatenate(spec, shards.read(folder / spec.name)).to_pandas()
    return _unique_rows(spec, table).reset_index(drop=True)


@dataclass(frozen=True)
class Parcels:
    """Runs with their curves.

    Attributes
    ----------
    runs, curves
        One row per run, and the curve of that training.
    incomplete
        The shards of runs whose curves are missing.
    has_links
        Whether any shard is of a version that keeps a manifest.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    incomplete: tuple[Shard, ...]
    has_links: bool


def load_parcels(folder: Path) -> Parcels:
    """Read runs and curves of a results folder."""
    for _ in range(_ATTEMPTS):
        runs = shards.read(folder / RUNS.name)
        curves = shards.read(folder / CURVES.name)
        complete = _complete(runs, {shard.name for shard in curves})
        complete_names = {shard.name for shard in complete}
        incomplete = tuple(shard for shard in runs if shard.name not in complete_names)
        names = {path.name for path in shards.paths(folder / RUNS.name)}
        if names.issuperset(shard.name for shard in incomplete):  # else they were compacted
            has_links = any(shard.is_linked for shard in runs)
            return Parcels(*_join_parcels(complete, curves), incomplete, has_links)
    raise RequestError("its files vanish while they are read", source=str(folder))


def _complete(runs: Sequence[Shard], curves: Collection[str]) -> list[Shard]:
    """Return the shards of runs that have no curves, or whose curves are among ``curves``."""
    return [shard for shard in runs if not shard.curves or shard.curves in curves]


def _join_parcels(
    runs: Sequence[Shard], curves: Sequence[Shard]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per run, and of the curves those of the shard that this row belongs to."""
    table = _concatenate(RUNS, runs).to_pandas()
    origin = np.repeat(np.arange(len(runs)), [len(shard.table) for shard in runs])
    rows = _unique_rows(RUNS, table)
    row_origin = origin[rows.index]
    rows = rows.reset_index(drop=True)
    ids: dict[str | None, list[str]] = {}
    for i, shard in enumerate(runs):
        ids.setdefault(shard.curves, []).extend(rows["run_id"].to_numpy()[row_origin == i])
    unlinked = [shard for shard in curves if not shard.is_linked]
    selected = [_rows_of(table, ids.get(None, [])) for table in _latest_curves(unlinked)]
    selected += [_rows_of(shard.table, ids.get(shard.name, [])) for shard in curves]
    tables = [table for table in selected if len(table)]
    curve_rows = _unite(CURVES, tables).to_pandas()
    return rows, _unique_rows(CURVES, curve_rows).reset_index(drop=True)


def _rows_of(table: pa.Table, run_ids: Sequence[str]) -> pa.Table:
    if not run_ids:
        return table.slice(0, 0)
    return table.filter(pc.is_in(table["run_id"], pa.array(run_ids, table["run_id"].type)))


def _latest_curves(parts: Sequence[Shard]) -> list[pa.Table]:
    """Return the rows of unlinked curves that stand in the latest shard of their run.

    A run that is trained again may end at another epoch than before.
    """
    tables, later = list[pa.Table](), set[str]()
    for shard in reversed(parts):
        run_ids = shard.table["run_id"]
        is_later = pc.is_in(run_ids, pa.array(sorted(later), run_ids.type))
        tables.append(shard.table.filter(pc.invert(is_later)))
        later.update(pc.unique(run_ids).to_pylist())
    return tables


def _concatenate(
    spec: TableSpec, parts: Sequence[Shard], columns: list[str] | None = None
) -> pa.Table:
    return _unite(spec, [shard.table for shard in parts], columns)


def _unite(
    spec: TableSpec, tables: Sequence[pa.Table], columns: list[str] | None = None
) -> pa.Table:
    empty = pa.schema(dict(spec.columns)).empty_table()
    tables = [*tables, empty.select(columns) if columns else empty]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        # An axis of numbers in one shard and of words in another becomes words in all of them.
        return pa.concat_tables(map(_axes_as_text, tables), promote_options="permissive")


def _axes_as_text(table: pa.Table) -> pa.Table:
    reserved = {name for spec in (RUNS, CURVES, TIMINGS) for name in spec.columns}
    for i, field in enumerate(table.schema):
        is_axis = field.name not in reserved and not is_result(field.name)
        if is_axis and not pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table


def _unique_rows(spec: TableSpec, table: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per key, and sort; the index says where a row was.

    Of a run, a trained row counts more than a failed one, and that more than a skipped one.
    """
    keys, order = list(spec.key), list(spec.order)
    if spec is RUNS:
        configuration = [
            name
            for name in table.columns
            if name == "study" or not (name == "epochs" or is_result(name))
        ]
        order = [*configuration, "epochs", "seed", "run_id"]
        if table["run_id"].duplicated().any():
            rank = table["status"].map(STATUS_RANK).fillna(len(STATUS_RANK)).to_numpy()
            table = table.iloc[np.lexsort((np.arange(len(table)), -rank))]
    table = table.drop_duplicates(keys, keep=spec.keep)
    return table.sort_values(order) if order else table


def incomplete_shards(folder: Path) -> list[Shard]:
    """List the shards of runs whose curves are missing."""
    parts = shards.read(folder / RUNS.name, columns=[])
    curves = {path.name for path in shards.paths(folder / CURVES.name)}
    return [shard for shard in parts if shard.curves and shard.curves not in curves]


def set_halves_aside(folder: Path) -> list[Path]:
    """Move the shards of runs whose curves are missing to ``aside``; return their new paths."""
    halves = [folder / RUNS.name / shard.name for shard in incomplete_shards(folder)]
    return [shards.quarantine(folder, path) for path in halves]


def finished(folder: Path, session: int | None = None) -> dict[str, str]:
    """The runs (that a session wrote) that need no further training: id to status."""
    runs = _read_runs(folder, ["run_id", "status"], session)
    trained = runs[runs["status"].isin(TRAINED)]
    return dict(zip(trained["run_id"], trained["status"], strict=True))


def run_ids(folder: Path) -> set[str]:
    """The ids of all runs that a folder holds."""
    return set(_read_runs(folder, ["run_id"])["run_id"])


def engines(folder: Path) -> set[str]:
    """The engines that trained the runs of a folder."""
    runs = _read_runs(folder, ["status", "engine"])
    return set(runs.loc[runs["status"].isin(TRAINED), "engine"])


def _read_runs(folder: Path, columns: list[str], session: int | None = None) -> pd.DataFrame:
    """Read some columns of all rows of runs, or of those that a session wrote."""
    parts = shards.read(folder / RUNS.name, columns)
    curves = {path.name for path in shards.paths(folder / CURVES.name)}
    selected = [s for s in _complete(parts, curves) if session in (None, s.session)]
    return _concatenate(RUNS, selected, columns).to_pandas()


# -------------------------------------------------------------- writing


def write_rows(folder: Path, spec: TableSpec, rows: Rows, session: int = 0) -> None:
    """Add one shard of rows to timings or audit."""
    require_session(folder, session)
    shards.write(folder / spec.name, _as_table(spec, rows), session)
    record_shards(folder)


def write_shard(folder: Path, runs: Rows, curves: Curves, session: int = 0) -> None:
    """Add runs with their curves: all of them, or none if this is cut off.

    The manifest gets them by ``record_shards``, which one process alone calls.
    """
    _commit(folder, _as_table(RUNS, runs), curves_table(curves), session)


def _commit(
    folder: Path, runs: pa.Table, curves: pa.Table | None, session: int
) -> tuple[Path, Path | None]:
    """Write a shard of curves, and the shard of runs that commits both."""
    curves_file = None
    if curves is not None and len(curves):
        curves_file = shards.write(folder / CURVES.name, curves, session)
    require_session(folder, session)
    name = curves_file.name if curves_file else ""
    return shards.write(folder / RUNS.name, runs, session, name), curves_file


def _as_table(spec: TableSpec, rows: Rows) -> pa.Table:
    """Make a table of rows; the values of columns that are not reserved decide their types."""
    names = dict.fromkeys([*spec.columns, *(name for row in rows for name in row)])
    return pa.table({n: pa.array([row.get(n) for row in rows], spec.columns.get(n)) for n in names})


def write_tables(folder: Path, **tables: pd.DataFrame) -> None:
    """Write complete tables, one shard each."""
    content = dict[str, pa.Table]()
    for spec in TABLES:
        table = pa.Table.from_pandas(tables[spec.name], preserve_index=False)
        fields = [(f.name, spec.columns.get(f.name, f.type)) for f in table.schema]
        content[spec.name] = table.cast(pa.schema(fields))
    if len(content["runs"]):
        _commit(folder, content["runs"], content["curves"], session=1)
    for spec in (TIMINGS, AUDIT):
        if len(content[spec.name]):
            shards.write(folder / spec.name, content[spec.name], session=1)
    record_shards(folder)


def tidy(folder: Path, session: int) -> None:
    """Compact many shards of a table into one; safe to be killed, and to be read meanwhile.

    The new shard is written before an old one is deleted, so that every row exists at any moment,
    some of them twice.
    """
    if any(len(shards.paths(folder / spec.name)) > MOST_SHARDS for spec in (RUNS, CURVES)):
        _delete(folder, compact_parcels(folder, session), session)
    files = shards.paths(folder / TIMINGS.name)
    parts, broken = shards.scan_files(files)
    if len(files) > MOST_SHARDS and not broken:
        table = _concatenate(TIMINGS, parts)
        rows = _unique_rows(TIMINGS, table.to_pandas())
        table = pa.Table.from_pandas(rows, schema=table.schema, preserve_index=False)
        compacted_file = shards.write(folder / TIMINGS.name, table, session)
        _delete(folder, [path for path in files if path != compacted_file], session)


def compact_parcels(folder: Path, session: int, without: Collection[str] = ()) -> list[Path]:
    """Write all runs and curves as one parcel, without those of some runs.

    Returns the files that it replaces; none, and nothing is written, if one of them cannot be read:
    a person may want to look at it.
    """
    files = [shards.paths(folder / spec.name) for spec in (RUNS, CURVES)]
    (runs, broken_runs), (curves, broken_curves) = map(shards.scan_files, files)
    if broken_runs or broken_curves:
        return []
    runs = _complete(runs, {shard.name for shard in curves})
    tables = [_concatenate(RUNS, runs), _concatenate(CURVES, curves)]
    rows = [table[~table["run_id"].isin(without)] for table in _join_parcels(runs, curves)]
    content = [
        pa.Table.from_pandas(table_rows, schema=table.schema, preserve_index=False)
        for table, table_rows in zip(tables, rows, strict=True)
    ]
    parcel = _commit(folder, content[0], content[1], session) if len(rows[0]) else ()
    return [path for paths in files for path in paths if path not in parcel]


def _delete(folder: Path, files: Sequence[Path], session: int) -> None:
    """Delete shards that others replace: first from the manifest, and runs before their curves."""
    if not files:
        return
    require_session(folder, session)
    record_shards(folder, removed=files)
    for path in files:
        path.unlink(missing_ok=True)
