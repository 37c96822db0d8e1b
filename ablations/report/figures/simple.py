"""Forests of simple effects: what a level does at each level of another axis."""

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
from matplotlib.ticker import MaxNLocator

from ablations.analysis import HELPS, HURTS, UNDECIDED, strongest_pairs
from ablations.analysis.design import Design
from ablations.core.files import file_names
from ablations.report import style
from ablations.report.data import ReportData
from ablations.report.figures.marks import attach_row, describe_effect
from ablations.report.figures.names import PLAIN, Names
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    add_key,
    draw_interval,
    figure_panels,
    label_rows,
    set_ratio_scale,
    verdict_mark,
)
from ablations.report.formatting import (
    Unit,
    choose_unit,
    format_difference,
    format_fraction,
    format_margin,
    format_signed,
)

MOST_PAIRS = 4
"""Pairs of axes whose simple effects are drawn."""
FAINT = 0.1
"""Interactions weaker than this share of the strongest are left to the heat maps."""
MOST_COLUMNS = 3
ROW = 0.27
"""Inches of a row."""


def simple_figures(data: ReportData) -> Iterator[FigureSpec]:
    """The effects of each level at each level of another axis, for the strongest interactions."""
    if data.interactions.empty:
        return
    ranked = strongest_pairs(data.interactions).dropna()
    certain = data.interactions[data.interactions["p_adjusted"] <= 0.05]
    pairs = ranked.merge(certain[["axis_a", "axis_b"]].drop_duplicates())
    pairs = pairs[pairs["strength"] >= FAINT * pairs["strength"].max()].head(MOST_PAIRS)
    names = Names(data.metadata)
    both = zip(pairs["axis_a"], pairs["axis_b"], strict=True)
    tables = [table for a, b in both if len(table := _choose_view(data.simple, a, b))]
    shown = [(table["axis"].iloc[0], table["given"].iloc[0]) for table in tables]
    slugs = file_names([f"{axis}-by-{condition}" for axis, condition in shown])
    for slug, (axis, condition), rows in zip(slugs, shown, tables, strict=True):
        means = data.effects[data.effects["axis"] == axis]
        yield FigureSpec.describe(
            "simple",
            f"simple-effects-{slug}",
            partial(simple_effects, rows, means, data.design, data.outcome, names=names),
            axis=axis,
            condition=condition,
            control=names.full(axis, data.design.controls[axis]),
            outcome=data.outcome,
            effects=_describe(rows, data.design, names),
        )


def _choose_view(simple: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The effects of one of two axes at the levels of the other, as they take fewer panels.

    A level that was run at one level of the other axis alone has nothing to be compared with.
    """
    views = []
    for axis, condition in ((a, b), (b, a)):
        rows = simple[(simple["axis"] == axis) & (simple["given"] == condition)]
        views.append(rows[rows.groupby("level")["level"].transform("size") > 1])
    return min(views, key=lambda rows: len(set(rows["level"])) or math.inf)


def _describe(rows: pd.DataFrame, design: Design, names: Names) -> list[str]:
    """Write each effect in a few words, for readers who cannot see the figure."""
    return [
        f"{names.short(row['axis'], row['level'])} with "
        f"{names.full(row['given'], row['given_level'])} "
        f"{format_difference(row['effect'], design.scale)}"
        for row in rows.to_dict("records")
    ]


def simple_effects(
    table: pd.DataFrame,
    means: pd.DataFrame,
    design: Design,
    outcome: str,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw a panel for each level of an axis, and in it its effect at each level of the other.

    ``table`` has rows of ``simple_effects`` of one axis at the levels of one other; ``means`` the
    main effects, which are averages of these.
    """
    axis, condition = table["axis"].iloc[0], table["given"].iloc[0]
    levels = [level for level in design.levels[axis] if level in set(table["level"])]
    places = [level for level in design.levels[condition] if level in set(table["given_level"])]
    columns = canvas.columns(len(levels), MOST_COLUMNS)
    heights = [ROW * len(places)] * math.ceil(len(levels) / columns)
    low, high = _limits(table, design.bound)
    unit = choose_unit(np.expm1(table["effect"])) if design.scale == "log" else None
    with figure_panels(heights, columns, canvas, sharey=True) as (figure, panels):
        side = "right" if design.higher_is_better else "left"
        control = names.full(axis, design.controls[axis])
        text = f"Change of {outcome} against {control}; {side} is better"
        add_head(figure, text, canvas)
        add_key(figure, _signs(table, design), canvas)
        for panel, level in zip(panels, levels, strict=False):
            rows = table[table["level"] == level].set_index("given_level").reindex(places)
            mean = means.loc[means["level"] == level, "effect"]
            panel.axvspan(-design.bound, design.bound, color=style.BAND, zorder=0, linewidth=0)
            panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)
            if len(mean) and low < float(mean.iloc[0]) < high:
                panel.axvline(float(mean.iloc[0]), color=style.INK, lw=1, ls=(0, (1, 2)), zorder=1)
            panel.set_xlim(low, high)
            texts = [_write(effect, unit) for effect in rows["effect"]]
            _draw_rows(panel, rows.reset_index().to_dict("records"), texts, design, names)
            wide = not canvas.is_narrow
            write = names.full if wide else names.short
            texts = [write(condition, x) for x in places]
            label_rows(panel, texts, names.full(axis, level), 34 if wide else 18)
            if unit:
                set_ratio_scale(panel, low, high, most=4 if columns > 1 else 5, unit=unit)
            else:
                panel.xaxis.set_major_locator(MaxNLocator(4))
        for panel in panels[len(levels) :]:
            panel.set_axis_off()
    return figure


