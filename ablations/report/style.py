"""The style of all figures: palette, fonts, size, and reproducible PNG and SVG files.

Windows, backends and the caller's matplotlib settings stay untouched.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.figure import Figure
from PIL import Image

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED
from ablations.report.renderers import PngRenderer, SvgRenderer

# After Okabe & Ito (2008), told apart with every common colour vision, but so dark that names in
# these colours can be read on paper (4.5:1); each also has its own marker.
COLOURS = (
    "#0072B2", "#C54E00", "#00805D", "#B0508A", "#946A00", "#6A51A3", "#444444", "#8C2D4B",
)  # fmt: skip
# One marker more than colours, so that the ninth level differs from the first in its marker.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
# The second four lines are dashed, so that no two differ by colour alone.
DASHES = ("-", "-", "-", "-", "--", "--", "--", "--")
VERDICT_COLOURS = {HELPS: "#0072B2", HURTS: "#C54E00", EQUAL: "#444444", UNDECIDED: "#767D86"}
VERDICT_MARKERS = {HELPS: "v", HURTS: "^", EQUAL: "s", UNDECIDED: "o"}
INK = "#22262B"
SEED = "#7189A3"
BAND = "#DDE3EA"
TIMED = "#7A5C00"
SKY = "#4A8BC4"
EDGE = "#9AA0A6"
GRID = "#E6E8EB"
GAP = "#EEF0F2"
PAPER = "#FFFFFF"
ZERO = "#5F6368"
# On dark paper: what is neutral turns round, what is dark gets lighter, the rest stays.
THEME = {
    INK.lower(): ("fig-ink", "#e3e6ea"),
    EDGE.lower(): ("fig-edge", "#6b747e"),
    GRID.lower(): ("fig-grid", "#2b323a"),
    GAP.lower(): ("fig-gap", "#272d34"),
    BAND.lower(): ("fig-band", "#2d3743"),
    SEED.lower(): ("fig-seed", "#6f8aa6"),
    ZERO.lower(): ("fig-zero", "#8d959e"),
    PAPER.lower(): ("fig-paper", "#171b20"),
    "#0072b2": ("fig-blue", "#4fa9e2"),
    "#c54e00": ("fig-red", "#ff8d4d"),
    "#00805d": ("fig-green", "#2ec79b"),
    "#b0508a": ("fig-pink", "#e79ac6"),
    "#946a00": ("fig-amber", "#e0b04a"),
    "#6a51a3": ("fig-violet", "#b6a2ea"),
    "#8c2d4b": ("fig-crimson", "#f08aa8"),
    "#7a5c00": ("fig-brown", "#c9a53a"),
    "#444444": ("fig-dark", "#c3c9d0"),
    "#767d86": ("fig-grey", "#9aa3ad"),
    "#4a8bc4": ("fig-sky", "#3f7fb5"),
}
ON_LIGHT, ON_DARK = "#262626", "#fefefe"
"""Text on coloured cells; on dark paper light and dark colours change places, and so do these."""
THEME |= {ON_LIGHT: ("fig-on-light", "#fdfdfd"), ON_DARK: ("fig-on-dark", "#121519")}
HEAT = (
    "#04345c", "#114f80", "#1f69a4", "#5f9bc6", "#9ecae6", "#c7deec", "#f1f1f2", "#f5dccc",
    "#f8c7a6", "#d88a58", "#ba5110", "#923c09", "#6a2702",
)  # fmt: skip
_HEAT_IN_DARK = (
    "#cfeafd", "#99cff3", "#63b4e8", "#3b779f", "#265577", "#29455a", "#2e343c", "#543b2f",
    "#7a4123", "#a6623a", "#ee9b63", "#f7bf98", "#ffe3cd",
)  # fmt: skip
"""Colours of heat maps, from the lowest effect to the highest: no change is in the middle."""
THEME |= {
    colour: (f"fig-heat-{chr(97 + i)}", dark)
    for i, (colour, dark) in enumerate(zip(HEAT, _HEAT_IN_DARK, strict=True))
}
DPI = 130
POINTS_PER_INCH = 72
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # Matplotlib would look for a free height above the ticks, each time that it draws.
    "axes.titley": 1.0,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "svg.fonttype": "none",
    # A name with a dollar sign is a name, not a formula.
    "text.parse_math": False,
    # At this resolution letters look alike with hints and without, which take as long as drawing.
    "text.hinting": "no_hinting",
    "svg.hashsalt": "ablations",
}


@contextmanager
def style_context() -> Iterator[None]:
    """Apply the report's style while a figure is drawn or saved, and restore the caller's."""
    if mpl.rcParams["svg.hashsalt"] == _STYLE["svg.hashsalt"]:
        yield  # a figure among others
        return
    style: dict[Any, Any] = {**mpl.rcParamsDefault, **sns.axes_style("whitegrid"), **_STYLE}
    # Switching the backend closes windows, and these figures need none.
    style.pop("backend", None)
    style.pop("backend_fallback", None)
    with mpl.rc_context(style), warnings.catch_warnings():
        # It would put the character itself, which may control the terminal, on standard error.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        yield


def freeze_layout(figure: Figure) -> Figure:
    """Lay ``figure`` out once; it is saved twice, and layout takes as long as drawing."""
    with style_context():
        engine = figure.get_layout_engine()
        if engine is not None:
            _fix_empty_labels(figure)
            engine.execute(figure)
            figure.set_layout_engine("none")
    return figure


def _fix_empty_labels(figure: Figure) -> None:
    """Tell axes without a label that it has a place, which they would look for at each drawing."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.5)


