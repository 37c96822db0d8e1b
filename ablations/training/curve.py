"""The curve of a run: the numbers of its epochs."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a run.

    ``objective`` is the mean, over the epoch's rows, of what the optimizer minimised before each
    step; the losses are computed after the epoch in evaluation mode, without penalties; ``lr`` is
    the rate of the epoch's first step.
    """

    epoch: int
    objective: float
    train_loss: float
    val_loss: float
    lr: float

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, (self.objective, self.train_loss, self.val_loss)))


COLUMNS = ("objective", "train_loss", "val_loss", "lr")


class Curve(Sequence[EpochRecord]):
    """The epochs of a run, from the first, in 32 bytes an epoch.

    Parameters
    ----------
    values
        The numbers of ``COLUMNS``, float64 of shape (epochs, 4).
    """

    __slots__ = ("values",)

    def __init__(self, values: NDArray[np.float64] | None = None) -> None:
        self.values = np.empty((0, len(COLUMNS))) if values is None else values

    @classmethod
    def collect(cls, records: Iterable[EpochRecord]) -> Curve:
        """Keep the numbers of records, one after the other."""
        numbers = array("d")
        for record in records:
            numbers.extend((record.objective, record.train_loss, record.val_loss, record.lr))
        return cls(np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(COLUMNS)))

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> EpochRecord: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[EpochRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> EpochRecord | tuple[EpochRecord, ...]:
        if isinstance(index, slice):
            return tuple(map(self._record, range(len(self))[index]))
        return self._record(range(len(self))[index])

    def __iter__(self) -> Iterator[EpochRecord]:
        return map(self._record, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def _record(self, index: int) -> EpochRecord:
        return EpochRecord(index + 1, *self.values[index].tolist())

    def best_epoch(self) -> EpochRecord | None:
        """Return the first epoch with the lowest validation loss; None without a finite one."""
        losses = self.values[:, COLUMNS.index("val_loss")]
        finite = np.where(np.isfinite(losses), losses, np.inf)
        best = int(finite.argmin()) if len(finite) else 0
        return self._record(best) if len(finite) and math.isfinite(finite[best]) else None
