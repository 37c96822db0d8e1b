"""The figure of cost: the outcome against the time of a run, with the names of the best trades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.report.data import ReportData
from ablations.report.figures.layout import line_height, measure_text
from ablations.report.figures.lines import level_styles
from ablations.report.figures.marks import Mark, attach
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    figure_panels,
    is_wide,
    set_log_axis,
    wrap_text,
)
from ablations.report.formatting import format_number
from ablations.report.style import INK, PAPER, POINTS_PER_INCH

MOST_NAMES = 8
"""Points of the front that have names: the first, the last, and those with the largest steps."""
NAME_SIZE = 9.5


def time_figures(data: ReportData) -> Iterator[FigureSpec]:
    """The outcome against the time of a run, one mark per configuration."""
    table = data.configurations
    points = table[table["complete"] & table["seconds"].gt(0)]
    if len(points) < 2:
        return
    axis = _widest_axis(data)
    draw = partial(
        outcome_against_time, points, axis, data.design.levels, data.design.controls, data.outcome,
    )  # fmt: skip
    yield FigureSpec.describe(
        "time",
        "time",
        draw,
        n=len(points),
        front=int(points["pareto"].sum()),
        outcome=data.outcome,
        timed=data.timed,
    )


def _widest_axis(data: ReportData) -> str | None:
    sizes = data.effects["effect"].abs().groupby(data.effects["axis"], sort=False).max()
    if sizes.notna().any():
        return str(sizes.idxmax())
    return data.design.axes[0] if data.design.axes else None


def outcome_against_time(
    points: pd.DataFrame,
    axis: str | None,
    levels: Mapping[str, Sequence[str]],
    controls: Mapping[str, str],
    outcome: str,
    canvas: Canvas = WIDE,
) -> Figure:
    """Draw every complete configuration's outcome against its time, and the Pareto front."""
    height = 3.4
    factors = [name for name in levels if name in points and len(set(points[name])) > 1]
    names = [_name(row, factors, controls) for row in points.to_dict("records")]
    points = points.assign(name=names).sort_values("seconds", kind="stable")
    with figure_panels([height], canvas=canvas) as (figure, (panel,)):
        add_head(figure, f"Mean {outcome} of each configuration, by the time of one run", canvas)
        handles = list(_draw_points(panel, points, axis, levels, outcome))
        front = points[points["pareto"]]
        (line,) = panel.plot(
            front["seconds"], front["mean"], drawstyle="steps-post", color=INK, linewidth=1.2,
            marker="o", markerfacecolor="none", markersize=9, zorder=3,
            label="none is both faster and better",
        )  # fmt: skip
        add_key(figure, [*handles, line], canvas)
        for name, column in (("x", "seconds"), ("y", "mean")):
            if is_wide(points[column]):
                set_log_axis(panel, name)
        panel.set_xlabel("seconds of one run, median over seeds")
        sns.despine(ax=panel)
        panel.margins(0.06)
        _name_front(figure, panel, front, points[points["name"] == CONTROL])
    return figure


CONTROL = "control"
MOST_MARKS = 600
"""Points that carry their data; more are one picture, over which the front carries its own."""


def _name(row: Mapping[str, Any], factors: Sequence[str], controls: Mapping[str, str]) -> str:
    """Name a configuration by its levels other than the controls."""
    levels = [str(row[name]) for name in factors if row[name] != controls.get(name)]
    return " + ".join(levels) or CONTROL


def _draw_points(
    panel: Axes,
    points: pd.DataFrame,
    axis: str | None,
    levels: Mapping[str, Sequence[str]],
    outcome: str,
) -> Iterator[Line2D]:
    """Draw the configurations, a colour and a marker for each level; yield their signs."""
    is_many = len(points) > MOST_MARKS
    for level, colour, marker, _ in level_styles(levels[axis] if axis else ["configuration"]):
        rows = points[points[axis] == level] if axis else points
        if rows.empty:
            continue
        size = 34 if len(rows) <= 100 else 18 if len(rows) <= 500 else 10
        sns.scatterplot(
            x=rows["seconds"].to_numpy(), y=rows["mean"].to_numpy(), ax=panel, s=size, color=colour,
            marker=marker, alpha=0.75, linewidth=0, legend=False, rasterized=is_many,
        )  # fmt: skip
        label = f"{axis} {level}" if axis else level
        sign = Line2D([], [], color=colour, marker=marker, markersize=6, lw=0, label=label)
        if axis:
            attach(sign, Mark(axis=axis, level=level, kind="legend-entry"))
        if not is_many:
            records = rows.to_dict("records")
            marks = [_point_mark(row, axis or "", level, outcome) for row in records]
            attach(panel.collections[-1], *marks)
        yield sign


