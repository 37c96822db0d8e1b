"""Figures of the whole study: shares of the variance, spread over seeds, ranks of the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.analysis import Scale
from ablations.report.data import ReportData
from ablations.report.figures.marks import Mark, attach
from ablations.report.figures.names import CONFIGURATION, PLAIN, Names
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
from ablations.report.formatting import format_number, format_spread
from ablations.report.strengths import name_axis, name_source
from ablations.report.style import BAND, COLOURS, INK, SEED, SKY

MOST_SHARES = 14
_KIND_COLOURS = {
    "factor": COLOURS[0], "interaction": SKY, "block": SEED, "residual": "#767D86",
}  # fmt: skip


def share_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Shares of the variance, where the outcome varies at all."""
    table = data.shares
    factors = table[table["kind"] == "factor"]
    if factors.empty or not table["eta2"].notna().all():
        return
    ranked = factors.sort_values("eta2", ascending=False, kind="stable")
    shares = [f"{row.source} {row.eta2:.1%}" for row in ranked.itertuples()]
    by_kind = table.set_index("kind")["eta2"]
    shares += [
        f"{word} {by_kind[kind]:.1%}"
        for kind, word in (("block", "seed"), ("residual", "residual"))
        if kind in by_kind
    ]
    yield FigureSpec.describe(
        "shares",
        "variance-shares",
        partial(variance_shares, table, data.outcome),
        shares=shares,
        left_out=_name_left_out(table["left_out"].iloc[0]),
        outcome=data.outcome,
    )


def _name_left_out(text: str) -> str:
    """Name the axes, and the levels of each, of statements such as ``lr 0.01; norm rms_norm``."""
    parts = [statement.partition(" ") for statement in text.split("; ")]
    return "; ".join(f"{name_axis(axis)}{gap}{rest.replace('_', ' ')}" for axis, gap, rest in parts)


def variance_shares(shares: pd.DataFrame, outcome: str, canvas: Canvas = WIDE) -> Figure:
    """Draw each source's share of the variance, seed and residual included."""
    rows = group_small_shares(shares)
    names = {"blocks": "seed", "residual": "residual (chance)"}
    with figure_panels([0.28 * len(rows)], canvas=canvas) as (figure, (panel,)):
        for i, row in enumerate(rows.to_dict("records")):
            bar = panel.barh(i, row["eta2"], color=_KIND_COLOURS[row["kind"]], height=0.66)
            attach(bar[0], _share_mark(row, outcome))
        omega = rows["omega2"].astype(float)
        panel.plot(
            omega.clip(lower=0), range(len(rows)), linestyle="", marker="|", markersize=11,
            markeredgewidth=1.8, color=INK, label="without what chance alone would give (ω²)",
        )  # fmt: skip
        for i, share in enumerate(rows["eta2"]):
            text, end = f"{share:.1%}", (share, i)
            panel.annotate(text, end, (9, 0), textcoords="offset points", va="center", fontsize=8.5)
        sources = [name_source(names.get(name, name)) for name in rows["source"]]
        label_rows(panel, sources, width=40)
        room = 1.35 if canvas.is_narrow else 1.1
        panel.set_xlim(0, room * float(rows["eta2"].max()) or 1)
        panel.xaxis.set_major_locator(MaxNLocator(4 if canvas.is_narrow else 8))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        add_head(figure, f"Share of the variance of {outcome} (η²)", canvas)
        if omega.notna().any():
            add_key(figure, panel.get_legend_handles_labels()[0], canvas)
    return figure


def _share_mark(row: dict[str, Any], outcome: str) -> Mark:
    axis = row["source"] if row["kind"] == "factor" else ""
    text = f"{name_source(row['source'])}: {row['eta2']:.2%} of the variance of {outcome}"
    if not math.isnan(row["omega2"]):
        text += f", {row['omega2']:.2%} without what chance alone would give"
    return Mark(text, axis, value=float(row["eta2"]))


