"""Read CSV and Parquet files into tables that know where each row stands in its file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.core.errors import RequestError, nearest
from ablations.tasks.tabular.cache import load_copy, store_copy
from ablations.tasks.tabular.columnar import find_misfit, read_columns, to_series, to_texts
from ablations.tasks.tabular.delimited import ROW_NAMES, TextTable, check_names, split_fields
from ablations.tasks.tabular.fields import Numbers
from ablations.tasks.tabular.inference import ColumnReader
from ablations.tasks.tabular.options import ColumnReading, ColumnType, ReadingOptions
from ablations.tasks.tabular.sources import content_hash, read_bytes, read_text
from ablations.tasks.tabular.texts import Texts, parse_numbers, read_numbers

__all__ = ["ColumnReading", "Format", "TableFile", "content_hash", "read_table"]

Format = Literal["csv", "parquet"]
_GROUPED = r"[-+]?[1-9]\d{0,2},\d{3}"
"""A number that has groups of thousands or three decimals."""
_ROW_NAMES = re.escape(ROW_NAMES) + r"(\.\d+)*"


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
        return by_name.get(name) or ColumnReading(name, type_of(self.frame[name]))

    def column(self, name: str) -> pd.Series:
        """Return a column that is about to be used; raise ``RequestError`` if it cannot be."""
        if problem := self.reading(name).problem:
            raise self.error(problem)
        return self.frame[name]

    def default_features(self) -> list[str]:
        """Return the names of the columns without row names."""
        return [name for name in self.frame if not self.reading(name).is_row_names]

    def describe(self, names: Iterable[str]) -> list[str]:
        """Return sentences about how some columns were read, and what was taken as missing."""
        readings = [self.reading(name) for name in names]
        columns: dict[str, list[str]] = {}
        for reading in readings:
            for mark, count in reading.missing:
                text = f"'{mark}'" if mark else "an empty field"
                columns.setdefault(text, []).append(f"'{reading.name}' ({_count_rows(count)})")
        sentences = [
            f"Taken as missing: {text} in {_enumerate(names)}." for text, names in columns.items()
        ]
        return [*sentences, *(note for reading in readings for note in reading.notes)]

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


def _count_rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _enumerate(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit:,} more columns" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def type_of(column: pd.Series) -> ColumnType:
    if is_datetime64_any_dtype(column):
        return "date"
    return "number" if is_numeric_dtype(column) else "category"


@lru_cache(maxsize=4)
def read_table(
    path: str,
    format_: Format,
    content: str,
    options: ReadingOptions = ReadingOptions(),  # noqa: B008 - frozen
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
    if options.decimal and options.decimal == options.thousands:
        raise RequestError("decimal and thousands are the same character", "decimal", path)
    if format_ == "csv" and (copy := load_copy(content, options)):
        frame, readings, notes = copy
        return TableFile(path, frame, "line", readings, notes)
    table = _read_csv(path, options) if format_ == "csv" else _read_parquet(path, options)
    if not len(table.frame):
        raise table.error("holds no rows of data")
    if format_ == "csv":
        store_copy(content, options, (table.frame, table.readings, table.notes))
    return table


def _read_csv(path: str, options: ReadingOptions) -> TableFile:
    content = read_text(path, options.encoding)
    table = split_fields(content, options, path)
    _check_columns(table.names, options, path)
    reader = ColumnReader(
        options,
        lambda message: RequestError(message, source=path),
        is_quoted=lambda text: f'"{text}"'.encode() in content,
        decimal=options.decimal or _find_decimal(table, options),
    )
    columns, readings = dict[str, pd.Series](), list[ColumnReading]()
    for name, texts in zip(table.names, table.columns, strict=True):
        columns[name], reading = reader.read(name, texts, table.index)
        is_numbered = re.fullmatch(_ROW_NAMES, name) and columns[name].is_unique
        is_row_names = name == table.row_names or bool(is_numbered)
        readings.append(replace(reading, is_row_names=is_row_names))
    if options.date_format and not any(reading.type == "date" for reading in readings):
        message = f"no column holds dates as {options.date_format!r}"
        raise RequestError(message, "date_format", path)
    frame = pd.DataFrame(columns, index=table.index, copy=False)
    if is_empty := [reading.type for reading in readings if reading.missing]:
        frame = frame.dropna(how="all") if len(is_empty) == len(readings) else frame
    notes = (*table.notes, *_describe_row_names(readings))
    return TableFile(path, frame, "line", tuple(readings), notes)


def _describe_row_names(readings: Iterable[ColumnReading]) -> Iterator[str]:
    for reading in readings:
        if reading.is_row_names:
            yield f"Left out: '{reading.name}', the names of the rows."


def _check_columns(names: Iterable[str], options: ReadingOptions, path: str) -> None:
    """Refuse options that name a column which the file lacks."""
    valid = list(names)
    for key, column in options.columns():
        if column not in valid:
            message = f"has no column '{column}' for {key}; {nearest(column, valid)}"
            raise RequestError(message, source=path)


def _find_decimal(table: TextTable, options: ReadingOptions) -> str:
    """Return the decimal mark of a file whose fields are not separated by commas."""
    if table.decimal or table.separator == "," or options.thousands == ",":
        return table.decimal or "."
    commas = list[pd.Series]()
    for texts in table.columns:
        if isinstance(texts, Numbers) or read_numbers(texts, keeps_zeros=False):
            continue
        encoded = Texts.encode(texts, table.index)
        values = encoded.without(encoded.is_mark).values
        if np.isnan(parse_numbers(values.head(50), ",", options.thousands)).any():
            continue
        if not np.isnan(parse_numbers(values, ",", options.thousands)).any():
            commas.append(values[values.str.contains(",", regex=False)])
    is_certain = any(not values.str.fullmatch(_GROUPED).all() for values in commas)
    return "," if is_certain else "."


def _read_parquet(path: str, options: ReadingOptions) -> TableFile:
    for key in ("encoding", "separator", "comment"):
        if getattr(options, key):
            raise RequestError("belongs to text, and this is a Parquet file", key, path)
    arrays, index = read_columns(read_bytes(path), path)
    check_names(list(arrays), path)
    _check_columns(arrays, options, path)
    reader = ColumnReader(
        options,
        lambda message: RequestError(message, source=path),
        decimal=options.decimal or ".",
        has_marks=False,
        infers=False,
        unit="row",
    )
    columns, readings = dict[str, pd.Series](), list[ColumnReading]()
    for name, values in arrays.items():
        if misfit := find_misfit(name, values):
            values = pa.chunked_array([pa.nulls(len(values), pa.string())])
        columns[name], reading = _read_typed(name, values, reader)
        reading = replace(reading, problem=misfit or reading.problem)
        readings.append(replace(reading, is_row_names=name in index))
    frame = pd.DataFrame(columns).set_axis(pd.RangeIndex(1, len(values) + 1))
    return TableFile(path, frame, "row", tuple(readings), tuple(_describe_row_names(readings)))


def _read_typed(
    name: str, values: pa.ChunkedArray, reader: ColumnReader
) -> tuple[pd.Series, ColumnReading]:
    """Return a column that has a type already, unless the study states another one."""
    stated, marks = dict(reader.options.types).get(name), reader.options.marks(name)
    column = to_series(values).set_axis(pd.RangeIndex(1, len(values) + 1))
    kind = type_of(column)
    if kind != "category" and stated in (None, kind):
        reading = ColumnReading(name, kind, stated is not None)
        if kind == "date" or not marks:
            return column, reading
        amounts = parse_numbers(pd.Series(marks, dtype=str))
        is_missing = column.isin(amounts[~np.isnan(amounts)])
        missing = ((", ".join(marks), int(is_missing.sum())),) if is_missing.any() else ()
        return column.mask(is_missing), replace(reading, missing=missing)
    texts = to_texts(values if kind != "category" else pa.chunked_array([pa.array(column)]))
    words, reading = reader.read(name, texts, column.index)
    return words if stated or marks is not None else column, reading
