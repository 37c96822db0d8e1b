"""What a run costs in studies of more and more runs: ``nox -s scale``.

Each study is a whole command, from its start to its report.  Prints a table as Markdown and draws
``bench/scale.png``; memory is that of all processes together, on Linux.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

CELLS = 240
SEEDS = (4, 13, 42, 125, 417)
EVERY = 0.5


@dataclass(frozen=True)
class Point:
    """One study."""

    runs: int
    training: float
    """Seconds of the command without its report."""
    report: float
    """Seconds of ``ablations report``."""
    memory: int
    """Most bytes that its processes held together."""


def memory(process: int) -> int:
    """Bytes that a process and its descendants hold."""
    processes = subprocess.run(["ps", "-eo", "pid,ppid,rss"], capture_output=True, text=True)
    rows = [tuple(map(int, line.split())) for line in processes.stdout.splitlines()[1:]]
    family = {process}
    for _ in range(4):
        family |= {pid for pid, parent, _ in rows if parent in family}
    return sum(rss * 1024 for pid, _, rss in rows if pid in family)


def timed(*words: str) -> tuple[float, int]:
    """Seconds and bytes of a command of ours."""
    most = 0
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ablations", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(EVERY):
            most = max(most, memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with {code}")
    return seconds, most


def measure(seeds: int, folder: Path) -> Point:
    """Train the notebook's grid with so many seeds."""
    out = str(folder / str(seeds))
    words = ("--axis", "device=cpu", "--compile", "never", "--no-report", "--out", out)
    training, first = timed("run", "notebook", "--seeds", str(seeds), *words)
    report, second = timed("report", out)
    return Point(seeds * CELLS, training, report, max(first, second))


def draw(points: list[Point], path: Path) -> None:
    """Milliseconds a run over the number of runs."""
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "scale"}):
        figure = Figure(figsize=(5.5, 3.2), layout="constrained")
        axes = figure.subplots()
        runs = [point.runs for point in points]
        for label, marker, seconds in (
            ("training, from the command on", "o", [point.training for point in points]),
            ("report", "s", [point.report for point in points]),
        ):
            cost = [second / count * 1e3 for second, count in zip(seconds, runs, strict=True)]
            axes.plot(runs, cost, marker=marker, label=label)
        axes.set(xscale="log", yscale="log", xlabel="runs in the study", ylabel="ms a run")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=130)


def main() -> None:
    """Measure all studies, print them and draw them."""
    with tempfile.TemporaryDirectory() as folder:
        points = [measure(seeds, Path(folder)) for seeds in SEEDS]
    sys.stdout.write("| runs | training s | ms a run | report s | peak memory, GB |\n")
    sys.stdout.write("|---:|---:|---:|---:|---:|\n")
    for point in points:
        cells = (
            f"{point.runs:,}",
            f"{point.training:.0f}",
            f"{point.training / point.runs * 1e3:.1f}",
            f"{point.report:.0f}",
            f"{point.memory / 1e9:.1f}",
        )
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    draw(points, Path(__file__).with_name("scale.png"))


if __name__ == "__main__":
    main()
