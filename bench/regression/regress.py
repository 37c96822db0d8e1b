"""This working tree against another revision, on this machine: ``nox -s regress``.

Both are installed in environments of their own.  A frozen grid is trained by both and compared run
by run; then the benchmarks of ``suite.py`` are called in turns, one revision at once after the
other.  Exit 1 only where the evidence supports that it got slower, or worse, by more than the
threshold.  All that was measured stays in ``results/benchmarks/regress/``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.regression import revisions, timing

HERE = Path(__file__).resolve().parent
T = TypeVar("T")
THRESHOLD = 0.03
SECONDS = 140.0
KEPT = revisions.ROOT / "results" / "benchmarks" / "regress"
STORED = revisions.ROOT / "results" / "benchmarks" / "baseline.json"
"""Times kept for later, which may be of another machine: shown, never judged by."""
LOOKS = {timing.SLOWER: "bold red", timing.FASTER: "green", timing.OPEN: "yellow"}


@dataclass(frozen=True)
class Side:
    """One of the two: its revision, and the folder in which it is measured."""

    revision: revisions.Revision
    folder: Path

    def ablations(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command of this revision, away from the files of any."""
        command = [str(self.revision.python), "-m", "ablations", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)

    @property
    def quality(self) -> Path:
        """Where its results of the frozen grid are."""
        return self.folder / "quality" / self.revision.name.replace(" ", "-")

    @property
    def suite(self) -> list[str]:
        """What starts the process that runs its benchmarks."""
        return [str(self.revision.python), "suite.py"]


def main() -> int:
    """Compare, show, and say by the exit code whether it got worse."""
    options = arguments()
    console = Console()
    start = time.perf_counter()
    base = revisions.resolve(options.base) if options.base else revisions.merge_base()
    with tempfile.TemporaryDirectory() as temporary:
        with console.status("Installing both revisions"):
            sides = prepare(Path(temporary), base)
        names = [side.revision.name for side in sides]
        console.print(f"base {names[0]}, candidate {names[1]}", highlight=False)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = KEPT / "-".join([stamp, *names]).replace(" ", "-")
        folder.mkdir(parents=True)
        with console.status("Training the frozen grid with both"):
            messages, worse = quality(sides, folder / "quality.html")
        times, failures = time_revisions(sides, options.seconds, console)
    times.to_csv(folder / "times.csv", index=False)
    table = timing.verdicts(times, options.threshold)
    baseline = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else None
    show(table, console, baseline)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for name, why in failures.items():
        say(f"not compared: {name}: {why}")
    say("Quality, by the frozen grid:", *messages, sep="\n")
    failed = worse or bool((table["verdict"] == timing.SLOWER).any())
    verdict = {
        "base": names[0],
        "candidate": names[1],
        "commit": revisions.git("rev-parse", "HEAD").decode().strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "torch": torch.__version__,
        "threshold": options.threshold,
        "seconds": round(time.perf_counter() - start, 1),
        "benchmarks": table.to_dict("records"),
        "not_compared": failures,
        "quality": {"regressed": worse, "said": messages},
        "failed": failed,
    }
    if options.store:
        told_of = {key: verdict[key] for key in ("candidate", "machine", "torch")}
        medians = dict(zip(table["benchmark"], table["candidate"], strict=True))
        STORED.write_text(json.dumps({**told_of, "seconds": medians}, indent=1) + "\n", "utf-8")
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")
    say(f"{verdict['seconds']} s; kept in {folder.relative_to(revisions.ROOT)}")
    return int(failed)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="nox -s regress --", description=__doc__)
    parser.add_argument("--base", help="revision to compare with (the merge base with main)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"how long to take turns ({SECONDS:g})"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"the smallest change of time that matters ({THRESHOLD:g})",
    )
    parser.add_argument(
        "--store", action="store_true", help="keep the times, to be shown beside later ones"
    )
    options = parser.parse_args()
    if not 0 < options.threshold < 1:
        parser.error("--threshold: a share between 0 and 1, such as 0.03")
    if not 0 < options.seconds < 1e6:
        parser.error("--seconds: a number above 0")
    return options


