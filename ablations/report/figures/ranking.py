"""Figures of the whole study: shares of the variance, spread over seeds, ranks of the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.analysis import Scale
from ablations.report.data import ReportData
from ablations.report.figures.panels import (
    WIDE,
    Canvas,
    FigureSpec,
    add_key,
    axis_panels,
    figure_panels,
    label_rows,
    set_ratio_scale,
)
from ablations.report.formatting import format_number, format_spread
from ablations.report.style import BAND, COLOURS, INK, SEED

MOST_SHARES = 14
_KIND_COLOURS = {
    "factor": COLOURS[0], "interaction": COLOURS[5], "block": SEED, "residual": "#8A8A8A",
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
        left_out=table["left_out"].iloc[0],
        outcome=data.outcome,
    )


def variance_shares(shares: pd.DataFrame, outcome: str, canvas: Canvas = WIDE) -> Figure:
    """Draw each source's share of the variance, seed and residual included."""
    rows = group_small_shares(shares)
    names = {"blocks": "seed", "residual": "residual (chance)"}
    with figure_panels([0.28 * len(rows)], canvas=canvas) as (figure, (panel,)):
        colours = [_KIND_COLOURS[kind] for kind in rows["kind"]]
        panel.barh(range(len(rows)), rows["eta2"], color=colours, height=0.66)
        omega = rows["omega2"].astype(float)
        panel.plot(
            omega.clip(lower=0), range(len(rows)), linestyle="", marker="|", markersize=11,
            markeredgewidth=1.8, color=INK, label="without what chance alone would give (ω²)",
        )  # fmt: skip
        for i, share in enumerate(rows["eta2"]):
            text, end = f"{share:.1%}", (share, i)
            panel.annotate(text, end, (9, 0), textcoords="offset points", va="center", fontsize=8.5)
        label_rows(panel, [names.get(name, name) for name in rows["source"]], width=40)
        panel.set_xlim(0, 1.12 * float(rows["eta2"].max()) or 1)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        panel.set_xlabel(f"share of the variance of {outcome} (η²)")
        if omega.notna().any():
            add_key(figure, panel.get_legend_handles_labels()[0], canvas)
    return figure


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
    draw = partial(seed_spread, table, scale, data.outcome)
    yield FigureSpec.describe("spread", "seed-spread", draw, low=low, high=high)


def seed_spread(spread: pd.DataFrame, scale: Scale, outcome: str, canvas: Canvas = WIDE) -> Figure:
    """Draw the spread over seeds of each level's configurations: median, and their middle half."""
    with axis_panels(spread, 0.26, canvas) as (figure, panels):
        for axis, rows, panel in panels:
            panel.hlines(range(len(rows)), rows["low"], rows["high"], color=SEED, linewidth=5)
            panel.plot(
                rows["spread"], range(len(rows)), "o", color=INK, markersize=6, clip_on=False
            )
            label_rows(panel, rows["level"], axis)
        lowest = panels[-1][-1]
        lowest.set_xlim(left=0)
        if scale == "log":
            set_ratio_scale(lowest, 0.0, lowest.get_xlim()[1], signed=False)
        lowest.set_xlabel(f"standard deviation of {outcome} over seeds, in one configuration")
    return figure


def rank_figures(data: ReportData) -> Iterator[FigureSpec]:
    """Ranks of the best configurations over the seeds."""
    table = data.ranked
    if len(table) < 2 or table["seeds"].iloc[0] < 2:
        return
    settings = [name for name in data.design.factors if len(set(table[name])) > 1]
    if not data.ranks_tell:
        table = table.assign(apart=False, critical_difference=math.nan)
    yield FigureSpec.describe(
        "ranking",
        "ranking",
        partial(ranks, table, settings),
        n=len(table),
        outcome=data.outcome,
        first=table.iloc[0],
        ranks_tell=data.ranks_tell,
        tied=int((~table["apart"]).sum()),
    )


def ranks(ranked: pd.DataFrame, settings: Sequence[str], canvas: Canvas = WIDE) -> Figure:
    """Draw mean ranks over seeds of the best configurations, and how far they must be apart."""
    distance = float(ranked["critical_difference"].iloc[0])
    best = float(ranked["mean_rank"].iloc[0])
    with figure_panels([0.3 * len(ranked)], canvas=canvas) as (figure, (panel,)):
        within = ""
        if np.isfinite(distance):
            panel.axvspan(best - distance, best + distance, color=BAND, linewidth=0, zorder=0)
            within = f"; grey: within {format_number(distance)} of the first"
        for i, (rank, apart) in enumerate(zip(ranked["mean_rank"], ranked["apart"], strict=True)):
            marker, colour = ("X", COLOURS[1]) if apart else ("o", COLOURS[0])
            panel.plot(rank, i, marker=marker, color=colour, markersize=8, markeredgewidth=0)
        rows = ranked[list(settings)].astype(str).itertuples(index=False, name=None)
        label_rows(panel, [", ".join(row) for row in rows], width=44)
        panel.set_xlim(0.5, len(ranked) + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel(f"mean rank over seeds, 1 is best{within}")
    return figure
