"""The five technique axes, and the one question each of them is asked.

To add a technique, write one class in the module of its axis::

    @technique
    class GroupNorm(Norm):
        \"\"\"Normalise each example over groups of channels (Wu & He, 2018).\"\"\"
        name = "group"
        channels: int = 8

        def layer(self, width: int) -> nn.Module: ...

Its annotated fields are its parameters, its docstring is its caption in the
report.  Nothing else has to be edited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablations.core.random import Draws, StackedStreams, Streams
from ablations.core.registry import Component
from ablations.core.registry import register as technique

__all__ = [
    "AXES",
    "CONTROLS",
    "Decay",
    "Device",
    "Init",
    "Loss",
    "Norm",
    "Optimizer",
    "PerPosition",
    "RandomLayer",
    "Regularizer",
    "Schedule",
    "Technique",
    "Terms",
    "TrainingContext",
    "l1_norm",
    "shrinking",
    "technique",
    "uniform_loss",
]

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(outputs, targets)``: the task's mean loss over a batch, a scalar."""


class TaskFacts(Protocol):
    """What a technique may ask of the task."""

    @property
    def name(self) -> str:
        """The name of the task."""
        ...

    @property
    def classification(self) -> bool:
        """Whether the targets are classes."""
        ...

    @property
    def rows(self) -> int:
        """Number of training rows, the same for every seed."""
        ...


class ModelFacts(Protocol):
    """What a technique may ask of the model."""

    def widths(self, task: Any) -> tuple[int, ...]:
        """Return the widths of the layers that a norm acts on."""
        ...


class TrainingContext(Protocol):
    """What a technique may ask of the configuration that it is part of, to say why it is skipped.

    ``study.configuration.Configuration`` has all of it.
    """

    @property
    def task(self) -> TaskFacts:
        """The task."""
        ...

    @property
    def model(self) -> ModelFacts:
        """The model."""
        ...

    @property
    def regularizer(self) -> Regularizer:
        """The level of the axis ``regularizer``."""
        ...

    @property
    def norm(self) -> Norm:
        """The level of the axis ``norm``."""
        ...

    @property
    def init(self) -> Init:
        """The level of the axis ``init``."""
        ...

    @property
    def device(self) -> Device:
        """The level of the axis ``device``."""
        ...

    @property
    def epochs(self) -> int:
        """Epochs of training."""
        ...

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """The precision of parameters and data."""
        ...

    @property
    def rows_per_batch(self) -> int:
        """Rows of a full batch."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        ...


class Technique(Component):
    """One level of a technique axis; ``kind`` is the axis, ``control`` its level without effect."""

    control: ClassVar[str]

    def skip(self, context: TrainingContext) -> str | None:
        """Why this technique makes no sense in a configuration; None where it does."""
        return None


class RandomLayer(nn.Module):
    """A layer that draws numbers while training.

    What it does falls into parts, so that an engine may draw once for all runs of a seed and
    disturb many runs at a time.  ``purpose`` names its stream; the trainer hands it the run's
    draws.
    """

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose
        self.draws: Draws | None = None
        self.given: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        if self.given is not None:  # what an engine prepared, and the numbers, of this run
            prepared, numbers = self.given
            return self.disturb(inputs, prepared, *numbers)
        if self.draws is None:
            raise RuntimeError(f"the layer '{self.purpose}' was given no draws")
        streams, step = self.draws.streams, self.draws.step
        numbers = tuple(
            number.to(inputs.device, inputs.dtype if number.is_floating_point() else number.dtype)
            for number in self.numbers()
        )
        drawn = self.draw(streams, inputs.shape, self.purpose, step).to(inputs.device)
        return self.disturb(inputs, self.prepare(drawn, *numbers), *numbers)

    def plain(self) -> nn.Module:
        """What a person would write in its place, with PyTorch's own random numbers; what it costs
        is timed.
        """
        return self

    def numbers(self) -> tuple[Tensor, ...]:
        """The layer's parameters as scalars; a stack of runs has one of each for every run."""
        raise NotImplementedError

    @staticmethod
    def draw(
        streams: Streams | StackedStreams, shape: Sequence[int], purpose: str, step: int
    ) -> Tensor:
        """This step's numbers (…, batch, feature); they depend on seed and purpose alone."""
        raise NotImplementedError

    @staticmethod
    def prepare(drawn: Tensor, *numbers: Tensor) -> Tensor:  # noqa: ARG004
        """What needs no inputs, of the shape of ``drawn``."""
        return drawn

    @staticmethod
    def disturb(inputs: Tensor, prepared: Tensor, *numbers: Tensor) -> Tensor:
        """The inputs, disturbed, each entry by itself; a pure function of tensors.

        An engine may hand over (…, feature, batch) in place of (…, batch, feature).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Decay:
    """Weight decay: coupled (added to the gradient) or decoupled (taken off the weight)."""

    amount: float = 0.0
    decoupled: bool = False


@dataclass(frozen=True)
class Terms:
    """What a regularizer asks of the training, in numbers; the defaults ask nothing."""

    l1: float = 0.0
    """Weight of Σ|p| over all parameters in the objective."""
    decay: Decay = Decay()
    """The weight decay asked of the optimizer."""
    smoothing: float = 0.0
    """Share of the uniform distribution in the targets; needs classes."""
    max_norm: float = math.inf
    """The greatest length of a unit's incoming weights after a step."""


