"""What each technique costs, measured and kept beside the runs.

The clock itself is ``training.clock``; here is decided what is left to time, and what of it the
time allows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from joblib.externals import loky

from ablations.core.errors import RequestError
from ablations.execution import metadata
from ablations.execution.plan import refuse_another
from ablations.execution.progress import Reporter
from ablations.results import environment, store
from ablations.results.metadata import StudyMetadata, load_metadata
from ablations.results.schema import TIMINGS
from ablations.study import expand
from ablations.study.configuration import Run
from ablations.study.study import Study
from ablations.training import step_timer

SECONDS = 100.0
"""What ``ablations time`` may take."""
PHASE_SECONDS = 20.0
"""The most that timing takes after training, unless somebody asks for more."""
WORTH = 2.0
"""Seconds in which nothing worth knowing can be timed."""
KEPT_EVERY = 5.0
"""Seconds after which what was timed is written."""


def measure(
    study: Study,
    folder: Path,
    reporter: Reporter,
    *,
    seconds: float = SECONDS,
    threads: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Time what is left to time of a study and write it down; how many repetitions.

    Every block holds each configuration once.  A measurement is whole after ``clock.BLOCKS`` of
    them; what was timed before, on this machine with these versions, counts.

    Parameters
    ----------
    seconds
        What it may take.  Where that is too little for all configurations, those near to the
        controls are timed, and the best.
    threads
        Threads of PyTorch.
    stopped
        Whether somebody asked to stop; the block that was begun is ended.

    Raises
    ------
    RequestError
        If the folder holds the results of another study, or ``seconds`` or ``threads`` makes no
        sense.
    """
    end = time.monotonic() + seconds
    check(seconds, threads)
    controls = metadata.controls(study)
    described = environment.describe()
    text, every, first = _asked(study, folder, list(controls))
    session = store.start(
        folder, text, {environment.identify(described): described}, _missing_metadata(study, folder)
    )
    keep = _Kept(folder, session, environment.identify(described))
    # Worker processes that have nothing left to do would still share the caches.
    loky.get_reusable_executor().shutdown(wait=True)
    with step_timer.exclusive_timing(threads):
        each, known = _first_look(every), keep.blocks(threads)
        left = end - time.monotonic()
        wanted = step_timer.select_runs(
            every, controls, int(left / each / step_timer.BLOCKS), first
        )
        runs = _left(wanted, known, controls)
        block = each * (len(runs) + 1)
        fewest = min((known[step_timer.cost_id(run.configuration)] for run in runs), default=0)
        if runs and fewest < step_timer.MIN_BLOCKS and step_timer.MIN_BLOCKS * block > left:
            reporter.say(
                f"nothing is timed: {step_timer.MIN_BLOCKS} blocks would take about "
                f"{step_timer.MIN_BLOCKS * block:.0f} s, and {max(left, 0):.0f} s are left; "
                "'ablations time' takes longer"
            )
            return 0
        if runs and len(wanted) < len(every):
            reporter.say(
                f"timing {len(wanted):,} of the {len(every):,} configurations that differ in cost"
            )
        entries, failed = step_timer.build_block(runs, controls)
        for run, why in failed:
            reporter.say(f"cannot be timed: {step_timer.describe_levels(run, controls)}: {why}")
        done = [known[step_timer.cost_id(entry.run.configuration)] for entry in entries]
        missing = step_timer.BLOCKS - min(done, default=step_timer.BLOCKS)
        if missing:
            _take(entries, missing, threads, keep, reporter, stopped, end - block)
    with suppress(OSError):  # on a full disk many files stay many
        store.tidy(folder, session)
    return keep.count


def _asked(study: Study, folder: Path, axes: Sequence[str]) -> tuple[str, list[Run], set[str]]:
    """The study of the folder, one run for each configuration that differs in cost, and the cost
    ids of those that did best.
    """
    text, runs = study.to_toml(), pd.DataFrame()
    if store.is_results(folder):
        refuse_another(study, folder)
        held = store.load(folder)
        text, runs = held.study_toml, held.runs
    # What hangs or dies in training is not timed.
    broken = set(runs.loc[runs["status"] == "failed", "run_id"]) if len(runs) else set()
    planned = [run for run in expand.expand(study).runs if run.run_id not in broken]
    best = _best(runs, axes)
    first = {step_timer.cost_id(run.configuration) for run in planned if run.run_id in best}
    return text, step_timer.distinct_cost_runs(planned), first