def to_png(figure: Figure) -> bytes:
    """Return a figure with a frozen layout as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style_context():
        figure.set_dpi(DPI)
        draw: Any = PngRenderer
        renderer = draw(*figure.canvas.get_width_height(), DPI)
        # `Figure.savefig` would draw a second time to trigger the layout.
        figure.draw(renderer)
        image = Image.fromarray(np.asarray(renderer.buffer_rgba()))
    # Level 1 takes a third of the time of 6, for files 10 % larger.
    image.convert("RGB").save(buffer, "PNG", dpi=(DPI, DPI), compress_level=1)
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """Return a figure with a frozen layout as SVG, text as text; the same figure, the same SVG."""
    buffer = io.StringIO()
    with style_context():
        figure.set_dpi(POINTS_PER_INCH)
        write: Any = SvgRenderer
        mix: Any = MixedModeRenderer  # draws pixels where an artist wants to be them
        metadata = {"Date": None, "Creator": None}
        svg = write(*figure.bbox.size, buffer, image_dpi=POINTS_PER_INCH, metadata=metadata)
        renderer = mix(figure, *figure.get_size_inches(), POINTS_PER_INCH, svg)
        figure.draw(renderer)
        renderer.finalize()
    svg = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", buffer.getvalue())
    return _COORDINATES.sub(lambda match: _DIGITS.sub(r"\1", match[0]), svg)


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file can hold."""
_COORDINATES = re.compile(r' (?:d|x|y|transform)="[^"]*"')
_DIGITS, _FINE_DIGITS = re.compile(r"(\d\.\d\d)\d+"), re.compile(r"(\d\.\d)\d+")
"""Numbers with digits that no eye can see, in a file and on a screen, and what remains of them."""
_STYLE_ATTRIBUTE = re.compile(r' style="[^"]*"')


def to_inline_svg(svg: str, name: str) -> str:
    """Turn an SVG file's text into a part of a page that scales with it and takes its colours,
    light or dark, and its font; its ids start with ``name``.
    """
    start, end = svg.index("<svg"), svg.index("<metadata")
    body = svg[svg.index("</metadata>") + len("</metadata>") :]
    head = re.sub(r' (width|height)="[^"]*pt"', "", svg[start:end])
    used = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', body)
    ids = {old: f"{name}-{i}" for i, old in enumerate(dict.fromkeys(used))}
    body = re.sub(
        r' id="([^"]+)"', lambda match: f' id="{ids[match[1]]}"' if match[1] in ids else "", body
    )
    body = re.sub(
        r'(xlink:href="#|url\(#)([^")]+)', lambda match: f"{match[1]}{ids[match[2]]}", body
    )
    body = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: f"var(--{THEME[match[0]][0]})" if match[0] in THEME else match[0],
        body,
    )
    body = _STYLE_ATTRIBUTE.sub(lambda match: match[0].replace(": ", ":").replace("; ", ";"), body)
    body = _COORDINATES.sub(lambda match: _FINE_DIGITS.sub(r"\1", match[0]), body)
    for pattern, replacement in _SHORTER:
        body = pattern.sub(replacement, body)
    return (head + body).replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()