def _point_mark(row: Mapping[str, Any], axis: str, level: str, outcome: str) -> Mark:
    ends = "" if np.isnan(row["low"]) else (
        f" (95 % interval {format_number(row['low'])} to {format_number(row['high'])})"
    )  # fmt: skip
    text = (
        f"{row['name']}: {outcome} {format_number(row['mean'])}{ends}, "
        f"{format_number(row['seconds'])} s a run"
    )
    value, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    return Mark(text, axis, level if axis else "", value, low, high)


def _name_front(figure: Figure, panel: Axes, front: pd.DataFrame, control: pd.DataFrame) -> None:
    """Write the names of the control and of the front's points where they hide least."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # where marks lie is only known in a figure of its final size
    scale = POINTS_PER_INCH / figure.dpi
    marks = [
        panel.transData.transform(collection.get_offsets()) * scale
        for collection in panel.collections
    ]
    obstacles = np.vstack(marks)
    frame = panel.get_window_extent().get_points() * scale
    rows = pd.concat([control, _steepest(front)]).drop_duplicates("name")
    boxes: list[tuple[float, float, float, float]] = []
    for row in rows.to_dict("records"):
        text = wrap_text(row["name"], 1.7, NAME_SIZE)
        width = measure_text(text, NAME_SIZE) * POINTS_PER_INCH + 3
        height = line_height(NAME_SIZE) * POINTS_PER_INCH * (text.count("\n") + 1) + 2
        point = panel.transData.transform((row["seconds"], row["mean"])) * scale
        place = _find_place(point, (width, height), obstacles, boxes, frame)
        if place is None:
            continue
        (x, y), boxes = place, [*boxes, (*place, place[0] + width, place[1] + height)]
        offset = (x - point[0] + width / 2, y - point[1] + height / 2)
        panel.annotate(
            text, (row["seconds"], row["mean"]), offset,
            textcoords="offset points", ha="center", va="center", fontsize=NAME_SIZE, zorder=5,
            fontweight="bold" if row["name"] == CONTROL else "normal", linespacing=1.05,
            bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkB": 5},
        ).set_in_layout(False)  # fmt: skip


def _steepest(front: pd.DataFrame) -> pd.DataFrame:
    """The points of the front that have names."""
    if len(front) <= MOST_NAMES:
        return front
    steps = front["mean"].diff().abs().fillna(np.inf)
    steps.iloc[-1] = np.inf
    return front.loc[steps.sort_values(ascending=False, kind="stable").index[:MOST_NAMES]]


def _find_place(
    point: np.ndarray,
    size: tuple[float, float],
    obstacles: np.ndarray,
    boxes: Sequence[tuple[float, float, float, float]],
    frame: np.ndarray,
) -> tuple[float, float] | None:
    """Find the lower left corner of a text near its point: inside the frame, over no other text,
    over as few marks as possible, and then as near as possible.
    """
    width, height = size
    places = []
    for distance in (9, 20, 36, 56, 80, 110):
        for angle in np.deg2rad(np.arange(0, 360, 22.5)):
            x = point[0] + distance * np.cos(angle) + (np.cos(angle) - 1) * width / 2
            y = point[1] + distance * np.sin(angle) + (np.sin(angle) - 1) * height / 2
            corners = (x, y, x + width, y + height)
            is_inside = (frame[0] <= (x, y)).all() and (frame[1] >= corners[2:]).all()
            if is_inside and not any(_overlap(corners, box) for box in boxes):
                hidden = (
                    (obstacles > (x - 4, y - 4)) & (obstacles < (x + width + 4, y + height + 4))
                ).all(axis=1)
                places.append((int(hidden.sum()) * 12 + distance, x, y))
    return min(places)[1:] if places else None


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