def _missing_metadata(study: Study, folder: Path) -> StudyMetadata | None:
    """The metadata of the study, for a folder that has none."""
    if load_metadata(folder) is not None:
        return None
    others = store.run_ids(folder) - expand.expand(study).run_ids
    return metadata.study_metadata(study, others)


def _take(
    entries: Sequence[step_timer.BlockEntry],
    blocks: int,
    threads: int,
    keep: _Kept,
    reporter: Reporter,
    stopped: Callable[[], bool],
    last: float,
) -> None:
    """Time blocks until there are enough, somebody asks to stop, or the ``last`` moment at which
    one may begin is over.
    """
    reporter.begin(blocks * len(entries), 0, "repetitions")
    try:
        for _ in range(blocks):
            if time.monotonic() > last or stopped():
                break
            keep.add(step_timer.time_block(entries, threads))
            reporter.update(Counter(ok=len(entries)))
    finally:
        keep.write()
        reporter.end()


class _Kept:
    """Repetitions on their way to the disk, a few blocks at a time."""

    def __init__(self, folder: Path, session: int, identity: str) -> None:
        self._folder, self._session, self._identity = folder, session, identity
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()
        self.count = 0

    def blocks(self, threads: int) -> Counter[str]:
        """In how many blocks each configuration was timed here, under its first name."""
        table = store.load_table(self._folder, TIMINGS)
        here = (table["environment_id"] == self._identity) & (table["threads"] == threads)
        return Counter(table.loc[here & (table["alias"] == ""), "cost_id"])

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """One block."""
        self._rows += [{**row, "environment_id": self._identity} for row in rows]
        if time.monotonic() - self._since > KEPT_EVERY:
            self.write()

    def write(self) -> None:
        """Have on the disk what is not yet there."""
        if self._rows:
            store.write_rows(self._folder, TIMINGS, self._rows, self._session)
        self.count += len(self._rows)
        self._rows, self._since = [], time.monotonic()


def _best(runs: pd.DataFrame, axes: Sequence[str], count: int = 5) -> set[str]:
    """One run of each of the best configurations by mean loss, of those with most seeds."""
    if runs.empty:
        return set()
    ok = runs[runs["status"] == "ok"]
    found = ok.groupby([axis for axis in axes if axis in ok], dropna=False).agg(
        loss=("val_loss", "mean"), seeds=("seed", "nunique"), run_id=("run_id", "first")
    )
    whole = found[found["seeds"] == found["seeds"].max()]
    return set(whole.nsmallest(count, "loss")["run_id"])


_DEARER = 1.3
"""What a configuration costs in the mean, where the first one, the control, is 1."""


def _first_look(runs: Sequence[Run]) -> float:
    """Seconds that one repetition takes, of the first configuration that can be timed."""
    for run in runs:
        try:
            steps = step_timer.steps_per_repetition(run)
            step_timer.time_repetition(run, steps)  # the first of a process takes longer
            start = time.monotonic()
            step_timer.time_repetition(run, steps)
        except Exception:  # noqa: S112 - told later, when it is its turn
            continue
        return _DEARER * (time.monotonic() - start)
    return 1.0


def _left(
    wanted: Sequence[Run], known: Mapping[str, int], controls: Mapping[str, object]
) -> list[Run]:
    """What was not timed in enough blocks, and all that it is compared with."""
    levels = [step_timer.cost_levels(run, controls) for run in wanted]
    short = [
        known.get(step_timer.cost_id(run.configuration), 0) < step_timer.BLOCKS for run in wanted
    ]
    if not any(short):
        return []
    # In the order of the controls' axes, so that equal levels are equal tuples.
    partners = {
        tuple((own | {axis: controls[axis]}).values())
        for own, missing in zip(levels, short, strict=True)
        if missing
        for axis in own
    }
    return [
        run
        for run, own, missing in zip(wanted, levels, short, strict=True)
        if missing
        or not step_timer.axes_off_control(run, controls)
        or tuple(own.values()) in partners
    ]


def allowed(asked: float | None, trained: float) -> float:
    """Seconds that timing may take after ``trained`` seconds of training."""
    if asked is not None:
        return asked
    share = min(PHASE_SECONDS, trained / 3)
    return share if share >= WORTH else 0.0


def check(seconds: float, threads: int) -> None:
    """Refuse a time or a number of threads that makes no sense.

    Raises
    ------
    RequestError
        Naming the option.
    """
    if not 0 < seconds < 1e7:
        raise RequestError(f"expected a number of seconds above 0, found {seconds:g}", "--budget")
    if not 1 <= threads <= 4096:
        raise RequestError(f"expected a number from 1 up, found {threads}", "--threads")
