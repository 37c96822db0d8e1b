"""Answers as tables of text, the columns that fit beside one another: for a terminal or a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Number

import numpy as np
import pandas as pd

from ablations.report import words

_SIZE = ("change", "change_low", "change_high")
"""Stands for the effect on its own scale where it is no ratio."""
_SHOWN: dict[str, Sequence[str]] = {
    "effects": (
        "axis", "level", "control", "verdict", *_SIZE, "p_adjusted", "better", "seeds", "diverged",
        "depends_on", "more",
    ),
    "verdicts": (
        "axis", "level", "control", "verdict", *_SIZE, "p_adjusted", "depends_on", "n", "more",
    ),
    "interactions": (
        "axis_a", "level_a", "axis_b", "level_b", "effect", "double", "double_low", "double_high",
        "p", "p_adjusted", "p_family", "n", "diverged",
    ),
    "simple_effects": (
        "axis", "level", "control", "given", "given_level", *_SIZE, "p_adjusted", "seeds",
        "diverged",
    ),
    "importance": (
        "source", "kind", "df", "eta2", "omega2", "f", "error_df", "p", "epsilon", "p_epsilon",
    ),
    "costs": (
        "axis", "level", "control", "verdict", "ratio", "low", "high", "floor", "seconds",
        "memory_ratio", "cells", "blocks",
    ),
    "one_factor": (
        "view", "axis", "level", "against", *_SIZE, "p_adjusted", "better", "seeds", "diverged",
    ),
}  # fmt: skip
_NOTES = ("procedure", "assumes", "left_out")
_NAMED = 4
"""Rows that a note names."""
_HEADINGS = {"change_low": "95 % low", "change_high": "95 % high", "p_adjusted": "adjusted p"}


def columns(question: str, table: pd.DataFrame) -> list[str]:
    """The columns of an answer that fit beside one another; all of them but the notes where no
    choice is made for a question.
    """
    chosen = list(_SHOWN.get(question, [name for name in table if name not in (*_NOTES, "n")]))
    if "change" in chosen and not table["change"].notna().any():
        own = dict(zip(_SIZE, ("effect", "low", "high"), strict=True))
        chosen = [own.get(name, name) for name in chosen]
    return chosen


def presented(question: str, table: pd.DataFrame) -> pd.DataFrame:
    """An answer as text, rounded to what a reader can use: percent, three digits of p."""
    chosen = columns(question, table)
    texts = {name: [_text(name, value) for value in table[name]] for name in chosen}
    found = pd.DataFrame(texts, columns=chosen, dtype=object)
    return found.rename(columns=lambda name: _HEADINGS.get(name, name.replace("_", " ")))


def _text(name: str, value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, Number):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if name.startswith("change"):
        return words.percent(number)
    if name == "p" or name.startswith("p_"):
        return "< 0.001" if number < 0.001 else f"{number:.3f}"
    if name in ("eta2", "omega2", "chosen"):
        return f"{100 * number:.1f} %".replace("-", words.MINUS)
    if number.is_integer() and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.4g}".replace("-", words.MINUS)


def notes(table: pd.DataFrame) -> list[str]:
    """What an answer rests on, in sentences; each with the rows that it is of where not all have
    it.
    """
    found = []
    for name in (note for note in _NOTES if note in table):
        texts = table[name].fillna("").astype(str)
        for text in texts[texts != ""].unique():
            rows = table[texts == text]
            some = "" if len(rows) == len(table) else f" ({_whose(rows)})"
            found.append(f"{name.replace('_', ' ')}{some}: {text}")
    return found


def _whose(rows: pd.DataFrame) -> str:
    """The rows by their levels, where they are few."""
    keys = [name for name in rows if str(name).startswith(("axis", "level", "given"))]
    if len(rows) > _NAMED or not keys:
        return f"{len(rows):,} rows"
    named = rows[keys].itertuples(index=False, name=None)
    return ", ".join(" ".join(str(part) for part in row if part is not None) for row in named)
