"""Answers on a terminal, or in the file that it is sent to."""

from __future__ import annotations

import sys
import textwrap
import unicodedata

import pandas as pd
from rich.console import Console
from rich.table import Table

from ablations.analysis import noise_floor
from ablations.report.export import columns, notes, presented
from ablations.report.formatting import describe_noise_floor
from ablations.report.summary import more_seeds
from ablations.results.answer import COLUMNS, Answer

_WIDTH = 200
"""Of a pipe or a file, which has none to fit into: there, no level's name may be cut."""


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
    texts = presented(question, table)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading, name in zip(texts, columns(question, table), strict=True):
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in texts.itertuples(index=False, name=None):
        shown.add_row(*map(printable, row))
    _print(shown)
    if question == "divergence" and not table[["only_level", "only_control"]].to_numpy().any():
        print("In no pair did one run diverge alone: advantage is of losses only.")
    for note in notes(table):
        print(textwrap.fill(printable(note), 100))
    if question in ("effects", "verdicts") and more_seeds(table.assign(seeds=table["n"])):
        print(textwrap.fill(printable(more_seeds(table.assign(seeds=table["n"]))), 100))


def print_floors(timings: pd.DataFrame) -> None:
    """What the control differs by from itself, timed twice."""
    for row in noise_floor(timings).itertuples():
        print(textwrap.fill(describe_noise_floor(row), 100))


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
