"""Study to runs: every run once, and why some are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ablations.study.configuration import Run

if TYPE_CHECKING:
    from ablations.study.study import Study


@dataclass(frozen=True)
class ExpandedGrid:
    """Every run of a study, in order: those to train, and those to skip with their reason."""

    runs: tuple[Run, ...]
    skipped: tuple[tuple[Run, str], ...]

    def __len__(self) -> int:
        return len(self.runs) + len(self.skipped)

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """The ids of all runs, skipped ones included."""
        return frozenset(run.run_id for run in (*self.runs, *(run for run, _ in self.skipped)))


def expand(study: Study) -> ExpandedGrid:
    """Every run of the study exactly once, ordered by configuration, then seed."""
    runs: list[Run] = []
    skipped: list[tuple[Run, str]] = []
    for configuration in study.configurations:
        members = [Run(configuration, seed) for seed in study.seeds]
        if configuration.skip is None:
            runs.extend(members)
        else:
            skipped.extend((run, configuration.skip) for run in members)
    return ExpandedGrid(tuple(runs), tuple(skipped))
