"""Decide what each column of a table is: numbers, categories, dates, the target; or unusable.

All statistics of rows belong to ``TableColumns.encode``, which takes them of the training rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype
from pydantic import Field

from ablations.core.errors import nearest
from ablations.tasks.tabular.options import ReadingOptions
from ablations.tasks.tabular.reader import TableFile

Kind = Literal["auto", "regression", "binary", "multiclass"]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Split = Literal["random", "time", "column"]

MIN_ROWS = 20
"""Fewest rows with a target."""
MAX_NUMBER = 1e30
"""Largest number in a feature: float32 holds little more."""
MAX_CATEGORIES = 100
"""Most different texts of a column of categories."""
MAX_CLASSES = 20
"""Up to this count of different whole numbers, a target may be classes as well as amounts."""
MISSING = "(missing)"
_DAYS_PER_YEAR = 365.2425


@dataclass(frozen=True)
class TableOptions(ReadingOptions):
    """What a study says about a table."""

    path: str
    target: str
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

    @property
    def split_columns(self) -> tuple[str, ...]:
        """The columns that define the split; they are features only if named as such."""
        return tuple(name for name in (self.by, self.group) if name)

    @property
    def keeps_constants(self) -> bool:
        """Whether columns of a constant number are features too: the network counts on each."""
        return bool(self.shape) or not self.standardize


@dataclass(frozen=True)
class Category:
    """A column of categories."""

    name: str
    codes: np.ndarray
    """Shape (row,), positions in ``values``."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class TableColumns:
    """A table ready to be split."""

    table: TableFile
    """The rows with a target, all columns."""
    kind: Kind
    numbers: np.ndarray
    """Shape (row, number), float64, NaN where missing."""
    categories: tuple[Category, ...]
    targets: np.ndarray
    """Shape (row, 1), float64; or (row,), int64, positions in ``classes``."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences about omitted columns and rows and imputed values."""
    standardize: bool = True
    """Whether ``encode`` scales numbers among the features."""
    is_rekeyed: bool = False
    """Whether versions up to 0.1 would have read other values."""

    @property
    def inputs(self) -> int:
        """Number of inputs of a network."""
        return int(self.numbers.shape[1]) + sum(len(column.values) for column in self.categories)

    @property
    def outputs(self) -> int:
        """Number of outputs of a network."""
        return len(self.classes) or 1

    def encode(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs of all rows, shape (row, input), float64, and their targets.

        Missing numbers become the median of the training rows; numbers (with
        ``standardize``), and targets that are amounts, then get mean 0 and standard deviation 1 on
        the training rows.  A category becomes
        an indicator of each value; the indicator of a value without training rows is 0 throughout,
        so that every seed has the same inputs (scikit-learn's ``OneHotEncoder`` would omit it, or
        fill it if it knew all values).
        """
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import StandardScaler

        def scale(values: np.ndarray) -> np.ndarray:
            return np.asarray(StandardScaler().fit(values[train]).transform(values))

        blocks, numbers = [], self.numbers
        if np.isnan(numbers).any():
            imputer = SimpleImputer(strategy="median", keep_empty_features=True)
            numbers = imputer.fit(numbers[train]).transform(numbers)
        if numbers.shape[1]:
            blocks.append(scale(numbers) if self.standardize else numbers)
        for column in self.categories:
            in_training = np.zeros(len(column.values))
            in_training[column.codes[train]] = 1
            blocks.append(np.eye(len(column.values))[column.codes] * in_training)
        targets = self.targets.copy() if self.classes else scale(self.targets)
        return np.concatenate(blocks, 1), targets

    def target_unit(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and mean of the targets as ``encode`` uses them, each of shape (1,)."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self.targets[train])
        return scaler.scale_, scaler.mean_


def classify_columns(table: TableFile, options: TableOptions) -> TableColumns:
    """Decide what each column is; a ``RequestError`` names one that cannot be used, and a line."""
    _check_names(table, options)
    table, target_notes = _omit_rows_without_target(table, options.target)
    kind, targets, classes = _read_target(table, options)
    numbers, categories, feature_notes = _read_features(table, options)
    size = math.prod(options.shape)
    if options.shape and (categories or len(numbers) != size):
        message = f"has {len(numbers) + len(categories):,} feature columns; a row of shape"
        order = "(channel, step or height, width)"
        message = f"{message} {list(options.shape)}, {order}, needs {size:,} columns of numbers"
        raise table.error(message)
    array = np.stack(numbers, 1) if numbers else np.empty((len(table.frame), 0))
    split_columns = [name for name in options.split_columns if name not in options.features]
    names = [options.target, *split_columns, *_feature_names(table, options)]
    notes = (*table.notes, *table.describe(names), *target_notes, *feature_notes)
    columns = (array, tuple(categories), targets, classes)
    is_rekeyed = any(
        table.reading(name).is_rekeyed
        for name in names
        # A long number is the same amount as before.
        if table.reading(name).type != "number" or name in split_columns or name == options.target
    )
    return TableColumns(table, kind, *columns, notes, options.standardize, is_rekeyed)


def _check_names(table: TableFile, options: TableOptions) -> None:
    names = list(table.frame.columns)
    references = {
        "target": (options.target,),
        "features": options.features,
        "drop": options.drop,
        "group or by": options.split_columns,
    }
    for key, columns in references.items():
        for name in columns:
            if name not in names:
                raise table.error(f"has no column '{name}' for {key}; {nearest(name, names)}")
    for name in options.features:
        if name in options.drop:
            raise table.error(f"column '{name}' is both in features and in drop")
    if options.target in options.features:
        raise table.error(f"the target '{options.target}' cannot be a feature too")


def _omit_rows_without_target(table: TableFile, target: str) -> tuple[TableFile, list[str]]:
    missing = table.frame[target].isna()
    count = int(missing.sum())
    if count == len(missing):
        raise table.error(f"the target '{target}' has no values")
    notes = []
    if count:
        rows = "A row" if count == 1 else f"{count:,} rows"
        omission = "is left out" if count == 1 else "are left out, the first"
        notes.append(f"{rows} without a target {omission} in {table.locate_first(missing)}.")
    frame = table.frame[~missing] if count else table.frame
    if len(frame) < MIN_ROWS:
        raise table.error(f"has {len(frame)} rows with a target; at least {MIN_ROWS} are needed")
    return replace(table, frame=frame), notes


def _read_target(
    table: TableFile, options: TableOptions
) -> tuple[Kind, np.ndarray, tuple[str, ...]]:
    """Return the kind of target, the targets, and the classes."""
    name, kind = options.target, options.kind
    has_classes = kind in ("binary", "multiclass")
    column = table.frame[name] if has_classes else table.column(name)
    if column.nunique() < 2:
        raise table.error(f"the target '{name}' never varies: it is {_label(column.iloc[0])}")
    if kind == "auto":
        kind = _infer_kind(table, name, column)
    if kind == "regression":
        return kind, _read_amounts(table, name, column), ()
    return kind, *_read_classes(table, name, column, kind)


def _infer_kind(table: TableFile, name: str, column: pd.Series) -> Kind:
    if is_datetime64_any_dtype(column):
        raise table.error(f"the target '{name}' holds dates; expected numbers or classes")
    count = column.nunique()
    if count == 2:
        return "binary"
    if not is_numeric_dtype(column):
        return "multiclass"
    values = column.to_numpy(dtype=float)
    if count <= MAX_CLASSES and (values == np.round(values)).all():
        message = f"the target '{name}' holds {count} different whole numbers"
        advice = 'say whether they are amounts (kind = "regression") or classes'
        raise table.error(f'{message}: {advice} (kind = "multiclass")')
    return "regression"


def _read_amounts(table: TableFile, name: str, column: pd.Series) -> np.ndarray:
    if not is_numeric_dtype(column):
        texts = column.astype(str)
        invalid = pd.to_numeric(texts, errors="coerce").isna()
        example = table.cite(texts, invalid if invalid.any() else ~invalid)
        message = f"the target '{name}' holds {example}"
        raise table.error(f'{message}; regression needs numbers, classes kind = "multiclass"')
    amounts: np.ndarray = column.to_numpy(dtype=float)
    if (infinite := ~np.isfinite(amounts)).any():
        raise table.error(f"the target '{name}' is not finite in {table.locate_first(infinite)}")
    return amounts.reshape(-1, 1)


def _read_classes(
    table: TableFile, name: str, column: pd.Series, kind: Kind
) -> tuple[np.ndarray, tuple[str, ...]]:
    count = column.nunique()
    message = f"the target '{name}' has {count:,} different values"
    if kind == "binary" and count != 2:
        raise table.error(f'{message}, binary means two; use kind = "multiclass"')
    if count > max(2, len(column) // 4):
        message = f"{message} in {len(column):,} rows, too many for classes"
        raise table.error(f'{message}; for amounts use kind = "regression"')
    column = column if is_numeric_dtype(column) else column.astype(str)
    codes, values = pd.factorize(column, sort=True)
    labels = tuple(_label(value) for value in values)
    rare = np.flatnonzero(np.bincount(codes) < 2)
    if len(rare):
        row = table.locate_first(codes == rare[0])
        message = f"the class '{labels[rare[0]]}' of '{name}' has a single row, {row}"
        raise table.error(f"{message}; it needs one for training and one for validation")
    return codes, labels


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def _read_features(
    table: TableFile, options: TableOptions
) -> tuple[list[np.ndarray], list[Category], list[str]]:
    """Return numbers, categories, and notes about the columns."""
    numbers, categories = list[np.ndarray](), list[Category]()
    constant, imputed, row_numbers = list[str](), list[str](), list[str]()
    text_counts = dict[str, int]()
    for name in _feature_names(table, options):
        column = table.column(name)
        is_constant = column.nunique(dropna=False) < 2
        if is_constant and not (options.keeps_constants and is_numeric_dtype(column)):
            constant.append(name)
        elif is_datetime64_any_dtype(column) or is_numeric_dtype(column):
            if is_datetime64_any_dtype(column):
                numbers += _encode_dates(column)
            else:
                numbers.append(_read_numbers(table, name, column))
                if len(column) > 2 and (np.diff(numbers[-1]) == 1).all():
                    row_numbers.append(name)
            imputed += [name] * bool(column.isna().any())
        else:
            texts = column.dropna().astype(str)
            count = texts.nunique()
            if count > min(MAX_CATEGORIES, max(MAX_CLASSES, len(texts) // 2)):
                text_counts[name] = count
            else:
                categories.append(_read_category(name, column))
    if text_counts:
        names = ", ".join(f"'{name}' ({count:,})" for name, count in text_counts.items())
        message = f"too many different texts for categories in {names}; write dates as YYYY-MM-DD"
        drop = ", ".join(f'"{name}"' for name in text_counts)
        raise table.error(f"{message}; leave columns out with drop = [{drop}]")
    if not numbers and not categories:
        raise table.error("has no feature that varies")
    sentences = {
        "Left out, since they never vary: {}.": constant,
        "Missing values of {} are the median of the training rows.": imputed,
        "{} seems to number the rows: leave it out with drop.": row_numbers,
    }
    notes = {text: ", ".join(f"'{name}'" for name in names) for text, names in sentences.items()}
    return numbers, categories, [text.format(names) for text, names in notes.items() if names]


def _feature_names(table: TableFile, options: TableOptions) -> list[str]:
    others = {options.target, *options.drop, *options.split_columns}
    names = [name for name in table.default_features() if name not in others]
    return list(options.features) or names


def _read_numbers(table: TableFile, name: str, column: pd.Series) -> np.ndarray:
    values: np.ndarray = column.to_numpy(dtype=float, na_value=np.nan)
    wrong = np.abs(values) > MAX_NUMBER
    if wrong.any():
        row, value = table.locate_first(wrong), values[wrong][0]
        if np.isinf(value):
            raise table.error(f"column '{name}' holds an infinite number in {row}")
        raise table.error(f"column '{name}' holds {value:g} in {row}, too large to compute with")
    return values


def _encode_dates(column: pd.Series) -> list[np.ndarray]:
    """Return days since the first date, and the time of the year as a point on a circle."""
    days = (column - column.min()) / pd.Timedelta(days=1)
    angle = 2 * np.pi * (column.dt.day_of_year - 1) / _DAYS_PER_YEAR
    return [np.asarray(values, dtype=float) for values in (days, np.sin(angle), np.cos(angle))]


def _read_category(name: str, column: pd.Series) -> Category:
    values: list[str] = sorted(column.dropna().astype(str).unique())
    if column.isna().any():
        values.append(MISSING)
    code_of = {value: code for code, value in enumerate(values)}
    codes = column.astype(object).where(column.notna(), MISSING).astype(str).map(code_of)
    return Category(name, codes.to_numpy(dtype=np.int64), tuple(values))
