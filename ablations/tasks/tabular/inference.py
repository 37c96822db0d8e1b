"""The type of a column of texts: stated by the study, or inferred from all of its values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ablations.core.errors import RequestError
from ablations.tasks.tabular.delimited import QUOTED
from ablations.tasks.tabular.fields import Column, Numbers, has_groups
from ablations.tasks.tabular.formatted import find_problem, strip_unit, suggest_dates
from ablations.tasks.tabular.options import ColumnReading, ColumnType, ReadingOptions, as_key
from ablations.tasks.tabular.texts import Texts, parse_numbers, read_numbers

_TWO_LETTERS = "[A-Z]{2}"
"""Codes of countries, continents and states, among which NA is one."""
_CODE = r"\d+"
_HEAD = 50
"""How many values are tried before all of them."""
_LEADING_ZERO = r"0\d+"


@dataclass(frozen=True)
class _Typed:
    """A column with its type."""

    column: pd.Series
    type: ColumnType
    is_missing: np.ndarray
    """Which values of the texts are missing."""
    notes: tuple[str, ...] = ()
    problem: str = ""
    is_rekeyed: bool = False


@dataclass(frozen=True)
class ColumnReader:
    """How the columns of one file are read."""

    options: ReadingOptions
    error: Callable[[str], RequestError]
    """Makes an error about the file."""
    is_quoted: Callable[[str], bool] = field(default=lambda _: False)
    """Whether a text stands in quotation marks somewhere in the file."""
    decimal: str = "."
    has_marks: bool = True
    """Whether texts such as ``NA`` stand for missing values where the study does not say so."""
    infers: bool = True
    """Whether texts may be numbers or dates where the study does not say so."""
    unit: str = "line"

    def read(self, name: str, texts: Column, index: pd.Index) -> tuple[pd.Series, ColumnReading]:
        """Return a column with its type; raise ``RequestError`` if it does not fit a stated one."""
        stated, marks = dict(self.options.types).get(name), self.options.marks(name)
        is_plain = stated in (None, "number") and not marks and self.infers
        if isinstance(texts, Numbers):
            reading = ColumnReading(name, "number", stated is not None, texts.missing)
            return pd.Series(texts.values, index, copy=False), reading
        if is_plain and self.decimal == "." and not self.options.thousands:
            numbers = read_numbers(texts, keeps_zeros=stated is None)
            if numbers is not None:
                column, missing = numbers
                reading = ColumnReading(name, "number", stated is not None, missing)
                reading = replace(reading, is_rekeyed=column.dtype != float)
                if stated is None:
                    reading = replace(reading, notes=self._note_groups(name, texts))
                return column.set_axis(index), reading
        encoded = Texts.encode(texts, index, self.unit)
        is_missing = self._find_marks(encoded, marks or ())
        rest = encoded.without(is_missing)
        if stated == "number":
            typed = self._read_numbers(name, rest)
        elif stated == "date":
            typed = self._read_dates(name, rest)
        elif stated:
            typed = self._read_words(name, rest, stated)
        else:
            typed = self._infer(name, rest)
            if typed.type == "number" and self.decimal == "." and not self.options.thousands:
                notes = self._note_groups(name, pa.array(rest.values.tolist(), pa.string()))
                typed = replace(typed, notes=(*typed.notes, *notes))
        is_missing[~is_missing] = typed.is_missing
        reading = ColumnReading(
            name, typed.type, stated is not None, encoded.missing(is_missing), typed.notes,
            typed.problem, typed.is_rekeyed,
        )  # fmt: skip
        return typed.column, reading

    def _note_groups(self, name: str, texts: pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
        """Return a note if the points of numbers may be groups of thousands."""
        if self.options.decimal or not has_groups(texts):
            return ()
        note = f"'{name}' is read with decimal points, so that 1.234 is less than 2"
        return (f'{note}; for groups of thousands say thousands = ".".',)

    def _find_marks(self, texts: Texts, marks: tuple[str, ...]) -> np.ndarray:
        """Return which values the study calls missing: equal texts, or numbers equal to theirs."""
        is_missing = np.array(texts.unmarked.isin(marks), dtype=bool)
        amounts = parse_numbers(pd.Series(marks, dtype=str))
        if not np.isnan(amounts).all():
            numbers = parse_numbers(texts.values, self.decimal, self.options.thousands)
            if np.isnan(numbers).mean() < 0.5:  # a column of numbers, in which -999.0 is -999
                is_missing |= np.isin(numbers, amounts[~np.isnan(amounts)])
        return is_missing

    def _infer(self, name: str, texts: Texts) -> _Typed:
        """Return numbers, truth values, dates or words: the first type that all values have."""
        is_mark = texts.is_mark if self.has_marks else np.zeros(len(texts.values), dtype=bool)
        rest = texts.without(is_mark)
        if self.infers or not len(texts.values):
            head = rest.values.head(_HEAD)
            numbers = self._parse(head if np.isnan(self._parse(head)).any() else rest.values)
            if not np.isnan(numbers).any():
                return self._infer_codes(name, rest, numbers, is_mark)
            lowered = rest.values.str.lower()
            if lowered.isin(["true", "false"]).all():
                values = (lowered == "true").to_numpy(dtype=float)
                return _Typed(rest.to_numbers(values), "number", is_mark)
            dates = self._parse_dates(rest.values)
            if dates is not None:
                return _Typed(_spread_dates(rest, dates), "date", is_mark)
        return self._read_words(name, texts, "category")

    def _infer_codes(
        self, name: str, texts: Texts, numbers: np.ndarray, is_mark: np.ndarray
    ) -> _Typed:
        """Return numbers; or words, if they are codes with leading zeros or too long."""
        is_padded = texts.values.str.fullmatch(_LEADING_ZERO).to_numpy(dtype=bool)
        if is_padded.any() and texts.values.str.fullmatch(_CODE).all():
            example = f"codes with leading zeros such as {texts.cite(is_padded)}"
        elif texts.are_too_long(numbers):
            example = (
                f"whole numbers of more than 19 digits such as {texts.cite(numbers == numbers)}"
            )
        else:
            column = texts.to_numbers(numbers)
            return _Typed(column, "number", is_mark, is_rekeyed=column.dtype != float)
        note = f"'{name}' holds {example}: each is a category."
        return _Typed(texts.to_words(), "category", is_mark, (note,), is_rekeyed=True)

    def _parse(self, values: pd.Series) -> np.ndarray:
        return parse_numbers(values, self.decimal, self.options.thousands)

    def _parse_dates(self, values: pd.Series) -> pd.Series | None:
        """Return dates if all texts are dates, by the study's format or by ISO 8601."""
        for form in filter(None, (self.options.date_format, "ISO8601")):
            if form == "ISO8601" and values.str.fullmatch(_CODE).any():
                return None
            if parse_dates(values.head(_HEAD), form).isna().any():
                continue
            dates = parse_dates(values, form)
            if dates.notna().all():
                return dates
        return None

    def _read_words(self, name: str, texts: Texts, kind: ColumnType) -> _Typed:
        is_missing, notes = self._find_missing_words(name, texts)
        words = texts.without(is_missing)
        is_stated = name in dict(self.options.types)
        problem = (
            ""
            if is_stated
            else find_problem(name, words, self.options, self.decimal, infers=self.infers)
        )
        is_rekeyed = self.has_marks and bool(words.is_mark.any())
        return _Typed(words.to_words(), kind, is_missing, notes, problem, is_rekeyed)

    def _find_missing_words(self, name: str, texts: Texts) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return which values are missing where others are words, and a note on ``NA``.

        In quotation marks, or where the study states other marks, a default mark is a word.  So is
        NA beside empty fields, which then are the missing ones, and among codes of two letters.
        """
        unquoted = texts.is_mark & ~texts.values.str.startswith(QUOTED).to_numpy(dtype=bool)
        if not self.has_marks or self.options.marks(name) is not None:
            return np.zeros(len(unquoted), dtype=bool), ()
        is_na = unquoted & (texts.values == "NA").to_numpy(dtype=bool)
        others = texts.values[~texts.is_mark]
        if is_na.any() and len(others) and not self.is_quoted(others.iloc[0]):
            has_gaps = bool((texts.codes < 0).any())
            if has_gaps or others.str.fullmatch(_TWO_LETTERS).all():
                reason = "other fields are empty" if has_gaps else "the others are such codes"
                count = f"'NA' in '{name}' ({int(texts.counts[is_na].sum()):,} rows) is a word"
                advice = f'else say missing = {{ {as_key(name)} = ["NA"] }}'
                return unquoted & ~is_na, (f"{count}, since {reason}; {advice}.",)
        return unquoted, ()

    def _read_numbers(self, name: str, texts: Texts) -> _Typed:
        """Return a column that the study says holds numbers, all with the same unit or none."""
        rest, notes = texts.without(texts.is_mark), tuple[str, ...]()
        numbers = self._parse(rest.values)
        if (is_wrong := np.isnan(numbers)).any():
            unit, stripped = strip_unit(rest.values)
            numbers = self._parse(stripped)
            is_wrong = np.isnan(numbers) if unit else is_wrong
            if is_wrong.any():
                raise self.error(self._misfit(name, rest, is_wrong, "number"))
            notes = (f"'{name}' is read without its unit {unit!r}.",)
        return _Typed(rest.to_numbers(numbers), "number", texts.is_mark, notes)

    def _read_dates(self, name: str, texts: Texts) -> _Typed:
        """Return a column that the study says holds dates."""
        rest = texts.without(texts.is_mark)
        dates = parse_dates(rest.values, self.options.date_format or "ISO8601")
        if dates.isna().any() and self.options.date_format:
            dates = dates.fillna(parse_dates(rest.values, "ISO8601"))
        if (is_wrong := dates.isna().to_numpy()).any():
            raise self.error(self._misfit(name, rest, is_wrong, "date"))
        return _Typed(_spread_dates(rest, dates), "date", texts.is_mark)

    def _misfit(self, name: str, texts: Texts, is_wrong: np.ndarray, kind: str) -> str:
        value = texts.unmarked[is_wrong].iloc[0]
        message = f"column '{name}' holds {texts.cite(is_wrong)}, no {kind}"
        if kind == "date":
            formats = suggest_dates(texts.unmarked)
            if formats:
                return f"{message} by {self.options.date_format or 'ISO 8601'}; say {formats}"
        keys = [f"missing = [{value!r}]".replace("'", '"')]
        if kind == "number" and re.search(r"\d[,.' ]\d", value):
            keys.insert(0, "thousands or decimal")
        return f'{message}; say {" or ".join(keys)}, or type "category" for it in types'


def parse_dates(values: pd.Series, form: str) -> pd.Series:
    """Return the date in each text; NaT where it is none, in UTC without a time zone."""
    try:
        dates = pd.to_datetime(values, format=form, errors="coerce", utc=True)
    except ValueError as error:
        raise RequestError(f"{error}", "date_format") from None
    return dates.dt.tz_localize(None)


def _spread_dates(texts: Texts, dates: pd.Series) -> pd.Series:
    column = dates.reindex(texts.codes)  # the code -1 is no label: NaT
    return column.set_axis(texts.index)