def _limits(table: pd.DataFrame, bound: float) -> tuple[float, float]:
    """The ends of the scale: effects decide, for intervals of few seeds are many times wider."""
    core = table["effect"].astype(float).dropna()
    ends = pd.concat([core, table["low"], table["high"]]).astype(float)
    reach = 1.7 * max(float(core.abs().max()), 3 * bound)
    low = min(max(ends.min(), -reach), -1.5 * bound)
    high = max(min(ends.max(), reach), 1.5 * bound)
    room = 0.04 * (high - low)
    return low - room, high + room


def _draw_rows(
    panel: Axes,
    rows: list[dict[str, Any]],
    texts: Sequence[str],
    design: Design,
    names: Names,
) -> None:
    for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if pd.isna(row["effect"]):
            panel.annotate(
                "not run", (1, i), (4, 0), xycoords=panel.get_yaxis_transform(),
                textcoords="offset points", va="center", fontsize=9, color=style.ZERO,
            )  # fmt: skip
            continue
        numbers = (float(row[name]) for name in ("effect", "low", "high"))
        line = draw_interval(panel, i, *numbers, **_look(row, design))
        pair = (("axis", "level"), ("given", "given_level"))
        name = " with ".join(names.full(row[axis], row[level]) for axis, level in pair)
        words = f"{name}: {describe_effect(row, design.scale)}"
        attach_row(line, row, words, other=(row["given"], str(row["given_level"])))
        panel.annotate(
            text, (1, i), (4, 0),
            xycoords=panel.get_yaxis_transform(), textcoords="offset points", va="center",
            fontsize=9.5,
        )  # fmt: skip


def _look(row: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """The colour of a change that is certain, and in which direction; hollow where it is not."""
    if not row["p_adjusted"] <= 0.05:
        return verdict_mark(UNDECIDED, higher_is_better=design.higher_is_better)
    is_better = (row["effect"] > 0) == design.higher_is_better
    verdict = HELPS if is_better else HURTS
    return verdict_mark(verdict, higher_is_better=design.higher_is_better)


def _signs(table: pd.DataFrame, design: Design) -> list[Line2D | Patch]:
    looks = {_look(row, design)["color"]: _look(row, design) for row in table.to_dict("records")}
    words = {
        style.VERDICT_COLOURS[verdict]: text
        for verdict, text in (
            (HELPS, "better"), (HURTS, "worse"), (UNDECIDED, "not certain"),
        )
    }  # fmt: skip
    signs: list[Line2D | Patch] = [
        Line2D([], [], linewidth=2.2, markersize=7, label=text, **looks[colour])
        for colour, text in words.items()
        if colour in looks
    ]
    mean = Line2D([], [], color=style.INK, lw=1, ls=(0, (1, 2)), label="mean of all")
    margin = design.margin if design.scale == "log" else design.bound
    band = Patch(color=style.BAND, label=f"within {format_margin(margin, design.scale)}")
    return [*signs, mean, band]


def _write(effect: float, unit: Unit | None) -> str:
    """Write an effect in the unit of all of the figure."""
    if unit is None:
        return format_signed(effect)
    return format_fraction(math.expm1(effect), unit)
