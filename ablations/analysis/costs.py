"""What was timed, as the report tells it: costs of levels, of configurations, of the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations.analysis.design import STATED, Floats, any_names, format_counts, varying
from ablations.analysis.inference import hodges_lehmann
from ablations.analysis.pairing import Level, seed_effects
from ablations.results.metadata import (
    StudyMetadata,
    in_order,
    label,
    levels_in_order,
    with_text_levels,
)

if TYPE_CHECKING:
    from ablations.results.store import StoredResults


def timings_of(
    results: StoredResults, story: StudyMetadata
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Timed repetitions with their levels as text, and the axes that they are told apart by."""
    names = tuple(
        name for name in story.axes if name in results.timings and name not in story.costless
    )
    return with_text_levels(results.timings, names), names


def clocked(runs: pd.DataFrame, timings: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame | None:
    """The runs with the seconds that their steps take alone, where all of them were timed on one
    machine.
    """
    if timings.empty or not axes:
        return None
    place = timings[["environment_id", "threads"]].value_counts().index[0]
    here = (timings["environment_id"] == place[0]) & (timings["threads"] == place[1])
    found = timings[here].groupby(list(axes), dropna=False)[["seconds", "run_steps"]].median()
    whole = (found["seconds"] * found["run_steps"]).rename("alone").reset_index()
    seconds = runs[list(axes)].merge(whole, on=list(axes), how="left")["alone"].to_numpy()
    if np.isnan(seconds[(runs["status"] == "ok").to_numpy()]).any():
        return None
    return runs.assign(train_seconds=seconds)


def winner_cost(
    best: pd.DataFrame, timings: pd.DataFrame, axes: Sequence[str], controls: Mapping[str, str]
) -> pd.DataFrame:
    """The step time of the best configuration over that of all controls together."""
    known = [axis for axis in axes if axis in best and axis in controls]
    if best.empty or timings.empty or not known:
        return pd.DataFrame(columns=["ratio", "low", "high", "blocks"])
    ours, theirs = ({axis: row[axis] for axis in known} for row in (best.iloc[0], controls))
    found = cost_between(timings, list(axes), ours, theirs)
    return found.sort_values("blocks", ascending=False, kind="stable").head(1)


def time_costs(results: StoredResults, story: StudyMetadata) -> pd.DataFrame:
    """What each level costs in time, as far as it was timed; levels are text."""
    timings, names = timings_of(results, story)
    axes = varying(timings, names)
    controls = {axis: label(story.controls[axis]) for axis in axes}
    levels = {axis: levels_in_order(timings[axis], story, axis) for axis in axes}
    table = costs(timings, controls, axes)
    return pd.concat(
        [
            in_order(part.reset_index(drop=True), levels)
            for _, part in table.groupby(["environment_id", "threads"], sort=True)
        ]
        or [table],
        ignore_index=True,
    )


SLOWER, FASTER, NO_SLOWER = "slower", "faster", "no measurable difference"


FLOOR_QUANTILE = 0.975


RESAMPLES = 2_000


PLACE = ["environment_id", "threads"]
"""Times that differ in one of these are never pooled."""


COST_COLUMNS = [
    *PLACE, "axis", "level", "control", "ratio", "low", "high", "floor", "verdict", "seconds",
    "control_seconds", "forward_seconds", "backward_seconds", "update_seconds", "memory_ratio",
    "cells", "blocks", *STATED,
]  # fmt: skip


_TIMES = ["seconds", "forward_seconds", "backward_seconds", "update_seconds"]


FLOOR_COLUMNS = [*PLACE, "ratio", "low", "high", "floor", "blocks"]


def noise_floor(timings: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """What two timings of one thing differ by: the control against itself under a second name.

    Parameters
    ----------
    timings
        One row a repetition: ``environment_id, threads, block, cost_id, alias, seconds``; rows with
        an alias repeat a configuration that stands in the block without one.

    Returns
    -------
    DataFrame
        One row for each machine and number of threads: ``ratio`` with its interval ``low, high``
        (Hodges & Lehmann, 1963), which should contain 1; ``floor``: the ratio that 97.5 % of such
        estimates stay below, whichever is longer, where there is no difference: over resampled
        blocks with names swapped at random; ``blocks``.
    """
    if timings.empty:
        return pd.DataFrame(columns=FLOOR_COLUMNS)
    keys = [*PLACE, "block", "cost_id"]
    again = timings[timings["alias"] != ""]
    first = timings[timings["alias"] == ""]
    both = again.merge(first, on=keys, suffixes=("_again", ""))
    both["log"] = np.log(both["seconds_again"] / both["seconds"])
    rows = []
    for place, part in both.groupby(PLACE, sort=True):
        found = hodges_lehmann(part["log"].to_numpy(), confidence)
        floor = _floor(np.sort(part["log"].to_numpy(dtype=float)))
        low, high = (found.low, found.high) if found.confidence >= confidence else (np.nan, np.nan)
        rows.append((*place, *np.exp([found.estimate, low, high, floor]), found.n))
    return pd.DataFrame(rows, columns=FLOOR_COLUMNS)


def _floor(logs: Floats) -> float:
    """How far from zero the estimate of nothing lies, in 97.5 % of the cases."""
    random = np.random.default_rng(0)
    size = (RESAMPLES, len(logs))
    drawn = np.abs(random.choice(logs, size)) * random.choice([-1.0, 1.0], size)
    i, j = np.triu_indices(len(logs))
    estimates = np.median((drawn[:, i] + drawn[:, j]) / 2, axis=1)
    return float(np.quantile(np.abs(estimates), FLOOR_QUANTILE))


@any_names
def costs(
    runs: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    *,
    confidence: float = 0.95,
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
          floor; else no measurable difference.
        - ``seconds, control_seconds``: medians of a step at the level and at its control;
          ``forward_seconds, backward_seconds, update_seconds``: of its parts at the level.
        - ``memory_ratio``: the same ratio of memory.
        - ``cells``, ``blocks``, and ``n`` (blocks), ``procedure``, ``assumes``, ``left_out``.
    """
    if runs.empty:
        return pd.DataFrame(columns=COST_COLUMNS)
    floors = noise_floor(runs, confidence).set_index(PLACE)["floor"]
    first = runs[runs["alias"] == ""]
    parts = [
        _of_place(part, controls, factors, float(floors.get(place, np.nan)), confidence).assign(
            **dict(zip(PLACE, place, strict=True))
        )
        for place, part in first.groupby(PLACE, sort=True)
    ]
    found = [part for part in parts if len(part)]
    if not found:
        return pd.DataFrame(columns=COST_COLUMNS)
    return pd.concat(found, ignore_index=True)[COST_COLUMNS]


@any_names
def cost_between(
    runs: pd.DataFrame,
    factors: Sequence[str],
    one: Mapping[str, Level],
    other: Mapping[str, Level],
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the step times of two configurations, paired within blocks.

    Parameters
    ----------
    runs
        As for ``costs``.
    one, other
        The level of each factor; factors that are not named may have any.

    Returns
    -------
    DataFrame
        ``ratio, low, high, blocks``, one row for each machine and number of threads where both
        were timed.
    """
    first = runs[runs["alias"] == ""]

    def times(levels: Mapping[str, Level]) -> pd.DataFrame:
        hit = np.all([first[name] == levels[name] for name in factors if name in levels], axis=0)
        return (
            first[hit].groupby([*PLACE, "block"])["seconds"].median().rename("time").reset_index()
        )

    both = times(one).merge(times(other), on=[*PLACE, "block"], suffixes=("", "_other"))
    rows = []
    for place, part in both.groupby(PLACE, sort=True):
        found = hodges_lehmann(np.log(part["time"] / part["time_other"]).to_numpy(), confidence)
        low, high = (found.low, found.high) if found.confidence >= confidence else (np.nan, np.nan)
        rows.append((*place, *np.exp([found.estimate, low, high]), found.n))
    return pd.DataFrame(rows, columns=[*PLACE, "ratio", "low", "high", "blocks"])


def _of_place(
    timings: pd.DataFrame,
    controls: Mapping[str, Level],
    factors: Sequence[str],
    floor: float,
    confidence: float,
) -> pd.DataFrame:
    points = seed_effects(timings, controls, factors, outcome="seconds", block="block")
    memory = seed_effects(timings, controls, factors, outcome="memory", block="block")
    memory_of = memory.groupby(["axis", "level"], sort=False)["difference"].median()
    middle = {axis: timings.groupby(axis, sort=False)[_TIMES].median() for axis in controls}
    rows = []
    for (axis, level), part in points.groupby(["axis", "level"], sort=False):
        found = hodges_lehmann(part["difference"].to_numpy(), confidence)
        enough = found.confidence >= confidence
        low, high = (found.low, found.high) if enough else (np.nan, np.nan)
        beyond = abs(found.estimate) > np.log(floor) and (low > 0 or high < 0)
        verdict = (SLOWER if found.estimate > 0 else FASTER) if beyond else NO_SLOWER
        every = timings.loc[timings[axis] == level, "block"].nunique()
        rows.append(
            {
                "axis": axis,
                "level": level,
                "control": controls[axis],
                "ratio": np.exp(found.estimate),
                "low": np.exp(low),
                "high": np.exp(high),
                "floor": floor,
                "verdict": verdict,
                **middle[axis].loc[level].to_dict(),
                "control_seconds": middle[axis].loc[controls[axis], "seconds"],
                "memory_ratio": np.exp(memory_of[axis, level]),
                "cells": int(part["cells"].max()),
                "blocks": found.n,
                "n": found.n,
                "procedure": (
                    "log ratios of step times paired within blocks, mean over cells; "
                    f"Hodges-Lehmann estimate, exact {confidence:.0%} interval over Walsh "
                    "averages, of this comparison alone; a difference counts beyond the noise floor"
                ),
                "assumes": "blocks independent, their differences symmetric",
                "left_out": format_counts((every - found.n, "block without its pair")),
            }
        )
    return pd.DataFrame(rows)
