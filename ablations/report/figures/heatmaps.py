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
from ablations.report.figures.layout import measure_text
from ablations.report.figures.marks import Mark, attach, describe_effect
from ablations.report.figures.names import PLAIN, Names
from ablations.report.figures.panels import (
    TITLE_SIZE,
    WIDE,
    Canvas,
    FigureSpec,
    add_head,
    figure_panels,
    set_ticks,
    wrap_text,
)
from ablations.report.formatting import (
    NARROW,
    TIMES,
    Unit,
    choose_unit,
    format_difference,
    format_fraction,
    format_signed,
    name_outcome,
    round_changes,
)
from ablations.report.strengths import name_source

MOST_PAIRS = 6
"""Pairs of axes that the heat maps show."""
CELL, BAR = 0.36, 0.13
"""Inches of a row of cells, and of the colour bar."""
SIZE = 9.5
"""Points of texts, which are as large as others or left out."""
LEAST_CELL = 0.25
"""Inches of a column for which the name of the next one, which leans, has room beside its own."""
CLIP = 1.5
"""The scale ends before the largest cell where that is so many times larger than nearly all."""
ROUND_RATIOS = (1.02, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100, 1e3, 1e4, 1e6, 1e9)


@dataclass(frozen=True)
class HeatMap:
    """What one map shows: its axes, their levels that were crossed, and the rows of the table."""

    axes: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], dict[str, Any]]
    piece: str = ""
    """Which piece of a map it is that was too wide for a figure."""

    @property
    def title(self) -> str:
        """Both axes."""
        return f"{name_source(f' {TIMES} '.join(self.axes))}{self.piece}"

    @property
    def transposed(self) -> HeatMap:
        """The same map with columns for rows."""
        cells = {(b, a): row for (a, b), row in self.cells.items()}
        return HeatMap((self.axes[1], self.axes[0]), self.columns, self.rows, cells)

    @property
    def effects(self) -> np.ndarray:
        """The effects as a matrix; missing where nothing was run."""
        values = [self.effect(a, b) for a, b in product(self.rows, self.columns)]
        return np.array(values).reshape(len(self.rows), len(self.columns))

    def effect(self, a: str, b: str) -> float:
        """The effect of one cell, missing where there is no finite one."""
        effect = float(self.cells[a, b]["effect"]) if (a, b) in self.cells else math.nan
        return effect if math.isfinite(effect) else math.nan


@dataclass(frozen=True)
class HeatScale:
    """The colours of effects from ``-limit`` to ``limit``, and the unit in which they are written;
    ``lowest`` and ``highest`` of the cells may lie beyond.
    """

    limit: float
    lowest: float
    highest: float
    unit: Unit | None
    palette: ListedColormap

    @property
    def norm(self) -> Normalize:
        """Effects to places in the palette."""
        return Normalize(-self.limit, self.limit, clip=True)

    def write(self, effect: float) -> str:
        """Write an effect in the unit of all maps."""
        if self.unit is None:
            return format_signed(effect)
        return format_fraction(math.expm1(effect), self.unit)


def interaction_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Heat maps of the pairs of axes that add up least."""
    table = data.interactions
    ranked = strongest_pairs(table).dropna()
    pairs = list(zip(ranked["axis_a"], ranked["axis_b"], strict=True))
    if not pairs:
        return
    shown = pairs[:MOST_PAIRS]
    scale = _heat_scale([_heat_map(table, pair, data.design) for pair in shown], data.design)
    yield FigureSpec.describe(
        "interactions",
        "interactions",
        partial(interaction_maps, table, shown, data.design, names=Names(data.metadata)),
        tested=int(table["p_adjusted"].notna().sum()),
        significant=int((table["p_adjusted"] <= 0.05).sum()),
        outcome=data.outcome,
        shown=len(shown),
        total=len(pairs),
        is_clipped=max(-scale.lowest, scale.highest) > scale.limit,
    )


def interaction_maps(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    design: Design,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw one heat map per pair of axes: the change against the joint control, with dots where it
    differs from the sum of both effects. Levels that were never crossed are left out.
    """
    crossed = [_heat_map(table, pair, design) for pair in pairs]
    scale = _heat_scale(crossed, design)
    columns = canvas.columns(len(pairs))
    width = canvas.width / columns
    maps = [piece for each in crossed for piece in _fit(each, width, names)]
    heights = [
        CELL * max(len(each.rows) for each in maps[i : i + columns])
        for i in range(0, len(maps), columns)
    ]
    with figure_panels([BAR, *heights], columns, canvas) as (figure, panels):
        text = f"Change of {name_outcome(design.outcome)} against both controls together"
        add_head(figure, text, canvas)
        _draw_bar(panels[0], scale, design)
        for panel in panels[1:columns]:
            panel.set_axis_off()
        for panel, each in zip(panels[columns:], maps, strict=False):
            rows = _name_rows(each, names)
            cell = _room(rows, width) / len(each.columns)
            _draw_heat_map(panel, each, scale, design, cell, names)
            panel.set_title(wrap_text(each.title, _room(rows, width), TITLE_SIZE), loc="left")
            _label_cells(panel, rows, [names.short(each.axes[1], x) for x in each.columns], cell)
        for panel in panels[columns + len(maps) :]:
            panel.set_axis_off()
    return figure


