"""This working tree against another revision, on this machine: ``nox -s regress``.

Both are installed in environments of their own.  A frozen grid is trained by both and compared run
by run; then the benchmarks of ``suite.py`` run in pairs of fresh processes, one of each revision,
in alternating order.  Exit 1 only where the evidence supports that it got slower, or worse, by more
than the threshold.  All that was measured stays in ``results/benchmarks/regress/``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import benchmatrix
import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.regression import revisions, timing

HERE = Path(__file__).resolve().parent
T = TypeVar("T")
THRESHOLD = 0.04
KEPT = revisions.ROOT / "results" / "benchmarks" / "regress"
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
        """The command that times the suite once."""
        return [str(self.revision.python), str(self.folder / "quietly.py")]


def main() -> int:
    """Compare, show, and say by the exit code whether it got worse."""
    asked = arguments()
    console = Console()
    start = time.perf_counter()
    base = revisions.resolve(asked.base) if asked.base else revisions.merge_base()
    with tempfile.TemporaryDirectory() as temporary:
        with console.status("Installing both revisions"):
            sides = prepare(Path(temporary), base)
        names = [side.revision.name for side in sides]
        console.print(f"base {names[0]}, candidate {names[1]}", highlight=False)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = KEPT / "-".join([stamp, *names]).replace(" ", "-")
        kept.mkdir(parents=True)
        with console.status("Training the frozen grid with both"):
            said, worse = quality(sides, kept / "quality.html")
        with console.status("Trying every benchmark with both"):
            left = unmeasurable(sides)
        group = measured(sides, kept / "pairs", asked.pairs, console)
    table = timing.verdicts(timing.pairs(group), asked.threshold)
    balanced = group.is_complete and group.is_jointly_balanced
    show(table, timing.second_opinion(group, asked.threshold) if balanced else None, console)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for name, why in left.items():
        say(f"not compared: {name}: {why}")
    say("Quality, by the frozen grid:", *said, sep="\n")
    failed = worse or bool((table["verdict"] == timing.SLOWER).any())
    told = {
        "base": names[0],
        "candidate": names[1],
        "commit": revisions.git("rev-parse", "HEAD").decode().strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "torch": torch.__version__,
        "threshold": asked.threshold,
        "seconds": round(time.perf_counter() - start, 1),
        "benchmarks": table.to_dict("records"),
        "not_compared": left,
        "quality": {"regressed": worse, "said": said},
        "failed": failed,
    }
    (kept / "verdict.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    say(f"{told['seconds']} s; kept in {kept.relative_to(revisions.ROOT)}")
    return int(failed)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="nox -s regress --", description=__doc__)
    parser.add_argument("--base", help="revision to compare with; the merge base with main")
    parser.add_argument("--pairs", type=int, help="pairs of processes; 12 for 6 benchmarks")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help="the smallest change of time that matters (default 0.04)",
    )
    asked = parser.parse_args()
    if not 0 < asked.threshold < 1:
        parser.error("--threshold: a share between 0 and 1, such as 0.04")
    if asked.pairs is not None and asked.pairs < 1:
        parser.error("--pairs: at least 1")
    return asked


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
        shutil.copy(HERE / "suite.py", folder / "test_suite.py")
        shutil.copy(HERE / "quietly.py", folder)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        found = revisions.installed(name, source, source.with_name("environment"), shared=shared)
        sides.append(Side(found, folder))
    return sides[0], sides[1]


def quality(sides: tuple[Side, Side], page: Path) -> tuple[list[str], bool]:
    """Train the frozen grid with both and compare them, run by run."""
    words = ("run", str(HERE / "quality.toml"), "--no-report", "--jobs", "1", "--out")
    trained = both(lambda side: side.ablations(*words, str(side.quality)), sides)
    for side, done in zip(sides, trained, strict=True):
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            return [f"{side.revision.name} cannot train it: {said[-1] if said else '?'}"], True
    folders = [str(side.quality) for side in sides]
    done = sides[1].ablations("compare", *folders, "--out", str(page), "--fail-on-regression")
    if not page.is_file():
        return [f"they cannot be compared: {done.stderr.strip()}"], True
    lines = [line for line in done.stdout.splitlines() if not line.startswith("page:")]
    return lines, bool(done.returncode)


def both(work: Callable[[Side], T], sides: tuple[Side, Side]) -> list[T]:
    """Do something with both at the same time, where nothing is timed."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, sides))


