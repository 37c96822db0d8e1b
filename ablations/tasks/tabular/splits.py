"""Split the rows of a table: training, validation and test rows, of one size for every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from ablations.tasks.tabular.columns import TableColumns
from ablations.tasks.tabular.groups import GroupSplits, Shuffle
from ablations.tasks.tabular.options import TableOptions

_TRAINING, _VALIDATION, _TEST = ("training", "train"), ("validation", "val", "valid"), ("test",)
"""Names of the splits in a column, in lower case."""

Positions = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions of the training, validation and test rows."""
MOST_SEEDS = 8
"""Seeds that a sentence names."""


@dataclass(frozen=True)
class SplitPlan:
    """How many rows each split has, and how to draw them."""

    n_train: int
    n_validation: int
    n_test: int
    draw: Callable[[Shuffle], Positions]
    notes: tuple[str, ...] = ()
    group_of: np.ndarray | None = None
    """The group of each row; None where each seed has the same number of rows of each class."""

    def describe_missing(
        self, columns: TableColumns, shuffles: Mapping[int, Shuffle]
    ) -> Iterator[str]:
        """Yield a sentence for each class that lacks rows in a split of some seeds.

        Parameters
        ----------
        columns
            The table.
        shuffles
            Each seed and what draws its split.
        """
        if self.group_of is None:
            shuffles = dict(list(shuffles.items())[:1])
        draws = {seed: self.draw(shuffle) for seed, shuffle in shuffles.items()}
        for code, label in enumerate(columns.classes):
            is_class = columns.targets == code
            for split, noun in enumerate(("training", "validation", "test")):
                lacking = [
                    seed
                    for seed, rows in draws.items()
                    if len(rows[split]) and not is_class[rows[split]].any()
                ]
                if not lacking:
                    continue
                count, place = f"{int(is_class.sum()):,} rows", ""
                if self.group_of is not None:
                    count = f"{len(set(self.group_of[is_class])):,} groups"
                    place = f" of {_list_seeds(lacking, len(draws))}"
                yield f"No {noun} row{place} has the class '{label}', which has {count}."


def _list_seeds(seeds: Iterable[int], total: int) -> str:
    seeds = list(seeds)
    if len(seeds) == total:
        return "any seed"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) <= MOST_SEEDS:
        return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"
    return f"{len(seeds):,} of {total:,} seeds ({', '.join(map(str, seeds[:MOST_SEEDS]))}, …)"


def plan_split(columns: TableColumns, options: TableOptions) -> SplitPlan:
    """Plan the split of a table; a ``RequestError`` names a column that cannot define it."""
    if options.split == "column":
        return _by_column(columns, options.by)
    rows = len(columns.table.frame)
    n_validation, n_test = round(rows * options.validation), round(rows * options.test)
    sizes = [rows - n_validation - n_test, n_validation, *([n_test] if options.test else [])]
    if min(sizes) < 2:
        shares = f"a validation share of {options.validation:g}"
        shares += f" and a test share of {options.test:g}" if options.test else ""
        message = f"{shares} of {rows:,} rows leaves a split with less than two rows"
        raise columns.table.error(message)
    if options.split == "time":
        return _by_time(columns, options.by, n_validation, n_test)
    if options.group:
        return _by_group(columns, options.group, n_validation, n_test)
    return _at_random(columns, n_validation, n_test)


def _at_random(columns: TableColumns, n_validation: int, n_test: int) -> SplitPlan:
    """Draw rows at random, of each class its share."""
    rows = len(columns.table.frame)
    class_of = columns.targets if columns.classes else np.zeros(rows, dtype=np.int64)
    counts = np.bincount(class_of)
    validation = _quotas(counts, n_validation)
    # A rare class first has a training row and a validation row, then test rows.
    test = np.minimum(_quotas(counts, n_test), np.maximum(counts - validation - 1, 0))
    test = test if n_test else np.zeros_like(test)

    def draw(shuffle: Shuffle) -> Positions:
        order = shuffle(rows, "split")
        # How many rows of its class precede each row in this order.
        rank = pd.Series(class_of[order]).groupby(class_of[order]).cumcount().to_numpy()
        first, last = validation[class_of[order]], (validation + test)[class_of[order]]
        return order[rank >= last], order[rank < first], order[(rank >= first) & (rank < last)]

    n_validation, n_test = int(validation.sum()), int(test.sum())
    return SplitPlan(rows - n_validation - n_test, n_validation, n_test, draw)


