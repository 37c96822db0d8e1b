"""Running statistics that still hold much of their start values when training ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ablations.execution.workers import (
    CannotSendError,
    WorkerDiedError,
    WorkerError,
    call_isolated,
)
from ablations.report.strengths import name_level
from ablations.study.configuration import Configuration
from ablations.study.study import Study
from ablations.training.cohorts import count_steps
from ablations.training.statistics import model_start_share, norm_start_share

MAX_SHARE = 0.01
"""A smaller share of the start values hardly changes a loss."""
SECONDS = 10.0
"""How long a user's code may take to build its layers."""

Share = Callable[[Configuration, float | None], float]


def describe_lagging_statistics(study: Study) -> tuple[str, ...]:
    """Return a sentence for each norm, and each model with norms of its own, whose running
    statistics have not caught up with the network when the shortest training ends.
    """
    return tuple(filter(None, (_describe(*case) for case in _shortest_trainings(study))))


def _shortest_trainings(study: Study) -> Iterator[tuple[str, Configuration, Share]]:
    """Yield name, configuration and share of each norm, and of each model."""
    norms: dict[str, Configuration] = {}
    models: dict[str, Configuration] = {}
    for c in sorted(study.configurations, key=count_steps):
        if c.skip is None:
            norms.setdefault(name_level("norm", c.norm.label), c)
            if c.model.user_modules() and not c.norm.recomputes_statistics():
                models.setdefault(f"the model {c.model.title}", c)
    yield from ((name, c, norm_start_share) for name, c in norms.items())
    yield from ((name, c, model_start_share) for name, c in models.items())


def _describe(name: str, configuration: Configuration, share: Share) -> str:
    start_share, steps = _safely(share, configuration), count_steps(configuration)
    if start_share <= MAX_SHARE:
        return ""
    advice = configuration.norm.lag_advice
    leave = "1 step leaves" if steps == 1 else f"{steps:,} steps leave"
    return (
        f"With {name}, {leave} {100 * start_share:.0f} % of the start values in its running "
        "statistics. "
        "Its losses in evaluation mode are those of a network whose statistics have not caught up: "
        f"{advice}."
    )


def _safely(share: Share, configuration: Configuration) -> float:
    """Return the share; 0 if a user's code cannot tell it, which must not end this process."""
    if not (configuration.model.user_modules() or configuration.norm.user_modules()):
        return share(configuration, None)
    try:
        return call_isolated(share, configuration, SECONDS)
    except (CannotSendError, WorkerDiedError, WorkerError):
        return 0.0
