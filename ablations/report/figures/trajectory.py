"""The figure of the effect over time: each level against its control, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ablations.analysis import Scale
from ablations.analysis.design import OUTCOME
from ablations.report.data import ReportData
from ablations.report.figures.curves import draw_band, draw_line, level_styles, most_telling_levels
from ablations.report.figures.panels import FigureSpec, figure_panels, set_ratio_scale
from ablations.report.formatting import format_change, format_count, format_margin, name_outcome
from ablations.report.style import BAND, INK, ZERO, wrap_name

MOST_WORDS = 12
"""Levels whose first and last effects are told to readers who cannot see the figure."""


def trajectory_figures(data: ReportData) -> Iterator[FigureSpec]:
    """The effect of every level by epoch, one panel an axis."""
    table = data.trajectory
    if table.empty or not table["effect"].notna().any():
        return
    scale: Scale = "log" if table["change"].notna().any() else "difference"
    shown = {
        axis: most_telling_levels(data, str(axis), set(rows["level"]))
        for axis, rows in table.groupby("axis", sort=False)
    }
    rows = table[[row.level in shown[row.axis] for row in table.itertuples()]]
    best_epoch = _best_epoch(data.ablation.endings)
    bound = data.results.design(data.results.loss).bound
    draw = partial(effects_over_time, rows, data.design.levels, scale, bound, best_epoch)
    yield FigureSpec.describe(
        "trajectory",
        "effect-over-time",
        draw,
        changes=_describe_changes(rows, scale),
        is_best_early=best_epoch is not None and best_epoch < table["epoch"].max(),
        judge=data.metadata.judge,
        is_cut=any(_is_cut(lines, bound) for _, lines in rows.groupby("axis")),
        hidden=table["level"].groupby(table["axis"]).nunique().sum()
        - rows["level"].groupby(rows["axis"]).nunique().sum(),
    )


def _best_epoch(endings: pd.DataFrame) -> int | None:
    """The epoch at which the mean curve of the control configuration is lowest."""
    rows = endings[endings["axis"] == ""] if len(endings) else endings
    return int(rows["best_epoch"].iloc[0]) if len(rows) else None


def _describe_changes(rows: pd.DataFrame, scale: Scale) -> list[str]:
    """Write the first and the last effect of each level."""
    texts = []
    for (axis, level), lines in rows.groupby(["axis", "level"], sort=False):
        first, last = (format_change(lines.iloc[i], scale) for i in (0, -1))
        texts.append(f"{axis} {level} {first} at first and {last} at last")
    more = len(texts) - MOST_WORDS
    return [*texts[:MOST_WORDS], format_count(more, "more level")] if more > 0 else texts


def effects_over_time(
    table: pd.DataFrame,
    levels: Mapping[str, tuple[str, ...]],
    scale: Scale,
    bound: float,
    best_epoch: int | None,
) -> Figure:
    """Draw each level's effect by epoch with its interval as a band, one panel an axis."""
    axes = list(dict.fromkeys(table["axis"]))
    columns = min(2, len(axes))
    rows = math.ceil(len(axes) / columns)
    with figure_panels(0.7 + 2.7 * rows, rows, columns) as (figure, panels):
        for panel, axis in zip(panels, axes, strict=False):
            lines = table[table["axis"] == axis]
            _draw_panel(panel, lines, levels[axis], best_epoch)
            _set_effect_axis(panel, lines, scale, bound)
            panel.set_title(wrap_name(f"{axis}, against {lines['control'].iloc[0]}", 44))
            panel.legend(
                loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=2.4, fontsize=8.5,
                borderaxespad=0.2,
            )  # fmt: skip
        for panel in panels[len(axes) :]:
            panel.set_axis_off()
        for panel in panels[len(axes) - columns : len(axes)]:
            panel.set_xlabel("epoch")
        figure.supylabel(f"change of {name_outcome(OUTCOME)}\nbelow zero is better", fontsize=9.5)
        _add_legend(figure, scale, bound, best_epoch)
    return figure


def _draw_panel(
    panel: Axes, table: pd.DataFrame, levels: tuple[str, ...], best_epoch: int | None
) -> None:
    panel.axhline(0, color=ZERO, linewidth=1, zorder=1)
    if best_epoch is not None:
        panel.axvline(best_epoch, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for level, colour, marker, dashes in level_styles(levels):
        rows = table[table["level"] == level]
        if rows.empty:
            continue
        draw_band(panel, rows, color=colour, alpha=0.13)
        draw_line(
            panel, rows, "effect", color=colour, marker=marker, markersize=4.5, linestyle=dashes,
            linewidth=1.6, markevery=max(1, len(rows) // 6), label=wrap_name(level, 24),
        )  # fmt: skip
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    sns.despine(ax=panel)


def _visible_range(table: pd.DataFrame, bound: float) -> tuple[float, float]:
    """The effects that a panel shows: intervals of few seeds would flatten every line."""
    core = table["effect"].astype(float).dropna()
    ends = table[["effect", "low", "high"]].astype(float).to_numpy()
    low, high = min(core.min(), -1.5 * bound), max(core.max(), 1.5 * bound)
    room = high - low
    low, high = (
        max(low - room, np.nanmin([*ends.ravel(), low])),
        min(high + room, np.nanmax([*ends.ravel(), high])),
    )
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _is_cut(table: pd.DataFrame, bound: float) -> bool:
    low, high = _visible_range(table, bound)
    return bool(table["low"].astype(float).min() < low or table["high"].astype(float).max() > high)


def _set_effect_axis(panel: Axes, table: pd.DataFrame, scale: Scale, bound: float) -> None:
    low, high = _visible_range(table, bound)
    panel.axhspan(-bound, bound, color=BAND, linewidth=0, zorder=0)
    panel.set_ylim(low, high)
    if scale == "log":
        set_ratio_scale(panel, low, high, axis="y", most=7)


def _add_legend(figure: Figure, scale: Scale, bound: float, best_epoch: int | None) -> None:
    marks: list[Line2D | Patch] = [Patch(color=BAND, label=f"within {_format_bound(bound, scale)}")]
    if best_epoch is not None:
        label = f"epoch {best_epoch}: lowest mean loss of the control"
        marks.insert(0, Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3)), label=label))
    figure.legend(handles=marks, loc="outside upper left", ncols=len(marks), columnspacing=1.6)


def _format_bound(bound: float, scale: Scale) -> str:
    """Write the margin from its size on the scale of the effects."""
    return format_margin(round(math.expm1(bound), 6) if scale == "log" else bound, scale)
