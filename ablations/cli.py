"""The command line: words become objects here, and nowhere else."""

from __future__ import annotations

import functools
import io
import json
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ablations.errors import AuditError, RequestError

if TYPE_CHECKING:
    from ablations.pipeline import Outlook
    from ablations.report import Effects
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
        print(f"error: {error}", file=sys.stderr)
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
    force: Annotated[bool, typer.Option("--force", help="Train again what is finished.")] = False,
    accept_environment: Annotated[
        bool,
        typer.Option("--accept-environment", help="Go on with other versions of the libraries."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    report: Annotated[bool, typer.Option(help="Write the report.")] = True,
) -> None:
    """Train what is missing of a study, then write its report.

    The same command again continues: what is finished is never trained twice.
    """
    from ablations import pipeline
    from ablations.dispatch import check_backend

    chosen = _study(study, seeds, axis or [], epochs)
    check_backend(backend, jobs)
    if dry_run:
        folder = pipeline.folder_of(chosen, out)
        found = pipeline.look(
            *(chosen, folder, jobs, backend, engine.value, compile_.value),
            accept_environment=accept_environment,
        )
        _print_outlook(chosen, found)
        return
    with _interruptible():
        results = pipeline.run(
            chosen,
            out,
            jobs=jobs,
            backend=backend,
            engine=engine.value,
            compile=compile_.value,
            force=force,
            accept_environment=accept_environment,
            with_report=report,
        )
    print_effects(pipeline.effects(chosen, results), pipeline.story(chosen).cautions)
    failed = results.runs.loc[results.runs["status"] == "failed", "reason"]
    if len(failed):
        print(f"error: {len(failed):,} runs failed, the first: {failed.iloc[0]}", file=sys.stderr)
        raise typer.Exit(FAILED)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        said = "interrupted; what was finished is kept, and the same command continues"
        print(said, file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except AuditError as error:
        said = f"error: {error}; do not trust these results, and train with --engine loop"
        print(said, file=sys.stderr)
        raise typer.Exit(FAILED) from None


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


def print_effects(found: Effects, cautions: Sequence[str] = ()) -> None:
    """The ablation table on standard output, then the answer in a sentence, and what tempers it."""
    from ablations.report import tempers, words

    table, scale = found.effects, found.scale
    if table.empty:
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("axis", "level", "against", "verdict"):
        shown.add_column(name, overflow="fold")
    for name in ("val. loss", "95 % interval", "p (adj.)"):
        shown.add_column(name, justify="right", no_wrap=True)
    for _, row in table.iterrows():
        shown.add_row(
            *(str(row[name]) for name in ("axis", "level", "control")),
            "changed nothing at all" if row["identical"] == row["pairs"] else str(row["verdict"]),
            words.change(row, scale),
            f"{words.change(row, scale, 'low')} to {words.change(row, scale, 'high')}",
            words.p_value(row),
        )
    # A pipe or a file has no width to fit into: there, no level's name may be cut.
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width, markup=False).print(shown)
    print()
    for sentence in (words.answer(table, scale, "level"), *tempers(found), *cautions):
        print(textwrap.fill(sentence, 100))


@_command
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
) -> None:
    """Write the report of a results folder anew."""
    from ablations import pipeline, store
    from ablations.study import Study

    whole = store.load(folder)
    study = Study.from_toml(folder / "study.toml")
    results, _ = pipeline.of_study(study, whole)
    print(pipeline.write_report(study, results))


@_command
def repair(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
) -> None:
    """Set aside the files of a results folder that cannot be read."""
    from ablations import folders, store

    if not store.is_results(folder):
        raise RequestError("not a results folder", source=str(folder))
    with folders.one_writer(folder, print):
        done = store.repair(folder)
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

    print(merged(folders, out, keep.value if keep else None))


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
    app(prog_name="ablations")


if __name__ == "__main__":
    main()
