"""What training steps cost in time and memory: of each level, and of two configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations.analysis.coding import Floats, varying
from ablations.analysis.design import Design
from ablations.analysis.incomplete import seed_effects
from ablations.analysis.inference import hodges_lehmann
from ablations.analysis.statements import STATED, format_counts
from ablations.results.metadata import (
    Level,
    StudyMetadata,
    in_order,
    label,
    levels_in_order,
    with_text_levels,
)

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

SLOWER, FASTER, NO_SLOWER = "slower", "faster", "no measurable difference"
TOO_FEW = "too few timings to tell"
FLOOR_QUANTILE = 0.975
RESAMPLES = 2_000
Levels = Mapping[str, Level]
MACHINE = ["environment_id", "threads"]
"""Times that differ in one of these are never pooled."""
COST_COLUMNS = [
    *MACHINE, "axis", "level", "control", "ratio", "low", "high", "floor", "verdict", "seconds",
    "control_seconds", "forward_seconds", "backward_seconds", "update_seconds", "memory_ratio",
    "run_ratio", "run_low", "run_high", "cells", "blocks", *STATED,
]  # fmt: skip
TIME_COLUMNS = ["seconds", "forward_seconds", "backward_seconds", "update_seconds"]
RUN_COST_COLUMNS = ["axis", "level", "ratio", "low", "high", "is_certain", "step_ratio", "n"]
FLOOR_COLUMNS = [*MACHINE, "ratio", "low", "high", "floor", "blocks"]


def label_timings(
    results: StoredResults, metadata: StudyMetadata
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the timed repetitions with their levels as text, and the axes that affect costs."""
    names = tuple(
        name for name in metadata.axes if name in results.timings and name not in metadata.costless
    )
    return with_text_levels(results.timings, names), names


def with_step_seconds(
    runs: pd.DataFrame, timings: pd.DataFrame, axes: Sequence[str]
) -> pd.DataFrame | None:
    """Set ``train_seconds`` to what a run takes alone; None unless one machine timed all runs."""
    if timings.empty or not axes:
        return None
    machine = timings[MACHINE].value_counts().index[0]
    here = timings[MACHINE].eq(list(machine)).all(axis=1)
    medians = timings[here].groupby(list(axes), dropna=False)[["seconds", "run_steps"]].median()
    total = (medians["seconds"] * medians["run_steps"]).rename("alone").reset_index()
    seconds = runs[list(axes)].merge(total, on=list(axes), how="left")["alone"].to_numpy()
    if np.isnan(seconds[(runs["status"] == "ok").to_numpy()]).any():
        return None
    return runs.assign(train_seconds=seconds)


def with_run_seconds(design: Design, results: StoredResults) -> Design:
    """Add ``run_seconds`` to the runs of a design: what a run takes alone, if all were timed, or
    else ``train_seconds``, its share of the time of those that it was trained with.
    """
    timings, axes = label_timings(results, results.require_metadata())
    timed = with_step_seconds(design.runs, timings, axes)
    if timed is None:
        return replace(design, runs=design.runs.assign(run_seconds=design.runs["train_seconds"]))
    runs = design.runs.assign(run_seconds=timed["train_seconds"])
    floor = noise_floor(timings).sort_values("blocks", ascending=False, kind="stable")["floor"]
    noise = float(floor.iloc[0]) if len(floor) else 1.0
    return replace(design, runs=runs, cost_noise=noise)


def best_configuration_cost(
    best: pd.DataFrame, timings: pd.DataFrame, axes: Sequence[str], controls: Mapping[str, Level]
) -> pd.DataFrame:
    """Compare the step time of the best configuration with that of all controls together."""
    names = [axis for axis in axes if axis in best and axis in controls]
    if best.empty or timings.empty or not names:
        return pd.DataFrame(columns=["ratio", "low", "high", "blocks"])
    candidate, baseline = ({axis: row[axis] for axis in names} for row in (best.iloc[0], controls))
    table = cost_between(timings, list(axes), candidate, baseline)
    return table.sort_values("blocks", ascending=False, kind="stable").head(1)


def time_costs(results: StoredResults, metadata: StudyMetadata) -> pd.DataFrame:
    """Return what each level costs in time, as far as it was timed; levels are text."""
    timings, names = label_timings(results, metadata)
    axes = varying(timings, names)
    controls = {axis: label(metadata.controls[axis]) for axis in axes}
    levels = {axis: levels_in_order(timings[axis], metadata, axis) for axis in axes}
    table = costs(timings, controls, axes)
    machines = [rows.reset_index(drop=True) for _, rows in table.groupby(MACHINE, sort=True)]
    return pd.concat([in_order(rows, levels) for rows in machines] or [table], ignore_index=True)


