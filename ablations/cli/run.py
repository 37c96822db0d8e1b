"""Commands that train or time: run, time, rerun."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ablations.cli.app import FAILED, command, complain, interruptible, say
from ablations.cli.options import (
    AxisOption,
    OutOption,
    ResultsFolder,
    StudyArgument,
    Trust,
    parse_seconds,
    parse_study,
)
from ablations.core.errors import RequestError

if TYPE_CHECKING:
    from ablations.analysis.results import Results
    from ablations.execution.estimate import Estimate
    from ablations.execution.options import RunOptions
    from ablations.execution.plan import ExecutionPlan
    from ablations.study.study import Study


@command
def run(
    study: StudyArgument = "notebook",
    out: OutOption = None,
    seeds: Annotated[str | None, typer.Option(help="How many, or start:stop.")] = None,
    seeds_until: Annotated[
        Literal["decided"] | None, typer.Option(help="Add seeds only while something is undecided.")
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(help="Seeds at which that ends.", show_default="40")
    ] = None,
    axis: AxisOption = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every run.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes.", show_default="all cores")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="joblib backend.", show_default="loky, or threads for a short study"),
    ] = None,
    engine: Annotated[
        Literal["auto", "fused", "loop"],
        typer.Option(help="Train runs as fused programs, or one by one."),
    ] = "auto",
    compile_: Annotated[
        Literal["auto", "always", "never"],
        typer.Option("--compile", help="Compile fused programs."),
    ] = "auto",
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that a run, or a cohort, may take.", show_default="no limit"),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Train again what is finished.")] = False,
    accept_environment: Annotated[
        bool,
        typer.Option("--accept-environment", help="Go on with other versions of the libraries."),
    ] = False,
    time_budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds for timing, 0 for none.", show_default="a third of training, at most 20"
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Train as many seeds as end in this time: 90s, 10m, 1h30m.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it would take.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write the report.")] = True,
    trust: Trust = False,
) -> None:
    """Train what is missing of a study, then write its report.

    The same command again continues: what is finished is never trained twice.
    """
    from ablations.execution import sequential
    from ablations.execution.compatibility import continue_splits
    from ablations.execution.options import RunOptions
    from ablations.execution.run import results_folder, run_study

    options = RunOptions(
        jobs=jobs,
        backend=backend,
        engine=engine,
        compile=compile_,
        timeout=timeout,
        fail_fast=fail_fast,
        force=force,
        accept_environment=accept_environment,
        time_budget=time_budget,
        with_report=report,
    )
    options.check()
    if max_seeds is not None and seeds_until is None:
        raise RequestError("needs --seeds-until decided", "--max-seeds")
    if budget is not None and seeds_until:
        message = "seeds are added until all is decided; leave one of them out"
        raise RequestError(message, "--budget")
    seconds = None if budget is None else parse_seconds(budget, "--budget")
    requested = parse_study(study, seeds, axis or [], epochs, trust=trust)
    folder = results_folder(requested, out)
    requested = continue_splits(requested, folder)
    last_look = sequential.MAX_SEEDS if max_seeds is None else max_seeds
    if dry_run:
        planned = sequential.with_looks(requested, last_look) if seeds_until else requested
        print_plan(planned, folder, options, seconds)
        return
    if seconds is not None:
        requested = fit_seeds(requested, folder, options, seconds)
    with interruptible():
        if seeds_until:
            outcome = sequential.run_until_decided(requested, folder, options, max_seeds=last_look)
        else:
            outcome = run_study(requested, folder, options)
    from ablations.report.render import print_answer

    print_answer(outcome.answer)
    exit_if_runs_failed(outcome.results)


def exit_if_runs_failed(results: Results) -> None:
    """Exit with code 1 and the reason of the first failure, if there are failed runs."""
    failed = results.runs[results.runs["status"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        again = shlex.join(["ablations", "rerun", str(results.folder), str(first["run_id"])])
        complain(f"{len(failed):,} runs failed, the first: {first['reason']}; more: {again}")
        raise typer.Exit(FAILED)


def print_plan(study: Study, folder: Path, options: RunOptions, budget: float | None) -> None:
    """Print what a command would do, and how long it would take."""
    from ablations.execution.lagging import describe_lagging_statistics
    from ablations.execution.metadata import describe_seeds, describe_training
    from ablations.execution.plan import plan_execution
    from ablations.report.data_columns import describe_columns

    plan = plan_execution(study, folder, options)
    grid, n_seeds = plan.grid, len(study.seeds)
    cohorts = f", in {len(plan.cohorts):,} cohorts" if plan.todo else ""
    say(f"{study.name}: {len(grid):,} runs of {len(grid) // n_seeds:,} configurations")
    say(f"  finished  {plan.finished:,}")
    say(f"  to train  {plan.todo:,}{cohorts}")
    say(f"  skipped   {len(grid.skipped):,}")
    cautions = list[str]()
    for each in study.by_task:
        prefix = f"{each.task_label}: " if each.task_label else ""
        columns = describe_columns(each.task.describe_columns())
        for line in (describe_training(each), *columns):
            say(f"  {prefix}{line}")
        texts = each.task.caution, *describe_seeds(each), *describe_lagging_statistics(each)
        cautions += [f"{prefix}{text}" for text in texts if text]
    lines = (*plan.notes(), *describe_estimate(study, plan, options, budget), *cautions)
    for line in filter(None, lines):
        say(f"  {line}")
    if study.looks:
        say(
            f"  this is the first of {len(study.looks)} looks, at "
            f"{', '.join(map(str, study.looks))} seeds, each judged at a level of "
            f"{study.alpha:.2g}; with all seeds, {study.looks[-1] * len(grid) // n_seeds:,} runs"
        )


def describe_estimate(
    study: Study, plan: ExecutionPlan, options: RunOptions, budget: float | None
) -> Iterator[str]:
    """How long a plan takes, in lines; and what fits into a budget, if there is one."""
    from ablations.execution.estimate import estimate
    from ablations.execution.progress import format_duration

    if not plan.todo:
        return
    expected = estimate(plan, options)
    low, high = map(format_duration, expected.interval())
    processes = "1 process" if expected.jobs == 1 else f"{expected.jobs} workers"
    megabytes = 10 * math.ceil(expected.memory / 1e7)  # up, so that a worker takes no more
    memory = f", up to {megabytes:,} MB each" if megabytes else ""
    duration = format_duration(expected.seconds())
    yield f"to the end about {duration} ({low} to {high}), by {processes}{memory}"
    if not all(cost.is_probed for cost in expected.costs):
        yield "code of other people was not probed, and may take any time"
    if budget is not None:
        yield from describe_budget(study, expected, budget)


def fit_seeds(study: Study, folder: Path, options: RunOptions, budget: float) -> Study:
    """The study with as many seeds as end within the budget, in seconds; prints what that costs."""
    from ablations.execution.estimate import estimate
    from ablations.execution.plan import plan_execution

    expected = estimate(plan_execution(study, folder, options), options)
    for line in describe_budget(study, expected, budget):
        say(line, sys.stderr)
    count = expected.count_seeds(study.seeds, budget)
    if not count:
        raise RequestError("not one seed ends in that time", "--budget")
    return study.replace(seeds=study.seeds[:count])


def describe_budget(study: Study, expected: Estimate, budget: float) -> Iterator[str]:
    """How many seeds end within the budget, in seconds, and which effects these can detect."""
    from ablations.analysis.inference import min_seeds
    from ablations.analysis.spending import FIRST
    from ablations.execution.estimate import smallest_effect
    from ablations.execution.progress import format_duration

    total, count = len(study.seeds), expected.count_seeds(study.seeds, budget)
    if count == total:
        yield f"all {total:,} seeds end in {format_duration(budget)}"
        return
    level = study.alpha if study.looks else FIRST
    fewest = min_seeds(level)
    yield f"{count:,} of {total:,} seeds end in {format_duration(budget)}"
    if 0 < count < fewest:
        yield f"with fewer than {fewest} seeds no difference can count as evidence"
    elif count:
        fewer, all_seeds = (smallest_effect(n, level) for n in (count, total))
        yield (
            f"an effect must then be {fewer:.1f} of its deviations over seeds to be found in four "
            f"of five studies, where {total:,} seeds find {all_seeds:.1f}; more, where many are "
            "compared"
        )
    for axis in expected.affordable_axes(study, budget):
        yield f"all {total:,} seeds end in that time with '{axis}' at its control, and unasked"


@command
def time(
    study: StudyArgument = "notebook",
    out: OutOption = None,
    axis: AxisOption = None,
    budget: Annotated[float, typer.Option(help="Seconds that it may take.")] = 100.0,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 1,
    trust: Trust = False,
) -> None:
    """Time what a training step costs with each technique, alone on this machine.

    Timings lie beside the runs; the same command again continues.
    """
    from ablations.execution.compatibility import continue_splits
    from ablations.execution.progress import Live
    from ablations.execution.run import results_folder
    from ablations.execution.timing import measure
    from ablations.execution.trust import load
    from ablations.report.page import write_report
    from ablations.report.render import print_floors, print_table
    from ablations.results.lock import write_lock

    requested = parse_study(study, None, axis or [], None, trust=trust)
    folder = results_folder(requested, out)
    requested = continue_splits(requested, folder)
    reporter = Live()
    with interruptible(), write_lock(folder, reporter.say):
        measure(requested, folder, reporter, seconds=budget, threads=threads)
        results = load(folder, trust=trust)
        if len(results.runs) and (folder / "report.html").exists():
            page, _ = write_report(results.of_study(), results.require_metadata())
            reporter.say(f"report: {page}")
    print_table("costs", results.costs())
    print_floors(results.timings)


@command
def rerun(
    folder: ResultsFolder,
    run_id: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    trust: Trust = False,
) -> None:
    """Train one run again, alone and in plain PyTorch, and show all of its numbers."""
    from ablations.execution.rerun import rerun as train_again

    with interruptible():
        comparison = train_again(folder, run_id, trust=trust)
    say("\n".join(comparison.lines()))
    if comparison.result.status == "failed":
        say(f"\n{comparison.result.traceback or ''}", sys.stderr)
        raise typer.Exit(FAILED)
