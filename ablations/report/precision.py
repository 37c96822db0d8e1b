"""One precision per column: all numbers of a column of a table have the same decimals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

MOST_APART = 3
"""Decimals between the finest and the coarsest number, up to which one precision suits both."""
_NUMBER = re.compile(r"([+\u2212]?)(\d[\d,]*(?:\.\d+)?)(?![\d.]|e[\u2212+-]?\d)")
_UNITS: tuple[Callable[[float], float], ...] = (
    lambda value: value,
    lambda value: 100 * value,
    lambda value: 1 + value,
)
"""How a text may show a value: as it is, in percent, or a change as a ratio."""


def align_decimals(texts: Sequence[str], values: Sequence[Sequence[float]]) -> list[str]:
    """Write the numbers of a column with the decimals that most of them have.

    Parameters
    ----------
    texts
        The column's texts, each with as many numbers as it has values; others stay as they are.
    values
        The numbers behind each text.

    Returns
    -------
    The texts; the same ones where numbers are too far apart for one precision.
    """
    tokens = [_read(text, row) for text, row in zip(texts, values, strict=True)]
    decimals = sorted(_count_decimals(match[2]) for row in tokens for match, _ in row)
    if not decimals or decimals[-1] - decimals[0] > MOST_APART:
        return list(texts)
    usual = decimals[(len(decimals) - 1) // 2]
    return [_write(text, row, usual) for text, row in zip(texts, tokens, strict=True)]


def _count_decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _read(text: str, values: Sequence[float]) -> list[tuple[re.Match[str], float]]:
    """Match the numbers of a text with their values in its unit; nothing where they differ."""
    matches = list(_NUMBER.finditer(text))
    if len(matches) != len(values) or not all(map(math.isfinite, values)):
        return []
    for unit in _UNITS:
        pairs = [(match, unit(value)) for match, value in zip(matches, values, strict=True)]
        if all(_is_same(match, value) for match, value in pairs):
            return pairs
    return []


def _is_same(match: re.Match[str], value: float) -> bool:
    """Whether a number in a text is a value, rounded."""
    number = float(match[2].replace(",", ""))
    size = 0.5 * 10.0 ** -_count_decimals(match[2])
    return abs(number - abs(value)) <= size * (1 + 1e-6)


def _write(text: str, pairs: Sequence[tuple[re.Match[str], float]], decimals: int) -> str:
    for match, value in reversed(pairs):
        number = f"{abs(value):,.{decimals}f}"
        sign = match[1] if number.strip("0.,") else ""
        text = f"{text[: match.start()]}{sign}{number}{text[match.end() :]}"
    return text
