"""What a revision is measured by: one matrix of benchmarks, for ``benchmatrix`` to order and pair.

``regress.py`` copies this file and runs it in the environments of two revisions, each copy beside
results of its own revision.  Each benchmark gets ever new runs, planned beforehand, so that nothing
is remembered.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from benchmatrix import BenchmarkCase, BenchmarkConfig, make_benchmark_test

from ablations import Study, store
from ablations.analysis import main_effects
from ablations.cohorts import kinds
from ablations.grid import Run
from ablations.grid import plan as planned
from ablations.training import fused, loop

HERE = Path(__file__).resolve().parent
(FOLDER,) = (HERE / "quality").iterdir()
"""Results of the revision that is measured."""
LEFT = HERE / "left.json"
"""Names of benchmarks that one of the revisions cannot run."""
ROUNDS, WARM = 5, 1
MEMBERS = 32
LONG, SHORT = 30, 12
"""Epochs: of the barest step, which is to be most of its benchmark, and of the others."""
LOOPED = 6
"""Runs that the loop trains in a round."""

torch.set_num_threads(1)


def runs_of(count: int, epochs: int, regularizer: str, norm: str) -> tuple[Run, ...]:
    axes = {"regularizer": [regularizer], "norm": [norm]}
    study = Study(task="notebook", epochs=epochs, seeds=range(count), axes=axes)
    (found,) = kinds(planned(study).runs)
    return found


def cohorts(epochs: int, regularizer: str, norm: str) -> Callable[[], None]:
    runs = runs_of((ROUNDS + WARM) * MEMBERS, epochs, regularizer, norm)
    ours = iter([runs[i : i + MEMBERS] for i in range(0, len(runs), MEMBERS)])

    def step() -> None:
        results = fused.train(next(ours), MEMBERS)
        assert {result.status for result in results} == {"ok"}

    return step


def looped() -> Callable[[], None]:
    many = (ROUNDS + WARM) * LOOPED // 2
    both = zip(
        runs_of(many, SHORT, "none", "none"), runs_of(many, SHORT, "dropout", "batch"), strict=True
    )
    ours = itertools.chain.from_iterable(both)

    def step() -> None:
        for run in itertools.islice(ours, LOOPED):
            assert loop.train(run).status == "ok"

    return step


def plan() -> None:
    assert len({run.run_id for run in planned(Study.find("notebook")).runs}) == 2400


def answer() -> None:
    runs = store.load(FOLDER).runs
    controls = {"regularizer": "none", "norm": "none", "schedule": "constant"}
    assert len(main_effects(runs, controls, list(controls)))


def command() -> None:
    words = [sys.executable, "-m", "ablations", "--help"]
    subprocess.run(words, check=True, capture_output=True)


BENCHMARKS = {
    "plan": plan,
    "fused": cohorts(LONG, "none", "none"),
    "fused, masks and batch norm": cohorts(SHORT, "dropout", "batch"),
    "loop": looped(),
    "load and effects": answer,
    "command": command,
}
left = json.loads(LEFT.read_text(encoding="utf-8")) if LEFT.is_file() else {}

test_suite = make_benchmark_test(
    {name: function for name, function in BENCHMARKS.items() if name not in left},
    # Input is "fresh" so that the number of rounds is fixed.
    [BenchmarkCase("usual", fresh_inputs=True)],
    metrics=["single_call_latency"],
    config=BenchmarkConfig(pedantic_rounds=ROUNDS, warmup_rounds=WARM, stream_progress=False),
)
