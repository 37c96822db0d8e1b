"""How long a plan takes and how much memory, from a probe of each kind of cohort.

    for each kind of runs: cohorts of it for an epoch, and for a few more
    for each kind of programs: a run by the plain loop, as the audit will train it

The probes run where the study would be trained: in its worker processes, all at once, so that they
share cores and caches as training does.  They take a few seconds.  Other people's code is not
probed, since it could end the process: its cost is estimated from the others' cost of a step.
"""

from __future__ import annotations

import bisect
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ablations.execution import metadata, workers
from ablations.execution.options import RunOptions
from ablations.execution.plan import ExecutionPlan
from ablations.execution.timing import MIN_SECONDS, phase_seconds
from ablations.execution.workers import Pool
from ablations.study.configuration import Configuration, Run
from ablations.study.study import Study
from ablations.training import audit, step_timer
from ablations.training.engine import EngineChoice
from ablations.training.fused import compilation
from ablations.training.fused.initial_states import (
    CACHED_DATA,
    CACHED_STATES,
    initial_state_cache,
)
from ablations.training.probe import TrainingCost, probe_training

Keep = Callable[[Run], bool]

PROBE_SECONDS = 12.0
"""What all probes together may take, each kind its share; each takes two looks at least."""
UNCERTAINTY = (0.75, 1.35)
"""Factors of the time for what nobody knows ahead, above all other work on the machine."""
REPORT = 5.0  # seconds until the report's libraries are loaded and its figures drawn, for any study
REPORT_A_RUN = 0.0018
"""Seconds of the report for each run, for tables, pictures and pages (``bench/README.md``)."""
REPETITION = 0.021  # seconds of a timed repetition with its warming up (``training.step_timer``)
EPOCH_BYTES = 256
"""Bytes of an epoch of a run until it is written: its numbers, their table, and its file."""
COMPILER_BYTES = 150_000_000
"""What PyTorch's compiler adds to a process, whose probes are eager (``bench/README.md``)."""
MEMORY_MARGIN = 1.125
"""Factor of the memory for what a probe does not see: the audit, and room between allocations."""
COMMAND_STARTUP = 3.0  # seconds until the command itself has imported torch

T = TypeVar("T")


@dataclass(frozen=True)
class CohortCost:
    """What a cohort of one kind costs, in seconds of a core."""

    choice: EngineChoice
    training: TrainingCost
    audit: float = 0.0  # seconds that the audit of the kind takes
    memory: int = 0  # peak memory of the process that probed it, in bytes; 0 if it is unknown
    is_probed: bool = True
    """Whether the cost was probed, and not estimated from that of other kinds."""

    def of_cohort(self) -> float:
        """Seconds of one of its cohorts."""
        return self.training.seconds(self.choice.runs[0].configuration.epochs)

    def of_runs(self, runs: Sequence[Run]) -> float:
        """Seconds of so many of its runs."""
        if self.choice.size is None:
            return len(runs) * self.of_cohort()
        return len(self.choice.cohorts(runs)) * self.of_cohort() + self.audit