def _name_rows(each: HeatMap, names: Names) -> list[str]:
    return [style.wrap_name(names.short(each.axes[0], level), 18) for level in each.rows]


def _room(rows: Sequence[str], width: float) -> float:
    """Inches of the cells of a map that is ``width`` wide with the names of its rows."""
    return width - max(measure_text(name, SIZE) for name in rows) - 0.3


def _fit(each: HeatMap, width: float, names: Names) -> Iterator[HeatMap]:
    """Yield a map whose columns have room for their names: where these are too many, the map is
    transposed, and in pieces where that has too many, too.
    """
    views = []
    for view in (each, each.transposed):
        most = max(1, int(_room(_name_rows(view, names), width) / LEAST_CELL))
        views.append((math.ceil(len(view.columns) / most), view))
    pieces, view = min(views, key=lambda item: item[0])
    if pieces == 1:
        yield view
        return
    for i, columns in enumerate(np.array_split(np.asarray(view.columns, dtype=object), pieces)):
        text = f", {i + 1} of {pieces}"
        yield HeatMap(view.axes, view.rows, tuple(columns), view.cells, text)


def _heat_map(table: pd.DataFrame, pair: tuple[str, str], design: Design) -> HeatMap:
    """Collect the cells of two axes, without levels that were never crossed."""
    rows = table[(table["axis_a"] == pair[0]) & (table["axis_b"] == pair[1])]
    crossed = rows[rows["double"].notna()]
    levels = [
        tuple(
            level
            for level in design.levels[axis]
            if level in {*crossed[column], design.controls[axis]}
        )
        for axis, column in zip(pair, ("level_a", "level_b"), strict=True)
    ]
    cells = {(row["level_a"], row["level_b"]): row for row in rows.to_dict("records")}
    return HeatMap(pair, levels[0], levels[1], cells)


def _heat_scale(maps: Sequence[HeatMap], design: Design) -> HeatScale:
    """One symmetric scale over all cells that are drawn; a few very large ones do not flatten the
    others.
    """
    effects = np.concatenate([each.effects.ravel() for each in maps])
    effects = effects[np.isfinite(effects)]
    sizes = np.abs(effects[effects != 0])
    least = math.log1p(0.03) if design.scale == "log" else 1.5 * design.bound
    largest, robust = (float(np.quantile(sizes, q)) if len(sizes) else 0.0 for q in (1, 0.95))
    limit = max(robust if largest > CLIP * robust else largest, least)
    unit = choose_unit(np.expm1(effects).tolist()) if design.scale == "log" else None
    colours = style.HEAT[::-1] if design.higher_is_better else style.HEAT
    ends = (float(effects.min()), float(effects.max())) if len(effects) else (0.0, 0.0)
    return HeatScale(limit, *ends, unit, ListedColormap(colours))


def _draw_bar(panel: Axes, scale: HeatScale, design: Design) -> None:
    """Draw the colour bar: all colours with what they mean, and arrows where cells lie beyond."""
    steps, limit = len(style.HEAT), scale.limit
    edges = np.linspace(-limit, limit, steps + 1)
    panel.pcolormesh(
        edges, [0, 1], np.arange(steps)[None, :], cmap=scale.palette, edgecolor=style.PAPER,
        linewidth=0.8,
    )  # fmt: skip
    for end, index, is_beyond in (
        (-limit, 0, scale.lowest < -limit),
        (limit, steps - 1, scale.highest > limit),
    ):
        if is_beyond:
            panel.fill([end, 1.06 * end, end], [0, 0.5, 1], color=scale.palette(index), linewidth=0)
    room = 1.07 if max(-scale.lowest, scale.highest) > limit else 1.0
    panel.set(xlim=(-room * limit, room * limit), ylim=(0, 1), yticks=[])
    set_ticks(panel, *_bar_ticks(scale))
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


def _bar_ticks(scale: HeatScale) -> tuple[list[float], list[str]]:
    """Zero, and round changes of one size on both sides: near the end, and half of the way."""
    limit = scale.limit
    if scale.unit is None:
        size = float(f"{0.9 * limit:.1g}")
        return [-size, 0.0, size], [format_signed(x) for x in (-size, 0.0, size)]
    sizes = [math.log(ratio) for ratio in ROUND_RATIOS if math.log(ratio) <= 0.97 * limit]
    ends = sizes[-1:] or [limit]
    ends += [size for size in sizes[-2:-1] if size < 0.65 * ends[0]]
    ticks = sorted({0.0, *ends, *(-end for end in ends)})
    if scale.unit == "ratio":
        return ticks, [f"{TIMES}{math.exp(tick):.3g}" for tick in ticks]
    return ticks, round_changes([round(math.expm1(tick), 2) for tick in ticks])


