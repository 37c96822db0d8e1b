"""The figure of the effect over time: each level against its control, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablations.analysis import Scale
from ablations.analysis.design import OUTCOME
from ablations.report.data import ReportData
from ablations.report.figures.lines import (
    LevelLine,
    draw_level,
    level_styles,
    most_telling_levels,
    name_ends,
    set_epochs,
)
from ablations.report.figures.names import PLAIN, Names
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    figure_panels,
    set_ratio_scale,
)
from ablations.report.formatting import (
    bracket,
    format_change,
    format_differences,
    format_margin,
    name_outcome,
)
from ablations.report.strengths import name_axis, name_level
from ablations.report.style import BAND, INK, ZERO

HEIGHT = 2.2
"""Inches of a panel."""

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
    is_best_early = best_epoch is not None and best_epoch < table["epoch"].max()
    bound = data.results.design(data.results.loss).bound
    draw = partial(
        effects_over_time,
        rows,
        data.design.levels,
        scale,
        bound,
        best_epoch if is_best_early else None,
        names=Names(data.metadata),
    )
    yield FigureSpec.describe(
        "trajectory",
        "effect-over-time",
        draw,
        changes=_describe_changes(rows, scale),
        is_best_early=is_best_early,
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
        texts.append(f"{name_level(axis, level)} {first} at first and {last} at last")
    more = len(texts) - MOST_WORDS
    return [*texts[:MOST_WORDS], f"{more:,} more"] if more > 0 else texts


def effects_over_time(
    table: pd.DataFrame,
    levels: Mapping[str, tuple[str, ...]],
    scale: Scale,
    bound: float,
    best_epoch: int | None,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw each level's effect by epoch with its interval as a band, one panel an axis."""
    axes = list(dict.fromkeys(table["axis"]))
    columns = canvas.columns(len(axes))
    heights = [HEIGHT] * math.ceil(len(axes) / columns)
    with figure_panels(heights, columns, canvas) as (figure, panels):
        add_head(
            figure,
            f"Change of {name_outcome(OUTCOME)} against the control; below zero is better",
            canvas,
        )
        _add_key(figure, scale, bound, best_epoch, canvas)
        for panel, axis in zip(panels, axes, strict=False):
            rows = table[table["axis"] == axis]
            lines = [
                LevelLine(
                    axis, level, names.short(axis, level), rows[rows["level"] == level], "effect",
                    partial(_write_effect, scale=scale), look,
                )
                for level, *look in level_styles(levels[axis])
                if (rows["level"] == level).any()
            ]  # fmt: skip
            _draw_panel(panel, lines, best_epoch)
            _set_effect_axis(panel, rows, scale, bound)
            name_ends(panel, lines, HEIGHT, 20 if columns > 1 else 14)
            control = names.short(axis, rows["control"].iloc[0])
            panel.set_title(f"{name_axis(axis)}, against {control}", loc="left")
        for panel in panels[len(axes) :]:
            panel.set_axis_off()
        for panel in panels[len(axes) - columns : len(axes)]:
            panel.set_xlabel("epoch")
    return figure


def _draw_panel(panel: Axes, lines: Sequence[LevelLine], best_epoch: int | None) -> None:
    panel.axhline(0, color=ZERO, linewidth=1, zorder=1)
    if best_epoch is not None:
        panel.axvline(best_epoch, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for line in lines:
        draw_level(panel, line)
    set_epochs(panel)


def _write_effect(row: Mapping[str, Any], scale: Scale) -> str:
    numbers = [float(row[name]) for name in ("effect", "low", "high")]
    return bracket(*format_differences(numbers, scale))


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
        set_ratio_scale(panel, low, high, axis="y", most=6)


def _add_key(
    figure: Figure, scale: Scale, bound: float, best_epoch: int | None, canvas: Canvas
) -> None:
    marks: list[Line2D | Patch] = [Patch(color=BAND, label=f"within {_format_bound(bound, scale)}")]
    if best_epoch is not None:
        label = f"epoch {best_epoch}: lowest mean loss of the control"
        marks.insert(0, Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3)), label=label))
    add_key(figure, marks, canvas)


def _format_bound(bound: float, scale: Scale) -> str:
    """Write the margin from its size on the scale of the effects."""
    return format_margin(round(math.expm1(bound), 6) if scale == "log" else bound, scale)
