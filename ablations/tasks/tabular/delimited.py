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
import pyarrow.compute as pc

from ablations.core.errors import RequestError
from ablations.tasks.tabular.fields import Column, Fields, Numbers, parse_fields, to_index
from ablations.tasks.tabular.options import DEFAULT_MARKS, ReadingOptions

QUOTED = "\ue000"
"""First character of a field such as ``"NA"``: in quotation marks it is a word."""
ROW_NAMES = "Unnamed: 0"
"""The name of a first column without a name, as in pandas."""
_SEPARATORS = ",;\t| "
_STATEMENT = re.compile(rb'(?i:"sep=([^\w"\r\n])"|sep=([^\w"\r\n]))[,;\t ]*\r?\n')
"""The first line by which Excel states the separator."""
_INVISIBLE = "\ufeff\u200b\u2060"
"""Marks of byte order and of words, which no one can type into a study."""
_SAMPLE, _SAMPLE_SIZE = 20, 1_000_000
"""How many rows, or bytes at most, decide about the separator."""


@dataclass(frozen=True)
class TextTable:
    """The fields of a file as texts, some columns as numbers."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    index: pd.Index
    """The line where each row starts."""
    separator: str
    row_names: str = ""
    """The name of the first column, if the file gives it none."""
    notes: tuple[str, ...] = ()
    decimal: str = ""
    """The decimal mark of the columns of numbers; "" without such a column."""


def split_fields(content: bytes, options: ReadingOptions, path: str) -> TextTable:
    """Return the fields of a text in UTF-8; a ``RequestError`` names a line that does not fit."""
    if b"\r" in content and b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    content = _mark_quoted_words(_without_comments(content, options.comment))
    separator = options.separator
    if statement := _STATEMENT.match(content):
        separator = separator or (statement[1] or statement[2]).decode()
        content = content[statement.end() :]
        content = b"\n" + content  # the lines keep their numbers
    separator = separator or _find_separator(content)
    if separator == " " and _has_runs(content):
        content, separator = _without_runs(content), "\t"
    header, line, start = _read_header(content, separator, path)
    sample = _sample_widths(content[start : start + _SAMPLE_SIZE], separator)
    n_fields = len(header)
    if header[0][:1] in ("#", "%") and n_fields not in sample and not options.comment:
        message = f"line {line - 1:,} begins with {header[0][:1]!r} and has {n_fields} field"
        message += "s" * (n_fields != 1)
        advice = f'for a comment say comment = "{header[0][:1]}"'
        raise RequestError(f"{message}, line {line:,} has {sample[0]}; {advice}", source=path)
    is_shifted = n_fields > 1 and sample.count(n_fields + 1) > sample.count(n_fields)
    names = [""] * is_shifted + header
    texts = {*dict(options.types), *(name for name in names if options.marks(name))}
    is_plain = not options.thousands and not (is_shifted and texts)
    fields = parse_fields(
        memoryview(content)[start:],
        separator,
        line,
        [is_plain and name not in texts for name in names],
        options.decimal or ("." if separator == "," else ".,"),
    )
    if fields is None:
        fields = _parse_exactly(content, separator, len(header), len(names), path)
    names, columns, notes = _name_columns(header, fields.columns, path, line - 1)
    row_names = names[0] if names[0] not in header else ""
    return TextTable(
        tuple(names), tuple(columns), fields.index, separator, row_names, tuple(notes),
        fields.decimal,
    )  # fmt: skip


def _without_comments(content: bytes, character: str) -> bytes:
    """Empty the comments outside quotation marks; their line breaks stay."""
    mark = character.encode()
    if not mark or mark not in content:
        return content
    pattern = rb'("(?:[^"]|"")*")|' + re.escape(mark) + rb"[^\r\n]*"
    return re.sub(pattern, lambda match: match[1] or b"", content)


def _mark_quoted_words(content: bytes) -> bytes:
    """Put ``QUOTED`` before the default marks of missing values that stand in quotation marks."""
    if b'"' not in content:
        return content
    data = np.frombuffer(content, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))  # a doubled one stands in a longer text
    lengths = np.diff(quotes) - 1
    positions = np.empty(0, dtype=np.int64)
    for mark in DEFAULT_MARKS:
        starts = quotes[:-1][lengths == len(mark)] + 1
        for i, byte in enumerate(mark.encode()):
            starts = starts[data[starts + i] == byte]
        after = np.minimum(starts + len(mark) + 1, len(data) - 1)
        is_field = (data[np.maximum(starts - 2, 0)] != ord('"')) | (starts == 1)
        is_field &= (data[after] != ord('"')) | (after == starts + len(mark))
        positions = np.append(positions, starts[is_field])
    if not len(positions):
        return content
    sign = np.frombuffer(QUOTED.encode(), np.uint8)
    return np.insert(data, np.repeat(positions, len(sign)), np.tile(sign, len(positions))).tobytes()


def _has_runs(content: bytes) -> bool:
    """Return whether a text separated by spaces has tabs, or more than a space between fields."""
    runs = (b"  ", b"\t", b" \n", b"\n ", b" \r")
    return content.startswith(b" ") or any(run in content for run in runs)


def _without_runs(content: bytes) -> bytes:
    """Return a text with one tab in place of each run of spaces and tabs outside of quotes."""
    content = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", content)
    return re.sub(rb'("(?:[^"]|"")*")|[ \t]+', lambda match: match[1] or b"\t", content)


def _find_separator(content: bytes) -> str:
    """Return the separator that the first rows agree on, else the most frequent of the header."""
    header = next((line for line in _read_lines(content) if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", header)
    candidates = sorted(_SEPARATORS[:-1], key=unquoted.count, reverse=True)
    if not unquoted.count(candidates[0]):
        candidates.insert(0, " ")
    for separator in candidates:
        is_space = separator == " "
        sample = _without_runs(content[:_SAMPLE_SIZE]) if is_space else content[:_SAMPLE_SIZE]
        counts = _sample_widths(sample, "\t" if is_space else separator)
        if counts and counts[0] > 1 and {n - counts[0] for n in counts[1:]} in ({0}, {1}, set()):
            return separator
    return max(_SEPARATORS[:-1], key=unquoted.count)  # a comma if none occurs


def _sample_widths(content: bytes, separator: str) -> list[int]:
    """Return the number of fields of the first records; the last one may be cut."""
    records = _read_records(content, separator)
    try:
        widths = [len(fields) for *_, fields in islice(records, _SAMPLE + 1)]
    except csv.Error:
        return []
    return widths[:-1] if len(content) == _SAMPLE_SIZE or len(widths) > _SAMPLE else widths


def _read_lines(content: bytes) -> Iterator[str]:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="replace", newline="")


def _read_records(content: bytes, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and fields of each record that is not blank."""
    lines, start = _read_lines(content), 1
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
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
        raise _unreadable(error, 1, path, content) from None
    except StopIteration:
        raise RequestError("holds nothing but comments", source=path) from None
    names = [name.strip().strip(_INVISIBLE).removeprefix(QUOTED).strip() for name in names]
    if not any(names):
        message = f"line {start:,} holds no names of columns"
        raise RequestError(f"{message}; write them there, or delete the line", source=path)
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


