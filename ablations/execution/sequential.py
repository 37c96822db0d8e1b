"""As many seeds as it takes: more are added only while something is undecided.

Looking after every seed calls a fifth of all null techniques significant.  Here the looks are few
and stated before the first, in the study itself, and each is judged at the level over their number
(Bonferroni), so that all of them together err no more often than one.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from pathlib import Path
from typing import Any

from ablations.analysis import UNDECIDED
from ablations.analysis.power import min_seeds
from ablations.analysis.results import Results
from ablations.core.errors import RequestError
from ablations.execution import run as pipeline
from ablations.execution.progress import Live, Reporter
from ablations.results import store
from ablations.study.parsing import parse_seeds
from ablations.study.study import ALPHA, Study

LOOKS = 3
MOST = 40
"""Seeds at which it ends, decided or not, unless somebody says otherwise."""


def looks(first: int, most: int) -> tuple[int, ...]:
    """At most three numbers of seeds from the first to the most, each as many times the last."""
    return tuple(sorted({first, round(math.sqrt(first * most)), most}))


def planned(study: Study, most: int = MOST) -> Study:
    """The study with its looks stated, and the seeds of the first.

    Raises
    ------
    RequestError
        If ``most`` is fewer than the first look needs for any verdict.
    """
    first = max(len(study.seeds), min_seeds(ALPHA / LOOKS))
    if most < first:
        message = f"expected at least the {first} seeds of the first look, found {most}"
        raise RequestError(message, "--max-seeds")
    return _with_seeds(study, first, looks(first, most))


def _with_seeds(study: Study, count: int, stated: tuple[int, ...]) -> Study:
    """The study with its own seeds first, and then the next numbers that are none of them."""
    taken = set(study.seeds)
    others = (n for n in itertools.count() if n not in taken)
    numbers = [*study.seeds, *itertools.islice(others, max(0, count - len(study.seeds)))]
    return study.replace(seeds=numbers[:count], looks=stated)


def run(
    study: Study,
    out: Path | str | None = None,
    *,
    max_seeds: int = MOST,
    with_report: bool = True,
    reporter: Reporter | None = None,
    **how: Any,
) -> tuple[Study, Results]:
    """Run a study with more and more seeds, until every contrast is decided or ``max_seeds`` are
    there.

    The same call continues: what is trained is looked at again, and changes nothing.

    Parameters
    ----------
    how
        Of ``pipeline.run``.

    Returns
    -------
    study, results
        The study as it ended, and its runs.

    Raises
    ------
    RequestError
        As ``pipeline.run`` and ``planned`` do; or if other looks were stated for the folder.
    """
    folder = pipeline.folder_of(study, out)
    now = planned(study, max_seeds)
    for number, count in enumerate(now.looks, 1):
        if count < _reached(folder):
            continue  # it was looked at, and went on
        now = _with_seeds(study, count, now.looks)
        told = reporter or Live()
        results = pipeline.run(now, folder, with_report=False, reporter=told, **how)
        verdicts = pipeline.effects(now, results).effects["verdict"]
        left = int((verdicts == UNDECIDED).sum())
        said = f"{left} of {len(verdicts)} undecided at a level of {now.alpha:.2g}"
        told.say(f"look {number} of {len(now.looks)}, {count} seeds: {said}")
        if not left:
            break
    if with_report:
        results = pipeline.run(now, folder, reporter=reporter, **(how | {"force": False}))
    return now, results


def _reached(folder: Path) -> int:
    """The seeds of the look that a folder is at; 0 where it has not begun."""
    if not store.is_results(folder) or not (folder / "study.toml").is_file():
        return 0
    before = tomllib.loads(store.read_study(folder))
    return len(parse_seeds(before["seeds"])) if before.get("looks") else 0
