"""The forest plot-table in characters: for a terminal, a pipe and a file."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.text import Text

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Design
from ablations.report.caveats import describe_doubts, explain_intervals
from ablations.report.forest_notes import NOT_COMPARED, describe_missing
from ablations.report.forest_scale import Unit, Writer, choose_scale, choose_unit
from ablations.report.formatting import (
    INTERVAL,
    NARROW,
    NOTHING,
    TIMES,
    format_p,
    name_interval,
    name_outcome,
)
from ablations.report.precision import MINUS
from ablations.report.strengths import name_axis, name_kind, name_level, name_within
from ablations.results.answer import Chart, ChartRow
from ablations.results.metadata import StudyMetadata

Row = Mapping[str, Any]

GLYPHS = {HELPS: "✓", HURTS: "✗", EQUAL: "=", UNDECIDED: "?"}
MIXED = "±"
"""Glyph of a level that helps or hurts, depending on another setting."""
DOTS = {HELPS: "●", HURTS: "■", EQUAL: "◆", UNDECIDED: "○"}
COLOURS = {HELPS: "cyan", HURTS: "red", EQUAL: "", UNDECIDED: "dim"}
ASCII = str.maketrans(f"✓✗±●■◆○─┼┆◀▶┴{MINUS}{TIMES}{NARROW}{NOTHING}", "+x~*##o-||<>--x -")
"""What stands in for characters that a terminal cannot show."""
MOST_STRIP, FEWEST_STRIP = 60, 15
"""Characters of the widest and the narrowest plot."""
GAP = "  "
HARD = "\N{NO-BREAK SPACE}"
WIDE = 100
"""Characters of a line from which on it has room for the verdicts in words."""


def outline_chart(
    rows: Sequence[Row],
    metadata: StudyMetadata | None,
    write_p: Callable[[Row], str],
    *,
    outcome: str,
    margin: float,
    is_log: bool,
    is_higher_better: bool,
    is_share: bool = False,
    interval: str = INTERVAL,
    notes: Sequence[str] = (),
    reversals: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Chart:
    """Describe the forest plot-table of a table of effects, its positions in percent.

    ``rows`` have ``axis, level, control, verdict, effect, low, high`` and, on the log scale or if
    differences are shares (``is_share``), the ``change`` of each; ``margin`` is in the unit of the
    changes.
    """
    is_fraction = is_log or is_share
    compared = [row for row in rows if math.isfinite(row["effect"])]
    scale = choose_scale(compared, math.log1p(margin) if is_log else margin, is_log=is_log)
    unit = choose_unit(row["effect"] for row in compared) if is_log else "percent"
    names = ("change", "change_low", "change_high") if is_fraction else ("effect", "low", "high")
    writer = Writer.from_margin(margin, (row[names[0]] for row in compared), is_log=is_fraction)
    sign = -1 if is_higher_better else 1
    order = {axis: i for i, axis in enumerate(dict.fromkeys(row["axis"] for row in rows))}
    ranked = sorted(rows, key=lambda row: (order[row["axis"]], _rank(sign * row["effect"])))
    return Chart(
        outcome=outcome,
        zero=scale.zero,
        ticks=tuple((tick.at, tick.text.by(unit)) for tick in scale.ticks),
        is_higher_better=is_higher_better,
        interval=interval,
        notes=tuple(notes),
        rows=tuple(
            ChartRow(
                axis=row["axis"],
                control=name_within(row["axis"], row["control"], metadata),
                name=name_level(row["axis"], row["level"], metadata),
                verdict=row["verdict"] if row.get("pairs", 1) else NOT_COMPARED,
                reversed_by=reversals.get((row["axis"], row["level"]), ""),
                at=_place(scale.place, row["effect"]),
                start=_place(scale.place, row["low"]),
                end=_place(scale.place, row["high"]),
                outside=scale.side(row["effect"]),
                change=writer.write(row[names[0]]).by(unit),
                interval=_write_interval(writer, row[names[1]], row[names[2]], unit),
                p=_shorten_p(write_p(row)),
                missing="" if math.isfinite(row["effect"]) else describe_missing(row),
            )
            for row in ranked
        ),
    )


def outline_effects(
    effects: pd.DataFrame,
    design: Design,
    metadata: StudyMetadata | None,
    reversals: Mapping[tuple[str, str], str] | None = None,
) -> Chart:
    """Describe the forest plot-table of main effects, with the axes that reverse some of them."""
    return outline_chart(
        effects.to_dict("records"),
        metadata,
        format_p,
        outcome=name_outcome(design.outcome),
        margin=design.margin,
        is_log=design.scale == "log",
        is_higher_better=design.higher_is_better,
        interval=name_interval(design.confidence),
        notes=explain_verdicts(effects, design),
        reversals=reversals or {},
    )


def explain_verdicts(effects: pd.DataFrame, design: Design) -> list[str]:
    """Say what the intervals of a forest are, and why some verdicts are not what they suggest."""
    looks = []
    if name_interval(design.confidence) != INTERVAL and effects["low"].notna().any():
        looks = ["Intervals keep 95 % over all looks: a study may grow, and be judged again."]
    return [
        *looks,
        *(f"{text}." for text in explain_intervals(effects, design.alpha)),
        *describe_doubts(effects, design.alpha),
    ]


def _rank(effect: float) -> float:
    return effect if math.isfinite(effect) else math.inf


def _shorten_p(text: str) -> str:
    """Leave out why there is no p, which the sentences say."""
    return text.replace("< ", "<") if any(map(str.isdigit, text)) else NOTHING


def _place(place: Callable[[float], float], effect: float) -> float | None:
    return place(effect) if math.isfinite(effect) else None


def _write_interval(writer: Writer, low: float, high: float, unit: Unit) -> str:
    """Write both ends, a unit of percent only once."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    return writer.write_interval(low, high).by(unit).replace(f"{NARROW}% to", " to")


