"""All figures of a report, drawn as PNG and SVG."""

from __future__ import annotations

import base64
import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ablations.report.data import ReportData
from ablations.report.figures.curves import curve_figures, published_figures
from ablations.report.figures.effects import effect_figures, timing_figures
from ablations.report.figures.front import time_figures
from ablations.report.figures.heatmaps import interaction_figures
from ablations.report.figures.marks import number_marks, write_marks
from ablations.report.figures.panels import NARROW, FigureSpec
from ablations.report.figures.ranking import rank_figures, share_figures, spread_figures
from ablations.report.figures.simple import simple_figures
from ablations.report.figures.trajectory import trajectory_figures
from ablations.report.style import (
    freeze_layout,
    style_context,
    to_inline_svg,
    to_png,
    to_svg,
)

MOST_INLINE_CHARACTERS = 350_000
"""Length of an SVG up to which it is part of the page; a larger figure is shown as PNG."""


@dataclass(frozen=True)
class RenderedFigure:
    """A figure with its pictures."""

    spec: FigureSpec
    png: bytes
    svg: str
    inline: str
    """The SVG as part of a page; empty where it is too long for one."""
    narrow: str = ""
    """The same for a narrow screen."""

    @property
    def base64(self) -> str:
        """The PNG as text."""
        return base64.b64encode(self.png).decode()


def list_figures(data: ReportData) -> Iterator[FigureSpec]:
    """List the figures for which there are data, in the order of the page."""
    yield from published_figures(data)
    yield from effect_figures(data)
    yield from share_figures(data)
    yield from simple_figures(data)
    yield from interaction_figures(data)
    yield from curve_figures(data)
    yield from trajectory_figures(data)
    yield from time_figures(data)
    yield from spread_figures(data)
    yield from timing_figures(data)
    yield from rank_figures(data)


def draw_figures(
    specs: Iterable[FigureSpec], most_inline: int = MOST_INLINE_CHARACTERS
) -> tuple[RenderedFigure, ...]:
    """Draw figures; those of at most ``most_inline`` characters of SVG can be part of a page."""
    is_enabled = gc.isenabled()
    # Figures are full of reference cycles, and each collection searches the whole process.
    gc.disable()
    try:
        with style_context():
            return tuple(_draw(spec, most_inline) for spec in specs)
    finally:
        if is_enabled:
            gc.enable()


def _draw(spec: FigureSpec, most_inline: int) -> RenderedFigure:
    figure = freeze_layout(spec.draw())
    marks = number_marks(figure)
    png, svg = to_png(figure), to_svg(figure)
    if len(svg) > most_inline or not spec.is_on_page:
        return RenderedFigure(spec, png, svg, "")
    inline = to_inline_svg(write_marks(svg, figure, marks), spec.name)
    return RenderedFigure(spec, png, svg, inline, _draw_narrow(spec))


def _draw_narrow(spec: FigureSpec) -> str:
    """Draw a figure for a narrow screen, as part of a page."""
    figure = freeze_layout(spec.draw(canvas=NARROW))
    marks = number_marks(figure)
    svg = write_marks(to_svg(figure), figure, marks)
    return to_inline_svg(svg, f"{spec.name}-narrow")