def group_small_shares(shares: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a figure has room for; the smallest interactions share one row."""
    interactions = shares[shares["kind"] == "interaction"]
    room = max(1, MOST_SHARES - (len(shares) - len(interactions)))
    if len(interactions) <= room:
        return shares
    ranked = interactions.sort_values("eta2", ascending=False, kind="stable")
    large, small = ranked.index[: room - 1], ranked.index[room - 1 :]
    others = {
        "source": f"{len(small)} other interactions",
        "omega2": math.nan,
        "kind": "interaction",
        "eta2": shares.loc[small, "eta2"].sum(),
    }
    first = shares[(shares["kind"] == "factor") | shares.index.isin(large)]
    last = shares[shares["kind"].isin(["block", "residual"])]
    return pd.concat([first, pd.DataFrame([others]), last], ignore_index=True)


def spread_figures(data: ReportData) -> Iterator[FigureSpec]:
    """The spread over seeds, level by level."""
    table, scale = data.spread[data.spread["cells"] > 0], data.design.scale
    if table.empty or not data.design.axes:
        return
    low, high = (format_spread(x, scale) for x in (table["spread"].min(), table["spread"].max()))
    draw = partial(seed_spread, table, scale, data.outcome, names=Names(data.metadata))
    yield FigureSpec.describe("spread", "seed-spread", draw, low=low, high=high)


def seed_spread(
    spread: pd.DataFrame,
    scale: Scale,
    outcome: str,
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw the spread over seeds of each level's configurations: median, and their middle half."""
    with axis_panels(spread, 0.26, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            for i, row in enumerate(rows.to_dict("records")):
                _draw_spread(panel, i, row, scale, names)
            levels = [names.short(axis, level) for level in rows["level"]]
            label_rows(panel, levels, name_axis(axis))
        lowest = panels[-1][-1]
        _, end = lowest.get_xlim()
        lowest.set_xlim(-0.015 * end, end)
        if scale == "log":
            most = 4 if canvas.is_narrow else 8
            set_ratio_scale(lowest, 0.0, lowest.get_xlim()[1], signed=False, most=most)
        text = f"Standard deviation of {outcome} over seeds, in one configuration"
        add_head(figure, text, canvas)
    return figure


def _draw_spread(panel: Axes, y: float, row: dict[str, Any], scale: Scale, names: Names) -> None:
    x = [row["low"], row["spread"], row["high"]]
    (line,) = panel.plot(
        x, [y] * 3, marker="o", markevery=[1], color=SEED, linewidth=5, markerfacecolor=INK,
        markeredgecolor=INK, markersize=6, clip_on=False, solid_capstyle="butt",
    )  # fmt: skip
    spread, low, high = (format_spread(value, scale) for value in (x[1], x[0], x[2]))
    name = names.full(row["axis"], row["level"])
    text = f"{name}: {spread}, middle half from {low} to {high}"
    attach(line, Mark(text, row["axis"], str(row["level"]), float(x[1]), float(x[0]), float(x[2])))


def rank_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Ranks of the best configurations over the seeds."""
    table = data.ranked
    if len(table) < 2 or table["seeds"].iloc[0] < 2:
        return
    settings = [name for name in data.design.factors if len(set(table[name])) > 1]
    if not data.ranks_tell:
        table = table.assign(apart=False, critical_difference=math.nan)
    factors = [name for name in data.design.factors if name in data.configurations]
    numbers = data.configurations[factors].assign(key=data.configurations.index.map(str))
    table = table.merge(numbers, how="left", on=factors)
    yield FigureSpec.describe(
        "ranking",
        "ranking",
        partial(ranks, table, settings, data.design.controls, names=Names(data.metadata)),
        n=len(table),
        outcome=data.outcome,
        first=table.iloc[0],
        ranks_tell=data.ranks_tell,
        tied=int((~table["apart"]).sum()),
    )


def ranks(
    ranked: pd.DataFrame,
    settings: Sequence[str],
    controls: Mapping[str, Any],
    canvas: Canvas = WIDE,
    names: Names = PLAIN,
) -> Figure:
    """Draw mean ranks over seeds of the best configurations, and how far they must be apart."""
    distance = float(ranked["critical_difference"].iloc[0])
    best, rows = float(ranked["mean_rank"].iloc[0]), ranked.to_dict("records")
    with figure_panels([(0.42 if canvas.is_narrow else 0.28) * len(ranked)], canvas=canvas) as (
        figure,
        (panel,),
    ):
        add_head(figure, "Mean rank over seeds, 1 is best", canvas)
        if np.isfinite(distance):
            panel.axvspan(best - distance, best + distance, color=BAND, linewidth=0, zorder=0)
            band = Patch(color=BAND, label=f"within {format_number(distance)} of the first")
            add_key(figure, [band], canvas)
        texts = [names.configuration(row, settings, controls) for row in rows]
        for i, (row, name) in enumerate(zip(rows, texts, strict=True)):
            marker, colour = ("X", COLOURS[1]) if row["apart"] else ("o", COLOURS[0])
            (point,) = panel.plot(
                row["mean_rank"], i, marker=marker, color=colour, markersize=8, markeredgewidth=0
            )
            text = f"{name}: mean rank {format_number(row['mean_rank'])} in {row['seeds']:g} seeds"
            attach(point, Mark(text, CONFIGURATION, row["key"], float(row["mean_rank"])))
        label_rows(panel, texts, width=26 if canvas.is_narrow else 60)
        panel.set_xlim(0.5, len(ranked) + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
