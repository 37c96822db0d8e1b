"""Validation of seeds, interim analyses, sources of chance and exclusions, as TOML holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ablations.core.errors import RequestError, nearest
from ablations.core.random import SOURCES, Source
from ablations.core.registry import Component
from ablations.results.metadata import Question
from ablations.study.configuration import level_label
from ablations.study.grid import Grid, check_keys, check_table, parse_axes

MAX_SEEDS = 1_000_000


def parse_seeds(value: object, key: str = "") -> tuple[int, ...]:
    """Return the seeds that ``10``, ``"0:10"`` or ``[0, 3, 7]`` describes."""
    seeds: Sequence[Any] = ()
    if isinstance(value, (list, tuple, range)):
        seeds = value
    elif isinstance(value, (int, str)) and not isinstance(value, bool):
        start, stop = _parse_range(str(value))
        if stop - start > MAX_SEEDS:
            raise RequestError(f"expected at most {MAX_SEEDS:,} seeds; found {value!r}", key)
        seeds = range(start, stop)
    is_valid = all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    if not seeds or not is_valid or len(set(seeds)) != len(seeds):
        expected = "a number of seeds, 'start:stop', or a list of different numbers from 0 up"
        raise RequestError(f"expected {expected}; found {value!r}", key)
    return tuple(seeds)


def _parse_range(text: str) -> tuple[int, int]:
    """Return start and stop of ``"10"`` or ``"2:10"``, or (0, 0) for other text."""
    start, colon, stop = text.partition(":")
    ends = (start, stop) if colon else ("0", start)
    # Python refuses to parse thousands of digits; no seed needs more than 19.
    if not all(end.strip().isdecimal() and len(end.strip()) <= 100 for end in ends):
        return 0, 0
    return int(ends[0]), int(ends[1])


def _parse_sources(value: object) -> tuple[str, ...]:
    """Return sources of chance, in the order of ``SOURCES``."""
    sources = value if isinstance(value, (list, tuple)) else [value]
    for source in sources:
        if source not in SOURCES:
            message = f"unknown source of chance {source!r}"
            raise RequestError(f"{message}; {nearest(source, SOURCES)}")
    if not sources:
        message = "something must vary, or all seeds are the same run"
        raise RequestError(f"{message}; {nearest('', SOURCES)}")
    return tuple(source for source in SOURCES if source in sources)


def _check_growing(looks: tuple[int, ...]) -> tuple[int, ...]:
    if list(looks) != sorted(set(looks)):
        raise RequestError(f"expected growing numbers of seeds, found {list(looks)}")
    return looks


Seeds = Annotated[tuple[int, ...], BeforeValidator(parse_seeds)]
Look = Annotated[int, Field(ge=2, le=MAX_SEEDS, strict=True)]
Looks = Annotated[tuple[Look, ...], Field(strict=False), AfterValidator(_check_growing)]
AxisNames = Annotated[
    tuple[str, ...], Field(strict=False), AfterValidator(lambda names: tuple(dict.fromkeys(names)))
]
MetricNames = Annotated[
    tuple[str, ...],
    Field(strict=False),
    BeforeValidator(lambda names: (names,) if isinstance(names, str) else names),
    AfterValidator(lambda names: tuple(dict.fromkeys(names))),
]
Sources = Annotated[tuple[Source, ...], BeforeValidator(_parse_sources)]


def parse_question(value: object) -> Question | None:
    """Return the question that a table describes."""
    if value is None or isinstance(value, Question):
        return value
    table = check_keys(check_table(value), [each.name for each in fields(Question)])
    for key in ("text", "axis"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise RequestError(f"expected a text, found {table.get(key)!r}", key)
    return Question(**table)


def check_question(question: Question, levels: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a question about axes or a level that a study does not have."""
    for key, axis in (("axis", question.axis), ("across", question.across)):
        if axis not in levels and (axis or key == "axis"):
            message = f"'{axis}' is no axis of this study; {nearest(axis, list(levels))}"
            raise RequestError(message, f"question.{key}")
    if question.level is not None and question.level not in levels[question.axis]:
        names = ", ".join(map(str, levels[question.axis]))
        message = f"{question.level!r} is no level of {question.axis} (levels: {names})"
        raise RequestError(message, "question.level")
    if question.across == question.axis:
        raise RequestError("an answer cannot depend on its own axis", "question.across")


def check_tuning(tune_over: Sequence[str], levels: Mapping[str, Sequence[Any]], seeds: int) -> None:
    """Refuse to tune over axes that a study lacks, over all, or with one seed."""
    if not tune_over:
        return
    message, axes = "", [axis for axis, labels in levels.items() if len(labels) > 1]
    unknown = next((axis for axis in tune_over if axis not in axes), None)
    if unknown is not None:
        message = f"'{unknown}' is no axis of several levels here; {nearest(unknown, axes)}"
    elif set(axes) <= set(tune_over):
        message = "all axes are tuned over, and none is left to compare"
    elif seeds < 2:
        message = "tuning needs at least two seeds, to choose on one half of them"
    if message:
        raise RequestError(message, "tune_over")


def parse_exclusions(
    value: object, grids: Sequence[Grid]
) -> tuple[dict[str, tuple[Any, ...]], ...]:
    """Return tables of axis to those levels of the grids that a study excludes together."""
    if not isinstance(value, (list, tuple)):
        raise RequestError(f"expected [[exclude]] tables, found {value!r}")
    return tuple(_parse_exclusion(table, grids, f"[{i}]") for i, table in enumerate(value))


def _parse_exclusion(value: object, grids: Sequence[Grid], key: str) -> dict[str, tuple[Any, ...]]:
    table = check_table(value, key)
    if not table:
        raise RequestError("an empty exclusion would leave out everything", key)
    specs = {axis: v if isinstance(v, (list, tuple)) else [v] for axis, v in table.items()}
    empty = next((axis for axis, levels in specs.items() if not levels), None)
    if empty is not None:
        raise RequestError("no levels, so this excludes nothing", f"{key}.{empty}")
    axes = parse_axes(specs, grids[0].model, key, may_repeat=True)
    exclusion: dict[str, tuple[Any, ...]] = {}
    for axis, excluded in axes.items():
        levels = dict.fromkeys(level for grid in grids for level in grid.levels(axis))
        for i, (level, spec) in enumerate(zip(excluded, specs[axis], strict=True)):
            # A bare name means all levels with that name.
            is_name = isinstance(spec, str) and isinstance(level, Component)
            matches = [v for v in levels if (v.name == level.name if is_name else v == level)]
            if not matches:
                labels = ", ".join(str(level_label(v)) for v in levels)
                message = f"'{level_label(level)}' is no level of the study"
                advice = f"so this excludes nothing (levels: {labels})"
                raise RequestError(f"{message}, {advice}", f"{key}.{axis}[{i}]")
            exclusion[axis] = (*exclusion.get(axis, ()), *matches)
    return exclusion
