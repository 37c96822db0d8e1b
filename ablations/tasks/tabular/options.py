"""How a table is read from its file: the keys of a study, and the type of each column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import AfterValidator, Field, PlainValidator

from ablations.core.errors import RequestError, nearest


def _read_targets(value: Any) -> str | tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    is_list = isinstance(names, (list, tuple)) and bool(names)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise RequestError(f"expected the name of a column, or a list of names, found {value!r}")
    if len(set(names)) < len(names):
        raise RequestError(f"names a column twice: {list(names)}")
    return names[0] if len(names) == 1 else tuple(names)


Kind = Literal["auto", "regression", "binary", "multiclass"]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Split = Literal["random", "time", "column"]
Targets = Annotated[str | tuple[str, ...], PlainValidator(_read_targets)]
ManyCategories = Literal["hash", "other"]
ColumnType = Literal["number", "category", "text", "date"]
"""``category`` and ``text`` mean the same: each value stays as it is written, so that ``01`` and
``1`` differ."""

COLUMN_TYPES: tuple[str, ...] = get_args(ColumnType)
DEFAULT_MARKS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "<NA>", "?")
"""Texts that stand for a missing value unless a study says otherwise, beside the empty field."""


def _read_types(value: Any) -> tuple[tuple[str, ColumnType], ...]:
    try:
        pairs = dict(value)
    except (TypeError, ValueError):
        message = 'expected a table of columns and types, such as { zip = "category" }'
        raise RequestError(f"{message}, found {value!r}") from None
    for column, kind in pairs.items():
        if kind not in COLUMN_TYPES:
            raise RequestError(f"unknown type {kind!r}; {nearest(kind, COLUMN_TYPES)}", f"{column}")
    return tuple(sorted((str(column), kind) for column, kind in pairs.items()))


Marks = tuple[str, ...]
MarksByColumn = tuple[tuple[str, Marks], ...]


def _read_missing(value: Any) -> Marks | MarksByColumn | None:
    if value is None:
        return None
    is_pairs = isinstance(value, tuple) and bool(value) and all(isinstance(v, tuple) for v in value)
    if isinstance(value, Mapping) or is_pairs:
        pairs = sorted(dict(value).items())
        return tuple((str(column), _read_marks(marks)) for column, marks in pairs)
    return _read_marks(value)


def _read_marks(value: Any) -> Marks:
    marks = list(value) if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(mark, bool) or not isinstance(mark, (str, int, float)) for mark in marks):
        message = 'expected texts such as ["-999", "unknown"], or a list of texts for each column'
        raise RequestError(f"{message}, found {value!r}")
    return tuple(dict.fromkeys(str(mark).strip() for mark in marks))


Types = Annotated[tuple[tuple[str, ColumnType], ...], PlainValidator(_read_types)]
Missing = Annotated[Marks | MarksByColumn | None, PlainValidator(_read_missing)]


def _check_encoding(name: str) -> str:
    try:
        "".encode(name or "utf-8")
    except (LookupError, ValueError):
        message = f"unknown encoding {name!r}; expected a name such as 'latin-1' or 'cp1252'"
        raise RequestError(message) from None
    return name


Encoding = Annotated[str, AfterValidator(_check_encoding)]


def _check_character(text: str) -> str:
    if len(text) > 1 or text.isalnum() or text in ('"', "\r", "\n"):
        raise RequestError(
            f"expected one character that is no letter, digit or quote, found {text!r}"
        )
    return text


Character = Annotated[str, AfterValidator(_check_character)]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """What a study says about how a table is read.

    Parameters
    ----------
    types
        Column to ``number``, ``category``, ``text`` (the same as ``category``) or ``date``; the
        types of other columns are inferred.
    missing
        Texts that stand for a missing value, in the table or in each column that it names.
        None: ``DEFAULT_MARKS``.  An empty field is always missing.
    encoding
        Encoding of the text, such as ``latin-1``; by default UTF-8, or UTF-16 with its mark.
    separator
        Character between two fields; a space stands for any run of spaces and tabs.
    decimal, thousands
        Characters in numbers: the decimal mark, and the mark between groups of digits.
    comment
        Character that starts a comment; the rest of its line is ignored.
    date_format
        Format of dates, such as ``%d.%m.%Y``, as for ``datetime.strptime``; by default ISO 8601.
    """

    types: Types = ()
    missing: Missing = None
    encoding: Encoding = ""
    separator: Character = ""
    decimal: Character = ""
    thousands: Character = ""
    comment: Character = ""
    date_format: str = ""

    @classmethod
    def of_table(cls, options: ReadingOptions) -> Self:
        """Return the options that belong to reading, out of an object that has more."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def marks(self, column: str) -> Marks | None:
        """Return the texts that the study calls missing in a column; None if it says nothing."""
        if self.missing is None or all(isinstance(mark, str) for mark in self.missing):
            return cast("Marks | None", self.missing)
        return dict(cast(MarksByColumn, self.missing)).get(column)

    def columns(self) -> Iterable[tuple[str, str]]:
        """Yield key and column of each column that the options name."""
        yield from (("types", column) for column, _ in self.types)
        if self.missing is not None:
            yield from (("missing", pair[0]) for pair in self.missing if isinstance(pair, tuple))


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
    is_rekeyed: bool = False
    """Whether versions up to 0.1 would have merged some of its values, or called a word missing."""
    is_row_names: bool = False
    """Whether it is the unnamed first column: no feature unless a study names it."""


READING_FIELDS = frozenset(field.name for field in fields(ReadingOptions))


def to_table(value: Any) -> Any:
    """Return a value of ``types`` or ``missing`` as a study writes it: a table, or a list."""
    if all(isinstance(item, str) for item in value):
        return list(value)
    return {column: list(entry) if isinstance(entry, tuple) else entry for column, entry in value}


def as_key(name: str) -> str:
    """Return a column's name as a key of TOML, in quotation marks if it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


@dataclass(frozen=True)
class TableOptions(ReadingOptions):
    """What a study says about a table."""

    path: str
    target: Targets
    """The column to predict; or several, of numbers, for a network with as many outputs."""
    kind: Kind = "auto"
    features: Names = ()
    drop: Names = ()
    split: Split = "random"
    by: str = ""
    """The column with the time, or with the name of the split of each row."""
    group: str = ""
    """Rows with the same value in this column stay in the same split."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of validation rows."""
    shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False)] = ()
    """The shape of a row, channels first: (channel, step) or (channel, height, width).  With a
    shape, constant columns are features too."""
    test: Annotated[float, Field(ge=0, lt=1)] = field(default=0.0, kw_only=True)
    """The share of test rows."""
    standardize: bool = field(default=True, kw_only=True)
    """Whether numbers among the features get mean 0 and standard deviation 1.  ``False`` is for
    tokens and other codes that the network itself reads: all columns stay, as they are."""

    max_categories: Annotated[int, Field(gt=1)] = field(default=100, kw_only=True)
    """Most categories of a column that have an indicator each."""
    many_categories: ManyCategories = field(default="hash", kw_only=True)
    """What becomes of a column with more: ``hash`` or ``other`` (``features.Category``)."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def split_columns(self) -> tuple[str, ...]:
        """The columns that define the split; they are features only if named as such."""
        return tuple(name for name in (self.by, self.group) if name)

    @property
    def keeps_constants(self) -> bool:
        """Whether columns of a constant number are features too: the network counts on each."""
        return bool(self.shape) or not self.standardize
