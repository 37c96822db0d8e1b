"""Times of two revisions, taken in turns by two processes that live side by side.

A machine that others use changes its pace within a second, by more than what is looked for.  So a
call of one revision is followed at once by the same call of the other, the order drawn anew each
time, both on one core; calls are short, and there are hundreds.  The unit of the experiment is a
block of turns, whose ratio is the median over them; fresh processes are started several times, as
what a process happens to be laid out like stays with it.  Of the blocks' ratios the centre is asked
for, with its exact interval (Hodges & Lehmann, 1963).
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.analysis.inference import hodges_lehmann

SLOWER, FASTER, EQUAL, OPEN = "slower", "faster", "equal", "inconclusive"
LEVEL = 0.95
"""Confidence of all intervals of a comparison together."""
SIDES = ("base", "candidate")
STARTS = 3
"""How often fresh processes are started."""
TURNS = 10
"""Turns of a block."""
FEWEST = 10
"""Blocks from which on there is a verdict."""
COLUMNS = ["benchmark", "start", "turn", *SIDES]


@dataclass
class Server:
    """A process that runs benchmarks of one revision when it is told to.

    ``benchmarks`` maps their names to every how many turns each has one.
    """

    process: subprocess.Popen[str]
    benchmarks: dict[str, int]

    def __call__(self, name: str) -> float | str:
        """Seconds of one call, or what went wrong."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        answer = self.read()
        return str(answer["error"]) if "error" in answer else float(str(answer["seconds"]))

    def read(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process that measures ended")
        message: dict[str, object] = json.loads(line)
        return message


@contextmanager
def served(commands: Sequence[Sequence[str]], folders: Sequence[Path]) -> Iterator[list[Server]]:
    """Processes that are ready, started together."""
    with ExitStack() as stack:
        started = []
        for command, folder in zip(commands, folders, strict=True):
            process = stack.enter_context(
                subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.kill)
            started.append(Server(process, {}))
        for server in started:
            server.benchmarks = server.read()["benchmarks"]  # type: ignore[assignment]
        yield started


def measure(
    commands: Sequence[Sequence[str]],
    folders: Sequence[Path],
    seconds: float,
    cores: Sequence[int],
    advance: Callable[[float], None] = lambda _: None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Time both revisions in turns.

    Parameters
    ----------
    commands
        What starts the process of each, base first; the core is added.
    seconds
        How long to take turns, all ``STARTS`` together.
    cores
        Both processes of a start share one of them, in their order.
    advance
        Told now and then how many of the seconds are over.

    Returns
    -------
    DataFrame
        ``benchmark, start, turn``; ``base, candidate``: seconds.
    dict
        Benchmarks that one of the two cannot run, with the reason.
    """
    rows: list[tuple[object, ...]] = []
    failures: dict[str, str] = {}
    random = np.random.default_rng(0)
    each = seconds / STARTS
    for start in range(STARTS):
        words = [[*command, str(cores[start % len(cores)])] for command in commands]
        with served(words, folders) as servers:
            common = servers[0].benchmarks.keys() & servers[1].benchmarks.keys()
            every = {name: n for name, n in servers[0].benchmarks.items() if name in common}
            began = time.monotonic()
            for turn in itertools.count():
                over = time.monotonic() - began
                advance(start * each + min(over, each))
                if over > each:
                    break
                names = [
                    name for name, n in every.items() if turn % n == 0 and name not in failures
                ]
                for name in map(str, random.permutation(names)):
                    seconds_of_both = _time_both(servers, name, random.permutation(2))
                    if isinstance(seconds_of_both, str):
                        failures[name] = seconds_of_both
                    else:
                        rows.append((name, start, turn, *seconds_of_both))
    return pd.DataFrame(rows, columns=COLUMNS), failures


def _time_both(
    servers: Sequence[Server], name: str, order: npt.NDArray[np.int64]
) -> tuple[float, float] | str:
    """One call of each, in the order given: seconds of both, or who cannot and why."""
    answers = {int(side): servers[side](name) for side in order}
    for side, answer in answers.items():
        if isinstance(answer, str):
            return f"{SIDES[side]} cannot run it: {answer}"
    return float(answers[0]), float(answers[1])


def verdicts(times: pd.DataFrame, threshold: float, level: float = LEVEL) -> pd.DataFrame:
    """Judge every benchmark by the ratio of its times, candidate over base.

    Parameters
    ----------
    times
        As ``measure`` gives them.
    threshold
        What matters: 0.05 is five percent, in both directions.
    level
        Confidence of all intervals together (Bonferroni).

    Returns
    -------
    DataFrame
        ``benchmark``; ``base, candidate``: seconds, medians over all turns; ``ratio, low, high``;
        ``blocks``; ``verdict``: slower or faster where the whole interval is beyond the threshold,
        equal where it is within, else inconclusive.
    """
    rows = []
    beyond = np.log1p(threshold)
    names = list(dict.fromkeys(times["benchmark"]))
    each = 1 - (1 - level) / max(len(names), 1)
    logs = np.log(times["candidate"] / times["base"])
    turn = times.groupby(["benchmark", "start"]).cumcount()
    units = logs.groupby([times["benchmark"], times["start"], turn // TURNS]).median()
    for name in names:
        rows_of_name = times[times["benchmark"] == name]
        shift = hodges_lehmann(units[name].to_numpy(), each)
        enough = shift.confidence >= each and shift.n >= FEWEST
        if enough and shift.low > beyond:
            verdict = SLOWER
        elif enough and shift.high < -beyond:
            verdict = FASTER
        elif enough and -beyond <= shift.low and shift.high <= beyond:
            verdict = EQUAL
        else:
            verdict = OPEN
        middle = np.exp([shift.estimate, shift.low, shift.high])
        seconds = (rows_of_name["base"].median(), rows_of_name["candidate"].median())
        rows.append((name, *seconds, *middle, shift.n, verdict))
    columns = ["benchmark", *SIDES, "ratio", "low", "high", "blocks", "verdict"]
    return pd.DataFrame(rows, columns=columns)
