"""As many seeds as it takes: more are added only while something is undecided.

Looking after every seed calls a fifth of all null techniques significant.  Here the interim
analyses ("looks") are few and stated before the first, in the study itself, and each is tested at
the level divided by their number (Bonferroni), so that all of them together err no more often than
one.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from dataclasses import replace
from pathlib import Path

from ablations.core.errors import RequestError
from ablations.core.files import read_parsed
from ablations.execution.options import RunOptions
from ablations.execution.progress import Live, Reporter
from ablations.execution.run import RunOutcome, results_folder, run_study
from ablations.results import store
from ablations.study.parsing import parse_seeds
from ablations.study.study import ALPHA, Study

LOOKS = 3
MAX_SEEDS = 40  # the last look's number of seeds, unless the user requests another


def looks(first: int, last: int) -> tuple[int, ...]:
    """At most three numbers of seeds from the first to the last, at equal ratios."""
    return tuple(sorted({first, round(math.sqrt(first * last)), last}))


def with_looks(study: Study, max_seeds: int = MAX_SEEDS) -> Study:
    """The study with its looks stated, and the seeds of the first.

    ``max_seeds`` must be enough for any verdict at the first look.
    """
    from ablations.analysis.inference import min_seeds

    first = max(len(study.seeds), min_seeds(ALPHA / LOOKS))
    if max_seeds < first:
        message = f"expected at least the {first} seeds of the first look, found {max_seeds}"
        raise RequestError(message, "--max-seeds")
    return _with_seeds(study, first, looks(first, max_seeds))


def _with_seeds(study: Study, count: int, numbers: tuple[int, ...]) -> Study:
    """The study with its own seeds first, and then the next numbers that are not among them."""
    others = (n for n in itertools.count() if n not in study.seeds)
    seeds = [*study.seeds, *itertools.islice(others, max(0, count - len(study.seeds)))]
    return study.replace(seeds=seeds[:count], looks=numbers)


def run_until_decided(
    study: Study,
    out: Path | str | None = None,
    options: RunOptions | None = None,
    *,
    max_seeds: int = MAX_SEEDS,
    reporter: Reporter | None = None,
) -> RunOutcome:
    """Run a study with more and more seeds, until every contrast is decided or ``max_seeds`` are
    reached.

    The same call continues: what is trained is analysed again, and changes nothing.  A folder for
    which other looks were stated is refused.  Returns the outcome of the last look.
    """
    from ablations.analysis.verdicts import UNDECIDED

    options, reporter = options or RunOptions(), reporter or Live()
    folder = results_folder(study, out)
    study, outcome = with_looks(study, max_seeds), None
    for number, count in enumerate(study.looks, 1):
        if count < _current_look(folder):
            continue  # its analysis was undecided
        study = _with_seeds(study, count, study.looks)
        look_options = replace(options, with_report=False)
        outcome = run_study(study, folder, look_options, reporter, keep_workers=True)
        verdicts = outcome.verdicts
        undecided = int((verdicts == UNDECIDED).sum())
        reporter.say(
            f"look {number} of {len(study.looks)}, {count} seeds: {undecided} of {len(verdicts)} "
            f"undecided at a level of {study.alpha:.2g}"
        )
        if not undecided:
            break
    if options.with_report or outcome is None:
        outcome = run_study(study, folder, replace(options, force=False), reporter)
    return outcome


def _current_look(folder: Path) -> int:
    """The seeds of the look that a folder has reached; 0 before the first."""
    path = folder / store.STUDY_FILE
    if not store.is_results(folder) or not path.is_file():
        return 0
    stored = read_parsed(path, tomllib.loads)  # without its seal: the command writes it again
    return len(parse_seeds(stored.get("seeds"))) if stored.get("looks") else 0
