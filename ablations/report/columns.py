"""Columns of tables: how a row's cells are written, sorted and read by programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from ablations.analysis import Scale
from ablations.report.formatting import (
    INTERVAL,
    NOTHING,
    as_ratio,
    format_change,
    format_number,
    is_ratio,
    list_ends,
)
from ablations.report.precision import Number, choose_decimals, write_pieces
from ablations.report.strengths import name_axis, name_level, name_within
from ablations.report.texts import write_text

Row = Mapping[str, Any]
Parts = tuple[tuple[str, Any], ...]


def write_p(p: float) -> str:
    """Write a p with three decimals, the smallest as a bound."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else Number(p, 3)


two_digits = partial(format_number, digits=2)
four_digits = partial(format_number, digits=4)


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number behind it if it has one, its CSS classes, a note below, and
    its named parts, if the text has several, for programs that read the table.
    """

    text: str
    value: float | None = None
    style_class: str = ""
    note: str = ""
    parts: Parts = ()
    warning: str = ""
    """A sentence below the note that a reader must not miss."""
    pieces: tuple[str, ...] = ()
    """The pieces of the text, where it has several numbers."""
    note_pieces: tuple[str, ...] = ()
    """The pieces of the note, where its numbers are in the unit of the text."""

    @property
    def all_pieces(self) -> tuple[str, ...]:
        """The pieces of the text, of which it may be the only one."""
        return self.pieces or (self.text,)

    @property
    def parts_json(self) -> str:
        """The parts as JSON for the page's scripts; a missing part is empty."""
        parts = {name: "" if pd.isna(value) else str(value) for name, value in self.parts}
        return json.dumps(parts, ensure_ascii=False)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    ``format`` writes a row's cell: its text, the pieces of that, or a complete cell.  ``sort`` is
    the row's number behind the text, by its name or computed.  ``parts`` has names of the parts of
    the text, and the row's values that they hold.
    """

    heading: str
    format: Callable[[Row], str | tuple[str, ...] | Cell]
    sort: str | Callable[[Row], float] | None = None
    style_class: str = ""
    parts: Parts = ()

    @classmethod
    def text(cls, heading: str, name: str, style_class: str = "") -> Column:
        """A column of texts, written as they are."""
        return cls(heading, lambda row: str(row[name]), style_class=style_class)

    @classmethod
    def name(cls, name: str) -> Column:
        """A column of names, written as they are, which tell one row from another."""
        return cls.text(name, name, "name")

    @classmethod
    def setting(cls, axis: str) -> Column:
        """A column of the levels of one axis, or the values of one setting, in words."""
        return cls(name_axis(axis), lambda row: name_within(axis, row[axis]), style_class="name")

    @classmethod
    def level(cls, heading: str = "technique or setting") -> Column:
        """A column that names techniques and settings, as sentences do."""
        parts = (("axis", "axis"), ("level", "level"))
        return cls(heading, lambda row: name_level(row["axis"], row["level"]), None, "name", parts)

    @classmethod
    def number(cls, heading: str, name: str, write: Callable[[Any], str] = str) -> Column:
        """A column of numbers, sorted by them."""
        return cls(heading, lambda row: write(row[name]), name, "number")

    @classmethod
    def count(cls, heading: str, pattern: str, name: str, parts: Parts = ()) -> Column:
        """A column of one count and others beside it, sorted by the first."""
        return cls(heading, lambda row: pattern.format_map(row), name, "number", parts)

    @classmethod
    def interval(
        cls,
        heading: str,
        low: str,
        high: str,
        write: Callable[[Any], str],
        is_known: Callable[[Row], bool] = lambda _: True,
    ) -> Column:
        """A column of intervals, sorted by their lower ends; a dash where one is not known."""
        return cls(
            heading,
            lambda row: (
                (write(row[low]), " to ", write(row[high]))
                if is_known(row) and pd.notna(row[low])
                else NOTHING
            ),
            low,
            "number interval",
            (("low", low), ("high", high)),
        )

    @classmethod
    def estimate(
        cls,
        heading: str,
        names: tuple[str, str, str],
        write: Callable[[Sequence[float]], list[str]],
        is_known: Callable[[Row], bool] = lambda _: True,
        interval: str = INTERVAL,
    ) -> tuple[Column, Column]:
        """A column of estimates and one of their intervals, each row in one unit."""

        def write_all(row: Row) -> list[str]:
            return write([float(row[name]) for name in names])

        def write_interval(row: Row) -> str | tuple[str, ...]:
            _, low, high = write_all(row)
            return (low, " to ", high) if is_known(row) and low != NOTHING else NOTHING

        parts = (("low", names[1]), ("high", names[2]))
        return (
            cls(heading, lambda row: write_all(row)[0], names[0], "number"),
            cls(interval, write_interval, names[1], "number interval", parts),
        )

    @classmethod
    def change(
        cls, heading: str, scale: Scale, has_star: Callable[[Row], bool] = lambda _: False
    ) -> Column:
        """A column of effects, as relative changes or in the outcome's unit."""
        return cls(
            heading,
            lambda row: (format_change(row, scale), " *" if has_star(row) else ""),
            "change" if scale == "log" else "effect",
            "number",
        )

    @classmethod
    def change_interval(cls, scale: Scale, heading: str = INTERVAL) -> Column:
        """A column of the effects' intervals."""
        low, high = ("change_low", "change_high") if scale == "log" else ("low", "high")
        return cls(
            heading,
            lambda row: list_ends(row, scale),
            low,
            "number interval",
            (("low", low), ("high", high)),
        )

    def cell(self, row: Row) -> Cell:
        """Make a row's cell."""
        text = self.format(row)
        if isinstance(text, Cell):
            return text
        value = math.nan
        if self.sort is not None:
            value = float(row[self.sort] if isinstance(self.sort, str) else self.sort(row))
        parts = tuple((name, row[column]) for name, column in self.parts)
        pieces = (text,) if isinstance(text, str) else text
        number = None if math.isnan(value) else value
        return Cell("".join(pieces), number, self.style_class, parts=parts, pieces=pieces)


