"""Whether the seeds of a study repeat splits: what it says, what a stored one meant, what fits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ablations.core.errors import RequestError
from ablations.core.splits import Splits, split_seed
from ablations.study.configuration import splits_one_table
from ablations.study.parsing import parse_seeds
from ablations.tasks.base import Task


def repeats_splits(splits: Splits, task: Task, vary: Collection[str]) -> bool:
    """Whether some seeds repeat the splits of others: with the same initial weights they would be
    the same runs.
    """
    return _can_repeat(task, vary) and splits != "own"


def check_splits(splits: Splits, tasks: Iterable[Task], vary: Collection[str]) -> None:
    """Refuse to repeat splits that cannot be, of any of some tasks."""
    if splits == "repeated" and not any(_can_repeat(task, vary) for task in tasks):
        message = "no two seeds can repeat a split here: seeds would have to split one table at"
        message += " random, and to vary initial weights as well"
        raise RequestError(f"{message}; leave it out", "splits")


def stated_splits(
    splits: Splits, tasks: Iterable[Task], vary: Collection[str], seeds: Iterable[int]
) -> dict[str, str]:
    """Return the key of a study, as it is stored; nothing where no key says the same."""
    is_possible = any(_can_repeat(task, vary) for task in tasks)
    matters = bool(splits) or any(map(_repeats, seeds))
    return {"splits": splits or "repeated"} if is_possible and matters else {}


def stored_splits(study: Mapping[str, Any]) -> Splits:
    """Return what a stored study says: without the key, each seed had a split of its own if
    another version would have let some repeat others.
    """
    try:
        seeds = parse_seeds(study.get("seeds"))
    except RequestError:
        return ""
    splits: Splits = study.get("splits", "own" if any(map(_repeats, seeds)) else "")
    return splits


def _can_repeat(task: Task, vary: Collection[str]) -> bool:
    return {"split", "init"} <= set(vary) and splits_one_table(task, ())


def _repeats(seed: int) -> bool:
    return split_seed(seed) != seed
