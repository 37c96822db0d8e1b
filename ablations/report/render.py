"""Answers as tables of text: for a terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from ablations.analysis import Design, noise_floor
from ablations.core.printing import printable
from ablations.report.caveats import advise_seeds
from ablations.report.columns import Column, Row
from ablations.report.effect_notes import explain_effects
from ablations.report.forest_text import ASCII, draw_chart, outline_effects
from ablations.report.formatting import (
    NARROW,
    TIMES,
    Unit,
    choose_unit,
    format_fraction,
    format_percent,
    format_signed,
    name_outcome,
)
from ablations.report.precision import MINUS
from ablations.report.texts import describe_noise_floor
from ablations.results.answer import COLUMNS, HEADINGS, Answer, Chart
from ablations.results.metadata import StudyMetadata

_PLAIN_WIDTH = 80
"""Characters in a line of the answer in a pipe or a file."""
_WIDTH = 200
"""Characters in a line of a pipe or a file, where no level's name may be cut."""

_CHANGE = ("change", "change_low", "change_high")
"""Columns that the effect on its own scale replaces where it has no ratio."""

_CHANGE_PREFIXES = ("change", "late_change", "excess_change", "control_change", "table_change")

_EFFECT_OF = dict(zip(_CHANGE, ("effect", "low", "high"), strict=True))
"""What stands in for a change in rows without a ratio, where other rows of the table have one."""

_COLUMNS: dict[str, tuple[str, ...]] = {
    "effects": (
        "axis", "level", "control", "verdict", *_CHANGE, "p_adjusted", "better", "seeds",
        "diverged", "depends_on", "more",
    ),
    "verdicts": (
        "axis", "level", "control", "verdict", *_CHANGE, "p_adjusted", "depends_on", "n", "more",
    ),
    "interactions": (
        "axis_a", "level_a", "axis_b", "level_b", "effect", "double", "double_low", "double_high",
        "p", "p_adjusted", "p_family", "n", "diverged",
    ),
    "simple_effects": (
        "axis", "level", "control", "given", "given_level", *_CHANGE, "p_adjusted", "seeds",
        "diverged",
    ),
    "importance": (
        "source", "kind", "df", "eta2", "omega2", "f", "error_df", "p", "epsilon", "p_epsilon",
    ),
    "anova": (
        "stratum", "source", "kind", "effect", "df", "ss", "f", "error_df", "p", "confounded_with",
    ),
    "scope": (
        "axis", "level", "control", "verdict", *_CHANGE, "p_adjusted", "table_verdict",
        *(f"table_{name}" for name in (*_CHANGE, "p_adjusted")), "split_share", "split_low",
        "split_high", "n",
    ),
    "costs": (
        "axis", "level", "control", "verdict", "ratio", "low", "high", "floor", "seconds",
        "memory_ratio", "cells", "blocks",
    ),
    "trajectory": ("axis", "level", "control", "epoch", *_CHANGE, "n"),
    "endings": (
        "axis", "level", "epochs", "best_epoch", "ending",
        *(f"{measure}_{name}" for measure in ("late", "excess") for name in _CHANGE),
    ),
    "baseline": (
        "configuration", "outcome", "value", "baseline", *_CHANGE, "p", "p_adjusted", "learned",
        "learning", "candidates",
    ),
    "one_factor": (
        "view", "axis", "level", "against", *_CHANGE, "p_adjusted", "better", "seeds", "diverged",
    ),
    "datasets": (
        "axis", "level", "control", "verdict", *_CHANGE, "p_adjusted", "helps", "hurts", "equal",
        "undecided", "iqm", "improvement", "mean_rank", "datasets",
    ),
    "dataset_effects": (
        "task", "axis", "level", "control", "verdict", *_CHANGE, "p_adjusted", "seeds", "diverged",
    ),
}  # fmt: skip
"""The columns of each question that fit beside one another; by default all but the notes."""

_OMITTED = {
    "best_set": {
        "place", "effect", "low", "high", "in_set", "seconds_ratio", "control_effect",
        "control_low", "control_high", "members", "candidates", "is_reachable",
    },
}  # fmt: skip
"""Columns that only CSV and JSON show, of questions whose answer begins with the
factors."""

_NOTES = {
    "procedure": "how it was computed", "assumes": "it assumes", "left_out": "left out",
}  # fmt: skip
"""Columns that say what an answer rests on, and what they are called."""
_PLAIN_WORDS = (
    (r"\bcell(s?)\b", r"setting\1"),
    (r"\b(?:best_)?(?:val|test|train)_loss\b", lambda match: name_outcome(match[0])),
)
"""Words of the program in notes, and what a reader calls them."""
_MOST_NAMES = 4
"""Rows that a note names."""


