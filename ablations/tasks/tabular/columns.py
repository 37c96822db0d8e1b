"""What the columns of a table are: numbers, categories, days, a target; or why they cannot be used.

Nothing here looks at single rows to train on: what is fitted, is fitted by ``encoding``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ablations.core.errors import nearest
from ablations.tasks.tabular.reader import Read, first

__all__ = ["Asked", "Category", "Columns", "Kind", "columns"]

Kind = Literal["auto", "regression", "binary", "multiclass"]

FEWEST_ROWS = 20
"""Rows with a target that a table must have."""

LARGEST = 1e30
"""The largest number that is computed with: float32 holds little more."""

MOST_CATEGORIES = 100
"""Different texts that a column may have to count as categories."""

FEW = 20
"""Up to so many different whole numbers may be classes as well as amounts."""

MISSING = "(missing)"
_NUMBER = "|".join(
    [
        r"[-+]?\d{1,3}(?:[ .,'\u00a0]\d{3})+(?:[.,]\d+)?",
        r"[-+]?\d+,\d+",
        r"[-+]?[$€£] ?\d[\d.,]*",
        r"[-+]?\d[\d.,]* ?[$€£%]",
    ]
)
"""How people write numbers that are none to a program."""
_DAYS_A_YEAR = 365.2425


@dataclass(frozen=True)
class Asked:
    """What a study says of the columns; empty where it says nothing."""

    target: str
    kind: Kind = "auto"
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    """Columns that say how to split; features only where named as such."""
    shape: tuple[int, ...] = ()
    """The shape of a row, of which then no column is left out."""


@dataclass(frozen=True)
class Category:
    """A column of categories."""

    name: str
    codes: np.ndarray
    """Shape (row,), places in ``values``."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """A table ready to be split."""

    read: Read
    kind: Kind
    numbers: np.ndarray
    """Shape (row, number), float64, NaN where missing."""
    categories: tuple[Category, ...]
    targets: np.ndarray
    """Shape (row, 1), float64, or (row,), int64, the places in ``classes``."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """What was left out or filled in, in sentences."""

    @property
    def frame(self) -> pd.DataFrame:
        """The rows with a target, all columns."""
        return self.read.frame

    @property
    def inputs(self) -> int:
        """How many features a network sees."""
        return int(self.numbers.shape[1]) + sum(len(column.values) for column in self.categories)

    @property
    def outputs(self) -> int:
        """How many outputs it has."""
        return len(self.classes) or 1


def columns(read: Read, asked: Asked) -> Columns:
    """Take a table's columns for what they are.

    Raises
    ------
    RequestError
        Naming the column that cannot be used, and the line that shows why.
    """
    _check_names(read, asked)
    notes: list[str] = []
    read = _with_target(read, asked.target, notes)
    kind, targets, classes = _target(read, asked)
    numbers: list[np.ndarray] = []
    categories: list[Category] = []
    constant: list[str] = []
    unusable: list[str] = []
    filled: list[str] = []
    counting: list[str] = []
    for name in _features(read, asked):
        column = read.frame[name]
        known = column.dropna()
        if _never_varies(column, known) and not (asked.shape and _is_numeric(column)):
            constant.append(name)
        elif pd.api.types.is_datetime64_any_dtype(column):
            numbers += _of_days(column)
            filled += [name] * bool(column.isna().any())
        elif _is_numeric(column):
            numbers.append(_finite(read, name, column))
            filled += [name] * bool(column.isna().any())
            counting += [name] * _counts_rows(numbers[-1])
        else:
            text = known.astype(str)
            _refuse_almost_numbers(read, name, text)
            different = text.nunique()
            if different > MOST_CATEGORIES or different > max(FEW, len(text) // 2):
                unusable.append(name)
            else:
                categories.append(_category(name, column))
    if unusable:
        raise read.refuse(_too_many(read, unusable))
    if not numbers and not categories:
        raise read.refuse("no column is left to learn from: all others never vary")
    notes += _notes(constant, filled, counting)
    rows = len(read.frame)
    if asked.shape and (categories or len(numbers) != math.prod(asked.shape)):
        found = len(numbers) + len(categories)
        message = f"has {found:,} columns to learn from, and a row of shape {list(asked.shape)}"
        raise read.refuse(f"{message} needs {math.prod(asked.shape):,} of numbers")
    stacked = np.stack(numbers, 1) if numbers else np.empty((rows, 0))
    return Columns(read, kind, stacked, tuple(categories), targets, classes, tuple(notes))


def _check_names(read: Read, asked: Asked) -> None:
    names = list(read.frame.columns)
    wanted = {
        "target": (asked.target,),
        "features": asked.features,
        "drop": asked.drop,
        "group or by": asked.apart,
    }
    for key, listed in wanted.items():
        for name in listed:
            if name not in names:
                raise read.refuse(f"has no column '{name}' for {key}; {nearest(name, names)}")
    for name in asked.features:
        if name in asked.drop:
            raise read.refuse(f"column '{name}' is named in features and in drop")
    if asked.target in asked.features:
        raise read.refuse(f"the target '{asked.target}' cannot be a feature too")


def _with_target(read: Read, target: str, notes: list[str]) -> Read:
    there = read.frame[target].notna()
    missing = int((~there).sum())
    if missing == len(there):
        raise read.refuse(f"the target '{target}' holds nothing")
    if missing:
        which = read.at(first(~there))
        rows = "A row" if missing == 1 else f"{missing:,} rows"
        left = "is left out" if missing == 1 else "are left out, the first"
        notes.append(f"{rows} without a target {left} in {which}.")
    frame = read.frame[there] if missing else read.frame
    if len(frame) < FEWEST_ROWS:
        message = f"has {len(frame)} rows with a target; at least {FEWEST_ROWS} are needed"
        raise read.refuse(message)
    return Read(read.source, frame, read.unit)


def _features(read: Read, asked: Asked) -> Sequence[str]:
    if asked.features:
        return asked.features
    without = {asked.target, *asked.drop, *asked.apart}
    return [name for name in read.frame.columns if name not in without]


def _never_varies(column: pd.Series, known: pd.Series) -> bool:
    return known.nunique() < 2 and (known.empty or len(known) == len(column))


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


# ------------------------------------------------------------------------------------- the target


def _target(read: Read, asked: Asked) -> tuple[Kind, np.ndarray, tuple[str, ...]]:
    column = read.frame[asked.target]
    if column.nunique() < 2:
        value = _label(column.iloc[0])
        raise read.refuse(f"the target '{asked.target}' never varies: it is {value}")
    kind = _kind(read, asked.target, column) if asked.kind == "auto" else asked.kind
    if kind == "regression":
        return kind, _amounts(read, asked.target, column), ()
    return kind, *_classes(read, asked.target, column, kind)


def _kind(read: Read, name: str, column: pd.Series) -> Kind:
    """What a target must be, where nobody said; whole numbers of a few kinds are no clear case."""
    if pd.api.types.is_datetime64_any_dtype(column):
        raise read.refuse(f"the target '{name}' holds days; numbers or classes are wanted")
    different = column.nunique()
    if different == 2:
        return "binary"
    if not _is_numeric(column):
        return "multiclass"
    found = column.to_numpy(dtype=float)
    if different <= FEW and (found == np.round(found)).all():
        message = f"the target '{name}' holds {different} different whole numbers"
        advice = 'say whether they are amounts (kind = "regression") or classes'
        raise read.refuse(f'{message}: {advice} (kind = "multiclass")')
    return "regression"


def _amounts(read: Read, name: str, column: pd.Series) -> np.ndarray:
    if not _is_numeric(column):
        text = column.astype(str)
        numbers = pd.to_numeric(text, errors="coerce")
        bad = first(numbers.isna()) if numbers.isna().any() else column.index[0]
        found = f"{text.loc[bad]!r} in {read.at(bad)}"
        message = f"the target '{name}' holds {found}, and regression needs numbers"
        raise read.refuse(f'{message}; classes are kind = "multiclass"')
    amounts: np.ndarray = column.to_numpy(dtype=float)
    if not np.isfinite(amounts).all():
        place = read.at(first(pd.Series(~np.isfinite(amounts), index=column.index)))
        raise read.refuse(f"the target '{name}' is not finite in {place}")
    return amounts.reshape(-1, 1)


def _classes(
    read: Read, name: str, column: pd.Series, kind: Kind
) -> tuple[np.ndarray, tuple[str, ...]]:
    counts = column.value_counts()
    if kind == "binary" and len(counts) != 2:
        message = f"the target '{name}' has {len(counts):,} different values, and binary means two"
        raise read.refuse(f'{message}; say kind = "multiclass"')
    if len(counts) > max(2, len(column) // 4):
        message = (
            f"the target '{name}' has {len(counts):,} different values in {len(column):,} rows"
        )
        raise read.refuse(f'{message}, too many to be classes; amounts are kind = "regression"')
    values = np.sort(column.unique()) if _is_numeric(column) else sorted(map(str, column.unique()))
    labels = tuple(_label(value) for value in values)
    named = column if _is_numeric(column) else column.astype(str)
    place = {value: number for number, value in enumerate(values)}
    codes = named.map(place).to_numpy(dtype=np.int64)
    rare = np.flatnonzero(np.bincount(codes) < 2)
    if len(rare):
        where = read.at(first(pd.Series(codes == rare[0], index=column.index)))
        message = f"the class '{labels[rare[0]]}' of '{name}' has a single row, {where}"
        raise read.refuse(f"{message}; two are needed, to learn from one and to be tested on one")
    return codes, labels


def _label(value: object) -> str:
    number = isinstance(value, (int, float, np.integer, np.floating))
    return f"{value:g}" if number and not isinstance(value, bool) else str(value)


# ----------------------------------------------------------------------------------- the features


def _finite(read: Read, name: str, column: pd.Series) -> np.ndarray:
    found: np.ndarray = column.to_numpy(dtype=float, na_value=np.nan)
    wrong = np.abs(found) > LARGEST
    if wrong.any():
        place = first(pd.Series(wrong, index=column.index))
        what = "an infinite number" if np.isinf(found[wrong][0]) else f"{found[wrong][0]:g}"
        also = "" if np.isinf(found[wrong][0]) else ", too large to compute with"
        raise read.refuse(f"column '{name}' holds {what} in {read.at(place)}{also}")
    return found


def _of_days(column: pd.Series) -> list[np.ndarray]:
    """Days since the first, and the time of the year as a point on a circle."""
    since = (column - column.min()) / pd.Timedelta(days=1)
    turn = 2 * np.pi * (column.dt.day_of_year - 1) / _DAYS_A_YEAR
    return [np.asarray(part, dtype=float) for part in (since, np.sin(turn), np.cos(turn))]


def _category(name: str, column: pd.Series) -> Category:
    values: list[str] = sorted(column.dropna().astype(str).unique())
    if column.isna().any():
        values.append(MISSING)
    place = {value: number for number, value in enumerate(values)}
    codes = column.astype(object).where(column.notna(), MISSING).astype(str).map(place)
    return Category(name, codes.to_numpy(dtype=np.int64), tuple(values))


def _refuse_almost_numbers(read: Read, name: str, text: pd.Series) -> None:
    """A column that was meant to hold numbers, or days, and does not throughout."""
    for what, parsed in (
        ("numbers", pd.to_numeric(text, errors="coerce")),
        ("days", pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)),
    ):
        good = int(parsed.notna().sum())
        if len(text) // 2 < good < len(text):
            bad = first(parsed.isna())
            found = f"{text.loc[bad]!r} in {read.at(bad)}"
            message = f"column '{name}' holds {what}, but also {found}"
            raise read.refuse(f"{message}; mend it, or leave the column out with drop")
    written = text.str.fullmatch(_NUMBER)
    if int(written.sum()) > len(text) // 2:
        place = first(written)
        message = f"column '{name}' holds numbers as {text.loc[place]!r} in {read.at(place)}"
        raise read.refuse(f"{message}; write them as 1234.5, or leave the column out with drop")


def _too_many(read: Read, names: list[str]) -> str:
    counts = [f"'{name}' ({read.frame[name].nunique():,})" for name in names]
    which = f"column{'s' * (len(names) > 1)} {', '.join(counts)}"
    quoted = ", ".join(f'"{name}"' for name in names)
    return (
        f"{which} hold{'s' * (len(names) == 1)} as many different texts, too many to be "
        f"categories; days are written as YYYY-MM-DD; leave out with drop = [{quoted}]"
    )


def _counts_rows(found: np.ndarray) -> bool:
    """Whether a column only numbers the rows."""
    return len(found) > 2 and bool((np.diff(found) == 1).all())


def _notes(constant: list[str], filled: list[str], counting: list[str]) -> list[str]:
    notes = []
    if constant:
        notes.append(f"Left out, since they never vary: {_quoted(constant)}.")
    if filled:
        notes.append(f"Missing values of {_quoted(filled)} are the median of the training rows.")
    if counting:
        notes.append(f"{_quoted(counting)} seems to number the rows: leave it out with drop.")
    return notes


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
