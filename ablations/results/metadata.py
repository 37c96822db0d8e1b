"""Levels as the report writes them: as text, and in the study's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

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


def levels_in_order(found: pd.Series, story: StudyMetadata, axis: str) -> tuple[str, ...]:
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


Level = str | float


@dataclass(frozen=True)
class Published:
    """A loss curve printed elsewhere, and the configuration of ours that should reproduce it.

    ``where`` maps columns of the runs to values; ``objective`` holds one printed loss an epoch,
    from epoch 1.
    """

    label: str
    where: Mapping[str, object]
    objective: tuple[float, ...]


@dataclass(frozen=True)
class StudyMetadata:
    """The study in words: its axes in order, their controls, what each level is, and what should
    temper the answer.

    ``cautions`` are shown on the first screen. ``margin`` is a fraction: differences below it do
    not matter. ``captions`` maps axis -> level -> one sentence with its source. ``alpha`` is the
    level of a verdict, corrected for all ``looks``: numbers of seeds at which more could be added.
    Each configuration is judged at its best level of ``tune_over``.  ``badges`` are the cautions in
    a few words; ``costless`` the axes that change nothing of what a step costs.
    """

    study: str
    description: str
    axes: tuple[str, ...]
    controls: Mapping[str, Level]
    levels: Mapping[str, tuple[Level, ...]]
    captions: Mapping[str, Mapping[str, str]]
    cautions: tuple[str, ...]
    metric_name: str
    higher_is_better: bool
    published: tuple[Published, ...]
    margin: float
    command: str
    looks: tuple[int, ...] = ()
    alpha: float = 0.05
    tune_over: tuple[str, ...] = ()
    badges: tuple[str, ...] = ()
    costless: tuple[str, ...] = ()
