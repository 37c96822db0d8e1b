"""The layout of figures: panels of a stated height, and margins as wide as their texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import LayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text

from ablations.analysis.coding import Floats
from ablations.report.renderers import LayoutRenderer, measure_line
from ablations.report.style import POINTS_PER_INCH

PAD, GAP = 0.05, 0.17
"""Inches around a figure, and between its panels."""
LINE_GAP = 0.08
"""Inches below each line of the head."""


class FittedLayout(LayoutEngine):
    """Give each row of panels its height in inches, and the figure what it needs around them.

    Constrained layout measures all panels twice and squeezes them into a figure of a fixed size;
    here they are measured once, and the height of the figure follows.
    """

    _adjust_compatible = False
    _colorbar_gridspec = False

    def __init__(self, heights: Sequence[float]) -> None:
        super().__init__()
        self.heights = list(heights)
        self.head: list[Text | Legend] = []
        """Texts and legends above the panels, from the top down."""
        self.scales: dict[Axes, tuple[Sequence[float], Sequence[str]]] = {}
        """Ticks and labels of panels where some may be dropped lest their labels touch."""

    def raise_height(self, panel: Axes, height: float) -> None:
        """Give the row of a panel at least so many inches."""
        row = cast("Any", panel.get_subplotspec()).rowspan.start
        self.heights[row] = max(self.heights[row], height)

    def execute(self, fig: Figure) -> None:
        """Measure margins and heads, and place all that is in the figure."""
        renderer = LayoutRenderer()
        width, dpi = fig.get_figwidth(), fig.dpi
        panels = [(panel, spec) for panel in fig.axes if (spec := panel.get_subplotspec())]
        columns, rows = _measure_margins((panel for panel, _ in panels), renderer, dpi)
        heads = [artist.get_window_extent(renderer).height / dpi + LINE_GAP for artist in self.head]
        height = 2 * PAD + sum(heads) + sum(self.heights) + GAP * (len(self.heights) - 1)
        height += float(rows.sum())
        fig.set_size_inches(width, height)
        y = height - PAD
        for artist, size in zip(self.head, heads, strict=True):
            _place_head(artist, PAD / width, y / height)
            y -= size
        floors, tops = [], []
        for room, (above, below) in zip(self.heights, rows, strict=True):
            tops.append(y - above)
            floors.append(y - above - room)
            y = floors[-1] - below - GAP
        inner = (width - 2 * PAD - float(columns.sum()) - GAP * (len(columns) - 1)) / len(columns)
        starts = [
            PAD + i * (inner + GAP) + float(columns[:i].sum() + columns[i, 0])
            for i in range(len(columns))
        ]
        for panel, spec in panels:
            x, end = starts[spec.colspan.start], starts[spec.colspan.stop - 1] + inner
            floor, top = floors[spec.rowspan.stop - 1], tops[spec.rowspan.start]
            box = x / width, floor / height, (end - x) / width, (top - floor) / height
            panel.set_position(box)
            if panel in self.scales:
                _thin_ticks(panel, *self.scales[panel], end - x)


def _measure_margins(panels: Iterable[Axes], renderer: Any, dpi: float) -> tuple[Floats, Floats]:
    """Return inches left and right of each column of panels, and above and below each row."""
    margins: dict[str, Floats] = {}
    for panel in panels:
        spec: Any = panel.get_subplotspec()
        if not margins:
            n_rows, n_columns = spec.get_gridspec().get_geometry()
            margins = {"columns": np.zeros((n_columns, 2)), "rows": np.zeros((n_rows, 2))}
        # Besides the axes and titles only texts lie outside a panel.
        box = panel.get_tightbbox(renderer, bbox_extra_artists=panel.texts, for_layout_only=True)
        inside = panel.bbox
        if box is None:
            continue
        sides = [
            ("columns", spec.colspan.start, 0, inside.x0 - box.x0),
            ("columns", spec.colspan.stop - 1, 1, box.x1 - inside.x1),
            ("rows", spec.rowspan.start, 0, box.y1 - inside.y1),
            ("rows", spec.rowspan.stop - 1, 1, inside.y0 - box.y0),
        ]
        for name, i, side, size in sides:
            margins[name][i, side] = max(margins[name][i, side], size / dpi)
    return margins["columns"], margins["rows"]


def _thin_ticks(panel: Axes, ticks: Sequence[float], texts: Sequence[str], width: float) -> None:
    """Drop labels of an axis that would touch one another, and keep that of zero."""
    low, high = panel.get_xlim()
    middles = [(tick - low) / (high - low) * width for tick in ticks]
    halves = [measure_text(text, 9.5) / 2 + 0.04 for text in texts]
    retained: list[int] = []
    for i in sorted(range(len(ticks)), key=lambda i: abs(ticks[i])):
        if all(abs(middles[i] - middles[j]) > halves[i] + halves[j] for j in retained):
            retained.append(i)
    retained.sort()
    panel.set_xticks([ticks[i] for i in retained], [texts[i] for i in retained])


def _place_head(artist: Text | Legend, x: float, y: float) -> None:
    if isinstance(artist, Legend):
        artist.set_bbox_to_anchor((x, y))
    else:
        artist.set_position((x, y))


@lru_cache(maxsize=4096)
def measure_text(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of the widest line of a text in inches."""
    font = FontProperties(size=size, weight=weight)
    lines = text.split("\n")
    widths = (measure_line(line, font)[0] for line in lines)
    return max(widths) / POINTS_PER_INCH


def line_height(size: float) -> float:
    """Return the height of a line of text in inches."""
    return 1.25 * size / POINTS_PER_INCH
