"""The parts that figures share: grids of panels, rows of levels, lines, points, and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.formatting import round_changes
from ablations.report.style import WIDTH, ratio_ticks, style_context, wrap_name


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the page before it is drawn.

    Attributes
    ----------
    section
        The section of the page that shows it.
    name
        The name of its files.
    draw
        Draws it.
    alt
        What it shows, for readers who cannot see it.
    caption
        How to read it.
    """

    section: str
    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


@contextmanager
def figure_panels(
    height: float, rows: int = 1, columns: int = 1, *, width: float = WIDTH, **grid: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure in the report's style, with a grid of panels in reading order.

    Parameters
    ----------
    height, width
        In inches.
    **grid
        Further arguments of ``Figure.subplots``.
    """
    with style_context():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False, **grid).ravel())


@contextmanager
def axis_panels(
    table: pd.DataFrame, height: float, row_height: float
) -> Iterator[tuple[Figure, list[tuple[str, pd.DataFrame, Axes]]]]:
    """Open a figure with one panel per axis of ``table``, and in it one row per level.

    Yields
    ------
    Figure
        Its height is ``height`` and ``row_height`` for each level, in inches.
    list
        Each axis with its rows of ``table`` and its panel.
    """
    axes = list(dict.fromkeys(table["axis"]))
    tables = [table[table["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [len(rows) + 0.6 for rows in tables]
    total = height + sum(row_height * size + 0.28 for size in heights)
    with figure_panels(total, len(axes), sharex=True, height_ratios=heights) as (figure, panels):
        yield figure, list(zip(axes, tables, panels, strict=True))


def label_rows(panel: Axes, names: Sequence[str], width: int = 26) -> None:
    """Name the rows of a panel, from the top down, and remove the lines between them."""
    panel.set_yticks(range(len(names)), [wrap_name(name, width) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.tick_params(length=0)
    sns.despine(ax=panel, left=True)


def draw_line(panel: Axes, x: pd.Series, y: pd.Series, **style: Any) -> None:
    """Draw a line through the finite values, its markers with a white edge."""
    values = y.to_numpy(dtype=float)
    finite = np.isfinite(values)
    edges = {"markeredgecolor": "w", "markeredgewidth": 0.75}
    panel.plot(x.to_numpy(dtype=float)[finite], values[finite], **{**edges, **style})


def set_ratio_scale(panel: Axes, low: float, high: float, *, signed: bool = True) -> None:
    """Label an x axis of log ratios between ``low`` and ``high`` with relative changes."""
    ticks = ratio_ticks(low, high)
    texts = round_changes(ticks)
    panel.set_xticks(
        [math.log1p(tick) for tick in ticks],
        texts if signed else [text.lstrip("+") for text in texts],
    )
