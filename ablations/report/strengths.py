"""Techniques and settings as a reader needs them: with their nouns, and with their strength."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from ablations.report.formatting import TIMES, join_words
from ablations.results.metadata import StudyMetadata, label

NOUNS = {"norm": "norm", "init": "init", "schedule": "schedule"}
"""Axes whose levels are named with a noun behind them: ``layer norm``."""
BARE = frozenset({"regularizer", "device"})
"""Axes whose levels say by themselves what they are."""
AXIS_WORDS = {"lr": "learning rate", "batch_size": "batch size", "dtype": "number format"}
TECHNIQUE_AXES = frozenset({*NOUNS, *BARE})


def name_axis(axis: str) -> str:
    """Name an axis: ``batch size``."""
    return AXIS_WORDS.get(axis, axis.replace("_", " "))


def name_axes(axes: str) -> str:
    """Name axes that are joined by commas: ``the init and the batch size``."""
    return join_words([f"the {name_axis(axis)}" for axis in axes.split(", ")])


def name_source(source: str) -> str:
    """Name a source of variance, an axis or several that are crossed: ``norm × batch size``."""
    return f" {TIMES} ".join(map(name_axis, source.split(f" {TIMES} ")))


def name_kind(axes: Iterable[str]) -> str:
    """Say what the levels of some axes are: techniques, settings or both."""
    are_techniques = {axis in TECHNIQUE_AXES for axis in axes}
    if are_techniques == {True}:
        return "technique"
    return "setting" if are_techniques == {False} else "technique or setting"


def name_base(axis: str, level: str) -> str:
    """The level without the parameters in its label; of a technique with spaces."""
    if axis in TECHNIQUE_AXES:
        return " + ".join(each.split("(")[0].strip() for each in level.split("+")).replace("_", " ")
    return level


def name_level(axis: str, level: object, metadata: StudyMetadata | None = None) -> str:
    """Name a level: ``layer norm``, ``dropout (p 0.5, 0.2)``, ``learning rate 0.1``.

    With ``metadata`` it has its strength, without only the parameters in its label.
    """
    text = label(level)
    base, noun = name_base(axis, text), NOUNS.get(axis, "")
    if axis not in TECHNIQUE_AXES:
        base = f"{name_axis(axis)} {base}".strip()
    elif base == "none":
        base = f"no {noun or name_axis(axis)}"
    elif noun and not base.endswith(noun):
        base = f"{base} {noun}"
    strength = metadata.strengths.get(axis, {}).get(text, "") if metadata else ""
    _, parenthesis, parameters = strength.partition(" (")
    if not parenthesis and axis in TECHNIQUE_AXES and (values := re.findall(r"\(([^()]*)\)", text)):
        # Parameters in the label tell it from others of the same technique.
        return f"{base} ({re.sub('=', ' ', re.sub('[][]', '', ', '.join(values)))})"
    return f"{base}{parenthesis}{parameters}"


def name_rows(rows: pd.DataFrame) -> list[str]:
    """Name the levels of rows that have ``axis`` and ``level``."""
    return [name_level(*each) for each in zip(rows["axis"], rows["level"], strict=True)]


def name_within(axis: str, level: object, metadata: StudyMetadata | None = None) -> str:
    """Name a level where its axis is named beside it: ``layer``, ``dropout (p 0.5)``, ``0.01``."""
    _, parenthesis, parameters = name_level(axis, level, metadata).partition(" (")
    return f"{name_base(axis, label(level))}{parenthesis}{parameters}"


def row_id(axis: str, level: str) -> str:
    """Return the id of a level's row in the forest plot, for links to it."""
    return f"row-{_slug(axis)}-{_slug(level)}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def is_number(level: str) -> bool:
    """Whether a level is a number."""
    try:
        float(level)
    except ValueError:
        return False
    return True