def question_columns(question: str, table: pd.DataFrame) -> list[Column]:
    """The columns that show the answer to a question; those of numbers have ``sort``."""
    omitted = {*_NOTES, "n", *_OMITTED.get(question, ())}
    default = tuple(name for name in table if name not in omitted)
    names = _COLUMNS.get(question, default)
    # In a study of several tasks the answers of each stand below one another.
    names = ("task", *(name for name in names if name != "task")) if "task" in table else names
    for prefix in ("", "late_", "excess_", "control_", "table_"):
        changes = [f"{prefix}{name}" for name in _CHANGE]
        if changes[0] in names and not table[changes[0]].notna().any():
            effects = (f"{prefix}{name}" for name in ("effect", "low", "high"))
            effect = dict(zip(changes, effects, strict=True))
            names = tuple(effect.get(name, name) for name in names)
    ends = {low: high for low, high in pairwise(names) if high == f"{low[:-3]}high"}
    return [
        Column(
            "interval" if name in ends else HEADINGS.get(name, name.replace("_", " ")),
            partial(_write_interval, low=name, high=ends[name])
            if name in ends
            else partial(_write_value, name=name),
            name if pd.api.types.is_numeric_dtype(table[name]) else None,
        )
        for name in names
        if name not in ends.values()
    ]


def _write_interval(row: Row, low: str, high: str) -> str:
    """Write both ends; nothing where there is no interval."""
    texts = [_write_value(row, name) for name in (low, high)]
    return " to ".join(texts) if all(texts) else ""


def _write_value(row: Row, name: str) -> str:
    """Write a value as a reader needs it: changes in percent, three digits of p."""
    value = row[name]
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if not isinstance(value, Number):
        return "" if value is None or value is pd.NA else str(value)
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        effect = row.get(_EFFECT_OF.get(name, ""), math.nan)
        return "" if math.isnan(effect) else format_signed(effect)
    if name.startswith(_CHANGE_PREFIXES):
        return format_fraction(number, _unit_of(row, name))
    if name == "iqm" and "improvement" in row:  # over data sets, relative
        return format_percent(math.expm1(number) if row["scale"] == "log" else number)
    if name == "p" or name.startswith(("p_", "table_p_")):
        return "< 0.001" if number < 0.001 else f"{number:.3f}"
    if name in ("eta2", "omega2", "chosen") or name.startswith("split_"):
        return f"{100 * number:.1f} %".replace("-", MINUS)
    if number.is_integer() and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.4g}".replace("-", MINUS)


def _unit_of(row: Row, name: str) -> Unit:
    """The unit that suits a change and both ends of its interval."""
    change = re.sub("_(low|high)$", "", name)
    ends = (float(row.get(f"{change}{end}", math.nan)) for end in ("", "_low", "_high"))
    return choose_unit([end for end in ends if not math.isnan(end)])


def _write_rows(columns: Sequence[Column], table: pd.DataFrame) -> list[list[str]]:
    records = table.to_dict("records")
    return [[str(column.format(row)) for column in columns] for row in records]


def list_notes(question: str, table: pd.DataFrame) -> list[str]:
    """Say what an answer rests on; a note that holds for some rows only names them."""
    block = "round" if question == "costs" else "seed"
    notes = []
    for name, heading in ((name, text) for name, text in _NOTES.items() if name in table):
        texts = table[name].fillna("").astype(str)
        for text in texts[texts != ""].unique():
            rows = table[texts == text]
            scope = "" if len(rows) == len(table) else f" ({_name_rows(rows)})"
            for pattern, word in (*_PLAIN_WORDS, (r"\bblock(s?)\b", rf"{block}\1")):
                text = re.sub(pattern, word, text)
            notes.append(f"{heading}{scope}: {text}")
    return notes


def _name_rows(rows: pd.DataFrame) -> str:
    """Name rows by their outcomes, or by their levels if they are few; else count them."""
    if "outcome" in rows:
        return ", ".join(rows["outcome"].unique())
    keys = [name for name in rows if str(name).startswith(("axis", "level", "given"))]
    if len(rows) > _MOST_NAMES or not keys:
        return f"{len(rows):,} rows"
    levels = rows[keys].itertuples(index=False, name=None)
    return ", ".join(" ".join(str(name) for name in row if name is not None) for row in levels)


def print_answer(answer: Answer) -> None:
    """Print the headline, the forest plot-table, then the answer in sentences."""
    if not (answer.rows or answer.headline):
        return
    headline, *sentences = filter(None, (answer.headline, *answer.sentences))
    _print_sentences([answer.question])
    print_headline(headline)
    if answer.chart:
        print_chart(answer.chart)
    elif answer.rows:
        headings = [(name, i >= 4) for i, name in enumerate(COLUMNS)]
        _print_rows(headings, answer.rows, no_wrap=True)
    print()
    _print_sentences((*sentences, *answer.cautions))


def print_headline(text: str) -> None:
    """Print the one sentence to take home, in bold where the terminal can."""
    console = Console(file=sys.stdout, width=_line_width(), highlight=False)
    for line in textwrap.wrap(printable(text), console.width):
        console.print(Text(line, style="bold"))
    print()


def print_chart(chart: Chart) -> None:
    """Print a forest plot-table; verdicts have colours where the terminal has."""
    console = Console(file=sys.stdout, width=_line_width(), highlight=False)
    can_draw = (console.encoding or "").lower().startswith("utf")
    for line in draw_chart(chart, console.width):
        line.plain = printable(line.plain if can_draw else line.plain.translate(ASCII))
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _line_width() -> int | None:
    """The width of a line: that of the terminal, or one that never changes."""
    return None if sys.stdout.isatty() else _PLAIN_WIDTH


