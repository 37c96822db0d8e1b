"""What best epochs, test rows and all metrics cost a run: ``python -m bench.judging --base REV``.

The whole grid of the ``notebook`` study is trained and written by two processes that live side by
side, one of a revision that records none of these and one of this working tree.  They take turns,
in an order drawn anew in each round, with seeds that no cache has seen.  Times are CPU times, which
other work on the machine changes less than wall times.  Prints medians, and the ratios of turns of
one round with their 95 % interval (Hodges & Lehmann, 1963), as Markdown; five minutes of CPU time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ablations.analysis.inference import hodges_lehmann
from bench.regression import revisions

SEEDS, ROUNDS = 4, 20
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the revision before": ("base", {}),
    '`judge = "last"`': ("now", {}),
    '`judge = "best"`, `test = 0.25`': ("now", {"judge": "best", "test": 0.25}),
}
"""Variant to its process, and the keys of its study; the first one is what others are over."""


class Server:
    """A process that trains with one revision's code."""

    def __init__(self, tree: Path, compiled: bool) -> None:
        words = [sys.executable, "-m", "bench.judging", "--serve", *["--compiled"] * compiled]
        self.process = subprocess.Popen(
            words, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def train(self, keys: dict[str, Any], first_seed: int) -> float:
        """Train the grid with these keys and some seeds; return milliseconds of CPU time a run."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([keys, first_seed]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def serve(*, compiled: bool) -> None:
    """Train what standard input names; print milliseconds of CPU time a run."""
    import torch

    from ablations.execution.dispatch import OutputContext, train_batch
    from ablations.study.expand import expand
    from ablations.study.study import Study
    from ablations.training.cohorts import batch_cohorts
    from ablations.training.engine import choose_engines

    torch.set_num_threads(1)
    for line in sys.stdin:
        keys, first = json.loads(line)
        seeds = list(range(first, first + SEEDS))
        study = Study.find("notebook", seeds=seeds, **keys)
        study = study.with_axis("device", ["cpu"])
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            runs = expand(study).runs
            cohorts = [c for choice in choose_engines(runs) for c in choice.cohorts()]
            context = OutputContext(Path(folder), study.name, "", compiled=compiled)
            for batch in batch_cohorts(cohorts, jobs=2):
                train_batch(batch, context)
            seconds = time.process_time() - start
        sys.stdout.write(f"{1000 * seconds / len(runs)}\n")
        sys.stdout.flush()


def main() -> None:
    """Compare, and print a row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="a revision; by default where this branch left main")
    parser.add_argument("--compiled", action="store_true", help="with compiled programs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(compiled=options.compiled)
        return
    base = revisions.resolve(options.base) if options.base else revisions.merge_base()
    with ExitStack() as stack:
        tree = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        revisions.committed(base, tree)
        shutil.copy(__file__, tree / "bench" / "judging.py")
        trees = {"base": tree, "now": revisions.ROOT}
        servers = {
            name: stack.enter_context(Server(path, options.compiled))
            for name, path in trees.items()
        }
        times = measure(servers, options.rounds)
    print_table(times)


def measure(servers: dict[str, Server], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds a run by variant, one number a round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    order, rng = list(VARIANTS), random.Random(0)
    for i in range(rounds + 1):
        rng.shuffle(order)
        for place, name in enumerate(order):
            side, keys = VARIANTS[name]
            seconds = servers[side].train(keys, (len(order) * i + place) * SEEDS)
            times[name].append(seconds)
    return {name: values[1:] for name, values in times.items()}


def print_table(times: dict[str, list[float]]) -> None:
    """Print medians of the times and of the ratios of each round, as Markdown."""
    sys.stdout.write("| variant | ms a run | over before |\n| --- | ---: | ---: |\n")
    first = next(iter(VARIANTS))
    before = times[first]
    for name, values in times.items():
        ratios = np.log(np.array(values) / np.array(before))
        shift = hodges_lehmann(ratios, 0.95)
        middle, low, high = np.exp([shift.estimate, shift.low, shift.high])
        interval = f"{middle:.3f} [{low:.3f}, {high:.3f}]" if name != first else ""
        sys.stdout.write(f"| {name} | {np.median(values):.2f} | {interval} |\n")


if __name__ == "__main__":
    main()
