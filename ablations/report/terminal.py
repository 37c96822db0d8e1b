"""Answers on a terminal, or in the file that it is sent to."""

from __future__ import annotations

import math
import sys
import textwrap
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from ablations.report.answer import COLUMNS, Answer
from ablations.report.headline import more_seeds

_WIDTH = 200
"""Of a pipe or a file, which has none to fit into: there, no level's name may be cut."""

_SHOWN: dict[str, Sequence[str]] = {
    "effects": (
        "axis", "level", "control", "verdict", "effect", "low", "high", "change", "p_adjusted",
        "better", "seeds", "diverged", "depends_on", "more",
    ),
    "verdicts": (
        "axis", "level", "control", "verdict", "change", "change_low", "change_high", "p_adjusted",
        "depends_on", "seeds", "more",
    ),
    "interactions": (
        "axis_a", "level_a", "axis_b", "level_b", "effect", "double", "double_low", "double_high",
        "p", "p_adjusted", "double_seeds", "diverged",
    ),
    "simple_effects": (
        "axis", "level", "control", "given", "given_level", "effect", "low", "high", "change",
        "p_adjusted", "seeds", "diverged",
    ),
    "importance": (
        "source", "kind", "df", "eta2", "omega2", "f", "error_df", "p", "epsilon", "p_epsilon",
    ),
    "one_factor": (
        "view", "axis", "level", "against", "effect", "low", "high", "change", "p_adjusted",
        "better", "seeds", "diverged",
    ),
}  # fmt: skip
"""Columns that fit beside one another; where nothing stands here, all do."""

_NAMED = 4
"""Rows that a note names."""

_NOTES = ("procedure", "assumes", "left_out")


def print_answer(answer: Answer) -> None:
    """The ablation table on standard output, then the answer in sentences."""
    if not answer.rows:
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS[:4]:
        shown.add_column(name, overflow="fold")
    for name in COLUMNS[4:]:
        shown.add_column(name, justify="right", no_wrap=True)
    for row in answer.rows:
        shown.add_row(*map(printable, row))
    _print(shown)
    print()
    for sentence in answer.sentences:
        print(textwrap.fill(printable(sentence), 100))


def print_table(question: str, table: pd.DataFrame) -> None:
    """The answer to a question on standard output: its main columns, then what it rests on."""
    if table.empty:
        print("nothing to tell")
        return
    names = _SHOWN.get(question, [name for name in table if name not in (*_NOTES, "n")])
    numeric = {name: pd.api.types.is_numeric_dtype(table[name]) for name in names}
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        shown.add_column(name, justify="right" if numeric[name] else "left", overflow="fold")
    for row in table[list(names)].itertuples(index=False, name=None):
        shown.add_row(*map(_cell, row))
    _print(shown)
    for name in _NOTES:
        for text, rows in _notes(table, name):
            said = f"{name.replace('_', ' ')}{rows}: {text}"
            print(textwrap.fill(printable(said), 100))
    if question in ("effects", "verdicts") and more_seeds(table):
        print(textwrap.fill(printable(more_seeds(table)), 100))


def _notes(table: pd.DataFrame, name: str) -> list[tuple[str, str]]:
    """Each different note, with the rows that it is of where not all have it."""
    if name not in table:
        return []
    texts = table[name].fillna("").astype(str)
    found = []
    for text in texts[texts != ""].unique():
        rows = table[texts == text]
        some = "" if len(rows) == len(table) else f" ({_whose(rows)})"
        found.append((text, some))
    return found


def _whose(rows: pd.DataFrame) -> str:
    """The rows by their levels, where they are few."""
    keys = [name for name in rows if name.startswith(("axis", "level", "given"))]
    if len(rows) > _NAMED or not keys:
        return f"{len(rows):,} rows"
    named = rows[keys].itertuples(index=False, name=None)
    return ", ".join(" ".join(str(part) for part in row if part is not None) for row in named)


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return printable(str(value))


def printable(text: str) -> str:
    """Text from a results folder, which must not drive the terminal that it is printed on."""
    return "".join(c if _harmless(c) else repr(c)[1:-1] for c in text)


def _harmless(character: str) -> bool:
    return (
        character.isprintable()
        or character in "\n\t"
        or unicodedata.category(character) == "Zs"  # spaces that do not break
    )


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else _WIDTH
    Console(file=sys.stdout, width=width, markup=False).print(table)
