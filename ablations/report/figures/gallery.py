"""Which figures a data deserves, each described for those who cannot see it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ablations.analysis import strongest_pairs
from ablations.report.data import ReportData
from ablations.report.figures import curves, ranking
from ablations.report.figures import effects as effect_figures
from ablations.report.formatting import (
    describe_agreement,
    describe_effects,
    format_count,
    format_number,
    format_percent,
    format_ratio,
    join_words,
)
from ablations.report.style import freeze_layout, to_inline_svg, to_png, to_svg

MOST_PAIRS = 6
MOST_CURVES = 8


_INLINE = 350_000
"""Characters of SVG up to which a figure is part of the page as such; larger ones are PNG there."""


@dataclass(frozen=True)
class RenderedFigure:
    """One figure of the page: its section, its file's name, its pictures, its description and its
    caption.
    """

    section: str
    name: str
    png: bytes
    svg: str
    alt: str
    caption: str

    @property
    def inline(self) -> str:
        """The figure as part of a page; empty where it has too many marks."""
        return to_inline_svg(self.svg, self.name) if len(self.svg) <= _INLINE else ""

    @property
    def base64(self) -> str:
        """The figure as PNG, as text."""
        return base64.b64encode(self.png).decode()


FigureSpec = tuple[str, str, Figure, str, str]


def draw_figures(data: ReportData) -> tuple[RenderedFigure, ...]:
    """Draw what there is to draw: a study of one axis has no interaction and no empty frame."""
    drafts = (
        _published(data),
        _effects(data),
        _shares(data),
        _interactions(data),
        _curves(data),
        _time(data),
        _spread(data),
        _timings(data),
        _ranks(data),
    )
    return tuple(
        RenderedFigure(section, name, to_png(figure), to_svg(figure), alt, caption)
        for part in drafts
        for section, name, drawn, alt, caption in part
        for figure in [freeze_layout(drawn)]
    )


def _published(data: ReportData) -> Iterator[FigureSpec]:
    if data.published.empty:
        return
    figure = curves.published_curves(data.published)
    alt = f"Printed loss curves over the bands of our runs. {describe_agreement(data.published)}"
    caption = (
        "Line with points: the loss as it was printed. Band: percentiles 0.5 to 99.5 of our runs "
        "at that epoch; the line within it is their median."
    )
    yield "published", "published", figure, alt, caption


def _effects(data: ReportData) -> Iterator[FigureSpec]:
    if not data.effects["seeds"].sum():
        return
    figure = effect_figures.main_effects(
        data.effects, data.by_seed, scale=data.design.scale, margin=data.design.margin
    )
    said = describe_effects(data.effects, data.design.scale, "level")
    alt = f"Main effect of each level on the validation loss, with intervals. {said}"
    caption = (
        "Small points: one seed each, averaged over all other axes. Large mark and bar: their mean "
        "and its 95 % t interval. Grey band: differences that do not matter by the study's margin; "
        "an effect can be certain and yet be that small."
    )
    yield "effects", "main-effects", figure, alt, caption


def _interactions(data: ReportData) -> Iterator[FigureSpec]:
    table = data.interactions
    ranked = strongest_pairs(table).dropna()
    pairs = list(zip(ranked["axis_a"], ranked["axis_b"], strict=True))
    if not pairs:
        return
    shown = pairs[:MOST_PAIRS]
    figure = effect_figures.interaction_maps(
        table, shown, data.design.levels, data.design.controls, data.design.scale
    )
    tested = int(table["p_adjusted"].notna().sum())
    flagged = int((table["p_adjusted"] <= 0.05).sum())
    alt = (
        "Heat maps of the change in validation loss for pairs of levels. "
        f"{flagged} of {tested} combinations differ from the sum of their parts."
    )
    caption = (
        "Change of validation loss against both controls together: blue is better, red is worse, "
        "each by a scale of its own. "
        "A dot: the two together differ from the sum of what each does alone "
        f"({flagged} of {tested}, at a false discovery rate of 5 %)."
    )
    if len(shown) < len(pairs):
        caption += f" Shown: the {len(shown)} of {len(pairs)} pairs of axes that add up least."
    yield "interactions", "interactions", figure, alt, caption


def _curves(data: ReportData) -> Iterator[FigureSpec]:
    for slug, (axis, tables) in zip(
        file_names(list(data.curves)), data.curves.items(), strict=True
    ):
        first = next(table for table in tables.values() if len(table))
        levels = _most_telling(data, axis, set(first["level"]))
        figure = curves.level_curves(axis, tables, levels, data.design.controls.get(axis))
        last = first[(first["epoch"] == first["epoch"].max()) & first["level"].isin(levels)]
        ends = [
            f"{row.level} {format_number(row.mean)}" for row in last[["level", "mean"]].itertuples()
        ]
        alt = f"Loss by epoch for each level of {axis}. Last epoch: {', '.join(ends)}."
        caption = _curves_caption(axis, tables, first, levels, data.design.levels[axis])
        yield "curves", f"curves-{slug}", figure, alt, caption


def _curves_caption(
    axis: str,
    tables: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    shown: Sequence[str],
    asked: Sequence[str],
) -> str:
    cells = format_count(int(table["cells"].max()), "cell")
    parts = [f"{axis}: geometric mean over {cells}, band: 95 % t interval over seeds."]
    if any(curves.cut(part) for part in tables.values()):
        parts.append("Bands that reach farther than the means are apart are cut.")
    lost = table.drop_duplicates("level")
    gone = int((lost["runs"] - lost["survivors"]).sum())
    if gone:
        parts.append(f"{format_count(gone, 'run')} that diverged or failed are not in the curves.")
    without = [level for level in asked if level not in set(table["level"])]
    if without:
        parts.append(
            f"Without a curve, since its runs diverged, failed or are in other cells: "
            f"{join_words(without)}."
        )
    left = len(asked) - len(without) - len(shown)
    if left:
        parts.append(f"Not shown: {format_count(left, 'level')} nearer to the control.")
    return " ".join(parts)


def _most_telling(data: ReportData, axis: str, drawn: set[str]) -> tuple[str, ...]:
    levels = tuple(level for level in data.design.levels[axis] if level in drawn)
    if len(levels) <= MOST_CURVES:
        return levels
    effects = data.effects[data.effects["axis"] == axis].set_index("level")["effect"].abs()
    furthest = effects.sort_values(ascending=False, kind="stable").index[: MOST_CURVES - 1]
    shown = {*furthest, data.design.controls.get(axis)}
    kept = tuple(level for level in levels if level in shown)
    return kept if len(kept) > 1 else levels[:MOST_CURVES]


def _time(data: ReportData) -> Iterator[FigureSpec]:
    table = data.configurations
    points = table[table["complete"] & table["seconds"].gt(0)]
    if len(points) < 2:
        return
    axis = _widest_axis(data)
    figure = curves.loss_against_time(table, axis, data.design.levels.get(axis or "", ()))
    alt = (
        f"Validation loss against training time of {format_count(len(points), 'configuration')}; "
        f"{int(points['pareto'].sum())} of them are on the Pareto front."
    )
    caption = (
        "One mark a configuration: its steps, timed alone, without evaluation."
        if data.timed
        else "One mark a configuration. This wall time was taken while other workers ran, and a "
        "run trained together with others counts its share: a technique's cost is not read from it."
    )
    yield "time", "time", figure, alt, caption


def _shares(data: ReportData) -> Iterator[FigureSpec]:
    table = data.shares
    if not (table["kind"] == "factor").any() or not table["eta2"].notna().all():
        return  # where nothing varies, nothing has a share of it
    ranked = table[table["kind"] == "factor"].sort_values("eta2", ascending=False, kind="stable")
    named = [f"{row.source} {row.eta2:.1%}" for row in ranked.itertuples()]
    rest = table.set_index("kind")["eta2"]
    own = [f"{word} {rest[word]:.1%}" for word in ("block", "residual") if word in rest]
    alt = f"Shares of the variance of the validation loss: {', '.join([*named, *own])}."
    alt = alt.replace("block", "seed")
    caption = (
        "How much of all variation comes from each axis, from pairs of axes beyond both, from the "
        "seed, and from what is left. Bars add up to 100 %. "
    )
    left = table["left_out"].iloc[0]
    caption += f"Left out, for want of balance: {left}." if left else ""
    yield "shares", "variance-shares", ranking.variance_shares(table), alt, caption.strip()


def _spread(data: ReportData) -> Iterator[FigureSpec]:
    table = data.spread[data.spread["cells"] > 0]
    if table.empty or not data.design.axes:
        return
    figure = ranking.seed_spread(table, data.design.scale)
    low, high = table["spread"].min(), table["spread"].max()
    ends = [
        format_percent(math.expm1(x)).lstrip("+")
        if data.design.scale == "log"
        else format_number(x)
        for x in (low, high)
    ]
    alt = (
        "Standard deviation over seeds within a configuration, by level: from "
        f"{ends[0]} to {ends[1]}."
    )
    caption = (
        "How far two runs are apart that differ in nothing but the seed. Mark: the median over "
        "configurations; bar: their middle half. What is smaller than this takes many seeds to "
        "be told."
    )
    yield "spread", "seed-spread", figure, alt, caption


def _timings(data: ReportData) -> Iterator[FigureSpec]:
    for place, ((identity, threads), part) in enumerate(
        data.costs.groupby(["environment_id", "threads"], sort=True)
    ):
        figure = effect_figures.time_ratios(part)
        told = [f"{row.axis} {row.level} {format_ratio(row.ratio)}" for row in part.itertuples()]
        alt = f"Time of a training step over that at the control: {', '.join(told)}."
        caption = (
            "Time of a training step over that at the control, its estimate and 95 % interval "
            f"over {format_count(int(part['blocks'].max()), 'block')}. Grey: what two timings of "
            "the same thing may differ by."
        )
        if len(data.floors) > 1:
            caption += f" Machine {identity}, {format_count(int(threads), 'thread')}."
        yield "timings", "step-times" + (f"-{place + 1}" if place else ""), figure, alt, caption


def _ranks(data: ReportData) -> Iterator[FigureSpec]:
    table = data.ranked
    if len(table) < 2 or table["seeds"].iloc[0] < 2:
        return
    settings = [name for name in data.design.factors if len(set(table[name])) > 1]
    if not data.ranks_tell:
        table = table.assign(apart=False, critical_difference=float("nan"))
    figure = ranking.ranks(table, settings)
    tied = int((~table["apart"]).sum())
    alt = (
        f"Mean ranks of the best {len(table)} configurations; {tied} of them are not apart from "
        "the first by rank."
    )
    if not data.ranks_tell:
        seeds = format_count(int(table["seeds"].iloc[0]), "seed")
        caption = (
            f"The best {len(table)} configurations by mean loss, ranked in each seed. {seeds} are "
            "too few to tell any apart."
        )
        yield "ranking", "ranking", figure, alt, caption
        return
    caption = (
        f"The best {len(table)} configurations by mean loss, ranked in each seed. Friedman: "
        f"p {format_number(table['p'].iloc[0], 2)}. Crosses are farther from the first than "
        "Nemenyi's "
        "critical difference. Chosen on the same seeds, all look more different than they are."
    )
    yield "ranking", "ranking", figure, alt, caption


def _widest_axis(data: ReportData) -> str | None:
    sizes = data.effects["effect"].abs().groupby(data.effects["axis"], sort=False).max()
    if sizes.notna().any():
        return str(sizes.idxmax())
    return data.design.axes[0] if data.design.axes else None


def file_names(names: list[str]) -> list[str]:
    """Make file names of ``names``: safe on every file system, and still distinct."""
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60].lower() for name in names]
    plain = [slug or "axis" for slug in plain]
    return [f"{slug}-{i}" if plain.count(slug) > 1 else slug for i, slug in enumerate(plain)]
