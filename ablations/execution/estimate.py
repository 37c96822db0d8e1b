"""What a plan will take: time to its end and memory, from a probe of each kind of cohort.

    for each kind of runs: a cohort of it for an epoch, and for a few more
    for each kind of programs: a run by the plain loop, as the audit will train it
    worker processes: how long one takes to start
    all of it while the other cores are kept as busy as they will be

The probe trains what the study would train, throws it away, and takes a few seconds.  What other
people wrote is not run here, where it could end the process: it is priced by the others' pace.
"""

from __future__ import annotations

import bisect
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ablations.execution import metadata
from ablations.execution.plan import ExecutionPlan
from ablations.execution.timing import PHASE_SECONDS, WORTH
from ablations.study.configuration import Configuration, Run
from ablations.study.study import Study
from ablations.training import audit, loop, step_timer
from ablations.training.engine import EngineChoice
from ablations.training.fused import compilation, trainer

__all__ = ["CohortCost", "Estimate", "estimate", "smallest_effect"]

Keep = Callable[[Run], bool]

PROBE = 12.0
"""Seconds that all probes together may take; each kind has its share, and two looks at least."""
MOST, CLOSE = 6, 1.1
"""Looks of each kind, which end earlier where they differ by less than this factor."""
EPOCHS = 4
"""Epochs of the longer of two looks."""
APART = (0.75, 1.35)
"""What nobody can know ahead moves the time by as much: other work on the machine, above all."""
IMPORTS = 5.0
"""Seconds until the report's libraries are there, and its figures drawn, for any study."""
REPORT_A_RUN = 0.0018
"""Seconds of the report for each run, for tables, pictures and pages (``bench/README.md``)."""
REPETITION = 0.021
"""Seconds of a timed repetition with its warming up (``training.clock``)."""
SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10**6): pass
"""


@dataclass(frozen=True)
class CohortCost:
    """What a cohort of one kind costs: ``fixed + epochs * each`` seconds of a core."""

    choice: EngineChoice
    fixed: float
    each: float
    judged: float = 0.0
    """Seconds that the audit of the kind takes."""
    probed: bool = True

    def cohort(self, runs: Sequence[Run]) -> float:
        """What one of its cohorts costs."""
        return self.fixed + runs[0].configuration.epochs * self.each

    def seconds(self, runs: Sequence[Run]) -> float:
        """What so many of its runs cost."""
        if not runs:
            return 0.0
        if self.choice.size is None:
            return len(runs) * self.cohort(runs)
        count = len(self.choice.cohorts(runs))
        return count * self.cohort(runs) + self.judged


@dataclass(frozen=True)
class Estimate:
    """What a plan will take."""

    rates: tuple[CohortCost, ...]
    jobs: int
    startup: float
    """Seconds until workers are there."""
    compile_seconds: float
    memory: int
    """Bytes of each process at its peak."""
    timed: int
    """Configurations that differ in cost."""
    with_report: bool = True
    time_budget: float | None = None

    def seconds(self, keep: Keep = lambda _: True) -> float:
        """Wall seconds to the end of those runs that are to be kept."""
        kept = [[run for run in rate.choice.runs if keep(run)] for rate in self.rates]
        parts = [rate.seconds(runs) for rate, runs in zip(self.rates, kept, strict=True)]
        if not any(parts):
            return 0.0
        # A cohort is one worker's: the last to end may be alone.
        longest = max(
            rate.cohort(runs) for rate, runs in zip(self.rates, kept, strict=True) if runs
        )
        training = max(sum(parts) / self.jobs, longest) + self.startup + self.compile_seconds
        phase = min(PHASE_SECONDS, training / 3)
        if self.time_budget is not None:
            phase = self.time_budget
        phase = min(phase, step_timer.BLOCKS * (self.timed + 1) * REPETITION)
        whole = training + (phase if phase >= WORTH else 0.0)
        runs = sum(map(len, kept))
        return whole + (IMPORTS + REPORT_A_RUN * runs if self.with_report else 0.0)

    def interval(self) -> tuple[float, float]:
        """Between what seconds it will probably end."""
        middle = self.seconds()
        guessed = 1.0 if all(rate.probed for rate in self.rates) else 1.5
        return middle * APART[0] / guessed, middle * APART[1] * guessed

    def fitting(self, seeds: Sequence[int], seconds: float) -> int:
        """How many of the seeds, from the first, end within so many seconds."""

        def too_long(count: int) -> bool:
            kept = set(seeds[:count])
            return self.seconds(lambda run: run.seed in kept) > seconds

        return bisect.bisect_left(range(1, len(seeds) + 1), True, key=too_long)

    def without(self, study: Study, seconds: float) -> list[str]:
        """The axes each of which, left at its control, lets all seeds end in time."""
        controls = metadata.controls(study)
        several = [axis for axis, labels in study.levels.items() if len(labels) > 1]

        def at_control(axis: str) -> Keep:
            return lambda run: run.configuration.columns[axis] == controls[axis]

        return [axis for axis in several if self.seconds(at_control(axis)) <= seconds]


def smallest_effect(seeds: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The mean difference that a paired t-test on so many seeds finds in four of five studies, in
    standard deviations of the differences (Cohen, 1988).
    """
    from statsmodels.stats.power import TTestPower

    found = TTestPower().solve_power(nobs=seeds, alpha=alpha, power=power)
    return float(found)