_SHORTER = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"font-family:[^;\"]*;", ""),
        (r' transform="rotate\(-0 [^)]*\)"', ""),
        (r"\n +", "\n"),
        (r" ?\n(?=[MLCQz\"])", ""),
        (r"(?<=[MLCQ]) (?=[\d-])", ""),
        (r"(?<=\d) (?=[MLCQz]\d|z|[LCQ]-)", ""),
        (r"<g>\s*</g>\s*", ""),
        (r"<g>\n(<(?:path|text)[^\n]*)\n</g>", r"\1"),
        (r"(stroke:var\(--fig-grid\);stroke-width:[\d.]+);stroke-linecap:round", r"\1"),
        (
            r' clip-path="[^"]*" style="fill:none;stroke:var\(--fig-grid\);stroke-width:0.8"',
            ' class="grid"',
        ),
        (r"(<text[^>]* style=\"[^\"]*?)font-size:9.5px;", r"\1"),
        (r"(<text[^>]* style=\"[^\"]*?);?fill:var\(--fig-ink\)", r"\1"),
        (r'(<text[^>]*) style=""', r"\1"),
        (r";stroke-linejoin:miter;stroke-linecap:square", ""),
        (r">\n<", "><"),
    )
]
"""What an SVG on a page does without: fonts, which it takes from the page, and white space."""


def theme_declarations() -> tuple[str, str]:
    """Return CSS declarations of the figures' colours, on light paper and on dark."""
    light = "; ".join(f"--{name}: {colour}" for colour, (name, _) in THEME.items())
    dark = "; ".join(f"--{name}: {colour}" for name, colour in THEME.values())
    return light, dark


def is_light(colour: tuple[float, float, float, float]) -> bool:
    """Whether dark text has more contrast on a colour than light text (WCAG's luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return bool((luminance + 0.05) / 0.07 > 1.05 / (luminance + 0.05))


def wrap_name(name: str, width: int = 26) -> str:
    """Break a long name over two lines of about one length, between words, and shorten what is
    longer in its middle; the tables of the page have every name in full.
    """
    limit = 2 * width - 4
    if len(name) > limit:
        name = f"{name[: limit * 2 // 3]}\N{HORIZONTAL ELLIPSIS}{name[-(limit // 3) :]}"
    breaks = [match.end() for match in re.finditer(r"[ _=,/-]|(?=\()", name)]
    breaks = [i for i in breaks if 0 < i < len(name)]
    if len(name) <= width or not breaks:
        return name
    middle = min(breaks, key=lambda i: max(len(name[:i].rstrip()), len(name[i:])))
    return f"{name[:middle].rstrip()}\n{name[middle:]}"


def ratio_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Choose round relative changes between two log ratios, at most ``most`` of them."""
    bottom, top = math.expm1(low), math.expm1(high)
    if high - low > 1.2:
        span = high - low
        steps = (1, 1.5, 2, 3, 5, 7.5) if span < 3 else (1, 2, 5) if span < 7 else (1,)
        ratios = [step * 10.0**power for power in range(-12, 13) for step in steps]
        inside = [ratio - 1 for ratio in ratios if bottom <= ratio - 1 <= top]
        # Thinned so that "no change" keeps its tick.
        keep = max(1, math.ceil(len(inside) / most))
        middle = min(range(len(inside)), key=lambda i: abs(inside[i]), default=0)
        return inside[middle % keep :: keep]
    steps_up = (step * 10.0**power for power in range(-9, 3) for step in (1, 2, 5))
    step = next(step for step in steps_up if (top - bottom) / step <= most)
    return [k * step for k in range(math.ceil(bottom / step), math.floor(top / step) + 1)]
