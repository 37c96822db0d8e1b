"""Tables for other programs: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

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


def markdown(table: pd.DataFrame) -> str:
    """A table of GitHub's Markdown, numbers to four digits."""
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[_cell(value).replace("|", "\\|") for value in row] for row in _rows(table)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def latex(table: pd.DataFrame) -> str:
    """A table of LaTeX with booktabs, numbers to four digits."""
    shown = pd.DataFrame([list(map(_cell, row)) for row in _rows(table)], columns=table.columns)
    return str(shown.style.format(escape="latex").hide(axis="index").to_latex(hrules=True))


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(table.itertuples(index=False, name=None))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return " ".join(str(value).split())


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "csv": csv,
    "json": json_records,
    "markdown": markdown,
    "latex": latex,
}
