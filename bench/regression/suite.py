"""What a revision is measured by, and the process that measures it when it is told to.

``regress.py`` copies this file beside results of a revision and runs it there: it says what it can
run, and then, for each name that it reads, runs that benchmark once and says how long it took.
Calls are short, so that two revisions that take turns meet the same weather; each trains runs that
no call before has seen, planned before the clock starts, so that nothing is remembered.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from ablations import Study
from ablations.analysis import main_effects
from ablations.results import store
from ablations.study.configuration import Run
from ablations.study.expand import expand as planned
from ablations.training import loop
from ablations.training.cohorts import group_runs
from ablations.training.fused import trainer
from ablations.training.result import RunResult

QUALITY = Path(__file__).resolve().parent / "quality"
"""Where results of the revision are that is measured."""
MEMBERS = 8
LONG, SHORT = 24, 10
"""Epochs: of the barest step, which is to be most of its benchmark, and of the others."""

Call = Callable[[], object]
Ready = Callable[[], Call]
"""Makes the next call ready, which is not timed."""


def runs_of(seeds: range, epochs: int, regularizer: str, norm: str) -> tuple[Run, ...]:
    axes = {"regularizer": [regularizer], "norm": [norm]}
    study = Study(task="notebook", epochs=epochs, seeds=seeds, axes=axes)
    (members,) = group_runs(planned(study).runs)
    return members


def cohorts(epochs: int, regularizer: str, norm: str) -> Ready:
    numbers = itertools.count()

    def ready() -> Call:
        first = next(numbers) * MEMBERS
        runs = runs_of(range(first, first + MEMBERS), epochs, regularizer, norm)
        return partial(trained, lambda: trainer.train(runs, MEMBERS))

    return ready


def looped() -> Ready:
    numbers = itertools.count()

    def ready() -> Call:
        seed = next(numbers)
        plain, masked = (
            runs_of(range(seed, seed + 1), SHORT, *levels)
            for levels in (("none", "none"), ("dropout", "batch"))
        )
        return partial(trained, lambda: [loop.train(run) for run in (*plain, *masked)])

    return ready


def trained(train: Callable[[], list[RunResult]]) -> None:
    assert {result.status for result in train()} == {"ok"}


def plan() -> None:
    assert len({run.run_id for run in planned(Study.find("notebook")).runs}) == 2400


def answer() -> None:
    (folder,) = QUALITY.iterdir()
    controls = {"regularizer": "none", "norm": "none", "schedule": "constant"}
    assert len(main_effects(store.load(folder).runs, controls, list(controls)))


def command() -> None:
    words = [sys.executable, "-m", "ablations", "--help"]
    subprocess.run(words, check=True, capture_output=True)


BENCHMARKS: dict[str, tuple[Ready, int]] = {
    "plan": (lambda: plan, 1),
    "fused": (cohorts(LONG, "none", "none"), 1),
    "fused, masks and batch norm": (cohorts(SHORT, "dropout", "batch"), 1),
    "loop": (looped(), 1),
    "load and effects": (lambda: answer, 3),
    "command": (lambda: command, 3),
}
"""Each benchmark, and every how many turns it has one: those that take long less often."""


def serve(core: int) -> None:
    """Run what standard input names, call by call, and tell the seconds of each."""
    torch.set_num_threads(1)
    for ready, _ in BENCHMARKS.values():
        with suppress(Exception):  # told when it is asked for
            ready()()
    # Both revisions share a core once they are ready.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    gc.collect()
    gc.disable()
    say({"benchmarks": {name: every for name, (_, every) in BENCHMARKS.items()}})
    for line in sys.stdin:
        try:
            call = BENCHMARKS[line.strip()][0]()
            start = time.perf_counter()
            call()
            say({"seconds": time.perf_counter() - start})
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
        gc.collect(0)


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
