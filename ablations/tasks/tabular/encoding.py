"""Encode columns as the inputs of a network, with statistics of the training rows alone."""

from __future__ import annotations

import numpy as np

from ablations.tasks.tabular.columns import TableColumns


def encode(columns: TableColumns, train: np.ndarray) -> np.ndarray:
    """Return all rows as inputs, shape (row, input), float64.

    Missing numbers become the median of the training rows; numbers then get mean 0 and standard
    deviation 1 on the training rows.  A category becomes an indicator of each value; the indicator
    of a value without training rows is 0 throughout, so that every seed has the same inputs
    (scikit-learn's ``OneHotEncoder`` would omit it, or fill it if it knew all values).
    """
    from sklearn.impute import SimpleImputer

    blocks, numbers = [], columns.numbers
    if np.isnan(numbers).any():
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        numbers = imputer.fit(numbers[train]).transform(numbers)
    if numbers.shape[1]:
        blocks.append(scale(numbers, train))
    for column in columns.categories:
        in_training = np.zeros(len(column.values))
        in_training[column.codes[train]] = 1
        blocks.append(np.eye(len(column.values))[column.codes] * in_training)
    return np.concatenate(blocks, 1)


def scale(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return values (row, column) minus the mean, over the deviation of the training rows."""
    from sklearn.preprocessing import StandardScaler

    return np.asarray(StandardScaler().fit(values[train]).transform(values))
