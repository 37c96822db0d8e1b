"""Studies, and helpers of tests that train them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

import ablations
from ablations import Study
from ablations.execution.progress import Silent

SMALL: dict[str, Any] = {
    "task": "notebook",
    "epochs": 3,
    "batch_size": 30,
    "seeds": 3,
    "axes": {"regularizer": ["none", "dropout"], "norm": ["none", "batch"]},
}
VARYING = ["train_seconds"]


def run(study: Study, out: Path, **options: Any) -> ablations.Results:
    defaults: dict[str, Any] = {"with_report": False, "reporter": Silent(), "jobs": 1}
    return ablations.run(study, out, **(defaults | options))


class Heard(Silent):
    """A reporter that records statuses and lines."""

    def __init__(self) -> None:
        self.trained: Counter[str] = Counter()
        self.lines: list[str] = []

    def update(self, statuses: Counter[str]) -> None:
        self.trained += statuses

    def say(self, line: str) -> None:
        self.lines.append(line)


def numbers(results: ablations.Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of runs and curves without measured times."""
    return results.runs.drop(columns=VARYING), results.curves


def same(results: ablations.Results, expected: ablations.Results) -> None:
    """Assert that two results have the same numbers, bit for bit."""
    for table, expected_table in zip(numbers(results), numbers(expected), strict=True):
        pd.testing.assert_frame_equal(table, expected_table, check_exact=True)
