"""The figure of cost: the outcome against the time of a run, with the names of the best trades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.report.data import ReportData
from ablations.report.figures.layout import line_height, measure_text
from ablations.report.figures.lines import level_styles
from ablations.report.figures.marks import Mark, attach
from ablations.report.figures.names import CONFIGURATION, CONTROL, PLAIN, Names
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
from ablations.report.formatting import bracket, format_number
from ablations.report.strengths import name_axis
from ablations.report.style import EDGE, INK, POINTS_PER_INCH

MOST_NAMES, MOST_NARROW_NAMES = 6, 4
"""Points of the front that have names."""
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
        names=Names(data.metadata),
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
    names: Names = PLAIN,
) -> Figure:
    """Draw every complete configuration's outcome against its time, and the Pareto front."""
    height = 3.4
    factors = [name for name in levels if name in points and len(set(points[name])) > 1]
    texts = [names.configuration(row, factors, controls) for row in points.to_dict("records")]
    points = points.assign(name=texts, key=points.index.map(str))
    points = points.sort_values("seconds", kind="stable")
    with figure_panels([height], canvas=canvas) as (figure, (panel,)):
        text = f"Mean {outcome} of each configuration, by the time of one run"
        add_head(figure, f"{text}; colour: {name_axis(axis)}" if axis else text, canvas)
        is_bare = canvas.is_narrow or len(points) > MOST_MARKS
        handles = list(_draw_points(panel, points, axis, levels, "" if is_bare else outcome, names))
        front = points[points["pareto"]]
        line = _draw_front(panel, front)
        rings = [
            _point_mark(row, axis, outcome) if is_bare else _companion(row, axis)
            for row in front.to_dict("records")
        ]
        attach(panel.collections[-1], *rings)
        add_key(figure, handles, canvas)
        add_key(figure, [line], canvas)
        for name, column, ratio in (("x", "seconds", 3), ("y", "mean", 8)):
            if is_wide(points[column], ratio):
                set_log_axis(panel, name)
        if panel.get_xscale() == "linear":
            panel.xaxis.set_major_locator(MaxNLocator(4 if canvas.is_narrow else 8))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.set_xlabel("seconds of one run, median over seeds")
        sns.despine(ax=panel)
        panel.margins(0.06)
        most = MOST_NARROW_NAMES if canvas.is_narrow else MOST_NAMES
        _name_front(figure, panel, front, points[points["name"] == CONTROL], most, axis)
    return figure


MOST_MARKS = 600
"""Points that carry their data; more are one picture, over which the front carries its own."""


def _draw_front(panel: Axes, front: pd.DataFrame) -> Line2D:
    """Draw the steps of the front and a circle around its points; return their sign."""
    x, y = front["seconds"].to_numpy(), front["mean"].to_numpy()
    look: dict[str, Any] = {"color": INK, "linewidth": 1.2}
    panel.plot(x, y, drawstyle="steps-post", zorder=3, **look)
    panel.scatter(x, y, s=81, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=3)
    label = "front: none is both faster and better"
    return Line2D([], [], marker="o", markerfacecolor="none", markersize=9, label=label, **look)


def _draw_points(
    panel: Axes,
    points: pd.DataFrame,
    axis: str | None,
    levels: Mapping[str, Sequence[str]],
    outcome: str,
    names: Names,
) -> Iterator[Line2D]:
    """Draw the configurations, a colour and a marker for each level; yield their signs.

    Without an ``outcome`` the points carry no text: they are too many, or too small for a finger.
    """
    is_many = len(points) > MOST_MARKS
    for level, colour, marker, _ in level_styles(levels[axis] if axis else ["configuration"]):
        rows = points[points[axis] == level] if axis else points
        if rows.empty:
            continue
        size = 34 if len(rows) <= 100 else 18 if len(rows) <= 500 else 10
        sns.scatterplot(
            x=rows["seconds"].to_numpy(), y=rows["mean"].to_numpy(), ax=panel, s=size, color=colour,
            marker=marker, alpha=0.85, linewidth=0, legend=False, rasterized=is_many,
        )  # fmt: skip
        label = names.short(axis, level) if axis else level
        sign = Line2D([], [], color=colour, marker=marker, markersize=6, lw=0, label=label)
        if axis and not is_many:
            attach(sign, Mark(axis=axis, level=level, kind="legend-entry"))
        records = rows.to_dict("records")
        if outcome:
            attach(panel.collections[-1], *(_point_mark(row, axis, outcome) for row in records))
        elif not is_many:
            attach(panel.collections[-1], *(_companion(row, axis) for row in records))
        yield sign


