"""Split the rows of a CSV file by pyarrow's parser, with the line of each row.

A text is left to Python's ``csv`` where the two parsers may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

Rows = tuple[tuple[pa.ChunkedArray, ...], pd.Index]
"""Columns of texts, or of float64; and the line where each row starts."""
Types = dict[str, pa.DataType]
_LINE_BREAK, _QUOTE, _RETURN = 10, 34, 13
_SAMPLE = 1 << 16
"""Bytes of the first rows, which show the columns of decimal numbers."""


def parse_fields(
    body: memoryview, separator: str, line: int, may_be_float: Sequence[bool]
) -> Rows | None:
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
        For each column, whether it is read as float64 at once if all of it are plain numbers and
        some have decimals: it holds no codes and no long whole numbers then.
    """
    data = np.frombuffer(body, np.uint8)
    breaks, quotes = np.flatnonzero(data == _LINE_BREAK), np.flatnonzero(data == _QUOTE)
    if not separator.isascii() or not _are_regular(data, quotes, separator):
        return None
    is_inside = np.searchsorted(quotes, breaks) % 2 == 1
    starts = _find_starts(data, breaks[~is_inside])
    types = dict.fromkeys([str(i) for i in range(len(may_be_float))], pa.string())
    options = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=bool(is_inside.any()))
    # Blocks of 1 MiB on a single thread take the least CPU time.
    block_size = max(1 << 20, 4 * int(np.diff(starts).max(initial=0)))
    try:
        end = int(np.append(starts, len(data))[np.searchsorted(starts, _SAMPLE)])
        sample = _parse(body[:end], options, types, block_size)
        candidates = [name for name, may in zip(types, may_be_float, strict=True) if may]
        floats = {name: pa.float64() for name in candidates if _has_decimals(sample[name])}
        table = _parse_with_floats(body, options, types | floats, block_size)
    except pa.ArrowException:
        return None
    if table.num_rows != len(starts):
        return None
    return tuple(table.columns), to_index(np.searchsorted(breaks, starts) + line)


def _parse(
    body: memoryview,
    options: arrow_csv.ParseOptions,
    types: Types,
    block_size: int,
) -> pa.Table:
    return arrow_csv.read_csv(
        pa.BufferReader(body),
        arrow_csv.ReadOptions(column_names=list(types), block_size=block_size, use_threads=False),
        options,
        arrow_csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, check_utf8=False
        ),
    )


def _parse_with_floats(
    body: memoryview,
    options: arrow_csv.ParseOptions,
    types: Types,
    block_size: int,
) -> pa.Table:
    """Parse columns as these types; all as texts, if one holds anything but numbers."""
    try:
        table = _parse(body, options, types, block_size)
        floats = [column for column in table.columns if pa.types.is_floating(column.type)]
        if not any(pc.any(pc.is_nan(column)).as_py() for column in floats):  # the word nan
            return table
    except pa.ArrowInvalid:
        pass
    return _parse(body, options, dict.fromkeys(types, pa.string()), block_size)


def _has_decimals(texts: pa.ChunkedArray) -> bool:
    """Return whether all texts are numbers, and some have decimals."""
    try:
        pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return False
    return bool(pc.any(pc.match_substring_regex(texts, r"^-?\d*\.\d+$")).as_py())


def _find_starts(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the position of each row that is not blank, from the line breaks after rows."""
    ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    is_blank = lengths == 0
    is_blank[lengths == 1] = data[starts[lengths == 1]] == _RETURN
    return np.asarray(starts[~is_blank])


def _are_regular(data: np.ndarray, quotes: np.ndarray, separator: str) -> bool:
    """Return whether no line break is a single return, and no quotation mark inside of a field."""
    returns = np.flatnonzero(data == _RETURN)
    if len(returns) and not (data[np.minimum(returns + 1, len(data) - 1)] == _LINE_BREAK).all():
        return False
    if not len(quotes):
        return True
    edges = [ord(separator), _LINE_BREAK, _RETURN, _QUOTE]
    opening, closing = quotes[::2], quotes[1::2]
    before = data[opening[opening > 0] - 1]
    after = data[closing[closing < len(data) - 1] + 1]
    are_ends = np.isin(before, edges).all() and np.isin(after, edges).all()
    return len(quotes) % 2 == 0 and bool(are_ends)


def to_index(lines: np.ndarray) -> pd.Index:
    """Return line numbers as an index, without a list of them if they have no gaps."""
    if len(lines) and lines[-1] - lines[0] == len(lines) - 1:
        return pd.RangeIndex(int(lines[0]), int(lines[-1]) + 1)
    return pd.Index(lines, dtype=np.int64)
