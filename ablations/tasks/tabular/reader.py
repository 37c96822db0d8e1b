"""Read CSV and Parquet files into tables that know where each row stands in its file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.core.errors import RequestError
from ablations.core.files import digest
from ablations.tasks.tabular.options import DEFAULT_MARKS, ColumnType, ReadingOptions

Format = Literal["csv", "parquet"]
_SEPARATORS = ",;\t|"
_MISSING = ("", *DEFAULT_MARKS)


@dataclass(frozen=True)
class ColumnReading:
    """How a column was read."""

    name: str
    type: ColumnType
    is_stated: bool = False
    """Whether the study states the type; otherwise it is inferred."""
    missing: tuple[tuple[str, int], ...] = ()
    """Texts that were taken as missing ("" for empty fields), and how often."""
    notes: tuple[str, ...] = ()
    """Sentences about what the reader changed or inferred."""
    problem: str = ""
    """Why the column cannot be used as it is, with line, value and the key that helps."""
    is_row_names: bool = False
    """Whether it is the unnamed first column: no feature unless a study names it."""


@dataclass(frozen=True)
class TableFile:
    """The table in a file; the index of ``frame`` is the line (CSV) or row (Parquet, from 1).

    A column of ``frame`` has one of the types float64, int64, uint64, Int64 or UInt64 (whole
    numbers that float64 does not hold exactly), datetime64 or str; NaN, NaT or NA if missing.
    """

    source: str
    frame: pd.DataFrame
    unit: Literal["line", "row"]
    readings: tuple[ColumnReading, ...] = ()
    """How each column was read, in the order of the columns."""
    notes: tuple[str, ...] = ()
    """Sentences about the table: the separator, the row names that are left out."""

    def error(self, message: str) -> RequestError:
        """Return an error about this file."""
        return RequestError(message, source=self.source)

    def reading(self, name: str) -> ColumnReading:
        """Return how a column was read."""
        by_name = {reading.name: reading for reading in self.readings}
        return by_name.get(name) or ColumnReading(name, _type_of(self.frame[name]))

    def column(self, name: str) -> pd.Series:
        """Return a column that is about to be used; raise ``RequestError`` if it cannot be."""
        if problem := self.reading(name).problem:
            raise self.error(problem)
        return self.frame[name]

    def default_features(self) -> list[str]:
        """Return the names of the columns without row names."""
        return [name for name in self.frame if not self.reading(name).is_row_names]

    def locate(self, index: object) -> str:
        """Return where a row stands in the file: ``line 17``."""
        return f"{self.unit} {index:,}"

    def locate_first(self, is_wrong: pd.Series | np.ndarray) -> str:
        """Return where the first row with a true entry stands."""
        return self.locate(self.frame.index[np.argmax(is_wrong)])

    def cite(self, values: pd.Series, is_wrong: pd.Series) -> str:
        """Return the first value with a true entry, and where it stands: ``'1,5' in line 17``."""
        position = np.argmax(is_wrong)
        return f"{values.iloc[position]!r} in {self.locate(values.index[position])}"


def _type_of(column: pd.Series) -> ColumnType:
    if is_datetime64_any_dtype(column):
        return "date"
    return "number" if is_numeric_dtype(column) else "category"


def content_hash(path: str) -> str:
    """Return 80 bits of a hash of a file's bytes, in hexadecimal."""
    try:
        stat = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: an impossible file name
        reason = getattr(error, "strerror", error)
        raise RequestError(f"cannot be read: {reason}", source=path) from None
    return _hash(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def read_table(
    path: str,
    format_: Format,
    content: str,  # noqa: ARG001 - a cache key
    options: ReadingOptions = ReadingOptions(),  # noqa: ARG001, B008 - frozen; not yet used
) -> TableFile:
    """Return the table in a file of this hash; a column has a type that all its values have.

    Parameters
    ----------
    path
        The file.
    format_
        Its format.
    content
        Its hash, as ``content_hash`` returns it.
    options
        How it is read.

    Raises
    ------
    RequestError
        If the file cannot be read as a table, with the line, the column and the key that helps.
        A column that cannot be used has ``ColumnReading.problem`` instead: it may be one that the
        study leaves out.
    """
    table = _read_csv(path) if format_ == "csv" else _read_parquet(path)
    if not len(table.frame):
        raise table.error("holds no rows of data")
    readings = [ColumnReading(name, _type_of(column)) for name, column in table.frame.items()]
    return replace(table, readings=tuple(readings))


@lru_cache(maxsize=64)
def _hash(path: str, *state: int) -> str:  # noqa: ARG001 - a file with another state is read again
    return digest(_read_bytes(path), 10)


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", source=path) from None


def _check_names(names: list[str], path: str) -> None:
    for number, name in enumerate(names, start=1):
        if not name:
            message = f"column {number} of {len(names)} has no name"
            advice = "; if it is an index, write the file without it" if number == 1 else ""
            raise RequestError(message + advice, source=path)
        if name in names[: number - 1]:
            raise RequestError(f"two columns are named '{name}'", source=path)


def _read_parquet(path: str) -> TableFile:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(io.BytesIO(_read_bytes(path)))
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"not a Parquet file: {reason}", source=path) from None
    names = [str(name) for name in frame.columns]
    _check_names(names, path)
    frame.columns = pd.Index(names)
    for name in names:
        if any(isinstance(value, (list, dict, np.ndarray)) for value in frame[name].head(100)):
            message = f"column '{name}' holds lists or tables; expected one value a row"
            raise RequestError(message, source=path)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return TableFile(path, frame, "row")


