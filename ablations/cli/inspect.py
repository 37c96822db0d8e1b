"""Commands that read, repair and merge results folders, and that list what is available."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ablations.cli.app import DISTRUST, FAILED, command, complain, interruptible, remark, say
from ablations.cli.options import ResultsFolder, Trust
from ablations.core.errors import RequestError

Format = Literal["table", "csv", "json", "markdown", "latex"]
OutcomeOption = Annotated[
    str | None,
    typer.Option(
        help="val_loss, test_loss, best_val_loss, train_loss, objective, metric, or the name of a "
        "metric.",
        show_default="the study's",
    ),
]
Question = Literal[
    "effects",
    "verdicts",
    "scope",
    "simple-effects",
    "interactions",
    "aliases",
    "importance",
    "anova",
    "one-factor",
    "ranking",
    "winner",
    "best-set",
    "divergence",
    "tuning",
    "costs",
    "trajectory",
    "endings",
    "baseline",
    "datasets",
    "dataset-effects",
    "dataset-ranks",
]
"""The methods of ``ablations.Results`` that answer a question."""


@command
def repair(folder: ResultsFolder) -> None:
    """Set aside the files of a results folder that cannot be read."""
    from ablations.results.lock import write_lock
    from ablations.results.repair import repair_folder
    from ablations.results.store import is_results

    if not is_results(folder):
        raise RequestError("not a results folder", source=str(folder))
    with write_lock(folder, print):
        lines = repair_folder(folder)
    say("\n".join(lines) or "nothing to repair")


@command
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    out: Annotated[Path, typer.Option(help="A new results folder.")],
    keep: Annotated[
        Literal["first", "last"] | None,
        typer.Option(help="Which of two results of one run that differ."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Put the runs of several results folders, of one study, into a new one."""
    from ablations.execution.merge import merge_results

    with interruptible():
        say(merge_results(folders, out, keep, trust=trust))


@command
def report(folder: ResultsFolder, outcome: OutcomeOption = None, trust: Trust = False) -> None:
    """Write the report of a folder anew, or report-X.html by outcome X."""
    from ablations.execution.trust import load
    from ablations.report.page import write_report

    results = load(folder, trust=trust)
    remark(results.describe_missing())
    metadata = results.metadata_for(outcome) if outcome else results.require_metadata()
    is_other = metadata.outcome != results.outcome_column()
    page, _ = write_report(results.of_study(), metadata, metadata.outcome if is_other else "")
    say(page)


@command
def effects(
    folder: ResultsFolder,
    question: Annotated[
        Question, typer.Option("--of", help="What to tell.", show_default=True)
    ] = "effects",
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = "table",
    outcome: OutcomeOption = None,
    tune_over: Annotated[
        list[str] | None,
        typer.Option(help="An axis at whose best level all is judged. May be given again."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Print every level against its control, or the answer to another question."""
    from ablations.analysis import audit_failure
    from ablations.execution.trust import load
    from ablations.report.headline import write_headline
    from ablations.report.render import FORMATS, print_headline, print_table
    from ablations.report.summary import summarise

    method = question.replace("-", "_")
    tune_over = list(dict.fromkeys(tune_over)) if tune_over else None  # as a study takes it
    results = load(folder, trust=trust)
    remark(results.describe_missing())
    table = getattr(results, method)(outcome=outcome, tune_over=tune_over)
    if wrong := audit_failure(results.audit):
        complain(f"{wrong}; {DISTRUST}")
    if question == "costs" and table.empty:
        message = "no step was timed here; 'ablations time STUDY --out DIR' times them"
        raise RequestError(message, source=str(folder))
    shows_verdicts = question in ("effects", "verdicts")
    parts = list(results.by_task.values()) or [results]
    designs = [each.design(outcome, tune_over) for each in parts] if shows_verdicts else []
    for reason in dict.fromkeys(results.record_look(design.look) for design in designs):
        if reason:
            complain(f"this look could not be recorded, and later ones will not count it: {reason}")
    if format_ == "table":
        metadata, chart = results.require_metadata(), None
        if question == "effects" and not (outcome or tune_over or results.by_task):
            print_headline(write_headline(results.ablation, metadata))
            chart = summarise(results.ablation, metadata).chart
        print_table(method, table, designs[0] if designs else None, metadata, chart)
    else:
        sys.stdout.write(FORMATS[format_](method, table))


@command
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR_A", help="Results before.")],
    second: Annotated[Path, typer.Argument(metavar="DIR_B", help="Results after.")],
    out: Annotated[
        Path | None, typer.Option(help="The page.", show_default="DIR_B/comparison.html")
    ] = None,
    fail_on_regression: Annotated[
        bool,
        typer.Option("--fail-on-regression", help="Exit 1 where it got worse beyond the margin."),
    ] = False,
    trust: Trust = False,
) -> None:
    """Compare two results folders run by run, and write a page of it."""
    from ablations.execution.compare import compare_folders

    with interruptible():
        comparison = compare_folders(first, second, out, trust=trust)
    say("\n".join(comparison.lines))
    if comparison.regressions and fail_on_regression:
        raise typer.Exit(FAILED)


@command
def list_(
    kind: Annotated[
        Literal["techniques", "tasks", "models", "studies"], typer.Argument(help="What to list.")
    ],
) -> None:
    """List what a study can ask for, with parameters and sources."""
    from ablations.study.study import Study, shipped_studies

    if kind == "studies":
        for name, path in shipped_studies().items():
            say(f"{name:12} {Study.from_toml(path).description}")
        return
    from ablations.study.catalogue import format_catalogue

    say(format_catalogue(kind))


@command
def env() -> None:
    """Say what machine this is and which versions are installed."""
    from ablations.results.environment import describe

    say(json.dumps(describe(), indent=2))
