"""Learning-rate schedules: PyTorch's schedulers, scaled to the length of the run.

The study's learning rate is the highest that a schedule reaches, and no schedule changes the
optimizer's momentum: two levels differ in the learning rate alone.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field
from torch.optim import Optimizer, lr_scheduler

from ablations.core.strengths import format_plain, format_share
from ablations.techniques.base import (
    Schedule,
    TrainingContext,
    technique,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0)]


def share(fraction: float, length: int) -> int:
    """Return a fraction of a length, rounded up: a quarter of 5 epochs is 2."""
    # Without the tolerance, 0.1 × 30 is a little more than 3 in floating point, and becomes 4.
    return max(1, math.ceil(fraction * length - 1e-9))


class _ByEpoch(Schedule):
    """A schedule that changes the rate after each epoch; it needs two epochs."""

    adaptive = False

    def skip(self, context: TrainingContext) -> str | None:
        if context.epochs > 1:
            return None
        return f"{self.name} changes the rate between epochs; the run has only one"


class _ByStep(Schedule):
    """A schedule that changes the rate after each optimizer step."""

    adaptive = False

    def after_step(self, scheduler: Any) -> None:
        scheduler.step()

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        pass


@technique
class Constant(Schedule):
    """The same rate throughout: the control."""

    name = "constant"
    adaptive = False


@technique
class Step(_ByEpoch):
    """Multiply the rate by gamma after each quarter of the run (the notebook's StepLR)."""

    name = "step"
    gamma: Factor = 0.1
    every: Fraction = 0.25

    def describe_strength(self) -> str:
        return f"\N{MULTIPLICATION SIGN}{format_plain(self.gamma)} every {format_share(self.every)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        return lr_scheduler.StepLR(optimizer, share(self.every, epochs), self.gamma)


@technique
class Exponential(_ByEpoch):
    """Multiply the rate by the same factor every epoch, down to a hundredth (ExponentialLR)."""

    name = "exponential"
    final: Factor = 0.01

    def describe_strength(self) -> str:
        return f"to \N{MULTIPLICATION SIGN}{format_plain(self.final)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        return lr_scheduler.ExponentialLR(optimizer, self.final ** (1 / max(1, epochs - 1)))


@technique
class Cosine(_ByEpoch):
    """Half a cosine from the full rate down to zero (Loshchilov & Hutter, 2017)."""

    name = "cosine"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)


@technique
class OneCycle(_ByStep):
    """Up from 1/25 of the rate and down to nearly zero, step by step (Smith & Topin, 2019)."""

    name = "one_cycle"
    warmup: Fraction = 0.3

    def describe_strength(self) -> str:
        return f"warm-up {format_share(self.warmup)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        peak = optimizer.param_groups[0]["lr"]
        return lr_scheduler.OneCycleLR(
            optimizer, peak, total_steps=epochs * steps, pct_start=self.warmup, cycle_momentum=False
        )

    def skip(self, context: TrainingContext) -> str | None:
        steps = context.epochs * context.steps_per_epoch
        # PyTorch divides by the warm-up's length, warmup × steps - 1.
        if self.warmup * steps > 1:
            return None
        return f"one_cycle needs more than {steps} steps for its warm-up"


@technique
class Cyclic(_ByStep):
    """Triangles between a tenth of the rate and the full rate, step by step (Smith, 2017)."""

    name = "cyclic"
    low: Factor = 0.1
    cycles: Count = 2

    def describe_strength(self) -> str:
        return f"{self.cycles} cycles, to \N{MULTIPLICATION SIGN}{format_plain(self.low)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        peak = optimizer.param_groups[0]["lr"]
        half = share(0.5 / self.cycles, epochs * steps)
        return lr_scheduler.CyclicLR(
            optimizer, self.low * peak, peak, step_size_up=half, cycle_momentum=False
        )


@technique
class Plateau(_ByEpoch):
    """Multiply the rate by factor when the training objective has not improved for a tenth of
    the run (ReduceLROnPlateau).
    """

    name = "plateau"
    adaptive = True
    factor: Fraction = 0.1
    patience: Fraction = 0.1

    def describe_strength(self) -> str:
        factor = format_plain(self.factor)
        return f"\N{MULTIPLICATION SIGN}{factor}, patience {format_share(self.patience)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        patience = share(self.patience, epochs)
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=self.factor, patience=patience)

    def after_epoch(self, scheduler: Any, objective: float) -> None:
        scheduler.step(objective)


@technique
class WarmupCosine(_ByStep):
    """Linear warm-up over a tenth of the run, then half a cosine down to zero (Goyal et al.,
    2017).
    """

    name = "warmup_cosine"
    warmup: Fraction = 0.1

    def describe_strength(self) -> str:
        return f"warm-up {format_share(self.warmup)}"

    def scheduler(self, optimizer: Optimizer, epochs: int, steps: int) -> Any:
        total = epochs * steps
        warm = min(share(self.warmup, total), max(1, total - 1))
        schedulers = [
            lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), total_iters=warm),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total - warm)),
        ]
        return lr_scheduler.SequentialLR(optimizer, schedulers, milestones=[warm])
