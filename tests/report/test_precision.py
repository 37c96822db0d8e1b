from __future__ import annotations

import copy
import math

import pytest

from ablations.report.columns import Column, build_table, write_p
from ablations.report.formatting import (
    NARROW,
    NOTHING,
    TIMES,
    format_change,
    format_effect,
    format_fraction,
    format_number,
    format_percent,
    format_signed,
)
from ablations.report.precision import MINUS, Number, choose_decimals, count_decimals, write_pieces

P = f"{NARROW}%"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            [format_number(x, 4) for x in (0.0957, 0.10177, 2.3081)],
            ["0.0957", "0.1018", "2.3081"],
        ),
        (
            [format_percent(x) for x in (-0.0086, 0.0171, 1.143)],
            [f"{MINUS}0.9{P}", f"+1.7{P}", f"+114.3{P}"],
        ),
        ([format_fraction(x, "ratio") for x in (0.2, 11.34)], [f"{TIMES}1.2", f"{TIMES}12.3"]),
        ([format_number(0.756), "< 0.001", "one seed"], ["0.756", "< 0.001", "one seed"]),
        ([format_signed(x) for x in (-0.0004, 12.0, 34.0)], [f"{MINUS}0.0004", "+12.0", "+34.0"]),
        ([format_number(x) for x in (0.00012, 1234.0)], ["0.000120", "1234"]),
        ([format_number(x, 2) for x in (1.2e-5, 0.3)], [f"1.2e{MINUS}05", "0.30"]),
        ([format_number(x) for x in (12.34, 1234.5)], ["12", "1,234"]),
        (["8/16", NOTHING], ["8/16", NOTHING]),
        ([format_percent(x) for x in (0.0, 0.0, 0.123)], [f"0.0{P}", f"0.0{P}", f"+12.3{P}"]),
        ([], []),
    ],
)
def test_a_column_has_one_precision(texts: list[str], expected: list[str]) -> None:
    decimals = choose_decimals(texts)
    assert [write_pieces([text], decimals) for text in texts] == expected


def test_a_number_reads_as_it_is_written() -> None:
    number = Number(-1234.56, 1, "~", " s", is_signed=True)
    assert number == f"~{MINUS}1,234.6 s"
    assert number.with_decimals(0) == f"~{MINUS}1,235 s"
    assert copy.deepcopy(number) == number
    assert Number(-0.04, 1) == "0.0"
    assert count_decimals(9.996, 3) == 1
    assert count_decimals(0.00999, 2) == 3


def test_both_ends_of_an_interval_are_aligned() -> None:
    column = Column.interval("95 % interval", "low", "high", lambda x: format_number(x, 3))
    rows = [{"low": 0.08244, "high": 0.10811}, {"low": 0.1101, "high": 1.2512}]
    table = build_table("ends", [column], [*rows, {"low": math.nan, "high": math.nan}])
    assert table is not None
    texts = [cell.text for (cell,) in table.rows]
    assert texts == ["0.082 to 0.108", "0.110 to 1.251", NOTHING]


def test_a_column_has_one_unit() -> None:
    rows = [
        {"change": 0.05, "change_low": -0.02, "change_high": 0.125, "seeds": 8},
        {"change": 23.1, "change_low": 14.2, "change_high": 37.2, "seeds": 8},
    ]
    columns = (Column.change("change", "log"), Column.change_interval("log"))
    table = build_table("levels", columns, rows)
    assert table is not None
    changes, intervals = ([row[i].text for row in table.rows] for i in (0, 1))
    assert changes == [f"{TIMES}1.1", f"{TIMES}24.1"]
    assert intervals == [f"{TIMES}1.0 to {TIMES}1.1", f"{TIMES}15.2 to {TIMES}38.2"]
    table = build_table("levels", columns, rows[:1])
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == [f"+5.0{P}", f"{MINUS}2.0{P} to +12.5{P}"]


@pytest.mark.parametrize(
    ("p", "text"), [(8.4e-18, "< 0.001"), (0.0073, "0.007"), (1.0, "1.000"), (math.nan, NOTHING)]
)
def test_a_p_has_three_decimals(p: float, text: str) -> None:
    assert write_p(p) == text


def test_what_is_tiny_beside_another_difference_has_its_decimals() -> None:
    row = {"effect": 0.002, "low": -3.2e-05, "high": 0.0044}
    assert format_effect(row, "difference") == ["+0.002", "0.000", "+0.004"]
    assert format_signed(-3.2e-05) == f"{MINUS}3.2e{MINUS}05"


def test_a_difference_keeps_its_decimals_beside_percents() -> None:
    ends = {"change_low": 0.01, "change_high": 0.2, "low": -0.2, "high": -0.1}
    rows = [
        ends | {"change": 0.14, "effect": 0.131, "scale": "log"},
        ends | {"change": 0.02, "effect": -0.159, "scale": "difference"},
    ]
    column = Column("change", lambda row: format_change(row, row["scale"]), "effect", "number")
    table = build_table("levels", [column], rows)
    assert table is not None
    assert [cell.text for (cell,) in table.rows] == [f"+14.0{P}", f"{MINUS}0.159"]
