"""Figures of effects: every level against its control, every pair of levels, and the time of a
step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Scale, strongest_pairs
from ablations.analysis.costs import NO_SLOWER
from ablations.analysis.design import Design
from ablations.analysis.inference import min_seeds
from ablations.report import style
from ablations.report.data import ReportData
from ablations.report.figures.panels import (
    FigureSpec,
    axis_panels,
    figure_panels,
    label_rows,
    set_ratio_scale,
)
from ablations.report.formatting import (
    format_number,
    format_percent,
    format_ratio,
    format_signed,
    name_outcome,
    round_percent,
)
from ablations.report.texts import describe_effects

MOST_PAIRS = 6
"""Pairs of axes that the heat maps show."""


def effect_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Every level against its control."""
    if not data.effects["seeds"].sum():
        return
    draw = partial(main_effects, data.effects, data.by_seed, data.design, data.outcome)
    answer = describe_effects(data.effects, data.design, "level")
    yield FigureSpec.describe("effects", "main-effects", draw, answer=answer, outcome=data.outcome)


def comparison_figures(
    by_level: pd.DataFrame, design: Design, names: tuple[str, str]
) -> Iterator[FigureSpec]:
    """One folder of results against another, at every level."""
    rows, (first, second) = by_level[by_level["seeds"] > 0], names
    if rows.empty:
        return
    is_certain = rows["p_adjusted"] <= 0.05
    is_better = (rows["effect"] > 0) == design.higher_is_better
    is_within = (rows["low"] >= -design.bound) & (rows["high"] <= design.bound)
    is_within &= rows["seeds"] >= min_seeds(design.alpha)
    is_equal = is_within | (rows["identical"] == rows["pairs"])
    verdict = np.select(
        [is_equal, is_certain & is_better, is_certain], [EQUAL, HELPS, HURTS], UNDECIDED
    )
    rows = rows.assign(verdict=verdict, control=first)
    points = pd.DataFrame({"axis": [], "level": [], "seed": [], "difference": []})
    outcome = name_outcome(design.outcome)
    draw = partial(main_effects, rows, points, design, outcome)
    yield FigureSpec.describe(
        "levels",
        "comparison",
        draw,
        first=first,
        second=second,
        outcome=outcome,
        min_seeds=min_seeds(design.alpha),
    )


def main_effects(
    effects: pd.DataFrame, by_seed: pd.DataFrame, design: Design, outcome: str
) -> Figure:
    """Draw every level's effect: each seed a point, the mean with its interval, the margin."""
    scale, bound = design.scale, design.bound
    with axis_panels(effects, 0.9, 0.34) as (figure, panels):
        for axis, rows, panel in panels:
            _draw_no_change(panel, bound)
            _draw_seeds(panel, by_seed[by_seed["axis"] == axis], rows)
            for i, row in rows.iterrows():
                mark, ends = _mark(row["verdict"], design), (row["low"], row["high"])
                panel.hlines(i, *ends, color=mark["color"], linewidth=2.4, zorder=3)
                panel.plot(row["effect"], i, markersize=7.5, markeredgewidth=1.6, zorder=4, **mark)
            panel.set(xlabel="", ylabel="")
            label_rows(panel, rows["level"], f"{axis}, against {rows['control'].iloc[0]}")
        lowest = panels[-1][-1]
        _set_effect_scale(lowest, effects, by_seed, scale, bound)
        unit = " (ratio scale)" if scale == "log" else ""
        side = "right" if design.higher_is_better else "left"
        lowest.set_xlabel(f"change of {outcome}{unit}; {side} is better")
        _add_effect_legend(figure, effects, design, seeds=len(by_seed) > 0)
    return figure


def _draw_no_change(panel: Axes, bound: float) -> None:
    panel.axvspan(-bound, bound, color=style.BAND, zorder=0, linewidth=0)
    panel.axvline(0, color=style.ZERO, linewidth=1, zorder=1)


def _draw_seeds(panel: Axes, points: pd.DataFrame, rows: pd.DataFrame) -> None:
    points = points[np.isfinite(points["difference"].to_numpy(dtype=float))]
    positions = {level: i for i, level in enumerate(rows["level"])}
    seeds = {seed: i for i, seed in enumerate(sorted(points["seed"].unique()))}
    # A seed has the same position in every row, so that the eye can follow it.
    spread = points["seed"].map(seeds).to_numpy(dtype=float) / max(len(seeds) - 1, 1) - 0.5
    y = points["level"].map(positions).to_numpy(dtype=float) + 0.56 * spread * (len(seeds) > 1)
    x = points["difference"].to_numpy(dtype=float)
    size = 15 if len(seeds) <= 30 else 6
    sns.scatterplot(x=x, y=y, ax=panel, s=size, color=style.SEED, linewidth=0, zorder=2)


