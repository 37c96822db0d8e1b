"""What the report must be told because no table says it: plain words and numbers, no technique, no
task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
class Story:
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
