"""Figures of curves: loss by epoch, published curves, loss against time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ablations.analysis.design import OUTCOME
from ablations.core.files import file_names
from ablations.report.data import ReportData
from ablations.report.figures.panels import FigureSpec, figure_panels
from ablations.report.formatting import format_number
from ablations.report.style import COLOURS, DASHES, INK, MARKERS, WIDTH, wrap_name
from ablations.report.texts import describe_agreement

NAMES = {"val_loss": "validation loss", "train_loss": "training loss", "objective": "objective"}
MOST_CURVES = 8
"""Levels that a panel has room for."""


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
            partial(level_curves, axis, tables, levels, control, data.constant),
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


def level_curves(
    axis: str,
    tables: Mapping[str, pd.DataFrame],
    levels: Sequence[str],
    control: str | None,
    constant: float = math.nan,
) -> Figure:
    """Draw the loss of each level by epoch with its band over seeds, one panel per outcome; the
    loss of the constant is a dotted line beside validation losses.
    """
    tables = {name: table for name, table in tables.items() if len(table)}
    with figure_panels(3.7, columns=len(tables)) as (figure, panels):
        for panel, (outcome, table) in zip(panels, tables.items(), strict=True):
            for level, colour, marker, dashes in level_styles(levels):
                rows = table[table["level"] == level]
                if rows.empty:
                    continue
                label, width = (f"{level} (control)", 3.0) if level == control else (level, 1.6)
                draw_band(panel, rows, color=colour, alpha=0.11)
                draw_line(
                    panel, rows, "mean", color=colour, marker=marker, markersize=5.5, label=label,
                    markevery=max(1, len(rows) // 8), linewidth=width, linestyle=dashes,
                )  # fmt: skip
            _set_loss_axis(panel, table)
            if outcome == OUTCOME and not math.isnan(constant):
                _draw_constant(panel, constant)
            panel.set_title(NAMES.get(outcome, outcome))
            panel.set_xlabel("epoch")
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, [wrap_name(text, 22) for text in texts], loc="outside right upper",
            handlelength=2.6, labelspacing=0.7, title=wrap_name(axis, 22), alignment="left",
        )  # fmt: skip
    return figure


def _draw_constant(panel: Axes, constant: float) -> None:
    """Draw the loss of the constant; where it is far from all curves, its label alone."""
    is_log = panel.get_yscale() == "log" and constant > 0
    start, end, value = (np.log(x) if is_log else x for x in (*panel.get_ylim(), constant))
    room, text, size = end - start, f"constant prediction {format_number(constant)}", 8.5
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
        text, (0.99, constant), (0, 2), xycoords=panel.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="bottom", fontsize=size,
    )  # fmt: skip


def level_styles(levels: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Give each level a colour, a marker and a dash pattern."""
    return zip(levels, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)


def draw_band(panel: Axes, rows: pd.DataFrame, **style: Any) -> None:
    """Fill the area between ``low`` and ``high`` by epoch."""
    x, low, high = (rows[name].to_numpy(dtype=float) for name in ("epoch", "low", "high"))
    panel.fill_between(x, low, high, linewidth=0, **style)


def draw_line(panel: Axes, rows: pd.DataFrame, name: str, **style: Any) -> None:
    """Draw a line through the finite values of a column, its markers with a white edge."""
    x, y = rows[["epoch", name]].to_numpy(dtype=float).T
    finite = np.isfinite(y)
    panel.plot(x[finite], y[finite], markeredgecolor="w", markeredgewidth=0.75, **style)


def _set_loss_axis(panel: Axes, table: pd.DataFrame) -> None:
    if _is_wide(table["mean"].astype(float)):
        _set_log_axis(panel, "y")
    else:
        room, (bottom, top) = _visible_range(table)
        panel.set_ylim(bottom - 0.05 * room, top + 0.05 * room)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_ylabel("")
    sns.despine(ax=panel)


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
    if table.empty or _is_wide(table["mean"]):
        return False
    _, (bottom, top) = _visible_range(table)
    low, high = table["low"].astype(float).min(), table["high"].astype(float).max()
    return bool(low < bottom or high > top)


