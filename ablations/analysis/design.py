"""Columns may be called anything: a table's own names never meet those of whoever brings it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.results.metadata import StudyMetadata, label, levels_in_order, with_text_levels

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

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


Scale = Literal["log", "difference"]


Floats = npt.NDArray[np.float64]


Ints = npt.NDArray[np.int64]


STATED = ["n", "procedure", "assumes", "left_out"]
"""The last columns of every table of answers: how many blocks (seeds) it rests on, what was done,
what that takes for granted, and what is not in it, in words."""


def assumed(block: str) -> str:
    """What a paired comparison takes for granted, whatever the outcome."""
    return (
        f"{block}s independent of one another; p: a technique without effect is as often so much "
        f"better as so much worse in a {block}; interval: differences by {block} about normal"
    )


def on_scale(margin: float, scale: Scale) -> float:
    """A margin where the comparison is: of a fraction, the logarithm of what it multiplies by."""
    return float(np.log1p(margin)) if scale == "log" else margin


def cell_codes(levels: pd.DataFrame) -> Ints:
    """Number the distinct rows of ``levels``, one integer a distinct combination.

    Missing values are a level of their own: in a union of grids an axis that one grid does not
    have is missing there. Nothing is sorted, so levels of mixed types are welcome.
    """
    key = np.zeros(len(levels), dtype=np.int64)
    for column in levels.columns:
        code, uniques = pd.factorize(levels[column], use_na_sentinel=False)
        # Compressed after every column, so that the product of many axes never overflows.
        key, _ = pd.factorize(key * max(len(uniques), 1) + code)
    return np.asarray(key, dtype=np.int64)


def named_codes(levels: pd.DataFrame) -> Ints:
    """Number the distinct rows of ``levels`` like ``cell_codes``, in the order of their names."""
    codes = cell_codes(levels)
    named = spelled(levels.iloc[np.unique(codes, return_index=True)[1]])
    return np.argsort(np.argsort(named, kind="stable"))[codes] if len(codes) else codes


def to_observations(
    runs: pd.DataFrame,
    factors: Sequence[str],
    *,
    outcome: str = "val_loss",
    block: str = "seed",
    scale: Scale = "log",
    status: str = "status",
) -> pd.DataFrame:
    """Keep the rows that carry a result, with the result on the scale of the comparison.

    Parameters
    ----------
    runs : any long table; without a ``status`` column every row counts as ``ok``.
    factors : columns that tell one configuration from another.
    outcome, block : columns with the number to compare and the experimental unit.
    scale : ``"log"`` compares ratios (losses), ``"difference"`` compares the numbers themselves.

    Returns
    -------
    DataFrame
        The factors, ``block``, ``raw`` (the outcome as given), ``value`` (on the scale; missing
        where the run diverged) and ``diverged``. Failed, skipped and unmeasured rows are left out.

    Raises
    ------
    ValueError
        If two rows share configuration and block, a logarithm is asked of a number that has none,
        the outcome is no number, or the scale is none that there is.
    """
    if scale not in ("log", "difference"):
        raise ValueError(f"scale must be 'log' or 'difference', not {scale!r}")
    if not pd.api.types.is_numeric_dtype(runs[outcome]) and runs[outcome].notna().any():
        raise ValueError(f"{outcome!r} is no column of numbers")
    raw = runs[outcome].to_numpy(dtype=float, na_value=np.nan)
    state = runs[status].astype(object).to_numpy() if status in runs else np.full(len(runs), "ok")
    # An infinite number under another name is still a run that diverged.
    diverged = (state == "diverged") | ((state == "ok") & np.isinf(raw))
    usable = (state == "ok") & np.isfinite(raw)
    if scale == "log" and (raw[usable] <= 0).any():
        raise ValueError(
            f"{outcome!r} has values that are not positive: compare it with scale='difference'"
        )
    table = runs[[*factors, block]].copy()
    table["raw"] = np.where(usable, raw, np.nan)
    table["value"] = np.log(table["raw"]) if scale == "log" else table["raw"]
    table["diverged"] = diverged
    table = table[usable | diverged].reset_index(drop=True)
    _require_one_row_each(table, factors, block)
    return table


def _require_one_row_each(table: pd.DataFrame, factors: Sequence[str], block: str) -> None:
    doubles = int(pd.Series(cell_codes(table[[*factors, block]])).duplicated().sum())
    if doubles:
        raise ValueError(
            f"{doubles} rows repeat the configuration and {block} of another row: "
            f"name the column that tells them apart among the factors {list(factors)}"
        )


def at_level(column: pd.Series, level: object) -> npt.NDArray[np.bool_]:
    """Where a column has a level, of whatever type levels are."""
    codes, uniques = pd.factorize(column, use_na_sentinel=True)
    same = np.asarray([*(_equal(value, level) for value in uniques), False], dtype=bool)
    return np.asarray(same[codes])


def _equal(value: object, level: object) -> bool:
    if isinstance(value, bool) is not isinstance(level, bool):
        return False  # True is no 1 here
    return isinstance(value, tuple) == isinstance(level, tuple) and bool(value == level)


def fixed_order(d: Floats) -> Ints:
    """An order of the rows of ``d`` (seeds x contrasts) that follows from their numbers alone: not
    from their labels, the order of columns, the sign or the unit.
    """
    size = np.abs(np.nan_to_num(d))
    ranks = np.empty_like(size)
    for j, column in enumerate(size.T):
        ranks[:, j] = np.unique(np.round(column / (column.max() or 1.0), 9), return_inverse=True)[1]
    sums = ranks.sum(axis=1), (ranks**2).sum(axis=1), (ranks**3).sum(axis=1)
    return np.asarray(np.lexsort(sums[::-1]), dtype=np.int64)


def by_configuration(
    table: pd.DataFrame, factors: Sequence[str], block: str, column: str = "value"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spread a column of what ``measured`` gives, and say what each configuration is.

    Returns
    -------
    wide, levels
        One row a block and one column a configuration, numbered, missing where it has no number;
        and the factors' levels, one row a configuration.
    """
    table = table.assign(configuration=cell_codes(table[list(factors)]))
    levels = table.drop_duplicates("configuration").set_index("configuration")[list(factors)]
    return table.pivot(index=block, columns="configuration", values=column), levels  # noqa: PD010


