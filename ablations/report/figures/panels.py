"""The parts that figures share: grids of panels, rows of levels, lines, points, and scales."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self, cast

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ablations.analysis import UNDECIDED
from ablations.report.figures.layout import PAD, FittedLayout, line_height, measure_text
from ablations.report.figures.marks import attach, marks_of
from ablations.report.formatting import TIMES, Unit, round_changes
from ablations.report.style import (
    PAPER,
    POINTS_PER_INCH,
    VERDICT_COLOURS,
    VERDICT_MARKERS,
    ratio_ticks,
    style_context,
    wrap_name,
)
from ablations.report.texts import write_text

_KEY_SIZE = 9.5
NAME_GAP = 0.06
"""Inches between the names of two rows."""
NAME_SIZE, TITLE_SIZE = 9.5, 11.5
"""Points of the names of rows, and of titles, which are bold and therefore wider."""


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the page before it is drawn: the section of the page that shows it, the name of
    its files, what it shows for readers who cannot see it, and how to read it.
    """

    section: str
    name: str
    draw: Callable[..., Figure]
    """Draws the figure; its argument ``canvas`` is ``WIDE`` by default, or ``NARROW``."""
    alt: str
    caption: str
    is_on_page: bool = True
    """Whether the page shows it, or it is a file for papers only."""

    @classmethod
    def describe(cls, section: str, name: str, draw: Callable[..., Figure], **facts: Any) -> Self:
        """Make a figure with the texts of its section, filled in with ``facts``."""
        alt, caption = (write_text(f"{section}_{kind}", **facts) for kind in ("alt", "caption"))
        return cls(section, name, draw, alt, caption)


@dataclass(frozen=True)
class Canvas:
    """What a figure is drawn for: a wide screen and paper, or a phone."""

    width: float
    is_narrow: bool = False

    def columns(self, n: int, most: int = 2) -> int:
        """How many of ``n`` panels stand beside one another."""
        return 1 if self.is_narrow else max(1, min(n, most))


WIDE, NARROW = Canvas(9.6), Canvas(3.9, is_narrow=True)


