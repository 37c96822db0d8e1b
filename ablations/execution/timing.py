"""The timing phase: which configurations are timed, for how long, and where it is written.

How a step is timed is in ``training.step_timer``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from joblib.externals import loky

from ablations.core.errors import RequestError
from ablations.execution.compatibility import refuse_other_study
from ablations.execution.dispatch import OutputContext
from ablations.execution.metadata import controls, folder_metadata
from ablations.execution.progress import Reporter
from ablations.results import environment, store
from ablations.results.schema import TIMINGS
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.study.study import Study
from ablations.training import step_timer
from ablations.training.step_timer import DEFAULT_SETTINGS, TimerSettings, cost_id

SECONDS = 100.0  # what ``ablations time`` may take
PHASE_SECONDS = 20.0  # the most that timing takes after training, unless the user requests more
MIN_SECONDS = 2.0  # a shorter phase cannot time anything useful
WRITE_EVERY = 5.0  # seconds after which repetitions are written
_MEAN_COST = 1.3  # the mean cost of a configuration, relative to that of the first one, the control


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

    ``seconds`` is what it may take; the other options are those of ``TimingPhase``.  Returns the
    number of timed repetitions.
    """
    deadline = time.monotonic() + seconds
    if not 0 < seconds < 1e7:
        raise RequestError(f"expected a number of seconds above 0, found {seconds:g}", "--budget")
    if not 1 <= threads <= 4096:
        raise RequestError(f"expected a number from 1 up, found {threads}", "--threads")
    grid, text, metadata = expand(study), study.to_toml(), None
    trained, timings = pd.DataFrame(columns=["run_id"]), store.load_table(folder, TIMINGS)
    if store.is_results(folder):
        refuse_other_study(study, folder)
        stored = store.load(folder)
        text, metadata = stored.study_toml, stored.metadata
        trained, timings = stored.runs, stored.timings
    if metadata is None and text == study.to_toml():
        metadata = folder_metadata(study, grid, trained["run_id"])
    described = environment.describe()
    environment_id = environment.identify(described)
    session = store.start(folder, text, {environment_id: described}, metadata)
    context = OutputContext(folder, study.name, environment_id, session=session)
    phase = TimingPhase(context, reporter, threads, is_stopped, settings)
    count = phase.run(study, grid.runs, trained, timings, deadline - time.monotonic())
    with suppress(OSError):  # on a full disk many files stay many
        store.tidy(folder, session)
    return count


