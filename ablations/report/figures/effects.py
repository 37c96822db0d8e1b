"""Figures of effects: every level against its control, every pair of levels, and the time of a
step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablations.analysis import UNDECIDED, Scale
from ablations.analysis.costs import FASTER, SLOWER
from ablations.analysis.design import Design
from ablations.report import style
from ablations.report.data import ReportData
from ablations.report.figures.marks import Mark, attach, attach_row, describe_effect
from ablations.report.figures.names import PLAIN, Names
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    axis_panels,
    draw_interval,
    label_rows,
    set_ratio_scale,
    verdict_mark,
)
from ablations.report.formatting import (
    bracket,
    format_number,
    format_ratio,
    round_percent,
)
from ablations.report.strengths import name_axis, name_level
from ablations.report.texts import describe_effects


def effect_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Every level against its control."""
    if not data.effects["seeds"].sum():
        return
    names = Names(data.metadata)
    draw = partial(main_effects, data.effects, data.by_seed, data.design, data.outcome, names=names)
    answer = describe_effects(data.effects, data.design, "change")
    spec = FigureSpec.describe("effects", "main-effects", draw, answer=answer, outcome=data.outcome)
    yield replace(spec, is_on_page=False)  # the forest of the first screen says it better


def main_effects(
    effects: pd.DataFrame,
    by_seed: pd.DataFrame,
    design: Design,
    outcome: str,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw every level's effect: each seed a point, the mean with its interval, the margin."""
    scale, bound = design.scale, design.bound
    with axis_panels(effects, 0.3, canvas) as (figure, panels):
        lowest = panels[-1][-1]
        _set_effect_scale(lowest, effects, by_seed, scale, bound)
        for axis, rows, panel in panels:
            _draw_no_change(panel, bound)
            _draw_seeds(panel, by_seed[by_seed["axis"] == axis], rows)
            for i, row in enumerate(rows.to_dict("records")):
                _draw_effect(panel, i, row, design, names)
            panel.set(xlabel="", ylabel="")
            control = names.short(axis, rows["control"].iloc[0])
            levels = [names.short(axis, level) for level in rows["level"]]
            label_rows(panel, levels, f"{name_axis(axis)}, against {control}")
        unit = " (ratio scale)" if scale == "log" else ""
        side = "right" if design.higher_is_better else "left"
        lowest.set_xlabel(f"change of {outcome}{unit}; {side} is better")
        _add_effect_legend(figure, effects, design, canvas, seeds=len(by_seed) > 0)
    return figure


def _draw_effect(panel: Axes, y: float, row: dict[str, Any], design: Design, names: Names) -> None:
    """Draw an effect with its interval and its data."""
    look = verdict_mark(row["verdict"], higher_is_better=design.higher_is_better)
    line = draw_interval(panel, y, row["effect"], row["low"], row["high"], **look)
    control = names.short(row["axis"], row["control"])
    name = f"{names.full(row['axis'], row['level'])} against {control}"
    attach_row(line, row, f"{name}: {describe_effect(row, design.scale)}")


def _draw_no_change(panel: Axes, bound: float) -> None:
    panel.axvspan(-bound, bound, color=style.BAND, zorder=0, linewidth=0)
    panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)


def _draw_seeds(panel: Axes, points: pd.DataFrame, rows: pd.DataFrame) -> None:
    points = points[np.isfinite(points["difference"].to_numpy(dtype=float))]
    positions = {level: i for i, level in enumerate(rows["level"])}
    seeds = {seed: i for i, seed in enumerate(sorted(points["seed"].unique()))}
    # A seed has the same position in every row, so that the eye can follow it.
    spread = points["seed"].map(seeds).to_numpy(dtype=float) / max(len(seeds) - 1, 1) - 0.5
    y = points["level"].map(positions).to_numpy(dtype=float) + 0.56 * spread * (len(seeds) > 1)
    x = points["difference"].to_numpy(dtype=float)
    size = 15 if len(seeds) <= 30 else 6
    panel.scatter(x, y, s=size, color=style.SEED, linewidth=0, zorder=2)


