"""One precision per column: all numbers of a column of a table have the same decimals."""

from __future__ import annotations

from collections.abc import Iterable

MINUS = "\N{MINUS SIGN}"
MOST_APART = 3
"""Decimals between the finest and the coarsest number, up to which one precision suits both."""


class Number(str):
    """The text of a number that can be written again with other decimals.

    Attributes
    ----------
    value
        The number in the unit of the text.
    decimals
        Those of the text.
    is_signed
        Whether a positive number has a sign, too.
    """

    value: float
    decimals: int
    _before: str
    _after: str
    is_signed: bool

    def __new__(
        cls,
        value: float,
        decimals: int,
        before: str = "",
        after: str = "",
        *,
        is_signed: bool = False,
        is_grouped: bool = True,
    ) -> Number:
        """Write a finite number; ``is_grouped``: with commas between its thousands."""
        text = _write(value, decimals, is_signed=is_signed)
        text = text if is_grouped else text.replace(",", "")
        number = super().__new__(cls, f"{before}{text}{after}")
        number.value, number.decimals = value, decimals
        number._before, number._after, number.is_signed = before, after, is_signed
        return number

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """A copy in a file or another process is the text alone."""
        return str, (str(self),)

    @property
    def unit(self) -> tuple[str, str]:
        """What stands before and behind the number."""
        return self._before, self._after

    def with_decimals(self, decimals: int) -> Number:
        """Write the number again."""
        ends = self._before, self._after
        return Number(self.value, decimals, *ends, is_signed=self.is_signed)


def _write(value: float, decimals: int, *, is_signed: bool) -> str:
    """Write a number with its sign, a zero without one."""
    digits = f"{abs(value):,.{decimals}f}"
    if not digits.strip("0.,"):
        return digits
    return f"{MINUS if value < 0 else '+' if is_signed else ''}{digits}"


def count_decimals(value: float, digits: int) -> int:
    """Count the decimals of a number with so many significant digits."""
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return max(digits - 1 - exponent, 0)


def choose_decimals(texts: Iterable[str]) -> int | None:
    """Return the decimals that most numbers of a column have; None where these are too far apart
    for one precision, or there is no number among the texts.
    """
    numbers = [text for text in texts if isinstance(text, Number) and text.value]
    decimals = sorted(number.decimals for number in numbers)
    if not decimals or decimals[-1] - decimals[0] > MOST_APART:
        return None
    return decimals[(len(decimals) - 1) // 2]


def write_pieces(pieces: Iterable[str], decimals: int | None) -> str:
    """Join texts, the numbers among them with the given decimals."""
    if decimals is None:
        return "".join(pieces)
    return "".join(
        piece.with_decimals(decimals) if isinstance(piece, Number) else piece for piece in pieces
    )