@contextmanager
def figure_panels(
    heights: Sequence[float], columns: int = 1, canvas: Canvas = WIDE, **grid: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure in the report's style, with panels in reading order.

    ``heights`` has the inches of each row of panels; ``grid`` further arguments of
    ``Figure.subplots``.
    """
    with style_context():
        size = (canvas.width, 2 * sum(heights))
        figure = Figure(figsize=size, dpi=POINTS_PER_INCH, layout=FittedLayout(heights))
        grid |= {"height_ratios": heights, "squeeze": False}
        yield figure, list(figure.subplots(len(heights), columns, **grid).ravel())


@contextmanager
def axis_panels(
    table: pd.DataFrame, row_height: float, canvas: Canvas = WIDE
) -> Iterator[tuple[Figure, list[tuple[str, pd.DataFrame, Axes]]]]:
    """Open a figure with a panel for each axis of ``table``, and in it a row for each level.

    ``row_height`` is in inches.  Each axis comes with its rows of ``table`` and its panel.
    """
    axes = list(dict.fromkeys(table["axis"]))
    tables = [table[table["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [row_height * len(rows) for rows in tables]
    with figure_panels(heights, canvas=canvas, sharex=True) as (figure, panels):
        yield figure, list(zip(axes, tables, panels, strict=True))


def add_head(figure: Figure, text: str, canvas: Canvas = WIDE, **style: Any) -> None:
    """Write a line above all panels, below those that are there."""
    size = style.pop("size", 9.5)
    lines = wrap_text(text, canvas.width - 2 * PAD, size)
    head = figure.text(0, 0, lines, size=size, va="top", ha="left", linespacing=1.25, **style)
    _layout(figure).head.append(head)


def add_key(figure: Figure, handles: Sequence[Artist], canvas: Canvas = WIDE) -> Legend:
    """Explain marks in a line above all panels, or in as many lines as it needs."""
    for handle in handles:
        handle.set_label(wrap_name(str(handle.get_label()), 26 if canvas.is_narrow else 60))
    widths = [measure_text(str(handle.get_label()), _KEY_SIZE) for handle in handles]
    room, sign = canvas.width - 2 * PAD, 0.62
    n = next(
        n
        for n in range(len(handles), 0, -1)
        if n == 1 or sum(_column_widths(widths, n)) + n * sign <= room
    )
    legend = figure.legend(
        handles=list(handles), loc="upper left", ncols=n, fontsize=_KEY_SIZE, columnspacing=1.6,
        handletextpad=0.6, handlelength=1.8, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    signs: list[Any] = list(legend.legend_handles)
    for handle, *artists in zip(handles, signs, legend.get_texts(), strict=True):
        for artist in artists:
            attach(artist, *marks_of(handle))
    _layout(figure).head.append(legend)
    return legend


def _column_widths(widths: Sequence[float], n: int) -> list[float]:
    """The widest text of each of ``n`` columns, which are filled one after the other."""
    columns = np.array_split(np.asarray(widths), n)
    return [float(column.max()) for column in columns]


def _layout(figure: Figure) -> FittedLayout:
    return cast("FittedLayout", figure.get_layout_engine())


def wrap_text(text: str, width: float, size: float) -> str:
    """Break a text into lines of at most ``width`` inches, between words, and within a word that
    is wider than a line after what joins its parts.
    """
    lines = [""]
    for word in text.split(" "):
        is_wide = measure_text(word, size) > width
        for i, piece in enumerate(re.split(r"(?<=[_/,=-])", word) if is_wide else [word]):
            line = f"{lines[-1]}{'' if i else ' '}{piece}" if lines[-1] else piece
            if lines[-1] and measure_text(line, size) > width:
                lines.append(piece)
            else:
                lines[-1] = line
    return "\n".join(lines)


def label_rows(panel: Axes, names: Sequence[str], title: str = "", width: int = 26) -> None:
    """Name a panel and its rows, from the top down, and remove the lines between them.

    The rows get the height that names of two lines need.
    """
    texts = [wrap_name(name, width) for name in names]
    lines = [1, *(text.count("\n") + 1 for text in texts)]
    most = max(sum(pair) / 2 for pair in pairwise([*lines, 1]))
    figure = cast("Figure", panel.get_figure())
    if most > 1:
        row = most * line_height(NAME_SIZE) + NAME_GAP
        _layout(figure).raise_height(panel, len(names) * row)
    panel.set_yticks(range(len(names)), texts)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.tick_params(length=0)
    sns.despine(ax=panel, left=True)
    if title:
        spec: Any = panel.get_subplotspec()
        widest = max((measure_text(text, NAME_SIZE) for text in texts), default=0.0)
        room = figure.get_figwidth() / spec.get_gridspec().ncols - widest - 0.3
        panel.set_title(wrap_text(title, room, TITLE_SIZE))


def set_ratio_scale(
    panel: Axes,
    low: float,
    high: float,
    *,
    signed: bool = True,
    axis: Literal["x", "y"] = "x",
    most: int = 9,
    unit: Unit = "percent",
) -> None:
    """Label an axis of log ratios between ``low`` and ``high`` with relative changes."""
    ticks = ratio_ticks(low, high, most)
    texts = [text if signed else text.lstrip("+") for text in round_changes(ticks)]
    if unit == "ratio":
        texts = [f"{TIMES}{1 + tick:.3g}" for tick in ticks]
    places = [math.log1p(tick) for tick in ticks]
    if axis == "x":
        set_ticks(panel, places, texts)
    else:
        panel.set_yticks(places, texts)


def set_ticks(panel: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """Label the horizontal axis at some places, or at as many of them as have room."""
    panel.set_xticks(places, texts)
    figure = panel.get_figure()
    if isinstance(figure, Figure):
        _layout(figure).scales[panel] = (places, texts)


def is_wide(values: pd.Series, ratio: float = 8) -> bool:
    """Whether positive values are so far apart that they need a logarithmic axis."""
    return len(values) > 0 and values.min() > 0 and bool(values.max() / values.min() > ratio)


def set_log_axis(panel: Axes, name: str) -> None:
    """Make an axis logarithmic, with a few plain numbers on it."""
    panel.set(**{f"{name}scale": "log"})
    axis = panel.xaxis if name == "x" else panel.yaxis
    low, high = axis.get_view_interval()
    powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    within_a_decade = high / low < 50 or powers < 2
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def verdict_mark(verdict: str, *, higher_is_better: bool) -> dict[str, Any]:
    """The mark of a verdict, a triangle in the direction of the change; hollow if undecided."""
    colour, marker = VERDICT_COLOURS[verdict], VERDICT_MARKERS[verdict]
    if higher_is_better:
        marker = {"v": "^", "^": "v"}.get(marker, marker)
    face = PAPER if verdict == UNDECIDED else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face}


def draw_interval(
    panel: Axes, y: float, estimate: float, low: float, high: float, **look: Any
) -> Line2D:
    """Draw an estimate as a mark on its interval, as one artist; an arrow where the interval goes
    beyond the panel.
    """
    look = {"linewidth": 2.2, "markersize": 7, "markeredgewidth": 1.6, "zorder": 4, **look}
    x = [estimate, estimate, estimate] if math.isnan(low) else [low, estimate, high]
    (line,) = panel.plot(x, [y] * 3, markevery=[1], solid_capstyle="butt", **look)
    ends = panel.get_xlim()
    for end, marker, is_beyond in ((0, "<", x[0] < ends[0]), (1, ">", x[2] > ends[1])):
        if is_beyond:
            panel.plot(ends[end], y, marker=marker, color=look["color"], markersize=5.5, zorder=5,
                       clip_on=False)  # fmt: skip
    return line
