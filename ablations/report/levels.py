"""Levels as the report writes them: as text, and in the study's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablations.report.story import Story

NOT_SET = "not set"
"""The level of a run that lacks an axis, which other grids of its study have."""


def label(value: object) -> str:
    """Write a level as text: ``0.001``, ``64`` (also where a column of numbers made it 64.0),
    ``dropout``.
    """
    if pd.isna(value):
        return NOT_SET
    if isinstance(value, (float, np.floating)):
        plain = float(value)
        return str(int(plain)) if plain.is_integer() and abs(plain) < 1e15 else repr(plain)
    return str(value)


def with_text_levels(runs: pd.DataFrame, axes: tuple[str, ...]) -> pd.DataFrame:
    """Replace the levels on ``axes`` by their text, so that mixed columns compare and sort like
    any other.
    """
    texts = {}
    for axis in axes:
        codes, values = pd.factorize(runs[axis], use_na_sentinel=False)
        texts[axis] = np.array([label(value) for value in values], dtype=object)[codes]
    return runs.assign(**texts)


def levels_in_order(found: pd.Series, story: Story, axis: str) -> tuple[str, ...]:
    """The levels of an axis that there are, those of the study first, in its order."""
    present = set(found)
    told = [label(level) for level in story.levels.get(axis, ())]
    return tuple(dict.fromkeys([*(level for level in told if level in present), *sorted(present)]))


def in_order(
    table: pd.DataFrame,
    levels: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[str, str]] = (("axis", "level"),),
) -> pd.DataFrame:
    """Put the rows of a table of levels into the study's order, by ``pairs`` of columns that hold
    an axis and a level of it.
    """
    axes = list(levels)
    place = {(axis, level): i for axis, order in levels.items() for i, level in enumerate(order)}
    if table.empty:
        return table
    columns = [zip(table[axis], table[level], strict=True) for axis, level in pairs]
    rows = list(zip(*columns, strict=True))

    def key(row: int) -> tuple[int, ...]:
        named = rows[row]
        return (*(axes.index(axis) for axis, _ in named), *(place[pair] for pair in named))

    return table.iloc[sorted(range(len(table)), key=key)].reset_index(drop=True)