class Regularizer(Technique):
    """What is done against overfitting: numbers for the training loop, layers for the network.

    A technique that neither says may override ``objective`` or ``shrink``; such runs are trained
    one by one.
    """

    role = "regularizer"
    control = "none"

    def terms(self) -> Terms:
        """What it asks in numbers."""
        return Terms()

    def has_own_hooks(self) -> bool:
        """Whether it does what its terms do not say."""
        own = (type(self).objective, type(self).shrink)
        return own != (Regularizer.objective, Regularizer.shrink)

    def layer(self, place: int) -> RandomLayer | None:
        """A layer for the input (place 0) or after the n-th hidden layer (place n)."""
        return None

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        """What the optimizer minimises: a scalar from a batch's outputs and the parameters."""
        terms, objective = self.terms(), loss(outputs, targets)
        if terms.smoothing:
            uniform = uniform_loss(outputs).mean()
            objective = (1 - terms.smoothing) * objective + terms.smoothing * uniform
        if terms.l1:
            objective = objective + terms.l1 * l1_norm(parameters)
        return objective

    def shrink(self, weight: Tensor) -> Tensor | None:
        """Factors (out, 1) by which a layer's rows are scaled after a step; None for none."""
        limit = self.terms().max_norm
        return None if math.isinf(limit) else shrinking(weight, limit)


