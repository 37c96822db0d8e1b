"""Numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ablations.report.precision import MINUS, Number, count_decimals

if TYPE_CHECKING:
    from ablations.analysis import Scale

NARROW = "\N{NARROW NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
ARROW = "\N{RIGHTWARDS ARROW}"
Unit = Literal["percent", "ratio"]
"""How relative changes are written."""
EFFECT_ENDS = ("", "low", "high")
INTERVAL, OVER_LOOKS = "95 % interval", "interval, 95 % over all looks"
SMALLEST = 0.0005
"""The smallest difference that three decimals show."""
FEWEST_SEEDS = 2
"""Seeds from which on an effect has an interval."""


def format_number(value: float, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits; a missing one is a dash."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "\N{INFINITY}"
    if 1e-4 <= abs(value) < 1e5 or value == 0:
        return Number(value, count_decimals(value, digits), is_grouped=False)
    return f"{value:.{digits - 1}e}".replace("-", MINUS)


def choose_unit(fractions: Iterable[float]) -> Unit:
    """Return the unit for relative changes that stand together: a ratio where one is ten-fold."""
    return "ratio" if any(f >= 9 or -1 < f <= -0.9 for f in fractions) else "percent"


def format_fraction(fraction: float, unit: Unit) -> str:
    """Write a relative change: ``+12.3 %``, or as a ratio ``×1.12``."""
    if math.isnan(fraction):
        return NOTHING
    if unit == "ratio":
        ratio = 1 + fraction
        if 1e-4 <= ratio < 1e5:
            decimals = count_decimals(ratio, 3) if ratio >= 1 else max(2, count_decimals(ratio, 2))
            return Number(ratio, decimals, TIMES, is_grouped=False)
        return f"{TIMES}{format_number(ratio) if ratio > 0 else 0}"
    size = abs(100 * fraction)
    decimals = 0 if size >= 100 else 1 if size >= 0.95 else 2
    decimals = decimals if float(f"{size:.{decimals}f}") else 0
    return Number(100 * fraction, decimals, after=f"{NARROW}%", is_signed=True)


def format_fractions(fractions: Sequence[float], unit: Unit | None = None) -> list[str]:
    """Write relative changes that stand together, as a change and its interval do, in one unit."""
    unit = choose_unit(fractions) if unit is None else unit
    return [format_fraction(fraction, unit) for fraction in fractions]


def is_ratio(text: str) -> bool:
    """Whether a text is a relative change written as a ratio."""
    return isinstance(text, Number) and text.startswith(TIMES)


def as_ratio(text: str) -> str:
    """Write a relative change in percent as a ratio; other texts stay as they are."""
    if isinstance(text, Number) and text.is_signed and text.endswith(f"{NARROW}%"):
        return format_fraction(text.value / 100, "ratio")
    return text


def format_percent(fraction: float) -> str:
    """Write a relative change that stands alone: ``+12.3 %``; ``×12.3`` where it is ten-fold."""
    return format_fraction(fraction, choose_unit([fraction]))


def round_changes(fractions: Sequence[float]) -> list[str]:
    """Write the changes of a scale in one way: in percent, or as ratios where any is ten-fold."""
    if any(fraction >= 9 for fraction in fractions):
        return [f"{TIMES}{1 + fraction:.3g}" for fraction in fractions]
    return [round_percent(fraction) for fraction in fractions]


def round_percent(fraction: float) -> str:
    """Write a round relative change for a scale: ``+10 %``, and ``0`` without a sign."""
    if fraction >= 9:
        return f"{TIMES}{1 + fraction:.3g}"
    if abs(fraction) < 1e-9:
        return "0"
    return f"{100 * fraction:+.3g}".replace("-", MINUS) + f"{NARROW}%"


def format_level(level: float) -> str:
    """Write a level of significance, a share of error, or a confidence: ``3.2 %``."""
    return f"{100 * level:.2g}{NARROW}%" if level < 0.5 else f"{100 * level:.4g}{NARROW}%"


def name_interval(confidence: float) -> str:
    """Name an interval: one of more than 95 % keeps 95 % over all looks at a study that grows."""
    return INTERVAL if abs(confidence - 0.95) < 1e-9 else OVER_LOOKS


def describe_intervals(confidence: float) -> str:
    """Say what the intervals beside a plot are."""
    if name_interval(confidence) == INTERVAL:
        return "Bars are 95 % intervals"
    return f"Bars are intervals, 95{NARROW}% over all looks at a study that may grow"


def format_change(row: Mapping[str, Any] | pd.Series, scale: Scale, end: str = "") -> str:
    """Write a row's effect, its ``low`` or its ``high``, in the unit that fits all three; without
    a ratio as a difference.
    """
    return format_effect(row, scale)[EFFECT_ENDS.index(end)]


def format_effect(
    row: Mapping[str, Any] | pd.Series, scale: Scale, prefix: str = "", unit: Unit | None = None
) -> list[str]:
    """Write a row's effect and the ends of its interval in one unit: three texts."""
    if scale == "log":
        names = (f"{prefix}change{'_' if end else ''}{end}" for end in EFFECT_ENDS)
        return format_fractions([float(row[name]) for name in names], unit)
    return _format_signed([float(row[f"{prefix}{end or 'effect'}"]) for end in EFFECT_ENDS])


