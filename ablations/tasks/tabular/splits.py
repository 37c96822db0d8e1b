"""Split the rows of a table into training and validation rows, of one size for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.tasks.tabular.columns import TableColumns, TableOptions

Shuffle = Callable[[int, str], np.ndarray]
"""``(count, purpose) -> order``: a random permutation of ``range(count)``."""

_VALIDATION, _TRAINING = ("validation", "val", "valid", "test"), ("training", "train")
"""Names of the splits in a column, in lower case."""


@dataclass(frozen=True)
class SplitPlan:
    """How many rows each split has, and how to draw them."""

    n_train: int
    n_validation: int
    draw: Callable[[Shuffle], tuple[np.ndarray, np.ndarray]]
    """Returns the positions of the training rows and of the validation rows."""
    notes: tuple[str, ...] = ()


def plan_split(columns: TableColumns, options: TableOptions) -> SplitPlan:
    """Plan the split of a table; a ``RequestError`` names a column that cannot define it."""
    if options.split == "column":
        return _by_column(columns, options.by)
    rows = len(columns.table.frame)
    n_validation = round(rows * options.validation)
    if min(n_validation, rows - n_validation) < 2:
        message = f"a validation share of {options.validation:g} of {rows:,} rows"
        raise columns.table.error(f"{message} leaves a split with less than two rows")
    if options.split == "time":
        return _by_time(columns, options.by, n_validation)
    if options.group:
        return _by_group(columns, options.group, n_validation)
    return _at_random(columns, n_validation)


def _at_random(columns: TableColumns, n_validation: int) -> SplitPlan:
    """Draw rows at random, of each class its share."""
    rows = len(columns.table.frame)
    class_of = columns.targets if columns.classes else np.zeros(rows, dtype=np.int64)
    quota = _quotas(np.bincount(class_of), n_validation)

    def draw(shuffle: Shuffle) -> tuple[np.ndarray, np.ndarray]:
        order = shuffle(rows, "split")
        # How many rows of its class precede each row in this order.
        rank = pd.Series(class_of[order]).groupby(class_of[order]).cumcount().to_numpy()
        in_validation = rank < quota[class_of[order]]
        return order[~in_validation], order[in_validation]

    return SplitPlan(rows - int(quota.sum()), int(quota.sum()), draw)


def _quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Return shares of ``total`` in proportion to ``counts`` by largest remainders."""
    exact = counts * total / counts.sum()
    quota = np.floor(exact).astype(np.int64)
    for code in np.argsort(quota - exact, kind="stable")[: total - int(quota.sum())]:
        quota[code] += 1
    # A class with several rows has at least one in each split.
    return np.asarray(np.clip(quota, 1, np.maximum(counts - 1, 1)))


def _by_group(columns: TableColumns, name: str, n_validation: int) -> SplitPlan:
    """Draw whole groups at random, as many as fit, and omit surplus rows at random."""
    column = _complete_column(columns, name, "group")
    codes, groups = pd.factorize(column)
    sizes = np.bincount(codes)
    largest = int(sizes.max())
    n_least = n_validation if largest == 1 else n_validation - largest + 1
    if len(groups) < 2 or n_least < max(2, n_validation // 2):
        message = f"the largest group of '{name}' has {largest:,} of {len(codes):,} rows"
        raise columns.table.error(f"{message}, too many for {n_validation:,} validation rows")
    for code, label in enumerate(columns.classes):
        if len(set(codes[columns.targets == code])) < 2:
            raise columns.table.error(f"the class '{label}' is in a single group of '{name}'")
    rows = len(codes)

    def draw(shuffle: Shuffle) -> tuple[np.ndarray, np.ndarray]:
        room, in_validation = n_validation, np.zeros(len(sizes), dtype=bool)
        for group in shuffle(len(sizes), "split/groups"):
            if sizes[group] <= room:
                in_validation[group] = True
                room -= sizes[group]
        order = shuffle(rows, "split")
        mask = in_validation[codes[order]]
        return order[~mask][: rows - n_validation], order[mask][:n_least]

    surplus = largest - 1
    note = f"Groups of '{name}' stay together, which leaves out up to {surplus:,} rows of a split."
    return SplitPlan(rows - n_validation, n_least, draw, (note,) if surplus else ())


def _by_time(columns: TableColumns, name: str, n_validation: int) -> SplitPlan:
    """Validate on the last rows, the same for each seed."""
    column, table = _complete_column(columns, name, "time"), columns.table
    if not (is_datetime64_any_dtype(column) or is_numeric_dtype(column)):
        example = table.cite(column, column.notna())
        raise table.error(f"column '{name}' holds {example}; a time is a number or YYYY-MM-DD")
    order = np.argsort(column.to_numpy(), kind="stable")
    # Rows of one time stay in the same split.
    changes = len(order) - np.flatnonzero(np.diff(column.to_numpy()[order]) != 0) - 1
    if not len(changes):
        raise table.error(f"column '{name}' never varies, so that no row is later")
    n_validation = int(changes[np.argmin(np.abs(changes - n_validation))])
    return _fixed(columns, order[:-n_validation], order[-n_validation:], "The split is by time")


def _by_column(columns: TableColumns, name: str) -> SplitPlan:
    """Split as a column says, the same for each seed."""
    column, table = columns.table.frame[name], columns.table
    words = column.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    in_validation, in_training = (words.str.lower().isin(n) for n in (_VALIDATION, _TRAINING))
    if not (is_known := in_validation | in_training).all():
        message = f"column '{name}' holds {table.cite(words, ~is_known)}"
        raise table.error(f"{message}; expected 'train' or 'validation'")
    for rows in (in_validation, in_training):
        synonyms = sorted(words[rows].unique())
        if len(synonyms) > 1:
            message = f"column '{name}' says both '{synonyms[0]}' and '{synonyms[1]}'"
            raise table.error(f"{message}; leave out the rows of one of them")
    train, validation = np.flatnonzero(in_training), np.flatnonzero(in_validation)
    if min(len(train), len(validation)) < 2:
        counts = f"{len(train):,} training rows and {len(validation):,} validation rows"
        raise table.error(f"column '{name}' gives {counts}; each needs two")
    return _fixed(columns, train, validation, f"The split is that of column '{name}'")


def _complete_column(columns: TableColumns, name: str, noun: str) -> pd.Series:
    column = columns.table.frame[name]
    if column.isna().any():
        row = columns.table.locate_first(column.isna())
        raise columns.table.error(f"column '{name}' has no {noun} in {row}")
    return column


def _fixed(
    columns: TableColumns, train: np.ndarray, validation: np.ndarray, reason: str
) -> SplitPlan:
    for code, name in enumerate(columns.classes):
        if code not in columns.targets[train]:
            raise columns.table.error(f"no training row has the class '{name}'")
    counts = f"{len(train):,} training rows, {len(validation):,} validation rows"
    note = f"{reason}, {counts}, the same for every seed: the intervals say nothing of other rows."
    return SplitPlan(len(train), len(validation), lambda _: (train, validation), (note,))