@dataclass(frozen=True)
class TimingPhase:
    """A timing of a study's steps: where repetitions are written, and how long a measurement is.

    ``threads`` are those of PyTorch; ``is_stopped`` is called before each block.
    """

    context: OutputContext
    reporter: Reporter
    threads: int = 1
    is_stopped: Callable[[], bool] = lambda: False
    settings: TimerSettings = DEFAULT_SETTINGS

    def run(
        self,
        study: Study,
        runs: Sequence[Run],
        trained: pd.DataFrame,
        timings: pd.DataFrame,
        seconds: float,
    ) -> int:
        """Time the configurations that were not timed in enough blocks; returns the repetitions.

        Every block holds each configuration once.  A measurement is complete after
        ``settings.blocks`` of them; ``timings``, earlier ones on this machine with these versions,
        count.  ``trained``, the runs table, tells which runs failed, and which configurations are
        best: these and those near the controls are timed if ``seconds`` are too few for all.
        """
        if study.task_studies:  # a step of one data set is not compared with that of another
            return self._run_tasks(study.task_studies, runs, trained, timings, seconds)
        deadline = time.monotonic() + seconds
        levels = controls(study)
        candidates, best_ids = _candidates(runs, trained, list(levels))
        # Idle worker processes would still share the caches.
        loky.get_reusable_executor().shutdown(wait=True)
        with step_timer.exclusive_timing(self.threads):
            per_run = _probe_repetition(candidates, self.settings)
            is_here = timings["environment_id"] == self.context.environment_id
            is_alike = (timings["threads"] == self.threads) & (timings["alias"] == "")
            blocks = Counter(timings.loc[is_here & is_alike, "cost_id"])
            remaining = deadline - time.monotonic()
            n_affordable = int(remaining / per_run / self.settings.blocks)
            selected = step_timer.select_runs(candidates, levels, n_affordable, best_ids)
            missing = _incomplete_runs(selected, blocks, levels, self.settings.blocks)
            per_block = per_run * (len(missing) + 1)
            if not missing or self._is_too_short(missing, blocks, per_block, remaining):
                return 0
            if len(selected) < len(candidates):
                counts = f"{len(selected):,} of the {len(candidates):,} configurations"
                self.reporter.say(f"timing {counts} that differ in cost")
            entries, failures = step_timer.build_block(missing, levels, self.settings)
            for run, reason in failures:
                names = step_timer.describe_levels(run, levels)
                self.reporter.say(f"cannot be timed: {names}: {reason}")
            finished = [blocks[cost_id(entry.run.configuration)] for entry in entries]
            n_blocks = self.settings.blocks - min(finished, default=self.settings.blocks)
            return self._time_blocks(entries, n_blocks, deadline - per_block)

    def _run_tasks(
        self,
        studies: Sequence[Study],
        runs: Sequence[Run],
        trained: pd.DataFrame,
        timings: pd.DataFrame,
        seconds: float,
    ) -> int:
        """Time task by task, each its share of the seconds that are left."""
        deadline, count = time.monotonic() + seconds, 0
        for remaining, study in zip(range(len(studies), 0, -1), studies, strict=True):
            ids = {run.run_id: run for run in runs if run.configuration.task == study.task}
            rows = trained[trained["run_id"].isin(ids)]
            share = (deadline - time.monotonic()) / remaining
            if share > 0 and not self.is_stopped():
                count += self.run(study, list(ids.values()), rows, timings, share)
        return count

    def _is_too_short(
        self, runs: Sequence[Run], blocks: Mapping[str, int], per_block: float, remaining: float
    ) -> bool:
        """Whether the time is too short for an interval of any cost; the reporter says so."""
        fewest = min(blocks[cost_id(run.configuration)] for run in runs)
        needed = step_timer.MIN_BLOCKS * per_block
        if fewest >= step_timer.MIN_BLOCKS or needed <= remaining:
            return False
        self.reporter.say(
            f"nothing is timed: {step_timer.MIN_BLOCKS} blocks would take about {needed:.0f} s, "
            f"and {max(remaining, 0):.0f} s are left; 'ablations time' takes longer"
        )
        return True

    def _time_blocks(
        self, entries: Sequence[step_timer.BlockEntry], n_blocks: int, last_start: float
    ) -> int:
        """Time blocks, none of which begins after ``last_start``; returns the repetitions."""
        if not n_blocks:
            return 0
        count, rows, last_write = 0, list[dict[str, Any]](), time.monotonic()
        self.reporter.begin(n_blocks * len(entries), 0, "repetitions")
        try:
            for _ in range(n_blocks):
                if time.monotonic() > last_start or self.is_stopped():
                    break
                rows += step_timer.time_block(entries, self.threads)
                self.reporter.update(Counter(ok=len(entries)))
                if time.monotonic() - last_write > WRITE_EVERY:
                    count += self._write(rows)
                    rows, last_write = [], time.monotonic()
        finally:
            count += self._write(rows)
            self.reporter.end()
        return count

    def _write(self, rows: Sequence[dict[str, Any]]) -> int:
        """Write repetitions; returns how many."""
        if rows:
            described = [{**row, "environment_id": self.context.environment_id} for row in rows]
            store.write_rows(self.context.folder, TIMINGS, described, self.context.session)
        return len(rows)


def _candidates(
    runs: Sequence[Run], trained: pd.DataFrame, axes: Sequence[str]
) -> tuple[list[Run], set[str]]:
    """One run for each configuration that differs in cost, and the cost ids of the best."""
    if trained.empty:
        return step_timer.distinct_cost_runs(runs), set()
    # Code that hangs or dies in training is not timed.
    failed_ids = set(trained.loc[trained["status"] == "failed", "run_id"])
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
    runs: Sequence[Run], blocks: Mapping[str, int], controls: Mapping[str, object], n_blocks: int
) -> list[Run]:
    """The runs that were not timed in enough blocks, and all that they are compared with."""
    run_of_cost = {cost_id(run.configuration): run for run in runs}
    short_runs = {key: run for key, run in run_of_cost.items() if blocks.get(key, 0) < n_blocks}
    short_levels = [step_timer.cost_levels(run, controls) for run in short_runs.values()]
    # In the order of the controls' axes, so that equal levels are equal tuples.
    partners = {
        tuple((levels | {axis: controls[axis]}).values())
        for levels in short_levels
        for axis in levels
    }
    return [
        run
        for key, run in run_of_cost.items()
        if key in short_runs
        or (short_runs and not step_timer.axes_off_control(run, controls))
        or tuple(step_timer.cost_levels(run, controls).values()) in partners
    ]


def phase_seconds(requested: float | None, trained: float) -> float:
    """Seconds that timing may take after ``trained`` seconds of training."""
    if requested is not None:
        return requested
    share = min(PHASE_SECONDS, trained / 3)
    return share if share >= MIN_SECONDS else 0.0
