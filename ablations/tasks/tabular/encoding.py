"""Columns to the numbers that a network sees, fitted on the rows to train on alone."""

from __future__ import annotations

import numpy as np

from ablations.tasks.tabular.columns import Category, Columns

__all__ = ["encode", "scaled"]


def encode(columns: Columns, train: np.ndarray) -> np.ndarray:
    """All rows as features, shape (row, input), float64.

    Numbers get mean 0 and standard deviation 1 on the training rows, missing ones first their
    median there; a category becomes one column a value, 0 or 1, and one that no training row has
    is 0 throughout.
    """
    parts = [_indicators(column, train) for column in columns.categories]
    if columns.numbers.shape[1]:
        parts.insert(0, scaled(_filled(columns.numbers, train), train))
    return np.concatenate(parts, 1)


def scaled(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Values (row, column) less their mean, over their deviation, both of the training rows."""
    from sklearn.preprocessing import StandardScaler

    found: np.ndarray = StandardScaler().fit(values[train]).transform(values)
    return found


def _filled(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    from sklearn.impute import SimpleImputer

    if not np.isnan(values).any():
        return values
    imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(values[train])
    found: np.ndarray = imputer.transform(values)
    return found


def _indicators(column: Category, train: np.ndarray) -> np.ndarray:
    seen = np.zeros(len(column.values))
    seen[column.codes[train]] = 1
    found: np.ndarray = np.eye(len(column.values))[column.codes] * seen
    return found
