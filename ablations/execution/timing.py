"""The timing phase: which configurations are timed, for how long, and where it is written.

How a step is timed is in ``training.step_timer``.
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
from ablations.execution.compatibility import refuse_other_study
from ablations.execution.metadata import controls, study_metadata
from ablations.execution.progress import Reporter
from ablations.results import environment, store
from ablations.results.schema import TIMINGS
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.study.study import Study
from ablations.training import step_timer
from ablations.training.step_timer import DEFAULT_SETTINGS, TimerSettings, cost_id

SECONDS = 100.0
"""What ``ablations time`` may take."""
PHASE_SECONDS = 20.0
"""The most that timing takes after training, unless the user requests more."""
MIN_SECONDS = 2.0
"""A shorter phase cannot time anything useful."""
WRITE_EVERY = 5.0
"""Seconds after which repetitions are written."""


class TimingLog:
    """Timed repetitions on their way to the disk, a few blocks at a time."""

    def __init__(self, folder: Path, session: int, environment_id: str) -> None:
        self._folder, self._session, self._environment_id = folder, session, environment_id
        self._rows: list[dict[str, Any]] = []
        self._last_write = time.monotonic()
        self.count = 0

    def count_blocks(self, timings: pd.DataFrame, threads: int) -> Counter[str]:
        """How many blocks of ``timings`` hold each cost id, on this machine and these threads."""
        current = (timings["environment_id"] == self._environment_id) & (
            timings["threads"] == threads
        )
        return Counter(timings.loc[current & (timings["alias"] == ""), "cost_id"])

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add one block."""
        self._rows += [{**row, "environment_id": self._environment_id} for row in rows]
        if time.monotonic() - self._last_write > WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Write the repetitions that are not yet on the disk."""
        if self._rows:
            store.write_rows(self._folder, TIMINGS, self._rows, self._session)
        self.count += len(self._rows)
        self._rows, self._last_write = [], time.monotonic()


def measure(
    study: Study,
    folder: Path,
    reporter: Reporter,
    *,
    seconds: float = SECONDS,
    threads: int = 1,
    is_stopped: Callable[[], bool] = lambda: False,
    settings: TimerSettings = DEFAULT_SETTINGS,
) -> int:
    """Time the steps of a study into its results folder, which need not exist.

    Parameters
    ----------
    seconds, threads, is_stopped, settings
        As for ``time_steps``.

    Returns
    -------
    int
        The number of timed repetitions.

    Raises
    ------
    RequestError
        If the folder holds the results of another study, or ``seconds`` or ``threads`` makes no
        sense.
    """
    deadline = time.monotonic() + seconds
    check(seconds, threads)
    text, trained, timings = study.to_toml(), pd.DataFrame(), store.load_table(folder, TIMINGS)
    grid, metadata = expand(study), None
    if store.is_results(folder):
        refuse_other_study(study, folder)
        stored = store.load(folder)
        text, trained, timings = stored.study_toml, stored.runs, stored.timings
        metadata = stored.metadata
    if metadata is None:
        others = set(trained["run_id"]) - grid.run_ids if len(trained) else ()
        metadata = study_metadata(study, others)
    described = environment.describe()
    environment_id = environment.identify(described)
    session = store.start(folder, text, {environment_id: described}, metadata)
    log = TimingLog(folder, session, environment_id)
    time_steps(
        study,
        grid.runs,
        trained,
        timings,
        log,
        reporter,
        seconds=deadline - time.monotonic(),
        threads=threads,
        is_stopped=is_stopped,
        settings=settings,
    )
    with suppress(OSError):  # on a full disk many files stay many
        store.tidy(folder, session)
    return log.count


def time_steps(
    study: Study,
    runs: Sequence[Run],
    trained: pd.DataFrame,
    timings: pd.DataFrame,
    log: TimingLog,
    reporter: Reporter,
    *,
    seconds: float,
    threads: int = 1,
    is_stopped: Callable[[], bool] = lambda: False,
    settings: TimerSettings = DEFAULT_SETTINGS,
) -> None:
    """Time the configurations of a study that were not timed in enough blocks.

    Every block holds each configuration once.  A measurement is complete after
    ``settings.blocks`` of them; earlier ones, on this machine with these versions, count.

    Parameters
    ----------
    runs
        The runs of the study.
    trained
        Rows of the runs table: which runs failed, and which configurations are best.
    timings
        Earlier repetitions.
    seconds
        What it may take.  If that is too little for all configurations, those near the controls
        are timed, and the best.
    threads
        Threads of PyTorch.
    is_stopped
        Called before each block: whether to end.
    settings
        How long a measurement is.
    """
    deadline = time.monotonic() + seconds
    control_levels = controls(study)
    candidates, best_ids = _candidates(runs, trained, list(control_levels))
    # Idle worker processes would still share the caches.
    loky.get_reusable_executor().shutdown(wait=True)
    with step_timer.exclusive_timing(threads):
        per_run, blocks = (
            _probe_repetition(candidates, settings),
            log.count_blocks(timings, threads),
        )
        remaining = deadline - time.monotonic()
        n_affordable = int(remaining / per_run / settings.blocks)
        selected = step_timer.select_runs(candidates, control_levels, n_affordable, best_ids)
        missing = _incomplete_runs(selected, blocks, control_levels, settings.blocks)
        per_block = per_run * (len(missing) + 1)
        if _is_too_short(missing, blocks, per_block, remaining, reporter):
            return
        if missing and len(selected) < len(candidates):
            counts_text = f"{len(selected):,} of the {len(candidates):,} configurations"
            reporter.say(f"timing {counts_text} that differ in cost")
        entries = _build_entries(missing, control_levels, settings, reporter)
        counts = [blocks[cost_id(entry.run.configuration)] for entry in entries]
        n_blocks = settings.blocks - min(counts, default=settings.blocks)
        _time_blocks(entries, n_blocks, deadline - per_block, threads, log, reporter, is_stopped)


def _build_entries(
    runs: Sequence[Run],
    controls: Mapping[str, object],
    settings: TimerSettings,
    reporter: Reporter,
) -> list[step_timer.BlockEntry]:
    """Build the entries of a block, and report the runs that cannot be timed."""
    entries, failures = step_timer.build_block(runs, controls, settings)
    for run, reason in failures:
        levels = step_timer.describe_levels(run, controls)
        reporter.say(f"cannot be timed: {levels}: {reason}")
    return entries


def _candidates(
    runs: Sequence[Run], trained: pd.DataFrame, axes: Sequence[str]
) -> tuple[list[Run], set[str]]:
    """One run for each configuration that differs in cost, and the cost ids of the best."""
    failed_ids: set[str] = set()
    best_ids: set[str] = set()
    if len(trained):
        # Code that hangs or dies in training is not timed.
        failed_ids.update(trained.loc[trained["status"] == "failed", "run_id"])
        best_ids = _best_runs(trained, axes)
    trainable = [run for run in runs if run.run_id not in failed_ids]
    costs = {cost_id(run.configuration) for run in trainable if run.run_id in best_ids}
    return step_timer.distinct_cost_runs(trainable), costs


def _best_runs(trained: pd.DataFrame, axes: Sequence[str], count: int = 5) -> set[str]:
    """One run of each of the best configurations by mean loss, of those with most seeds."""
    ok = trained[trained["status"] == "ok"]
    table = ok.groupby([axis for axis in axes if axis in ok], dropna=False).agg(
        loss=("val_loss", "mean"), seeds=("seed", "nunique"), run_id=("run_id", "first")
    )
    complete = table[table["seeds"] == table["seeds"].max()]
    return set(complete.nsmallest(count, "loss")["run_id"])


_MEAN_COST = 1.3
"""The mean cost of a configuration, relative to that of the first one, the control."""


def _probe_repetition(runs: Sequence[Run], settings: TimerSettings) -> float:
    """Seconds of one repetition, from the first configuration that can be timed."""
    for run in runs:
        try:
            steps = step_timer.steps_per_repetition(run, settings.seconds)
            step_timer.time_repetition(run, steps)  # the first of a process takes longer
            start = time.monotonic()
            step_timer.time_repetition(run, steps)
        except Exception:  # noqa: S112 - reported when its own turn comes
            continue
        return _MEAN_COST * (time.monotonic() - start)
    return 1.0


def _incomplete_runs(
    runs: Sequence[Run],
    blocks: Mapping[str, int],
    controls: Mapping[str, object],
    n_blocks: int,
) -> list[Run]:
    """The runs that were not timed in enough blocks, and all that they are compared with."""
    levels = [step_timer.cost_levels(run, controls) for run in runs]
    is_short = [blocks.get(cost_id(run.configuration), 0) < n_blocks for run in runs]
    if not any(is_short):
        return []
    # In the order of the controls' axes, so that equal levels are equal tuples.
    partners = {
        tuple((run_levels | {axis: controls[axis]}).values())
        for run_levels, short in zip(levels, is_short, strict=True)
        if short
        for axis in run_levels
    }
    return [
        run
        for run, run_levels, short in zip(runs, levels, is_short, strict=True)
        if short
        or not step_timer.axes_off_control(run, controls)
        or tuple(run_levels.values()) in partners
    ]


def _is_too_short(
    runs: Sequence[Run],
    blocks: Mapping[str, int],
    per_block: float,
    remaining: float,
    reporter: Reporter,
) -> bool:
    """Whether the time is too short for an interval of any cost; the reporter says so."""
    if not runs:
        return False
    fewest = min(blocks[cost_id(run.configuration)] for run in runs)
    needed = step_timer.MIN_BLOCKS * per_block
    if fewest >= step_timer.MIN_BLOCKS or needed <= remaining:
        return False
    reporter.say(
        f"nothing is timed: {step_timer.MIN_BLOCKS} blocks would take about {needed:.0f} s, and "
        f"{max(remaining, 0):.0f} s are left; 'ablations time' takes longer"
    )
    return True


def _time_blocks(
    entries: Sequence[step_timer.BlockEntry],
    n_blocks: int,
    last_start: float,
    threads: int,
    log: TimingLog,
    reporter: Reporter,
    is_stopped: Callable[[], bool],
) -> None:
    """Time blocks, none of which begins after ``last_start``."""
    if not n_blocks:
        return
    reporter.begin(n_blocks * len(entries), 0, "repetitions")
    try:
        for _ in range(n_blocks):
            if time.monotonic() > last_start or is_stopped():
                break
            log.add(step_timer.time_block(entries, threads))
            reporter.update(Counter(ok=len(entries)))
    finally:
        log.write()
        reporter.end()


def phase_seconds(requested: float | None, trained: float) -> float:
    """Seconds that timing may take after ``trained`` seconds of training."""
    if requested is not None:
        return requested
    share = min(PHASE_SECONDS, trained / 3)
    return share if share >= MIN_SECONDS else 0.0


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