@dataclass(frozen=True)
class Estimate:
    """How long a plan takes, and how much memory."""

    costs: tuple[CohortCost, ...]
    jobs: int
    startup: float  # seconds until the command and its workers have started
    compile_seconds: float
    n_timed: int  # configurations that differ in cost
    options: RunOptions
    compiler_memory: int = 0  # what compiling adds to a process, in bytes

    @property
    def memory(self) -> int:
        """Peak memory of a process, in bytes; 0 if it is unknown."""
        peak = max((cost.memory for cost in self.costs), default=0)
        return peak and peak + self.compiler_memory

    def seconds(self, keep: Keep = lambda _: True) -> float:
        """Wall seconds to the end of the runs for which ``keep`` is true."""
        runs_of = [(cost, [run for run in cost.choice.runs if keep(run)]) for cost in self.costs]
        parts = [(cost, runs) for cost, runs in runs_of if runs]
        if not parts:
            return 0.0
        work = sum(cost.of_runs(runs) for cost, runs in parts)
        # A cohort is one worker's: the last to end may be alone.
        longest = max(cost.of_cohort() for cost, _ in parts)
        training = max(work / self.jobs, longest) + self.startup + self.compile_seconds
        phase = phase_seconds(self.options.time_budget, training)
        phase = min(phase, step_timer.DEFAULT_SETTINGS.blocks * (self.n_timed + 1) * REPETITION)
        total = training + (phase if phase >= MIN_SECONDS else 0.0)
        n_runs = sum(len(runs) for _, runs in parts)
        return total + (REPORT + REPORT_A_RUN * n_runs if self.options.with_report else 0.0)

    def interval(self) -> tuple[float, float]:
        """Between which seconds it will probably end."""
        middle = self.seconds()
        guess = 1.0 if all(cost.is_probed for cost in self.costs) else 1.5
        return middle * UNCERTAINTY[0] / guess, middle * UNCERTAINTY[1] * guess

    def count_seeds(self, seeds: Sequence[int], seconds: float) -> int:
        """How many of the seeds, from the first, end within so many seconds."""

        def is_too_long(count: int) -> bool:
            selected = set(seeds[:count])
            return self.seconds(lambda run: run.seed in selected) > seconds

        return bisect.bisect_left(range(1, len(seeds) + 1), True, key=is_too_long)

    def affordable_axes(self, study: Study, seconds: float) -> list[str]:
        """The axes each of which, left at its control, lets all seeds end in time."""
        controls = metadata.controls(study)
        axes = [axis for axis, labels in study.levels.items() if len(labels) > 1]

        def at_control(axis: str) -> Keep:
            return lambda run: run.configuration.columns[axis] == controls[axis]

        return [axis for axis in axes if self.seconds(at_control(axis)) <= seconds]


