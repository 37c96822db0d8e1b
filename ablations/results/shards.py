"""Parquet shards on disk: written whole, named by their content, checked when they are read.

A shard's name is ``<session>-<hash of its bytes>.parquet``.  The session is the number of the
command that wrote it, so that names sort in the order of writing; the hash tells a changed byte
anywhere in the file.  Nothing is ever changed in place: a shard is written beside its place,
synced and renamed, and a reader sees whole files only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablations.core.errors import RequestError
from ablations.core.files import WRITING, digest, write_bytes

SCHEMA = 2
"""Version of the tables' layout, written into every shard."""


_VERSION, _TABLE = b"ablations.schema", b"ablations.table"


_NAME = re.compile(r"(?P<session>\d{6,})-(?P<digest>[0-9a-f]{32})\.parquet")


_ATTEMPTS = 100


def is_named(path: Path) -> bool:
    """Whether a file has the name of a shard."""
    return _NAME.fullmatch(path.name) is not None


class BrokenShardError(Exception):
    """Why a file is no shard of its folder."""


@dataclass(frozen=True)
class Shard:
    """A shard that was read."""

    session: int
    table: pa.Table


def table(rows: Sequence[Mapping[str, Any]], known: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table with the known columns first; types of other columns follow their values."""
    others = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = {
        name: pa.array([row.get(name) for row in rows], type=known.get(name))
        for name in (*known, *others)
    }
    return pa.table(columns)


def write(folder: Path, content: pa.Table, session: int) -> Path:
    """Add a shard to the folder of a table; the same content twice is one file."""
    described = {_VERSION: str(SCHEMA), _TABLE: folder.name}
    sink = pa.BufferOutputStream()
    pq.write_table(content.replace_schema_metadata(described), sink, compression="zstd")
    written = sink.getvalue().to_pybytes()
    path = folder / f"{session:06d}-{digest(written)}.parquet"
    write_bytes(path, written)
    return path


def paths(folder: Path) -> list[Path]:
    """The files of a table, in the order of writing.

    Raises
    ------
    RequestError
        If it is there and cannot be listed; a folder that is not there holds none.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".parquet")
    except FileNotFoundError:
        if folder.is_symlink():
            raise RequestError("is a link to nothing", source=str(folder)) from None
        return []
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=str(folder)) from None


def read(folder: Path, columns: Sequence[str] | None = None) -> list[Shard]:
    """All shards of a table, in the order of writing.

    Raises
    ------
    RequestError
        If any file is broken or is no shard of this table, naming the first and how to go on.
    """
    found, broken = scan(folder, columns)
    _refuse(folder, broken)
    return found


def scan(
    folder: Path, columns: Sequence[str] | None = None
) -> tuple[list[Shard], list[tuple[Path, str]]]:
    """The shards of a table, and the files that are none, with the reason."""
    for _ in range(_ATTEMPTS):
        try:
            return scan_files(paths(folder), columns)
        except FileNotFoundError:
            continue  # compacted in between: its rows stand in another file by now
    raise RequestError("its files vanish while they are read", source=str(folder))


def scan_files(
    files: Sequence[Path], columns: Sequence[str] | None = None
) -> tuple[list[Shard], list[tuple[Path, str]]]:
    """Those of some files that are shards, and those that are none, with the reason."""
    found: list[Shard] = []
    broken: list[tuple[Path, str]] = []
    for path in files:
        try:
            found.append(_shard(path, columns))
        except BrokenShardError as error:
            broken.append((path, str(error)))
    return found, broken


def verify(folder: Path) -> None:
    """Check that every file of a table is as it was written, without reading what it says.

    Raises
    ------
    RequestError
        As ``read`` does.
    """
    broken: list[tuple[Path, str]] = []
    for path in paths(folder):
        try:
            _content(path)
        except BrokenShardError as error:
            broken.append((path, str(error)))
        except FileNotFoundError:
            continue  # compacted in between
    _refuse(folder, broken)


def _refuse(folder: Path, broken: Sequence[tuple[Path, str]]) -> None:
    if not broken:
        return
    path, reason = broken[0]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    advice = f"'ablations repair {folder.parent}' sets what cannot be read aside"
    raise RequestError(f"{reason}{more}; {advice}", source=str(path))


def _content(path: Path) -> bytes:
    """The bytes of a file whose name says them."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise BrokenShardError("is a link to nothing") from None
        raise
    except OSError as error:
        raise BrokenShardError(f"cannot be read: {error.strerror}") from None
    named = _NAME.fullmatch(path.name)
    if named is None or named["digest"] != digest(content):
        raise BrokenShardError(_why_foreign(content, named is not None))
    return content


def _shard(path: Path, columns: Sequence[str] | None) -> Shard:
    content = _content(path)
    try:
        table = pq.read_table(
            pa.BufferReader(content), columns=None if columns is None else list(columns)
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BrokenShardError(f"not a readable Parquet file: {error}") from None
    described = table.schema.metadata or {}
    if described.get(_VERSION) != str(SCHEMA).encode():
        raise BrokenShardError(_wrong_version(described.get(_VERSION)))
    if described.get(_TABLE) != path.parent.name.encode():
        said = described.get(_TABLE, b"").decode(errors="replace")
        raise BrokenShardError(f"expected rows of '{path.parent.name}', found those of '{said}'")
    if "run_id" not in table.column_names and columns is None:
        raise BrokenShardError("has no column run_id")
    return Shard(int(path.name.partition("-")[0]), table)


def _wrong_version(version: bytes | None) -> str:
    found = "no version" if version is None else f"version {version.decode(errors='replace')}"
    return f"expected a table of schema version {SCHEMA}, found {found}"


def _why_foreign(content: bytes, named: bool) -> str:
    """Why a file whose name does not say its content is there, as far as it can be told."""
    if named:
        return "was changed since it was written: its content is not what its name says"
    try:
        described = pq.read_schema(pa.BufferReader(content)).metadata or {}
    except (pa.ArrowException, OSError, ValueError):
        return "not a readable Parquet file"
    if described.get(_VERSION) != str(SCHEMA).encode():
        return _wrong_version(described.get(_VERSION))
    return "its name does not say its content, so it is no shard of this folder"


def next_session(folders: Sequence[Path]) -> int:
    """A number greater than that of any shard there."""
    names = (_NAME.fullmatch(path.name) for folder in folders for path in paths(folder))
    return 1 + max((int(name["session"]) for name in names if name), default=0)


def leftovers(folder: Path) -> Iterator[Path]:
    """What a writer that was killed left behind."""
    yield from folder.glob(f"{WRITING}*")


Rewrite = Callable[[Sequence[Shard]], pa.Table]


def compact(folder: Path, session: int, most: int, rewrite: Rewrite) -> None:
    """Write all shards of a table as one, where there are more than ``most``.

    The new one is there before any old one goes, so that at any moment every row is there, some
    of them twice.

    Parameters
    ----------
    rewrite
        From the shards to the table that holds the same rows, each once.
    """
    before = paths(folder)
    if len(before) <= most:
        return
    found, broken = scan_files(before)
    if broken:
        return  # nothing is thrown away that a person may want to look at
    written = write(folder, rewrite(found), session)
    for path in before:
        if path != written:
            path.unlink(missing_ok=True)
