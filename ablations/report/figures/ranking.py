"""Figures of the whole: shares of the variance, the spread over seeds, ranks of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.analysis import Scale
from ablations.report.formatting import format_number, round_changes
from ablations.report.style import (
    BAND,
    COLOURS,
    INK,
    SEED,
    WIDTH,
    ratio_ticks,
    style_context,
    wrap_name,
)

MOST_SHARES = 14
_KINDS = {"factor": COLOURS[0], "interaction": COLOURS[5], "block": SEED, "residual": "#8A8A8A"}


def shown_shares(shares: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of variance shares that a figure has room for; the smallest interactions
    share one row.
    """
    interactions = shares[shares["kind"] == "interaction"]
    room = max(1, MOST_SHARES - (len(shares) - len(interactions)))
    if len(interactions) <= room:
        return shares
    ranked = interactions.sort_values("eta2", ascending=False, kind="stable")
    kept, rest = ranked.index[: room - 1], ranked.index[room - 1 :]
    others = {
        "source": f"{len(rest)} other interactions",
        "kind": "interaction",
        "eta2": shares.loc[rest, "eta2"].sum(),
    }
    first = shares[(shares["kind"] == "factor") | shares.index.isin(kept)]
    last = shares[shares["kind"].isin(["block", "residual"])]
    return pd.concat([first, pd.DataFrame([others]), last], ignore_index=True)


def variance_shares(shares: pd.DataFrame, block: str = "seed") -> Figure:
    """Draw each source's share of the variance, seed and residual included."""
    rows = shown_shares(shares)
    names = {"blocks": block, "residual": "residual (chance)"}
    with style_context():
        figure = Figure(figsize=(WIDTH, 0.9 + 0.32 * len(rows)), layout="constrained")
        panel = figure.subplots()
        colours = [_KINDS[kind] for kind in rows["kind"]]
        panel.barh(range(len(rows)), rows["eta2"], color=colours, height=0.66)
        omega = rows.get("omega2", pd.Series(np.nan, index=rows.index)).astype(float)
        panel.plot(
            omega.clip(lower=0), range(len(rows)), linestyle="", marker="|", markersize=11,
            markeredgewidth=1.8, color=INK, label="without what chance alone would give (ω²)",
        )  # fmt: skip
        for i, share in enumerate(rows["eta2"]):
            panel.annotate(
                f"{share:.1%}", (share, i), xytext=(9, 0), textcoords="offset points", va="center",
                fontsize=8.5,
            )  # fmt: skip
        labels = [wrap_name(names.get(name, name), 40) for name in rows["source"]]
        panel.set_yticks(range(len(rows)), labels)
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.set_xlim(0, 1.12 * float(rows["eta2"].max()) or 1)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        panel.grid(axis="y", visible=False)
        panel.tick_params(length=0)
        panel.set_xlabel("share of the variance of the validation loss (η²)")
        if omega.notna().any():
            figure.legend(loc="outside upper left")
        sns.despine(ax=panel, left=True)
    return figure


def seed_spread(spread: pd.DataFrame, scale: Scale) -> Figure:
    """Draw the spread over seeds of each level's configurations: median, and their middle half."""
    axes = list(dict.fromkeys(spread["axis"]))
    places = [spread[spread["axis"] == axis].reset_index(drop=True) for axis in axes]
    heights = [len(rows) + 0.6 for rows in places]
    with style_context():
        size = (WIDTH, 0.7 + sum(0.28 * height + 0.28 for height in heights))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(axes), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]  # fmt: skip
        for axis, rows, panel in zip(axes, places, panels, strict=True):
            panel.hlines(range(len(rows)), rows["low"], rows["high"], color=SEED, linewidth=5)
            panel.plot(
                rows["spread"], range(len(rows)), "o", color=INK, markersize=6, clip_on=False
            )
            panel.set_yticks(range(len(rows)), [wrap_name(level) for level in rows["level"]])
            panel.set_ylim(len(rows) - 0.4, -0.6)
            panel.set_title(wrap_name(axis, 90))
            panel.grid(axis="y", visible=False)
            panel.tick_params(length=0)
            sns.despine(ax=panel, left=True)
        panels[-1].set_xlim(left=0)
        if scale == "log":
            ticks = ratio_ticks(0.0, panels[-1].get_xlim()[1])
            panels[-1].set_xticks(
                [math.log1p(tick) for tick in ticks],
                [text.lstrip("+") for text in round_changes(ticks)],
            )
        panels[-1].set_xlabel(
            "standard deviation of the validation loss over seeds, in one configuration"
        )
    return figure


def ranks(ranked: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """Draw mean ranks over seeds of the best configurations, and how far they must be apart."""
    distance = float(ranked["critical_difference"].iloc[0])
    best = float(ranked["mean_rank"].iloc[0])
    with style_context():
        figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(ranked)), layout="constrained")
        panel = figure.subplots()
        if np.isfinite(distance):
            panel.axvspan(best - distance, best + distance, color=BAND, linewidth=0, zorder=0)
        _rank_points(panel, ranked)
        panel.set_yticks(range(len(ranked)), _named(ranked, settings))
        panel.set_ylim(len(ranked) - 0.4, -0.6)
        panel.set_xlim(0.5, len(ranked) + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(axis="y", visible=False)
        panel.tick_params(length=0)
        far = (
            f"; grey: within {format_number(distance)} of the first"
            if np.isfinite(distance)
            else ""
        )
        panel.set_xlabel(f"mean rank over seeds, 1 is best{far}")
        sns.despine(ax=panel, left=True)
    return figure


def _rank_points(panel: Axes, ranked: pd.DataFrame) -> None:
    for i, (rank, tied) in enumerate(zip(ranked["mean_rank"], ~ranked["apart"], strict=True)):
        panel.plot(
            rank, i, marker="o" if tied else "X", color=COLOURS[0] if tied else COLOURS[1],
            markersize=8, markeredgewidth=0,
        )  # fmt: skip


def _named(ranked: pd.DataFrame, settings: Sequence[str]) -> list[str]:
    rows = ranked[list(settings)].astype(str).itertuples(index=False, name=None)
    return [wrap_name(", ".join(row), 44) for row in rows]
