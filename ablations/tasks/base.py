"""What a task defines: the data of each seed, a loss and a metric.

A task is one class: its docstring is its caption, ``data`` returns both splits of one seed, and
``Regression`` or ``Classification`` provides loss and metric.  ``split`` draws the split and
scales by the training rows::

    import torch

    from ablations.tasks.base import Regression, split, task


    @task
    class Sine(Regression):
        \"\"\"A sine of one input with noise; 64 rows to train on, 64 to validate.\"\"\"

        name = "sine"
        inputs, outputs, rows = 1, 1, 64
        noise: float = 0.1

        def data(self, streams):
            x = streams.uniform((128, 1), "data/inputs")
            noise = self.noise * streams.normal((128, 1), "data/noise")
            return split(x, torch.sin(6 * x) + noise, self.rows, streams)

A task of this package is a module of this folder, and nothing else is edited.  A task of your own
stands in a file of yours: a study names it ``task = "python:my_module:Sine"``.  Data that are in a
table need no class: see the tasks ``csv`` and ``parquet`` (``ablations.tasks.files``), and
``ablations.from_arrays`` and ``ablations.from_dataset``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationError
from torch import Tensor
from torch.nn import functional as F

from ablations.core.errors import RequestError
from ablations.core.random import Streams
from ablations.core.registry import Component, from_validation, frozen
from ablations.core.registry import register as task

__all__ = ["Classification", "Data", "Regression", "Task", "split", "task"]


Judge = Literal["last", "best"]
"""Which epoch of a run is judged: the last one, or the one with the lowest validation loss."""


@dataclass(frozen=True)
class Data:
    """The splits of one seed.

    Inputs are float32 (row, feature); targets are float32 (row, output) in regression and int64
    (row,) in classification.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor | None = None
    """Rows that judge a run whose epoch was chosen on validation rows; None without such rows."""
    y_test: Tensor | None = None
    target_scale: Tensor | None = None
    """Shape (output,): the targets' own unit per unit of ``y_train``; None if they are the same."""
    target_mean: Tensor | None = None
    """Shape (output,): the number that is 0 in ``y_train``, in the targets' own unit; None if it
    is 0."""


def split(
    inputs: Tensor,
    targets: Tensor,
    rows: int,
    streams: Streams,
    *,
    together: bool = False,
    test_rows: int = 0,
) -> Data:
    """Draw ``rows`` training rows, and scale all rows by the statistics of the training rows.

    Parameters
    ----------
    inputs
        Shape (row, feature).  Each feature gets mean 0 and standard deviation 1 on the training
        rows; a feature that is constant there gets mean 0.
    targets
        Shape (row, output), floating point, scaled like the inputs; or (row,), classes.
    together
        Scale all features by one mean and deviation, as for the points of a sequence.
    test_rows
        How many rows are test rows; those that are neither training nor test rows validate.
    """
    order = streams.permutation(len(inputs), "split")
    train, val, test = order.tensor_split([rows, len(order) - test_rows])
    x = _scaled(inputs, train, together)
    y = _scaled(targets, train) if targets.is_floating_point() else targets
    data = Data(x[train], y[train], x[val], y[val])
    return replace(data, x_test=x[test], y_test=y[test]) if test_rows else data


def check_split_sizes(n_all: int, n_validation: int, n_test: int) -> None:
    """Raise a ``RequestError`` if a split would have fewer than two rows; none tests is fine."""
    n_train = n_all - n_validation - n_test
    if min(n_train, n_validation) < 2 or n_test == 1:
        counts = f"{n_train:,} to train on, {n_validation:,} to validate and {n_test:,} to test"
        message = f"of {n_all:,} rows these shares leave {counts}; each split needs two rows"
        raise RequestError(message, "test" if n_test else "validation")


def _cut_test_rows(data: Data, share: float, streams: Streams) -> Data:
    """Return the data with a random part of the validation rows, ``share`` of all, as test rows."""
    n_all, n_validation = len(data.x_train) + len(data.x_val), len(data.x_val)
    n_test = round(share * n_all)
    check_split_sizes(n_all, n_validation - n_test, n_test)
    order = streams.permutation(n_validation, "split/test")
    test, val = order[:n_test], order[n_test:]
    return replace(
        data,
        x_val=data.x_val[val],
        y_val=data.y_val[val],
        x_test=data.x_val[test],
        y_test=data.y_val[test],
    )


