"""How far a long piece of work is: a live bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


class Reporter(Protocol):
    """What the pipeline tells of its work."""

    def begin(self, total: int, done: int, what: str = "runs") -> None:
        """``total`` runs, or what else is done, of which ``done`` were finished before."""

    def update(self, statuses: Counter[str]) -> None:
        """So many more runs ended with each status."""

    def end(self) -> None:
        """No more runs."""

    def say(self, line: str) -> None:
        """One line that the person should read."""


class Silent:
    """Says nothing."""

    def begin(self, total: int, done: int, what: str = "runs") -> None:
        """See ``Reporter``."""

    def update(self, statuses: Counter[str]) -> None:
        """See ``Reporter``."""

    def end(self) -> None:
        """See ``Reporter``."""

    def say(self, line: str) -> None:
        """See ``Reporter``."""


class Live:
    """Counts, rate and time left, on standard error.

    Parameters
    ----------
    stream
        Where to write; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stderr)
        self._total = self._before = 0
        self._what = "runs"
        self._counts: Counter[str] = Counter()
        self._start = self._said = time.monotonic()
        self._bar = Progress(
            BarColumn(), TextColumn("{task.description}"), console=self._console, transient=True
        )
        self._task = self._bar.add_task("", total=None)

    def begin(self, total: int, done: int, what: str = "runs") -> None:
        """``total`` runs, or what else is done, of which ``done`` were finished before."""
        self._total, self._before, self._what = total, done, what
        self._counts.clear()
        self._start = self._said = time.monotonic()
        self._bar.update(self._task, total=total)
        if self._console.is_terminal:
            self._bar.start()
            self._show()

    def update(self, statuses: Counter[str]) -> None:
        """So many more runs ended with each status."""
        self._counts += statuses
        if self._console.is_terminal:
            self._show()
        elif time.monotonic() - self._said >= PLAIN_EVERY:
            self._said = time.monotonic()
            self.say(self.line())

    def end(self) -> None:
        """No more runs; leaves the final counts on the screen."""
        if self._console.is_terminal:
            self._bar.stop()
        self.say(self.line())

    def say(self, line: str) -> None:
        """One line that the person should read."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        done = self._before + self._counts.total()
        self._bar.update(self._task, description=self.line(), completed=done)

    def line(self) -> str:
        """The state in words: ``1,240/2,400 runs, 52.1 runs/s, 0:00:22 left, 3 diverged``."""
        trained = self._counts.total()
        done = self._before + trained
        parts = [f"{done:,}/{self._total:,} {self._what}"]
        seconds = time.monotonic() - self._start
        if trained and seconds > 0:
            rate = trained / seconds
            parts.append(f"{rate:,.1f} {self._what}/s")
            left = (self._total - done) / rate
            parts.append(f"{_clock(left)} left" if done < self._total else f"in {_clock(seconds)}")
        if self._what == "runs":
            parts += [f"{self._counts[status]:,} {status}" for status in ("diverged", "failed")]
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
