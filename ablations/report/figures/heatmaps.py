"""Heat maps of pairs of axes, all on one symmetric scale with its colour bar."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from ablations.analysis import strongest_pairs
from ablations.analysis.design import Design
from ablations.report import style
from ablations.report.data import ReportData
from ablations.report.figures.marks import Mark, attach, describe_effect
from ablations.report.figures.panels import WIDE, Canvas, FigureSpec, figure_panels, set_ratio_scale
from ablations.report.formatting import format_difference

MOST_PAIRS = 6
"""Pairs of axes that the heat maps show."""
CELL = 0.36
"""Inches of a row of cells."""
BAR = 0.13
CLIP = 1.3
"""How many times the quantile below the largest cell may that be, before the scale ends at the
quantile."""


@dataclass(frozen=True)
class HeatScale:
    """The colours of effects from ``-limit`` to ``limit``; ``clipped``: effects lie beyond."""

    limit: float
    clipped: bool
    palette: ListedColormap

    @property
    def norm(self) -> Normalize:
        """Effects to places in the palette."""
        return Normalize(-self.limit, self.limit, clip=True)


def interaction_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Heat maps of the pairs of axes that add up least."""
    table = data.interactions
    ranked = strongest_pairs(table).dropna()
    pairs = list(zip(ranked["axis_a"], ranked["axis_b"], strict=True))
    if not pairs:
        return
    shown = pairs[:MOST_PAIRS]
    yield FigureSpec.describe(
        "interactions",
        "interactions",
        partial(interaction_maps, table, shown, data.design),
        tested=int(table["p_adjusted"].notna().sum()),
        significant=int((table["p_adjusted"] <= 0.05).sum()),
        outcome=data.outcome,
        shown=len(shown),
        total=len(pairs),
    )


def interaction_maps(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    design: Design,
    canvas: Canvas = WIDE,
) -> Figure:
    """Draw one heat map per pair of axes: the change against the joint control, with dots where it
    differs from the sum of both effects. Levels that were never crossed are left out.
    """
    tables = [table[(table["axis_a"] == a) & (table["axis_b"] == b)] for a, b in pairs]
    sides = [
        (_crossed_levels(rows, "level_a", a, design), _crossed_levels(rows, "level_b", b, design))
        for rows, (a, b) in zip(tables, pairs, strict=True)
    ]
    scale = _heat_scale(tables, sides, design)
    columns = canvas.columns(len(pairs))
    heights = [
        CELL * max(len(names) for names, _ in sides[i : i + columns])
        for i in range(0, len(pairs), columns)
    ]
    with figure_panels([BAR, *heights], columns, canvas) as (figure, panels):
        _draw_bar(panels[0], scale, design)
        for panel in panels[1:columns]:
            panel.set_axis_off()
        for panel, rows, names, (a, b) in zip(panels[columns:], tables, sides, pairs, strict=False):
            _draw_heat_map(panel, rows, *names, scale, design)
            panel.set_title(style.wrap_name(f"{a} \N{MULTIPLICATION SIGN} {b}", 60), loc="left")
        for panel in panels[columns + len(pairs) :]:
            panel.set_axis_off()
    return figure


def _heat_scale(
    tables: Sequence[pd.DataFrame],
    sides: Sequence[tuple[list[str], list[str]]],
    design: Design,
) -> HeatScale:
    """One symmetric scale over all cells that are drawn; a few very large ones do not flatten the
    others.
    """
    sizes = pd.concat(
        [
            rows.loc[rows["level_a"].isin(a) & rows["level_b"].isin(b), "effect"]
            for rows, (a, b) in zip(tables, sides, strict=True)
        ]
    )
    sizes = sizes.astype(float).abs().replace([np.inf, 0], np.nan).dropna()
    least = math.log1p(0.03) if design.scale == "log" else 1.5 * design.bound
    largest = float(sizes.max()) if len(sizes) else 0.0
    robust = float(sizes.quantile(0.9)) if len(sizes) else 0.0
    is_clipped = largest > CLIP * robust > least
    limit = max(robust if is_clipped else largest, least)
    colours = style.HEAT[::-1] if design.higher_is_better else style.HEAT
    return HeatScale(limit, is_clipped, ListedColormap(colours))


