"""Peak memory over epochs and over runs, of the command and of its workers, beside the plan's.

``python -m bench.memory`` draws ``memory.png``.  A tiny network is trained, so that what is kept
for each epoch and run weighs most.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

EPOCHS = (300, 3_000, 30_000)
RUNS = (1_000, 10_000, 100_000)
MEMBERS, FEW_EPOCHS = 16, 2
EVERY = 0.05  # seconds between two looks at the workers

STUDY = """
task = "notebook"
epochs = {epochs}
seeds = {seeds}
vary = ["init", "order", "noise"]
model = {{ name = "mlp", hidden = [2] }}
"""


@dataclass(frozen=True)
class Point:
    """A study, the peak memory of its processes, and that of a worker as planned, in bytes."""

    runs: int
    epochs: int
    command: int
    worker: int
    planned: int


def peak(pid: int) -> int:
    """The peak memory of a process in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    line = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(line[1]) * 1024 if line else 0


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        words = [(task / "children").read_text(encoding="utf-8").split() for task in tasks]
    except OSError:
        return []
    return [int(word) for each in words for word in each]


@dataclass(frozen=True)
class Peaks:
    """Peak memory of a command and of its workers, and that of a worker as planned, in bytes."""

    command: int
    worker: int
    planned: int


def measure_study(study: str, folder: Path, *options: str) -> Peaks:
    """Run a study in one worker process, after a dry run."""
    options = ("--no-report", "--backend", "loky", "--jobs", "1", "--out", str(folder), *options)
    words = [sys.executable, "-m", "ablations", "run", study, *options]
    plan = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=True)
    planned = re.search(r"up to ([0-9,]+) MB each", plan.stdout)
    process = subprocess.Popen(
        [*words, "--time-budget", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    command = worker = 0
    while process.poll() is None:
        command = max(command, peak(process.pid))
        worker = max([worker, *map(peak, children(process.pid))])
        time.sleep(EVERY)
    if process.returncode:
        raise RuntimeError(f"{study} ended with {process.returncode}")
    return Peaks(command, worker, 10**6 * int(planned[1].replace(",", "")) if planned else 0)


def measure(runs: int, epochs: int, folder: Path) -> Point:
    """Train a study of so many runs in one worker process."""
    study = folder / f"{runs}-{epochs}.toml"
    study.write_text(STUDY.format(epochs=epochs, seeds=runs), encoding="utf-8")
    peaks = measure_study(str(study), study.with_suffix(""), "--compile", "never")
    return Point(runs, epochs, peaks.command, peaks.worker, peaks.planned)


def draw(by_epochs: Sequence[Point], by_runs: Sequence[Point], path: Path) -> None:
    """Peak memory over epochs, and over runs."""
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "memory"}):
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, points, name in zip(
            panels, (by_epochs, by_runs), ("epochs", "runs"), strict=True
        ):
            x = [getattr(point, name) for point in points]
            for label, marker in (("command", "o"), ("worker", "s"), ("planned", "x")):
                y = [getattr(point, label) / 1e6 for point in points]
                axes.plot(x, y, marker=marker, label=label)
            axes.set(xscale="log", xlabel=name)
        panels[0].set(ylabel="peak memory, MB", ylim=(0, None))  # of both, when all is drawn
        panels[1].legend(frameon=False)
        figure.savefig(path, dpi=130)


def main() -> None:
    """Measure all studies, print them and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--most-epochs", type=int, default=EPOCHS[-1])
    parser.add_argument("--most-runs", type=int, default=RUNS[-1])
    options = parser.parse_args()
    epochs = [each for each in EPOCHS if each <= options.most_epochs]
    runs = [each for each in RUNS if each <= options.most_runs]
    sys.stdout.write("| runs | epochs | command, MB | worker, MB | worker as planned, MB |\n")
    sys.stdout.write("|---:|---:|---:|---:|---:|\n")
    points = list[Point]()
    with tempfile.TemporaryDirectory() as name:
        pairs = [*((MEMBERS, each) for each in epochs), *((each, FEW_EPOCHS) for each in runs)]
        for n_runs, n_epochs in pairs:
            point = measure(n_runs, n_epochs, Path(name))
            peaks = [f"{size / 1e6:,.0f}" for size in (point.command, point.worker, point.planned)]
            sys.stdout.write(f"| {point.runs:,} | {point.epochs:,} | {' | '.join(peaks)} |\n")
            sys.stdout.flush()
            points.append(point)
    draw(points[: len(epochs)], points[len(epochs) :], Path(__file__).with_name("memory.png"))


if __name__ == "__main__":
    main()
