"""How near the plan's time is to what the run then takes: ``nox -s prices``; some five minutes.

Each study is priced as ``ablations run STUDY --dry-run`` does, then run by the command itself, from
an empty folder, with its audit, its timing and its report.  Prints a table as Markdown.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ablations.execution.estimate import estimate
from ablations.execution.options import RunOptions
from ablations.execution.plan import plan_execution
from ablations.study.study import Study

WIDE = """
task = "diabetes"
model = { name = "mlp", hidden = [256, 256] }
seeds = 6
batch_size = 16
[axes]
norm = ["none", "layer", "batch"]
optimizer = ["adam", "sgd"]
"""
STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "the notebook's techniques, all crossed": ("notebook", ()),
    "digits in mini-batches, four seeds": ("digits", ("--seeds", "4")),
    "twelve layers": ("deep", ("--seeds", "5")),
    "a few runs, one by one": ("notebook", ("--seeds", "1", "--engine", "loop")),
    "wide layers, small batches": (WIDE, ()),
}


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Price and run each of them."""
    say("| study | runs | plan, s | took, s | took over plan |")
    say("| --- | ---: | ---: | ---: | ---: |")
    for name, (spec, words) in STUDIES.items():
        with tempfile.TemporaryDirectory() as folder:
            if "\n" in spec:
                path = Path(folder) / "wide.toml"
                path.write_text(spec, encoding="utf-8")
                spec = str(path)
            out = Path(folder) / "out"
            study = Study.find(spec)
            if "--seeds" in words:
                study = study.replace(seeds=int(words[1]))
            options = RunOptions(engine="loop" if "loop" in words else "auto")
            expected = estimate(plan_execution(study, out, options), options)
            low, high = expected.interval()
            line = [sys.executable, "-m", "ablations", "run", spec, *words, "--out", str(out)]
            start = time.monotonic()
            subprocess.run(line, check=True, capture_output=True)
            took = time.monotonic() - start
            runs = sum(len(cost.choice.runs) for cost in expected.costs)
            interval = f"{expected.seconds():.0f} ({low:.0f} to {high:.0f})"
            ratio = took / expected.seconds()
            say(f"| {name} | {runs:,} | {interval} | {took:.0f} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