def estimate(
    outlook: ExecutionPlan,
    *,
    with_report: bool = True,
    time_budget: float | None = None,
    seconds: float | None = None,
) -> Estimate:
    """Probe each kind of what is left to train.

    Parameters
    ----------
    outlook
        The plan.
    with_report, time_budget
        As ``pipeline.run`` will be asked.
    seconds
        What the probes may take, all together, beyond two looks of each; ``PROBE`` by default.
    """
    jobs = outlook.pool.jobs
    share = (PROBE if seconds is None else seconds) / max(1, len(outlook.choices))
    compiled = outlook.settled.compiled and compilation.why_unavailable() is None
    with _busy(jobs - 1):
        # The command itself has to start, and so have its workers.
        startup = _startup() * (2 if outlook.pool.backend == "loky" else 1)
        rates = [_probed(choice, compiled, share) for choice in outlook.choices]
    rates = _guessed(rates)
    waiting = 0.0
    if compiled:
        waiting = sum(
            compilation.compile_cost(
                choice.program.identity, choice.size, choice.program.network.depth
            ).seconds
            for choice in outlook.choices
            if choice.program and choice.size
        )
    planned = [run for choice in outlook.choices for run in choice.runs]
    return Estimate(
        tuple(rates),
        jobs=jobs,
        startup=startup,
        compile_seconds=waiting,
        memory=_high_water(),
        timed=len(step_timer.distinct_cost_runs(planned)),
        with_report=with_report,
        time_budget=time_budget,
    )


def _probed(choice: EngineChoice, compiled: bool, share: float) -> CohortCost:
    """Look at a cohort for an epoch, and for some more, as often as the time allows."""
    configuration = choice.runs[0].configuration
    if configuration.user_modules:
        return CohortCost(choice, math.nan, math.nan, probed=False)
    try:
        return _measured(choice, compiled, share)
    except Exception:  # what fails here will be failed rows
        return CohortCost(choice, math.nan, math.nan, probed=False)


def _measured(choice: EngineChoice, compiled: bool, share: float) -> CohortCost:
    if choice.size is None:
        fixed, each = _looked_at(choice, None, share)
        return CohortCost(choice, fixed, each)
    fixed, each = _looked_at(choice, choice.size, share * 0.7)
    if compiled and choice.program:
        each /= compilation.compile_cost(
            choice.program.identity, choice.size, choice.program.network.depth
        ).gain
    return CohortCost(choice, fixed, each, _judged(choice, fixed, each, share * 0.3))


