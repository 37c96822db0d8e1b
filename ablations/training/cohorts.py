"""Runs to cohorts: which runs are trained together.

Runs with the same *cohort key* do the same operations on different numbers, so that one tensor
program trains many of them at a time.  Which of these runs share a cohort changes no result,
because a program is always executed at its full size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ablations.study.configuration import Configuration, Run

MAX_LOOP_RUNS = 32
"""Most runs of a cohort of the plain loop."""
MAX_LOOP_STEPS = 4_000
"""Most optimizer steps of such a cohort of more than one run: about two seconds."""
MIN_MEMBERS = 8
"""Fewest members of a program; a smaller one is not faster than the plain loop."""

CohortKey = tuple[object, ...]


@dataclass(frozen=True)
class Cohort:
    """Runs with one cohort key, by seed, and in the order of the grid within a seed."""

    runs: tuple[Run, ...]
    size: int | None = None
    """Members of the program that trains them; None if the plain loop trains one by one."""
    reduced: str | None = None
    """Why the program has fewer members than planned."""

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def steps(self) -> int:
        return len(self.runs) * count_steps(self.runs[0].configuration)


def count_steps(configuration: Configuration) -> int:
    """Count the optimizer steps of one run."""
    return configuration.epochs * configuration.steps_per_epoch


def cohort_key(configuration: Configuration) -> CohortKey:
    """Return what runs must have in common to be trained by one program.

    They may differ in seed, init, schedule, learning rate, and in the numbers of a regularizer.
    """
    c, regularizer = configuration, configuration.regularizer
    penalties = regularizer.penalties()
    layers = [regularizer.layer(site) for site in range(c.model.n_regularizer_sites(c.task) + 1)]
    random = tuple((type(layer), layer.purpose) for layer in layers if layer is not None)
    key: CohortKey = (c.task, c.model, c.norm, c.optimizer, c.device)
    key += (penalties.smoothing > 0, math.isinf(penalties.max_norm), random)
    if random:
        key += (type(regularizer), _without_numbers(regularizer.parameters()))
    if regularizer.has_own_hooks():
        key += (regularizer,)
    settings = c.batch_size, c.epochs, c.dtype, c.fixed, c.judge, c.metrics, c.repeats_splits
    return (*key, *settings)


def _without_numbers(value: object) -> object:
    if isinstance(value, dict):
        return tuple((name, _without_numbers(item)) for name, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(_without_numbers, value))
    return None if isinstance(value, float) else value


def group_runs(
    runs: Iterable[Run], broken: Collection[Configuration] = ()
) -> list[tuple[Run, ...]]:
    """Group runs by cohort key, sorted by seed, and in their order within a seed.

    Each ``broken`` configuration, whose components may raise, is its own group.
    """
    by_configuration: dict[int, list[Run]] = {}
    for run in runs:
        by_configuration.setdefault(id(run.configuration), []).append(run)
    groups: dict[CohortKey, list[Run]] = {}
    for members in by_configuration.values():
        configuration = members[0].configuration
        key = (configuration,) if configuration in broken else cohort_key(configuration)
        groups.setdefault(key, []).extend(members)
    return [tuple(sorted(members, key=lambda run: run.seed)) for members in groups.values()]


def slot_group(run: Run, n_groups: int) -> int:
    """Return the slot group of a run, which depends on its identity only."""
    if n_groups == 1:
        return 0
    before, after = run.configuration.canonical
    return (run.seed + zlib.crc32(f"{before}{after}".encode())) % n_groups


def assign_slots(runs: Sequence[Run], size: int, n_groups: int) -> list[int]:
    """Assign each run a slot of its group in a program of ``size`` members.

    Slot s belongs to group s % n_groups.  A program that rounds alike in all slots of a group
    so gives a run the same numbers in any cohort.
    """
    free_slots = [iter(range(first, size, n_groups)) for first in range(n_groups)]
    slots = [next(free_slots[slot_group(run, n_groups)], None) for run in runs]
    if None in slots:
        raise ValueError(f"a group has more runs than slots ({size} slots in {n_groups} groups)")
    return [slot for slot in slots if slot is not None]


def split_runs(runs: Sequence[Run], size: int | None, n_groups: int) -> Iterator[Cohort]:
    """Split runs with one cohort key into cohorts; the plain loop has the size None."""
    if size is None:
        most = max(1, min(MAX_LOOP_RUNS, MAX_LOOP_STEPS // count_steps(runs[0].configuration)))
        for start in range(0, len(runs), most):
            yield Cohort(tuple(runs[start : start + most]))
        return
    remaining = list(runs)
    while remaining:
        free_slots = [size // n_groups] * n_groups
        members: list[Run] = []
        later: list[Run] = []
        for run in remaining:
            group = slot_group(run, n_groups)
            (members if free_slots[group] else later).append(run)
            free_slots[group] -= free_slots[group] > 0
        yield Cohort(tuple(members), size)
        remaining = later


def batch_cohorts(
    cohorts: Sequence[Cohort], jobs: int, most: int = 16_000
) -> list[tuple[Cohort, ...]]:
    """Batch the cohorts that one worker trains and writes at a time, in their order.

    A batch is small enough that all jobs share the work, and large enough that writing costs
    little.  ``most`` limits the optimizer steps of a batch of several cohorts: one or two seconds.
    """
    goal = min(most, sum(cohort.steps for cohort in cohorts) // (8 * jobs))
    batches, steps = list[list[Cohort]](), 0
    for cohort in cohorts:
        if batches and cohort.size and batches[-1][-1].size and steps + cohort.steps <= goal:
            batches[-1].append(cohort)
            steps += cohort.steps
        else:
            batches.append([cohort])
            steps = cohort.steps
    return [tuple(batch) for batch in batches]