def _quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Return shares of ``total`` in proportion to ``counts`` by largest remainders."""
    exact = counts * total / counts.sum()
    quota = np.floor(exact).astype(np.int64)
    for code in np.argsort(quota - exact, kind="stable")[: total - int(quota.sum())]:
        quota[code] += 1
    # A class with several rows has at least one in each split.
    return np.asarray(np.clip(quota, 1, np.maximum(counts - 1, 1)))


def _by_group(columns: TableColumns, name: str, n_validation: int, n_test: int) -> SplitPlan:
    """Draw whole groups at random, as many as fit, and omit surplus rows at random."""
    column = _complete_column(columns, name, "group")
    codes, groups = pd.factorize(column)
    sizes = np.bincount(codes)
    largest = int(sizes.max())
    held_out_sizes = [n_validation, *([n_test] if n_test else [])]
    least = [size if largest == 1 else size - largest + 1 for size in held_out_sizes]
    too_small = any(n < max(2, size // 2) for n, size in zip(least, held_out_sizes, strict=True))
    if len(groups) <= len(held_out_sizes) or too_small:
        message = f"the largest group of '{name}' has {largest:,} of {len(codes):,} rows"
        held_out = " and ".join(f"{size:,}" for size in held_out_sizes)
        raise columns.table.error(f"{message}, too many for {held_out} validation rows")
    for code, label in enumerate(columns.classes):
        if len(set(codes[columns.targets == code])) < 2:
            message = f"the class '{label}' is in a single group of '{name}'"
            advice = "no split can both train on it and judge it; leave out its rows"
            raise columns.table.error(f"{message}: {advice}, or its group")
    n_train = len(codes) - sum(held_out_sizes)
    class_of = columns.targets if columns.classes else np.zeros(len(codes), dtype=np.int64)
    splits = GroupSplits(codes, class_of, tuple(held_out_sizes), (n_train, *least))

    def draw(shuffle: Shuffle) -> Positions:
        train, validation, *test = splits.draw(shuffle)
        return train, validation, (test or [train[:0]])[0]

    surplus = largest - 1
    note = f"Groups of '{name}' stay together, which leaves out up to {surplus:,} rows of a split."
    notes = (note,) if surplus else ()
    return SplitPlan(n_train, least[0], least[1] if n_test else 0, draw, notes, codes)


def _by_time(columns: TableColumns, name: str, n_validation: int, n_test: int) -> SplitPlan:
    """Validate on the last rows, or test on them and validate on those before, for each seed."""
    column, table = _complete_column(columns, name, "time"), columns.table
    if not (is_datetime64_any_dtype(column) or is_numeric_dtype(column)):
        example = table.cite(table.column(name), column.notna())
        raise table.error(f"column '{name}' holds {example}; a time is a number or YYYY-MM-DD")
    order = np.argsort(column.to_numpy(), kind="stable")
    # Rows of one time stay in the same split.
    changes = len(order) - np.flatnonzero(np.diff(column.to_numpy()[order]) != 0) - 1
    if len(changes) < (2 if n_test else 1):
        raise table.error(f"column '{name}' never varies, so that no row is later")

    def nearest_change(n_rows: int, above: int = 0) -> int:
        later = changes[changes > above]
        if not len(later):
            raise table.error(f"column '{name}' has too few times for three splits")
        return int(later[np.argmin(np.abs(later - n_rows))])

    n_test = nearest_change(n_test) if n_test else 0
    n_held_out = nearest_change(n_validation + n_test, n_test)
    ends = [len(order) - n_held_out, len(order) - n_test]
    train, validation, test = np.split(order, ends)
    return _fixed(columns, train, validation, test, "The split is by time")


def _by_column(columns: TableColumns, name: str) -> SplitPlan:
    """Split as a column says, the same for each seed."""
    column, table = _complete_column(columns, name, "split"), columns.table
    words = column.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    masks = [words.str.lower().isin(names) for names in (_TRAINING, _VALIDATION, _TEST)]
    if not (is_known := masks[0] | masks[1] | masks[2]).all():
        message = f"column '{name}' holds {table.cite(words, ~is_known)}"
        raise table.error(f"{message}; expected 'train', 'validation' or 'test'")
    for mask in masks:
        synonyms = sorted(words[mask].unique())
        if len(synonyms) > 1:
            message = f"column '{name}' says both '{synonyms[0]}' and '{synonyms[1]}'"
            raise table.error(f"{message}; leave out the rows of one of them")
    train, validation, test = map(np.flatnonzero, masks)
    if not len(validation):  # two splits: the test rows are those that nobody trained on
        validation, test = test, validation
    if min(len(train), len(validation)) < 2 or len(test) == 1:
        counts = f"{len(train):,} training rows and {len(validation):,} validation rows"
        counts += f" and {len(test):,} test row" if len(test) else ""
        raise table.error(f"column '{name}' gives {counts}; each needs two")
    return _fixed(columns, train, validation, test, f"The split is that of column '{name}'")


def _complete_column(columns: TableColumns, name: str, noun: str) -> pd.Series:
    column = columns.table.frame[name]
    if column.isna().any():
        row = columns.table.locate_first(column.isna())
        raise columns.table.error(f"column '{name}' has no {noun} in {row}")
    return column


def _fixed(
    columns: TableColumns,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    reason: str,
) -> SplitPlan:
    for code, name in enumerate(columns.classes):
        if code not in columns.targets[train]:
            raise columns.table.error(f"no training row has the class '{name}'")
    counts = f"{len(train):,} training rows, {len(validation):,} validation rows"
    counts += f", {len(test):,} test rows" if len(test) else ""
    note = f"{reason}, {counts}, the same for every seed: the intervals say nothing of other rows."
    sizes = len(train), len(validation), len(test)
    return SplitPlan(*sizes, lambda _: (train, validation, test), (note,))