def _companion(row: Mapping[str, Any], axis: str | None) -> Mark:
    """What belongs to a point, such as its ring, and is hidden with it."""
    level = (axis, str(row[axis])) if axis else ("", "")
    return Mark(axis=CONFIGURATION, level=row["key"], other=level, kind="mark-part")


def _point_mark(row: Mapping[str, Any], axis: str | None, outcome: str) -> Mark:
    mean = bracket(*(format_number(row[name]) for name in ("mean", "low", "high")))
    text = f"{row['name']}: {outcome} {mean}, {format_number(row['seconds'])} s a run"
    value, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    level = (axis, str(row[axis])) if axis else ("", "")
    return Mark(text, CONFIGURATION, row["key"], value, low, high, other=level)


def _name_front(
    figure: Figure,
    panel: Axes,
    front: pd.DataFrame,
    control: pd.DataFrame,
    most: int,
    axis: str | None,
) -> None:
    """Write the names of the control and of the front's points where they hide least."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # where marks lie is only known in a figure of its final size
    scale = POINTS_PER_INCH / figure.dpi
    steps = _sample_steps(panel.transData.transform(front[["seconds", "mean"]]) * scale)
    points = [
        panel.transData.transform(collection.get_offsets()) * scale
        for collection in panel.collections
    ]
    obstacles = np.vstack([*points, steps])
    frame = panel.get_window_extent().get_points() * scale
    rows = pd.concat([control, _steepest(front, most)]).drop_duplicates("name")
    boxes: list[tuple[float, float, float, float]] = []
    for row in rows.to_dict("records"):
        is_control = row["name"] == CONTROL
        text = wrap_text(row["name"], 1.6, NAME_SIZE)
        width = measure_text(text, NAME_SIZE, "bold" if is_control else "normal")
        height = line_height(NAME_SIZE) * (text.count("\n") + 1)
        size = width * POINTS_PER_INCH + 4, height * POINTS_PER_INCH + 1
        point = panel.transData.transform((row["seconds"], row["mean"])) * scale
        place = _find_place(point, size, obstacles, boxes, frame)
        if place is None:
            continue
        boxes.append((*place, place[0] + size[0], place[1] + size[1]))
        offset = (place[0] - point[0] + size[0] / 2, place[1] - point[1] + size[1] / 2)
        leader = {"arrowstyle": "-", "color": EDGE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5}
        label = panel.annotate(
            text, (row["seconds"], row["mean"]), offset, textcoords="offset points", ha="center",
            va="center", fontsize=NAME_SIZE, zorder=5, linespacing=1.05,
            fontweight="bold" if is_control else "normal", arrowprops=leader,
        )  # fmt: skip
        label.set_in_layout(False)
        for artist in (label, label.arrow_patch):
            if artist is not None:
                attach(artist, _companion(row, axis))


def _sample_steps(corners: np.ndarray) -> np.ndarray:
    """Points every few dots along the steps of the front, which names should not hide."""
    pieces = [corners[:1]]
    for (x, y), (next_x, next_y) in pairwise(corners):
        across = np.arange(x, next_x, 6.0)
        down = np.arange(min(y, next_y), max(y, next_y), 6.0)
        pieces.append(np.column_stack([across, np.full(len(across), y)]))
        pieces.append(np.column_stack([np.full(len(down), next_x), down]))
    return np.vstack(pieces)


def _steepest(front: pd.DataFrame, most: int) -> pd.DataFrame:
    """The points of the front that have names: its ends, and what is clearly better than the last
    that is named.
    """
    means = front["mean"].to_numpy(dtype=float)
    least = 0.04 * abs(means[-1] - means[0])
    shown = [0]
    for i in range(1, len(means)):
        if abs(means[i] - means[shown[-1]]) > least:
            shown.append(i)
    best = [i for i in shown if abs(means[i] - means[-1]) > least]
    steps = np.abs(np.diff(means[best], prepend=np.inf))
    first = sorted(best[i] for i in np.argsort(-steps, kind="stable")[: most - 1])
    return front.iloc[[*first, _first_as_good(means, least)]]


def _first_as_good(means: np.ndarray, least: float) -> int:
    """The fastest point that is about as good as the best."""
    return int(np.argmax(np.abs(means - means[-1]) <= least))


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
