"""How figures name levels and configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.report.strengths import name_level, name_within
from ablations.results.metadata import StudyMetadata

CONTROL = "control"
CONFIGURATION = "configuration"
"""Axis of marks whose level is the number of a configuration, by its row in the table."""


@dataclass(frozen=True)
class Names:
    """Names of levels with the strengths of a study's techniques, if it is known."""

    metadata: StudyMetadata | None = None

    def short(self, axis: str, level: object) -> str:
        """Name a level where its axis is known: ``dropout (p 0.5)``, ``24``."""
        return name_within(axis, str(level), self.metadata)

    def full(self, axis: str, level: object) -> str:
        """Name a level with its axis: ``layer norm``, ``batch size 24``."""
        return name_level(axis, str(level), self.metadata)

    def configuration(
        self, row: Mapping[str, Any], factors: Sequence[str], controls: Mapping[str, Any]
    ) -> str:
        """Name a configuration by its levels other than the controls."""
        changed = [name for name in factors if row[name] != controls.get(name)]
        levels = [name_level(name, str(row[name]), self.metadata) for name in changed]
        if len(set(levels)) < len(levels):  # of two axes with one word it takes the axes to tell
            levels = [self.full(name, row[name]) for name in changed]
        return " + ".join(levels) or CONTROL


PLAIN = Names()
"""Names of levels as they are."""
