"""The command line: words become objects here, and nowhere else."""

from __future__ import annotations

import functools
import io
import json
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.errors import AuditError, FailedError, RequestError, WriteError

if TYPE_CHECKING:
    from ablations.outlook import Outlook
    from ablations.study import Study

app = typer.Typer(
    help="Find out which neural-network training techniques really help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

FAILED, WRONG_REQUEST, INTERRUPTED = 1, 2, 130

StudyArgument = Annotated[str, typer.Argument(help="A shipped study's name, or a TOML file.")]


class Kind(StrEnum):
    """What ``list`` can list."""

    techniques = "techniques"
    tasks = "tasks"
    models = "models"
    studies = "studies"


class EngineName(StrEnum):
    """What trains the runs."""

    auto = "auto"
    fused = "fused"
    loop = "loop"


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"


class Question(StrEnum):
    """What a results folder can be asked: the methods of ``ablations.Results``."""

    effects = "effects"
    verdicts = "verdicts"
    simple_effects = "simple-effects"
    interactions = "interactions"
    aliases = "aliases"
    importance = "importance"
    one_factor = "one-factor"
    ranking = "ranking"
    winner = "winner"
    divergence = "divergence"
    tuning = "tuning"
    costs = "costs"


class Until(StrEnum):
    """When no more seeds are added."""

    decided = "decided"


class KeepWhich(StrEnum):
    """Which of two results of one run is kept."""

    first = "first"
    last = "last"


class CompileWhen(StrEnum):
    """When fused programs are compiled."""

    auto = "auto"
    always = "always"
    never = "never"


@contextmanager
def _plain_errors() -> Iterator[None]:
    """A wrong request ends with one message and exit code 2."""
    try:
        yield
    except RequestError as error:
        _complain(str(error))
        raise typer.Exit(WRONG_REQUEST) from None
    except BrokenPipeError:
        raise  # a reader such as `head` has enough, which click ends quietly
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        raise typer.Exit(WRONG_REQUEST) from None


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose wrong requests end plainly."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with _plain_errors():
            function(*args, **kwargs)

    return app.command(name=function.__name__.strip("_"))(wrapped)


@_command
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    report: Annotated[bool, typer.Option(help="Write the report.")] = True,
) -> None:
    """Train what is missing of a study, then write its report.

    The same command again continues: what is finished is never trained twice.
    """
    from ablations import pipeline
    from ablations.outlook import How, look
    from ablations.report.terminal import print_answer

    chosen = _study(study, seeds, axis or [], epochs)
    folder = pipeline.folder_of(chosen, out)
    how = How(
        *(jobs, backend, engine.value, compile_.value, timeout, fail_fast, force),
        accept_environment=accept_environment,
        time_budget=time_budget,
    )
    how.check()
    if max_seeds is not None and seeds_until is None:
        raise RequestError("needs --seeds-until decided", "--max-seeds")
    if seeds_until:
        from ablations import sequential

        most = sequential.MOST if max_seeds is None else max_seeds
        chosen = sequential.planned(chosen, most)
    if dry_run:
        _print_outlook(chosen, look(chosen, folder, how))
        return
    known = None if seeds_until else pipeline.known_answer(chosen, folder, how, report)
    if known:
        print_answer(known[0])
        written = f"; report: {folder / 'report.html'}" if report else ""
        print(f"nothing to train{written}", file=sys.stderr)
        return
    with _interruptible():
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
        _complain(f"{len(failed):,} runs failed, the first: {first['reason']}; more: {again}")
        raise typer.Exit(FAILED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Say how to continue what a person, the system or a failure stopped."""
    from ablations import interruption

    try:
        with interruption.at_once():
            yield
    except interruption.Interrupted as error:
        print(f"interrupted: {error}; to continue: {_this_command()}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except KeyboardInterrupt:
        said = f"interrupted: what was finished is kept; to continue: {_this_command()}"
        print(said, file=sys.stderr, flush=True)
        sys.stdout.flush()
        # At once: whatever still runs, threads or workers, ends with this process.
        os._exit(INTERRUPTED)
    except WriteError as error:
        kept = "what was finished is kept, and can be read"
        _complain(f"{error}; {kept}; to continue: {_this_command()}")
        raise typer.Exit(FAILED) from None
    except FailedError as error:
        _complain(f"{error}; what was finished is kept")
        raise typer.Exit(FAILED) from None
    except AuditError as error:
        _complain(f"{error}; do not trust these results, and train with --engine loop")
        raise typer.Exit(FAILED) from None


def _this_command() -> str:
    return shlex.join(["ablations", *sys.argv[1:]])


def _complain(message: str) -> None:
    from ablations.report.terminal import printable

    print(printable(f"error: {message}"), file=sys.stderr)


def _study(name: str, seeds: str | None, axes: list[str], epochs: int | None) -> Study:
    """The study that the words on the command line ask for."""
    from ablations.study import Study
    from ablations.study import seeds as parse_seeds

    study = Study.find(name)
    try:
        if seeds is not None:
            study = study.replace(seeds=parse_seeds(seeds, "--seeds"))
        if epochs is not None:
            study = study.with_epochs(epochs)
    except RequestError as error:
        raise error.at(name) from None
    for option in axes:
        axis, equals, levels = option.partition("=")
        if not equals:
            raise RequestError(f"expected AXIS=LEVEL,LEVEL, found '{option}'", "--axis")
        try:
            study = study.with_axis(axis.strip(), parse_levels(levels))
        except RequestError as error:
            raise error.at(f"--axis {option}") from None
    return study


def parse_levels(words: str) -> Any:
    """Levels from ``none,layer`` or ``0.1,1e-3``, or from a TOML list in brackets."""
    if words.strip() == "available":
        return "available"
    if words.lstrip().startswith("["):
        try:
            found = tomllib.loads(f"levels = {words}")
        except (ValueError, RecursionError) as error:
            raise RequestError(f"not a TOML list: {error}") from None
        if set(found) != {"levels"}:
            raise RequestError(f"more than one TOML list: {words!r}")
        return found["levels"]
    return [_number(word.strip()) for word in words.split(",") if word.strip()]


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _print_outlook(study: Study, outlook: Outlook) -> None:
    plan = outlook.plan
    print(f"{study.name}: {len(plan):,} runs of {len(plan) // len(study.seeds):,} configurations")
    print(f"  finished  {outlook.finished:,}")
    print(f"  to train  {outlook.todo:,}")
    print(f"  skipped   {len(plan.skipped):,}")
    for note in outlook.notes():
        print(f"  {note}")
    if study.looks:
        most = study.looks[-1] * len(plan) // len(study.seeds)
        print(
            f"  this is the first of {len(study.looks)} looks, at "
            f"{', '.join(map(str, study.looks))} seeds, each judged at a level of "
            f"{study.alpha:.2g}; with all seeds, {most:,} runs"
        )


@_command
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
) -> None:
    """Write the report of a results folder anew."""
    from ablations import answers, grid, pipeline
    from ablations.study import Study

    whole = answers.load(folder)
    study = Study.from_toml(folder / "study.toml")
    results, _ = pipeline.of_study(grid.plan(study), whole)
    print(pipeline.write_report(study, results))


@_command
def effects(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    of: Annotated[
        Question, typer.Option(help="What to tell.", show_default=True)
    ] = Question.effects,
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.table,
    outcome: Annotated[
        str, typer.Option(help="val_loss, train_loss, objective or metric.")
    ] = "val_loss",
    tune_over: Annotated[
        list[str] | None,
        typer.Option(help="An axis at whose best level all is judged. May be given again."),
    ] = None,
) -> None:
    """Print every level against its control, or the answer to another question."""
    from ablations import answers
    from ablations.report.export import FORMATS
    from ablations.report.terminal import print_table

    question = of.value.replace("-", "_")
    ask = getattr(answers.load(folder), question)
    table = ask(outcome=outcome, tune_over=tune_over)
    if of is Question.costs and table.empty:
        message = "no step was timed here; 'ablations time STUDY --out DIR' times them"
        raise RequestError(message, source=str(folder))
    if format_ is Format.table:
        print_table(question, table)
    else:
        print(FORMATS[format_.value](question, table), end="")


@_command
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
) -> None:
    """Time what a training step costs with each technique, alone on this machine.

    Timings lie beside the runs; the same command again continues.
    """
    from ablations import answers, grid, pipeline, timing
    from ablations.folders import one_writer
    from ablations.progress import Live
    from ablations.report.terminal import print_floors, print_table
    from ablations.study import Study

    chosen = _study(study, None, axis or [], None)
    folder = pipeline.folder_of(chosen, out)
    reporter = Live()
    with _interruptible(), one_writer(folder, reporter.say):
        timing.measure(chosen, folder, reporter, seconds=budget, threads=threads)
        results = answers.load(folder)
        if len(results.runs) and (folder / "report.html").exists():
            whole = Study.from_toml(folder / "study.toml")
            own, _ = pipeline.of_study(grid.plan(whole), results)
            reporter.say(f"report: {pipeline.write_report(whole, own)}")
    print_table("costs", results.costs())
    print_floors(results.timings)


@_command
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    run_id: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
) -> None:
    """Train one run again, alone and in plain PyTorch, and show all of its numbers."""
    from ablations.report.terminal import printable
    from ablations.rerun import rerun as again

    with _interruptible():
        found = again(folder, run_id)
    print("\n".join(map(printable, found.lines())))
    if found.result.status == "failed":
        print(f"\n{printable(found.result.traceback or '')}", file=sys.stderr)
        raise typer.Exit(FAILED)


@_command
def repair(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
) -> None:
    """Set aside the files of a results folder that cannot be read."""
    from ablations import folders, store

    if not store.is_results(folder):
        raise RequestError("not a results folder", source=str(folder))
    with folders.one_writer(folder, print):
        done = folders.repair(folder)
    print("\n".join(done) or "nothing to repair")


@_command
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    out: Annotated[Path, typer.Option(help="A new results folder.")],
    keep: Annotated[
        KeepWhich | None, typer.Option(help="Which of two results of one run that differ.")
    ] = None,
) -> None:
    """Put the runs of several results folders, of one study, into a new one."""
    from ablations.folders import merge as merged

    with _interruptible():
        print(merged(folders, out, keep.value if keep else None))


@_command
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
) -> None:
    """Compare two results folders run by run, and write a page of it."""
    from ablations.comparing import compare as compared

    with _interruptible():
        found = compared(first, second, out)
    from ablations.report.terminal import printable

    print("\n".join(map(printable, found.lines)))
    if found.regressions and fail_on_regression:
        raise typer.Exit(FAILED)


@_command
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
) -> None:
    """List what a study can ask for, with parameters and sources."""
    from ablations.study import Study, shipped_studies

    if kind is Kind.studies:
        for name, path in shipped_studies().items():
            print(f"{name:12} {Study.from_toml(path).description}")
        return
    from ablations.grid import TECHNIQUES
    from ablations.registry import registered, text

    kinds = (*TECHNIQUES, "optimizer") if kind is Kind.techniques else (kind.value[:-1],)
    for found in kinds:
        print(found)
        for name, cls in registered(found).items():
            parameters = ", ".join(
                field.name if field.default is MISSING else f"{field.name}={text(field.default)}"
                for field in fields(cls)  # type: ignore[arg-type]
            )
            print(f"  {name}{f' ({parameters})' if parameters else ''}\n      {cls.caption()}")


@_command
def env() -> None:
    """Say what machine this is and which versions are installed."""
    from ablations.environment import describe

    print(json.dumps(describe(), indent=2))


def main() -> None:
    """The ``ablations`` command."""
    for stream in (sys.stdout, sys.stderr):
        # An old console's encoding lacks a minus sign; a question mark is better than no answer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Until a command says otherwise it has begun nothing, and may end at once: torch, while it is
    # imported, takes a KeyboardInterrupt badly.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    app(prog_name="ablations")


if __name__ == "__main__":
    main()
