"""Answers as tables of text, the columns that fit beside one another: for a terminal or a paper."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from ablations.report.formatting import MINUS, format_percent

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
        return format_percent(number)
    if name == "p" or name.startswith("p_"):
        return "< 0.001" if number < 0.001 else f"{number:.3f}"
    if name in ("eta2", "omega2", "chosen"):
        return f"{100 * number:.1f} %".replace("-", MINUS)
    if number.is_integer() and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.4g}".replace("-", MINUS)


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


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv(table: pd.DataFrame) -> str:
    """Comma-separated values, numbers in full.

    A text that a spreadsheet would take for a formula gets a quotation mark in front (OWASP's
    advice on CSV injection).
    """
    return str(table.map(_no_formula).to_csv(index=False))


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def json_records(table: pd.DataFrame) -> str:
    """A JSON list of one object a row; what is missing is null."""
    return json.dumps([_plain(row) for row in table.to_dict("records")], indent=1) + "\n"


def _plain(row: dict[Any, Any]) -> dict[str, object]:
    values = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def markdown(question: str, table: pd.DataFrame) -> str:
    """A table of GitHub's Markdown, its main columns rounded for reading, and what it rests on
    below.
    """
    texts = presented(question, table)
    rows = [list(map(str, texts.columns)), ["---"] * len(texts.columns)]
    rows += [[_line(text).replace("|", "\\|") for text in row] for row in _rows(texts)]
    body = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return body + "".join(f"\n{_line(note)}\n" for note in notes(table))


def latex(question: str, table: pd.DataFrame) -> str:
    """A table of LaTeX with booktabs, its main columns rounded for reading, and what it rests on
    below.
    """
    texts = presented(question, table).map(_line)
    sides = "".join(
        "r" if pd.api.types.is_numeric_dtype(table[name]) else "l"
        for name in columns(question, table)
    )
    texts.columns = pd.Index([_escaped(str(name)) for name in texts.columns])
    shown = texts.map(_escaped).style.hide(axis="index")
    body = str(shown.to_latex(hrules=True, column_format=sides))
    below = "".join(f"\n\\smallskip\n{_escaped(_line(note))}\n" for note in notes(table))
    return f"% needs \\usepackage{{booktabs}}\n{body}{below}"


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(table.itertuples(index=False, name=None))


def _line(value: object) -> str:
    return str(value).replace("\n", " ").replace("\r", " ")


FORMATS: dict[str, Callable[[str, pd.DataFrame], str]] = {
    "csv": lambda _, table: csv(table),
    "json": lambda _, table: json_records(table),
    "markdown": markdown,
    "latex": latex,
}