def _draw_bar(panel: Axes, scale: HeatScale, design: Design) -> None:
    """Draw the colour bar: all colours with what they mean, and arrows where cells lie beyond."""
    steps = len(style.HEAT)
    ends = np.linspace(-scale.limit, scale.limit, steps + 1)
    panel.pcolormesh(
        ends, [0, 1], np.arange(steps)[None, :], cmap=scale.palette, edgecolor=style.PAPER,
        linewidth=0.8,
    )  # fmt: skip
    if scale.clipped:
        for side, index in ((-1, 0), (1, -1)):
            end, colour = side * scale.limit, scale.palette(index % steps)
            panel.fill([end, 1.06 * end, end], [0, 0.5, 1], color=colour, linewidth=0)
    room = 1.07 if scale.clipped else 1.0
    panel.set(xlim=(-room * scale.limit, room * scale.limit), ylim=(0, 1), yticks=[])
    if design.scale == "log":
        set_ratio_scale(panel, -scale.limit, scale.limit, most=5)
    panel.grid(visible=False)
    panel.tick_params(length=0, pad=3)
    sns.despine(ax=panel, left=True, bottom=True)
    words = ("worse", "better") if design.higher_is_better else ("better", "worse")
    texts = (f"\N{LEFTWARDS ARROW} {words[0]}", f"{words[1]} \N{RIGHTWARDS ARROW}")
    for x, align, text in zip((0, 1), ("left", "right"), texts, strict=True):
        panel.annotate(
            text, (x, 1), (0, 4), xycoords="axes fraction", textcoords="offset points",
            ha=align, va="bottom", fontsize=9.5,
        )  # fmt: skip


def _crossed_levels(rows: pd.DataFrame, column: str, axis: str, design: Design) -> list[str]:
    crossed = {*rows.loc[rows["double"].notna(), column], design.controls[axis]}
    return [level for level in design.levels[axis] if level in crossed]


def _draw_heat_map(
    panel: Axes,
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: HeatScale,
    design: Design,
) -> None:
    by_levels = {(row["level_a"], row["level_b"]): row for row in table.to_dict("records")}
    effect = pd.DataFrame(
        [[_effect(by_levels.get((a, b))) for b in columns] for a in rows],
        index=list(rows),
        columns=list(columns),
    )
    texts = [[_write_cell(by_levels.get((a, b)), design) for b in columns] for a in rows]
    size = 9.5 if len(columns) <= 5 else 7.5 if len(columns) <= 8 else 6
    with warnings.catch_warnings():
        # seaborn 0.13.2 calls what matplotlib 3.11 announces to drop.
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        sns.heatmap(
            effect, ax=panel, cmap=scale.palette, norm=scale.norm, annot=np.array(texts),
            fmt="", cbar=False, linewidths=1.6, linecolor=style.PAPER, annot_kws={"size": size},
            xticklabels=False, yticklabels=False,
        )  # fmt: skip
    # Text on a coloured cell keeps its colour where the page inverts the others.
    for text, value in zip(panel.texts, effect.to_numpy()[np.isfinite(effect)], strict=True):
        is_light = style.is_light(scale.palette(scale.norm(value)))
        text.set_color(style.ON_LIGHT if is_light else style.ON_DARK)
    cells = [by_levels.get(pair) for pair in product(rows, columns)]
    marks = [_cell_mark(row, design) for row in cells if row and math.isfinite(_effect(row))]
    attach(panel.collections[0], *marks)
    panel.set(xlabel="", ylabel="", facecolor=style.GAP)
    _label_cells(panel, rows, columns)


def _effect(row: dict[str, Any] | None) -> float:
    effect = math.nan if row is None else float(row["effect"])
    return effect if math.isfinite(effect) else math.nan


def _write_cell(row: dict[str, Any] | None, design: Design) -> str:
    if row is None or math.isnan(_effect(row)):
        return ""
    dot = " \N{BULLET}" if float(row["p_adjusted"]) <= 0.05 else ""
    return format_difference(_effect(row), design.scale) + dot


def _cell_mark(row: dict[str, Any], design: Design) -> Mark:
    """The data of a cell: both levels, the change, its interval and what is beyond the sum."""
    scale = design.scale
    a, b = (str(design.controls[row[name]]) for name in ("axis_a", "axis_b"))
    is_control = (row["level_a"], row["level_b"]) == (a, b)
    effect = "both controls" if is_control else describe_effect(row, scale)
    text = f"{row['axis_a']} {row['level_a']} with {row['axis_b']} {row['level_b']}: {effect}"
    if not math.isnan(float(row["double"])):
        double = format_difference(float(row["double"]), scale)
        text += f"; {double} beyond what both do alone"
    low, high = (float(row[name]) for name in ("low", "high"))
    return Mark(
        text, row["axis_a"], str(row["level_a"]), _effect(row), low, high,
        other=(row["axis_b"], str(row["level_b"])),
    )  # fmt: skip


def _label_cells(panel: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    is_narrow = len(columns) <= 5
    # Labels of seaborn's own would be laid out here to see whether they overlap.
    panel.set_xticks(
        np.arange(len(columns)) + 0.5, [style.wrap_name(name, 15) for name in columns],
        rotation=0 if is_narrow else 40, ha="center" if is_narrow else "right",
        rotation_mode="anchor", va="top",
    )  # fmt: skip
    panel.set_yticks(
        np.arange(len(rows)) + 0.5, [style.wrap_name(name, 18) for name in rows], va="center"
    )
    panel.tick_params(length=0)
