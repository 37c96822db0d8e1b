"""Columns may be called anything: a table's own names never meet those of whoever brings it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import pandas as pd

P = ParamSpec("P")
_MARK = "\ue000"
"""A character of the private use area, which no column begins with but ours."""
_NAMED = ("block", "status")
_LISTED = ("factors", "axes", "tune_over")
_KEYED = ("controls", "full", "control", "one", "other")


def any_names(function: Callable[P, pd.DataFrame]) -> Callable[P, pd.DataFrame]:
    """Let a function of a long table work on columns under names of their own.

    Its arguments that name columns are checked: they must be lists (or mappings), of columns that
    are there, each named once.  Texts and columns of what it returns have the names that were
    given; a factor that is called like one of the function's own columns gets ``factor `` before
    its name.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        runs = given["runs"]
        if any(str(column).startswith(_MARK) for column in runs.columns):
            return function(*args, **kwargs)  # called by one that has done this
        names = _columns(given, runs)
        marked = {name: f"{_MARK}{name}" for name in names}
        given["runs"] = runs.rename(columns=marked)
        for argument in _NAMED:
            if given.get(argument) is not None:
                given[argument] = marked.get(given[argument], given[argument])
        for argument in _LISTED:
            if argument in given:
                given[argument] = [marked.get(name, name) for name in given[argument]]
        for argument in _KEYED:
            if given.get(argument) is not None:
                found = given[argument].items()
                given[argument] = {marked.get(name, name): level for name, level in found}
        try:
            return _unmarked(function(*bound.args, **bound.kwargs))
        except ValueError as error:
            said = str(error).replace(_MARK, "").replace(repr(_MARK)[1:-1], "")
            raise ValueError(said) from None

    return checked


def _columns(given: Mapping[str, Any], runs: pd.DataFrame) -> list[str]:
    """The columns that play a part, checked."""
    block, outcome = given.get("block"), given.get("outcome")
    factors: list[str] = []
    for argument in _LISTED:
        listed = given.get(argument, [])
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise ValueError(  # noqa: TRY004 - as for every other wrong request
                f"{argument} must be a list of columns, not {listed!r}"
            )
        if len(set(listed)) < len(listed):
            raise ValueError(f"{argument} names a column twice: {', '.join(map(str, listed))}")
        if argument != "tune_over":
            factors += listed
    for argument in _KEYED:
        if given.get(argument) is not None and not isinstance(given[argument], Mapping):
            raise ValueError(f"{argument} must map columns to levels, not {given[argument]!r}")
    for name in (*factors, block, outcome):
        if name is not None and name not in runs:
            there = ", ".join(map(str, runs.columns))
            raise ValueError(f"there is no column {name!r}; there are {there}")
    if block is not None and block in factors:
        raise ValueError(f"{block!r} is the block, and cannot be a factor as well")
    if block is not None and runs[block].isna().any():
        raise ValueError(f"the block {block!r} is missing in {int(runs[block].isna().sum())} rows")
    status = given.get("status")
    controls = [name for name in given.get("controls") or {} if name in runs]
    named = dict.fromkeys([*factors, *controls])
    if block is not None:
        named[block] = None
    return [str(name) for name in named if name not in (outcome, status)]


def _unmarked(table: pd.DataFrame) -> pd.DataFrame:
    plain = [str(name).replace(_MARK, "") for name in table.columns]
    own = {name for name in table.columns if not str(name).startswith(_MARK)}
    table.columns = pd.Index(
        [
            f"factor {name}" if str(marked).startswith(_MARK) and name in own else name
            for name, marked in zip(plain, table.columns, strict=True)
        ]
    )
    for place, (name, kind) in enumerate(zip(table.columns, table.dtypes, strict=True)):
        if pd.api.types.is_object_dtype(kind) or isinstance(kind, pd.StringDtype):
            column = table.iloc[:, place]
            if column.map(lambda value: isinstance(value, str) and _MARK in value).any():
                table[name] = column.map(
                    lambda value: value.replace(_MARK, "") if isinstance(value, str) else value
                )
    return table
