"""Draw whole groups of rows, so that each split has rows of every class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Shuffle = Callable[[int, str], np.ndarray]
"""``(count, purpose) -> order``: a random permutation of ``range(count)``."""

MAX_DRAWS = 20
"""How often the groups of a seed are drawn until every class has rows in each split."""
_FREE = -1


@dataclass(frozen=True)
class GroupSplits:
    """The groups of a table, and how many of their rows each split has.

    The first draw of a seed assigns groups in random order to the held-out splits, as many as fit.
    If a class then lacks rows in a split, further draws first reserve a group of each class for
    each split, the class in the fewest groups first.  The first draw with the fewest missing
    classes counts: those of training first, then those of the rows that judge, which are the test
    rows if there are any.
    """

    groups: np.ndarray
    """The group of each row, 0 … n-1."""
    classes: np.ndarray
    """The class of each row; 0 throughout in regression."""
    room: tuple[int, ...]
    """Most rows of each split that is held out: validation, and test if there is one."""
    n_rows: tuple[int, ...]
    """Rows of each split, training first."""

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows of each group."""
        return np.bincount(self.groups)

    @cached_property
    def has_class(self) -> np.ndarray:
        """Whether a group has rows of a class, shape (group, class)."""
        table = np.zeros((len(self.sizes), int(self.classes.max()) + 1), dtype=bool)
        table[self.groups, self.classes] = True
        return table

    @property
    def _priority(self) -> list[int]:
        """The splits: first training, then the rows that judge."""
        return [0, *range(1, len(self.n_rows))[::-1]]

    def draw(self, shuffle: Shuffle) -> list[np.ndarray]:
        """Return the positions of the rows of each split, training first."""
        rows = shuffle(len(self.groups), "split")
        n_groups = self.has_class.sum(0)
        # Even the best draw leaves out the classes that are in fewer groups than there are splits.
        fewest = [int((n_groups <= rank).sum()) for rank in range(len(self.n_rows))]
        candidates = list[tuple[list[int], list[np.ndarray]]]()
        for count in range(MAX_DRAWS):
            order = shuffle(len(self.sizes), f"split/groups/{count}" if count else "split/groups")
            split_of = np.full(len(self.sizes), _FREE)
            if count:
                self._reserve(order, split_of)
            self._fill(order, split_of)
            splits = self._cut(rows, split_of)
            if count and tuple(map(len, splits)) != self.n_rows:
                continue  # the reserved groups leave a split too small
            missing = [self.has_class.shape[1] - self._count(splits[i]) for i in self._priority]
            candidates.append((missing, splits))
            if missing <= fewest:
                break
        return min(candidates, key=lambda candidate: candidate[0])[1]

    def _reserve(self, order: np.ndarray, split_of: np.ndarray) -> None:
        """Assign a group of each class to each split that has none."""
        for label in np.argsort(self.has_class.sum(0), kind="stable"):
            for split in self._priority:
                if self.has_class[split_of == split, label].any():
                    continue
                is_free = (split_of[order] == _FREE) & self.has_class[order, label]
                if split:
                    is_free &= self.sizes[order] <= self._free_room(split_of)[split - 1]
                split_of[order[is_free][:1]] = split

    def _fill(self, order: np.ndarray, split_of: np.ndarray) -> None:
        """Assign the free groups: to the first split with room for it, else to training."""
        free = self._free_room(split_of)
        for group in order[split_of[order] == _FREE]:
            split_of[group] = 0
            for i, room in enumerate(free):
                if self.sizes[group] <= room:
                    split_of[group] = i + 1
                    free[i] -= self.sizes[group]
                    break

    def _free_room(self, split_of: np.ndarray) -> list[int]:
        sizes = (self.sizes[split_of == i + 1].sum() for i in range(len(self.room)))
        return [room - int(size) for room, size in zip(self.room, sizes, strict=True)]

    def _cut(self, order: np.ndarray, split_of: np.ndarray) -> list[np.ndarray]:
        """Return the first rows of each split in a random order, a row of each class among them."""
        split, splits = split_of[self.groups[order]], list[np.ndarray]()
        for i, size in enumerate(self.n_rows):
            rows = order[split == i]
            if self._count(rows[:size]) < self._count(rows):
                _, first = np.unique(self.classes[rows], return_index=True)
                rows = np.concatenate([rows[np.sort(first)], np.delete(rows, first)])
            splits.append(rows[:size])
        return splits

    def _count(self, rows: np.ndarray) -> int:
        """Return how many classes some rows have."""
        return len(np.unique(self.classes[rows]))
