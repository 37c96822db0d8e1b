"""Which rows a seed trains on and which it is judged by; every seed gets as many of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ablations.tasks.tabular.columns import Columns
from ablations.tasks.tabular.reader import first

__all__ = ["How", "Parts", "parts"]

Shuffle = Callable[[int, str], np.ndarray]
"""``(count, purpose) -> order``: a random order of the numbers below ``count``."""

VALIDATION = {"validation": True, "val": True, "valid": True, "test": True}
TRAINING = {"training": False, "train": False}


@dataclass(frozen=True)
class How:
    """How a study asks for the rows to be split."""

    split: Literal["random", "time", "column"] = "random"
    by: str = ""
    """The column that holds the time, or says which part a row belongs to."""
    group: str = ""
    """The column whose equals stay together."""
    validation: float = 0.2
    """The share of the rows to judge by."""


@dataclass(frozen=True)
class Parts:
    """How many rows each part has, and a way to draw them."""

    train: int
    validation: int
    draw: Callable[[Shuffle], tuple[np.ndarray, np.ndarray]]
    """Rows to train on and rows to judge by, places in the table."""
    notes: tuple[str, ...] = ()


def parts(columns: Columns, how: How) -> Parts:
    """Plan the split of a table.

    Raises
    ------
    RequestError
        Naming the column that cannot be split by.
    """
    if how.split == "column":
        return _by_column(columns, how.by)
    rows = len(columns.frame)
    held_out = round(rows * how.validation)
    if min(held_out, rows - held_out) < 2:
        message = f"a share of {how.validation:g} of {rows:,} rows leaves a part with less than two"
        raise columns.read.refuse(message)
    if how.split == "time":
        return _by_time(columns, how.by, held_out)
    if how.group:
        return _by_group(columns, how.group, held_out)
    return _by_chance(columns, held_out)


def _by_chance(columns: Columns, held_out: int) -> Parts:
    """Rows at random; of each class its share."""
    rows = len(columns.frame)
    of_class = columns.targets if columns.classes else np.zeros(rows, dtype=np.int64)
    quota = _quotas(np.bincount(of_class), held_out)

    def draw(shuffle: Shuffle) -> tuple[np.ndarray, np.ndarray]:
        order = shuffle(rows, "split")
        # How many of its class came before each row, in this order.
        before = pd.Series(of_class[order]).groupby(of_class[order]).cumcount().to_numpy()
        taken = before < quota[of_class[order]]
        return order[~taken], order[taken]

    return Parts(rows - int(quota.sum()), int(quota.sum()), draw)


def _quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Shares of ``total`` in proportion to ``counts``, whole numbers, by largest remainders; a
    class keeps a row to train on, and gives one to be judged by.
    """
    exact = counts * total / counts.sum()
    quota = np.floor(exact).astype(np.int64)
    for place in np.argsort(quota - exact, kind="stable")[: total - int(quota.sum())]:
        quota[place] += 1
    found: np.ndarray = np.clip(quota, 1, np.maximum(counts - 1, 1))
    return found


def _by_group(columns: Columns, name: str, held_out: int) -> Parts:
    """Whole groups at random, as many as fit; what is over in some seeds is left out by chance."""
    column = columns.frame[name]
    if column.isna().any():
        where = columns.read.at(first(column.isna()))
        raise columns.read.refuse(f"column '{name}' says no group in {where}")
    codes, values = pd.factorize(column)
    sizes = np.bincount(codes)
    largest = int(sizes.max())
    fewest = held_out if largest == 1 else held_out - largest + 1
    if len(values) < 2 or fewest < max(2, held_out // 2):
        message = (
            f"the largest group of '{name}' has {largest:,} of {len(codes):,} rows, too many for "
            f"{held_out:,} rows to judge by"
        )
        raise columns.read.refuse(message)
    for code, label in enumerate(columns.classes):
        if len(set(codes[columns.targets == code])) < 2:
            raise columns.read.refuse(f"the class '{label}' is in a single group of '{name}'")
    rows = len(codes)

    def draw(shuffle: Shuffle) -> tuple[np.ndarray, np.ndarray]:
        room, chosen = held_out, np.zeros(len(sizes), dtype=bool)
        for group in shuffle(len(sizes), "split/groups"):
            if sizes[group] <= room:
                chosen[group] = True
                room -= sizes[group]
        order = shuffle(rows, "split")
        inside = chosen[codes[order]]
        return order[~inside][: rows - held_out], order[inside][:fewest]

    most = largest - 1
    note = f"Groups of '{name}' stay together, which leaves out up to {most:,} rows of each part."
    return Parts(rows - held_out, fewest, draw, (note,) if most else ())


def _by_time(columns: Columns, name: str, held_out: int) -> Parts:
    """The last rows to judge by, the same ones for each seed."""
    column = columns.frame[name]
    if column.isna().any():
        where = columns.read.at(first(column.isna()))
        raise columns.read.refuse(f"column '{name}' says no time in {where}")
    if not (pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_numeric_dtype(column)):
        where = f"{column.iloc[0]!r} in {columns.read.at(column.index[0])}"
        message = f"column '{name}' holds {where}; a time is a number or YYYY-MM-DD"
        raise columns.read.refuse(message)
    order = np.argsort(column.to_numpy(), kind="stable")
    # What happened at one time stays on one side.
    changes = len(order) - np.flatnonzero(np.diff(column.to_numpy()[order]) != 0) - 1
    if not len(changes):
        raise columns.read.refuse(f"column '{name}' never varies, so nothing is later")
    held_out = int(changes[np.argmin(np.abs(changes - held_out))])
    return _always(columns, order[:-held_out], order[-held_out:], "The split is by time")


def _by_column(columns: Columns, name: str) -> Parts:
    """As a column says, the same for each seed."""
    column = columns.frame[name]
    words = column.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    said = words.str.lower().map(VALIDATION | TRAINING)
    if said.isna().any():
        place = first(said.isna())
        found = f"'{words.loc[place]}' in {columns.read.at(place)}"
        message = f"column '{name}' holds {found}; 'train' and 'validation' are wanted"
        raise columns.read.refuse(message)
    for part in (True, False):
        used = sorted(words[said == part].unique())
        if len(used) > 1:
            message = f"column '{name}' says both '{used[0]}' and '{used[1]}'"
            raise columns.read.refuse(f"{message}; leave out the rows of one of them")
    inside = said.to_numpy(dtype=bool)
    train, held_out = np.flatnonzero(~inside), np.flatnonzero(inside)
    if min(len(train), len(held_out)) < 2:
        message = f"column '{name}' gives {len(train):,} rows to train on and {len(held_out):,} to"
        raise columns.read.refuse(f"{message} judge by; both need two")
    return _always(columns, train, held_out, f"The split is that of column '{name}'")


def _always(columns: Columns, train: np.ndarray, held_out: np.ndarray, how: str) -> Parts:
    for code, name in enumerate(columns.classes):
        if code not in columns.targets[train]:
            raise columns.read.refuse(f"no row to train on has the class '{name}'")
    counts = f"{len(train):,} rows to train on, {len(held_out):,} to judge by"
    note = f"{how}, {counts}, the same for every seed: the intervals say nothing of other rows."
    return Parts(len(train), len(held_out), lambda _: (train, held_out), (note,))
