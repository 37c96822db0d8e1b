"""The whole notebook grid against plain loops through joblib.

``nox -s bench -- bench/test_throughput.py``

Our rate is that of the whole command with 60 seeds less that with 10, so that its start, its audit
and the loading of compiled programs do not count.  Before each round the peer trains some runs, so
that both meet the same weather; ``extra_info`` holds both rates and their ratio.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ablations.training.fused import compilation

CELLS, MANY, FEW = 240, 60, 10
ROUNDS = 4
PEER = Path(__file__).with_name("peer.py")


def command(out: Path, seeds: int, compile_: str) -> float:
    """Seconds that a study takes from the command to its end."""
    words = [
        *("run", "notebook", "--axis", "schedule=constant,step,cosine,plateau"),
        *("--axis", "device=cpu", "--seeds", str(seeds), "--out", str(out / str(seeds))),
        *("--compile", compile_, "--jobs", "2", "--no-report"),
    ]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ablations", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def peer() -> float:
    """Runs a second of plain loops through joblib."""
    words = [sys.executable, str(PEER), "--runs", "800", "--jobs", "2"]
    process = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(process.stdout)["runs_per_second"])


@pytest.mark.parametrize("compile_", ["never", "always"])
def test_throughput(benchmark: Any, tmp_path: Path, compile_: str) -> None:
    if compile_ == "always":
        if compilation.why_unavailable():
            pytest.skip(str(compilation.why_unavailable()))
        command(tmp_path / "warm", FEW, compile_)  # fills PyTorch's cache
    theirs: list[float] = []
    ours: list[float] = []
    folders = iter(tmp_path / str(number) for number in range(ROUNDS))

    def before() -> tuple[tuple[Any, ...], dict[str, Any]]:
        out = next(folders)
        theirs.append(peer())
        return (out, command(out, FEW, compile_)), {}

    def train_many(out: Path, few: float) -> None:
        seconds = command(out, MANY, compile_) - few
        ours.append((MANY - FEW) * CELLS / seconds)

    benchmark.pedantic(train_many, setup=before, rounds=ROUNDS)
    ratios = [rate / peer_rate for rate, peer_rate in zip(ours, theirs, strict=True)]
    benchmark.extra_info["runs_per_second"] = statistics.median(ours)
    benchmark.extra_info["peer_runs_per_second"] = statistics.median(theirs)
    benchmark.extra_info["ratio"] = statistics.median(ratios)
    benchmark.extra_info["ratio_low"], benchmark.extra_info["ratio_high"] = min(ratios), max(ratios)
