"""Handwritten digits."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablations.streams import Streams
from ablations.tasks.base import Classification, Data, task


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

    def data(self, streams: Streams) -> Data:
        pixels, classes = _digits()
        order = streams.permutation(len(classes), "split")
        train, val = order[: self.rows], order[self.rows :]
        mean, std = pixels[train].mean(0), pixels[train].std(0, correction=0)
        # Pixels that never vary in the training split would divide by zero.
        std = torch.where(std > 0, std, torch.ones_like(std))
        scaled = ((pixels - mean) / std).to(torch.float32)
        return Data(scaled[train], classes[train], scaled[val], classes[val])
