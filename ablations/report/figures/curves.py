"""Figures of curves and configurations: loss by epoch, loss against time, published curves.

Every function takes tables and returns one ``matplotlib.figure.Figure`` with our intervals, never
a plot library's own. Figures are drawn dark on white; the page shows them on a light card.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ablations.report.style import COLOURS, DASHES, INK, MARKERS, WIDTH, style_context, wrap_name

NAMES = {"val_loss": "validation loss", "train_loss": "training loss", "objective": "objective"}


def level_curves(
    axis: str, tables: Mapping[str, pd.DataFrame], levels: Sequence[str], control: str | None
) -> Figure:
    """Draw the loss of each level by epoch with its band over seeds, one panel an outcome."""
    tables = {name: table for name, table in tables.items() if len(table)}
    with style_context():
        figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
        panels = figure.subplots(1, len(tables), squeeze=False)[0]
        for panel, (outcome, table) in zip(panels, tables.items(), strict=True):
            for level, colour, marker, dashes in _styled(levels):
                rows = table[table["level"] == level]
                if len(rows):
                    _curve(panel, rows, level, colour, marker, dashes, level == control)
            _loss_axis(panel, table)
            panel.set_title(NAMES.get(outcome, outcome))
            panel.set_xlabel("epoch")
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, [wrap_name(text, 22) for text in texts], loc="outside right upper",
            handlelength=2.6, labelspacing=0.7, title=wrap_name(axis, 22), alignment="left",
        )  # fmt: skip
    return figure


def _styled(levels: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    return zip(levels, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)


def _curve(
    panel: Axes,
    rows: pd.DataFrame,
    level: str,
    colour: str,
    marker: str,
    dashes: str,
    is_control: bool,
) -> None:
    x, y, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("epoch", "mean", "low", "high")
    )
    panel.fill_between(x, low, high, color=colour, alpha=0.11, linewidth=0)
    sns.lineplot(
        x=x, y=y, ax=panel, errorbar=None, estimator=None, color=colour,
        marker=marker, markersize=5.5, markevery=max(1, len(x) // 8),
        linewidth=3 if is_control else 1.6, linestyle=dashes,
        label=f"{level} (control)" if is_control else level, legend=False,
    )  # fmt: skip


def _loss_axis(panel: Axes, table: pd.DataFrame) -> None:
    middle = table["mean"].astype(float)
    if middle.min() > 0 and middle.max() / middle.min() > 8:
        _log_axis(panel, "y")
    else:
        room, (bottom, top) = _shown(table)
        panel.set_ylim(bottom - 0.05 * room, top + 0.05 * room)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_ylabel("")
    sns.despine(ax=panel)


def _shown(table: pd.DataFrame) -> tuple[float, tuple[float, float]]:
    """The spread of the means, and what of a panel's losses is shown.

    Two seeds make intervals that would flatten every curve: the means decide what is shown.
    """
    middle = table["mean"].astype(float)
    room = float(middle.max() - middle.min()) or abs(float(middle.max())) or 1.0
    ends = table[["low", "mean", "high"]].astype(float)
    bottom = max(float(np.nanmin(ends)), float(middle.min()) - room)
    return room, (bottom, min(float(np.nanmax(ends)), float(middle.max()) + room))


def cut(table: pd.DataFrame) -> bool:
    """Whether bands of a panel reach beyond what is shown of them."""
    if table.empty or (table["mean"].min() > 0 and table["mean"].max() / table["mean"].min() > 8):
        return False
    _, (bottom, top) = _shown(table)
    low, high = table["low"].astype(float).min(), table["high"].astype(float).max()
    return bool(low < bottom or high > top)


def loss_against_time(table: pd.DataFrame, axis: str | None, levels: Sequence[str]) -> Figure:
    """Draw every complete configuration's loss against its time, and the Pareto front."""
    points = table[table["complete"] & table["seconds"].gt(0)]
    with style_context():
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        panel = figure.subplots()
        if axis is None:
            _configurations(panel, points, None, COLOURS[0], MARKERS[0])
        else:
            for level, colour, marker, _ in _styled(levels):
                _configurations(panel, points[points[axis] == level], level, colour, marker)
        front = points[points["pareto"]].sort_values("seconds")
        panel.plot(
            front["seconds"], front["mean"], drawstyle="steps-post", color=INK, linewidth=1.4,
            marker="o", markerfacecolor="none", markersize=8, label="Pareto front",
        )  # fmt: skip
        if _wide_apart(points["seconds"]):
            _log_axis(panel, "x")
        if _wide_apart(points["mean"]):
            _log_axis(panel, "y")
        panel.set_xlabel("training time of one run, seconds (median over seeds)")
        panel.set_ylabel("validation loss")
        title = wrap_name(axis, 22) if axis else None
        figure.legend(loc="outside right upper", title=title, alignment="left", markerscale=1.3)
        sns.despine(ax=panel)
    return figure


def _log_axis(panel: Axes, name: str) -> None:
    """Make an axis logarithmic, with a few plain numbers on it."""
    panel.set(**{f"{name}scale": "log"})
    axis = panel.xaxis if name == "x" else panel.yaxis
    low, high = axis.get_view_interval()
    powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    within_a_decade = high / low < 50 or powers < 2
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _configurations(
    panel: Axes, points: pd.DataFrame, level: str | None, colour: str, marker: str
) -> None:
    size = 34 if len(points) <= 100 else 18 if len(points) <= 500 else 10
    sns.scatterplot(
        x=points["seconds"], y=points["mean"], ax=panel, s=size, color=colour, marker=marker,
        alpha=0.6, linewidth=0, label=wrap_name(level, 22) if level else "configuration",
        legend=False,
    )  # fmt: skip


def _wide_apart(values: pd.Series) -> bool:
    return len(values) > 0 and values.min() > 0 and bool(values.max() / values.min() > 8)


def published_curves(table: pd.DataFrame) -> Figure:
    """Draw every printed curve over the band of our runs; printed losses outside are crossed."""
    labels = list(dict.fromkeys(table["label"]))
    columns = min(4, len(labels))
    rows = math.ceil(len(labels) / columns)
    with style_context():
        size = (WIDTH if columns > 1 else WIDTH / 2, 0.6 + 2.3 * rows)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, labels, strict=False):
            _published_panel(panel, table[table["label"] == name])
            panel.set_title(wrap_name(name, 28), fontsize=9.5)
        for panel in panels[len(labels) :]:
            panel.set_axis_off()
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=min(4, 2 * columns))
    return figure


def _published_panel(panel: Axes, rows: pd.DataFrame) -> None:
    x, low, high = (rows[name].to_numpy(dtype=float) for name in ("epoch", "low", "high"))
    panel.fill_between(
        x, low, high, color="#0072B2", alpha=0.2, linewidth=0, label="99 % of our runs"
    )
    ours = {"color": "#0072B2", "linewidth": 1.4, "label": "our median"}
    printed = {"color": "#D55E00", "marker": "o", "markersize": 4.5, "label": "printed"}
    for column, style in (("median", ours), ("printed", printed)):
        y = rows[column].to_numpy(dtype=float)
        sns.lineplot(x=x, y=y, ax=panel, errorbar=None, estimator=None, legend=False, **style)
    outside = rows[~rows["inside"]]
    panel.plot(
        outside["epoch"], outside["printed"], "x", color=INK, markersize=9, markeredgewidth=1.8,
        label="printed, outside",
    )  # fmt: skip
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.set(xlabel="epoch", ylabel="")
    sns.despine(ax=panel)
