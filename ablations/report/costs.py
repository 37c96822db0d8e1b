"""What was timed, as the report tells it: costs of levels, of configurations, of the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablations.analysis import cost_between, costs, varying
from ablations.report.levels import in_order, label, levels_in_order, with_text_levels
from ablations.report.story import Story

if TYPE_CHECKING:
    from ablations.store import Results


def timings_of(results: Results, story: Story) -> tuple[pd.DataFrame, tuple[str, ...]]:
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


def time_costs(results: Results, story: Story) -> pd.DataFrame:
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