def draw_chart(chart: Chart, width: int) -> Iterator[Text]:
    """Yield the lines of a forest plot-table, none wider than ``width`` characters; no rows, no
    lines.
    """
    if not chart.rows:
        return
    first = 0 if width >= WIDE else 1  # in a short line the glyphs say the verdicts
    # A long name of the intervals takes two lines.
    above, _, below = chart.interval.rpartition(" over ")
    interval = f"over {below}" if above else below
    headings = ("verdict", "change", interval, "adj. p")[first:]
    tops = ("", "", above, "")[first:]
    rows = [(row.verdict, row.change, row.interval, row.p)[first:] for row in chart.rows]
    columns = zip(*rows, strict=True)
    widths = [
        max(map(cell_len, (heading, top, *texts)))
        for heading, top, texts in zip(headings, tops, columns, strict=True)
    ]
    name_width = max(cell_len(row.name) for row in chart.rows) + 2
    room = width - sum(widths) - len(GAP) * (len(widths) + 1)
    strip_width = min(max(room - name_width, FEWEST_STRIP), MOST_STRIP)
    name_width = min(name_width, room - strip_width)
    plot_end = name_width + len(GAP) + strip_width
    kind = name_kind(row.axis for row in chart.rows)
    yield Text(f"Change of {chart.outcome}, each {kind} against its control", style="bold")
    if above:
        yield Text(_justify("", plot_end) + _join_numbers(tops, widths), style="dim")
    yield Text(_justify("", plot_end) + _join_numbers(headings, widths), style="dim")
    axis = ""
    for row, texts in zip(chart.rows, rows, strict=True):
        if row.axis != axis:
            axis = row.axis
            head = Text().append(name_axis(axis), style="bold").append(f" against {row.control}")
            yield from _cut(head, chart, name_width, strip_width)
        numbers = _join_numbers(texts, widths)
        yield from _draw_row(chart, row, name_width, strip_width, numbers)
    yield from _draw_scale(chart, name_width + len(GAP), strip_width)
    present = {row.verdict for row in chart.rows if not row.reversed_by}
    words = [(glyph, verdict) for verdict, glyph in GLYPHS.items() if verdict in present]
    key = [Text(f"{glyph} {word}", style=COLOURS[word]) for glyph, word in words]
    if any(row.reversed_by for row in chart.rows):
        key.append(Text(f"{MIXED} helps or hurts, depending on another setting"))
    yield Text(GAP).join(key)
    for note in chart.notes:
        yield from map(Text, textwrap.wrap(note, width))


