"""Data sets that come with scikit-learn.

scikit-learn is imported when the data are loaded: its import takes longer than many a study trains.
"""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ablations.core.random import Streams
from ablations.core.registry import frozen
from ablations.tasks.base import (
    Classification,
    Data,
    Regression,
    Task,
    split,
    task,
)
from ablations.tasks.data import check_split_sizes


@frozen
class _SklearnTask(Task):
    """The data set of scikit-learn that ``load_<name>`` returns; each seed draws its split."""

    later_fields = frozenset({"test", "validation"})
    options: ClassVar[dict[str, Any]] = {}
    n_all: ClassVar[int]
    """Number of rows of the data set."""
    n_validation: ClassVar[int]
    """Number of validation rows with the default share."""
    validation: Annotated[float, Field(gt=0, lt=1)] = field(default=0.2, kw_only=True)
    """The share of validation rows."""

    @property
    def rows(self) -> int:
        return self.n_all - self._n_held_out[0] - self._n_held_out[1]

    @property
    def _n_held_out(self) -> tuple[int, int]:
        """Numbers of validation rows and of test rows."""
        is_default = self.validation == 0.2
        n_validation = self.n_validation if is_default else round(self.validation * self.n_all)
        return n_validation, round(self.test * self.n_all)

    @property
    def shared_rows(self) -> int:
        n_validation, n_test = self._n_held_out
        return n_test or n_validation

    def check_splits(self) -> None:
        check_split_sizes(self.n_all, *self._n_held_out)

    def default_test(self) -> float:
        return self.validation

    def data(self, streams: Streams) -> Data:
        inputs, targets = _load(self.name, self.classification, tuple(self.options.items()))
        return split(inputs, targets, self.rows, streams, test_rows=self._n_held_out[1])


@lru_cache(maxsize=6)
def _load(
    name: str, classification: bool, options: tuple[tuple[str, Any], ...]
) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    arrays = getattr(datasets, f"load_{name}")(return_X_y=True, **dict(options))
    inputs, targets = map(torch.from_numpy, arrays)
    return inputs, targets.to(torch.int64) if classification else targets[:, None]


@task
class BreastCancer(Classification, _SklearnTask):
    """569 tumours, thirty measurements of their cells each, malign or benign, 114 held out by each
    seed (Street, Wolberg & Mangasarian, 1993).
    """

    name = "breast_cancer"
    inputs, outputs = 30, 2
    n_all, n_validation = 569, 114


@task
class Diabetes(Regression, _SklearnTask):
    """442 patients, ten measurements each, and how far the disease was a year later, 88 patients
    held out by each seed (Efron, Hastie, Johnstone & Tibshirani, 2004).
    """

    name = "diabetes"
    inputs, outputs = 10, 1
    n_all, n_validation = 442, 88
    options: ClassVar[dict[str, Any]] = {"scaled": False}


@task
class Digits(Classification, _SklearnTask):
    """1,797 handwritten digits of 8 × 8 pixels, 360 of them held out by each seed (Alpaydin &
    Kaynak, 1998).
    """

    name = "digits"
    inputs, outputs = 64, 10
    n_all, n_validation = 1797, 360
    shape = (1, 8, 8)


@task
class Iris(Classification, _SklearnTask):
    """150 flowers of three species, four measurements each, 30 held out by each seed (Fisher,
    1936).
    """

    name = "iris"
    inputs, outputs = 4, 3
    n_all, n_validation = 150, 30


@task
class Wine(Classification, _SklearnTask):
    """178 wines of three growers, thirteen measurements each, 36 held out by each seed (Aeberhard,
    Coomans & de Vel, 1992).
    """

    name = "wine"
    inputs, outputs = 13, 3
    n_all, n_validation = 178, 36
