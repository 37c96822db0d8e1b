from __future__ import annotations

import pytest

from ablations.report.precision import align_decimals

MINUS, NARROW, TIMES = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("texts", "values", "expected"),
    [
        (["0.0957", "0.1018", "2.31"], [0.0957, 0.10177, 2.3081], ["0.0957", "0.1018", "2.3081"]),
        (
            [f"{MINUS}0.86{NARROW}%", f"+1.7{NARROW}%", f"+114{NARROW}%"],
            [-0.0086, 0.0171, 1.143],
            [f"{MINUS}0.9{NARROW}%", f"+1.7{NARROW}%", f"+114.3{NARROW}%"],
        ),
        ([f"{TIMES}1.20", f"{TIMES}12.3"], [0.2, 11.34], [f"{TIMES}1.2", f"{TIMES}12.3"]),
        (["0.756", "< 0.001", "one seed"], [0.756, 0.0002, 1.0], ["0.756", "< 0.001", "one seed"]),
        ([f"{MINUS}0.04 *", "+1.2", "+3.4"], [-0.04, 1.2, 3.4], ["0.0 *", "+1.2", "+3.4"]),
        (["0.00012", "1234"], [0.00012, 1234.0], ["0.00012", "1234"]),
        (["1.2e-05", "0.3"], [1.2e-5, 0.3], ["1.2e-05", "0.3"]),
        (["8/16", "12/16"], [8.0, 12.0], ["8/16", "12/16"]),
        ([], [], []),
    ],
)  # fmt: skip
def test_a_column_has_one_precision(
    texts: list[str], values: list[float], expected: list[str]
) -> None:
    assert align_decimals(texts, [[value] for value in values]) == expected


def test_both_ends_of_an_interval_are_aligned() -> None:
    texts = ["0.0824 to 0.1081", "0.110 to 1.25", "\N{EN DASH}"]
    values = [[0.08244, 0.10811], [0.1101, 1.2512], []]
    assert align_decimals(texts, values) == [
        "0.082 to 0.108", "0.110 to 1.251", "\N{EN DASH}",
    ]  # fmt: skip
