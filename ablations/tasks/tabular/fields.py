"""Split the rows of a CSV file by pyarrow's parser, with the line of each row.

A text is left to Python's ``csv`` where the two parsers may differ.  Columns of decimal numbers are
read as float64 at once, and columns of words with their different values counted; whole numbers,
which may be codes, stay texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from ablations.tasks.tabular.options import DEFAULT_MARKS

_LINE_BREAK, _QUOTE, _RETURN = 10, 34, 13
_SAMPLE_SIZE, _BLOCK_SIZE = 1 << 16, 1 << 20
"""Bytes of the first rows, which show the types of columns; and of a block, at which one thread
takes the least CPU time."""
_WORDS = pa.dictionary(pa.int32(), pa.string())
_GROUPED = r"^[-+]?[1-9]\d{0,2},\d{3}$"


@dataclass(frozen=True)
class Numbers:
    """A column of decimal numbers."""

    values: np.ndarray
    """Shape (row,), float64, NaN where missing."""
    missing: tuple[tuple[str, int], ...]
    """The texts of missing values, "" for empty fields, and how often."""


Column: TypeAlias = "Numbers | pa.ChunkedArray"
"""Numbers; or texts, as strings or as a dictionary, of which an empty one is null or ""."""


@dataclass(frozen=True)
class Fields:
    """The columns of a text, and the line where each row starts."""

    columns: tuple[Column, ...]
    index: pd.Index
    decimal: str = ""
    """The decimal mark of the columns of numbers; "" without such a column."""


@dataclass(frozen=True)
class Parser:
    """How pyarrow parses a text."""

    body: memoryview
    separator: str
    has_breaks: bool
    """Whether fields may hold line breaks."""
    decimal: str = "."
    block_size: int = _BLOCK_SIZE

    def parse(self, types: dict[str, pa.DataType], *columns: str) -> pa.Table:
        """Return a table with these types; of the columns only those that are named, if any."""
        try:
            return self._parse(types, columns)
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error) or self.block_size > len(self.body):
                raise
            return replace(self, block_size=len(self.body) + 1)._parse(types, columns)

    def _parse(self, types: dict[str, pa.DataType], columns: Sequence[str]) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(self.body),
            arrow_csv.ReadOptions(
                column_names=list(types), block_size=self.block_size, use_threads=False
            ),
            arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=self.has_breaks),
            arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(columns),
                null_values=["", *DEFAULT_MARKS],
                strings_can_be_null=False,
                check_utf8=False,
                decimal_point=self.decimal,
            ),
        )

    def guess_types(self, names: Sequence[str]) -> dict[str, pa.DataType]:
        """Return the types that the first rows show: float64, words, or else strings."""
        text = bytes(self.body[:_SAMPLE_SIZE])
        if len(text) == _SAMPLE_SIZE and not self.has_breaks:
            text = text[: text.rfind(b"\n") + 1]
        elif len(text) == _SAMPLE_SIZE:
            return dict.fromkeys(names, pa.string())
        sample = replace(self, body=memoryview(text)).parse(dict.fromkeys(names, pa.string()))
        return {name: _guess_type(sample[name], self.decimal) for name in names}


def _guess_type(texts: pa.ChunkedArray, decimal: str) -> pa.DataType:
    values = pc.unique(pc.utf8_trim_whitespace(texts))
    values = values.filter(pc.invert(pc.is_in(values, pa.array(["", *DEFAULT_MARKS]))))
    if not len(values):
        return pa.string()
    pattern = rf"^[-+]?(\d*[{decimal}]\d+|\d+[{decimal}]?)([eE][-+]?\d+)?$"
    if not pc.all(pc.match_substring_regex(values, pattern)).as_py():
        return _WORDS
    if decimal == "." and has_groups(values):
        return pa.string()
    if decimal == ",":  # 1,234 may be a group of thousands
        values = values.filter(pc.invert(pc.match_substring_regex(values, _GROUPED)))
    has_decimals = pc.any(pc.match_substring_regex(values, rf"[{decimal}]\d")).as_py()
    return pa.float64() if has_decimals else pa.string()


def has_groups(numbers: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether points may be groups of thousands: some whole numbers beside 1.234."""
    if not pc.any(pc.match_substring(numbers, ".")).as_py():
        return False
    numbers = pc.unique(numbers)
    is_whole = pc.match_substring_regex(numbers, r"^[-+]?\d+$")
    points = numbers.filter(pc.match_substring(numbers, "."))
    if not pc.any(is_whole).as_py():
        return False
    return bool(pc.all(pc.match_substring_regex(points, r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$")).as_py())


def parse_fields(
    body: memoryview, separator: str, line: int, may_be_float: Sequence[bool], decimals: str = "."
) -> Fields | None:
    """Return columns and lines; None where ``csv`` may read the text otherwise.

    Parameters
    ----------
    body
        The text after the header.
    separator
        The character between two fields.
    line
        The line of the first row.
    may_be_float
        For each column, whether it may be read as float64 at once, if all of it are plain numbers
        and some have decimals: it holds no codes and no long whole numbers then.
    decimals
        The decimal marks that are possible, the more likely one first.
    """
    data, text = np.frombuffer(body, np.uint8), cast(bytes, body.obj)
    quotes = np.flatnonzero(data == _QUOTE) if b'"' in text else np.empty(0, dtype=np.int64)
    has_returns = b"\r" in text and text.count(b"\r") != text.count(b"\r\n")
    if has_returns or not separator.isascii() or not _are_regular(data, quotes, separator):
        return None
    breaks = np.flatnonzero(data == _LINE_BREAK) if len(quotes) else quotes
    has_breaks = bool((np.searchsorted(quotes, breaks) % 2 == 1).any())
    names = [str(i) for i in range(len(may_be_float))]
    parser = Parser(body, separator, has_breaks)
    try:
        for decimal in decimals:
            parser = replace(parser, decimal=decimal)
            types = parser.guess_types(names)
            if pa.float64() in types.values():
                break
        texts = {
            name: pa.string() for name, may in zip(names, may_be_float, strict=True) if not may
        }
        table = _parse_with_floats(parser, types | texts)
        columns = _count_missing(parser, table)
    except pa.ArrowException:
        return None
    n_lines = text.count(b"\n", len(text) - len(body)) + (not text.endswith(b"\n"))
    index: pd.Index = pd.RangeIndex(line, line + n_lines)
    if has_breaks or table.num_rows != n_lines:
        index = to_index(_find_lines(data, quotes) + line)
    if table.num_rows != len(index):
        return None
    has_floats = any(isinstance(column, Numbers) for column in columns)
    return Fields(tuple(columns), index, parser.decimal if has_floats else "")


def _parse_with_floats(parser: Parser, types: dict[str, pa.DataType]) -> pa.Table:
    """Parse columns as these types; those of numbers as texts, if one holds anything else."""
    floats = [name for name, kind in types.items() if pa.types.is_floating(kind)]
    try:
        table = parser.parse(types)
        if not any(pc.any(pc.is_nan(table[name])).as_py() for name in floats):  # -nan, say
            return table
    except pa.ArrowInvalid:
        if not floats:
            raise
    return parser.parse(types | dict.fromkeys(floats, pa.string()))


def _count_missing(parser: Parser, table: pa.Table) -> list[Column]:
    """Return the columns, those of numbers with the texts that are missing."""
    names = [name for name in table.column_names if pa.types.is_floating(table[name].type)]
    gaps = [name for name in names if table[name].null_count]
    texts = parser.parse(dict.fromkeys(table.column_names, pa.string()), *gaps) if gaps else {}
    columns = list[Column]()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name not in names:
            columns.append(column)
            continue
        missing: tuple[tuple[str, int], ...] = ()
        if name in gaps:
            counts = pc.value_counts(pc.utf8_trim_whitespace(texts[name].filter(column.is_null())))
            missing = tuple((count["values"], count["counts"]) for count in counts.to_pylist())
        columns.append(Numbers(column.to_numpy(), missing))
    return columns


def _are_regular(data: np.ndarray, quotes: np.ndarray, separator: str) -> bool:
    """Return whether each quotation mark stands at an end of a field, or is doubled."""
    if not len(quotes):
        return True
    is_edge = np.zeros(256, dtype=bool)
    is_edge[[ord(separator), _LINE_BREAK, _RETURN, _QUOTE]] = True
    opening, closing = quotes[::2], quotes[1::2]
    before = data[opening[1:] - 1] if opening[0] == 0 else data[opening - 1]
    after = data[closing[closing < len(data) - 1] + 1]
    return len(quotes) % 2 == 0 and bool(is_edge[before].all() and is_edge[after].all())


def _find_lines(data: np.ndarray, quotes: np.ndarray) -> np.ndarray:
    """Return the number of lines before each row that is not blank."""
    breaks = np.flatnonzero(data == _LINE_BREAK)
    ends = np.append(breaks[np.searchsorted(quotes, breaks) % 2 == 0], len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    is_blank = lengths == 0
    is_blank[lengths == 1] = data[starts[lengths == 1]] == _RETURN
    return np.asarray(np.searchsorted(breaks, starts[~is_blank]))


def to_index(lines: np.ndarray) -> pd.Index:
    """Return line numbers as an index, without a list of them if they have no gaps."""
    if len(lines) and lines[-1] - lines[0] == len(lines) - 1:
        return pd.RangeIndex(int(lines[0]), int(lines[-1]) + 1)
    return pd.Index(lines, dtype=np.int64)