def smallest_effect(seeds: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The mean difference that a paired t-test on so many seeds finds in four of five studies, in
    standard deviations of the differences (Cohen, 1988).
    """
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=seeds, alpha=alpha, power=power))


def estimate(
    plan: ExecutionPlan, options: RunOptions | None = None, *, seconds: float | None = None
) -> Estimate:
    """Probe each kind of the runs that remain to be trained.

    ``seconds`` is what the probes may take, all together, beyond the first looks of each; by
    default, ``PROBE_SECONDS``.
    """
    pool = plan.pool if plan.pool.backend == "loky" else Pool()
    start = time.perf_counter()
    _call(os.getpid, [()] * pool.jobs, pool)
    startup = COMMAND_STARTUP + time.perf_counter() - start
    compiled = plan.settings.compiled and compilation.why_unavailable() is None
    seconds = PROBE_SECONDS if seconds is None else seconds
    runs = [run for choice in plan.choices for run in choice.runs]
    return Estimate(
        costs=tuple(_probe_kinds(plan.choices, compiled, pool, seconds)),
        jobs=plan.pool.jobs,
        startup=startup,
        compile_seconds=sum(_compile_cost(c)[0] for c in plan.choices) if compiled else 0.0,
        n_timed=len(step_timer.distinct_cost_runs(runs)),
        options=options or RunOptions(),
        compiler_memory=COMPILER_BYTES if compiled and any(map(_has_program, plan.choices)) else 0,
    )


def _call(function: Callable[..., T], calls: Sequence[tuple[Any, ...]], pool: Pool) -> list[T]:
    """Call a function in the pool; a call whose process dies returns nothing."""
    return list(workers.map_calls(function, calls, pool, on_worker_death=lambda *_: ()))


def _has_program(choice: EngineChoice) -> bool:
    return bool(choice.program and choice.size)


def _compile_cost(choice: EngineChoice) -> tuple[float, float]:
    """Seconds that compiling a kind's program takes, and the factor by which it is faster then."""
    if not choice.program or not choice.size:
        return 0.0, 1.0
    depth = choice.program.network.depth
    cost = compilation.compile_cost(choice.program.identity, choice.size, depth)
    return cost.seconds, cost.gain


def _probe_kinds(
    choices: Sequence[EngineChoice], compiled: bool, pool: Pool, seconds: float
) -> list[CohortCost]:
    calls = []
    for number, choice in enumerate(choices):
        if not choice.runs[0].configuration.user_modules:
            gain = _compile_cost(choice)[1] if compiled else 1.0
            runs = choice.runs[: 4 * (choice.size or 1)]
            later = count_later(choice, runs)
            calls.append((number, runs, choice.size, gain, seconds / len(choices), later))
    # Every worker has a probe, so that all cores are as busy as in training.
    repeats = math.ceil(pool.jobs / max(1, len(calls)))
    probes = dict(filter(None, _call(_probe_kind, calls * repeats, pool)))
    # Kinds that were not probed cost, one by one, the others' median cost of a run's step.
    steps = [c.runs[0].configuration.steps_per_epoch * (c.size or 1) for c in choices]
    per_step = [probes[number][0].per_epoch / steps[number] for number in sorted(probes)]
    step = statistics.median(per_step) if per_step else 1e-3
    return [
        CohortCost(choice, *probes[number])
        if number in probes
        else CohortCost(choice, TrainingCost(0.02, step * steps[number]), is_probed=False)
        for number, choice in enumerate(choices)
    ]


def count_later(choice: EngineChoice, probed: Sequence[Run]) -> tuple[int, int]:
    """How many data sets and initial states a worker keeps for the runs that are not probed."""
    if choice.size is None:
        return 0, 0

    def count(runs: Sequence[Run]) -> tuple[int, int]:
        states = {(run.configuration.init, run.seed) for run in runs}
        data = {run.configuration.data_seed(run.seed) for run in runs}
        return min(len(data), CACHED_DATA), min(len(states), CACHED_STATES)

    (data, states), (probed_data, probed_states) = count(choice.runs), count(probed)
    return data - probed_data, states - probed_states


def _probe_kind(
    number: int,
    runs: Sequence[Run],
    size: int | None,
    gain: float,
    seconds: float,
    later: tuple[int, int],
) -> tuple[int, tuple[TrainingCost, float, int]] | None:
    """The costs of training and audit of a kind, and the peak memory; None if it fails.

    ``gain`` is the factor by which its program is faster if it is compiled, and ``later`` the data
    sets and initial states that training will keep beside those of the probe.
    """
    try:
        training = probe_training(runs, size, seconds if size is None else 0.7 * seconds)
        training = replace(training, per_epoch=training.per_epoch / gain)
        audit_seconds = 0.0
        if size is not None:
            loop_cost = probe_training(runs[:4], None, 0.3 * seconds)
            audit_seconds = _audit_seconds(runs[0].configuration, training, loop_cost)
    except Exception:  # runs that fail here will be failed rows
        return None
    memory = _peak_memory()
    if memory:
        n_members = min(size or 1, len(runs))
        memory += EPOCH_BYTES * n_members * runs[0].configuration.epochs
        if size is not None:
            sizes = initial_state_cache(runs[0].configuration).count_bytes(runs[0])
            memory += sum(n * each for n, each in zip(later, sizes, strict=True))
        memory = round(MEMORY_MARGIN * memory)
    return number, (training, audit_seconds, memory)


def _audit_seconds(
    configuration: Configuration, program: TrainingCost, loop_cost: TrainingCost
) -> float:
    """Seconds of a kind's audit: runs by the loop, in both precisions, and the program twice."""
    steps, epochs = configuration.steps_per_epoch, configuration.epochs
    compared = min(epochs, max(1, audit.STEPS // steps))
    trained = epochs if epochs * steps <= audit.END_STEPS else compared
    loops = loop_cost.seconds(trained) + loop_cost.seconds(compared)
    return audit.RUNS * loops + 2 * program.seconds(compared)


def _peak_memory() -> int:
    """The peak memory of this process in bytes; 0 if the system keeps no count."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