def _mark(verdict: str, design: Design) -> dict[str, Any]:
    """The mark of a verdict, a triangle in the direction of the change; hollow if undecided."""
    colour, marker = style.VERDICT_COLOURS[verdict], style.VERDICT_MARKERS[verdict]
    if design.higher_is_better:
        marker = {"v": "^", "^": "v"}.get(marker, marker)
    face = style.PAPER if verdict == UNDECIDED else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face}


def _set_effect_scale(
    panel: Axes, effects: pd.DataFrame, by_seed: pd.DataFrame, scale: Scale, bound: float
) -> None:
    core = pd.concat([effects["effect"], by_seed["difference"]]).astype(float).dropna()
    ends = pd.concat([core, effects["low"], effects["high"]]).astype(float)
    # The interval of two seeds can be many times wider than all points: points decide.
    reach = 1.6 * max(core.abs().max(), 2 * bound)
    low = max(min(ends.min(), -1.5 * bound), -reach)
    high = min(max(ends.max(), 1.5 * bound), reach)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    panel.set_xlim(low, high)
    if scale == "log":
        set_ratio_scale(panel, low, high)


def _add_effect_legend(
    figure: Figure, effects: pd.DataFrame, design: Design, *, seeds: bool
) -> None:
    scale, bound = design.scale, design.bound
    marks: list[Line2D | Patch] = [
        Line2D([], [], linewidth=2.2, label=verdict, **_mark(verdict, design))
        for verdict in style.VERDICT_COLOURS
        if (effects["verdict"] == verdict).any()
    ]
    if seeds:
        marks.append(
            Line2D([], [], color=style.SEED, marker="o", markersize=4, lw=0, label="one seed")
        )
    text = round_percent(math.expm1(bound)).lstrip("+") if scale == "log" else format_number(bound)
    marks.append(Patch(color=style.BAND, label=f"within \N{PLUS-MINUS SIGN}{text}"))
    figure.legend(
        handles=marks, loc="outside upper left", ncols=len(marks), columnspacing=1.4,
        handletextpad=0.5,
    )  # fmt: skip