def _scaled(values: Tensor, train: Tensor, together: bool = False) -> Tensor:
    dims = (0, 1) if together else 0
    mean, std = values[train].mean(dims), values[train].std(dims, correction=0)
    # A constant feature would be divided by zero.
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((values - mean) / std).to(torch.float32)


@frozen
class Task(Component):
    """A data set with its loss and metric."""

    role = "task"
    higher_is_better: ClassVar[bool] = True
    later_fields = frozenset({"test"})
    default_batch_size: ClassVar[int | Literal["full"]] = 32
    """The batch size of a study that names none."""
    default_epochs: ClassVar[int | None] = None
    """The epochs of a study that names none; None: those of a number of steps."""
    test: Annotated[float, Field(ge=0, lt=1)] = field(default=0.0, kw_only=True)
    """The share of test rows among all rows: out of the validation rows, if the task itself does
    not draw them."""

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        raise NotImplementedError

    @property
    def metric_name(self) -> str:
        """The name of the metric in tables."""
        raise NotImplementedError

    @property
    def caution(self) -> str:
        """A warning about results on this task, for the report; empty without one."""
        return ""

    @property
    def badge(self) -> str:
        """The warning in two or three words."""
        return ""

    @property
    def default_judge(self) -> Judge:
        """The epoch by which a study judges that names none."""
        return "last"

    @property
    def has_test_rows(self) -> bool:
        """Whether the data have test rows, which judge the runs."""
        return self.test > 0

    @property
    def varies(self) -> bool:
        """Whether the data or their split depend on the seed."""
        return True

    @property
    def inputs(self) -> int:
        """Number of features."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row as an image (channel, height, width) or a sequence (channel, time)."""
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        """Number of outputs or classes."""
        raise NotImplementedError

    @property
    def rows(self) -> int:
        """Number of training rows, the same for every seed."""
        raise NotImplementedError

    def ready(self) -> None:
        """Raise a ``RequestError`` if the data cannot be loaded, before training starts."""

    def data(self, streams: Streams) -> Data:
        """Return both splits of one seed, on the CPU."""
        raise NotImplementedError

    def splits(self, streams: Streams) -> Data:
        """Return the splits of one seed, with test rows if the task has a share of them."""
        data = self.data(streams)
        if not self.test or data.x_test is not None:
            return data
        return _cut_test_rows(data, self.test, streams)

    def with_splits(self, **shares: float) -> Self:
        """Return the task with other shares of ``validation`` and ``test`` rows.

        Raises
        ------
        RequestError
            If the task fixes its validation rows, or a share leaves too few rows.
        """
        if "validation" in shares and "validation" not in self.parameters():
            message = f"the task '{self.name}' has a fixed number of validation rows"
            raise RequestError(f"{message}; leave it out", "validation")
        try:
            task = replace(self, **shares).with_resolved_inputs()
        except ValidationError as error:
            raise from_validation(error) from None
        task.check_splits()
        return task

    def check_splits(self) -> None:
        """Raise a ``RequestError`` if the shares of the splits leave too few rows."""
        if self.test:
            self.splits(Streams(0))

    def default_test(self) -> float:
        """Return the share of test rows of a study that needs some and states none.

        Half of the rows that the task holds out.
        """
        data = self.data(Streams(0))
        n_validation = len(data.x_val)
        return n_validation / 2 / (n_validation + len(data.x_train))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, shape ``outputs.shape[:-1]``."""
        raise NotImplementedError

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the rows, a scalar; lower is better."""
        return self.losses(outputs, targets).mean()

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the metric over the rows of a split, outputs (…, row, output), shape (…)."""
        raise NotImplementedError


class Regression(Task):
    """Mean squared error, and R² as the metric."""

    classification = False
    metric_name = "r2"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(-1)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        spread = (targets - targets.mean(-2, keepdim=True)).square().mean((-2, -1))
        return 1 - (outputs - targets).square().mean((-2, -1)) / spread


class Classification(Task):
    """Cross-entropy over logits (row, class), and accuracy as the metric."""

    classification = True
    metric_name = "accuracy"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        flat = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return flat.view(targets.shape)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        hits = (outputs.argmax(-1) == targets).sum(-1)
        return hits.cpu().to(torch.float64) / targets.shape[-1]
