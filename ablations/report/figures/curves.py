"""Figures of curves: loss by epoch, published curves, loss against time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.design import OUTCOME
from ablations.core.files import file_names
from ablations.report.data import ReportData
from ablations.report.figures.lines import (
    LevelLine,
    draw_band,
    draw_level,
    draw_line,
    level_styles,
    most_telling_levels,
    name_ends,
    set_epochs,
)
from ablations.report.figures.marks import Mark, attach
from ablations.report.figures.names import PLAIN, Names
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_key,
    figure_panels,
    is_wide,
    set_log_axis,
)
from ablations.report.formatting import bracket, format_number
from ablations.report.strengths import name_axis
from ablations.report.style import COLOURS, INK, wrap_name
from ablations.report.texts import describe_agreement

NAMES = {"val_loss": "validation loss", "train_loss": "training loss", "objective": "objective"}
HEIGHT = 2.4
"""Inches of a panel."""


def curve_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Loss by epoch, one figure per axis."""
    slugs = file_names(list(data.curves))
    for slug, (axis, tables) in zip(slugs, data.curves.items(), strict=True):
        table = next(table for table in tables.values() if len(table))
        levels = most_telling_levels(data, axis, set(table["level"]))
        last = table[(table["epoch"] == table["epoch"].max()) & table["level"].isin(levels)]
        ends = [
            f"{row.level} {format_number(row.mean)}" for row in last[["level", "mean"]].itertuples()
        ]
        by_level = table.drop_duplicates("level")
        without = [level for level in data.design.levels[axis] if level not in set(table["level"])]
        control = data.design.controls.get(axis)
        yield FigureSpec.describe(
            "curves",
            f"curves-{slug}",
            partial(
                level_curves,
                axis,
                tables,
                levels,
                control,
                data.constant,
                names=Names(data.metadata),
            ),
            axis=axis,
            ends=ends,
            cells=int(table["cells"].max()),
            is_cut=any(map(_is_cut, tables.values())),
            lost=int((by_level["runs"] - by_level["survivors"]).sum()),
            without=without,
            hidden=len(data.design.levels[axis]) - len(without) - len(levels),
            has_constant=not math.isnan(data.constant),
            is_tested=data.results.loss != OUTCOME,
        )


