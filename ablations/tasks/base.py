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

The class has the keys of its base too: ``test``, ``loss`` and, in a classification,
``class_weight``; a class that defines ``losses`` itself takes neither of the last two.

A task of this package is a module of this folder, and nothing else is edited.  A task of your own
stands in a file of yours: a study names it ``task = "python:my_module:Sine"``.  Data that are in a
table need no class: see the tasks ``csv`` and ``parquet`` (``ablations.tasks.files``), and
``ablations.from_arrays`` and ``ablations.from_dataset``.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from ablations.core.errors import RequestError
from ablations.core.plugins import PREFIX, target_hash
from ablations.core.random import Streams
from ablations.core.registry import Component, from_validation, frozen
from ablations.core.registry import register as task
from ablations.core.schema import TableColumn
from ablations.tasks.data import Data, cut_test_rows, describe_thin_shape, split
from ablations.tasks.losses import (
    ClassWeight,
    Loss,
    best_constant,
    check_loss,
    class_weights,
    default_loss,
    find_loss,
)
from ablations.tasks.metrics import score_r2

__all__ = ["Classification", "Data", "Regression", "Task", "split", "task"]


Judge = Literal["last", "best"]
"""Which epoch of a run is judged: the last one, or the one with the lowest validation loss."""


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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if callable(mean_loss := vars(cls).get("loss")):  # "loss" is the name of a field now
            message = f"{cls.__qualname__} defines 'loss', which is now called 'mean_loss'"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            setattr(cls, "mean_loss", mean_loss)  # noqa: B010 (a method for mypy)
            delattr(cls, "loss")
        for name in ("loss", "class_weight", "test"):
            if name in vars(cls) and name not in inspect.get_annotations(cls):
                message = f"{cls.__qualname__}: the parameter '{name}' needs its type beside"
                raise TypeError(f"{message} its default: {name}: str = {vars(cls)[name]!r}")

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        raise NotImplementedError

    @property
    def metric_name(self) -> str:
        """The name of the metric in tables."""
        raise NotImplementedError

    @property
    def short_name(self) -> str:
        """The task's level in a study of several tasks that gives it no other label."""
        return self.name

    @property
    def caution(self) -> str:
        """A warning about results on this task, for the report; empty without one."""
        return describe_thin_shape(self.shape)

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
    def shared_rows(self) -> int:
        """How many rows judge the runs of a seed, where all seeds share the rows of one table.

        0 where each seed draws data of its own, and where nobody knows.
        """
        return 0

    @property
    def inputs(self) -> int:
        """Number of features."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row, channels first: an image is (channel, height, width), a sequence
        (channel, step).
        """
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
        data = self._load(streams)
        if not self.test or data.x_test is not None:
            return data
        return cut_test_rows(data, self.test, streams)

    def _load(self, streams: Streams) -> Data:
        """Return the data of a seed; a user's class may draw from global generators, and so do
        some libraries when they are imported.
        """
        with streams.isolated(purpose="data/global"):
            return self.data(streams)

    def describe_columns(self) -> tuple[TableColumn, ...]:
        """Return what became of each column of the table that holds the data; () without one."""
        return ()

    def describe_seeds(self, streams: Sequence[Streams]) -> tuple[str, ...]:
        """Return sentences about what the splits of some seeds lack, such as a class."""
        return ()

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
        data = self._load(Streams(0))
        n_validation = len(data.x_val)
        return n_validation / 2 / (n_validation + len(data.x_train))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, shape ``outputs.shape[:-1]``."""
        raise NotImplementedError

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the rows, a scalar; lower is better."""
        return self.losses(outputs, targets).mean()

    def constant(self, data: Data) -> Tensor:
        """Return the outputs (output,), float64, with the least mean loss on the training rows.

        They are the same for all rows: what can be predicted without the inputs.
        """
        return best_constant(self.losses, data.y_train, self.outputs)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the metric over the rows of a split, outputs (…, row, output), shape (…)."""
        raise NotImplementedError


@frozen
class LossTask(Task):
    """A task whose loss a study may name."""

    later_fields = frozenset({"loss"})
    loss: Loss = field(default="", kw_only=True)
    """The name of the loss, or ``python:module:function``; "" for the task's default."""

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """The weight of each class in the loss; () without weights."""
        return ()

    @property
    def has_own_losses(self) -> bool:
        """Whether a subclass defines the losses."""
        return type(self).losses is not LossTask.losses

    def has_key(self, name: str) -> bool:
        """Whether a study gave this key; a field of a task with its own losses is no key."""
        is_key = not (self.has_own_losses and self.redefines(name))
        return is_key and bool(getattr(self, name))

    @property
    def _loss_name(self) -> str:
        return self.loss if self.has_key("loss") else default_loss(self.classification)

    @property
    def _loss_module(self) -> str:
        """The module of ``python:module:function``; "" without one."""
        is_foreign = self._loss_name.startswith(PREFIX)
        return self._loss_name.removeprefix(PREFIX).partition(":")[0] if is_foreign else ""

    @cached_property
    def _row_losses(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss itself; the task takes a user's function along to workers."""
        return find_loss(self._loss_name, self.classification)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_row_losses": self._row_losses}

    def with_resolved_inputs(self) -> Self:
        if self.has_own_losses and self.has_key("loss"):
            message = f"the task '{self.name}' defines its own losses; leave it out"
            raise RequestError(message, "loss")
        if self.loss == default_loss(self.classification):
            return replace(self, loss="").with_resolved_inputs()
        self._row_losses  # noqa: B018 (raises if there is no such loss)
        return self

    def identity(self) -> dict[str, Any]:
        values = super().identity()
        return values | {k: values.get(k, "") + v for k, v in self.loss_source().items()}

    def loss_source(self) -> dict[str, str]:
        """Return the hash of a user's loss for the identity, under ``source``; {} otherwise."""
        if not self._loss_module:
            return {}
        function = getattr(self._row_losses, "function", None)
        return {"source": target_hash(self._loss_name.removeprefix(PREFIX), function)}

    def user_modules(self) -> set[str]:
        return super().user_modules() | {self._loss_module} - {""}

    def ready(self) -> None:
        check_loss(self._loss_name, self._row_losses, self.outputs, self.classification)
        self.loss_weights  # noqa: B018 (raises if they cannot be computed)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses, weights = self._row_losses(outputs, targets), self.loss_weights
        return losses * outputs.new_tensor(weights)[targets] if weights else losses

    def constant(self, data: Data) -> Tensor:
        name = "" if self.has_own_losses else self._loss_name
        return best_constant(self.losses, data.y_train, self.outputs, name, self.loss_weights)


@frozen
class WeightedTask(LossTask):
    """A task whose classes may have weights in the loss."""

    later_fields = frozenset({"class_weight"})
    class_weight: ClassWeight = field(default="", kw_only=True)
    """``"balanced"``, or label and weight: the weight of each row in the loss.  Weights belong to
    the task: they follow from its training rows at seed 0, where their mean is one."""

    @property
    def class_labels(self) -> tuple[str, ...]:
        """The label of each class, by which a study refers to it."""
        return tuple(map(str, range(self.outputs)))

    @cached_property
    def loss_weights(self) -> tuple[float, ...]:
        return _class_weights(self) if self.has_key("class_weight") else ()

    def with_resolved_inputs(self) -> Self:
        if self.has_key("class_weight"):
            message = ""
            if not self.classification:
                message = "the task is a regression, which has no classes"
            elif self.has_own_losses:
                message = f"the task '{self.name}' defines its own losses; leave it out"
            if message:
                raise RequestError(message, "class_weight")
            count_rows = torch.ones(len(self.class_labels))
            class_weights(self.class_weight, self.class_labels, count_rows)
        return super().with_resolved_inputs()

    def to_spec(self) -> tuple[str, dict[str, Any]]:
        name, parameters = super().to_spec()
        if isinstance(self.class_weight, tuple):
            parameters["class_weight"] = dict(self.class_weight)
        return name, parameters


@lru_cache(maxsize=64)
def _class_weights(task: WeightedTask) -> tuple[float, ...]:
    counts = torch.bincount(task.splits(Streams(0)).y_train, minlength=task.outputs)
    return class_weights(task.class_weight, task.class_labels, counts)


@frozen
class Regression(LossTask):
    """Mean squared error unless a study names another loss, and R² as the metric: of several
    outputs the mean, each weighted alike, as in scikit-learn.
    """

    classification = False
    metric_name = "r2"

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.shape[-1] > 1:
            return score_r2(outputs, targets)
        spread = (targets - targets.mean(-2, keepdim=True)).square().mean((-2, -1))
        return 1 - (outputs - targets).square().mean((-2, -1)) / spread


@frozen
class Classification(WeightedTask):
    """Cross-entropy over logits (row, class) unless a study names another loss, and accuracy as the
    metric.
    """

    classification = True
    metric_name = "accuracy"

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        hits = (outputs.argmax(-1) == targets).sum(-1)
        return hits.cpu().to(torch.float64) / targets.shape[-1]