def format_estimate(
    row: Mapping[str, Any] | pd.Series, scale: Scale, prefix: str = "", unit: Unit | None = None
) -> str:
    """Write a row's effect with its interval: ``−12.3 % [−15.0 %, −9.1 %]``."""
    return bracket(*format_effect(row, scale, prefix, unit))


def bracket(estimate: str, low: str, high: str) -> str:
    """Write an estimate with its interval, where it has one."""
    return estimate if low == NOTHING else f"{estimate} [{low}, {high}]"


def format_interval(row: Mapping[str, Any] | pd.Series, scale: Scale) -> str:
    """Write the interval of one row's effect; a dash for fewer than two seeds."""
    return "".join(list_ends(row, scale))


def list_ends(row: Mapping[str, Any] | pd.Series, scale: Scale) -> tuple[str, ...]:
    """Write the interval of one row's effect in pieces, its ends among them."""
    if row["seeds"] < FEWEST_SEEDS:
        return (NOTHING,)
    _, low, high = format_effect(row, scale)
    return low, " to ", high


def format_differences(differences: Sequence[float], scale: Scale) -> list[str]:
    """Write differences on the scale of the effects, in one unit."""
    if scale == "log":
        return format_fractions([math.expm1(difference) for difference in differences])
    return _format_signed(differences)


def format_difference(difference: float, scale: Scale) -> str:
    """Write a difference on the scale of the effects."""
    return format_differences([difference], scale)[0]


def format_relatives(values: Sequence[float], *, is_log: bool) -> list[str]:
    """Write effects that data sets share, log ratios or shares of a typical size, in one unit."""
    return format_fractions([math.expm1(value) if is_log else value for value in values])


def format_margin(bound: float, scale: Scale) -> str:
    """Write the equivalence margin: ``±2 %``, or in the loss's own unit."""
    return f"±{100 * bound:g}{NARROW}%" if scale == "log" else f"±{format_number(bound)}"


def format_signed(value: float) -> str:
    """Write a difference with its sign and at most three decimals: ``+0.012``."""
    if math.isnan(value):
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if SMALLEST <= size < 1e4:
        return Number(value, 3 if size < 10 else 1, is_signed=True, is_grouped=False)
    return format(value, "+.2g").replace("-", MINUS)


def _format_signed(values: Sequence[float]) -> list[str]:
    """Write differences that stand together: what is tiny beside another one has its decimals."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not SMALLEST <= largest < 10:
        return [format_signed(value) for value in values]
    return [
        Number(value, 3, is_signed=True) if math.isfinite(value) else NOTHING for value in values
    ]


def format_spread(spread: float, scale: Scale) -> str:
    """Write a standard deviation: in percent on the log scale, else in the outcome's unit."""
    if scale == "log":
        return format_percent(math.expm1(spread)).lstrip("+")
    return format_number(spread)


def format_p(row: Mapping[str, Any] | pd.Series) -> str:
    """Write the adjusted p, or why there is none worth printing."""
    if row["seeds"] < 2:
        return "one seed" if row["seeds"] == 1 else "nothing to test"
    if not row["reachable"]:
        return "out of reach"
    return "< 0.001" if row["p_adjusted"] < 0.001 else f"{row['p_adjusted']:.3f}"


def format_plain_p(p: float) -> str:
    """Write a p that is not adjusted, with its sign of relation: ``p < 0.001``, ``p = 0.042``."""
    if math.isnan(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_share(value: float, form: str) -> str:
    """Write a share in the given format; a missing one is a dash."""
    if math.isnan(value):
        return NOTHING
    text = format(value, form).replace("%", f"{NARROW}%")
    return (
        text.replace("-", MINUS)
        if any(digit in text for digit in "123456789")
        else text.lstrip("-")
    )


def format_count(n: int, noun: str) -> str:
    """Write ``1 run``, ``2,400 runs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def join_words(words: Sequence[str]) -> str:
    """Join with commas and a last `and`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def format_ratio(ratio: float) -> str:
    """Write a ratio of times: ``×1.30``."""
    return NOTHING if math.isnan(ratio) else f"{TIMES}{ratio:.2f}"


_OUTCOMES = {
    "val_loss": "validation loss",
    "test_loss": "test loss",
    "best_val_loss": "validation loss of each run's best epoch",
    "train_loss": "training loss",
}


def name_outcome(column: str) -> str:
    """Return the words for the column of an outcome: ``test loss``, ``f1_macro``."""
    return _OUTCOMES.get(column, column.removeprefix("python:"))
