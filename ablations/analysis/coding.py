"""Levels and configurations as integers, in an order that follows from no chance of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


NONE = "None"
"""The level of runs whose level is missing."""


def factorize(values: pd.Series) -> tuple[Ints, pd.Index]:
    """Number the different levels in order of appearance; a missing one has the code -1.

    True is not the level 1, as it is to pandas in a column of objects.
    """
    codes, levels = pd.factorize(values)
    if values.dtype == object and any(level in (0, 1) for level in levels):
        flags = [isinstance(value, (bool, np.bool_)) for value in values]
        codes, _ = pd.factorize(np.where(codes >= 0, 2.0 * codes + flags, np.nan))
        first = np.unique(codes, return_index=True)[1][int((codes < 0).any()) :]
        levels = pd.Index(values.iloc[first], dtype=object)
    return np.asarray(codes, dtype=np.int64), pd.Index(levels)


@dataclass(frozen=True, eq=False)
class Column:
    """A column ``values`` of levels of any type: ``levels`` are the distinct ones, in order of
    appearance, and ``codes`` each row's position among them, -1 where its level is missing.
    """

    codes: Ints
    levels: pd.Index
    values: pd.Series

    @classmethod
    def from_values(cls, values: pd.Series) -> Column:
        codes, levels = factorize(values)
        return cls(codes, levels, values)

    @cached_property
    def texts(self) -> list[str]:
        """The levels as text; last, where code -1 finds it, a missing level."""
        missing = self.values[self.codes < 0].head(1).tolist()
        return [str(level) for level in [*self.levels, *missing]]

    def at(self, level: object) -> Bools:
        """Mark the rows that have a level."""
        level = name_level(level)
        return np.array([*(_is_same(value, level) for value in self.levels), False])[self.codes]

    def infer_levels(self, rows: Ints) -> pd.Series:
        """Return the levels of some rows, in the narrowest type that holds them."""
        return self.values.iloc[rows].reset_index(drop=True).infer_objects()

    def code_of(self, level: object) -> int:
        """Return the code of a level: -2 where the column lacks it, -1 for a missing one if it has
        none of the name ``"None"``.
        """
        name = name_level(level)
        default = -2 if name is level else -1
        return next((i for i, value in enumerate(self.levels) if _is_same(value, name)), default)


def name_level(level: Any) -> Any:
    """Return a level, ``"None"`` in place of a missing one."""
    is_missing = not isinstance(level, (tuple, list)) and bool(pd.isna(level))
    return NONE if is_missing else level


def _is_same(value: object, level: object) -> bool:
    if isinstance(value, bool) is not isinstance(level, bool):
        return False  # a level True is not the level 1
    return isinstance(value, tuple) == isinstance(level, tuple) and bool(value == level)


def cell_codes(levels: pd.DataFrame) -> Ints:
    """Number the distinct rows of ``levels`` as they appear; a missing level is one of its own."""
    return combine((Column.from_values(levels[name]) for name in levels.columns), len(levels))


def combine(columns: Iterable[Column], size: int) -> Ints:
    """Number the distinct rows of columns of ``size`` rows, in order of appearance."""
    key = np.zeros(size, dtype=np.int64)
    for column in columns:
        # Compressed after every column, so that the product of many axes never overflows.
        key, _ = pd.factorize(key * (len(column.levels) + 1) + column.codes + 1)
    return np.asarray(key, dtype=np.int64)


def number_pairs(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Number the distinct pairs of two columns of codes from 0; and the first row of each pair."""
    key = first * (second.max(initial=0) + 1) + second
    _, rows, numbers = np.unique(key, return_index=True, return_inverse=True)
    return numbers, rows


def count_distinct(first: Ints, second: Ints, size: int) -> Ints:
    """Count the distinct codes of ``second`` beside each of the codes 0 to ``size`` - 1."""
    _, rows = number_pairs(first, second)
    return np.bincount(first[rows], minlength=size)


def rank_texts(texts: Sequence[str]) -> Ints:
    """Return the position of each text in their order."""
    return np.argsort(np.argsort(np.asarray(texts, dtype=str), kind="stable"))


def rank_rows(levels: pd.DataFrame) -> Ints:
    """Return the position of each row in the order of levels as text, the same for every table."""
    rows = levels.itertuples(index=False)
    return rank_texts([" ".join(map(str, row)) for row in rows])


def varying(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of ``columns`` that take at least two values: one level is not a factor."""
    present = [name for name in columns if name in runs]
    return [name for name in present if len(np.unique(factorize(runs[name])[0])) > 1]


def fixed_order(d: Floats) -> Ints:
    """Order the rows of ``d`` (seeds x contrasts) by numbers: labels, signs, units do not count."""
    size = np.abs(np.nan_to_num(d))
    ranks = np.empty_like(size)
    for j, column in enumerate(size.T):
        ranks[:, j] = np.unique(np.round(column / (column.max() or 1.0), 9), return_inverse=True)[1]
    sums = ranks.sum(axis=1), (ranks**2).sum(axis=1), (ranks**3).sum(axis=1)
    return np.asarray(np.lexsort(sums[::-1]), dtype=np.int64)