def _draw_heat_map(
    panel: Axes, each: HeatMap, scale: HeatScale, design: Design, cell: float, names: Names
) -> None:
    effects = each.effects
    texts = _write_cells(effects, scale, cell)
    # A cell without a number may be as pale as the paper: its edge shows it.
    width, edge = (1.6, style.PAPER) if texts.any() else (0.6, style.ZERO)
    with warnings.catch_warnings():
        # seaborn 0.13.2 calls what matplotlib 3.11 announces to drop.
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        sns.heatmap(
            effects, ax=panel, cmap=scale.palette, norm=scale.norm,
            annot=texts if texts.any() else None,
            fmt="", cbar=False,
            linewidths=width, linecolor=edge, annot_kws={"size": SIZE}, xticklabels=False,
            yticklabels=False,
        )  # fmt: skip
    # Text on a coloured cell turns round with the colours on dark paper.
    for text, value in zip(panel.texts, effects[np.isfinite(effects)], strict=False):
        text.set_color(_ink_on(value, scale))
    marks = [
        None if math.isnan(each.effect(*place)) else _cell_mark(each, place, design, names)
        for place in product(each.rows, each.columns)
    ]
    attach(panel.collections[0], *marks)
    panel.collections[0].set_clip_on(False)
    dots = [
        (j + 1 - 0.08 / cell, i + 0.22, _ink_on(each.effect(a, b), scale))
        for (i, a), (j, b) in product(enumerate(each.rows), enumerate(each.columns))
        if (a, b) in each.cells and each.cells[a, b]["p_adjusted"] <= 0.05
    ]
    if dots:
        x, y, colours = zip(*dots, strict=True)
        panel.scatter(x, y, s=5, c=colours, linewidth=0, clip_on=False)
    panel.set(xlabel="", ylabel="", facecolor=style.GAP)
    panel.grid(visible=False)


def _ink_on(effect: float, scale: HeatScale) -> str:
    colour = scale.palette(scale.norm(effect))
    return style.ON_LIGHT if style.is_light(colour) else style.ON_DARK


def _cell_mark(each: HeatMap, place: tuple[str, str], design: Design, names: Names) -> Mark:
    """The data of a cell: both levels, the change, its interval and what is beyond the sum."""
    row, effect = each.cells[place], each.effect(*place)
    controls = (design.controls[row["axis_a"]], design.controls[row["axis_b"]])
    is_control = (row["level_a"], row["level_b"]) == controls
    change = "both controls" if is_control else describe_effect(row, design.scale)
    pair = [names.full(row[f"axis_{side}"], row[f"level_{side}"]) for side in "ab"]
    text = f"{pair[0]} with {pair[1]}: {change}"
    if not math.isnan(float(row["double"])):
        double = format_difference(float(row["double"]), design.scale)
        text += f"; {double} beyond what both do alone"
    low, high = (float(row[name]) for name in ("low", "high"))
    other = (row["axis_b"], str(row["level_b"]))
    return Mark(text, row["axis_a"], str(row["level_a"]), effect, low, high, other=other)


def _write_cells(effects: np.ndarray, scale: HeatScale, cell: float) -> np.ndarray:
    """Write the effects as far as cells of this width have room: in full, without the sign of
    percent, or not at all; colours and hints say them too.
    """
    texts = [["" if math.isnan(x) else scale.write(x) for x in row] for row in effects]
    short = [[text.removesuffix(f"{NARROW}%") for text in row] for row in texts]
    for each in (texts, short):
        if max(measure_text(text, SIZE) for row in each for text in row) < cell - 0.06:
            return np.array(each)
    return np.full(effects.shape, "")


def _label_cells(panel: Axes, rows: Sequence[str], levels: Sequence[str], cell: float) -> None:
    """Name rows and columns; names of columns that are wider than a cell lean."""
    columns = [style.wrap_name(name, max(4, int(cell / 0.09))) for name in levels]
    fits = all(
        measure_text(name, SIZE) < cell - 0.04 and "\N{HORIZONTAL ELLIPSIS}" not in name
        for name in columns
    )
    if not fits:
        columns = [style.wrap_name(name, 18).replace("\n", " ") for name in levels]
    # Labels of seaborn's own would be laid out here to see whether they overlap.
    panel.set_xticks(
        np.arange(len(columns)) + 0.5, columns, rotation=0 if fits else 35,
        ha="center" if fits else "right", rotation_mode="anchor", va="top",
    )  # fmt: skip
    panel.set_yticks(np.arange(len(rows)) + 0.5, rows, va="center")
    panel.tick_params(length=0)
