"""The command line, the only place where words become objects."""

from __future__ import annotations

import atexit
import gc
import os
import signal

from ablations.cli import inspect, run
from ablations.cli.app import FAILED, INTERRUPTED, WRONG_REQUEST, app, complain
from ablations.cli.inspect import Question
from ablations.cli.options import parse_levels
from ablations.cli.streams import open_streams
from ablations.core.memory import spare_memory
from ablations.execution.interrupts import SIGNALS

__all__ = ["FAILED", "INTERRUPTED", "WRONG_REQUEST", "Question", "app", "main", "parse_levels"]

ORDER = [
    command.__name__.strip("_")
    for command in (
        *(run.run, inspect.report, inspect.effects, run.time, inspect.compare),
        *(run.rerun, inspect.repair, inspect.merge, inspect.list_, inspect.env),
    )
]
"""The commands as the help lists them."""
app.registered_commands.sort(key=lambda entry: ORDER.index(str(entry.name)))


def main() -> None:
    """The ``ablations`` command."""
    spare_memory()
    output = open_streams()
    # End at once on a signal until a command that writes enters ``app.interruptible``: a
    # KeyboardInterrupt inside the import of torch would end with a long traceback or be lost.
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    # Registered first, so called last: then nothing is left to stop, and Python clears up for some
    # tenths of a second with the system's own handlers, which would lose the exit code to a signal.
    atexit.register(ignore_signals)
    # A search for reference cycles goes through all modules, and a short command leaves few cycles;
    # ``app.interruptible`` begins those that may be long.
    gc.disable()
    atexit.register(gc.freeze)
    try:
        app(prog_name="ablations")
    except SystemExit as end:
        if reason := output.failure:
            complain(f"standard output: {reason}; what the command wrote to a folder is complete")
            raise SystemExit(end.code or FAILED) from None
        raise


def ignore_signals() -> None:
    """Let no signal change how a command ends that has ended."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
