"""Parquet shards: written atomically, named by their content, checked when they are read.

The name of a shard is ``<session>-<digest of its bytes>.parquet``.  The session is the number of
the command that wrote it, so that names sort in the order of writing; the digest detects a changed
byte.  A shard is never changed: it is written under a temporary name, synced and renamed, so that
a reader sees complete files only.

Runs and their curves are one parcel: the shard of the runs is written last and names that of the
curves, so that it commits both.  A shard of curves that no shard of runs names is not there, and
neither is a shard of runs whose curves are missing.  In version 2 the two were independent.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ablations.core.errors import RequestError
from ablations.core.files import digest, read_file, refuse_link, write_bytes
from ablations.core.parquet import read_parquet, read_schema
from ablations.results.conform import check_values, conform, find_misfit
from ablations.results.schema import TABLES

SCHEMA = 3  # version of the tables' layout, written into every shard
_READABLE = re.compile(rb"2|3( .+)?")
NAME = re.compile(r"(?P<session>\d{6,})-(?P<digest>[0-9a-f]{32})\.parquet")
_VERSION, _TABLE = b"ablations.schema", b"ablations.table"
_ATTEMPTS = 100
_MAX_NAME = 200
"""Characters of the name of a file that is set aside."""
_SPECS = {spec.name: spec for spec in TABLES}


class BrokenShardError(Exception):
    """The reason why a file is no shard of its folder."""


@dataclass(frozen=True)
class Shard:
    """The content of a shard, and where it comes from.

    Attributes
    ----------
    name, session
        Of the file, and of the command that wrote it.
    table
        The rows.
    curves
        The name of the shard of curves that a shard of runs commits, "" if its runs have none; None
        in version 2, where neither table knows of the other.
    """

    name: str
    session: int
    table: pa.Table
    curves: str | None = ""

    @property
    def is_linked(self) -> bool:
        """Whether a shard of runs names its shard of curves, and the other way round."""
        return self.curves is not None


Scan = tuple[list[Shard], list[tuple[Path, str]]]
"""Shards, and the files that are none with the reason."""


def write(folder: Path, content: pa.Table, session: int, curves: str = "") -> Path:
    """Add a shard to the folder of a table; the same content twice is one file.

    ``curves`` is the name of the shard of curves that a shard of runs commits.
    """
    refuse_link(folder)
    metadata = {_VERSION: f"{SCHEMA} {curves}".strip(), _TABLE: folder.name}
    sink = pa.BufferOutputStream()
    pq.write_table(content.replace_schema_metadata(metadata), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    path = folder / f"{session:06d}-{digest(data)}.parquet"
    write_bytes(path, data)
    return path


def paths(folder: Path) -> list[Path]:
    """List the files of a table in the order of writing; none if the folder does not exist."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".parquet")
    except FileNotFoundError:
        if folder.is_symlink():
            raise RequestError("is a link to nothing", source=str(folder)) from None
        return []
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=str(folder)) from None


def read(folder: Path, columns: list[str] | None = None) -> list[Shard]:
    """Read all shards of a table, in the order of writing; refuse a folder with other files."""
    shards, broken = scan(folder, columns)
    if broken:
        path, reason = broken[0]
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        advice = f"'ablations repair {folder.parent}' sets what cannot be read aside"
        raise RequestError(f"{reason}{more}; {advice}", source=str(path))
    return shards


def scan(folder: Path, columns: list[str] | None = None) -> Scan:
    """Read all files of a table."""
    for _ in range(_ATTEMPTS):
        try:
            return scan_files(paths(folder), columns)
        except FileNotFoundError:
            continue  # compacted in between: its rows are in another file now
    raise RequestError("its files vanish while they are read", source=str(folder))


def scan_files(files: Sequence[Path], columns: list[str] | None = None) -> Scan:
    """Read some files of a table."""
    shards: list[Shard] = []
    broken: list[tuple[Path, str]] = []
    for path in files:
        try:
            shards.append(_read_shard(path, columns))
        except BrokenShardError as error:
            broken.append((path, str(error)))
    return shards, broken


def _read_shard(path: Path, columns: list[str] | None) -> Shard:
    try:
        content = read_file(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise BrokenShardError("is a link to nothing") from None
        raise
    except OSError as error:
        raise BrokenShardError(f"cannot be read: {error.strerror}") from None
    name = NAME.fullmatch(path.name)
    if name and name["digest"] != digest(content):
        message = "was changed since it was written: its content is not what its name says"
        raise BrokenShardError(message)
    try:
        schema = read_schema(content)
        _check_origin(schema, path)
        if not name:
            message = "its name does not say its content, so it is no shard of this folder"
            raise BrokenShardError(message)
        _check_columns(schema, path)
        present = columns and [name for name in columns if name in schema.names]
        table = read_parquet(content, present)
        curves = _committed_curves(schema)
        return Shard(path.name, int(name["session"]), _conform(table, path), curves)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BrokenShardError(f"not a readable Parquet file: {reason}") from None


def _check_origin(schema: pa.Schema, path: Path) -> None:
    """Refuse a file of another version or table."""
    metadata = schema.metadata or {}
    version = metadata.get(_VERSION)
    if not _READABLE.fullmatch(version or b""):
        text = "no version" if version is None else f"version {version.decode(errors='replace')}"
        raise BrokenShardError(f"expected a table of schema version {SCHEMA}, found {text}")
    if metadata.get(_TABLE) != path.parent.name.encode():
        table_name = metadata.get(_TABLE, b"").decode(errors="replace")
        message = f"expected rows of '{path.parent.name}', found those of '{table_name}'"
        raise BrokenShardError(message)


def _committed_curves(schema: pa.Schema) -> str | None:
    """Return the name of the shard of curves that a shard of runs commits, behind its version."""
    version, _, curves = schema.metadata[_VERSION].decode(errors="replace").partition(" ")
    return None if version == "2" else curves


def _check_columns(schema: pa.Schema, path: Path) -> None:
    """Refuse a file with columns that its table cannot have."""
    spec = _SPECS.get(path.parent.name)
    if spec and (misfit := find_misfit(schema, spec)):
        raise BrokenShardError(misfit)


def _conform(table: pa.Table, path: Path) -> pa.Table:
    """Return the rows with the types of the table; what else the file says of them is dropped."""
    spec = _SPECS.get(path.parent.name)
    if spec is None:
        return table
    table = conform(table, spec)
    if misfit := check_values(table, spec):
        raise BrokenShardError(misfit)
    return table


def last_session(folders: Sequence[Path]) -> int:
    """Return the largest number of a session that has a shard in ``folders``; 0 without shards."""
    names = (NAME.fullmatch(path.name) for folder in folders for path in paths(folder))
    return max((int(name["session"]) for name in names if name), default=0)


def quarantine(folder: Path, path: Path) -> Path:
    """Move a file of a results folder to its folder ``aside``, and return its new path."""
    aside = _first(folder / "aside", lambda place: place.is_symlink() or place.is_file())
    aside.mkdir(exist_ok=True)
    name = path.name if path.parent == folder else f"{path.parent.name}-{path.name}"
    target = _first(aside / name[-_MAX_NAME:], lambda file: file.is_symlink() or file.exists())
    path.replace(target)
    return target


def _first(path: Path, is_taken: Callable[[Path], bool]) -> Path:
    """Return the first of ``path``, ``path.1``, ``path.2`` that is free."""
    others = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(each for each in itertools.chain([path], others) if not is_taken(each))
