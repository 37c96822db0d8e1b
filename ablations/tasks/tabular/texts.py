"""A column of texts as its different values, and the numbers in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ablations.tasks.tabular.delimited import QUOTED
from ablations.tasks.tabular.options import DEFAULT_MARKS

MAX_EXACT = 2**53
"""Up to this number, float64 holds each whole number exactly."""
_WHOLE = r"[-+]?\d+"


@dataclass(frozen=True)
class Texts:
    """The different texts of a column, stripped, and which of them each row holds."""

    values: pd.Series
    """Shape (value,), dtype str; the index counts from 0."""
    codes: np.ndarray
    """Shape (row,), positions in ``values``; -1 in a row without a value."""
    index: pd.Index
    """Shape (row,): the line of each row."""
    unit: str = "line"

    @classmethod
    def encode(cls, texts: pa.ChunkedArray, index: pd.Index, unit: str = "line") -> Texts:
        """Return the texts of a column; nulls, empty texts and blanks are no values."""
        encoded = pa.concat_arrays(texts.chunks).dictionary_encode()
        stripped = pd.Series(encoded.dictionary.to_pylist(), dtype=str).str.strip()
        positions, values = pd.factorize(stripped.mask(stripped == ""))
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        lookup = np.append(positions, -1)  # the last entry is that of a missing value
        return cls(pd.Series(values, dtype=str), lookup[codes], index, unit)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many rows hold each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @cached_property
    def is_mark(self) -> np.ndarray:
        """Which values are default marks of a missing value, in quotation marks or not."""
        return np.asarray(self.unmarked.isin(DEFAULT_MARKS))

    @cached_property
    def unmarked(self) -> pd.Series:
        """The values as they stand in the file, without ``QUOTED``."""
        return self.values.str.removeprefix(QUOTED)

    def missing(self, is_missing: np.ndarray) -> tuple[tuple[str, int], ...]:
        """Return each text that is missing, and in how many rows; "" for empty fields."""
        counts: dict[str, int] = {}
        if empty := int((self.codes < 0).sum()):
            counts[""] = empty
        for i in np.flatnonzero(is_missing):
            if n := int(self.counts[i]):
                counts[self.unmarked[i]] = counts.get(self.unmarked[i], 0) + n
        return tuple(counts.items())

    def without(self, is_missing: np.ndarray) -> Texts:
        """Return a column without some of the values."""
        if not is_missing.any():
            return self
        positions = np.where(is_missing, -1, np.cumsum(~is_missing) - 1)
        values = self.values[~is_missing].reset_index(drop=True)
        return replace(self, values=values, codes=np.append(positions, -1)[self.codes])

    def share(self, is_wanted: np.ndarray) -> float:
        """Return the share of the rows with a value that hold one of some values."""
        total = int(self.counts.sum())
        return float(self.counts[is_wanted].sum() / total) if total else 0.0

    def cite(self, is_wanted: np.ndarray) -> str:
        """Return the first of some values, and where it stands: ``'1,5' in line 17``."""
        row = int(np.argmax(np.append(is_wanted, False)[self.codes]))
        return f"{self.unmarked[self.codes[row]]!r} in {self.unit} {self.index[row]:,}"

    def spread(self, values: np.ndarray, missing: object) -> np.ndarray:
        """Return an entry for each row, out of one for each value."""
        entries = np.append(values, np.array([missing], dtype=values.dtype))
        return np.asarray(entries[self.codes])

    def to_words(self) -> pd.Series:
        """Return the column as words."""
        values = pa.array(self.unmarked.tolist(), pa.string())
        codes = pa.array(self.codes, mask=self.codes < 0)
        words = pc.take(values, codes)
        return pd.Series(words.to_pandas(), dtype=str).set_axis(self.index)

    def to_numbers(self, numbers: np.ndarray) -> pd.Series:
        """Return the column as numbers, one for each value: whole numbers exactly."""
        exact = self._exact(numbers)
        if exact is None:
            return pd.Series(self.spread(numbers, np.nan), self.index, dtype=float)
        is_missing = self.codes < 0
        column = pd.Series(self.spread(exact, 0), self.index)
        if is_missing.any():
            column = column.astype("Int64" if exact.dtype == np.int64 else "UInt64")
            column[is_missing] = pd.NA
        return column

    def are_whole(self) -> bool:
        """Return whether all values are whole numbers of digits only."""
        return bool(self.values.str.fullmatch(_WHOLE).all())

    def are_too_long(self, numbers: np.ndarray) -> bool:
        """Return whether the values are whole numbers that no type of 64 bits holds."""
        if not len(numbers) or np.abs(numbers).max() < 2.0**63 or not self.are_whole():
            return False
        values = [int(value) for value in self.values]
        return max(values) >= 2**64 or (min(values) < 0 and max(values) >= 2**63)

    def _exact(self, numbers: np.ndarray) -> np.ndarray | None:
        """Return whole numbers that float64 rounds, as int64 or uint64; None if it rounds none."""
        if not len(numbers) or np.abs(numbers).max() < MAX_EXACT or not self.are_whole():
            return None
        values = [int(value) for value in self.values]
        return np.array(values, np.uint64 if max(values) >= 2**63 else np.int64)


def parse_numbers(values: pd.Series, decimal: str = ".", thousands: str = "") -> np.ndarray:
    """Return the number in each text, shape (value,), float64; NaN where it is none."""
    is_valid = np.ones(len(values), dtype=bool)
    if thousands:
        group = r"[ \u00a0\u202f]" if thousands.isspace() else re.escape(thousands)
        pattern = rf"[-+]?\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:{re.escape(decimal)}\d*)?"
        is_grouped = values.str.fullmatch(pattern).to_numpy(dtype=bool)
        is_valid &= is_grouped | ~values.str.contains(group).to_numpy(dtype=bool)
        values = values.str.replace(group, "", regex=True)
    if decimal != ".":
        is_valid &= ~values.str.contains(".", regex=False).to_numpy(dtype=bool)
        values = values.str.replace(decimal, ".", regex=False)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return np.where(is_valid, numbers, np.nan)


def cast_numbers(texts: pa.ChunkedArray, *, keeps_zeros: bool) -> np.ndarray | None:
    """Return a column of plain numbers, NaN in empty fields; None if it holds anything else.

    Whole numbers that float64 rounds are something else; so are leading zeros, if they are kept.
    """
    if pa.types.is_floating(texts.type):
        return np.asarray(texts.to_numpy())
    try:
        numbers = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return None
    array: np.ndarray = numbers.to_numpy()
    if int(np.isnan(array).sum()) != texts.null_count:  # a word such as nan
        return None
    is_whole = bool((np.floor(array) == array)[~np.isnan(array)].all())
    if is_whole and len(array):
        if np.nanmax(np.abs(array), initial=0) >= MAX_EXACT:
            return None
        if keeps_zeros and pc.any(pc.match_substring_regex(texts, r"^[-+]?0\d")).as_py():
            return None
    return array
