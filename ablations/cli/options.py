"""Words of the command line that become objects."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.core.errors import RequestError

if TYPE_CHECKING:
    from ablations.study.study import Study

StudyArgument = Annotated[str, typer.Argument(help="A shipped study's name, or a TOML file.")]
ResultsFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Let the study of a results folder run its own code.")
]


class Kind(StrEnum):
    """What ``list`` can list."""

    techniques = "techniques"
    tasks = "tasks"
    models = "models"
    studies = "studies"


class EngineName(StrEnum):
    """What trains the runs."""

    auto = "auto"
    fused = "fused"
    loop = "loop"


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"


class Question(StrEnum):
    """What a results folder can be asked: the methods of ``ablations.Results``."""

    effects = "effects"
    verdicts = "verdicts"
    simple_effects = "simple-effects"
    interactions = "interactions"
    aliases = "aliases"
    importance = "importance"
    one_factor = "one-factor"
    ranking = "ranking"
    winner = "winner"
    divergence = "divergence"
    tuning = "tuning"
    costs = "costs"


class Until(StrEnum):
    """When no more seeds are added."""

    decided = "decided"


class KeepWhich(StrEnum):
    """Which of two results of one run is kept."""

    first = "first"
    last = "last"


class CompileWhen(StrEnum):
    """When fused programs are compiled."""

    auto = "auto"
    always = "always"
    never = "never"


def seconds_of(words: str, key: str) -> float:
    """The seconds of ``90``, ``90s``, ``10m`` or ``1h30m``.

    >>> seconds_of("1h30m", "--budget")
    5400.0
    """
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", words.strip())
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds < 1e7:
        raise RequestError(f"expected a time such as 90s, 10m or 1h30m, found '{words}'", key)
    return seconds


def study_of(
    name: str, seeds: str | None, axes: list[str], epochs: int | None, *, trust: bool = False
) -> Study:
    """The study that the words on the command line ask for."""
    from ablations.execution.trust import load_study
    from ablations.study.parsing import parse_seeds
    from ablations.study.study import Study, shipped_studies

    is_folder = name not in shipped_studies() and Path(name).is_dir()
    study = load_study(Path(name), trust=trust) if is_folder else Study.find(name)
    try:
        if seeds is not None:
            study = study.replace(seeds=parse_seeds(seeds, "--seeds"))
        if epochs is not None:
            study = study.with_epochs(epochs)
    except RequestError as error:
        raise error.at(name) from None
    for option in axes:
        axis, equals, levels = option.partition("=")
        if not equals:
            raise RequestError(f"expected AXIS=LEVEL,LEVEL, found '{option}'", "--axis")
        try:
            study = study.with_axis(axis.strip(), parse_levels(levels))
        except RequestError as error:
            raise error.at(f"--axis {option}") from None
    return study


def parse_levels(words: str) -> Any:
    """Levels from ``none,layer`` or ``0.1,1e-3``, or from a TOML list in brackets."""
    if words.strip() == "available":
        return "available"
    if words.lstrip().startswith("["):
        try:
            found = tomllib.loads(f"levels = {words}")
        except (ValueError, RecursionError) as error:
            raise RequestError(f"not a TOML list: {error}") from None
        if set(found) != {"levels"}:
            raise RequestError(f"more than one TOML list: {words!r}")
        return found["levels"]
    return [_number(word.strip()) for word in words.split(",") if word.strip()]


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
