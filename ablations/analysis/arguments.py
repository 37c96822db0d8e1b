"""Arguments of analyses: lists of columns, and levels by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd


def check_names(argument: str, names: object) -> None:
    """Raise ``ValueError`` unless an argument is a list of different columns."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        message = f"{argument} must be a list of columns, not {names!r}"
        raise ValueError(message)  # noqa: TRY004 - as for every other wrong request
    if len(set(names)) < len(names):
        raise ValueError(f"{argument} names a column twice: {', '.join(map(str, names))}")


def check_mapping(argument: str, levels: object) -> None:
    """Raise ``ValueError`` unless an argument maps columns to levels."""
    if not isinstance(levels, Mapping):
        message = f"{argument} must map columns to levels, not {levels!r}"
        raise ValueError(message)  # noqa: TRY004 - as for every other wrong request


def check_columns(runs: pd.DataFrame, names: Sequence[str | None]) -> None:
    """Raise ``ValueError`` if a table lacks a column; None stands for no column."""
    for name in names:
        if name is not None and name not in runs:
            columns = ", ".join(map(str, runs.columns))
            raise ValueError(f"there is no column {name!r}; there are {columns}")