def spelled(levels: pd.DataFrame) -> list[str]:
    """Each configuration as one text, by which ties are put in the same order always."""
    return [" ".join(map(str, row)) for row in levels.itertuples(index=False, name=None)]


def format_counts(*parts: tuple[int, str]) -> str:
    """Say what there is any of: ``"2 seeds, 1 pair of which one diverged"``."""
    said = []
    for n, noun in parts:
        first, space, rest = noun.partition(" ")
        if n:
            said.append(f"{int(n):,} {first}{'' if n == 1 else 's'}{space}{rest}")
    return ", ".join(said)


def done(n: pd.Series, what: str) -> list[str]:
    """What was done in each row; nothing was, where there are fewer than two blocks."""
    return [what if blocks >= 2 else "nothing, with fewer than two to compare" for blocks in n]


def varying(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of ``columns`` that take at least two values: one level is not a factor (trap
    11).
    """
    return [name for name in columns if name in runs and len(runs[name].drop_duplicates()) > 1]


OUTCOME = "val_loss"


SETTINGS = ("task", "model", "optimizer", "lr", "batch_size", "dtype", "epochs")
"""Columns that tell configurations apart even where no axis names them: the study ``cells`` trains
each of its configurations for a number of epochs of its own."""


@dataclass(frozen=True, eq=False)
class Design:
    """What is compared with what.

    Attributes
    ----------
    runs
        Any long table, one row a run; without a ``status`` column every row counts as ``ok``.
    factors
        Every column that tells one configuration from another, the axes included.
    controls
        Axis to its control level.
    outcome, block
        Columns with the number to compare and the experimental unit.
    scale
        ``"log"`` compares ratios (losses), ``"difference"`` compares the numbers themselves.
    margin
        Differences below it do not matter: a fraction on the log scale, the outcome's unit
        otherwise.
    alpha
        The level of a verdict.
    axes
        Axes of the study with at least two levels that ran, those tuned over included.
    levels
        Axis to its levels, in the study's order.
    looks
        Numbers of seeds at which more could be added; ``alpha`` is corrected for all of them.
    tune_over
        Axes at whose best level each configuration is compared.
    untuned
        The design before it was tuned over these axes; the design itself where it was not.
    """

    runs: pd.DataFrame
    factors: tuple[str, ...] = ()
    controls: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = OUTCOME
    block: str = "seed"
    scale: Scale = "log"
    higher_is_better: bool = False
    margin: float = 0.02
    alpha: float = 0.05
    status: str = "status"
    axes: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    tune_over: tuple[str, ...] = ()
    source: Design | None = None

    @property
    def bound(self) -> float:
        """The margin on the scale of the effects."""
        return on_scale(self.margin, self.scale)

    @property
    def untuned(self) -> Design:
        return self.source or self

    @classmethod
    def from_runs(cls, results: StoredResults, metadata: StudyMetadata) -> Design:
        """Find the axes, factors and controls that the runs of ``results`` offer.

        Levels are text throughout; losses are compared as ratios, unless one of them is zero or
        negative.
        """
        names = tuple(name for name in metadata.axes if name in results.runs)
        # In an order of their own, so that the same runs give the same bytes however stored.
        runs = with_text_levels(results.runs.sort_values("run_id", kind="stable"), names)
        losses = runs.loc[runs["status"] == "ok", OUTCOME].astype(float)
        scale: Scale = "difference" if (losses <= 0).any() else "log"
        ended = runs[runs["status"].isin(["ok", "diverged", "failed"])]
        # A level of which no run ended is still a level of the study.
        planned_axes = varying(runs, names)
        controls = {
            axis: label(metadata.controls[axis])
            for axis in planned_axes
            if axis in metadata.controls
        }
        size = 1.0 if scale == "log" else typical_size(runs, controls, OUTCOME)
        return cls(
            runs,
            factors=tuple(varying(runs, list(dict.fromkeys([*names, *SETTINGS])))),
            controls=controls,
            scale=scale,
            margin=metadata.margin * size,
            alpha=metadata.alpha,
            axes=tuple(varying(ended, names)),
            levels={axis: levels_in_order(runs[axis], metadata, axis) for axis in planned_axes},
            looks=metadata.looks,
        )


def typical_size(runs: pd.DataFrame, controls: Mapping[str, str], outcome: str) -> float:
    """Return the median absolute outcome of the runs with all axes at their controls, or of all
    runs where no run has: a margin that is a fraction is a fraction of this.
    """
    ok = runs[runs["status"] == "ok"]
    base = (
        ok[np.all([ok[axis] == level for axis, level in controls.items()], axis=0)]
        if controls
        else ok
    )
    size = pd.to_numeric((base if len(base) else ok)[outcome]).astype(float).abs().median()
    # A margin must be some width, even of outcomes that are all zero.
    return float(size) if size > 0 else 1e-12
