"""Progress of long work: a live bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ablations.core.printing import printable

PLAIN_EVERY = 10.0  # seconds between two plain lines


class Reporter:
    """What a command tells of its work; a subclass inherits methods that do nothing."""

    def begin(self, total: int, finished: int, unit: str = "runs") -> None:
        """Begin work of ``total`` runs, or other units, of which some are finished already."""

    def update(self, statuses: Counter[str]) -> None:
        """Count more runs, by status."""

    def end(self) -> None:
        """End the work that was begun."""

    def say(self, line: str) -> None:
        """Show one line to the user."""


class Silent(Reporter):
    """Shows nothing."""


class Live(Reporter):
    """Counts, rate and remaining time, on standard error or another stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        console = Console(file=stream or sys.stderr)
        columns = BarColumn(), TextColumn("{task.description}")
        self._is_live = console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=not self._is_live)
        self._task = self._bar.add_task("", total=None)
        self._total = self._before = 0
        self._unit = "runs"
        self._counts: Counter[str] = Counter()
        self._start = self._last_line = time.monotonic()

    def begin(self, total: int, finished: int, unit: str = "runs") -> None:
        self._total, self._before, self._unit = total, finished, unit
        self._counts.clear()
        self._start = self._last_line = time.monotonic()
        self._bar.start()
        self.update(Counter())

    def update(self, statuses: Counter[str]) -> None:
        """Count more runs, by status; without a terminal, a line every ``PLAIN_EVERY`` seconds."""
        self._counts += statuses
        if self._is_live:
            finished, line = self._before + self._counts.total(), self.line()
            self._bar.update(self._task, description=line, completed=finished, total=self._total)
        elif time.monotonic() - self._last_line >= PLAIN_EVERY:
            self._last_line = time.monotonic()
            self.say(self.line())

    def end(self) -> None:
        """End the work, and leave the final counts on the screen."""
        self._bar.stop()
        self.say(self.line())

    def say(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """The state in words: ``1,240/2,400 runs, 52.1 runs/s, 0:00:22 left, 3 diverged``."""
        now = self._counts.total()
        finished = self._before + now
        parts = [f"{finished:,}/{self._total:,} {self._unit}"]
        seconds = time.monotonic() - self._start
        if now and seconds > 0:
            rate = now / seconds
            remaining = format_duration((self._total - finished) / rate)
            is_over = finished >= self._total
            parts.append(f"{rate:,.1f} {self._unit}/s")
            parts.append(f"in {format_duration(seconds)}" if is_over else f"{remaining} left")
        if self._unit == "runs":
            parts += [f"{self._counts[status]:,} {status}" for status in ("diverged", "failed")]
        return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Seconds as ``h:mm:ss``."""
    hours, seconds = divmod(round(seconds), 3600)
    return f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