def unmeasurable(sides: tuple[Side, Side]) -> dict[str, str]:
    """Run every benchmark once, untimed; name those that one of the two cannot run, and why."""
    left: dict[str, str] = {}

    def tried(side: Side) -> ElementTree.Element:
        found = side.folder / "tried.xml"
        words = ("--benchmark-disable", f"--junitxml={found}")
        subprocess.run([*side.suite, *words], cwd=side.folder)
        return ElementTree.parse(found).getroot()

    for side, found in zip(sides, both(tried, sides), strict=True):
        for case in found.iter("testcase"):
            for trouble in (*case.iter("failure"), *case.iter("error")):
                parts = (case.get("name") or "").split("::")
                if len(parts) < 2:
                    message = (
                        f"{side.revision.name} cannot load the suite: {trouble.get('message')}"
                    )
                    raise SystemExit(message)
                said = (trouble.get("message") or "").splitlines()[0]
                left[parts[1]] = f"{side.revision.name} cannot run it: {said}"
    for side in sides:
        (side.folder / "left.json").write_text(json.dumps(list(left)), encoding="utf-8")
    return left


def measured(
    sides: tuple[Side, Side], kept: Path, count: int | None, console: Console
) -> benchmatrix.BenchmarkPairedRunGroup:
    """Time both in alternating pairs of processes."""
    with counted(kept, console):
        group = benchmatrix.collect_paired_benchmark_runs(
            sides[0].suite, sides[1].suite, kept,
            pair_count=count, baseline_cwd=sides[0].folder, candidate_cwd=sides[1].folder,
        )  # fmt: skip
    if not group.complete_pairs:
        message = f"no benchmark could be timed: {group.records[0].error}"
        raise SystemExit(message)
    return group


@contextmanager
def counted(kept: Path, console: Console) -> Iterator[None]:
    """Show how many processes have been timed, and how long the others will take."""
    columns = (TextColumn("Timing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = threading.Event()

    def watch(progress: Progress) -> None:
        task = progress.add_task("", total=None)
        while not done.wait(1.0):
            found = manifest(kept)
            progress.update(task, completed=found[0], total=found[1])

    with Progress(*columns, console=console) as progress:
        watcher = threading.Thread(target=watch, args=(progress,))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def manifest(kept: Path) -> tuple[int, int | None]:
    """Processes timed so far, and how many there will be."""
    try:
        (path,) = kept.glob("*manifest*.json")
        told = json.loads(path.read_text(encoding="utf-8"))
        return len(told["runs"]), 2 * int(told["requested_pairs"])
    except (ValueError, KeyError, OSError):
        return 0, None


def show(table: pd.DataFrame, other: pd.DataFrame | None, console: Console) -> None:
    """Print the verdicts, and beside them what benchmatrix itself finds."""
    shown = Table(box=None, header_style="bold")
    for name in ("benchmark", "base", "candidate", "ratio", "interval", "verdict"):
        shown.add_column(name, justify="left" if name in ("benchmark", "verdict") else "right")
    if other is not None:
        shown.add_column("ratio of medians (BCa)", justify="right")
        table = table.merge(other, on="benchmark", suffixes=("", "_other"))
    for row in table.to_dict("records"):
        cells = [
            row["benchmark"],
            *(f"{1e3 * row[side]:.1f} ms" for side in ("base", "candidate")),
            f"{row['ratio']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            row["verdict"],
        ]
        if other is not None:
            cells.append(
                f"{row['ratio_other']:.3f} ({row['low_other']:.3f} to {row['high_other']:.3f}), "
                f"{row['verdict_other']}"
            )
        shown.add_row(*cells, style=LOOKS.get(row["verdict"], ""))
    console.print(shown)


if __name__ == "__main__":
    raise SystemExit(main())
