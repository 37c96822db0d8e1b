"""Split the text of a CSV file into fields: pyarrow's parser, judged by Python's ``csv``.

pyarrow is fast, but it does not say on which line a row stands and accepts misplaced quotation
marks.  It is used where quotation marks and line breaks show that both parsers agree; otherwise,
and for each message, ``csv`` reads the text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from ablations.core.errors import RequestError
from ablations.tasks.tabular.options import DEFAULT_MARKS, ReadingOptions

QUOTED = "\ue000"
"""First character of a field such as ``"NA"``: in quotation marks it is a word."""
ROW_NAMES = "Unnamed: 0"
"""The name of a first column without a name, as in pandas."""
_SEPARATORS = ",;\t| "
_SAMPLE = 20
"""How many rows decide about the separator."""
_LINE_BREAK, _QUOTE, _RETURN = 10, 34, 13


@dataclass(frozen=True)
class TextTable:
    """The fields of a file as texts; an empty field is null."""

    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    index: pd.Index
    """The line where each row starts."""
    separator: str
    row_names: str = ""
    """The name of the first column, if the file gives it none."""
    notes: tuple[str, ...] = ()


def split_fields(content: bytes, options: ReadingOptions, path: str) -> TextTable:
    """Return the fields of a text in UTF-8; a ``RequestError`` names a line that does not fit."""
    if b"\r" in content and b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    content = _mark_quoted_words(_without_comments(content, options.comment))
    separator = options.separator or _find_separator(content)
    if separator == " ":
        content, separator = _without_runs(content), "\t"
    header, line, start = _read_header(content, separator, path)
    sample = _sample_widths(content[start:], separator)
    is_shifted = bool(sample) and set(sample) == {len(header) + 1}
    width = len(header) + is_shifted
    rows = _parse_fast(content[start:], separator, width, line)
    if rows is None:
        rows = _parse_exactly(content, separator, len(header), width, path)
    columns, index = rows
    names, arrays, notes = _name_columns(header, columns, path)
    row_names = names[0] if names[0] not in header else ""
    return TextTable(tuple(names), tuple(arrays), index, separator, row_names, tuple(notes))


def _without_comments(content: bytes, character: str) -> bytes:
    """Empty the comments outside quotation marks; their line breaks stay."""
    mark = character.encode()
    if not mark or mark not in content:
        return content
    pattern = rb'("(?:[^"]|"")*")|' + re.escape(mark) + rb"[^\r\n]*"
    return re.sub(pattern, lambda match: match[1] or b"", content)


def _mark_quoted_words(content: bytes) -> bytes:
    """Put ``QUOTED`` before the default marks of missing values that stand in quotation marks."""
    marks = [mark.encode() for mark in DEFAULT_MARKS if b'"%s"' % mark.encode() in content]
    if not marks:
        return content
    words = b"|".join(re.escape(mark) for mark in marks)
    pattern = rb'(?<![^,;\t|\s])"(' + words + rb')"(?![^,;\t|\s])'
    return re.sub(pattern, rb'"' + QUOTED.encode() + rb'\1"', content)


def _without_runs(content: bytes) -> bytes:
    """Return a text with one tab in place of each run of spaces and tabs outside of quotes."""
    content = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", content)
    return re.sub(rb'("(?:[^"]|"")*")|[ \t]+', lambda match: match[1] or b"\t", content)


def _find_separator(content: bytes) -> str:
    """Return the separator that the first rows agree on, else the most frequent of the header."""
    head = content.lstrip(b"\r\n").split(b"\n", 1)[0].decode()
    unquoted = re.sub(r'"[^"]*"', "", head)
    candidates = sorted(_SEPARATORS[:-1], key=unquoted.count, reverse=True)
    if not unquoted.count(candidates[0]):
        candidates.insert(0, " ")
    for separator in candidates:
        sample, delimiter = content, separator
        if separator == " ":
            sample, delimiter = _without_runs(content[: content.find(b"\n", 1_000_000)]), "\t"
        counts = _sample_widths(sample, delimiter)
        if counts and counts[0] > 1 and {n - counts[0] for n in counts[1:]} in ({0}, {1}, set()):
            return separator
    return max(_SEPARATORS[:-1], key=unquoted.count)  # a comma if none occurs


def _sample_widths(content: bytes, separator: str) -> list[int]:
    """Return the number of fields of the first records."""
    try:
        return [len(fields) for *_, fields in islice(_read_records(content, separator), _SAMPLE)]
    except csv.Error:
        return []


def _read_lines(content: bytes) -> Iterator[str]:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")


def _read_records(content: bytes, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and fields of each record that is not blank."""
    lines, start = _read_lines(content), 1
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    for record in reader:
        if len(record) > 1 or (record and record[0].strip()):
            yield start, reader.line_num, record
        start = reader.line_num + 1


