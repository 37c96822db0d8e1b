"""The technique axes: what a technique of each axis defines.

A technique is one small class.  Its annotated fields are its parameters, the first sentence of its
docstring is its caption in the report, and one or two methods of its axis do the work::

    import math

    from torch import nn

    from ablations.techniques.base import Init, technique


    @technique
    class LeCunNormal(Init):
        \"\"\"Normal of variance gain²/fan_in (LeCun et al., 1998).\"\"\"

        name = "lecun_normal"
        gain: float = 1.0

        def fill(self, weight, nonlinearity, generator):
            std = self.gain / math.sqrt(weight[0].numel())
            nn.init.normal_(weight, std=std, generator=generator)

A technique of this package stands in the module of its axis (``regularizers``, ``norms``,
``inits``, ``schedules``, ``devices``, ``optimizers``), and nothing else is edited.  A technique of
your own stands in a file of yours: a study names it ``"python:my_module:LeCunNormal"``, or takes
the object in Python.  A package offers its techniques in the entry-point group
``ablations.techniques``.  ``ablations.testing.check(LeCunNormal())`` tests what every technique of
the axis must satisfy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from ablations.core.deprecation import renamed_attributes
from ablations.core.registry import Component, is_redefined
from ablations.core.registry import register as technique
from ablations.core.strengths import list_parameters
from ablations.tasks.base import Task
from ablations.techniques.layers import (
    PerPosition,
    RandomLayer,
    l1_norm,
    shrinking,
    slowest_momentum,
    uniform_loss,
)

__all__ = ["Device", "Init", "Norm", "Optimizer", "Regularizer", "Schedule", "Technique"]
__all__ += ["AXES", "CONTROLS", "Decay", "Loss", "Penalties", "TrainingContext", "technique"]
__all__ += ["Nonlinearity", "calculate_gain", "slope_of"]
__all__ += [
    "PerPosition",
    "RandomLayer",
    "l1_norm",
    "shrinking",
    "slowest_momentum",
    "uniform_loss",
]

__getattr__ = renamed_attributes(__name__, {"Terms": "Penalties"})

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(outputs, targets)``: the task's mean loss over a batch, a scalar."""
Tensors = tuple[Tensor, ...]
Update = tuple[Tensor, Tensors]
"""The change of the parameters at a learning rate of 1, and the moments after the step."""


class ModelFacts(Protocol):
    """What ``skip`` may read of the model; ``ablations.models.base.Model`` has it."""

    def widths(self, task: Task) -> tuple[int, ...]:
        """Return the widths of the layers that a norm acts on."""


class TrainingContext(Protocol):
    """What ``skip`` may read of a configuration; ``ablations.Configuration`` has it.

    ``rows_per_batch`` counts the rows of a full batch, ``steps_per_epoch`` the optimizer steps.
    """

    @property
    def task(self) -> Task: ...
    @property
    def model(self) -> ModelFacts: ...
    @property
    def regularizer(self) -> Regularizer: ...
    @property
    def norm(self) -> Norm: ...
    @property
    def epochs(self) -> int: ...
    @property
    def dtype(self) -> Literal["float32", "float64"]: ...
    @property
    def rows_per_batch(self) -> int: ...
    @property
    def steps_per_epoch(self) -> int: ...


class Technique(Component):
    """One level of an axis; ``role`` is the axis, ``control`` the name of its control level."""

    control: ClassVar[str]
    is_ordered = True  # the control first

    def skip(self, context: TrainingContext) -> str | None:
        """Return the reason why this technique makes no sense in a configuration, or None.

        A technique for some tasks only says so here: ``return None if len(context.task.shape) == 3
        else "it needs images"``.
        """
        return None

    def describe_strength(self) -> str:
        """Describe the parameters for a reader, in a few words: ``p 0.5, 0.2``; "" without any."""
        return list_parameters(self.parameters())


@dataclass(frozen=True)
class Decay:
    """Weight decay: coupled (added to the gradient) or decoupled (subtracted from the weight)."""

    amount: float = 0.0
    decoupled: bool = False


@dataclass(frozen=True)
class Penalties:
    """The parts of a regularizer that every engine knows, as numbers; by default without effect."""

    l1: float = 0.0
    """Weight of Σ|p| over all parameters in the objective."""
    decay: Decay = Decay()
    """The weight decay of the optimizer."""
    smoothing: float = 0.0
    """Share of the uniform distribution in the targets; for classification only."""
    max_norm: float = math.inf
    """The largest length of a unit's incoming weights after a step."""