def print_table(
    question: str,
    table: pd.DataFrame,
    design: Design | None = None,
    metadata: StudyMetadata | None = None,
    chart: Chart | None = None,
) -> None:
    """Print the main columns of the answer to a question, then what it rests on.

    ``design`` is what the question was about; with it effects are drawn as a forest plot, by
    default a ``chart`` of them with the strengths in ``metadata``, and the advice says what another
    look costs.
    """
    if table.empty:
        print("nothing to tell")
        return
    if question == "effects" and design is not None and "task" not in table:
        print_chart(chart or outline_effects(table, design, metadata))
        print()
        _print_sentences(explain_effects(table, design))
        return
    columns = question_columns(question, table)
    headings = [(column.heading, column.sort is not None) for column in columns]
    _print_rows(headings, _write_rows(columns, table))
    if question == "divergence" and not table[["only_level", "only_control"]].to_numpy().any():
        print("In no pair did one run diverge alone: advantage is of losses only.")
    _print_sentences(list_notes(question, table))
    if question == "verdicts" and "task" not in table:
        _print_sentences([advise_seeds(table.assign(seeds=table["n"]), design)])


def print_floors(timings: pd.DataFrame) -> None:
    """Print by how much the control's time differs from itself."""
    _print_sentences(map(describe_noise_floor, noise_floor(timings).itertuples()))


def _print_rows(
    headings: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]], *, no_wrap: bool = False
) -> None:
    """Print rows below headings, which say whether a column is of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, is_number in headings:
        justify: JustifyMethod = "right" if is_number else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=is_number and no_wrap)
    for row in rows:
        table.add_row(*map(printable, row))
    width = None if sys.stdout.isatty() else _WIDTH
    Console(file=sys.stdout, width=width, markup=False).print(table)


def _print_sentences(sentences: Iterable[str]) -> None:
    width = min(100, Console(file=sys.stdout).width) if sys.stdout.isatty() else 100
    for sentence in filter(None, sentences):
        print(textwrap.fill(printable(sentence), width))


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV, in which no text controls a terminal or is a formula of a spreadsheet."""
    columns = {name: _quote_formula(name) for name in table.columns}
    return str(table.map(_quote_formula).rename(columns=columns).to_csv(index=False))


def _quote_formula(value: object) -> object:
    """Quote what a spreadsheet would take for a formula (OWASP's advice on CSV injection)."""
    if not isinstance(value, str):
        return value
    is_formula = value.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    return printable(f"'{value}" if is_formula else value)


def to_json(table: pd.DataFrame) -> str:
    """A JSON list with one object per row; missing values are null."""
    rows = [
        {str(name): _to_plain(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    return json.dumps(rows, indent=1) + "\n"


def _to_plain(value: Any) -> object:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(question: str, table: pd.DataFrame) -> str:
    """A table of GitHub's Markdown with the main columns, and notes below."""
    columns = question_columns(question, table)
    rows = [[_escape_markdown(column.heading) for column in columns], ["---"] * len(columns)]
    rows += [[_escape_markdown(text) for text in row] for row in _write_rows(columns, table)]
    body = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return body + "".join(f"\n{_escape_markdown(note)}\n" for note in list_notes(question, table))


def _escape_markdown(text: str) -> str:
    """Escape what would be a tag, a character of HTML, a link or code; "< 0.001" is none."""
    text = re.sub(r"&(?=[#\w])", "&amp;", _to_line(text))
    return re.sub(r"([\\|\[\]`*])", r"\\\1", re.sub(r"<(?=\S)", "&lt;", text))


def to_latex(question: str, table: pd.DataFrame) -> str:
    """A table of LaTeX (booktabs) with the main columns, and notes below."""
    columns = question_columns(question, table)
    rows = [[_escape_latex(text) for text in row] for row in _write_rows(columns, table)]
    headings = [_escape_latex(column.heading) for column in columns]
    texts = pd.DataFrame(rows, columns=headings, dtype=object).style.hide(axis="index")
    sides = "".join("l" if column.sort is None else "r" for column in columns)
    body = texts.to_latex(hrules=True, column_format=sides)
    notes = "".join(
        f"\n\\smallskip\n{_escape_latex(note)}\n" for note in list_notes(question, table)
    )
    return f"% needs \\usepackage{{booktabs}}\n{body}{notes}"


def _escape_latex(text: str) -> str:
    return _to_line(text).translate(_LATEX)


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": "$<$", ">": "$>$", MINUS: "$-$", TIMES: r"$\times$", "\N{PLUS-MINUS SIGN}": r"$\pm$",
        NARROW: r"\,", **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)  # fmt: skip


def _to_line(text: str) -> str:
    return printable(" ".join(text.splitlines()).replace("\t", " "))


FORMATS: dict[str, Callable[[str, pd.DataFrame], str]] = {
    "csv": lambda _, table: to_csv(table),
    "json": lambda _, table: to_json(table),
    "markdown": to_markdown,
    "latex": to_latex,
}
