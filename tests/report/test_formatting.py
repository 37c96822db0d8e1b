from __future__ import annotations

import math

import pandas as pd
import pytest

from ablations.analysis import Design
from ablations.core.files import file_names
from ablations.report.formatting import (
    format_change,
    format_count,
    format_estimate,
    format_interval,
    format_number,
    format_p,
    format_percent,
    format_plain_p,
    format_signed,
    join_words,
    round_changes,
    round_percent,
)
from ablations.report.style import ratio_ticks, wrap_name
from ablations.report.texts import describe_effects
from ablations.results.metadata import label

SPACE = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (-0.031, f"{MINUS}3.1{SPACE}%"),
        (0.0021, f"+0.21{SPACE}%"),
        (1.5, f"+150{SPACE}%"),
        (11.3, "\N{MULTIPLICATION SIGN}12.3"),
        (1e-9, f"0{SPACE}%"),
        (-0.95, "\N{MULTIPLICATION SIGN}0.050"),
        (23.1, "\N{MULTIPLICATION SIGN}24.1"),
        (-1.0, f"{MINUS}100{SPACE}%"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_percent(fraction: float, text: str) -> None:
    assert format_percent(fraction) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ((-0.89, -0.911, -0.875), "×0.11 [×0.089, ×0.12]"),
        ((8.0, 7.0, 9.5), "×9.00 [×8.00, ×10.5]"),
        ((-0.05, -0.08, 0.012), f"{MINUS}5.0{SPACE}% [{MINUS}8.0{SPACE}%, +1.2{SPACE}%]"),
        ((-0.05, math.nan, math.nan), f"{MINUS}5.0{SPACE}%"),
    ],
)
def test_a_change_and_its_interval_are_in_one_unit(
    changes: tuple[float, float, float], text: str
) -> None:
    row = dict(zip(("change", "change_low", "change_high"), changes, strict=True))
    assert format_estimate(row, "log") == text
    ends = format_interval(row | {"seeds": 8}, "log").split(" to ")
    assert all(end in text for end in ends) or math.isnan(changes[1])
    assert format_change(row, "log") == text.split(" [")[0]


def test_differences_are_in_the_unit_of_the_outcome() -> None:
    row = {"effect": 0.0123, "low": -0.002, "high": 0.03}
    assert format_estimate(row, "difference") == f"+0.012 [{MINUS}0.002, +0.030]"


def test_small_p_are_bounded() -> None:
    texts = [format_plain_p(p) for p in (1e-9, 0.0123, 0.25, math.nan)]
    assert texts == ["p < 0.001", "p = 0.012", "p = 0.25", "p unknown"]


def test_numbers() -> None:
    assert [format_number(x) for x in (0.08333, 123.4, 1e-7, 0.0)] == [
        "0.0833",
        "123",
        f"1.00e{MINUS}07",
        "0.00",
    ]
    assert [format_signed(x) for x in (0.0123, -12.34, 0.0, -2e-5)] == [
        "+0.012",
        f"{MINUS}12.3",
        "0",
        f"{MINUS}2e{MINUS}05",
    ]
    assert (format_number(math.nan), format_number(math.inf)) == ("\N{EN DASH}", "\N{INFINITY}")


def test_words() -> None:
    assert (format_count(1, "run"), format_count(2400, "run")) == ("1 run", "2,400 runs")
    assert [join_words(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_a_p_that_cannot_be_reached_is_not_printed() -> None:
    rows = [(10, True, 0.0123), (10, True, 0.0001), (5, False, 0.0625), (1, False, math.nan)]
    table = pd.DataFrame(rows, columns=["seeds", "reachable", "p_adjusted"])
    texts = [format_p(row) for _, row in table.iterrows()]
    assert texts == ["0.012", "< 0.001", "out of reach", "one seed"]


def test_labels() -> None:
    levels = [0.001, 64.0, 64, "64", None, float("nan"), 1e-5, "dropout(p=[0.5, 0.2])"]
    assert [label(level) for level in levels] == [
        "0.001", "64", "64", "64", "not set", "not set", "1e-05", "dropout(p=[0.5, 0.2])",
    ]  # fmt: skip


def test_file_names_are_safe_and_distinct() -> None:
    names = file_names(["norm", "../x", "..\\x", "<b>", "???"])
    assert len(set(names)) == 5
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.parametrize(
    ("low", "high"), [(-0.02, 0.03), (-0.5, 0.5), (-1, 3), (-2, 12), (0.0, 0.001)]
)
def test_ticks_are_round_few_and_keep_no_change(low: float, high: float) -> None:
    ticks = ratio_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert any(abs(tick) < 1e-12 for tick in ticks)
    assert all(low - 1e-9 <= math.log1p(tick) <= high + 1e-9 for tick in ticks)
    assert round_percent(0.1) == f"+10{SPACE}%"


def test_a_scale_is_written_in_one_way() -> None:
    assert round_changes([-0.5, 0, 1]) == [f"\N{MINUS SIGN}50{SPACE}%", "0", f"+100{SPACE}%"]
    assert round_changes([-0.5, 0, 4, 9]) == [
        f"\N{MULTIPLICATION SIGN}{x}" for x in (0.5, 1, 5, 10)
    ]


def test_a_verdict_by_divergence_names_the_divergence_and_not_the_survivors() -> None:
    row = {
        "axis": "norm", "level": "layer", "effect": -0.05, "change": -0.05, "verdict": "hurts",
        "seeds": 8, "pairs": 16, "diverged": 9, "control_diverged": 0,
    }  # fmt: skip
    text = describe_effects(
        pd.DataFrame([row]), Design(pd.DataFrame({"seed": [], "val_loss": []})), "technique"
    )
    assert "layer norm, which diverged in 9 of 16 runs, its control in 0" in text
    assert "5.0" not in text


def test_long_names_keep_both_ends() -> None:
    short = wrap_name("a_long_name" * 20 + "_end", 20)
    assert short.startswith("a_long_name")
    assert short.endswith("_end")
    assert len(short.splitlines()) <= 2
