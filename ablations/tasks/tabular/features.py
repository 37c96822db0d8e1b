"""Columns that are features: numbers, dates and categories, and how a network sees them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.tasks.tabular.options import TableOptions, as_key
from ablations.tasks.tabular.reader import TableFile

MAX_NUMBER = 1e30
"""Largest number in a feature: float32 holds little more."""
HASH_INPUTS = 64
"""Inputs of a column whose categories are hashed."""
MIN_TEXTS = 20
"""Up to this count of different texts, a column holds categories, however few its rows are."""
MISSING, OTHER = "(missing)", "(other)"
_DAYS_PER_YEAR = 365.2425
_CODE_WORDS = {"id", "ids", "code", "codes", "zip", "zipcode", "postcode", "key"}
"""Last words of the names of columns whose whole numbers often are no amounts."""


@dataclass(frozen=True)
class Category:
    """A column of categories.

    Each category has an indicator; or, if there are more than ``max_categories``, one of these:

    ``hash``
        Each category is a pattern of 64 inputs, +1 or -1, by a hash of column and category, which
        no target, row or seed changes.  Two patterns have little in common, so that a network can
        learn a number for each.  On 6,000 rows of 300 categories with a mean each, the default
        network reaches R² 0.22 so, 0.23 with 300 indicators, and 0.12 with ``other``; the shrunken
        means themselves reach 0.25.
    ``other``
        The most frequent ``max_categories`` of all rows have an indicator each, the rest share one.
    """

    name: str
    codes: np.ndarray
    """Shape (row,), positions in ``values``."""
    values: tuple[str, ...]
    is_hashed: bool = False

    @property
    def inputs(self) -> int:
        """Number of inputs of a network."""
        return HASH_INPUTS if self.is_hashed else len(self.values)

    def encode(self, train: np.ndarray) -> np.ndarray:
        """Return the inputs of all rows, shape (row, input), float64.

        Those of a category without training rows are 0 throughout, so that every seed has the same
        inputs (scikit-learn's ``OneHotEncoder`` would omit it, or fill it if it knew all values).
        """
        in_training = np.zeros(len(self.values))
        in_training[self.codes[train]] = 1
        if not self.is_hashed:
            return np.asarray(np.eye(len(self.values))[self.codes] * in_training)
        patterns = np.stack([_hash_pattern(self.name, value) for value in self.values])
        return np.asarray((patterns * in_training[:, None])[self.codes])


def _hash_pattern(name: str, value: str) -> np.ndarray:
    """Return +1 or -1 for each of 64 inputs."""
    content = hashlib.blake2b(f"{name}\0{value}".encode(), digest_size=HASH_INPUTS // 8).digest()
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8)) * 2.0 - 1.0


@dataclass(frozen=True)
class Feature:
    """A column among the features, or one that is left out of them."""

    name: str
    treatment: str
    """What the network sees of it, or why it is left out."""
    numbers: tuple[np.ndarray, ...] = ()
    """Each of shape (row,), float64, NaN where missing."""
    category: Category | None = None
    note: str = ""
    """A sentence about it."""
    has_gaps: bool = False
    """Whether numbers are missing."""
    numbers_rows: bool = False
    """Whether it seems to number the rows."""

    @property
    def is_used(self) -> bool:
        """Whether the network sees it."""
        return bool(self.numbers) or self.category is not None


CONSTANT = "never varies"


def read_features(table: TableFile, options: TableOptions) -> list[Feature]:
    """Decide what each column among the features is; raise ``RequestError`` if it is unusable."""
    return [_read_feature(table, name, options) for name in feature_names(table, options)]


def feature_names(table: TableFile, options: TableOptions) -> list[str]:
    """Return the columns that the study names as features, or does not name for another role."""
    others = {*options.targets, *options.drop, *options.split_columns}
    names = [name for name in table.default_features() if name not in others]
    return list(options.features) or names


def describe_features(features: Sequence[Feature]) -> Iterable[str]:
    """Yield sentences about columns that are left out or filled, or look like something else."""
    sentences = {
        "Left out, since they never vary: {}.": [f for f in features if f.treatment == CONSTANT],
        "Missing values of {} are the median of the training rows.": [
            f for f in features if f.has_gaps
        ],
        "{} seems to number the rows: leave it out with drop.": [
            f for f in features if f.numbers_rows
        ],
    }
    for text, columns in sentences.items():
        if columns:
            yield text.format(", ".join(f"'{column.name}'" for column in columns))
    yield from (feature.note for feature in features if feature.note)


def _read_feature(table: TableFile, name: str, options: TableOptions) -> Feature:
    column = table.column(name)
    is_number, is_date = is_numeric_dtype(column), is_datetime64_any_dtype(column)
    is_constant = column.nunique(dropna=False) < 2
    if is_constant and not (options.keeps_constants and is_number):
        return Feature(name, CONSTANT)
    if not (is_number or is_date):
        return _read_texts(table, name, column, options)
    has_gaps = bool(column.isna().any())
    scaling = "mean 0 and standard deviation 1" if options.standardize else "as it is"
    filling = ", missing ones the median of the training rows" if has_gaps else ""
    if is_date:
        treatment = f"days and the time of the year, {scaling}{filling}"
        return Feature(name, treatment, tuple(_encode_dates(column)), has_gaps=has_gaps)
    numbers = _read_numbers(table, name, column)
    counts_rows = len(column) > 2 and bool((np.diff(numbers) == 1).all())
    note = "" if counts_rows else _suggest_type(name, column.dropna(), options)
    arrays = (numbers,)
    return Feature(name, f"{scaling}{filling}", arrays, None, note, has_gaps, counts_rows)


def _suggest_type(name: str, numbers: pd.Series, options: TableOptions) -> str:
    """Return a note if whole numbers look like codes by the name of their column."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    values = numbers.to_numpy(dtype=float)
    is_whole = bool((values == np.round(values)).all())
    if not words or words[-1].lower() not in _CODE_WORDS or not is_whole:
        return ""
    count = numbers.nunique()  # of long numbers too, which float64 rounds
    if name in dict(options.types) or not options.standardize or count < 3:
        return ""
    if count == len(values):
        return f"'{name}' has another number in each row: leave it out with drop if it is a name."
    key = f'types = {{ {as_key(name)} = "category" }}'
    return f"'{name}' is read as an amount; if its {count:,} numbers are codes, say {key}."


def _read_texts(table: TableFile, name: str, column: pd.Series, options: TableOptions) -> Feature:
    """Return categories; or leave out a column in which most rows have a text of their own."""
    texts = column.dropna().astype(str)
    count = texts.nunique()
    if not table.reading(name).is_stated and count > max(MIN_TEXTS, len(texts) // 2):
        reason = f"{count:,} different texts in {len(texts):,} rows"
        key = f'types = {{ {as_key(name)} = "category" }}'
        if name in options.features:
            raise table.error(f"column '{name}' has {reason}; for categories say {key}")
        note = f"Left out: '{name}', which has {reason}; for categories say {key}."
        return Feature(name, f"too many to be categories: {reason}", note=note)
    if count <= options.max_categories:
        category = _read_category(name, column)
        missing = " and for missing" if column.isna().any() else ""
        return Feature(name, f"an indicator for each of {count:,} values{missing}", (), category)
    excess = f"'{name}' has {count:,} categories, more than {options.max_categories:,}"
    if options.many_categories == "hash":
        category = _read_category(name, column, is_hashed=True)
        treatment = f"each of {count:,} values a pattern of {HASH_INPUTS} inputs, by its hash"
        note = f"{excess}: each is a pattern of {HASH_INPUTS} inputs, by its hash."
        return Feature(name, treatment, (), category, note)
    counts = texts.value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    is_rare = column.isin(counts.index[options.max_categories :])
    rare = f"{count - options.max_categories:,} rare categories ({int(is_rare.sum()):,} rows)"
    category = _read_category(name, column.astype(object).mask(is_rare, OTHER))
    treatment = f"an indicator for each of {options.max_categories:,} values, {rare} as other"
    return Feature(name, treatment, (), category, f"{excess}: {rare} are taken together as other.")


def _read_numbers(table: TableFile, name: str, column: pd.Series) -> np.ndarray:
    values: np.ndarray = column.to_numpy(dtype=float, na_value=np.nan)
    wrong = np.abs(values) > MAX_NUMBER
    if wrong.any():
        row, value = table.locate_first(wrong), values[wrong][0]
        if np.isinf(value):
            message = f"column '{name}' holds an infinite number in {row}"
            raise table.error(f'{message}; correct it, or say missing = ["{value:g}"]')
        raise table.error(f"column '{name}' holds {value:g} in {row}, too large to compute with")
    return values


def _encode_dates(column: pd.Series) -> list[np.ndarray]:
    """Return days since the first date, and the time of the year as a point on a circle."""
    days = (column - column.min()) / pd.Timedelta(days=1)
    angle = 2 * np.pi * (column.dt.day_of_year - 1) / _DAYS_PER_YEAR
    return [np.asarray(values, dtype=float) for values in (days, np.sin(angle), np.cos(angle))]


def _read_category(name: str, column: pd.Series, *, is_hashed: bool = False) -> Category:
    values: list[str] = sorted(column.dropna().astype(str).unique())
    if column.isna().any():
        values.append(MISSING)
    code_of = {value: code for code, value in enumerate(values)}
    codes = column.astype(object).where(column.notna(), MISSING).astype(str).map(code_of)
    return Category(name, codes.to_numpy(dtype=np.int64), tuple(values), is_hashed)