@dataclass(frozen=True)
class Table:
    """A caption, columns, and rows of cells."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def build_table(
    name: str, columns: Iterable[Column], rows: pd.DataFrame | Iterable[Row], **facts: Any
) -> Table | None:
    """Write every row in all columns; None where there is no row.

    The caption is the text of the table's ``name``, with ``facts`` filled in.
    """
    columns = tuple(columns)
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    cells = [[column.cell(row) for column in columns] for row in records]
    if not cells:
        return None
    by_column = [_align(column) for column in zip(*_share_unit(cells), strict=True)]
    caption = write_text(f"{name}_table", **facts)
    return Table(caption, columns, tuple(zip(*by_column, strict=True)))


def _with_precision(piece: str, by_unit: Mapping[tuple[str, str], int | None]) -> str:
    decimals = by_unit[piece.unit] if isinstance(piece, Number) else None
    return write_pieces([piece], decimals)


def _share_unit(rows: Sequence[Sequence[Cell]]) -> Sequence[Sequence[Cell]]:
    """Write all relative changes of a table as ratios where any of them is one."""
    pieces = (
        each for row in rows for cell in row for each in (*cell.all_pieces, *cell.note_pieces)
    )
    return (
        [[_as_ratios(cell) for cell in row] for row in rows] if any(map(is_ratio, pieces)) else rows
    )


def _as_ratios(cell: Cell) -> Cell:
    pieces, notes = (tuple(map(as_ratio, each)) for each in (cell.all_pieces, cell.note_pieces))
    # A text of one piece stays a number, which has a precision.
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    return replace(cell, text=text, pieces=pieces, note="".join(notes) or cell.note)


def _align(cells: Sequence[Cell]) -> list[Cell]:
    """Write the numbers of a column with one precision."""
    if not any("number" in cell.style_class.split() for cell in cells):
        return list(cells)
    pieces = [cell.all_pieces for cell in cells]
    numbers = [piece for each in pieces for piece in each if isinstance(piece, Number)]
    by_unit = {
        unit: choose_decimals(number for number in numbers if number.unit == unit)
        for unit in {number.unit for number in numbers}
    }
    texts = ["".join(_with_precision(piece, by_unit) for piece in each) for each in pieces]
    return [replace(cell, text=text) for cell, text in zip(cells, texts, strict=True)]