def _read_header(content: bytes, separator: str, path: str) -> tuple[list[str], int, int]:
    """Return the names of the columns, the line after them, and the position of that line."""
    try:
        start, line, names = next(_read_records(content, separator))
    except csv.Error as error:
        raise _unreadable(error, 1, path) from None
    except StopIteration:
        raise RequestError("holds nothing but comments", source=path) from None
    names = [name.strip().removeprefix(QUOTED) for name in names]
    is_numbered = names == [str(i) for i in range(len(names))]  # as pandas names columns
    if all(map(_is_number, names)) and not is_numbered:
        message = f"line {start:,} holds numbers ({', '.join(names[:3])}, …)"
        raise RequestError(f"{message}; expected the names of the columns", source=path)
    position = sum(len(text.encode()) for text in islice(_read_lines(content), line))
    return names, line + 1, position


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unreadable(error: csv.Error, line: int, path: str) -> RequestError:
    message = f"cannot be read from line {line:,} on: {error}"
    return RequestError(f"{message}; is a quotation mark not closed?", source=path)


Rows = tuple[tuple[pa.ChunkedArray, ...], pd.Index]


def _parse_fast(body: bytes, separator: str, width: int, line: int) -> Rows | None:
    """Return columns and lines by pyarrow; None where ``csv`` may read the text otherwise."""
    data = np.frombuffer(body, np.uint8)
    breaks, quotes = np.flatnonzero(data == _LINE_BREAK), np.flatnonzero(data == _QUOTE)
    if not _are_regular(data, quotes, separator):
        return None
    is_inside = np.searchsorted(quotes, breaks) % 2 == 1
    ends = np.append(breaks[~is_inside], len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    is_blank = lengths == 0
    is_blank[lengths == 1] = data[starts[lengths == 1]] == _RETURN
    starts = starts[~is_blank]
    names = [str(i) for i in range(width)]
    block_size = min(max(1 << 20, len(body) // 8), 1 << 26)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            arrow_csv.ReadOptions(column_names=names, block_size=block_size),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=bool(is_inside.any())),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != len(starts):
        return None
    return tuple(table.columns), _to_index(np.searchsorted(breaks, starts) + line)


def _are_regular(data: np.ndarray, quotes: np.ndarray, separator: str) -> bool:
    """Return whether each quotation mark stands at an end of a field, or is doubled."""
    if not len(quotes):
        return True
    edges = [ord(separator) if ord(separator) < 128 else 0, _LINE_BREAK, _RETURN, _QUOTE]
    opening, closing = quotes[::2], quotes[1::2]
    before = data[opening[opening > 0] - 1]
    after = data[closing[closing < len(data) - 1] + 1]
    are_ends = np.isin(before, edges).all() and np.isin(after, edges).all()
    return len(quotes) % 2 == 0 and bool(are_ends)


def _to_index(lines: np.ndarray) -> pd.Index:
    if len(lines) and lines[-1] - lines[0] == len(lines) - 1:
        return pd.RangeIndex(int(lines[0]), int(lines[-1]) + 1)
    return pd.Index(lines, dtype=np.int64)


def _parse_exactly(content: bytes, separator: str, header: int, width: int, path: str) -> Rows:
    """Return columns and lines by ``csv``; raise ``RequestError`` for the first invalid line."""
    rows, lines, end = list[list[str]](), list[int](), 1
    records = _read_records(content, separator)
    next(records)
    try:
        for line, end, record in records:  # noqa: B007 - the line of an error follows the end
            if len(record) != width:
                fields = f"{len(record)} field{'s' * (len(record) != 1)}"
                reference = f"the header {header}" if width == header else f"the others {width}"
                message = f"line {line:,} has {fields}, {reference}"
                advice = f"is the separator {separator!r}, and has a text with it quotation marks?"
                raise RequestError(f"{message}; {advice}", source=path)
            rows.append(record)
            lines.append(line)
    except csv.Error as error:
        raise _unreadable(error, end + 1, path) from None
    columns = zip(*rows, strict=True) if rows else [()] * width
    arrays = (pa.chunked_array([pa.array([v or None for v in c], pa.string())]) for c in columns)
    return tuple(arrays), _to_index(np.array(lines, dtype=np.int64))


def _name_columns(
    header: list[str], columns: Sequence[pa.ChunkedArray], path: str
) -> tuple[list[str], list[pa.ChunkedArray], list[str]]:
    """Return names, columns and notes; a first column without a name is ``ROW_NAMES``."""
    names, is_empty = list(header), [column.null_count == len(column) for column in columns]
    if len(columns) > len(names):
        names = [*names, ""] if is_empty[-1] else ["", *names]
    notes = list[str]()
    if not names[0] and not is_empty[0]:
        names[0] = ROW_NAMES if ROW_NAMES not in names else f"{ROW_NAMES}.1"
    retained = [i for i, name in enumerate(names) if name or not is_empty[i]]
    if count := len(names) - len(retained):
        notes.append(f"Left out: {count} empty column{'s' * (count > 1)} without a name.")
    names, columns = [names[i] for i in retained], [columns[i] for i in retained]
    check_names(names, path)
    return names, columns, notes


def check_names(names: Sequence[str], path: str) -> None:
    """Refuse columns without a name, and two columns of one name."""
    positions = dict[str, int]()
    for number, name in enumerate(names, start=1):
        if not name:
            message = f"column {number} of {len(names)} has no name"
            raise RequestError(f"{message}; write one into the header", source=path)
        if name in positions:
            message = f"two columns are named '{name}', columns {positions[name]} and {number}"
            raise RequestError(f"{message}; rename one in the header", source=path)
        positions[name] = number
