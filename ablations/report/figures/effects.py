"""Figures of effects: every level against its control, every pair of levels, and the time of a
step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablations.analysis import UNDECIDED, Scale
from ablations.analysis.costs import NO_SLOWER
from ablations.analysis.design import Design
from ablations.report import style
from ablations.report.data import ReportData
from ablations.report.figures.marks import attach_row, describe_effect
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_key,
    axis_panels,
    label_rows,
    set_ratio_scale,
)
from ablations.report.formatting import (
    format_number,
    format_ratio,
    round_percent,
)
from ablations.report.texts import describe_effects


def effect_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Every level against its control."""
    if not data.effects["seeds"].sum():
        return
    draw = partial(main_effects, data.effects, data.by_seed, data.design, data.outcome)
    answer = describe_effects(data.effects, data.design, "level")
    spec = FigureSpec.describe("effects", "main-effects", draw, answer=answer, outcome=data.outcome)
    yield replace(spec, is_on_page=False)  # the forest of the first screen says it better


def main_effects(
    effects: pd.DataFrame,
    by_seed: pd.DataFrame,
    design: Design,
    outcome: str,
    canvas: Canvas = WIDE,
) -> Figure:
    """Draw every level's effect: each seed a point, the mean with its interval, the margin."""
    scale, bound = design.scale, design.bound
    with axis_panels(effects, 0.3, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            _draw_no_change(panel, bound)
            _draw_seeds(panel, by_seed[by_seed["axis"] == axis], rows)
            for i, row in enumerate(rows.to_dict("records")):
                draw_effect(panel, i, row, _mark(row["verdict"], design), scale)
            panel.set(xlabel="", ylabel="")
            label_rows(panel, rows["level"], f"{axis}, against {rows['control'].iloc[0]}")
        lowest = panels[-1][-1]
        _set_effect_scale(lowest, effects, by_seed, scale, bound)
        unit = " (ratio scale)" if scale == "log" else ""
        side = "right" if design.higher_is_better else "left"
        lowest.set_xlabel(f"change of {outcome}{unit}; {side} is better")
        _add_effect_legend(figure, effects, design, canvas, seeds=len(by_seed) > 0)
    return figure


def draw_effect(
    panel: Axes, y: float, row: Mapping[str, Any], mark: dict[str, Any], scale: Scale
) -> None:
    """Draw an effect as a mark on its interval, which together are one artist with its data."""
    x = [row["low"], row["effect"], row["high"]]
    style_of = {"linewidth": 2.2, "markersize": 7.5, "markeredgewidth": 1.6, **mark}
    if math.isnan(row["low"]):
        x = [row["effect"]] * 3
    (line,) = panel.plot(x, [y] * 3, markevery=[1], zorder=4, solid_capstyle="butt", **style_of)
    name = f"{row['axis']} {row['level']} against {row['control']}"
    other = (str(row.get("given", "")), str(row.get("given_level", "")))
    if other[0]:
        name += f", with {other[0]} {other[1]}"
    attach_row(line, row, f"{name}: {describe_effect(row, scale)}", other=other)


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
    sns.scatterplot(x=x, y=y, ax=panel, s=size, color=style.SEED, linewidth=0, zorder=2)


def _mark(verdict: str, design: Design) -> dict[str, Any]:
    """The mark of a verdict, a triangle in the direction of the change; hollow if undecided."""
    colour, marker = style.VERDICT_COLOURS[verdict], style.VERDICT_MARKERS[verdict]
    if design.higher_is_better:
        marker = {"v": "^", "^": "v"}.get(marker, marker)
    face = style.PAPER if verdict == UNDECIDED else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face}


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
    scale, bound = design.scale, design.bound
    marks: list[Line2D | Patch] = [
        Line2D([], [], linewidth=2.2, label=verdict, **_mark(verdict, design))
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
        ratios = [f"{row.axis} {row.level} {format_ratio(row.ratio)}" for row in costs.itertuples()]
        yield FigureSpec.describe(
            "timings",
            "step-times" + (f"-{i + 1}" if i else ""),
            partial(time_ratios, costs),
            ratios=ratios,
            blocks=int(costs["blocks"].max()),
            machine=environment if len(data.floors) > 1 else "",
            threads=int(threads),
        )


def time_ratios(costs: pd.DataFrame, canvas: Canvas = WIDE) -> Figure:
    """Draw the time of a step at every level over that at its control, and the noise floor."""
    floor = math.log(float(costs["floor"].iloc[0])) if costs["floor"].notna().any() else 0.0
    ends = np.log(costs[["ratio", "low", "high"]].astype(float))
    low, high = min(float(ends.min().min()), -floor), max(float(ends.max().max()), floor)
    room = 0.06 * (high - low) or 0.01
    with axis_panels(costs, 0.28, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            _draw_no_change(panel, floor)
            for i, row in rows.iterrows():
                colour, face = style.TIMED, style.TIMED
                if row["verdict"] == NO_SLOWER:
                    colour, face = style.VERDICT_COLOURS[UNDECIDED], style.PAPER
                panel.hlines(i, *np.log([row["low"], row["high"]]), color=colour, linewidth=2.4)
                panel.plot(
                    math.log(row["ratio"]), i, marker="o", markersize=7, color=colour,
                    markerfacecolor=face, markeredgewidth=1.6, zorder=4,
                )  # fmt: skip
            label_rows(panel, rows["level"], f"{axis}, against {rows['control'].iloc[0]}")
        lowest = panels[-1][-1]
        lowest.set_xlim(low - room, high + room)
        set_ratio_scale(lowest, low - room, high + room)
        lowest.set_xlabel("change of the time of a step (ratio scale)")
    return figure