def _read_csv(path: str) -> TableFile:
    text = _read_text(path)
    header_line = text.lstrip("\r\n").splitlines()[0]
    unquoted = re.sub(r'"[^"]*"', "", header_line)
    separator = max(_SEPARATORS, key=unquoted.count)  # a comma if none occurs
    raw = _split_rows(text, separator, path).apply(lambda column: column.str.strip())
    table = TableFile(path, raw.mask(raw.isin(_MISSING)).dropna(how="all"), "line")
    decimal = "." if separator == "," else _find_decimal(table)
    return replace(table, frame=table.frame.apply(_to_typed, decimal=decimal))


def _read_text(path: str) -> str:
    content = _read_bytes(path)
    if content[:4] == b"PAR1":
        raise RequestError('is a Parquet file; use name = "parquet"', source=path)
    if content[:2] in (b"\x1f\x8b", b"PK"):
        raise RequestError("is compressed; unpack it first", source=path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"not UTF-8 text: line {line:,} holds the byte 0x{content[error.start]:02x}"
        raise RequestError(f"{message}; save it as UTF-8", source=path) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise RequestError(f"not text: line {line:,} holds a zero byte", source=path)
    if not text.strip():
        raise RequestError("is empty", source=path)
    return text


def _split_rows(text: str, separator: str, path: str) -> pd.DataFrame:
    """Return the fields of a text; the index is the line where each row starts."""
    # Not pandas' parser: it accepts short lines, and does not know the line of a row.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    rows, lines, line = [], [], 1
    try:
        for row in reader:
            if row and not header:
                header = _check_header(row, path)
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
    index = pd.Index(lines, dtype=int)
    return pd.DataFrame(rows, columns=pd.Index(header), index=index, dtype=str)


def _check_header(row: list[str], path: str) -> list[str]:
    names = [name.strip() for name in row]
    if all(_is_number(name) for name in names):
        message = f"the first line holds numbers ({', '.join(names[:3])}, …)"
        raise RequestError(f"{message}; expected the names of the columns", source=path)
    _check_names(names, path)
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_decimal(table: TableFile) -> str:
    """Return the decimal separator of a file whose fields are not separated by commas."""
    examples: dict[str, str] = {}
    n_decimal_commas = 0
    for name, texts in table.frame.items():
        for sign in ",.":
            numbers = texts.str.fullmatch(rf"[-+]?\d+[{sign}]\d+", na=False)
            if numbers.any():
                examples.setdefault(sign, f"column '{name}' holds {table.cite(texts, numbers)}")
            if sign == ",":
                thousands = texts.str.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", na=False)
                n_decimal_commas += int(numbers.sum()) - int(thousands.sum())
    if "," not in examples:
        return "."
    advice = "write all numbers as 1234.5"
    if "." in examples:
        raise table.error(f"{examples[',']}, {examples['.']}: {advice}")
    if not n_decimal_commas:
        raise table.error(f"{examples[',']}, which may be thousands or decimals: {advice}")
    return ","


def _to_typed(column: pd.Series, decimal: str) -> pd.Series:
    """Return a text column as numbers, truth values or dates, if all values are; else unchanged."""
    texts = column.dropna()
    if texts.empty:
        return column
    with_points = texts.str.replace(",", ".", regex=False) if decimal == "," else texts
    numbers = pd.to_numeric(with_points, errors="coerce")
    if numbers.notna().all():
        return numbers.astype(float).reindex(column.index)
    lowered = texts.str.lower()
    if lowered.isin(["true", "false"]).all():
        return (lowered == "true").astype(float).reindex(column.index)
    dates = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if dates.notna().all() and not texts.str.fullmatch(r"\d+").any():
        return dates.dt.tz_localize(None).reindex(column.index)
    return column
