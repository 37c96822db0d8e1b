"""Levels as a reader needs them: a technique with its strength, a setting with its name."""

from __future__ import annotations

import re

from ablations.results.metadata import StudyMetadata

SETTINGS = frozenset({"lr", "batch_size", "epochs", "dtype"})
"""Axes whose levels mean nothing without the axis' name."""


def describe_level(metadata: StudyMetadata | None, axis: str, level: str) -> str:
    """Write a level with its strength: ``dropout (p 0.5, 0.2)``, ``lr 0.01``.

    The strengths are those in the metadata; folders of earlier versions have none, and show the
    level as it is.
    """
    strengths = metadata.strengths if metadata else {}
    if text := strengths.get(axis, {}).get(level):
        return text
    if axis in SETTINGS or _is_number(level):
        return f"{axis} {level}"
    return level


def describe_within(metadata: StudyMetadata | None, axis: str, level: str) -> str:
    """Write a level where the axis is named beside it: ``0.01``."""
    return describe_level(metadata, axis, level).removeprefix(f"{axis} ")


def row_id(axis: str, level: str) -> str:
    """Return the id of a level's row in the forest plot, for links to it."""
    return f"row-{_slug(axis)}-{_slug(level)}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def _is_number(level: str) -> bool:
    try:
        float(level)
    except ValueError:
        return level in ("True", "False", "true", "false")
    return True
