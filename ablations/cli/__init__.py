"""The command line, the only place where words become objects."""

from __future__ import annotations

import io
import os
import signal
import sys

from ablations.cli import inspect, run
from ablations.cli.app import FAILED, INTERRUPTED, WRONG_REQUEST, app
from ablations.cli.inspect import Question
from ablations.cli.options import parse_levels

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
    for stream in (sys.stdout, sys.stderr):
        # An old console's encoding lacks a minus sign; a question mark is better than no answer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # End at once on Ctrl-C or SIGTERM until a command that writes enters ``app.interruptible``: a
    # KeyboardInterrupt inside the import of torch would end with a long traceback or be lost.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    app(prog_name="ablations")