def _set_effect_scale(
    panel: Axes, effects: pd.DataFrame, by_seed: pd.DataFrame, scale: Scale, bound: float
) -> None:
    core = pd.concat([effects["effect"], by_seed["difference"]]).astype(float).dropna()
    ends = pd.concat([core, effects["low"], effects["high"]]).astype(float)
    # The interval of two seeds can be many times wider than all points: points decide.
    reach = 1.6 * max(core.abs().max(), 2 * bound)
    low = max(min(ends.min(), -1.5 * bound), -reach)
    high = min(max(ends.max(), 1.5 * bound), reach)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    panel.set_xlim(low, high)
    if scale == "log":
        set_ratio_scale(panel, low, high)


def _add_effect_legend(
    figure: Figure, effects: pd.DataFrame, design: Design, canvas: Canvas, *, seeds: bool
) -> None:
    scale, bound, is_higher = design.scale, design.bound, design.higher_is_better
    marks: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            linewidth=2.2,
            label=verdict,
            **verdict_mark(verdict, higher_is_better=is_higher),
        )
        for verdict in style.VERDICT_COLOURS
        if (effects["verdict"] == verdict).any()
    ]
    if seeds:
        marks.append(
            Line2D([], [], color=style.SEED, marker="o", markersize=4, lw=0, label="one seed")
        )
    text = round_percent(math.expm1(bound)).lstrip("+") if scale == "log" else format_number(bound)
    marks.append(Patch(color=style.BAND, label=f"within \N{PLUS-MINUS SIGN}{text}"))
    add_key(figure, marks, canvas)


def timing_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Time of a step at every level, one figure per machine and number of threads."""
    groups = data.costs.groupby(["environment_id", "threads"], sort=True)
    for i, ((environment, threads), costs) in enumerate(groups):
        ratios = [
            f"{name_level(row.axis, row.level)} {format_ratio(row.ratio)}"
            for row in costs.itertuples()
        ]
        yield FigureSpec.describe(
            "timings",
            "step-times" + (f"-{i + 1}" if i else ""),
            partial(time_ratios, costs, names=Names(data.metadata)),
            ratios=ratios,
            blocks=int(costs["blocks"].max()),
            machine=environment if len(data.floors) > 1 else "",
            threads=int(threads),
        )


def time_ratios(costs: pd.DataFrame, canvas: Canvas = WIDE, names: Names = PLAIN) -> Figure:
    """Draw the time of a step at every level over that at its control, and the noise floor."""
    floor = math.log(float(costs["floor"].iloc[0])) if costs["floor"].notna().any() else 0.0
    ends = np.log(costs[["ratio", "low", "high"]].astype(float))
    low, high = min(float(ends.min().min()), -floor), max(float(ends.max().max()), floor)
    room = 0.06 * (high - low) or 0.01
    with axis_panels(costs, 0.28, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            _draw_no_change(panel, floor)
            for i, row in enumerate(rows.to_dict("records")):
                _draw_time(panel, i, row, names)
            control = names.short(axis, rows["control"].iloc[0])
            levels = [names.short(axis, level) for level in rows["level"]]
            label_rows(panel, levels, f"{name_axis(axis)}, against {control}")
        lowest = panels[-1][-1]
        lowest.set_xlim(low - room, high + room)
        set_ratio_scale(lowest, low - room, high + room)
        add_head(figure, "Change of the time of a step against the control", canvas)
    return figure


def _draw_time(panel: Axes, y: float, row: dict[str, Any], names: Names) -> None:
    colour, face = style.TIMED, style.TIMED
    if row["verdict"] not in (SLOWER, FASTER):
        colour, face = style.VERDICT_COLOURS[UNDECIDED], style.PAPER
    ratio, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
    line = draw_interval(
        panel, y, *np.log([ratio, low, high]), color=colour, markerfacecolor=face, marker="o"
    )
    times = bracket(*map(format_ratio, (ratio, low, high)))
    control = names.short(row["axis"], row["control"])
    text = f"{names.full(row['axis'], row['level'])}: {times} of the time at {control}"
    attach(line, Mark(text, row["axis"], str(row["level"]), ratio, low, high))