def prepare(here: Path, base: str) -> tuple[Side, Side]:
    """Both revisions with their environments, and the suite beside each."""
    sources = (here / "base" / "source", here / "candidate" / "source")
    for source in sources:
        source.mkdir(parents=True)
    revisions.committed(base, sources[0])
    names = (base[:7], revisions.working(sources[1]))
    same = revisions.alike(sources)
    sides = []
    for name, source, shared in zip(names, sources, (same, True), strict=True):
        folder = source.with_name("measured")
        folder.mkdir()
        shutil.copy(HERE / "suite.py", folder)
        revision = revisions.installed(name, source, source.with_name("environment"), shared=shared)
        sides.append(Side(revision, folder))
    return sides[0], sides[1]


def both(work: Callable[[Side], T], sides: tuple[Side, Side]) -> list[T]:
    """Do something with both at the same time, where nothing is timed."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, sides))


def quality(sides: tuple[Side, Side], page: Path) -> tuple[list[str], bool]:
    """Train the frozen grid with both and compare them, run by run."""
    words = ("run", str(HERE / "quality.toml"), "--no-report", "--jobs", "1", "--out")
    trained = both(lambda side: side.ablations(*words, str(side.quality)), sides)
    for side, process in zip(sides, trained, strict=True):
        if process.returncode:
            message = (process.stderr.strip() or process.stdout.strip()).splitlines()
            last = message[-1] if message else "?"
            return [f"{side.revision.name} cannot train it: {last}"], True
    folders = [str(side.quality) for side in sides]
    process = sides[1].ablations("compare", *folders, "--out", str(page), "--fail-on-regression")
    if not page.is_file():
        return [f"they cannot be compared: {process.stderr.strip()}"], True
    lines = [line for line in process.stdout.splitlines() if not line.startswith("page:")]
    return lines, bool(process.returncode)


def time_revisions(
    sides: tuple[Side, Side], seconds: float, console: Console
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Time both in turns, with progress."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with progress(seconds, console) as advance:
        commands, folders = (
            [getattr(side, name) for side in sides] for name in ("suite", "folder")
        )
        times, failures = timing.measure(commands, folders, seconds, cores, advance)
    if times.empty:
        raise SystemExit(
            f"no benchmark could be timed: {'; '.join(failures.values()) or 'no time'}"
        )
    return times, failures


@contextmanager
def progress(seconds: float, console: Console) -> Iterator[Callable[[float], None]]:
    """Show how much of the time is over, and how much is left."""
    columns = (TextColumn("Taking turns"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=seconds)
        yield lambda over: bar.update(task, completed=over)


def show(table: pd.DataFrame, console: Console, stored: dict[str, Any] | None) -> None:
    """Print the verdicts, and beside them times that were stored."""
    shown = Table(box=None, header_style="bold")
    headings: Sequence[str] = ("benchmark", "base", "candidate", "ratio", "interval", "verdict")
    for name in headings:
        shown.add_column(name, justify="left" if name in ("benchmark", "verdict") else "right")
    if stored:
        shown.add_column("stored", justify="right")
    for row in table.to_dict("records"):
        seconds = stored["seconds"].get(row["benchmark"]) if stored else None
        shown.add_row(
            row["benchmark"],
            *(f"{1e3 * row[side]:.1f} ms" for side in timing.SIDES),
            f"{row['ratio']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            row["verdict"],
            *((f"{1e3 * seconds:.1f} ms" if seconds else "–",) if stored else ()),
            style=LOOKS.get(row["verdict"], ""),
        )
    console.print(shown)
    if stored:
        whose = f"{stored['candidate']} on {stored['machine']}, torch {stored['torch']}"
        console.print(f"stored: {whose}; nothing is judged by it", markup=False, highlight=False)


if __name__ == "__main__":
    raise SystemExit(main())
