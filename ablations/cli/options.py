"""Options that several commands share, and words of the command line that become objects."""

from __future__ import annotations

import re
import tomllib
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
OutOption = Annotated[
    Path | None, typer.Option(help="Results folder.", show_default="results/<study>")
]
AxisOption = Annotated[
    list[str] | None,
    typer.Option(help="Replace an axis' levels: norm=none,layer. May be given again."),
]


def parse_seconds(text: str, key: str) -> float:
    """The seconds of ``90``, ``90s``, ``10m`` or ``1h30m``.

    >>> parse_seconds("1h30m", "--budget")
    5400.0
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    numbers = [float(number or 0) for number in match.groups()] if match else [0.0]
    seconds = sum(number * unit for number, unit in zip(numbers, (3600, 60, 1), strict=False))
    if not 0 < seconds < 1e7:
        raise RequestError(f"expected a time such as 90s, 10m or 1h30m, found '{text}'", key)
    return seconds


def parse_study(
    name: str, seeds: str | None, axes: list[str], epochs: int | None, *, trust: bool = False
) -> Study:
    """The study that the command line requests; each of ``axes`` is ``norm=none,layer``.

    ``trust`` says whether code that the study of a results folder names may run.
    """
    from ablations.execution.trust import load_study
    from ablations.study.parsing import parse_seeds
    from ablations.study.study import Study, shipped_studies

    is_folder = name not in shipped_studies() and Path(name).is_dir()
    study = load_study(Path(name), trust=trust) if is_folder else Study.find(name, trust=trust)
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


def parse_levels(text: str) -> Any:
    """Levels from ``none,layer`` or ``0.1,1e-3``, or from a TOML list in brackets."""
    if text.strip() == "available":
        return "available"
    if text.lstrip().startswith("["):
        try:
            document = tomllib.loads(f"levels = {text}")
        except (ValueError, RecursionError) as error:
            raise RequestError(f"not a TOML list: {error}") from None
        if set(document) != {"levels"}:
            raise RequestError(f"more than one TOML list: {text!r}")
        return document["levels"]
    return [_parse_number(word.strip()) for word in text.split(",") if word.strip()]


def _parse_number(word: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return word
