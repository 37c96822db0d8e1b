"""Decide what each column of a table is: numbers, categories, dates, the target; or unusable.

All statistics of rows belong to ``TableColumns.encode``, which takes them of the training rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.core.errors import nearest
from ablations.core.schema import TableColumn
from ablations.tasks.tabular.features import (
    MAX_NUMBER,
    Category,
    Feature,
    describe_features,
    read_features,
)
from ablations.tasks.tabular.options import Kind, TableOptions
from ablations.tasks.tabular.reader import TableFile

MIN_ROWS = 20
"""Fewest rows with a target."""
MAX_CLASSES = 20
"""Up to this count of different whole numbers, a target may be classes as well as amounts."""


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
    """Shape (row, output), float64; or (row,), int64, positions in ``classes``."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences about omitted columns and rows and imputed values."""
    standardize: bool = True
    """Whether ``encode`` scales numbers among the features."""
    columns: tuple[TableColumn, ...] = ()
    """What became of each column of the file, in its order."""
    is_rekeyed: bool = False
    """Whether versions up to 0.1 would have read other values."""

    @property
    def inputs(self) -> int:
        """Number of inputs of a network."""
        return int(self.numbers.shape[1]) + sum(column.inputs for column in self.categories)

    @property
    def outputs(self) -> int:
        """Number of outputs of a network."""
        return len(self.classes) or int(self.targets.shape[1])

    def encode(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs of all rows, shape (row, input), float64, and their targets.

        Missing numbers become the median of the training rows; numbers (with
        ``standardize``), and each target that is an amount, then get mean 0 and standard deviation
        1 on the training rows.  Categories: ``Category.encode``.
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
        blocks += [column.encode(train) for column in self.categories]
        targets = self.targets.copy() if self.classes else scale(self.targets)
        return np.concatenate(blocks, 1), targets

    def target_unit(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and mean of the targets as ``encode`` uses them, each of shape (output,)."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self.targets[train])
        return scaler.scale_, scaler.mean_


def classify_columns(table: TableFile, options: TableOptions) -> TableColumns:
    """Decide what each column is; a ``RequestError`` names one that cannot be used, and a line."""
    _check_names(table, options)
    table, target_notes = _omit_rows_without_target(table, options.targets)
    kind, targets, classes = _read_targets(table, options)
    features = read_features(table, options)
    numbers = [values for feature in features for values in feature.numbers]
    categories = [feature.category for feature in features if feature.category]
    if not numbers and not categories:
        raise table.error("has no feature that varies")
    size = math.prod(options.shape)
    if options.shape and (categories or len(numbers) != size):
        message = f"has {len(numbers) + len(categories):,} feature columns; a row of shape"
        order = "(channel, step or height, width)"
        message = f"{message} {list(options.shape)}, {order}, needs {size:,} columns of numbers"
        raise table.error(message)
    array = np.stack(numbers, 1) if numbers else np.empty((len(table.frame), 0))
    split_columns = [name for name in options.split_columns if name not in options.features]
    names = [*options.targets, *split_columns, *(feature.name for feature in features)]
    notes = (*table.notes, *table.describe(names), *target_notes, *describe_features(features))
    columns = tuple(_describe_columns(table, options, features, kind, classes))
    arrays = (array, tuple(categories), targets, classes)
    is_rekeyed = any(
        table.reading(name).is_rekeyed
        for name in names
        # A long number among the features is the same amount as before.
        if table.reading(name).type != "number" or name in (*options.targets, *split_columns)
    )
    return TableColumns(table, kind, *arrays, notes, options.standardize, columns, is_rekeyed)


def _describe_columns(
    table: TableFile,
    options: TableOptions,
    features: Sequence[Feature],
    kind: Kind,
    classes: tuple[str, ...],
) -> Iterator[TableColumn]:
    """Yield what becomes of each column of the file."""
    by_name = {feature.name: feature for feature in features}
    for name in map(str, table.frame):
        reading, role, treatment = table.reading(name), "left out", "not among features"
        if name in options.targets:
            role = "target"
            treatment = "regression: mean 0 and standard deviation 1 on the training rows"
            if classes:
                more = ", …" if len(classes) > MAX_CLASSES else ""
                names = ", ".join(classes[:MAX_CLASSES])
                treatment = f"{kind}, {len(classes):,} classes: {names}{more}"
        elif name in by_name:
            role = "feature" if by_name[name].is_used else "left out"
            treatment = by_name[name].treatment
        elif name in options.split_columns:
            role = "group" if name == options.group else "split"
            treatment = "rows of one value stay in the same split"
            if role == "split":
                treatment = f"defines the split, by {options.split}"
        elif name in options.drop:
            treatment = "drop"
        elif reading.is_row_names:
            treatment = "names of the rows"
        marks = (f"{mark or 'empty'} ({count:,})" for mark, count in reading.missing)
        type_ = f"{reading.type} (stated)" if reading.is_stated else reading.type
        yield TableColumn(name, role, type_, ", ".join(marks), treatment)


def _check_names(table: TableFile, options: TableOptions) -> None:
    names = list(table.frame.columns)
    references = {
        "target": options.targets,
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
    for name in options.targets:
        if name in options.features:
            raise table.error(f"the target '{name}' cannot be a feature too")


def _omit_rows_without_target(
    table: TableFile, targets: tuple[str, ...]
) -> tuple[TableFile, list[str]]:
    missing = table.frame[list(targets)].isna().any(axis=1)
    for name in targets:
        if table.frame[name].isna().all():
            raise table.error(table.reading(name).problem or f"the target '{name}' has no values")
    count, notes = int(missing.sum()), []
    if count:
        rows = "A row" if count == 1 else f"{count:,} rows"
        target = "a target" if len(targets) == 1 else "all targets"
        omission = "is left out" if count == 1 else "are left out, the first"
        notes.append(f"{rows} without {target} {omission} in {table.locate_first(missing)}.")
    if len(targets) > 1:
        mean = f"The metrics are means over {len(targets)} targets, mae and rmse each in its unit"
        notes.append(f"{mean}; where the units differ, r2 compares.")
    frame = table.frame[~missing] if count else table.frame
    if len(frame) < MIN_ROWS:
        raise table.error(f"has {len(frame)} rows with a target; at least {MIN_ROWS} are needed")
    return replace(table, frame=frame), notes


def _read_targets(
    table: TableFile, options: TableOptions
) -> tuple[Kind, np.ndarray, tuple[str, ...]]:
    """Return the kind of target, the targets, and the classes."""
    if len(options.targets) == 1:
        return _read_target(table, options.targets[0], options.kind)
    if options.kind not in ("auto", "regression"):
        names = ", ".join(f"'{name}'" for name in options.targets)
        message = f'the targets {names} are several, which kind = "regression" alone can have'
        raise table.error(f'{message}; found kind = "{options.kind}"')
    for name in options.targets if options.kind == "auto" else ():
        if _infer_kind(table, name, table.column(name)) != "regression":
            message = f"the target '{name}' of {len(options.targets)} seems to be of classes"
            advice = 'say kind = "regression" if all are amounts, or name one target'
            raise table.error(f"{message}; {advice}")
    amounts = [_read_target(table, name, "regression")[1] for name in options.targets]
    return "regression", np.concatenate(amounts, 1), ()


def _read_target(
    table: TableFile, name: str, kind: Kind
) -> tuple[Kind, np.ndarray, tuple[str, ...]]:
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
        message = f"the target '{name}' is not finite in {table.locate_first(infinite)}"
        mark = f"{amounts[infinite][0]:g}"
        raise table.error(f'{message}; correct it, or say missing = ["{mark}"]')
    if (is_huge := np.abs(amounts) > MAX_NUMBER).any():
        example = f"{amounts[is_huge][0]:g} in {table.locate_first(is_huge)}"
        raise table.error(f"the target '{name}' holds {example}, too large to compute with")
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
