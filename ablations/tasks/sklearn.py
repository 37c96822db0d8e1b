"""Data sets that come with scikit-learn.

scikit-learn is imported when the data are loaded: its import takes longer than many a study trains.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ablations.core.random import Streams
from ablations.tasks.base import Classification, Data, Regression, Task, split, task


class _SklearnTask(Task):
    """The data set of scikit-learn that ``load_<name>`` returns; each seed draws its split."""

    options: ClassVar[dict[str, Any]] = {}

    def data(self, streams: Streams) -> Data:
        return split(*_load(self), self.rows, streams)


@lru_cache(maxsize=3)
def _load(task: _SklearnTask) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    arrays = getattr(datasets, f"load_{task.name}")(return_X_y=True, **task.options)
    inputs, targets = map(torch.from_numpy, arrays)
    return inputs, targets.to(torch.int64) if task.classification else targets[:, None]


@task
class BreastCancer(Classification, _SklearnTask):
    """569 tumours, thirty measurements of their cells each, malign or benign, 114 held out by each
    seed (Street, Wolberg & Mangasarian, 1993).
    """

    name = "breast_cancer"
    inputs, outputs, rows = 30, 2, 455


@task
class Diabetes(Regression, _SklearnTask):
    """442 patients, ten measurements each, and how far the disease was a year later, 88 patients
    held out by each seed (Efron, Hastie, Johnstone & Tibshirani, 2004).
    """

    name = "diabetes"
    inputs, outputs, rows = 10, 1, 354
    options: ClassVar[dict[str, Any]] = {"scaled": False}


@task
class Digits(Classification, _SklearnTask):
    """1,797 handwritten digits of 8 × 8 pixels, 360 of them held out by each seed (Alpaydin &
    Kaynak, 1998).
    """

    name = "digits"
    inputs, outputs, rows = 64, 10, 1437
    shape = (1, 8, 8)
