"""Runs to cohorts: what is trained, and written down, together.

The plain loop trains a cohort's members one after the other; a cohort is then the unit
of dispatch and of the store, so small that little is lost with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ablations.grid import Configuration, Run

CAP = 32
"""Most members of a cohort."""

STEPS = 4_000
"""Most optimizer steps of a cohort of more than one run: some two seconds of the plain loop."""


@dataclass(frozen=True)
class Cohort:
    """Runs of one task, model and device, in the order of the grid."""

    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return len(self.runs)


def steps(configuration: Configuration) -> int:
    """Optimizer steps of one run."""
    return configuration.epochs * configuration.steps_per_epoch


def pack(runs: Iterable[Run]) -> list[Cohort]:
    """Cohorts in the order of the runs; each run is in exactly one."""
    return [cohort for _, kind in itertools.groupby(runs, _kind) for cohort in _split(kind)]


def _kind(run: Run) -> tuple[object, ...]:
    configuration = run.configuration
    return (configuration.task, configuration.model, configuration.device, steps(configuration))


def _split(runs: Iterable[Run]) -> Iterator[Cohort]:
    members = list(runs)
    size = max(1, min(CAP, STEPS // steps(members[0].configuration)))
    for start in range(0, len(members), size):
        yield Cohort(tuple(members[start : start + size]))
