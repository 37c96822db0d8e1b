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

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ablations.registry import Component
from ablations.registry import component as technique
from ablations.streams import Draws

if TYPE_CHECKING:
    from ablations.grid import Configuration

__all__ = [
    "AXES",
    "CONTROLS",
    "Decay",
    "Device",
    "Init",
    "Loss",
    "Norm",
    "Optimizer",
    "RandomLayer",
    "Regularizer",
    "Schedule",
    "Technique",
    "technique",
]

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(outputs, targets)``: the task's mean loss over a batch, a scalar."""


class Technique(Component):
    """One level of a technique axis; ``kind`` is the axis, ``control`` its level without effect."""

    control: ClassVar[str]

    def skip(self, configuration: Configuration) -> str | None:
        """Why this technique makes no sense in a configuration; None where it does."""
        return None


class RandomLayer(nn.Module):
    """A layer that draws numbers while training.

    The trainer hands it the run's draws; ``purpose`` names its stream.
    """

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose
        self.draws: Draws | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        if self.draws is None:
            raise RuntimeError(f"the layer '{self.purpose}' was given no draws")
        return self.draw(inputs, self.draws)

    def draw(self, inputs: Tensor, draws: Draws) -> Tensor:
        """The inputs (batch, feature), disturbed by this step's draw."""
        raise NotImplementedError


@dataclass(frozen=True)
class Decay:
    """Weight decay: coupled (added to the gradient) or decoupled (taken off the weight)."""

    amount: float = 0.0
    decoupled: bool = False


class Regularizer(Technique):
    """What is done against overfitting.  Each method acts at one place of the training loop."""

    kind = "regularizer"
    control = "none"

    def layer(self, place: int) -> RandomLayer | None:
        """A layer for the input (place 0) or after the n-th hidden layer (place n)."""
        return None

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        """What the optimizer minimises: a scalar from a batch's outputs and the parameters."""
        return loss(outputs, targets)

    def decay(self) -> Decay:
        """The weight decay asked of the optimizer."""
        return Decay()

    def shrink(self, weight: Tensor) -> Tensor | None:
        """Factors (out, 1) by which a layer's rows are scaled after a step; None for none."""
        return None


class Norm(Technique):
    """How activations or weights are normalised in the hidden layers."""

    kind = "norm"
    control = "none"

    def layer(self, width: int) -> nn.Module | None:
        """A layer that normalises activations of shape (batch, width)."""
        return None

    def wrap(self, linear: nn.Linear) -> None:
        """Reparametrise an initialised hidden layer in place."""

    def lengths(self, linear: nn.Linear) -> Tensor:
        """The parameter (out, …) that scales the rows of a layer's weight in proportion."""
        return linear.weight


class Init(Technique):
    """The distribution that weights are drawn from; biases keep PyTorch's default."""

    kind = "init"
    control = "default"

    def fill(self, weight: Tensor, nonlinearity: Any, generator: torch.Generator) -> None:
        """Fill ``weight`` (out, in), in place.

        ``nonlinearity`` is that which follows the layer, in the words of
        ``torch.nn.init.calculate_gain``; ``"linear"`` for the output layer.
        """
        raise NotImplementedError


class Schedule(Technique):
    """How the learning rate moves.  The study's rate is the highest that a schedule reaches."""

    kind = "schedule"
    control = "constant"

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

    kind = "device"
    control = "cpu"

    def available(self) -> bool:
        """Whether torch offers this device here."""
        raise NotImplementedError

    def skip(self, configuration: Configuration) -> str | None:
        return None if self.available() else f"torch offers no {self.name} device here"

    def synchronize(self) -> None:
        """Wait until the device has done all its work; read no clock before."""

    def torch_device(self) -> torch.device:
        """The device in torch's words."""
        return torch.device(self.name)


class Optimizer(Technique):
    """The rule that turns gradients into steps; a hyper-parameter, not a technique axis."""

    kind = "optimizer"
    control = "adam"

    def build(self, parameters: Iterable[Tensor], lr: float, decay: Decay) -> torch.optim.Optimizer:
        """PyTorch's optimizer over ``parameters``."""
        raise NotImplementedError


AXES: tuple[type[Technique], ...] = (Regularizer, Norm, Init, Schedule, Device)
"""The technique axes, in the order of the tables' columns."""

CONTROLS: dict[str, str] = {
    axis.kind: axis.control for axis in (*AXES, cast(type[Technique], Optimizer))
}
"""Axis to the name of its control level."""
