"""Results folders: Parquet shards in, DataFrames out.

A results folder holds ``study.toml``, ``metadata.json``, ``engine.json``, ``inputs.json``,
``environment.json`` and the tables of ``schema`` as folders of Parquet shards (``shards``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from ablations.core.errors import RequestError
from ablations.core.files import WRITING, digest, read_parsed, write_text
from ablations.core.schema import STATUS_RANK, TRAINED
from ablations.results import shards
from ablations.results.curves import Curves, curves_table
from ablations.results.environment import ENVIRONMENT_FILE, read_environments, write_environments
from ablations.results.looks import Look, add_look, is_counted, load_looks
from ablations.results.metadata import METADATA_FILE, StudyMetadata, load_metadata, save_metadata
from ablations.results.schema import AUDIT, CURVES, RUNS, TABLES, TIMINGS, TableSpec, is_result
from ablations.results.settings import ENGINE_FILE
from ablations.results.shards import Shard

STUDY_FILE = "study.toml"
STOP = ".stop-"  # prefix of the name of a file that tells workers to start no further run
MOST_SHARDS = 8  # of a table, beyond which a command that ends compacts them

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class StoredResults:
    """The content of a results folder.

    Attributes
    ----------
    runs, curves
        One row per run, ordered by axes and seed; one per run and epoch, ordered by these.
    timings, audit
        One row per timed repetition (``training.step_timer.Repetition`` describes the columns);
        one per run that the plain loop trained again to judge a faster engine
        (``training.audit.AuditRecord``).
    environment
        Environment id to its description.
    study_toml
        The resolved study, runnable as it is.
    metadata
        What analysis and report must know of the study; None in a folder of an earlier version.
    looks
        The looks at which verdicts were shown, in their order.
    """

    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    audit: pd.DataFrame
    environment: dict[str, dict[str, object]]
    study_toml: str
    metadata: StudyMetadata | None = None
    looks: tuple[Look, ...] = ()

    def __repr__(self) -> str:
        counts = [f"{n:,} {status}" for status, n in self.runs["status"].value_counts().items()]
        return f"<Results of {len(self.runs):,} runs ({', '.join(counts)}) in {self.folder}>"

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # no caches

    def only(self, run_ids: Collection[str]) -> Self:
        """Return the same folder with the rows of some runs only."""
        tables = {
            spec.name: table[table["run_id"].isin(run_ids)].reset_index(drop=True)
            for spec, table in ((RUNS, self.runs), (CURVES, self.curves), (AUDIT, self.audit))
        }
        return replace(self, **tables)

    def of_study(self) -> Self:
        """Return the rows of the runs that the folder's study includes.

        A folder keeps what earlier commands trained, with more seeds or other levels; a table of
        this study must not mix them in.
        """
        others = set(self.require_metadata().other_runs)
        return self.only(set(self.runs["run_id"]) - others) if others else self

    def record_look(self, look: Look | None) -> str:
        """Record that verdicts are shown; return the reason why that cannot be done, or "".

        A look that can decide nothing, and that at a number of seeds that was looked at before, is
        not recorded.
        """
        if look is None or look in self.looks or not is_counted(look):
            return ""
        if not is_results(self.folder):
            return ""
        try:
            add_look(self.folder, look)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def require_metadata(self) -> StudyMetadata:
        """Return the metadata of the study; refuse a folder that an earlier version wrote."""
        if self.metadata is None:
            raise RequestError(
                f"has no {METADATA_FILE}, because an earlier version wrote the folder; to make it "
                f"from {STUDY_FILE} can run code that {STUDY_FILE} names, and needs your word: "
                "--trust, or ablations.load(folder, trust=True)",
                source=str(self.folder),
            )
        return self.metadata


def load(folder: Path | str) -> StoredResults:
    """Read a results folder; refuse one that is damaged."""
    folder = Path(folder)
    study_toml = read_study(folder)
    # The runs first: a writer adds the curves of a run before the run.
    tables = {spec.name: load_table(folder, spec) for spec in TABLES}
    runs, environments = tables["runs"], read_environments(folder)
    lost = undescribed_environments(environments, runs, tables["timings"])
    if lost:
        message = f"does not describe the environment '{min(lost)}', which rows name"
        raise RequestError(message, source=str(folder / ENVIRONMENT_FILE))
    without = runs_without_curves(runs, tables["curves"])
    if without:
        message = f"the curves of {len(without):,} runs are missing, the first {without[0]}"
        advice = f"'ablations repair {folder}' has them trained again"
        raise RequestError(f"{message}; {advice}", source=str(folder / CURVES.name))
    metadata = load_metadata(folder)
    for axis in metadata.axes if metadata and len(runs) else ():
        if axis not in runs:
            message = f"the runs have no column of the axis '{axis}'"
            raise RequestError(message, "axes", str(folder / METADATA_FILE))
    if metadata and metadata.tasks:  # runs of a study of one task have its title there
        tasks = runs["task"].map(metadata.merge_titles())
        tables["runs"] = runs.assign(task=tasks.fillna(runs["task"]).astype(runs["task"].dtype))
    return StoredResults(
        folder,
        **tables,
        environment=environments,
        study_toml=study_toml,
        metadata=metadata,
        looks=load_looks(folder),
    )


def read_study(folder: Path) -> str:
    """Read ``study.toml`` without its first line, the seal; refuse one that was changed."""
    path = folder / STUDY_FILE
    try:
        exists = path.is_file()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=str(folder)) from None
    if not exists:
        reason = f"it holds no {STUDY_FILE}"
        if is_results(folder):
            reason = f"its {STUDY_FILE} is missing; the command that made it writes it again"
        raise RequestError(f"not a results folder: {reason}", source=str(folder))
    text: str = read_parsed(path, str)
    _, _, study_toml = text.partition("\n")
    if text != _seal_study(study_toml):
        message = "was changed since it was written; 'ablations run' makes the folder fit it"
        raise RequestError(message, source=str(path))
    return study_toml


def _seal_study(study_toml: str) -> str:
    return f"# checked by {digest(study_toml.encode())}\n{study_toml}"


def is_results(folder: Path) -> bool:
    """Whether a folder holds results, or did before something was set aside."""
    if (folder / STUDY_FILE).is_file():
        return True
    runs = folder / RUNS.name
    if any((folder / name).is_file() for name in (ENVIRONMENT_FILE, ENGINE_FILE)):
        return runs.is_dir() or (folder / CURVES.name).is_dir()
    return runs.is_dir() and any(shards.NAME.fullmatch(path.name) for path in runs.iterdir())


def load_table(folder: Path, spec: TableSpec) -> pd.DataFrame:
    """Read a table of a results folder: each row once, in the order of the table."""
    return _unique_rows(spec, _combine(spec, shards.read(folder / spec.name)))


def _combine(spec: TableSpec, parts: Sequence[Shard]) -> pd.DataFrame:
    """Concatenate the rows of shards; of curves, those of the latest shard of each run.

    A run that is trained again may end at another epoch than before.
    """
    table = _concatenate(spec, parts).to_pandas()
    if spec is not CURVES or len(parts) < 2:
        return table
    origin = np.repeat(np.arange(len(parts)), [len(shard.table) for shard in parts])
    latest = pd.Series(origin).groupby(table["run_id"].to_numpy()).transform("max")
    return table[origin == latest.to_numpy()].reset_index(drop=True)


def _concatenate(
    spec: TableSpec, parts: Sequence[Shard], columns: list[str] | None = None
) -> pa.Table:
    empty = pa.schema(dict(spec.columns)).empty_table()
    tables = [*(shard.table for shard in parts), empty.select(columns) if columns else empty]
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
    """Keep one row per key, and sort.

    Of a run, a trained row counts more than a failed one, and that more than a skipped one.  A
    writer that is killed between the curves and the runs of a cohort leaves curves behind; the
    same numbers come again when those runs are trained in other company.
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
    table = table.drop_duplicates(keys, keep=spec.keep, ignore_index=True)
    return table.sort_values(order, ignore_index=True) if order else table


