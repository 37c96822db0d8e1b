"""The parts that figures share: grids of panels, rows of levels, lines, points, and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.formatting import round_changes
from ablations.report.style import WIDTH, ratio_ticks, style_context, wrap_name
from ablations.report.texts import write_text


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the page before it is drawn: the section of the page that shows it, the name of
    its files, what it shows for readers who cannot see it, and how to read it.
    """

    section: str
    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str

    @classmethod
    def describe(cls, section: str, name: str, draw: Callable[[], Figure], **facts: Any) -> Self:
        """Make a figure with the texts of its section, filled in with ``facts``."""
        alt, caption = (write_text(f"{section}_{kind}", **facts) for kind in ("alt", "caption"))
        return cls(section, name, draw, alt, caption)


@contextmanager
def figure_panels(
    height: float, rows: int = 1, columns: int = 1, *, width: float = WIDTH, **grid: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure in the report's style, its size in inches, with panels in reading order.

    ``grid`` has further arguments of ``Figure.subplots``.
    """
    with style_context():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False, **grid).ravel())


@contextmanager
def axis_panels(
    table: pd.DataFrame, height: float, row_height: float
) -> Iterator[tuple[Figure, list[tuple[str, pd.DataFrame, Axes]]]]:
    """Open a figure with a panel for each axis of ``table``, and in it a row for each level.

    Its height in inches is ``height`` and ``row_height`` for each level.  Each axis comes with its
    rows of ``table`` and its panel.
    """
    axes = list(dict.fromkeys(table["axis"]))
    tables = [table[table["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [len(rows) + 0.6 for rows in tables]
    total = height + sum(row_height * size + 0.28 for size in heights)
    with figure_panels(total, len(axes), sharex=True, height_ratios=heights) as (figure, panels):
        yield figure, list(zip(axes, tables, panels, strict=True))


def label_rows(panel: Axes, names: Sequence[str], title: str = "", width: int = 26) -> None:
    """Name a panel and its rows, from the top down, and remove the lines between them."""
    panel.set_yticks(range(len(names)), [wrap_name(name, width) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.tick_params(length=0)
    sns.despine(ax=panel, left=True)
    panel.set_title(wrap_name(title, 90))


def set_ratio_scale(
    panel: Axes,
    low: float,
    high: float,
    *,
    signed: bool = True,
    axis: Literal["x", "y"] = "x",
    most: int = 9,
) -> None:
    """Label an axis of log ratios between ``low`` and ``high`` with relative changes."""
    ticks = ratio_ticks(low, high, most)
    texts = [text if signed else text.lstrip("+") for text in round_changes(ticks)]
    getattr(panel, f"{axis}axis").set_ticks([math.log1p(tick) for tick in ticks], labels=texts)
