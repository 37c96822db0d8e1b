"""Figures over data sets: a forest of effects, mean ranks, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.analysis import UNDECIDED, VERDICTS, Scale
from ablations.report import style
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    axis_panels,
    figure_panels,
    label_rows,
    set_ratio_scale,
)
from ablations.report.style import wrap_name

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
    levels = [f"{row.axis} {row.level} {row.sentence}" for row in shown.itertuples()]
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
        for panel, level in zip(panels, over.to_dict("records"), strict=False):
            is_level = (effects["axis"] == level["axis"]) & (effects["level"] == level["level"])
            by_task = effects[is_level].set_index("task").reindex(tasks)
            _draw_level(panel, by_task, level, bound, higher_is_better)
            label_rows(panel, [*tasks, HERE, OTHERS], width=22)
            title = wrap_name(f"{level['axis']} {level['level']}", 24)
            panel.set_title(title, fontsize=9.5)
        for panel in panels[len(over) :]:
            panel.set_visible(False)
        _set_scale(panels[0], over, effects, scale, bound)
        for i in range(max(0, len(over) - n_columns), len(over)):
            panels[i].tick_params(labelbottom=True)
    return figure


def _draw_level(
    panel: Axes, by_task: pd.DataFrame, level: dict[str, Any], bound: float, is_higher: bool
) -> None:
    panel.axvspan(-bound, bound, color=style.BAND, zorder=0, linewidth=0)
    panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)
    for i, row in enumerate(by_task.to_dict("records")):
        if not pd.isna(row["relative"]):
            ends = row["relative_low"], row["relative_high"]
            _draw_row(panel, i, row["relative"], ends, row["verdict"], is_higher, 1.8)
    n = len(by_task)
    panel.axhline(n - 0.5, color=style.EDGE, linewidth=0.8)
    ends = level["here_low"], level["here_high"]
    panel.hlines(n, *ends, color=style.INK, linewidth=2.2, zorder=3)
    panel.plot(level["effect"], n, "D", color=style.INK, markersize=5.5, zorder=4)
    ends = level["low"], level["high"]
    _draw_row(panel, n + 1, level["effect"], ends, str(level["verdict"]), is_higher, 3.0)


def _draw_row(
    panel: Axes,
    y: int,
    effect: float,
    ends: tuple[float, float],
    verdict: str,
    is_higher: bool,
    width: float,
) -> None:
    colour, marker = style.VERDICT_COLOURS[verdict], style.VERDICT_MARKERS[verdict]
    marker = {"v": "^", "^": "v"}.get(marker, marker) if is_higher else marker
    face = style.PAPER if verdict == UNDECIDED else colour
    if not any(map(pd.isna, ends)):
        panel.hlines(y, *ends, color=colour, linewidth=width, zorder=3)
    panel.plot(
        effect, y, marker, color=colour, markerfacecolor=face, markersize=6.5,
        markeredgewidth=1.5, zorder=4,
    )  # fmt: skip


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
    handles = []
    for word in (word for word in VERDICTS if word in words):
        colour, marker = style.VERDICT_COLOURS[word], style.VERDICT_MARKERS[word]
        marker = {"v": "^", "^": "v"}.get(marker, marker) if is_higher else marker
        face = style.PAPER if word == UNDECIDED else colour
        handles.append(
            Line2D([], [], color=colour, marker=marker, markerfacecolor=face, label=word)
        )
    return handles


def rank_figures(ranks: pd.DataFrame) -> Iterator[FigureSpec]:
    """Mean ranks of the levels of each axis over data sets."""
    ranks = ranks[ranks["datasets"] >= 2]
    if ranks.empty:
        return
    parts = [
        f"{axis}: " + ", ".join(f"{row.level} {row.mean_rank:.2f}" for row in rows.itertuples())
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
            colours = [style.COLOURS[0] if apart else style.INK for apart in rows["apart"]]
            panel.scatter(rows["mean_rank"], range(len(rows)), c=colours, s=42, zorder=3)
            for i, rank in enumerate(rows["mean_rank"]):
                panel.annotate(
                    f"{rank:.2f}", (rank, i), (8, 0), textcoords="offset points",
                    va="center", fontsize=8.5,
                )  # fmt: skip
            p = rows["p"].iloc[0]
            text = "" if math.isnan(p) else f", Friedman p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
            label_rows(panel, rows["level"], f"{axis}{text}")
        most = int(ranks.groupby("axis", sort=False)["level"].size().max())
        panels[-1][-1].set_xlim(0.8, most + 0.4)
        panels[-1][-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1][-1].set_xlabel("mean rank over data sets, 1 is best; band: critical difference")
    return figure


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
                colour = style.INK if i == 0 else style.COLOURS[(i - 1) % len(style.COLOURS)]
                dashes = style.DASHES[(i - 1) % len(style.DASHES)] if i else "-"
                panel.plot(
                    rows["threshold"], rows["share"], dashes, color=colour, label=level,
                    linewidth=1.8, drawstyle="steps-post",
                )  # fmt: skip
                panel.fill_between(
                    rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.13,
                    linewidth=0, step="post",
                )  # fmt: skip
            panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)
            low, high = table["threshold"].min(), table["threshold"].max()
            if scale == "log":
                set_ratio_scale(panel, low, high, most=5)
            else:
                panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+g} %"))
            panel.set(title=str(axis), ylim=(-0.02, 1.02), xlim=(low, high))
            panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
            panel.legend(fontsize=8, loc="lower right")
        for panel in panels[len(axes) :]:
            panel.set_visible(False)
    return figure
