"""Marks that carry their data: attached to artists, written into the SVG of a page.

In the SVG a mark is an element with ``class="mark"`` and

- ``data-axis``, ``data-level``: the level that it belongs to, as the study names it;
- ``data-other-axis``, ``data-other-level``: a second level, of a cell of a heat map, that at
  which a simple effect is one, or that in whose colour a configuration is drawn;
- ``data-text``: its exact values in words, which its ``<title>`` repeats;
- ``data-value``, ``data-low``, ``data-high``: the numbers of the analysis, by ``repr``;
- ``data-measure``: which of two outcomes it shows, where a figure has both;
- ``data-series``: the points of a line, as JSON: ``[[x, y, text], ...]``, with x and y in the
  coordinates of the SVG.

Entries of a legend and names at the ends of lines have ``class="legend-entry"``, and bands,
shadows and other companions of a level ``class="mark-part"``; both have axis and level alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal
from weakref import WeakKeyDictionary

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from ablations.analysis import Scale
from ablations.report.formatting import bracket, format_count, format_differences

Kind = Literal["mark", "legend-entry", "mark-part"]


@dataclass(frozen=True)
class Mark:
    """The data of a mark; ``series`` has the points of a line: x, y in the panel, and the text."""

    text: str = ""
    axis: str = ""
    level: str = ""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    measure: str = ""
    other: tuple[str, str] = ("", "")
    """Axis and level of a second factor: of a cell, of a configuration, or of a simple effect."""
    series: tuple[tuple[float, float, str], ...] = ()
    kind: Kind = "mark"

    def write_attributes(self, points: Sequence[tuple[float, float, str]] = ()) -> str:
        """Write the attributes of the element; ``points`` are in the coordinates of the SVG."""
        attributes = {"class": self.kind, "data-axis": self.axis, "data-level": self.level}
        attributes |= dict(zip(("data-other-axis", "data-other-level"), self.other, strict=True))
        attributes |= {"data-text": self.text, "data-measure": self.measure}
        numbers = {"data-value": self.value, "data-low": self.low, "data-high": self.high}
        attributes |= {name: repr(float(x)) for name, x in numbers.items() if not math.isnan(x)}
        if points:
            lists = [[round(x, 1), round(y, 1), text] for x, y, text in points]
            attributes["data-series"] = json.dumps(lists, ensure_ascii=False, separators=(",", ":"))
        return "".join(f' {name}="{escape(text)}"' for name, text in attributes.items() if text)


MarksById = Mapping[str, tuple[Artist, tuple[Mark | None, ...]]]
"""Id of an artist's group in the SVG to the artist and its data."""

_MARKS: WeakKeyDictionary[Artist, tuple[Mark | None, ...]] = WeakKeyDictionary()


def attach(artist: Artist, *marks: Mark | None) -> None:
    """Attach its data to an artist.

    A collection of several marks, such as the cells of a heat map, gets one for each element, in
    the order in which they are drawn; None for an element that shows nothing.
    """
    if marks:
        _MARKS[artist] = marks


def marks_of(artist: Artist) -> tuple[Mark | None, ...]:
    """The data of an artist; empty where it has none."""
    return _MARKS.get(artist, ())


def attach_row(artist: Artist, row: Mapping[str, Any], text: str, **fields: Any) -> None:
    """Attach a row of an analysis: its level, and its effect with the interval."""
    axis, level = str(row["axis"]), str(row["level"])
    numbers = {"value": row["effect"], "low": row["low"], "high": row["high"]}
    numbers = {name: float(value) for name, value in numbers.items()}
    attach(artist, Mark(text, axis, level, **{**numbers, **fields}))


def describe_effect(row: Mapping[str, Any], scale: Scale) -> str:
    """Write an effect with its interval and the number of seeds."""
    numbers = [float(row[name]) for name in ("effect", "low", "high")]
    seeds = format_count(int(row["seeds"]), "seed")
    return f"{bracket(*format_differences(numbers, scale))}, {seeds}"


def number_marks(figure: Figure) -> MarksById:
    """Give each artist with data an id, which its group in the SVG has, and return them by it."""
    members = figure.findobj()
    lines = [text.arrow_patch for text in members if isinstance(text, Annotation)]
    artists = [artist for artist in (*members, *filter(None, lines)) if artist in _MARKS]
    by_id = {f"mark-{i}": (artist, _MARKS[artist]) for i, artist in enumerate(artists)}
    for name, (artist, _) in by_id.items():
        artist.set_gid(name)
    return by_id


_GROUP = re.compile(r'^( *)<g id="(mark-\d+)"([^>]*)>\n(.*?)^\1</g>\n', re.MULTILINE | re.DOTALL)
_ELEMENT = re.compile(r"<(path|use)((?: [\w:-]+=\"[^\"]*\")+)/>")


def write_marks(svg: str, figure: Figure, by_id: MarksById) -> str:
    """Write the data of the marks of ``figure``, drawn at 72 dots an inch, into its SVG."""
    height = figure.bbox.height

    def fill_group(match: re.Match[str]) -> str:
        indent, name, attributes, body = match.groups()
        artist, marks = by_id[name]
        if len(marks) == 1 and (mark := marks[0]):
            points = list(_place_points(artist, mark, height))
            filled = mark.write_attributes(points)
            return f"{indent}<g{filled}{attributes}>{_write_title(mark)}\n{body}{indent}</g>\n"
        rest = iter(marks)
        body = _ELEMENT.sub(lambda element: _fill_element(element, rest), body)
        return f"{indent}<g{attributes}>\n{body}{indent}</g>\n"

    return _GROUP.sub(fill_group, svg)


def _place_points(artist: Artist, mark: Mark, height: float) -> Iterator[tuple[float, float, str]]:
    """Yield the points of a line where they lie in the SVG."""
    if mark.series and artist.axes is not None:
        places = artist.axes.transData.transform([point[:2] for point in mark.series])
        for (x, y), (_, _, text) in zip(places, mark.series, strict=True):
            yield float(x), height - float(y), text


def _fill_element(element: re.Match[str], marks: Iterator[Mark | None]) -> str:
    tag, attributes = element.groups()
    if tag == "path" and " id=" in attributes:  # the shape that `use` repeats
        return element[0]
    mark = next(marks)
    if mark is None:
        return element[0]
    return f"<{tag}{mark.write_attributes()}{attributes}>{_write_title(mark)}</{tag}>"


def _write_title(mark: Mark) -> str:
    return f"<title>{escape(mark.text)}</title>" if mark.text else ""
