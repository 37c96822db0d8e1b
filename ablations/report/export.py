"""Tables for other programs: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from ablations.report.plain import columns, notes, presented

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