def _unreadable(error: csv.Error, line: int, path: str, content: bytes) -> RequestError:
    message = f"cannot be read from line {line:,} on: {error}"
    advice = "is a quotation mark not closed?"
    if b'\\"' in content:
        advice = 'a quotation mark inside of a text is written "", not \\"'
    return RequestError(f"{message}; {advice}", source=path)


def _parse_exactly(content: bytes, separator: str, header: int, width: int, path: str) -> Fields:
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
                widths = [len(fields) for *_, fields in islice(records, _SAMPLE)] or [len(record)]
                if header == width and widths.count(header) < len(widths) / 2:
                    advice = "delete what stands before the names of the columns"
                raise RequestError(f"{message}; {advice}", source=path)
            rows.append(record)
            lines.append(line)
    except csv.Error as error:
        raise _unreadable(error, end + 1, path, content) from None
    columns = zip(*rows, strict=True) if rows else [()] * width
    arrays = (pa.chunked_array([pa.array([v or None for v in c], pa.string())]) for c in columns)
    return Fields(tuple(arrays), to_index(np.array(lines, dtype=np.int64)))


def _name_columns(
    header: list[str], columns: Sequence[Column], path: str, line: int
) -> tuple[list[str], list[Column], list[str]]:
    """Return names, columns and notes; a first column without a name is ``ROW_NAMES``."""
    names, notes = list(header), list[str]()
    if len(columns) > len(names):
        names = [*names, ""] if _is_empty(columns[-1]) else ["", *names]
    if not names[0] and not _is_empty(columns[0]):
        names[0] = ROW_NAMES if ROW_NAMES not in names else f"{ROW_NAMES}.1"
    retained = [i for i, name in enumerate(names) if name or not _is_empty(columns[i])]
    if count := len(names) - len(retained):
        notes.append(f"Left out: {count} empty column{'s' * (count > 1)} without a name.")
    names, columns = [names[i] for i in retained], [columns[i] for i in retained]
    check_names(names, path, f"line {line:,}: ")
    return names, columns, notes


def _is_empty(column: Column) -> bool:
    if isinstance(column, Numbers):
        return False
    return {text for text in pc.unique(column).to_pylist() if text and text.strip()} == set()


def check_names(names: Sequence[str], path: str, place: str = "") -> None:
    """Refuse columns without a name, and two columns of one name."""
    positions = dict[str, int]()
    for number, name in enumerate(names, start=1):
        if not name:
            message = f"{place}column {number} of {len(names)} has no name"
            raise RequestError(f"{message}; write one into the header", source=path)
        if name in positions:
            message = f"{place}columns {positions[name]} and {number} are both named '{name}'"
            raise RequestError(f"{message}; rename one in the header", source=path)
        positions[name] = number
