"""How often ``nox -s regress`` errs: ``nox -s trials``, and what it must and must not catch.

Each trial is the whole command in a clone of this commit, against this commit: as it is, where any
"slower" is a false alarm, and with a slow-down or a shift planted in the clone's files.  Prints a
table as Markdown; every verdict is kept in ``results/benchmarks/trials.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.regression.revisions import ROOT

LOG = ROOT / "results" / "benchmarks" / "trials.jsonl"
SLOWED = '''

def _slowed(function, share={share}):
    """Planted: waits a share of what each call took, busily."""

    def slowed(*arguments):
        start = time.perf_counter()
        found = function(*arguments)
        until = (1 + share) * time.perf_counter() - share * start
        while time.perf_counter() < until:
            pass
        return found

    return slowed

'''
FUSED = SLOWED + "\n_CohortTraining._call = _slowed(_CohortTraining._call)\n"
LOOP = (
    SLOWED
    + """
_plain_epochs = train_epochs


def train_epochs(*arguments):
    epochs = _plain_epochs(*arguments)
    step = _slowed(lambda: next(epochs, None))
    while (epoch := step()) is not None:
        yield epoch
"""
)
RATE = """
_plain_scheduler = Cosine.scheduler


def _lowered(self, optimizer, epochs, steps):
    for group in optimizer.param_groups:
        group["lr"] *= 0.8
    return _plain_scheduler(self, optimizer, epochs, steps)


Cosine.scheduler = _lowered
"""
FILES = {
    "fused": "ablations/training/fused/trainer.py",
    "loop": "ablations/training/loop.py",
    "rate": "ablations/techniques/schedules.py",
}
KINDS = {
    "same": ("", ""),
    "fused +10 %": ("fused", FUSED.format(share=0.10)),
    "loop +10 %": ("loop", LOOP.format(share=0.10)),
    "fused +2 %": ("fused", FUSED.format(share=0.02)),
    "loop +2 %": ("loop", LOOP.format(share=0.02)),
    "cosine at 0.8 of its rate": ("rate", RATE),
}
TRIES = {"same": 10, "fused +10 %": 5, "loop +10 %": 5}


def main() -> int:
    """Run the trials that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="all by default")
    parser.add_argument("--tries", type=int, help="of each kind; 10, 5, 5, and 2 of the others")
    parser.add_argument("--table", action="store_true", help="only print what the log holds")
    options = parser.parse_args()
    if options.table:
        lines = LOG.read_text(encoding="utf-8").splitlines()
        sys.stdout.write(table([json.loads(line) for line in lines]))
        return 0
    trials: list[dict[str, Any]] = []
    for kind in options.kind or KINDS:
        for trial in tries(kind, options.tries or TRIES.get(kind, 2)):
            trials.append(trial)
            LOG.parent.mkdir(parents=True, exist_ok=True)
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(trial) + "\n")
    sys.stdout.write(table(trials))
    return 0


def tries(kind: str, count: int) -> Iterator[dict[str, Any]]:
    """Plant it in a fresh clone, and let the clone compare itself with what it was cloned from."""
    place, code = KINDS[kind]
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        subprocess.run(("git", "clone", "--quiet", str(ROOT), str(clone)), check=True)
        if place:
            file = clone / FILES[place]
            file.write_text(file.read_text(encoding="utf-8") + code, encoding="utf-8")
        for number in range(count):
            command = (sys.executable, "-m", "bench.regression.regress", "--base", "HEAD")
            process = subprocess.run(command, cwd=clone, capture_output=True, text=True)
            verdicts = sorted((clone / "results/benchmarks/regress").glob("*/verdict.json"))
            if len(verdicts) != number + 1:
                raise SystemExit(process.stdout + process.stderr)
            verdict = json.loads(verdicts[-1].read_text(encoding="utf-8"))
            yield {"kind": kind, "code": process.returncode, **verdict}


def table(trials: list[dict[str, Any]]) -> str:
    """One row a kind: how often each benchmark was called slower, and quality worse."""
    names = list(dict.fromkeys(row["benchmark"] for trial in trials for row in trial["benchmarks"]))
    lines = [["planted", "tries", *names, "quality", "seconds"]]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    for kind in dict.fromkeys(trial["kind"] for trial in trials):
        ours = [trial for trial in trials if trial["kind"] == kind]
        cells = [kind, str(len(ours))]
        for name in names:
            rows = [r for trial in ours for r in trial["benchmarks"] if r["benchmark"] == name]
            slower = sum(row["verdict"] == "slower" for row in rows)
            ratios = [row["ratio"] for row in rows]
            cells.append(f"{slower} ({min(ratios):.3f} to {max(ratios):.3f})")
        cells.append(str(sum(trial["quality"]["regressed"] for trial in ours)))
        seconds = [trial["seconds"] for trial in ours]
        cells.append(f"{min(seconds):.0f} to {max(seconds):.0f}")
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
