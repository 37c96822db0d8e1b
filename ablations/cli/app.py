"""What all commands share: registration, error messages, interruptions and exit codes."""

from __future__ import annotations

import functools
import gc
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from ablations.core.errors import (
    AuditError,
    FailedError,
    RequestError,
    WriteError,
    is_memory_error,
    is_storage_error,
)
from ablations.core.printing import printable

app = typer.Typer(
    help="Find out which neural-network training techniques really help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

FAILED, WRONG_REQUEST, INTERRUPTED = 1, 2, 130
NO_MEMORY = "the system has too little memory for this command"


@contextmanager
def plain_errors() -> Iterator[None]:
    """A wrong request ends with one message and exit code 2, full storage with code 1."""
    try:
        yield
    except RequestError as error:
        complain(str(error))
        raise typer.Exit(WRONG_REQUEST) from None
    except WriteError as error:
        complain(f"{error}; what was there before is kept")
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:
        raise  # a reader such as `head` has enough, which click ends quietly
    except (MemoryError, ImportError, RuntimeError, SystemError, OSError) as error:
        if is_memory_error(error):
            complain(f"{NO_MEMORY}; what was there before is kept")
            raise typer.Exit(FAILED) from None
        if not isinstance(error, OSError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        advice = "; what was there before is kept" if is_storage_error(error) else ""
        complain(f"{where}{error.strerror or error}{advice}")
        raise typer.Exit(FAILED if advice else WRONG_REQUEST) from None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose wrong requests end plainly."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with plain_errors():
            function(*args, **kwargs)

    return app.command(name=function.__name__.strip("_"))(wrapped)


DISTRUST = (
    "do not trust these results, and train with --engine loop into another folder, named by --out"
)


@contextmanager
def interruptible() -> Iterator[None]:
    """Say how to continue work that the user, the system or a failure stopped."""
    from ablations.execution import interrupts

    gc.enable()
    try:
        with interrupts.handle_signals():
            yield
    except interrupts.Interrupted as error:
        say(f"interrupted: {error}; to continue: {this_command()}", sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except KeyboardInterrupt:
        message = f"interrupted: what was finished is kept; to continue: {this_command()}"
        say(message, sys.stderr)
        sys.stderr.flush()
        sys.stdout.flush()
        # At once: whatever still runs, threads or workers, ends with this process.
        os._exit(INTERRUPTED)
    except (WriteError, FailedError, AuditError) as error:
        advice = DISTRUST if isinstance(error, AuditError) else "what was finished is kept"
        if isinstance(error, WriteError):
            advice += f", and can be read; to continue: {this_command()}"
        complain(f"{error}; {advice}")
        raise typer.Exit(FAILED) from None


def this_command() -> str:
    """The command as the user typed it."""
    return shlex.join(["ablations", *sys.argv[1:]])


def complain(message: str) -> None:
    """Print an error message on standard error."""
    say(f"error: {message}", sys.stderr)


def say(text: object, stream: TextIO | None = None) -> None:
    """Print text, by default on standard output; none of it controls the terminal."""
    print(printable(str(text)), file=stream)


def remark(sentence: str) -> None:
    """Print a note on standard error, if there is a sentence to print."""
    if sentence:
        say(f"note: {sentence}", sys.stderr)