class Regularizer(Technique):
    """A measure against overfitting: penalties for the training loop, layers for the network.

    A technique that needs more than these overrides ``objective`` or ``shrink``; its runs are
    trained one by one.
    """

    role = "regularizer"
    control = "none"
    deprecated_names: ClassVar[Mapping[str, str]] = {"terms": "penalties"}

    def penalties(self) -> Penalties:
        """Return the penalties and constraints in numbers."""
        return Penalties()

    def has_own_hooks(self) -> bool:
        """Return whether the technique does more than its penalties say."""
        hooks = (type(self).objective, type(self).shrink)
        return hooks != (Regularizer.objective, Regularizer.shrink)

    def layer(self, position: int) -> RandomLayer | None:
        """Return a layer for the inputs (position 0) or the n-th hidden layer (position n)."""
        return None

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        """Return what the optimizer minimises, a scalar."""
        penalties, objective = self.penalties(), loss(outputs, targets)
        if penalties.smoothing:
            uniform = uniform_loss(outputs).mean()
            objective = (1 - penalties.smoothing) * objective + penalties.smoothing * uniform
        if penalties.l1:
            objective = objective + penalties.l1 * l1_norm(parameters)
        return objective

    def shrink(self, weight: Tensor) -> Tensor | None:
        """Return factors (out, 1) for the rows of a layer's weight after a step, or None."""
        limit = self.penalties().max_norm
        return None if math.isinf(limit) else shrinking(weight, limit)


class Norm(Technique):
    """A normalisation of activations or weights in the hidden layers."""

    role = "norm"
    control = "none"
    lag_advice: ClassVar[str] = "train longer, or give its layers a larger momentum"
    """What helps where ``start_share`` is large."""

    def layer(self, width: int) -> nn.Module | None:
        """Return a layer that normalises activations of shape (batch, width), or None."""
        return None

    def maps(self, width: int, dims: int) -> nn.Module | None:
        """Return a layer that normalises maps (batch, width, …) of 1 to 3 dimensions, or None.

        By default ``layer`` normalises each position of the maps as a row.
        """
        layer = self.layer(width)
        return None if layer is None else PerPosition(layer)

    def wrap(self, linear: nn.Linear) -> None:
        """Reparametrise an initialised hidden layer in place."""

    def recomputes_statistics(self) -> bool:
        """Return whether evaluation takes the statistics of batch norm layers from all training
        rows, with the present weights.
        """
        return False

    def start_share(self, width: int, steps: int) -> float:
        """Return the share of the start values in the running statistics after ``steps`` steps.

        By default it follows from the momentum of PyTorch's batch norm layers in ``layer(width)``.
        """
        layer = None if self.recomputes_statistics() else self.layer(width)
        momentum = None if layer is None else slowest_momentum(layer)
        return 0.0 if momentum is None else (1 - momentum) ** steps

    def lengths(self, linear: nn.Linear) -> Tensor:
        """Return the parameter (out, …) that scales the rows of a layer's weight in proportion."""
        return linear.weight


class Nonlinearity(str):
    """An activation as ``torch.nn.init.calculate_gain`` names it, with the slope of a leaky one."""

    __slots__ = ("slope",)
    slope: float

    def __new__(cls, name: str, slope: float = 0.01) -> Self:
        nonlinearity = super().__new__(cls, name)
        nonlinearity.slope = slope
        return nonlinearity


def calculate_gain(nonlinearity: str) -> float:
    """Return the gain of an activation: PyTorch's, with the slope of a ``Nonlinearity``."""
    return float(nn.init.calculate_gain(nonlinearity, slope_of(nonlinearity)))  # type: ignore[arg-type]


def slope_of(nonlinearity: str) -> float:
    """Return the slope of a leaky activation; by default that of PyTorch's ``LeakyReLU``."""
    return nonlinearity.slope if isinstance(nonlinearity, Nonlinearity) else 0.01