def runs_without_curves(runs: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    """List the ids of trained runs that have no curve."""
    trained = runs.loc[runs["status"].isin(TRAINED), "run_id"]
    return sorted(set(trained) - set(curves["run_id"].unique()))


def undescribed_environments(
    environments: Mapping[str, object], runs: pd.DataFrame, timings: pd.DataFrame
) -> set[str]:
    """The ids of environments that rows name and ``environments`` lacks."""
    ids = set(runs["environment_id"].dropna()) | set(timings["environment_id"])
    return ids - set(environments)


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
    selected = [shard for shard in parts if session in (None, shard.session)]
    return _concatenate(RUNS, selected, columns).to_pandas()


def verify(folder: Path) -> None:
    """Refuse a folder with a shard that is not as it was written."""
    for spec in TABLES:
        shards.read(folder / spec.name, columns=[])


def start(
    folder: Path,
    study_toml: str,
    environments: Mapping[str, Mapping[str, Any]],
    metadata: StudyMetadata | None = None,
) -> int:
    """Create or continue a results folder, and write what describes the study and the machines.

    ``environments`` (descriptions by id) are added to those of the folder, and metadata of None
    keep its own.  Returns the number of this session, which its shards carry.
    """
    tables = [folder / spec.name for spec in TABLES]
    for table in tables:
        table.mkdir(parents=True, exist_ok=True)
    leftovers = [path for place in (folder, *tables) for path in place.glob(f"{WRITING}*")]
    for path in (*leftovers, *folder.glob(f"{STOP}*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    write_environments(folder, read_environments(folder) | dict(environments))
    if metadata is not None:
        save_metadata(folder, metadata)
    write_text(folder / STUDY_FILE, _seal_study(study_toml))
    return shards.next_session(tables)


def write_rows(folder: Path, spec: TableSpec, rows: Rows, session: int = 0) -> None:
    """Add one shard of rows to a table; the values of columns not reserved decide their types."""
    names = dict.fromkeys([*spec.columns, *(name for row in rows for name in row)])
    arrays = {n: pa.array([row.get(n) for row in rows], spec.columns.get(n)) for n in names}
    shards.write(folder / spec.name, pa.table(arrays), session)


def write_shard(folder: Path, runs: Rows, curves: Curves, session: int = 0) -> None:
    """Add one shard of runs with their curves; the curves first, so that no run lacks its own."""
    if table := curves_table(curves):
        shards.write(folder / CURVES.name, table, session)
    write_rows(folder, RUNS, runs, session)


def write_tables(folder: Path, **tables: pd.DataFrame) -> None:
    """Write complete tables, one shard each."""
    for spec in TABLES:
        if len(tables[spec.name]):
            table = pa.Table.from_pandas(tables[spec.name], preserve_index=False)
            fields = [(f.name, spec.columns.get(f.name, f.type)) for f in table.schema]
            shards.write(folder / spec.name, table.cast(pa.schema(fields)), session=1)


def tidy(folder: Path, session: int) -> None:
    """Compact many shards of a table into one; safe to be killed, and to be read meanwhile.

    The new shard is written before an old one is deleted, so that every row exists at any moment,
    some of them twice.
    """
    for spec in (CURVES, RUNS, TIMINGS):
        files = shards.paths(folder / spec.name)
        if len(files) <= MOST_SHARDS:
            continue
        parts, broken = shards.scan_files(files)
        if broken:
            continue  # nothing is deleted that a person may want to look at
        schema = _concatenate(spec, parts).schema
        rows = _unique_rows(spec, _combine(spec, parts))
        table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
        compacted_file = shards.write(folder / spec.name, table, session)
        for path in files:
            if path != compacted_file:
                path.unlink(missing_ok=True)
