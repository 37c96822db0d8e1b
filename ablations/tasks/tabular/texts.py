"""A column of texts as its different values, and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_OTHER_DIGIT = re.compile(r"[^\D0-9]|\u2212")
"""A digit of another script, or the minus sign of typesetting."""


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
        encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        chunks = encoded.unify_dictionaries().chunks
        indices = pa.concat_arrays([chunk.indices for chunk in chunks])
        codes = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        values = chunks[0].dictionary if chunks else pa.array([], pa.string())
        stripped = pc.utf8_trim_whitespace(values)
        if not stripped.equals(values) or pc.any(pc.equal(values, "")).as_py():
            positions, uniques = pd.factorize(stripped.to_pandas().replace("", None))
            codes = np.append(positions, -1)[codes]  # the last entry is that of a missing value
            values = pa.array(uniques, pa.string())
        return cls(_to_series(values), codes, index, unit)

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
        if not pc.any(pc.starts_with(pa.array(self.values), QUOTED)).as_py():
            return self.values
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

    def sample(self, rows: int = 1000) -> Texts:
        """Return some rows, at equal distances."""
        step = max(1, len(self.codes) // rows)
        positions, codes = np.unique(self.codes[::step], return_inverse=True)
        if positions[:1] == -1:
            positions, codes = positions[1:], codes - 1
        values = self.values.iloc[positions].reset_index(drop=True)
        return Texts(values, codes, self.index[::step], self.unit)

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
        values = pa.array(self.unmarked, pa.string())
        codes = pa.array(self.codes, mask=self.codes < 0)
        return _to_series(pc.take(values, codes)).set_axis(self.index)

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


def _to_ascii(match: re.Match[str]) -> str:
    return "-" if match[0] == "\u2212" else str(int(match[0]))


def parse_numbers(values: pd.Series, decimal: str = ".", thousands: str = "") -> np.ndarray:
    """Return the number in each text, shape (value,), float64; NaN where it is none."""
    is_valid = np.ones(len(values), dtype=bool)
    if not all(map(str.isascii, values)):
        values = values.str.replace(_OTHER_DIGIT, _to_ascii, regex=True)
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


def read_numbers(
    texts: pa.ChunkedArray, *, keeps_zeros: bool
) -> tuple[pd.Series, tuple[tuple[str, int], ...]] | None:
    """Return a column of plain numbers, and its missing texts; None if it holds anything else.

    Whole numbers that int64 does not hold are something else; so are those with leading zeros, if
    ``keeps_zeros``.
    """
    if not pa.types.is_string(texts.type):
        return None
    missing: tuple[tuple[str, int], ...] = ()
    try:
        numbers = pc.cast(texts, pa.float64())
        is_clean = not numbers.null_count and not pc.any(pc.is_nan(numbers)).as_py()
    except pa.ArrowInvalid:
        is_clean = False
    if not is_clean:
        is_missing = pc.or_(pc.is_null(texts), pc.is_in(texts, _MISSING))
        counts = pc.value_counts(texts.filter(is_missing)).to_pylist()
        missing = _add_up((count["values"] or "", count["counts"]) for count in counts)
        texts = pc.if_else(is_missing, None, texts)
        try:
            numbers = pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            return None
    array = np.asarray(numbers.to_numpy())
    is_number = ~np.isnan(array)
    if int(is_number.sum()) != len(texts) - texts.null_count:  # the word -nan
        return None
    if (np.floor(array) == array)[is_number].all():
        if keeps_zeros and pc.any(pc.match_substring_regex(texts, r"^[-+]?0\d")).as_py():
            return None
        if np.abs(array[is_number]).max(initial=0) >= MAX_EXACT:
            return _read_long_numbers(texts, missing)
    return pd.Series(array, copy=False), missing


_MISSING = pa.array(["", *DEFAULT_MARKS])


def _read_long_numbers(
    texts: pa.ChunkedArray, missing: tuple[tuple[str, int], ...]
) -> tuple[pd.Series, tuple[tuple[str, int], ...]] | None:
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    if not numbers.null_count:
        return numbers.to_pandas(), missing
    filled = pc.fill_null(numbers, 0).to_numpy()
    is_missing = np.array(numbers.is_null())
    return pd.Series(pd.arrays.IntegerArray(filled.copy(), is_missing)), missing


def _add_up(counts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    total: dict[str, int] = {}
    for text, count in counts:
        total[text] = total.get(text, 0) + count
    return tuple(total.items())


def _to_series(texts: pa.Array) -> pd.Series:
    return pd.Series(texts.to_pandas(), dtype=str)
