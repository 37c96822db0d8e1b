"""Figures over data sets: a forest of effects, mean ranks, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.analysis import VERDICTS, Scale
from ablations.report import style
from ablations.report.figures.marks import Mark, attach
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    axis_panels,
    draw_interval,
    figure_panels,
    label_rows,
    set_ratio_scale,
    verdict_mark,
)
from ablations.report.formatting import bracket, format_relatives
from ablations.report.strengths import name_axis, name_level, name_within

HERE, OTHERS = "mean of these", "data sets like these"
MOST_COLUMNS = 3
"""Panels beside one another."""
MOST_LEVELS = 24
"""Levels that the forest has room for: those of the largest effects."""


def forest_figures(
    over: pd.DataFrame,
    effects: pd.DataFrame,
    scale: Scale,
    bound: float,
    *,
    outcome: str,
    higher_is_better: bool,
) -> Iterator[FigureSpec]:
    """The effect of each level on each data set, and over them."""
    over = over[over["n"] > 0]
    if over.empty:
        return
    size = over["effect"].abs().sort_values(ascending=False, kind="stable")
    shown = over.loc[sorted(size.index[:MOST_LEVELS])]
    levels = [f"{name_level(row.axis, row.level)} {row.sentence}" for row in shown.itertuples()]
    draw = partial(forest, shown, effects, scale, bound, outcome, higher_is_better)
    yield FigureSpec.describe(
        "datasets",
        "datasets",
        draw,
        levels=levels,
        outcome=outcome,
        hidden=len(over) - len(shown),
        side="right" if higher_is_better else "left",
    )


def forest(
    over: pd.DataFrame,
    effects: pd.DataFrame,
    scale: Scale,
    bound: float,
    outcome: str,
    higher_is_better: bool,
    canvas: Canvas = WIDE,
) -> Figure:
    """Draw a panel for each level: the effect on each data set, and below a line the mean."""
    tasks = list(dict.fromkeys(effects["task"]))
    n_columns = canvas.columns(len(over), MOST_COLUMNS)
    heights = [0.25 * (len(tasks) + 2)] * math.ceil(len(over) / n_columns)
    shared = {"sharex": True, "sharey": True}
    with figure_panels(heights, n_columns, canvas, **shared) as (figure, panels):
        side = "right" if higher_is_better else "left"
        add_head(figure, f"Change of {outcome}; {side} is better", canvas)
        words = {*effects["verdict"].dropna(), *over["verdict"]}
        add_key(figure, _verdict_signs(words, higher_is_better), canvas)
        _set_scale(panels[0], over, effects, scale, bound)
        for panel, level in zip(panels, over.to_dict("records"), strict=False):
            is_level = (effects["axis"] == level["axis"]) & (effects["level"] == level["level"])
            by_task = effects[is_level].set_index("task").reindex(tasks)
            _draw_level(
                panel, by_task, level, bound=bound, is_higher=higher_is_better,
                is_log=scale == "log",
            )  # fmt: skip
            label_rows(panel, [*tasks, HERE, OTHERS], name_level(level["axis"], level["level"]), 22)
        for panel in panels[len(over) :]:
            panel.set_visible(False)
        for i in range(max(0, len(over) - n_columns), len(over)):
            panels[i].tick_params(labelbottom=True)
    return figure


def _draw_level(
    panel: Axes,
    by_task: pd.DataFrame,
    level: dict[str, Any],
    *,
    bound: float,
    is_higher: bool,
    is_log: bool,
) -> None:
    panel.axvspan(-bound, bound, color=style.BAND, zorder=0, linewidth=0)
    panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)
    name, n = name_level(level["axis"], level["level"]), len(by_task)

    def draw(y: int, place: str, numbers: Sequence[float], **look: Any) -> None:
        line = draw_interval(panel, y, *numbers, **look)
        text = f"{name} {place}: {bracket(*format_relatives(numbers, is_log=is_log))}"
        value, low, high = numbers
        attach(line, Mark(text, level["axis"], str(level["level"]), value, low, high))

    for i, row in enumerate(by_task.reset_index().to_dict("records")):
        if not pd.isna(row["relative"]):
            numbers = [float(row[key]) for key in ("relative", "relative_low", "relative_high")]
            look = verdict_mark(row["verdict"], higher_is_better=is_higher)
            draw(i, f"on {row['task']}", numbers, linewidth=1.8, markersize=6.5, **look)
    panel.axhline(n - 0.5, color=style.EDGE, linewidth=0.8)
    here = [float(level[key]) for key in ("effect", "here_low", "here_high")]
    draw(n, f"over these {n} data sets", here, marker="D", color=style.INK, markersize=5.5)
    over = [float(level[key]) for key in ("effect", "low", "high")]
    look = verdict_mark(str(level["verdict"]), higher_is_better=is_higher)
    draw(n + 1, "over data sets like these", over, linewidth=3.0, **look)


def _set_scale(
    panel: Axes, over: pd.DataFrame, effects: pd.DataFrame, scale: Scale, bound: float
) -> None:
    """Choose the ends of the common scale; points decide, for intervals of few seeds are wide."""
    core = pd.concat([effects["relative"], over["effect"]]).astype(float)
    bounds = [effects["relative_low"], effects["relative_high"], over["low"], over["high"]]
    ends = pd.concat([core, *bounds]).astype(float)
    reach = 1.6 * max(core.abs().max(), 2 * bound)
    low, high = max(ends.min(), -reach), min(ends.max(), reach)
    low, high = min(low, -1.5 * bound), max(high, 1.5 * bound)
    room = 0.04 * (high - low)
    panel.set_xlim(low - room, high + room)
    if scale == "log":
        set_ratio_scale(panel, low, high, most=3)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+g} %"))


def _verdict_signs(words: set[str], is_higher: bool) -> list[Line2D]:
    return [
        Line2D([], [], label=word, **verdict_mark(word, higher_is_better=is_higher))
        for word in VERDICTS
        if word in words
    ]


def rank_figures(ranks: pd.DataFrame) -> Iterator[FigureSpec]:
    """Mean ranks of the levels of each axis over data sets."""
    ranks = ranks[ranks["datasets"] >= 2]
    if ranks.empty:
        return
    parts = [
        f"{name_axis(axis)}: "
        + ", ".join(f"{row.level} {row.mean_rank:.2f}" for row in rows.itertuples())
        for axis, rows in ranks.groupby("axis", sort=False)
    ]
    yield FigureSpec.describe("ranks", "dataset-ranks", partial(mean_ranks, ranks), parts=parts)


def mean_ranks(ranks: pd.DataFrame, canvas: Canvas = WIDE) -> Figure:
    """Draw the mean ranks of each axis, and around the control's the critical difference."""
    with axis_panels(ranks, 0.28, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            control, distance = rows["mean_rank"].iloc[0], rows["critical_difference"].iloc[0]
            panel.axvspan(
                control - distance, control + distance, color=style.BAND, zorder=0, linewidth=0
            )
            panel.axvline(control, color=style.ZERO, linewidth=1, zorder=1)
            for i, row in enumerate(rows.to_dict("records")):
                _draw_rank(panel, i, row)
            p = rows["p"].iloc[0]
            text = "" if math.isnan(p) else f", Friedman p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
            levels = [name_within(axis, level) for level in rows["level"]]
            label_rows(panel, levels, f"{name_axis(axis)}{text}")
        most = int(ranks.groupby("axis", sort=False)["level"].size().max())
        panels[-1][-1].set_xlim(0.8, most + 0.4)
        panels[-1][-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        add_head(figure, "Mean rank over data sets, 1 is best; band: critical difference", canvas)
    return figure


def _draw_rank(panel: Axes, y: int, row: dict[str, Any]) -> None:
    colour = style.COLOURS[0] if row["apart"] else style.INK
    (point,) = panel.plot(row["mean_rank"], y, "o", color=colour, markersize=6.5, zorder=3)
    text = f"{name_level(row['axis'], row['level'])}: mean rank {row['mean_rank']:.2f}"
    attach(point, Mark(text, row["axis"], str(row["level"]), float(row["mean_rank"])))
    panel.annotate(
        f"{row['mean_rank']:.2f}", (row["mean_rank"], y), (8, 0), textcoords="offset points",
        va="center", fontsize=9,
    )  # fmt: skip


def profile_figures(profiles: pd.DataFrame, scale: Scale, outcome: str) -> Iterator[FigureSpec]:
    """Which share of the runs is how good, axis by axis."""
    if profiles.empty:
        return
    levels = {axis: list(dict.fromkeys(t["level"])) for axis, t in profiles.groupby("axis")}
    draw = partial(performance_profiles, profiles, scale, outcome)
    yield FigureSpec.describe("profiles", "profiles", draw, axes=list(levels), outcome=outcome)


def performance_profiles(
    profiles: pd.DataFrame, scale: Scale, outcome: str, canvas: Canvas = WIDE
) -> Figure:
    """Draw the share of runs that are at least as good as each threshold, a panel for each axis."""
    axes = list(dict.fromkeys(profiles["axis"]))
    n_columns = canvas.columns(len(axes))
    heights = [2.3] * math.ceil(len(axes) / n_columns)
    with figure_panels(heights, n_columns, canvas, sharey=True) as (figure, panels):
        text = f"Runs at least as good, by {outcome} against the control's mean on its data set"
        add_head(figure, text, canvas)
        for axis, panel in zip(axes, panels, strict=False):
            table = profiles[profiles["axis"] == axis]
            for i, (level, rows) in enumerate(table.groupby("level", sort=False)):
                _draw_profile(panel, i, str(axis), str(level), rows, is_log=scale == "log")
            panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)
            low, high = table["threshold"].min(), table["threshold"].max()
            if scale == "log":
                set_ratio_scale(panel, low, high, most=5)
            else:
                panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+g} %"))
            panel.set(title=name_axis(str(axis)), ylim=(-0.02, 1.02), xlim=(low, high))
            panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
            _add_legend(panel, str(axis), list(dict.fromkeys(table["level"].astype(str))))
        for panel in panels[len(axes) :]:
            panel.set_visible(False)
    return figure