def run_costs(step_costs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Compare what a complete run takes at every level and at its control.

    Parameters
    ----------
    step_costs
        ``costs`` of the study; those of the machine with the most blocks count.
    design
        The design of all runs, whose ``train_seconds`` count where nothing was timed, and each run
        was trained alone, in a plain loop.

    Returns
    -------
    DataFrame
        One row a level: ``ratio, low, high``, ends missing with too few blocks or seeds;
        ``is_certain``: whether it differs from 1, beyond the noise floor where steps were timed;
        ``step_ratio``: of one step, missing where none was timed; ``n``: blocks, or seeds.
    """
    if len(step_costs):
        blocks = step_costs.groupby(MACHINE)["blocks"].transform("max")
        table = step_costs[blocks == blocks.max()].drop_duplicates(["axis", "level"])
        is_longer = np.log(table["run_ratio"] / table["ratio"]).abs() > 1e-9  # by other steps
        columns = {"ratio": "run_ratio", "low": "run_low", "high": "run_high"}
        values = {name: table[column] for name, column in columns.items()}
        is_certain = table["verdict"].isin([SLOWER, FASTER]) | is_longer
        table = table.assign(**values, is_certain=is_certain, step_ratio=table["ratio"])
        return table[RUN_COST_COLUMNS].reset_index(drop=True)
    runs = design.runs
    if "train_seconds" not in runs or not design.block:
        return pd.DataFrame(columns=RUN_COST_COLUMNS)
    finished = runs[(runs["status"] == "ok") & (runs["train_seconds"].astype(float) > 0)]
    if finished.empty or (finished["cohort_size"] > 1).any():
        return pd.DataFrame(columns=RUN_COST_COLUMNS)
    points = seed_effects(
        finished, design.controls, design.factors, outcome="train_seconds", block=design.block
    )
    rows = []
    for (axis, level), ratios in points.groupby(["axis", "level"], sort=False)["difference"]:
        logs, n = _estimate(ratios, 0.95)
        is_certain = logs[1] > 0 or logs[2] < 0
        rows.append((axis, level, *np.exp(logs), is_certain, np.nan, n))
    return pd.DataFrame(rows, columns=RUN_COST_COLUMNS)


def noise_floor(timings: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Return what two timings of one configuration differ by.

    Parameters
    ----------
    timings
        One row a repetition: ``environment_id, threads, block, cost_id, alias, seconds``; rows with
        an alias repeat a configuration that is in the block without one.

    Returns
    -------
    DataFrame
        One row for each machine and number of threads: ``ratio`` with its interval ``low, high``
        (Hodges & Lehmann, 1963), which should contain 1; ``floor``: what 97.5 % of such ratios stay
        below without a difference, over resampled blocks with names swapped at random; ``blocks``.
    """
    if timings.empty:
        return pd.DataFrame(columns=FLOOR_COLUMNS)
    again = timings[timings["alias"] != ""]
    first = timings[timings["alias"] == ""]
    pairs = again.merge(first, on=[*MACHINE, "block", "cost_id"], suffixes=("_again", ""))
    pairs["log"] = np.log(pairs["seconds_again"] / pairs["seconds"])
    rows = []
    for machine, ratios in pairs.groupby(MACHINE, sort=True)["log"]:
        logs, n = _estimate(ratios, confidence)
        floor = _noise_quantile(np.sort(ratios.to_numpy(dtype=float)))
        rows.append((*machine, *np.exp([*logs, floor]), n))
    return pd.DataFrame(rows, columns=FLOOR_COLUMNS)


def _estimate(logs: pd.Series, confidence: float) -> tuple[list[float], int]:
    """Estimate, low and high, missing bounds where blocks are too few for them; and the blocks."""
    location = hodges_lehmann(logs.to_numpy(), confidence)
    if location.confidence >= confidence:
        return [location.estimate, location.low, location.high], location.n
    return [location.estimate, np.nan, np.nan], location.n


def _noise_quantile(logs: Floats) -> float:
    """How far from zero the estimate of no difference lies, in 97.5 % of the cases."""
    random = np.random.default_rng(0)
    size = (RESAMPLES, len(logs))
    draws = np.abs(random.choice(logs, size)) * random.choice([-1.0, 1.0], size)
    i, j = np.triu_indices(len(logs))
    estimates = np.median((draws[:, i] + draws[:, j]) / 2, axis=1)
    return float(np.quantile(np.abs(estimates), FLOOR_QUANTILE))


def costs(
    runs: pd.DataFrame, controls: Levels, factors: Sequence[str], *, confidence: float = 0.95
) -> pd.DataFrame:
    """Compare the step time of every level with its control, paired within blocks.

    Parameters
    ----------
    runs
        Timings: one row a repetition, with ``seconds`` of one step and of its parts
        (``forward_seconds, backward_seconds, update_seconds``), its ``memory``, what
        ``noise_floor`` needs, and the ``factors``.
    controls
        Axis to control level; axes that cost nothing (seeds, inits, rates) left out.

    Returns
    -------
    DataFrame
        One row for each machine, number of threads, and level:

        - ``ratio, low, high``: time of a step over that at the control, all else equal: the mean
          log ratio over cells in each block, of which the Hodges-Lehmann estimate with its exact
          interval (missing with fewer than 6 blocks, of which none has 95 %).
        - ``floor``: what noise alone can do (``noise_floor``).
        - ``verdict``: slower or faster where the interval leaves out 1 and the ratio is beyond the
          floor; else no measurable difference, or, without an interval, too few timings to tell.
        - ``seconds, control_seconds``: medians of a step at the level and at its control;
          ``forward_seconds, backward_seconds, update_seconds``: of its parts at the level.
        - ``memory_ratio``: the same ratio of memory; ``cells``, ``blocks``.
        - ``run_ratio, run_low, run_high``: time of a complete run over that at the control: of its
          steps, of which another batch size needs another number.
    """
    if runs.empty:
        return pd.DataFrame(columns=COST_COLUMNS)
    floors = noise_floor(runs, confidence).set_index(MACHINE)["floor"]
    rows = []
    for machine, timings in runs[runs["alias"] == ""].groupby(MACHINE, sort=True):
        columns = dict(zip(MACHINE, machine, strict=True))
        floor = float(floors.get(machine, np.nan))
        levels = _compare_levels(timings, controls, factors, floor, confidence)
        rows += [columns | row for row in levels]
    return pd.DataFrame(rows, columns=COST_COLUMNS)


def _compare_levels(
    timings: pd.DataFrame, controls: Levels, factors: Sequence[str], floor: float, confidence: float
) -> list[dict[str, object]]:
    """The rows of one machine."""
    steps = timings.get("run_steps", 1)
    timings = timings.assign(run_seconds=timings["seconds"] * steps)
    points, memory, run_points = (
        seed_effects(timings, controls, factors, fill=False, outcome=outcome, block="block")
        for outcome in ("seconds", "memory", "run_seconds")
    )
    by_run = dict(iter(run_points.groupby(["axis", "level"], sort=False)["difference"]))
    memory_ratios = memory.groupby(["axis", "level"], sort=False)["difference"].median()
    medians = {axis: timings.groupby(axis, sort=False)[TIME_COLUMNS].median() for axis in controls}
    procedure = (
        "log ratios of step times paired within blocks, mean over cells; Hodges-Lehmann estimate, "
        f"exact {confidence:.0%} interval over Walsh averages, of this comparison alone; a "
        "difference counts beyond the noise floor"
    )
    rows: list[dict[str, object]] = []
    for (axis, level), contrast in points.groupby(["axis", "level"], sort=False):
        (estimate, low, high), n = _estimate(contrast["difference"], confidence)
        run_ratios = np.exp(_estimate(by_run[axis, level], confidence)[0])
        verdict = TOO_FEW if np.isnan(low) else NO_SLOWER
        if abs(estimate) > np.log(floor) and (low > 0 or high < 0):
            verdict = SLOWER if estimate > 0 else FASTER
        n_blocks = timings.loc[timings[axis] == level, "block"].nunique()
        rows.append(
            {
                "axis": axis,
                "level": level,
                "control": controls[axis],
                "ratio": np.exp(estimate),
                "low": np.exp(low),
                "high": np.exp(high),
                "floor": floor,
                "verdict": verdict,
                **medians[axis].loc[level].to_dict(),
                "control_seconds": medians[axis].loc[controls[axis], "seconds"],
                "memory_ratio": np.exp(memory_ratios[axis, level]),
                **dict(zip(("run_ratio", "run_low", "run_high"), run_ratios, strict=True)),
                "cells": int(contrast["cells"].max()),
                "blocks": n,
                "n": n,
                "procedure": procedure,
                "assumes": "blocks independent, their differences symmetric",
                "left_out": format_counts((n_blocks - n, "block without its pair")),
            }
        )
    return rows


def cost_between(
    runs: pd.DataFrame,
    factors: Sequence[str],
    candidate: Levels,
    baseline: Levels,
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the step times of two configurations, paired within blocks, of timings as ``costs``.

    Parameters
    ----------
    candidate, baseline
        The level of each factor; factors that are not named may have any.

    Returns
    -------
    DataFrame
        ``ratio, low, high, blocks``, one row for each machine and number of threads where both
        were timed.
    """
    first = runs[runs["alias"] == ""]

    def median_times(levels: Levels) -> pd.DataFrame:
        hit = np.all([first[name] == levels[name] for name in factors if name in levels], axis=0)
        medians = first[hit].groupby([*MACHINE, "block"])["seconds"].median()
        return medians.rename("time").reset_index()

    pairs = median_times(candidate).merge(
        median_times(baseline), on=[*MACHINE, "block"], suffixes=("", "_baseline")
    )
    rows = []
    pairs["log"] = np.log(pairs["time"] / pairs["time_baseline"])
    for machine, ratios in pairs.groupby(MACHINE, sort=True)["log"]:
        logs, n = _estimate(ratios, confidence)
        rows.append((*machine, *np.exp(logs), n))
    return pd.DataFrame(rows, columns=[*MACHINE, "ratio", "low", "high", "blocks"])
