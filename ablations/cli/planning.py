"""What a command would do and what it would take, in lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from ablations.core.errors import RequestError

if TYPE_CHECKING:
    from ablations.execution.estimate import Estimate
    from ablations.execution.plan import ExecutionPlan, RunOptions
    from ablations.study.study import Study


def within(
    study: Study, outlook: ExecutionPlan, how: RunOptions, allowed: float, *, report: bool
) -> Study:
    """The study with as many seeds as the time allows."""
    from ablations.execution.estimate import estimate

    found = estimate(outlook, with_report=report, time_budget=how.time_budget)
    count = found.fitting(study.seeds, allowed)
    for line in _budgeted(study, found, allowed, count):
        print(line, file=sys.stderr)
    if not count:
        raise RequestError("not one seed ends in that time", "--budget")
    return study.replace(seeds=study.seeds[:count])


def print_outlook(
    study: Study, outlook: ExecutionPlan, how: RunOptions, *, report: bool, allowed: float | None
) -> None:
    """Print the plan, and what it will take."""
    plan = outlook.plan
    print(f"{study.name}: {len(plan):,} runs of {len(plan) // len(study.seeds):,} configurations")
    print(f"  finished  {outlook.finished:,}")
    cohorts = f", in {len(outlook.cohorts):,} cohorts" if outlook.todo else ""
    print(f"  to train  {outlook.todo:,}{cohorts}")
    print(f"  skipped   {len(plan.skipped):,}")
    for note in outlook.notes():
        print(f"  {note}")
    _print_price(study, outlook, how, allowed, report)
    if study.looks:
        most = study.looks[-1] * len(plan) // len(study.seeds)
        print(
            f"  this is the first of {len(study.looks)} looks, at "
            f"{', '.join(map(str, study.looks))} seeds, each judged at a level of "
            f"{study.alpha:.2g}; with all seeds, {most:,} runs"
        )


def _budgeted(study: Study, found: Estimate, allowed: float, count: int) -> Iterator[str]:
    """What fits into a time, and what then cannot be told."""
    from ablations.execution.estimate import smallest_effect

    whole = len(study.seeds)
    if count == whole:
        yield f"all {whole:,} seeds end in {_clock(allowed)}"
        return
    from ablations.analysis.power import min_seeds as fewest

    least = fewest(study.alpha)
    yield f"{count:,} of {whole:,} seeds end in {_clock(allowed)}"
    if 0 < count < least:
        yield f"with fewer than {least} seeds no difference can count as evidence"
    elif count:
        now, then = (smallest_effect(n, study.alpha) for n in (count, whole))
        yield (
            f"an effect must then be {now:.1f} of its deviations over seeds to be found in four of "
            f"five studies, where {whole:,} seeds find {then:.1f}; more, where many are compared"
        )
    for axis in found.without(study, allowed):
        yield f"all {whole:,} seeds end in that time with '{axis}' at its control, and unasked"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _print_price(
    study: Study, outlook: ExecutionPlan, how: RunOptions, allowed: float | None, report: bool
) -> None:
    from ablations.execution.estimate import estimate

    if not outlook.todo:
        return
    found = estimate(outlook, with_report=report, time_budget=how.time_budget)
    low, high = found.interval()
    told = f"{_clock(found.seconds())} ({_clock(low)} to {_clock(high)})"
    processes = "1 process" if found.jobs == 1 else f"{found.jobs} workers"
    memory = f", up to {found.memory / 2**30:.1f} GiB each" if found.memory else ""
    print(f"  to the end about {told}, by {processes}{memory}")
    if not all(rate.probed for rate in found.rates):
        print("  what is not ours was not probed, and may take any time")
    if allowed is not None:
        for line in _budgeted(study, found, allowed, found.fitting(study.seeds, allowed)):
            print(f"  {line}")
