"""Results folders: Parquet shards in, DataFrames out.

A results folder holds ``study.toml``, ``metadata.json``, ``manifest.json``, ``engine.json``,
``inputs.json``, ``environment.json`` and the tables of ``schema`` as folders of Parquet shards
(``tables``, ``shards``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ablations.core.errors import RequestError
from ablations.core.files import WRITING, digest, read_parsed, write_text
from ablations.core.memory import ANALYSIS_BYTES, require_memory
from ablations.core.schema import TRAINED
from ablations.results import shards
from ablations.results.environment import ENVIRONMENT_FILE, read_environments, write_environments
from ablations.results.looks import Look, add_look, is_counted, load_looks
from ablations.results.manifest import (
    MANIFEST_FILE,
    begin_session,
    load_manifest,
    missing_shards,
    record_shards,
    require_session,
    reset_manifest,
)
from ablations.results.metadata import METADATA_FILE, StudyMetadata, load_metadata, save_metadata
from ablations.results.schema import AUDIT, CURVES, RUNS, TABLES, TIMINGS
from ablations.results.settings import ENGINE_FILE
from ablations.results.shards import Shard
from ablations.results.tables import (
    Parcels,
    engines,
    finished,
    incomplete_shards,
    load_parcels,
    load_table,
    run_ids,
    set_halves_aside,
    tidy,
    write_rows,
    write_shard,
    write_tables,
)

STUDY_FILE = "study.toml"
STOP = ".stop-"  # prefix of the name of a file that tells workers to start no further run

__all__ = [
    "StoredResults",
    "describe_losses",
    "engines",
    "finished",
    "is_results",
    "load",
    "load_table",
    "lost_shards",
    "read_study",
    "record_shards",
    "require_session",
    "run_ids",
    "start",
    "tidy",
    "verify",
    "write_rows",
    "write_shard",
    "write_tables",
]


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

    def only(self, ids: Collection[str]) -> Self:
        """Return the same folder with the rows of some runs only."""
        tables = {
            spec.name: table[table["run_id"].isin(ids)].reset_index(drop=True)
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

    def describe_missing(self) -> str:
        """Say how many runs of the study have no row; nothing if all have one."""
        n_missing = count_missing(self.runs, self.metadata) if self.metadata else 0
        if not n_missing or not self.metadata:
            return ""
        missing = f"{n_missing:,} of the {self.metadata.planned:,} runs of the study are missing"
        return f"{missing}: the command that made the folder trains them."

    def with_missing(self) -> Self:
        """Return the same with the sentence on missing runs as its first caution."""
        sentence = self.describe_missing()
        if not sentence or not self.metadata:
            return self
        cautions = (sentence, *self.metadata.cautions)
        return replace(self, metadata=replace(self.metadata, cautions=cautions))

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
    require_memory(ANALYSIS_BYTES)
    study_toml = read_study(folder)
    parcels = load_parcels(folder)
    runs, curves = parcels.runs, parcels.curves
    timings, audit = (load_table(folder, spec) for spec in (TIMINGS, AUDIT))
    environments, metadata = read_environments(folder), load_metadata(folder)
    _refuse_losses(folder, parcels, metadata)
    lost = undescribed_environments(environments, runs, timings)
    if lost:
        message = f"does not describe the environment '{min(lost)}', which rows name"
        raise RequestError(message, source=str(folder / ENVIRONMENT_FILE))
    without = runs_without_curves(runs, curves)
    if without:
        message = f"the curves of {len(without):,} runs are missing, the first {without[0]}"
        advice = f"'ablations repair {folder}' has them trained again"
        raise RequestError(f"{message}; {advice}", source=str(folder / CURVES.name))
    for axis in metadata.axes if metadata and len(runs) else ():
        if axis not in runs:
            message = f"the runs have no column of the axis '{axis}'"
            raise RequestError(message, "axes", str(folder / METADATA_FILE))
    if metadata and metadata.tasks:  # runs of a study of one task have its title there
        tasks = runs["task"].map(metadata.merge_titles())
        runs = runs.assign(task=tasks.fillna(runs["task"]).astype(runs["task"].dtype))
    return StoredResults(
        folder,
        runs=runs,
        curves=curves,
        timings=timings,
        audit=audit,
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
    read_parsed(path, tomllib.loads)
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


def runs_without_curves(runs: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    """List the ids of trained runs that have no curve."""
    trained = runs.loc[runs["status"].isin(TRAINED), "run_id"]
    return sorted(set(trained) - set(curves["run_id"].unique()))


def lost_shards(folder: Path, incomplete: Sequence[Shard] | None = None) -> list[Path]:
    """List the shards that a folder held and does not hold any more.

    These are those that its manifest names, and the curves that runs of these name.  ``incomplete``
    are the shards of runs whose curves are missing, if they were read already.
    """
    lost, expected = missing_shards(folder), load_manifest(folder) or ()
    for shard in incomplete_shards(folder) if incomplete is None else incomplete:
        if f"{RUNS.name}/{shard.name}" in expected:  # else its writer was killed
            lost.append(folder / CURVES.name / str(shard.curves))
    return lost


def describe_losses(folder: Path, lost: Sequence[Path]) -> str:
    """Name a shard that is lost, and count the others."""
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return f"{lost[0].relative_to(folder)} is missing{more}"


def _refuse_losses(folder: Path, parcels: Parcels, metadata: StudyMetadata | None) -> None:
    """Refuse a folder that lost shards, or the manifest that names them."""
    if parcels.has_links and load_manifest(folder) is None:
        message = f"is missing; 'ablations repair {folder}' makes it again from the shards"
        raise RequestError(message, source=str(folder / MANIFEST_FILE))
    if lost := lost_shards(folder, parcels.incomplete):
        message = describe_losses(folder, lost)
        if metadata and (n_missing := count_missing(parcels.runs, metadata)):
            message += f", and with it {n_missing:,} of {metadata.planned:,} runs"
        advice = f"'ablations run' trains them again, 'ablations repair {folder}' does without"
        raise RequestError(f"{message}; {advice}", source=str(folder))


def count_missing(runs: pd.DataFrame, metadata: StudyMetadata) -> int:
    """Count the runs of the study that have no row; 0 where an earlier version wrote the folder."""
    present = len(runs) - int(runs["run_id"].isin(metadata.other_runs).sum())
    return max(0, metadata.planned - present)


def undescribed_environments(
    environments: Mapping[str, object], runs: pd.DataFrame, timings: pd.DataFrame
) -> set[str]:
    """The ids of environments that rows name and ``environments`` lacks."""
    ids = set(runs["environment_id"].dropna()) | set(timings["environment_id"])
    return ids - set(environments)


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
    keep its own.  What is lost (``lost_shards``) is missed no more.  Returns the number of this
    session, which its shards carry.
    """
    tables = [folder / spec.name for spec in TABLES]
    for table in tables:
        table.mkdir(parents=True, exist_ok=True)
    leftovers = [path for place in (folder, *tables) for path in place.glob(f"{WRITING}*")]
    for path in (*leftovers, *folder.glob(f"{STOP}*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    session = begin_session(folder)
    set_halves_aside(folder)
    reset_manifest(folder)
    write_environments(folder, read_environments(folder) | dict(environments))
    if metadata is not None:
        save_metadata(folder, metadata)
    write_text(folder / STUDY_FILE, _seal_study(study_toml))
    return session