def _is_wide(values: pd.Series) -> bool:
    """Whether positive values are so far apart that they need a logarithmic axis."""
    return len(values) > 0 and values.min() > 0 and bool(values.max() / values.min() > 8)


def _set_log_axis(panel: Axes, name: str) -> None:
    """Make an axis logarithmic, with a few plain numbers on it."""
    panel.set(**{f"{name}scale": "log"})
    axis = panel.xaxis if name == "x" else panel.yaxis
    low, high = axis.get_view_interval()
    powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    within_a_decade = high / low < 50 or powers < 2
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def time_figures(data: ReportData) -> Iterator[FigureSpec]:
    """The outcome against training time, one mark per configuration."""
    table = data.configurations
    points = table[table["complete"] & table["seconds"].gt(0)]
    if len(points) < 2:
        return
    axis = _widest_axis(data)
    levels = data.design.levels.get(axis or "", ())
    yield FigureSpec.describe(
        "time",
        "time",
        partial(outcome_against_time, points, axis, levels, data.outcome),
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
    points: pd.DataFrame, axis: str | None, levels: Sequence[str], outcome: str
) -> Figure:
    """Draw every complete configuration's outcome against its time, and the Pareto front."""
    with figure_panels(4.2) as (figure, (panel,)):
        for level, colour, marker, _ in level_styles(levels if axis else ["configuration"]):
            rows = points[points[axis] == level] if axis else points
            size = 34 if len(rows) <= 100 else 18 if len(rows) <= 500 else 10
            sns.scatterplot(
                x=rows["seconds"], y=rows["mean"], ax=panel, s=size, color=colour, marker=marker,
                alpha=0.6, linewidth=0, label=wrap_name(level, 22), legend=False,
            )  # fmt: skip
        front = points[points["pareto"]].sort_values("seconds")
        panel.plot(
            front["seconds"], front["mean"], drawstyle="steps-post", color=INK, linewidth=1.4,
            marker="o", markerfacecolor="none", markersize=8, label="Pareto front",
        )  # fmt: skip
        for name, column in (("x", "seconds"), ("y", "mean")):
            if _is_wide(points[column]):
                _set_log_axis(panel, name)
        panel.set_xlabel("training time of one run, seconds (median over seeds)")
        panel.set_ylabel(outcome)
        title = wrap_name(axis, 22) if axis else None
        figure.legend(loc="outside right upper", title=title, alignment="left", markerscale=1.3)
        sns.despine(ax=panel)
    return figure


def published_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Printed loss curves over the bands of the runs."""
    if data.published.empty:
        return
    draw, agreement = partial(published_curves, data.published), describe_agreement(data.published)
    yield FigureSpec.describe("published", "published", draw, agreement=agreement)


def published_curves(table: pd.DataFrame) -> Figure:
    """Draw every printed curve over the band of the runs; printed losses outside are crossed."""
    labels = list(dict.fromkeys(table["label"]))
    columns = min(4, len(labels))
    rows = math.ceil(len(labels) / columns)
    width = WIDTH if columns > 1 else WIDTH / 2
    with figure_panels(0.6 + 2.3 * rows, rows, columns, width=width) as (figure, panels):
        for panel, name in zip(panels, labels, strict=False):
            _draw_published_curve(panel, table[table["label"] == name])
            panel.set_title(wrap_name(name, 28), fontsize=9.5)
        for panel in panels[len(labels) :]:
            panel.set_axis_off()
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=min(4, 2 * columns))
    return figure


def _draw_published_curve(panel: Axes, rows: pd.DataFrame) -> None:
    blue, red = COLOURS[:2]
    draw_band(panel, rows, color=blue, alpha=0.2, label="99 % of our runs")
    draw_line(panel, rows, "median", color=blue, linewidth=1.4, label="our median")
    draw_line(panel, rows, "printed", color=red, marker="o", markersize=4.5, label="printed")
    outside = rows[~rows["inside"]]
    panel.plot(
        outside["epoch"], outside["printed"], "x", color=INK, markersize=9, markeredgewidth=1.8,
        label="printed, outside",
    )  # fmt: skip
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.set(xlabel="epoch", ylabel="")
    sns.despine(ax=panel)