class Init(Technique):
    """The distribution of the initial weights; biases have PyTorch's default."""

    role = "init"
    control = "default"
    deprecated_names: ClassVar[Mapping[str, str]] = {"leaves": "keeps_user_weights"}
    keeps_user_weights: ClassVar[bool] = False
    """Whether a network from a user's function keeps the weights that the function gave it."""

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        """Fill a weight in place.

        Parameters
        ----------
        weight
            Shape (out, in), or (out, in, …) for a convolution.
        nonlinearity
            The activation that follows, as ``torch.nn.init.calculate_gain`` names it; ``"linear"``
            for the output layer.  ``calculate_gain(nonlinearity)`` of this module returns its gain.
        generator
            The only source of random numbers.
        """
        raise NotImplementedError

    def follows_activation(self) -> bool:
        """Return whether ``fill`` depends on the activation that follows a layer."""
        return _follows_activation(self)


@lru_cache(maxsize=64)
@torch.no_grad()
def _follows_activation(init: Init) -> bool:
    weights = [torch.empty(4, 3) for _ in range(3)]
    for weight, nonlinearity in zip(weights, ("linear", "relu", "tanh"), strict=True):
        init.fill(weight, nonlinearity, torch.Generator().manual_seed(0))
    return any(not torch.equal(weights[0], weight) for weight in weights)


class Schedule(Technique):
    """How the learning rate changes; the study's rate is the highest that a schedule reaches."""

    role = "schedule"
    control = "constant"
    adaptive: ClassVar[bool] = True
    """Whether the rates may depend on the objective; if not, they are known before training."""

    def has_fixed_rates(self) -> bool:
        """Return whether the rates are known before training.

        A subclass with an ``after_epoch`` of its own, which gets the objective, says so again.
        """
        return not self.adaptive and not is_redefined(type(self), "after_epoch", "adaptive")

    def scheduler(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> Any:
        """Return PyTorch's scheduler for ``epochs`` epochs of ``steps`` steps, or None."""
        return None

    def after_step(self, scheduler: Any) -> None:
        """Update the scheduler after an optimizer step."""

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        """Update the scheduler after an epoch with this mean objective."""
        if scheduler is not None:
            scheduler.step()


class Device(Technique):
    """The device that holds the tensors."""

    role = "device"
    control = "cpu"

    def available(self) -> bool:
        """Return whether torch can use this device on this machine."""
        raise NotImplementedError

    def skip(self, context: TrainingContext) -> str | None:
        return None if self.available() else f"torch offers no {self.name} device here"

    def synchronize(self) -> None:
        """Wait until the device has finished its work; call it before reading a clock."""

    def torch_device(self) -> torch.device:
        """Return the device as torch names it."""
        return torch.device(self.name)

    def forget_peak(self) -> None:
        """Reset the peak memory."""

    def peak(self) -> int | None:
        """Return the peak memory of tensors since the reset, in bytes; None where unknown."""
        return None


class Optimizer(Technique):
    """The rule that turns gradients into steps; a hyper-parameter, not a technique axis."""

    role = "optimizer"
    control = "adam"
    moments: ClassVar[int] = 0
    """Number of tensors of the parameters' shape that ``update`` carries from step to step."""

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        """Return PyTorch's optimizer of ``parameters``."""
        raise NotImplementedError

    def decay(self, requested: Decay) -> Decay:
        """Return the effective weight decay where a regularizer requests ``requested``."""
        return requested

    def factors(self, step: int) -> tuple[float, ...]:
        """Return what ``update`` needs of the step number (from 1); the same count each step."""
        return ()

    def update(self, gradient: Tensor, moments: Tensors, factors: Tensors) -> Update:
        """Return the change of the parameters at a learning rate of 1, and the new moments.

        The rule of ``build`` as a pure function, element by element, of tensors of any shape: it
        trains many runs in one program.  Without it, or if a subclass changes ``build`` alone, runs
        are trained one by one.

        Parameters
        ----------
        gradient
            Includes the weight decay where it is coupled.
        moments
            The moments that the last step returned; zeros at first.
        factors
            ``factors(step)`` as scalars.
        """
        raise NotImplementedError


AXES: tuple[type[Technique], ...] = (Regularizer, Norm, Init, Schedule, Device)
"""The technique axes, in the order of the tables' columns."""

CONTROLS = {axis.role: axis.control for axis in AXES} | {Optimizer.role: Optimizer.control}
"""Axis to the name of its control level."""
