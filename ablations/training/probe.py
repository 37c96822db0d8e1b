"""What training costs, from a few epochs of a few cohorts, whose results are thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.study.configuration import Run
from ablations.training import loop
from ablations.training.fused import trainer

MAX_LOOKS, CLOSE = 6, 1.1
"""Most looks at one cohort kind; fewer if they differ by less than this factor."""
EPOCHS = 4
"""Epochs of the longer of two looks."""


@dataclass(frozen=True)
class TrainingCost:
    """Seconds of one core that a cohort costs: ``fixed`` once, and ``per_epoch``."""

    fixed: float
    per_epoch: float

    def seconds(self, epochs: int) -> float:
        return self.fixed + epochs * self.per_epoch


def probe_training(runs: Sequence[Run], size: int | None, seconds: float = 0.0) -> TrainingCost:
    """Train cohorts of runs with one cohort key for one epoch and for a few more, and compare.

    ``size`` is None for the plain loop.  Beyond a first look and two more of each length, the probe
    takes about ``seconds``.
    """
    start = time.perf_counter()
    cohorts = [runs[first : first + (size or 1)] for first in range(0, len(runs), size or 1)][:4]
    epochs = min(EPOCHS, runs[0].configuration.epochs)
    first_look = _time_epochs(cohorts[0], size, 1)  # caches what the other looks reuse
    if 0 < seconds < first_look:
        return TrainingCost(0.0, min(first_look, _time_epochs(cohorts[0], size, 1)))
    short, long = list[float](), list[float]()
    while len(short) < 2 or time.perf_counter() - start < seconds:
        # Other members each time, which have to be built as in training.
        short.append(_time_epochs(cohorts[len(short) % len(cohorts)], size, 1))
        if epochs > 1:
            long.append(_time_epochs(cohorts[(len(short) + 1) % len(cohorts)], size, epochs))
        if len(short) >= MAX_LOOKS or (_agree(short) and _agree(long)):
            break
    # Of two looks the shorter: other work on the machine only adds.
    once = statistics.median_low(short)
    if epochs == 1:
        return TrainingCost(0.0, once)
    per_epoch = max(0.0, statistics.median_low(long) - once) / (epochs - 1)
    return TrainingCost(max(0.0, once - per_epoch), per_epoch)


def _time_epochs(runs: Sequence[Run], size: int | None, epochs: int) -> float:
    start = time.perf_counter()
    if size is None:
        loop.train(runs[0], epochs)
    else:
        trainer.train(runs, size, stop=epochs)
    return time.perf_counter() - start


def _agree(seconds: Sequence[float]) -> bool:
    return not seconds or (len(seconds) > 1 and max(seconds) < CLOSE * min(seconds))