def level_curves(
    axis: str,
    tables: Mapping[str, pd.DataFrame],
    levels: Sequence[str],
    control: str | None,
    constant: float = math.nan,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw the loss of each level by epoch with its band over seeds, one panel per outcome; the
    loss of the constant is a dotted line beside validation losses.
    """
    tables = {name: table for name, table in tables.items() if len(table)}
    if canvas.is_narrow:  # a phone shows the loss that the study judges by
        tables = dict(list(tables.items())[:1])
    columns = canvas.columns(len(tables))
    heights = [HEIGHT] * math.ceil(len(tables) / columns)
    with figure_panels(heights, columns, canvas) as (figure, panels):
        for panel, (outcome, table) in zip(panels, tables.items(), strict=True):
            end = " (control)"
            lines = [
                LevelLine(
                    axis, level, names.short(axis, level) + end * (level == control),
                    table[table["level"] == level], "mean", _write_loss, look,
                    2.8 if level == control else 1.6,
                )
                for level, *look in level_styles(levels)
            ]  # fmt: skip
            for line in lines:
                draw_level(panel, line)
            _set_loss_axis(panel, table)
            if outcome == OUTCOME and not math.isnan(constant):
                _draw_constant(panel, constant)
            name_ends(panel, lines, HEIGHT, 20 if columns > 1 else 14)
            panel.set_title(f"{name_axis(axis)}: {NAMES.get(outcome, outcome)}", loc="left")
        for panel in panels[-columns:]:
            panel.set_xlabel("epoch")
    return figure


def _write_loss(row: Mapping[str, Any]) -> str:
    return bracket(*(format_number(row[name], 4) for name in ("mean", "low", "high")))


def _draw_constant(panel: Axes, constant: float) -> None:
    """Draw the loss of the constant; where it is far from all curves, its label alone."""
    is_log = panel.get_yscale() == "log" and constant > 0
    start, end, value = (np.log(x) if is_log else x for x in (*panel.get_ylim(), constant))
    room, text, size = end - start, f"constant prediction {format_number(constant)}", 9
    if not start - room <= value <= end + room:
        y, align, word = (0.98, "top", "above") if value > end else (0.02, "bottom", "below")
        panel.text(
            0.99,
            y,
            f"{text}, {word}",
            va=align,
            ha="right",
            transform=panel.transAxes,
            fontsize=size,
        )
        return
    limits = min(start, value - 0.06 * room), max(end, value + 0.1 * room)
    panel.set_ylim(*(np.exp(limits) if is_log else limits))
    panel.axhline(constant, color=INK, linewidth=1.4, linestyle=":", zorder=2.5)
    panel.annotate(
        text, (0.02, constant), (0, 2), xycoords=panel.get_yaxis_transform(),
        textcoords="offset points", ha="left", va="bottom", fontsize=size,
    )  # fmt: skip


def _set_loss_axis(panel: Axes, table: pd.DataFrame) -> None:
    if is_wide(table["mean"].astype(float)):
        set_log_axis(panel, "y")
    else:
        room, (bottom, top) = _visible_range(table)
        panel.set_ylim(bottom - 0.05 * room, top + 0.05 * room)
        panel.yaxis.set_major_locator(MaxNLocator(5))
    set_epochs(panel)


def _visible_range(table: pd.DataFrame) -> tuple[float, tuple[float, float]]:
    """Return the spread of the means, and the range of losses that a panel shows.

    Two seeds make intervals that would flatten every curve: the means decide what is shown.
    """
    middle = table["mean"].astype(float)
    room = float(middle.max() - middle.min()) or abs(float(middle.max())) or 1.0
    ends = table[["low", "mean", "high"]].astype(float)
    bottom = max(float(np.nanmin(ends)), float(middle.min()) - room)
    return room, (bottom, min(float(np.nanmax(ends)), float(middle.max()) + room))


def _is_cut(table: pd.DataFrame) -> bool:
    """Whether bands of a panel reach beyond the range that it shows."""
    if table.empty or is_wide(table["mean"]):
        return False
    _, (bottom, top) = _visible_range(table)
    low, high = table["low"].astype(float).min(), table["high"].astype(float).max()
    return bool(low < bottom or high > top)


def published_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Printed loss curves over the bands of the runs."""
    if data.published.empty:
        return
    draw, agreement = partial(published_curves, data.published), describe_agreement(data.published)
    yield FigureSpec.describe("published", "published", draw, agreement=agreement)


def published_curves(table: pd.DataFrame, canvas: Canvas = WIDE) -> Figure:
    """Draw every printed curve over the band of the runs; printed losses outside are crossed."""
    labels = list(dict.fromkeys(table["label"]))
    columns = canvas.columns(len(labels), 3)
    heights = [1.7] * math.ceil(len(labels) / columns)
    with figure_panels(heights, columns, canvas) as (figure, panels):
        for panel, name in zip(panels, labels, strict=False):
            _draw_published_curve(panel, table[table["label"] == name])
            panel.set_title(wrap_name(name, 28), fontsize=9.5)
        for panel in panels[len(labels) :]:
            panel.set_axis_off()
        add_key(figure, panels[0].get_legend_handles_labels()[0], canvas)
    return figure


def _write_printed(row: Mapping[str, Any]) -> str:
    printed, median, low, high = (
        format_number(row[name], 4) for name in ("printed", "median", "low", "high")
    )
    return f"printed {printed}, our runs {bracket(median, low, high)}"


def _draw_published_curve(panel: Axes, rows: pd.DataFrame) -> None:
    blue, red = COLOURS[:2]
    draw_band(panel, rows, color=blue, alpha=0.2, label="99 % of our runs")
    draw_line(panel, rows, "median", color=blue, linewidth=1.4, label="our median")
    (line,) = draw_line(
        panel, rows, "printed", color=red, marker="o", markersize=4.5, label="printed"
    )
    records = rows.to_dict("records")
    series = tuple((row["epoch"], row["printed"], _write_printed(row)) for row in records)
    last = records[-1]
    value, low, high = (float(last[name]) for name in ("printed", "low", "high"))
    text = f"{last['label']}, epoch {last['epoch']:g}: {_write_printed(last)}"
    attach(line, Mark(text, value=value, low=low, high=high, series=series))
    outside = rows[~rows["inside"]]
    panel.plot(
        outside["epoch"], outside["printed"], "x", color=INK, markersize=9, markeredgewidth=1.8,
        label="printed, outside",
    )  # fmt: skip
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.set(xlabel="epoch", ylabel="")
    sns.despine(ax=panel)