def _add_legend(panel: Axes, axis: str, levels: Sequence[str]) -> None:
    """Name the lines where profiles have room: below the right ends."""
    legend = panel.legend(fontsize=9.5, loc="lower right", handlelength=1.6)
    for text, level in zip(legend.get_texts(), levels, strict=True):
        attach(text, Mark(axis=axis, level=level, kind="legend-entry"))
    sns.despine(ax=panel)


def _draw_profile(
    panel: Axes, i: int, axis: str, level: str, rows: pd.DataFrame, *, is_log: bool
) -> None:
    """Draw the share of the runs of one level by threshold; the control comes first."""
    colour = style.INK if i == 0 else style.COLOURS[(i - 1) % len(style.COLOURS)]
    dashes = style.DASHES[(i - 1) % len(style.DASHES)] if i else "-"
    x = rows["threshold"].to_numpy(dtype=float)
    (line,) = panel.plot(
        x,
        rows["share"],
        dashes,
        color=colour,
        label=name_within(axis, level),
        linewidth=1.8,
        drawstyle="steps-post",
    )
    band = panel.fill_between(
        x, rows["low"], rows["high"], color=colour, alpha=0.13, linewidth=0, step="post"
    )
    attach(band, Mark(axis=axis, level=level, kind="mark-part"))
    nearest = rows.iloc[int(np.abs(x).argmin())]
    numbers = [float(nearest[key]) for key in ("share", "low", "high")]
    shares = bracket(*(f"{share:.0%}" for share in numbers))
    text = f"{name_level(axis, level)}: {shares} of the runs at least as good as the control's mean"
    step = max(1, len(rows) // 25)
    series = tuple(
        (row["threshold"], row["share"], f"{row['share']:.0%} within {threshold}")
        for row in rows.iloc[::step].to_dict("records")
        for threshold in format_relatives([row["threshold"]], is_log=is_log)
    )
    value, low, high = numbers
    attach(line, Mark(text, axis, level, value, low, high, series=series))