def _looked_at(choice: EngineChoice, size: int | None, share: float) -> tuple[float, float]:
    """Seconds that a cohort, or a run, costs once and for each epoch."""
    begun = time.perf_counter()
    configuration = choice.runs[0].configuration
    more = min(EPOCHS, configuration.epochs)
    parts = _parts(choice.runs, size)
    cold = _time(parts[0], size, 1)  # makes what all others find
    if cold > share:
        return 0.0, min(cold, _time(parts[0], size, 1))
    once: list[float] = []
    whole: list[float] = []
    while len(once) < 2 or time.perf_counter() - begun < share:
        # Other members each time, which have to be built as they will be.
        once.append(_time(parts[len(once) % len(parts)], size, 1))
        if more > 1:
            whole.append(_time(parts[(len(once) + 1) % len(parts)], size, more))
        if len(once) >= MOST or (_agree(once) and _agree(whole)):
            break
    first = statistics.median(once)
    if more == 1:
        return 0.0, first
    each = max(0.0, statistics.median(whole) - first) / (more - 1)
    return max(0.0, first - each), each


def _agree(seconds: Sequence[float]) -> bool:
    """Whether looks tell the same."""
    return not seconds or (len(seconds) > 1 and max(seconds) < CLOSE * min(seconds))


def _parts(runs: Sequence[Run], size: int | None) -> list[Sequence[Run]]:
    """The first few cohorts."""
    if size is None:
        return [runs[start : start + 1] for start in range(min(4, len(runs)))]
    starts = range(0, min(len(runs), 4 * size), size)
    return [runs[start : start + size] for start in starts]


def _time(runs: Sequence[Run], size: int | None, epochs: int) -> float:
    start = time.perf_counter()
    if size is None:
        loop.train(runs[0], epochs)
    else:
        trainer.train(runs, size, stop=epochs)
    return time.perf_counter() - start


def _judged(choice: EngineChoice, fixed: float, each: float, share: float) -> float:
    """What the audit of one kind takes: its runs by the loop, in both precisions, and two looks at
    the program.
    """
    configuration = choice.runs[0].configuration
    once, epoch = _looked_at(choice, None, share)
    look, whole = _audited(configuration)
    loops = audit.RUNS * ((once + whole * epoch) + (once + look * epoch))
    return loops + 2 * (fixed + look * each)


def _audited(configuration: Configuration) -> tuple[int, int]:
    """Epochs that the audit looks at, and those that it trains a run for."""
    steps = configuration.steps_per_epoch
    look = min(configuration.epochs, max(1, audit.STEPS // steps))
    to_end = configuration.epochs * steps <= audit.END_STEPS
    return look, configuration.epochs if to_end else look


def _guessed(rates: list[CohortCost]) -> list[CohortCost]:
    """Kinds that were not probed cost as much a step as the others do, one by one."""
    known = [
        rate.each / rate.choice.runs[0].configuration.steps_per_epoch / (rate.choice.size or 1)
        for rate in rates
        if rate.probed
    ]
    step = statistics.median(known) if known else 1e-3
    return [
        rate
        if rate.probed
        else CohortCost(
            rate.choice,
            0.02,
            step * rate.choice.runs[0].configuration.steps_per_epoch * (rate.choice.size or 1),
            probed=False,
        )
        for rate in rates
    ]


@contextmanager
def _busy(others: int) -> Iterator[None]:
    """Keep so many other cores at work: cores share what they have."""
    spin = [sys.executable, "-S", "-c", SPIN]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.extend(subprocess.Popen(spin) for _ in range(others))  # noqa: S603 - this Python
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _startup() -> float:
    """How long a worker process takes to be ready."""
    start = time.perf_counter()
    words = [sys.executable, "-c", "import ablations.dispatch"]
    subprocess.run(words, check=False, capture_output=True)  # noqa: S603 - this Python
    return time.perf_counter() - start


def _high_water() -> int:
    """The most memory that this process has held, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
