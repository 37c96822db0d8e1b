"""Runs to cohorts: what is trained together.

Runs of one *kind* are the same operations on other numbers, so that one tensor program trains
many of them at a time.  Which runs of a kind share a cohort changes no result: a program is
always executed at its full size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ablations.study.configuration import Configuration, Run

MAX_LOOP_RUNS = 32
"""Most runs that the plain loop trains as one cohort."""

MAX_LOOP_STEPS = 4_000
"""Most optimizer steps of such a cohort of more than one run: some two seconds."""

MIN_MEMBERS = 8
"""Fewest members of a program; with fewer there is nothing to win."""

CohortKey = tuple[object, ...]


@dataclass(frozen=True)
class Cohort:
    """Runs of one kind, by seed, and in the order of the grid within a seed."""

    runs: tuple[Run, ...]
    size: int | None = None
    """Members of the program that trains them; None where the plain loop trains one by one."""
    reduced: str | None = None
    """Why it has fewer members than was planned."""

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def steps(self) -> int:
        """Optimizer steps of all its runs."""
        return len(self.runs) * count_steps(self.runs[0].configuration)


def count_steps(configuration: Configuration) -> int:
    """Optimizer steps of one run."""
    return configuration.epochs * configuration.steps_per_epoch


def cohort_key(configuration: Configuration) -> CohortKey:
    """What runs must have in common to be trained by one program.

    They may differ in seed, init, schedule, learning rate, and in the numbers of a regularizer, but
    not in what it does.
    """
    c, regularizer = configuration, configuration.regularizer
    terms = regularizer.penalties()
    layers = [regularizer.layer(place) for place in range(c.model.n_regularizer_sites(c.task) + 1)]
    drawing = tuple((type(layer), layer.purpose) for layer in layers if layer is not None)
    asked: tuple[object, ...] = (terms.smoothing > 0, math.isinf(terms.max_norm), drawing)
    if drawing:
        asked += (type(regularizer), _without_numbers(regularizer.parameters()))
    if regularizer.has_own_hooks():
        asked += (regularizer,)
    asked += (c.batch_size, c.epochs, c.dtype, c.fixed)
    return (c.task, c.model, c.norm, c.optimizer, c.device, *asked)


def _without_numbers(value: object) -> object:
    if isinstance(value, dict):
        return tuple((name, _without_numbers(part)) for name, part in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(_without_numbers, value))
    return None if isinstance(value, float) else value


def group_runs(
    runs: Iterable[Run], broken: Collection[Configuration] = ()
) -> list[tuple[Run, ...]]:
    """The runs of each kind, by seed, and in their order within a seed.

    Parameters
    ----------
    broken
        Configurations whose parts must not be asked anything; each is a kind of its own.
    """
    of_configuration: dict[int, list[Run]] = {}
    for run in runs:
        of_configuration.setdefault(id(run.configuration), []).append(run)
    found: dict[CohortKey, list[Run]] = {}
    for members in of_configuration.values():
        configuration = members[0].configuration
        key = (configuration,) if configuration in broken else cohort_key(configuration)
        found.setdefault(key, []).extend(members)
    return [tuple(sorted(members, key=lambda run: run.seed)) for members in found.values()]


def slot_group(run: Run, lanes: int) -> int:
    """The lane of a run, which follows from its identity."""
    if lanes == 1:
        return 0
    before, after = run.configuration.canonical
    return (run.seed + zlib.crc32(f"{before}{after}".encode())) % lanes


def assign_slots(runs: Sequence[Run], size: int, lanes: int) -> list[int]:
    """Where each run stands in a program of ``size`` members: one of the places of its lane.

    Place p belongs to lane p % lanes.  A program that rounds alike at all places of a lane so
    gives a run the same numbers in any company.

    Raises
    ------
    ValueError
        If there are more runs of a lane than places.
    """
    free = [iter(range(first, size, lanes)) for first in range(lanes)]
    found = [next(free[slot_group(run, lanes)], None) for run in runs]
    if None in found:
        raise ValueError(f"more runs of a lane than {size} members in {lanes} lanes have places")
    return [place for place in found if place is not None]


def split_runs(members: Sequence[Run], size: int | None, lanes: int) -> Iterator[Cohort]:
    """Cohorts of runs of one kind."""
    if size is None:
        most = max(1, min(MAX_LOOP_RUNS, MAX_LOOP_STEPS // count_steps(members[0].configuration)))
        for start in range(0, len(members), most):
            yield Cohort(tuple(members[start : start + most]))
        return
    waiting = list(members)
    while waiting:
        free = [size // lanes] * lanes
        now: list[Run] = []
        later: list[Run] = []
        for run in waiting:
            own = slot_group(run, lanes)
            (now if free[own] else later).append(run)
            free[own] -= free[own] > 0
        yield Cohort(tuple(now), size)
        waiting = later


def batch_cohorts(
    cohorts: Sequence[Cohort], jobs: int, most: int = 16_000
) -> list[tuple[Cohort, ...]]:
    """Cohorts that one worker trains and writes down at a time, in their order.

    Small enough to share the work among the jobs, and large enough that writing costs little.

    Parameters
    ----------
    most
        Most optimizer steps of a parcel of more than one cohort: one or two seconds.
    """
    goal = min(most, sum(cohort.steps for cohort in cohorts) // (8 * jobs))
    found: list[list[Cohort]] = []
    full = 0
    for cohort in cohorts:
        if found and cohort.size and found[-1][-1].size and full + cohort.steps <= goal:
            found[-1].append(cohort)
            full += cohort.steps
        else:
            found.append([cohort])
            full = cohort.steps
    return [tuple(part) for part in found]