def timing_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Time of a step at every level, one figure per machine and number of threads."""
    groups = data.costs.groupby(["environment_id", "threads"], sort=True)
    for i, ((environment, threads), costs) in enumerate(groups):
        ratios = [f"{row.axis} {row.level} {format_ratio(row.ratio)}" for row in costs.itertuples()]
        yield FigureSpec.describe(
            "timings",
            "step-times" + (f"-{i + 1}" if i else ""),
            partial(time_ratios, costs),
            ratios=ratios,
            blocks=int(costs["blocks"].max()),
            machine=environment if len(data.floors) > 1 else "",
            threads=int(threads),
        )


def time_ratios(costs: pd.DataFrame) -> Figure:
    """Draw the time of a step at every level over that at its control, and the noise floor."""
    floor = math.log(float(costs["floor"].iloc[0])) if costs["floor"].notna().any() else 0.0
    ends = np.log(costs[["ratio", "low", "high"]].astype(float))
    low, high = min(float(ends.min().min()), -floor), max(float(ends.max().max()), floor)
    room = 0.06 * (high - low) or 0.01
    with axis_panels(costs, 0.7, 0.3) as (figure, panels):
        for axis, rows, panel in panels:
            _draw_no_change(panel, floor)
            for i, row in rows.iterrows():
                colour, face = style.TIMED, style.TIMED
                if row["verdict"] == NO_SLOWER:
                    colour, face = style.VERDICT_COLOURS[UNDECIDED], style.PAPER
                panel.hlines(i, *np.log([row["low"], row["high"]]), color=colour, linewidth=2.4)
                panel.plot(
                    math.log(row["ratio"]), i, marker="o", markersize=7, color=colour,
                    markerfacecolor=face, markeredgewidth=1.6, zorder=4,
                )  # fmt: skip
            label_rows(panel, rows["level"], f"{axis}, against {rows['control'].iloc[0]}")
        lowest = panels[-1][-1]
        lowest.set_xlim(low - room, high + room)
        set_ratio_scale(lowest, low - room, high + room)
        lowest.set_xlabel("change of the time of a step (ratio scale)")
    return figure


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
    table: pd.DataFrame, pairs: Sequence[tuple[str, str]], design: Design
) -> Figure:
    """Draw one heat map per pair of axes: the change against the joint control, with dots where it
    differs from the sum of both effects. Levels that were never crossed are left out.
    """
    tables = [table[(table["axis_a"] == a) & (table["axis_b"] == b)] for a, b in pairs]
    sides = [
        (_crossed_levels(rows, "level_a", a, design), _crossed_levels(rows, "level_b", b, design))
        for rows, (a, b) in zip(tables, pairs, strict=True)
    ]
    columns = min(2, len(pairs))
    tallest = [
        max(len(names) for names, _ in sides[i : i + columns])
        for i in range(0, len(pairs), columns)
    ]
    changes = pd.concat(tables)["effect"].replace([np.inf, -np.inf], np.nan).astype(float)
    # Each side has a scale of its own, so that a large harm does not hide a gain.
    least = 0.03 if design.scale == "log" else 1.5 * design.bound
    ends = (_scale_end(sizes[sizes > 0], least) for sizes in (-changes, changes))
    colours = TwoSlopeNorm(0, -next(ends), next(ends))
    height = 0.6 + sum(0.42 * n + 1.35 for n in tallest)
    with figure_panels(
        height, len(tallest), columns, width=style.WIDTH * (columns + 1) / 3,
        height_ratios=[n + 2 for n in tallest],
    ) as (figure, panels):  # fmt: skip
        for panel, rows, names, (a, b) in zip(panels, tables, sides, pairs, strict=False):
            _draw_heat_map(panel, rows, *names, colours, design)
            panel.set_title(style.wrap_name(f"{a} \N{MULTIPLICATION SIGN} {b}", 60))
        for panel in panels[len(pairs) :]:
            panel.set_axis_off()
    return figure


def _scale_end(sizes: pd.Series, least: float) -> float:
    """Where a side of the colour scale ends: nearly at the largest size, and not too near zero."""
    return max(float(sizes.quantile(0.98)) if len(sizes) else 0.0, least)


def _crossed_levels(rows: pd.DataFrame, column: str, axis: str, design: Design) -> list[str]:
    crossed = {*rows.loc[rows["double"].notna(), column], design.controls[axis]}
    return [level for level in design.levels[axis] if level in crossed]


def _draw_heat_map(
    panel: Axes,
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: TwoSlopeNorm,
    design: Design,
) -> None:
    scale, palette = design.scale, style.COOL_WARM
    palette = palette.reversed() if design.higher_is_better else palette
    table = table.set_index(["level_a", "level_b"])
    effect = _to_matrix(table["effect"].astype(float), rows, columns)
    dots = _to_matrix((table["p_adjusted"] <= 0.05).astype(float), rows, columns)
    texts = [
        [
            _format_effect(x, scale) + (" \N{BULLET}" if dot == 1 else "")
            for x, dot in zip(*line, strict=True)
        ]
        for line in zip(effect.to_numpy(), dots.to_numpy(), strict=True)
    ]
    size = 8.5 if len(columns) <= 5 else 7 if len(columns) <= 7 else 5.5
    with warnings.catch_warnings():
        # seaborn 0.13.2 calls what matplotlib 3.11 announces to drop.
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        sns.heatmap(
            effect, ax=panel, cmap=palette, norm=colours, annot=np.array(texts),
            fmt="", cbar=False, linewidths=1.2, linecolor=style.PAPER, annot_kws={"size": size},
            xticklabels=False, yticklabels=False,
        )  # fmt: skip
    # Text on a coloured cell keeps its colour where the page inverts the others.
    for text, value in zip(panel.texts, effect.to_numpy()[np.isfinite(effect)], strict=True):
        text.set_color("#262626" if style.is_light(palette(colours(value))) else "#FEFEFE")
    panel.set_facecolor(style.GAP)
    panel.set(xlabel="", ylabel="")
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


def _to_matrix(values: pd.Series, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    wide = values.unstack("level_b")  # noqa: PD010 - every entry is one number already
    return wide.reindex(index=list(rows), columns=list(columns))


def _format_effect(effect: float, scale: Scale) -> str:
    if math.isnan(effect):
        return ""
    return format_percent(math.expm1(effect)) if scale == "log" else format_signed(effect)
