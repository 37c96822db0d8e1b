"""Handwritten digits."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablations.streams import Streams
from ablations.tasks.base import Classification, Data, split, task


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    # Imported where it is wanted: it takes longer to import than many a study to train.
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return torch.from_numpy(pixels), torch.from_numpy(classes).to(torch.int64)


@task
class Digits(Classification):
    """1,797 handwritten digits of 8 × 8 pixels, 360 of them held out by each seed (Alpaydin &
    Kaynak, 1998).
    """

    name = "digits"
    inputs, outputs, rows = 64, 10, 1437
    shape = (1, 8, 8)

    def data(self, streams: Streams) -> Data:
        return split(*_digits(), self.rows, streams)