def _cut(head: Text, chart: Chart, name_width: int, strip_width: int) -> Iterator[Text]:
    """Draw the line that names an axis, with no change where there is room for it."""
    zero = name_width + len(GAP) + _column(chart.zero, strip_width)
    if cell_len(head.plain) < zero:
        head.append(" " * (zero - cell_len(head.plain)) + "┆", style="dim")
    yield head


def _draw_row(
    chart: Chart, row: ChartRow, name_width: int, strip_width: int, numbers: str
) -> Iterator[Text]:
    """Draw one level; a name that is too long goes on below."""
    colour = COLOURS.get(row.verdict, "")
    base, bracket, strength = row.name.partition(" (")
    name = f"{base}{bracket}{strength.replace(' ', HARD)}"  # a strength goes on as one
    wrapped = textwrap.wrap(name, name_width - 2, break_on_hyphens=False) or [""]
    first, *others = (text.replace(HARD, " ") for text in wrapped)
    glyph = MIXED if row.reversed_by else GLYPHS.get(row.verdict, " ")
    line = Text().append(f"{glyph} ", style=colour)
    line.append(_justify(first, name_width - 2) + GAP)
    if row.missing:
        line.append(row.missing)
    else:
        line.append_text(_draw_strip(chart, row, strip_width)).append(numbers)
    yield line
    for text in others:
        yield Text(f"  {text}")


def _draw_strip(chart: Chart, row: ChartRow, width: int) -> Text:
    """Draw the interval, the dot on it, and the line of no change."""
    characters = [" "] * width
    if row.start is not None and row.end is not None:
        for i in range(_column(row.start, width), _column(row.end, width) + 1):
            characters[i] = "─"
    zero = _column(chart.zero, width)
    characters[zero] = "┼" if characters[zero] == "─" else "┆"
    if row.start == 0 and characters[0] == "─":
        characters[0] = "◀"
    if row.end == 100 and characters[-1] == "─":
        characters[-1] = "▶"
    if row.at is not None:
        ends = {"left": "◀", "right": "▶"}
        dot = ends.get(row.outside, DOTS.get(row.verdict, "○"))
        characters[_column(row.at, width)] = dot
    strip = Text("".join(characters), style=COLOURS.get(row.verdict, ""))
    if characters[zero] == "┆":
        strip.stylize("dim", zero, zero + 1)
    return strip


def _draw_scale(chart: Chart, indent: int, width: int) -> Iterator[Text]:
    """Draw the ticks, their texts as far as these do not touch, and where it is better."""
    line, texts = ["─"] * width, [" "] * (indent + width + 12)
    ticks = sorted(chart.ticks, key=lambda tick: abs(tick[0] - chart.zero))
    for at, text in ticks:
        column = _column(at, width)
        start = max(indent + column - len(text) // 2, 0)
        if not "".join(texts[max(start - 2, 0) : start + len(text) + 2]).strip():
            texts[start : start + len(text)] = text
            line[column] = "┴"
    yield Text(" " * indent + "".join(line), style="dim")
    yield Text("".join(texts).rstrip(), style="dim")
    sides = ("worse", "better") if chart.is_higher_better else ("better", "worse")
    room = width - sum(map(len, sides)) - 4
    yield Text(f"{' ' * indent}◀ {sides[0]}{' ' * max(room, 1)}{sides[1]} ▶")


def _column(at: float, width: int) -> int:
    return round(at / 100 * (width - 1))


def _justify(text: str, width: int) -> str:
    return text + " " * max(width - cell_len(text), 0)


def _join_numbers(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Write texts right-aligned in columns."""
    pairs = zip(texts, widths, strict=True)
    return "".join(GAP + " " * (width - cell_len(text)) + text for text, width in pairs)
