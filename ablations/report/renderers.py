"""Renderers of figures that measure each text once, however often and wherever it is drawn."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path


@lru_cache(maxsize=16_384)
def _measure(text: str, font: FontProperties) -> tuple[float, float, float]:
    return text_to_path.get_text_width_height_descent(text, font, False)


def measure_line(text: str, font: FontProperties) -> tuple[float, float, float]:
    """Return width, height and descent of a line of text in points, at any resolution."""
    # Font properties can change, and with them their hash.
    return _measure(text, font.copy())


def text_measurements() -> int:
    """Return how many texts were measured since the start of the process."""
    return _measure.cache_info().misses


class _SharedSizes:
    """A renderer whose texts have the size that they have at every resolution."""

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: Any
    ) -> tuple[float, float, float]:
        """Return the size of a line of text in pixels."""
        renderer: Any = self
        pixels = renderer.points_to_pixels(1)
        width, height, descent = measure_line(s, prop)
        return width * pixels, height * pixels, descent * pixels


class LayoutRenderer(_SharedSizes, RendererBase):
    """Draws nothing: for the layout of figures of 72 dots an inch."""


class PngRenderer(_SharedSizes, RendererAgg):
    """Draws pixels."""


class SvgRenderer(_SharedSizes, RendererSVG):
    """Writes SVG."""
