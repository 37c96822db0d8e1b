"""Study to runs: each run once, and the reason of each skipped run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ablations.study.configuration import Run
from ablations.study.study import Study


@dataclass(frozen=True)
class ExpandedGrid:
    """All runs of a study in order: those to train, and skipped runs with the reason."""

    runs: tuple[Run, ...]
    skipped: tuple[tuple[Run, str], ...]

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """The ids of all runs, including skipped runs."""
        return frozenset(run.run_id for run in (*self.runs, *(run for run, _ in self.skipped)))

    def __len__(self) -> int:
        return len(self.runs) + len(self.skipped)


def expand(study: Study) -> ExpandedGrid:
    """Return all runs of a study, ordered by configuration, then seed."""
    runs = [Run(c, seed) for c in study.configurations for seed in study.seeds]
    trainable = tuple(run for run in runs if run.configuration.skip is None)
    skipped = tuple((run, reason) for run in runs if (reason := run.configuration.skip))
    return ExpandedGrid(trainable, skipped)
