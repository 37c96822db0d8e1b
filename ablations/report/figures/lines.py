"""Lines over epochs: a line for each level with its band, and its name at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ablations.report.data import ReportData
from ablations.report.figures.layout import line_height
from ablations.report.figures.marks import Mark, attach
from ablations.report.style import COLOURS, DASHES, MARKERS, POINTS_PER_INCH, wrap_name

MOST_CURVES = 8
"""Levels that a panel has room for."""
LABEL_SIZE = 9.5


@dataclass(frozen=True)
class LevelLine:
    """A line to draw: its level, its points with bounds, and how it looks.

    ``rows`` has ``epoch``, the column ``value`` with its bounds ``low`` and ``high``; ``write``
    puts a value and its bounds in words.
    """

    axis: str
    level: str
    name: str
    rows: pd.DataFrame
    value: str
    write: Callable[[Mapping[str, Any]], str]
    look: Sequence[str]
    """Colour, marker and dashes."""
    width: float = 1.8

    @cached_property
    def points(self) -> pd.DataFrame:
        """The rows with a finite value."""
        return self.rows[np.isfinite(self.rows[self.value].to_numpy(dtype=float))]


def most_telling_levels(data: ReportData, axis: str, available: set[str]) -> tuple[str, ...]:
    """Choose the levels that a panel has room for: the control, and those farthest from it."""
    levels = tuple(level for level in data.design.levels[axis] if level in available)
    if len(levels) <= MOST_CURVES:
        return levels
    effects = data.effects[data.effects["axis"] == axis].set_index("level")["effect"].abs()
    furthest = effects.sort_values(ascending=False, kind="stable").index[: MOST_CURVES - 1]
    selection = {*furthest, data.design.controls.get(axis)}
    shown_levels = tuple(level for level in levels if level in selection)
    return shown_levels if len(shown_levels) > 1 else levels[:MOST_CURVES]


def level_styles(levels: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Give each level a colour, a marker and a dash pattern."""
    return zip(levels, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)


def draw_level(panel: Axes, line: LevelLine) -> None:
    """Draw a line with its band, and attach its data to both."""
    rows = line.points
    if rows.empty:
        return
    colour, marker, dashes = line.look
    band = draw_band(panel, rows, color=colour, alpha=0.12)
    attach(band, Mark(axis=line.axis, level=line.level, kind="mark-part"))
    (artist,) = draw_line(
        panel, rows, line.value, color=colour, marker=marker, markersize=4.5, linestyle=dashes,
        linewidth=line.width, markevery=[len(rows) - 1], label=line.level, clip_on=False,
    )  # fmt: skip
    names = ["epoch", line.value, "low", "high"]
    records = [dict(zip(names, row, strict=True)) for row in rows[names].to_numpy().tolist()]
    last = records[-1]
    texts = [f"epoch {row['epoch']:g}: {line.write(row)}" for row in records]
    places = ((row["epoch"], row[line.value]) for row in records)
    series = tuple((*place, text) for place, text in zip(places, texts, strict=True))
    text = f"{line.axis} {line.name}, {texts[-1]}"
    value, low, high = (float(last[name]) for name in (line.value, "low", "high"))
    attach(artist, Mark(text, line.axis, line.level, value, low, high, series=series))


def draw_band(panel: Axes, rows: pd.DataFrame, **style: Any) -> Any:
    """Fill the area between ``low`` and ``high`` by epoch."""
    x, low, high = (rows[name].to_numpy(dtype=float) for name in ("epoch", "low", "high"))
    return panel.fill_between(x, low, high, linewidth=0, **style)


def draw_line(panel: Axes, rows: pd.DataFrame, name: str, **style: Any) -> list[Any]:
    """Draw a line through the finite values of a column, its markers with a white edge."""
    x, y = (rows[column].to_numpy(dtype=float) for column in ("epoch", name))
    finite = np.isfinite(y)
    return panel.plot(x[finite], y[finite], markeredgecolor="w", markeredgewidth=0.75, **style)


def name_ends(panel: Axes, lines: Sequence[LevelLine], height: float, width: int = 22) -> None:
    """Write the name of each line at its end, moved so that no two overlap.

    ``height`` is that of the panel in inches; the names lie right of it.
    """
    ends = []
    for line in lines:
        if len(line.points):
            last = float(line.points[line.value].iloc[-1])
            ends.append((line, last, wrap_name(line.name, width)))
    if not ends:
        return
    transform = panel.transScale.transform
    bottom, top = (transform((1, y))[1] for y in panel.get_ylim())
    low, high = sorted(panel.get_ylim())
    anchors = [min(max(value, low), high) for _, value, _ in ends]
    places = [(transform((1, y))[1] - bottom) / (top - bottom) * height for y in anchors]
    sizes = [line_height(LABEL_SIZE) * (text.count("\n") + 1) for _, _, text in ends]
    end = max(float(line.rows["epoch"].max()) for line, _, _ in ends)
    shifts = spread_out(places, sizes, height)
    for (line, _, text), anchor, place, y in zip(ends, anchors, places, shifts, strict=True):
        label = panel.annotate(
            text, (end, anchor), (8, (y - place) * POINTS_PER_INCH), textcoords="offset points",
            va="center", ha="left", fontsize=LABEL_SIZE, color=line.look[0], annotation_clip=False,
            linespacing=1.05,
        )  # fmt: skip
        attach(label, Mark(axis=line.axis, level=line.level, kind="legend-entry"))


def spread_out(places: Sequence[float], sizes: Sequence[float], room: float) -> list[float]:
    """Move places apart, as little as necessary, so that things of these sizes do not overlap.

    Things in contact form a block around the mean of their places (pool adjacent violators); where
    all have room, none lies outside of 0 to ``room``.
    """
    order = np.argsort(places, kind="stable")
    blocks: list[tuple[list[int], float]] = []  # indices, and the start of the block
    for i in order:
        blocks.append(([int(i)], places[i] - sizes[i] / 2))
        while True:
            indices, start = blocks[-1]
            total = sum(sizes[j] for j in indices)
            start = max(min(start, room - total), 0.0)
            blocks[-1] = (indices, start)
            if len(blocks) < 2:
                break
            before, before_start = blocks[-2]
            if before_start + sum(sizes[j] for j in before) <= start + 1e-9:
                break
            merged = before + indices
            offsets = np.cumsum([0.0, *(sizes[j] for j in merged[:-1])])
            middles = [
                places[j] - sizes[j] / 2 - offset for j, offset in zip(merged, offsets, strict=True)
            ]
            blocks[-2:] = [(merged, float(np.mean(middles)))]
    moved = [0.0] * len(places)
    for indices, start in blocks:
        for j in indices:
            moved[j] = start + sizes[j] / 2
            start += sizes[j]
    return moved


def set_epochs(panel: Axes, ticks: int = 5) -> None:
    """Label an axis of epochs with few whole numbers."""
    panel.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1))
    low, high = panel.dataLim.intervalx
    if high > low:  # names of lines begin where these end
        panel.set_xlim(low - 0.02 * (high - low), high)
    sns.despine(ax=panel)
