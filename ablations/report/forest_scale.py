"""The common scale of a forest plot: where its ends and ticks lie, and how its numbers are written.

Positions are on the scale of the effects: log ratios, or differences of the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from ablations.report.formatting import INTERVAL, NARROW, NOTHING, TIMES
from ablations.report.precision import MINUS

Unit = Literal["percent", "ratio"]
MeasureName = Literal["outcome", "second"]

GAP = 3.5
"""How many times farther out than the next one an effect lies that the scale leaves out."""
MOST_CLIPPED = 0.25
"""Share of the effects that the scale may leave out."""
REACH = 1.6
"""How many times farther than the effects the scale follows their intervals."""
ROOM = 0.05
"""Share of the scale beyond what it shows, on either side."""
TICK_DISTANCE = 0.16
"""Least distance of two ticks, as a share of the scale."""
EDGE = 0.03
"""Share of the scale at either end that has no tick, so that labels have room around theirs."""
FEW_TICKS, ENOUGH_TICKS = 3, 4
WIDE = 2.5
"""Log ratio between the ends of a scale from which on only ratios are round."""
TENFOLD = math.log(10)


@dataclass(frozen=True)
class Reading:
    """A number as text, in percent and as a ratio; the same text twice where it has no ratio."""

    percent: str
    ratio: str

    @property
    def texts(self) -> tuple[str, str]:
        """Both texts, that in percent first."""
        return self.percent, self.ratio

    def by(self, unit: Unit) -> str:
        """Return the text in a unit."""
        return self.percent if unit == "percent" else self.ratio


def choose_unit(effects: Iterable[float]) -> Unit:
    """Choose the unit of log ratios: ratios where any is ten-fold either way."""
    return "ratio" if any(abs(x) >= TENFOLD for x in effects if math.isfinite(x)) else "percent"


@dataclass(frozen=True)
class Writer:
    """Writes the changes of one column with one precision.

    ``is_log`` says whether changes are fractions; otherwise they are in the outcome's unit.
    """

    is_log: bool
    decimals: int

    @classmethod
    def from_margin(cls, margin: float, changes: Iterable[float], *, is_log: bool) -> Writer:
        """Choose the decimals so that the equivalence margin has two digits, but a typical
        difference no more than three.
        """
        digits = 1 - math.floor(math.log10(margin))
        if is_log:
            return cls(is_log, min(max(digits - 2, 1), 6))
        sizes = sorted(abs(x) for x in changes if math.isfinite(x) and x)
        typical = sizes[len(sizes) // 2] if sizes else 1.0
        return cls(is_log, min(max(min(digits, 2 - math.floor(math.log10(typical))), 0), 6))

    def write(self, change: float) -> Reading:
        """Write a change; a dash where it is missing."""
        if not math.isfinite(change):
            return Reading(NOTHING, NOTHING)
        if not self.is_log:
            text = _sign(f"{change:+,.{self.decimals}f}")
            return Reading(text, text)
        percent = _sign(f"{100 * change:+,.{self.decimals}f}") + f"{NARROW}%"
        # A ratio below a tenth keeps two digits.
        decimals = self.decimals + 1 + (change < -0.895)
        return Reading(percent, f"{TIMES}{1 + change:,.{decimals}f}")

    def write_interval(self, low: float, high: float) -> Reading:
        """Write both ends of an interval."""
        ends = self.write(low), self.write(high)
        texts = zip(*(end.texts for end in ends), strict=True)
        return Reading(*(f"{a} to {b}" for a, b in texts))


def _sign(text: str) -> str:
    """Write a minus as such, and a zero without a sign."""
    return (text.replace("-", MINUS) if text.strip("+-0.,") else text.lstrip("+-")) or "0"


@dataclass(frozen=True)
class Tick:
    """A tick, in percent of the width, with its text."""

    at: float
    text: Reading


@dataclass(frozen=True)
class Scale:
    """Where effects lie between the left end of a strip (0) and the right one (100)."""

    low: float
    high: float
    bound: float
    """The equivalence margin, to either side of no change."""
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def place(self, effect: float) -> float:
        """Return a position in percent of the width, clipped at the ends."""
        share = (effect - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def side(self, effect: float) -> Literal["", "left", "right"]:
        """Return the side on which an effect lies beyond the scale."""
        return "left" if effect < self.low else "right" if effect > self.high else ""

    @property
    def band(self) -> tuple[float, float]:
        """Ends of the equivalence band."""
        return self.place(-self.bound), self.place(self.bound)

    @property
    def zero(self) -> float:
        """The position of no change."""
        return self.place(0.0)


@dataclass(frozen=True)
class Point:
    """A dot beside that of a level, as of one data set; its position in percent of the width."""

    at: float
    value: float
    text: str


@dataclass(frozen=True)
class Strip:
    """One level's dot and interval on the scale of a measure; positions in percent of the width."""

    measure: MeasureName
    verdict: str
    style: str
    """CSS class of the verdict."""
    value: float
    """The effect as the tables of the analysis have it, as are ``low`` and ``high``."""
    low: float
    high: float
    at: float
    start: float
    end: float
    outside: Literal["", "left", "right"]
    """The side on which the dot lies beyond the scale."""
    is_cut_left: bool
    """Whether the interval goes on beyond the scale, as is ``is_cut_right``."""
    is_cut_right: bool
    conditions: tuple[float, ...]
    """Positions of the effect at each level of the axis that it depends on most."""
    outcome: str
    """The measure in words."""
    writer: Writer
    change: Reading
    interval: Reading
    text: str
    """All of it in words, in the unit that the page begins with."""
    texts: Reading
    """The same in both units."""
    points: tuple[Point, ...] = ()

    @classmethod
    def draw(
        cls,
        row: Mapping[str, Any],
        changes: Sequence[float],
        scale: Scale,
        writer: Writer,
        unit: Unit,
        *,
        measure: MeasureName = "outcome",
        verdict: str,
        style: str,
        name: str,
        outcome: str,
        count: str,
        interval_name: str = INTERVAL,
        conditions: Iterable[float] = (),
        points: tuple[Point, ...] = (),
    ) -> Strip:
        """Draw the ``effect`` of ``row``, and its interval from ``low`` to ``high``, on a scale.

        Parameters
        ----------
        changes
            The same three as the reader is told them.
        count, interval_name
            What they rest on, and what the interval is, in words.
        conditions
            Effects at each level of another axis.
        """
        value, low, high = changes
        change, interval = writer.write(value), writer.write_interval(low, high)
        ends = _name_ends(interval, interval_name) if math.isfinite(low) else Reading("", "")
        texts = Reading(
            *(
                f"{name}: {outcome} {change.by(each)}{ends.by(each)}, {verdict}, {count}"
                for each in get_args(Unit)
            )
        )
        return cls(
            measure=measure,
            verdict=verdict,
            style=style,
            value=value,
            low=low,
            high=high,
            at=scale.place(row["effect"]),
            start=scale.place(row["low"]) if math.isfinite(low) else 0,
            end=scale.place(row["high"]) if math.isfinite(high) else 0,
            outside=scale.side(row["effect"]),
            is_cut_left=row["low"] < scale.low,
            is_cut_right=row["high"] > scale.high,
            conditions=tuple(scale.place(effect) for effect in conditions),
            outcome=outcome,
            writer=writer,
            change=change,
            interval=interval,
            text=texts.by(unit),
            texts=texts,
            points=points,
        )

    @property
    def has_interval(self) -> bool:
        """Whether there are seeds enough for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def _name_ends(interval: Reading, name: str) -> Reading:
    """Write an interval with its name in parentheses."""
    lead = name if name == INTERVAL else f"{name}:"
    return Reading(*(f" ({lead} {text})" for text in interval.texts))


def choose_scale(
    rows: Sequence[Mapping[str, Any]], bound: float, *, is_log: bool, points: Sequence[float] = ()
) -> Scale:
    """Choose ends that show all effects but outliers, and their intervals as far as these allow.

    ``rows`` have ``effect``, ``low`` and ``high``; ``points`` are other effects to show.
    """
    effects = [row["effect"] for row in rows if math.isfinite(row["effect"])] + [*points]
    limit = _clip_limit([abs(x) for x in effects], 3 * bound)
    inside = [x for x in effects if abs(x) <= limit]
    widths = sorted(
        max(abs(row["low"]), abs(row["high"])) for row in rows if math.isfinite(row["low"])
    )
    usual = widths[len(widths) // 2] if widths else 0.0  # half of the intervals are in full
    reach = max(REACH * max([abs(x) for x in inside], default=0.0), usual)
    ends = [
        min(max(row[end], -reach), reach)
        for row in rows
        for end in ("low", "high")
        if math.isfinite(row[end]) and abs(row["effect"]) <= limit
    ]
    low = min([*inside, *ends, -1.6 * bound])
    high = max([*inside, *ends, 1.6 * bound])
    room = ROOM * (high - low)
    low, high = low - room, high + room
    return Scale(low, high, bound, tuple(_choose_ticks(low, high, is_log=is_log)), is_log)


def _clip_limit(sizes: Sequence[float], least: float) -> float:
    """Return the size beyond which effects are outliers; the largest size where there are none.

    Outliers are few, and lie beyond a gap: the next size is less than a third of theirs.
    """
    ordered = sorted(sizes, reverse=True)
    most = max(1, int(MOST_CLIPPED * len(ordered)))
    limits = [
        smaller
        for larger, smaller in pairwise(ordered[: most + 1])
        if larger > GAP * max(smaller, least)
    ]
    return max(min(limits), least) if limits else max([*ordered[:1], least])


def _choose_ticks(low: float, high: float, *, is_log: bool) -> list[Tick]:
    """Choose round ticks that are far enough apart, no change among them: of the coarsest steps
    that give enough of them.
    """
    best: list[tuple[float, float]] = []
    for ladder in _log_ladders(low, high) if is_log else _linear_ladders(low, high):
        shares = [((math.log1p(x) if is_log else x) - low) / (high - low) for x in ladder]
        inside = [tick for tick in zip(shares, ladder, strict=True) if EDGE <= tick[0] <= 1 - EDGE]
        ticks = _thin(inside, -low / (high - low))
        # Ticks of which some had to go look arbitrary.
        enough = ENOUGH_TICKS if len(ticks) == len(inside) else FEW_TICKS
        if len(best) < min(len(ticks), enough):
            best = ticks
    write = _write_change if is_log else _write_difference
    return [Tick(round(100 * share, 2), write(x)) for share, x in best]


def _thin(ticks: Sequence[tuple[float, float]], zero: float) -> list[tuple[float, float]]:
    """Keep the ticks that are far enough from those between them and no change."""
    retained = [(zero, 0.0)]
    for side in (1, -1):
        last = zero
        for share, x in ticks[::side]:
            if side * (share - last) >= TICK_DISTANCE:
                retained.append((share, x))
                last = share
    return sorted(retained)


def _log_ladders(low: float, high: float) -> Iterator[list[float]]:
    """Yield round relative changes between two log ratios, in ever smaller steps."""
    bottom, top = math.expm1(low), math.expm1(high)
    for factors, power in (
        ((1.0,), 3),
        ((1.0,), 2),
        ((1.0,), 1),
        ((1.0, 3.0), 1),
        ((1.0, 2.0, 5.0), 1),
    ):
        ratios = [factor * 10.0 ** (power * k) for k in range(-8, 9) for factor in factors]
        yield [ratio - 1 for ratio in ratios if bottom <= ratio - 1 <= top]
    if high - low < WIDE:
        yield from _linear_ladders(bottom, top)


def _linear_ladders(low: float, high: float) -> Iterator[list[float]]:
    """Yield multiples of round steps between two differences, the steps ever smaller."""
    size = 10.0 ** math.ceil(math.log10(high - low))
    for step in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
        yield _multiples(step * size, low, high)


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def _write_change(change: float) -> Reading:
    mantissa, _, exponent = f"{1 + change:.6g}".partition("e")
    if 1e5 <= 1 + change < 1e6 and not exponent:
        mantissa, exponent = f"{(1 + change) / 1e5:.6g}", "5"
    power = f"e{int(exponent)}".replace("-", MINUS) if exponent else ""
    ratio = f"{TIMES}{mantissa}{power}"
    if abs(math.log1p(change)) > 2 * TENFOLD:  # a percentage would be hard to read
        return Reading(ratio, ratio)
    return Reading(_sign(f"{100 * change:+,.6g}") + f"{NARROW}%" if change else "0", ratio)


def _write_difference(difference: float) -> Reading:
    text = _sign(f"{difference:+.6g}") if difference else "0"
    return Reading(text, text)