def l1_norm(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of all absolute values, a scalar."""
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


def uniform_loss(outputs: Tensor) -> Tensor:
    """Cross-entropy of each row of logits (…, class) with the uniform distribution, shape (…)."""
    return -F.log_softmax(outputs, dim=-1).mean(-1)


def shrinking(weight: Tensor, limit: float | Tensor, dim: int | tuple[int, ...] = -1) -> Tensor:
    """Factors that bring vectors along ``dim`` to a length of at most ``limit``."""
    length: Tensor = torch.linalg.vector_norm(weight, dim=dim, keepdim=True)
    return limit / torch.maximum(length, torch.as_tensor(limit, dtype=length.dtype))


class PerPosition(nn.Module):
    """Each place of a picture or a series (batch, channel, …) as a row of its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        lying = maps.movedim(1, -1)
        rows: Tensor = self.layer(lying.flatten(0, -2))
        return rows.view(lying.shape).movedim(-1, 1)


class Norm(Technique):
    """How activations or weights are normalised in the hidden layers."""

    role = "norm"
    control = "none"

    def layer(self, width: int) -> nn.Module | None:
        """A layer that normalises activations of shape (batch, width)."""
        return None

    def maps(self, width: int, dims: int) -> nn.Module | None:
        """A layer that normalises pictures or series (batch, width, …) of one to three dimensions
        of space or time; by default each place is a row of its own.
        """
        layer = self.layer(width)
        return None if layer is None else PerPosition(layer)

    def wrap(self, linear: nn.Linear) -> None:
        """Reparametrise an initialised hidden layer in place."""

    def lengths(self, linear: nn.Linear) -> Tensor:
        """The parameter (out, …) that scales the rows of a layer's weight in proportion."""
        return linear.weight


class Init(Technique):
    """The distribution that weights are drawn from; biases keep PyTorch's default."""

    role = "init"
    control = "default"
    leaves: ClassVar[bool] = False
    """Whether weights that somebody's own network was made with are left as they are."""

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        """Fill ``weight`` (out, in), or that of a convolution (out, in, …), in place.

        ``nonlinearity`` is that which follows the layer, in the words of
        ``torch.nn.init.calculate_gain``; ``"linear"`` for the output layer.
        """
        raise NotImplementedError


class Schedule(Technique):
    """How the learning rate moves.  The study's rate is the highest that a schedule reaches."""

    role = "schedule"
    control = "constant"
    adaptive: ClassVar[bool] = True
    """Whether the rates may depend on how the training goes; where not, they are known ahead."""

    def scheduler(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> Any:
        """PyTorch's scheduler for a run of ``epochs`` epochs of ``steps`` steps, or None."""
        return None

    def after_step(self, scheduler: Any) -> None:
        """Called after every optimizer step."""

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        """Called after every epoch, with the epoch's mean objective."""
        if scheduler is not None:
            scheduler.step()


class Device(Technique):
    """Where the tensors live."""

    role = "device"
    control = "cpu"

    def available(self) -> bool:
        """Whether torch offers this device here."""
        raise NotImplementedError

    def skip(self, context: TrainingContext) -> str | None:
        return None if self.available() else f"torch offers no {self.name} device here"

    def synchronize(self) -> None:
        """Wait until the device has done all its work; read no clock before."""

    def torch_device(self) -> torch.device:
        """The device in torch's words."""
        return torch.device(self.name)

    def forget_peak(self) -> None:
        """Count the most memory held anew from here."""

    def peak(self) -> int | None:
        """The most bytes that tensors held on the device at a time; None where nobody counts."""
        return None


class Optimizer(Technique):
    """The rule that turns gradients into steps; a hyper-parameter, not a technique axis."""

    role = "optimizer"
    control = "adam"

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        """PyTorch's optimizer over ``parameters``."""
        raise NotImplementedError

    moments: ClassVar[int] = 0
    """How many tensors of the parameters' shape ``update`` carries from step to step."""

    def decay(self, asked: Decay) -> Decay:
        """The weight decay done, when a regularizer asks for this one."""
        return asked

    def factors(self, step: int) -> tuple[float, ...]:
        """What ``update`` needs of the number of the step, which starts at 1; as many for each."""
        return ()

    def update(
        self, gradient: Tensor, moments: tuple[Tensor, ...], factors: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same rule written out: what a rate of 1 takes off the parameters.

        A pure function, element by element, of tensors of any shape, for engines that train many
        runs at a time; without it runs are trained one by one.

        Parameters
        ----------
        gradient
            Weight decay included, where it is coupled.
        moments
            What the last step gave; zeros at first.
        factors
            Those of the step, scalars.
        """
        raise NotImplementedError


AXES: tuple[type[Technique], ...] = (Regularizer, Norm, Init, Schedule, Device)
"""The technique axes, in the order of the tables' columns."""

CONTROLS: dict[str, str] = {
    axis.role: axis.control for axis in (*AXES, cast(type[Technique], Optimizer))
}
"""Axis to the name of its control level."""
