"""Progression of diabetes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablations.streams import Streams
from ablations.tasks.base import Data, Regression, split, task


@lru_cache(maxsize=1)
def _diabetes() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    measured, progression = load_diabetes(return_X_y=True, scaled=False)
    return torch.from_numpy(measured), torch.from_numpy(progression)[:, None]


@task
class Diabetes(Regression):
    """442 patients, ten measurements each, and how far the disease was a year later, 88 patients
    held out by each seed (Efron, Hastie, Johnstone & Tibshirani, 2004).
    """

    name = "diabetes"
    inputs, outputs, rows = 10, 1, 354

    def data(self, streams: Streams) -> Data:
        return split(*_diabetes(), self.rows, streams)
