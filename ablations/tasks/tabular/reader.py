"""Files to tables: what a CSV or a Parquet file holds, and where."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ablations.core.errors import RequestError

__all__ = ["Read", "digest", "first", "read"]

Format = Literal["csv", "parquet"]
_SEPARATORS = ",;\t|"
_MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "<NA>", "?")
"""What stands in a file for a value that nobody knows."""


@dataclass(frozen=True)
class Read:
    """A table as it lies in a file; the index of ``frame`` holds the lines (CSV) or rows
    (Parquet, from 1) of its rows.
    """

    source: str
    frame: pd.DataFrame
    unit: Literal["line", "row"]

    def refuse(self, message: str) -> RequestError:
        """A complaint about this file."""
        return RequestError(message, source=self.source)

    def at(self, place: object) -> str:
        """Where a row stands: ``line 17``."""
        return f"{self.unit} {place:,}"


def digest(path: str) -> str:
    """80 bits of a hash of a file's bytes, in hexadecimal.

    Raises
    ------
    RequestError
        If it cannot be read.
    """
    return _digest(path, *_stamp(path))


def read(path: str, format_: Format) -> Read:
    """The table in a file, each column of the type that all of its values have.

    Raises
    ------
    RequestError
        Naming the file, and the line or column that is wrong.
    """
    return _read(path, format_, *_stamp(path))


def first(wrong: pd.Series) -> int:
    """Where the first true entry stands, an entry of the index."""
    place: int = wrong.index[wrong.to_numpy(dtype=bool)][0]
    return place


def _stamp(path: str) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=path) from None
    except ValueError as error:  # a name that no file can have
        raise RequestError(f"cannot be read: {error}", source=path) from None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _digest(path: str, *stamp: int) -> str:  # noqa: ARG001 - remembered by it
    return hashlib.blake2b(_bytes(path), digest_size=10).hexdigest()


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=path) from None


@lru_cache(maxsize=4)
def _read(path: str, format_: Format, *stamp: int) -> Read:  # noqa: ARG001 - remembered by it
    found = _csv(path) if format_ == "csv" else _parquet(path)
    if not len(found.frame):
        raise found.refuse("holds no rows of data")
    return found


def _parquet(path: str) -> Read:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(io.BytesIO(_bytes(path)))
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise RequestError(f"is no Parquet file: {_said(error)}", source=path) from None
    names = [str(name) for name in frame.columns]
    _check_names(names, path)
    frame.columns = pd.Index(names)
    for name in names:
        if any(isinstance(value, (list, dict, np.ndarray)) for value in frame[name].head(100)):
            message = f"column '{name}' holds lists or tables; one value a row is wanted"
            raise RequestError(message, source=path)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Read(path, frame, "row")


def _csv(path: str) -> Read:
    text = _text(path)
    top = text.lstrip("\r\n").splitlines()[0]
    bare = re.sub(r'"[^"]*"', "", top)
    separator = max(_SEPARATORS, key=bare.count) if any(s in bare for s in _SEPARATORS) else ","
    # Not pandas' parser: it takes short lines silently, and forgets where a row stood.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            if row and not header:
                header = _header(row, path)
            elif row:
                if len(row) != len(header):
                    fields = f"{len(row)} field{'s' * (len(row) != 1)}"
                    message = f"line {line:,} has {fields}, the header {len(header)}"
                    raise RequestError(message, source=path)
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"cannot be read from line {line:,} on: {error}"
        raise RequestError(f"{message}; is a quotation mark not closed?", source=path) from None
    raw = pd.DataFrame(rows, columns=pd.Index(header), index=pd.Index(lines, dtype=int), dtype=str)
    raw = raw.apply(lambda column: column.str.strip())
    raw = raw.mask(raw.isin(_MISSING)).dropna(how="all")
    decimal = "." if separator == "," else _decimal(raw, path)
    return Read(path, raw.apply(_typed, decimal=decimal), "line")


def _header(row: list[str], path: str) -> list[str]:
    """The names of the columns."""
    names = [name.strip() for name in row]
    if all(_is_number(name) for name in names):
        message = f"the first line holds numbers ({', '.join(names[:3])}, …)"
        raise RequestError(f"{message}; it should name the columns", source=path)
    _check_names(names, path)
    return names


def _text(path: str) -> str:
    found = _bytes(path)
    if found[:4] == b"PAR1":
        raise RequestError('is a Parquet file; say name = "parquet"', source=path)
    if found[:2] == b"\x1f\x8b" or found[:2] == b"PK":
        raise RequestError("is compressed; unpack it first", source=path)
    try:
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found[: error.start].count(b"\n") + 1
        message = f"is no UTF-8 text: line {line:,} holds the byte 0x{found[error.start]:02x}"
        raise RequestError(f"{message}; save it as UTF-8", source=path) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise RequestError(f"is no text: line {line:,} holds a zero byte", source=path)
    if not text.strip():
        raise RequestError("is empty", source=path)
    return text


def _check_names(names: list[str], path: str) -> None:
    for place, name in enumerate(names, start=1):
        if not name:
            message = f"column {place} of {len(names)} has no name"
            advice = "; an index, perhaps: leave it away where the file is written"
            raise RequestError(message + advice * (place == 1), source=path)
        if name in names[: place - 1]:
            raise RequestError(f"two columns are named '{name}'", source=path)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _decimal(raw: pd.DataFrame, path: str) -> str:
    """What separates decimals in a file whose fields commas do not separate."""
    found: dict[str, tuple[str, str, int]] = {}
    whole = 0
    for name in raw:
        for sign in ",.":
            written = raw[name].str.fullmatch(rf"[-+]?\d+[{sign}]\d+").fillna(False).astype(bool)
            if written.any():
                place = first(written)
                found.setdefault(sign, (str(name), str(raw[name].loc[place]), place))
            if sign == ",":
                thousands = raw[name].str.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}").fillna(False)
                whole += int(written.sum()) - int(thousands.astype(bool).sum())
    if "," not in found:
        return "."
    name, text, place = found[","]
    told = f"column '{name}' holds '{text}' in line {place:,}"
    if "." in found:
        other, another, there = found["."]
        message = f"{told}, column '{other}' '{another}' in line {there:,}"
        raise RequestError(f"{message}: write all numbers as 1234.5", source=path)
    if not whole:
        message = f"{told}, which may be thousands or decimals"
        raise RequestError(f"{message}: write numbers as 1234.5", source=path)
    return ","


def _typed(column: pd.Series, decimal: str) -> pd.Series:
    """A column of text as numbers, truth values or days where all of it is such; else as it is."""
    known = column.dropna()
    if known.empty:
        return column
    plain = known.str.replace(",", ".", regex=False) if decimal == "," else known
    numbers = pd.to_numeric(plain, errors="coerce")
    if numbers.notna().all():
        return numbers.astype(float).reindex(column.index)
    lowered = known.str.lower()
    if lowered.isin(["true", "false"]).all():
        return (lowered == "true").astype(float).reindex(column.index)
    days = pd.to_datetime(known, format="ISO8601", errors="coerce", utc=True)
    if days.notna().all() and not known.str.fullmatch(r"\d+").any():
        return days.dt.tz_localize(None).reindex(column.index)
    return column
