"""Figures of effects: every level against its control, and every pair of levels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablations.analysis import UNDECIDED, Scale
from ablations.analysis.costs import NO_SLOWER
from ablations.report.formatting import format_number, format_percent, round_changes, round_percent
from ablations.report.style import (
    BAND,
    COOL_WARM,
    GAP,
    PAPER,
    SEED,
    TIMED,
    VERDICT_COLOURS,
    VERDICT_MARKERS,
    WIDTH,
    ZERO,
    is_light,
    ratio_ticks,
    style_context,
    wrap_name,
)


def main_effects(
    effects: pd.DataFrame,
    by_seed: pd.DataFrame,
    *,
    scale: Scale,
    margin: float,
    block: str = "seed",
) -> Figure:
    """Draw every level's effect: each seed a point, the mean with its interval, the margin."""
    axes = list(dict.fromkeys(effects["axis"]))
    bound = math.log1p(margin) if scale == "log" else margin
    places = [effects[effects["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [len(rows) + 0.6 for rows in places]
    with style_context():
        size = (WIDTH, 0.9 + sum(0.34 * height + 0.28 for height in heights))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(axes), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]  # fmt: skip
        for axis, rows, panel in zip(axes, places, panels, strict=True):
            panel.axvspan(-bound, bound, color=BAND, zorder=0, linewidth=0)
            panel.axvline(0, color=ZERO, linewidth=1, zorder=1)
            _seed_points(panel, by_seed[by_seed["axis"] == axis], rows, block)
            _means(panel, rows)
            panel.set_title(wrap_name(f"{axis}, against {rows['control'].iloc[0]}", 90))
        _effect_scale(panels[-1], effects, by_seed, scale, bound)
        _effect_legend(figure, effects, bound, scale, seeds=len(by_seed) > 0)
    return figure


def _seed_points(panel: Axes, points: pd.DataFrame, rows: pd.DataFrame, block: str) -> None:
    points = points[np.isfinite(points["difference"].to_numpy(dtype=float))]
    place = {level: i for i, level in enumerate(rows["level"])}
    seeds = {seed: i for i, seed in enumerate(sorted(points[block].unique()))}
    # A seed keeps its place within a row, so that the eye can follow it from level to level.
    spread = points[block].map(seeds).to_numpy(dtype=float) / max(len(seeds) - 1, 1) - 0.5
    y = points["level"].map(place).to_numpy(dtype=float) + 0.56 * spread * (len(seeds) > 1)
    x = points["difference"].to_numpy(dtype=float)
    size = 15 if len(seeds) <= 30 else 6
    sns.scatterplot(x=x, y=y, ax=panel, s=size, color=SEED, linewidth=0, zorder=2)


def _means(panel: Axes, rows: pd.DataFrame) -> None:
    for i, row in rows.iterrows():
        colour = VERDICT_COLOURS[row["verdict"]]
        filling = PAPER if row["verdict"] == UNDECIDED else colour
        marker = VERDICT_MARKERS[row["verdict"]]
        panel.hlines(i, row["low"], row["high"], color=colour, linewidth=2.4, zorder=3)
        panel.plot(
            row["effect"], i, marker=marker, markersize=7.5, color=colour,
            markerfacecolor=filling, markeredgewidth=1.6, zorder=4,
        )  # fmt: skip
    panel.set_yticks(range(len(rows)), [wrap_name(level) for level in rows["level"]])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.set(xlabel="", ylabel="")
    panel.tick_params(length=0)
    sns.despine(ax=panel, left=True)


def _effect_scale(
    panel: Axes, effects: pd.DataFrame, by_seed: pd.DataFrame, scale: Scale, bound: float
) -> None:
    core = pd.concat([effects["effect"], by_seed["difference"]]).astype(float).dropna()
    ends = pd.concat([core, effects["low"], effects["high"]]).astype(float)
    # The interval of two seeds can reach from here to the moon: points decide what is shown.
    reach = 1.6 * max(core.abs().max(), 2 * bound)
    low = max(min(ends.min(), -1.5 * bound), -reach)
    high = min(max(ends.max(), 1.5 * bound), reach)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    panel.set_xlim(low, high)
    if scale == "log":
        ticks = ratio_ticks(low, high)
        panel.set_xticks([math.log1p(tick) for tick in ticks], round_changes(ticks))
    spaced = " (ratio scale)" if scale == "log" else ""
    panel.set_xlabel(f"change of validation loss{spaced}; left is better")


def _effect_legend(
    figure: Figure, effects: pd.DataFrame, bound: float, scale: Scale, *, seeds: bool
) -> None:
    marks: list[Line2D | Patch] = []
    for word, colour in VERDICT_COLOURS.items():
        filling = PAPER if word == UNDECIDED else colour
        if (effects["verdict"] == word).any():
            marker = VERDICT_MARKERS[word]
            style = {"color": colour, "marker": marker, "markerfacecolor": filling, "label": word}
            marks.append(Line2D([], [], linewidth=2.2, **style))  # type: ignore[arg-type]
    if seeds:
        marks.append(
            Line2D([], [], color=SEED, marker="o", markersize=4, linewidth=0, label="one seed")
        )
    text = round_percent(math.expm1(bound)).lstrip("+") if scale == "log" else format_number(bound)
    marks.append(Patch(color=BAND, label=f"within \N{PLUS-MINUS SIGN}{text}"))
    figure.legend(
        handles=marks, loc="outside upper left", ncols=len(marks), columnspacing=1.4,
        handletextpad=0.5,
    )  # fmt: skip


def time_ratios(costs: pd.DataFrame) -> Figure:
    """Draw the time of a step at every level over that at its control, and the noise floor."""
    axes = list(dict.fromkeys(costs["axis"]))
    places = [costs[costs["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [len(rows) + 0.6 for rows in places]
    floor = math.log(float(costs["floor"].iloc[0])) if costs["floor"].notna().any() else 0.0
    ends = np.log(costs[["ratio", "low", "high"]].astype(float))
    low, high = min(float(ends.min().min()), -floor), max(float(ends.max().max()), floor)
    room = 0.06 * (high - low) or 0.01
    with style_context():
        size = (WIDTH, 0.7 + sum(0.3 * height + 0.28 for height in heights))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(axes), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]  # fmt: skip
        for axis, rows, panel in zip(axes, places, panels, strict=True):
            panel.axvspan(-floor, floor, color=BAND, zorder=0, linewidth=0)
            panel.axvline(0, color=ZERO, linewidth=1, zorder=1)
            for i, row in rows.iterrows():
                told = row["verdict"] != NO_SLOWER
                colour = TIMED if told else VERDICT_COLOURS[UNDECIDED]
                panel.hlines(i, *np.log([row["low"], row["high"]]), color=colour, linewidth=2.4)
                panel.plot(
                    math.log(row["ratio"]), i, marker="o", markersize=7, color=colour,
                    markerfacecolor=colour if told else PAPER, markeredgewidth=1.6, zorder=4,
                )  # fmt: skip
            panel.set_yticks(range(len(rows)), [wrap_name(level) for level in rows["level"]])
            panel.set_ylim(len(rows) - 0.4, -0.6)
            panel.set_title(wrap_name(f"{axis}, against {rows['control'].iloc[0]}", 90))
            panel.grid(axis="y", visible=False)
            panel.tick_params(length=0)
            sns.despine(ax=panel, left=True)
        panels[-1].set_xlim(low - room, high + room)
        ticks = ratio_ticks(low - room, high + room)
        panels[-1].set_xticks([math.log1p(tick) for tick in ticks], round_changes(ticks))
        panels[-1].set_xlabel("change of the time of a step (ratio scale)")
    return figure


def interaction_maps(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    levels: Mapping[str, Sequence[str]],
    controls: Mapping[str, str],
    scale: Scale,
) -> Figure:
    """Draw one heat map a pair of axes: the change against the joint control, dots where it is
    not the sum of its parts. Levels that were never crossed are left out.
    """
    parts = [table[(table["axis_a"] == a) & (table["axis_b"] == b)] for a, b in pairs]
    sides = [
        (
            _crossed(part, "level_a", levels[a], controls[a]),
            _crossed(part, "level_b", levels[b], controls[b]),
        )
        for part, (a, b) in zip(parts, pairs, strict=True)
    ]
    columns = min(2, len(pairs))
    tallest = [
        max(len(rows) for rows, _ in sides[i : i + columns]) for i in range(0, len(pairs), columns)
    ]
    told = pd.concat(parts)["effect"].replace([np.inf, -np.inf], np.nan).astype(float)
    # Each side has a scale of its own, so that a large harm does not hide a gain.
    colours = TwoSlopeNorm(0, -_reach(-told[told < 0]), _reach(told[told > 0]))
    with style_context():
        height = 0.6 + sum(0.42 * n + 1.35 for n in tallest)
        figure = Figure(figsize=(WIDTH * (columns + 1) / 3, height), layout="constrained")
        panels = figure.subplots(
            len(tallest), columns, squeeze=False, height_ratios=[n + 2 for n in tallest]
        ).ravel()
        for panel, part, side, (a, b) in zip(panels, parts, sides, pairs, strict=False):
            _heat_map(panel, part, *side, colours, scale)
            panel.set_title(wrap_name(f"{a} \N{MULTIPLICATION SIGN} {b}", 60))
        for panel in panels[len(pairs) :]:
            panel.set_axis_off()
    return figure


def _reach(sizes: pd.Series) -> float:
    """Where a side of the colour scale ends: nearly at the largest size, and not too near zero."""
    return max(float(sizes.quantile(0.98)) if len(sizes) else 0.0, 0.03)


def _crossed(part: pd.DataFrame, side: str, levels: Sequence[str], control: str) -> list[str]:
    met = set(part.loc[part["double"].notna(), side])
    return [level for level in levels if level in met or level == control]


def _heat_map(
    panel: Axes,
    part: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: TwoSlopeNorm,
    scale: Scale,
) -> None:
    part = part.set_index(["level_a", "level_b"])
    effect = _square(part["effect"].astype(float), rows, columns)
    dots = _square((part["p_adjusted"] <= 0.05).astype(float), rows, columns)
    texts = [
        [
            _change(x, scale) + (" \N{BULLET}" if dot == 1 else "")
            for x, dot in zip(*line, strict=True)
        ]
        for line in zip(effect.to_numpy(), dots.to_numpy(), strict=True)
    ]
    small = 8.5 if len(columns) <= 5 else 7 if len(columns) <= 7 else 5.5
    with warnings.catch_warnings():
        # seaborn 0.13.2 calls what matplotlib 3.11 announces to drop.
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        sns.heatmap(
            effect, ax=panel, cmap=COOL_WARM, norm=colours, annot=np.array(texts),
            fmt="", cbar=False, linewidths=1.2, linecolor=PAPER, annot_kws={"size": small},
        )  # fmt: skip
    # Text on a coloured cell keeps its colour where the paper changes its own.
    for text, value in zip(panel.texts, effect.to_numpy()[np.isfinite(effect)], strict=True):
        text.set_color("#262626" if is_light(COOL_WARM(colours(value))) else "#FEFEFE")
    panel.set_facecolor(GAP)
    panel.set(xlabel="", ylabel="")
    few = len(columns) <= 5
    panel.set_xticklabels(
        [wrap_name(name, 15) for name in columns],
        rotation=0 if few else 40, ha="center" if few else "right", rotation_mode="anchor",
        va="top",
    )  # fmt: skip
    panel.set_yticklabels([wrap_name(name, 18) for name in rows], rotation=0)
    panel.tick_params(length=0)


def _square(values: pd.Series, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    wide = values.unstack("level_b")  # noqa: PD010 - every entry is one number already
    return wide.reindex(index=list(rows), columns=list(columns))


def _change(effect: float, scale: Scale) -> str:
    if math.isnan(effect):
        return ""
    return format_percent(math.expm1(effect)) if scale == "log" else format_number(effect)
