"""Commands that train or time: run, time, rerun."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.app import FAILED, command, complain, interruptible
from ablations.cli.options import (
    CompileWhen,
    EngineName,
    StudyArgument,
    Trust,
    Until,
    seconds_of,
    study_of,
)
from ablations.cli.planning import print_outlook, within
from ablations.core.errors import RequestError


@command
def run(
    study: StudyArgument = "notebook",
    out: Annotated[
        Path | None, typer.Option(help="Results folder.", show_default="results/<study>")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="How many, or start:stop.")] = None,
    seeds_until: Annotated[
        Until | None, typer.Option(help="Add seeds only while something is undecided.")
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(help="Seeds at which that ends.", show_default="40")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(help="Replace an axis' levels: norm=none,layer. May be given again."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every run.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes.", show_default="all cores")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="joblib backend.", show_default="loky, or threads for a short study"),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="Train runs as fused programs, or one by one.")
    ] = EngineName.auto,
    compile_: Annotated[
        CompileWhen, typer.Option("--compile", help="Compile fused programs.")
    ] = CompileWhen.auto,
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
        str | None,
        typer.Option(help="Train as many seeds as end in this time: 90s, 10m, 1h30m."),
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
    from ablations.execution import run as pipeline
    from ablations.execution.plan import RunOptions, plan_execution
    from ablations.report.terminal import print_answer

    chosen = study_of(study, seeds, axis or [], epochs, trust=trust)
    folder = pipeline.folder_of(chosen, out)
    how = RunOptions(
        *(jobs, backend, engine.value, compile_.value, timeout, fail_fast, force),
        accept_environment=accept_environment,
        time_budget=time_budget,
    )
    how.check()
    if max_seeds is not None and seeds_until is None:
        raise RequestError("needs --seeds-until decided", "--max-seeds")
    if seeds_until:
        from ablations.execution import sequential

        most = sequential.MOST if max_seeds is None else max_seeds
        chosen = sequential.planned(chosen, most)
    allowed = None if budget is None else seconds_of(budget, "--budget")
    if allowed is not None and seeds_until:
        raise RequestError(
            "seeds are added until all is decided; leave one of them out", "--budget"
        )
    if dry_run:
        print_outlook(
            chosen, plan_execution(chosen, folder, how), how, report=report, allowed=allowed
        )
        return
    if allowed is not None:
        chosen = within(chosen, plan_execution(chosen, folder, how), how, allowed, report=report)
    known = None if seeds_until else pipeline.known_answer(chosen, folder, how, report)
    if known:
        print_answer(known[0])
        written = f"; report: {folder / 'report.html'}" if report else ""
        print(f"nothing to train{written}", file=sys.stderr)
        return
    with interruptible():
        if seeds_until:
            chosen, results = sequential.run(
                chosen, out, max_seeds=most, with_report=report, **vars(how)
            )
        else:
            results = pipeline.run(chosen, out, **vars(how), with_report=report)
    print_answer(pipeline.answer(chosen, results))
    failed = results.runs[results.runs["status"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        again = shlex.join(["ablations", "rerun", str(folder), str(first["run_id"])])
        complain(f"{len(failed):,} runs failed, the first: {first['reason']}; more: {again}")
        raise typer.Exit(FAILED)


@command
def time(
    study: StudyArgument = "notebook",
    out: Annotated[
        Path | None, typer.Option(help="Results folder.", show_default="results/<study>")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(help="Replace an axis' levels: norm=none,layer. May be given again."),
    ] = None,
    budget: Annotated[float, typer.Option(help="Seconds that it may take.")] = 100.0,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 1,
    trust: Trust = False,
) -> None:
    """Time what a training step costs with each technique, alone on this machine.

    Timings lie beside the runs; the same command again continues.
    """
    from ablations.analysis import results as answers
    from ablations.execution import run as pipeline
    from ablations.execution import timing
    from ablations.execution.progress import Live
    from ablations.report.page import write_report
    from ablations.report.terminal import print_floors, print_table
    from ablations.results.lock import write_lock

    chosen = study_of(study, None, axis or [], None, trust=trust)
    folder = pipeline.folder_of(chosen, out)
    reporter = Live()
    with interruptible(), write_lock(folder, reporter.say):
        timing.measure(chosen, folder, reporter, seconds=budget, threads=threads)
        results = answers.load(folder)
        if len(results.runs) and (folder / "report.html").exists():
            page, _ = write_report(results.of_study(), results.require_metadata())
            reporter.say(f"report: {page}")
    print_table("costs", results.costs())
    print_floors(results.timings)


@command
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    run_id: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    trust: Trust = False,
) -> None:
    """Train one run again, alone and in plain PyTorch, and show all of its numbers."""
    from ablations.execution.rerun import rerun as again
    from ablations.report.terminal import printable

    with interruptible():
        found = again(folder, run_id, trust=trust)
    print("\n".join(map(printable, found.lines())))
    if found.result.status == "failed":
        print(f"\n{printable(found.result.traceback or '')}", file=sys.stderr)
        raise typer.Exit(FAILED)
