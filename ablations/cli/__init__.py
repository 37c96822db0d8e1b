"""The command line: words become objects here, and nowhere else."""

from __future__ import annotations

import io
import os
import signal
import sys

from ablations.cli import inspect, run
from ablations.cli.app import FAILED, INTERRUPTED, WRONG_REQUEST, app
from ablations.cli.options import Question, parse_levels

__all__ = ["FAILED", "INTERRUPTED", "WRONG_REQUEST", "Question", "app", "main", "parse_levels"]

ORDER = [
    command.__name__.strip("_")
    for command in (
        *(run.run, inspect.report, inspect.effects, run.time, inspect.compare),
        *(run.rerun, inspect.repair, inspect.merge, inspect.list_, inspect.env),
    )
]
"""The commands as the help lists them."""
app.registered_commands.sort(key=lambda known: ORDER.index(str(known.name)))


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
