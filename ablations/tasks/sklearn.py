"""Progression of diabetes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablations.core.random import Streams
from ablations.tasks.base import Classification, Data, Regression, split, task


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
