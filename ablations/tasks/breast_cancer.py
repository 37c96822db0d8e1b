"""Breast cancer in Wisconsin."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablations.streams import Streams
from ablations.tasks.base import Classification, Data, split, task


@lru_cache(maxsize=1)
def _tumours() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_breast_cancer

    measured, benign = load_breast_cancer(return_X_y=True)
    return torch.from_numpy(measured), torch.from_numpy(benign).to(torch.int64)


@task
class BreastCancer(Classification):
    """569 tumours, thirty measurements of their cells each, malign or benign, 114 held out by each
    seed (Street, Wolberg & Mangasarian, 1993).
    """

    name = "breast_cancer"
    inputs, outputs, rows = 30, 2, 455

    def data(self, streams: Streams) -> Data:
        return split(*_tumours(), self.rows, streams)
