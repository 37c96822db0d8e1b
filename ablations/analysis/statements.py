"""What an answer rests on, in words: the last columns of every table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

STATED = ["n", "procedure", "assumes", "left_out"]
"""The last columns of every table of answers: the number of blocks (seeds) behind it, what was
computed, what that assumes, and which runs are not in it."""
UNTESTED = "nothing, with fewer than two to compare"


def question_text(outcome: str, scale: str, *, higher_is_better: bool) -> str:
    """Name the outcome, its better direction, and how numbers are compared."""
    direction = "higher" if higher_is_better else "lower"
    kind = "log ratio" if scale == "log" else "difference"
    return f"{outcome}, {direction} is better, {kind}: "


def assumptions_text(block: str) -> str:
    """Write what a paired comparison assumes, whatever the outcome."""
    return (
        f"{block}s independent of one another; p: a technique without effect is as often so much "
        f"better as so much worse in a {block}; interval: differences by {block} about normal"
    )


def state_basis(
    table: pd.DataFrame, n: Sequence[float] | pd.Series, procedure: str, assumes: str | list[str]
) -> pd.DataFrame:
    """Add the numbers of blocks, what was computed where there are two, and what that assumes."""
    texts = [procedure if count >= 2 else UNTESTED for count in n]
    return table.assign(n=n, procedure=texts, assumes=assumes)


def format_counts(*counts: tuple[int, str]) -> str:
    """List the counts that are not zero: ``"2 seeds, 1 pair of which one diverged"``."""
    parts = []
    for count, noun in counts:
        first, space, rest = noun.partition(" ")
        if count:
            parts.append(f"{int(count):,} {first}{'' if count == 1 else 's'}{space}{rest}")
    return ", ".join(parts)


def list_counts(*counts: tuple[Iterable[int], str]) -> list[str]:
    """Write ``format_counts`` of each row of several columns of counts."""
    columns, nouns = zip(*counts, strict=True)
    return [format_counts(*zip(row, nouns, strict=True)) for row in zip(*columns, strict=True)]


def join_statements(*parts: str) -> str:
    """Join the statements that are not empty by semicolons."""
    return "; ".join(filter(None, parts))
