"""What is compared with what: one table of runs with the roles of its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.analysis.arguments import check_columns, check_mapping, check_names
from ablations.analysis.coding import Column, Floats, Ints, combine, name_level, varying
from ablations.analysis.observations import Observations
from ablations.analysis.spending import next_look
from ablations.analysis.splits import complete_splits, number_splits
from ablations.analysis.statuses import complete_runs
from ablations.core.splits import FIRST_SEEDS
from ablations.results.looks import Look, is_counted
from ablations.results.metadata import (
    Scope,
    StudyMetadata,
    label,
    levels_in_order,
    with_text_levels,
)

if TYPE_CHECKING:
    from ablations.results.store import StoredResults

OUTCOME = "val_loss"
SETTINGS = ("task", "model", "optimizer", "lr", "batch_size", "dtype", "epochs")
"""Columns that tell configurations apart even where no axis names them: the study ``cells`` trains
each of its configurations for a number of epochs of its own."""
Scale = Literal["log", "difference"]
Question = Callable[..., pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Design:
    """What is compared with what.

    Attributes
    ----------
    runs
        Any long table, one row a run, in any order.  A run without a ``status`` diverged if its
        outcome is infinite or missing; a missing level is the level ``"None"``
        (``complete_runs``).
    factors
        Every column that tells one configuration from another, the axes included.
    controls
        Axis to its control level.  An axis that the table lacks is ignored.
    outcome, block
        Columns with the number to compare and the experimental unit; without, each row is a unit.
    scale
        ``"log"`` compares ratios (losses), ``"difference"`` compares the numbers themselves.
    margin
        Differences below it do not matter: a fraction on the log scale, else in the outcome's unit.
    alpha
        The level of a verdict.
    confidence
        Of intervals of effects; more than 0.95 where seeds may be added, so that the intervals of
        all looks together keep 0.95.
    status
        Column with ``ok``, ``diverged``, ``failed`` or ``skipped``.
    axes
        Axes of a study with at least two levels that ran, those tuned over included.
    levels
        Axis to its levels, in the study's order.
    looks
        Numbers of seeds at which more could be added; ``alpha`` is corrected for all of them.
    ledger
        Looks at which verdicts were shown, in their order, where none were stated.
    look
        That at the seeds of this table, in the ledger if it can decide; its level is ``alpha``.
    tune_over
        Axes at whose best level each configuration is compared.
    tuned_by_seed
        Whether each seed chose these levels on rows of its own, and not the other half of seeds.
    source
        The design before it was tuned over these axes.
    overlap
        Judging rows over training rows, where each block splits one finite table at random, for
        effects on new data like this table; 0 for effects on what the blocks themselves vary.
    split
        Column with a label for the split of a run's block, the same where blocks repeat a split;
        missing labels, or None: each block has a split, or data, of its own.
    scope
        What the blocks vary (``results.metadata.Scope``), for texts.
    cost_noise
        Ratio up to which the times of two runs differ by chance, as far as it was measured.
    """

    runs: pd.DataFrame
    factors: Sequence[str] = ()
    controls: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = OUTCOME
    block: str | None = "seed"
    scale: Scale = "log"
    higher_is_better: bool = False
    margin: float = 0.02
    alpha: float = 0.05
    confidence: float = 0.95
    status: str = "status"
    axes: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    ledger: tuple[Look, ...] = ()
    look: Look | None = None
    tune_over: tuple[str, ...] = ()
    tuned_by_seed: bool = False
    source: Design | None = None
    overlap: float = 0.0
    split: str | None = None
    scope: Scope = ""
    cost_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.scale not in ("log", "difference"):
            raise ValueError(f"scale must be 'log' or 'difference', not {self.scale!r}")
        if not 0 <= self.overlap < np.inf:
            raise ValueError(f"overlap must be a ratio of rows, not {self.overlap!r}")
        check_names("factors", self.factors)
        check_mapping("controls", self.controls)
        check_columns(self.runs, [*self.factors, self.block, self.outcome, self.split])
        runs = complete_runs(self.runs, self.factors, self.outcome, self.status)
        controls = {axis: name_level(level) for axis, level in self.controls.items()}
        # A frozen class: the fields are what they would have been in a table of texts.
        object.__setattr__(self, "runs", runs)
        object.__setattr__(self, "controls", controls)
        if self.block is None:
            return
        if self.block in self.factors:
            raise ValueError(f"{self.block!r} is the block, and cannot be a factor as well")
        if missing := int(self.runs[self.block].isna().sum()):
            raise ValueError(f"the block {self.block!r} is missing in {missing} rows")

    @classmethod
    def from_runs(
        cls, results: StoredResults, metadata: StudyMetadata, outcome: str = OUTCOME
    ) -> Design:
        """Find axes, factors and controls; levels are text, losses ratios if all are positive."""
        names = tuple(name for name in metadata.axes if name in results.runs)
        # In an order of their own, so that the same runs give the same bytes however stored.
        runs = with_text_levels(results.runs.sort_values("run_id", kind="stable"), names)
        losses = runs.loc[runs["status"] == "ok", outcome].astype(float)
        scale: Scale = "difference" if (losses <= 0).any() else "log"
        ended = runs[runs["status"].isin(["ok", "diverged", "failed"])]
        # A level of which no run ended is still a level of the study.
        planned_axes = varying(runs, names)
        axes = [axis for axis in planned_axes if axis in metadata.controls]
        controls = {axis: label(metadata.controls[axis]) for axis in axes}
        size = 1.0 if scale == "log" else typical_size(runs, controls, outcome)
        judging = metadata.judging
        overlap = 0.0 if judging is None or judging.is_fixed else judging.overlap
        return cls(
            complete_splits(runs) if overlap else runs,
            factors=tuple(varying(runs, list(dict.fromkeys([*names, *SETTINGS])))),
            controls=controls,
            outcome=outcome,
            scale=scale,
            margin=metadata.margin * size,
            alpha=metadata.alpha,
            axes=tuple(varying(ended, names)),
            levels={axis: levels_in_order(runs[axis], metadata, axis) for axis in planned_axes},
            looks=metadata.looks,
            confidence=1 - metadata.alpha,
            overlap=overlap,
            split="split" if overlap else None,
            scope=metadata.scope or (judging.scope if judging else ""),
        )

    def at_look(self, ledger: Sequence[Look]) -> Design:
        """Judge at the level of the look at these seeds, after those that were recorded."""
        look = next_look(ledger, self.n_seeds, self.n_contrasts, self.ended_blocks)
        if is_counted(look) and look not in ledger:
            ledger = [*ledger, look]
        return replace(
            self, alpha=look.level, confidence=1 - look.level, ledger=tuple(ledger), look=look
        )

    def level_at(self, seeds: int) -> float:
        """Return the level at which verdicts over so many seeds would be judged next."""
        if self.look is None or seeds == self.n_seeds:
            return self.alpha
        return next_look(self.ledger, seeds, self.n_contrasts).level

    @property
    def n_seeds(self) -> int:
        """The number of blocks of which a run ended."""
        return len(self.ended_blocks)

    @property
    def ended_blocks(self) -> tuple[Any, ...]:
        """The labels of the blocks of which a run ended."""
        codes = np.unique(self.blocks[0][self.statuses != "skipped"])
        return tuple(self.blocks[1][codes].tolist())

    @property
    def n_contrasts(self) -> int:
        """The number of levels that are compared with a control."""
        return max(1, sum(len(self.columns[axis].levels) - 1 for axis in self.contrasted_axes))

    @property
    def verdict_level(self) -> float:
        """The level of a verdict here: none where looks were stated at other numbers of seeds."""
        return 0.0 if self.looks and self.n_seeds not in self.looks else self.alpha

    @property
    def position(self) -> int:
        """Which look of the ledger this is, the first being 1; 0 if it is none."""
        return self.ledger.index(self.look) + 1 if self.look in self.ledger else 0

    @property
    def bound(self) -> float:
        """The margin on the scale of the effects: of a fraction, log(1 + margin)."""
        return float(np.log1p(self.margin)) if self.scale == "log" else self.margin

    @property
    def untuned(self) -> Design:
        """The design before tuning, or this one where nothing was tuned."""
        return self.source or self

    @property
    def unit(self) -> str:
        """What the experimental unit is called in texts."""
        return self.block or "replicate"

    @cached_property
    def cells(self) -> Ints:
        """The configuration of each run as a number, in order of appearance."""
        return combine(self.columns.values(), len(self.runs))

    @property
    def contrasted_axes(self) -> list[str]:
        """The axes that have a control and are in the table."""
        axes = [axis for axis in self.controls if axis in self.runs]
        if outside := [axis for axis in axes if axis not in self.factors]:
            raise ValueError(f"{outside[0]!r} has a control, and must be among the factors")
        return axes

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """The factors of all runs as codes."""
        return {name: Column.from_values(self.runs[name]) for name in self.factors}

    @cached_property
    def blocks(self) -> tuple[Ints, pd.Index]:
        """The block of each run, as a position among the sorted labels, and these labels."""
        if self.block is None:
            return np.arange(len(self.runs)), pd.RangeIndex(len(self.runs))
        column = pd.Categorical(self.runs[self.block])
        return np.asarray(column.codes, dtype=np.int64), column.categories

    @cached_property
    def splits(self) -> Ints:
        """A number for the split of each block, as many as there are labels of blocks."""
        codes, labels = self.blocks
        if self.split is None:
            return np.arange(len(labels))
        names = [f"{self.unit} {name}" for name in labels]
        return number_splits(codes, names, self.runs[self.split])

    @property
    def has_repeated_splits(self) -> bool:
        """Whether any two blocks have the same split."""
        return len(np.unique(self.splits)) < len(self.splits)

    @property
    def may_repeat_splits(self) -> bool:
        """Whether no two blocks have the same split yet, and more blocks of the study would."""
        is_short = len(self.splits) <= FIRST_SEEDS
        return self.overlap > 0 and self.split is not None and is_short

    @cached_property
    def statuses(self) -> npt.NDArray[np.object_]:
        """The status of each run; an infinite outcome under another name is still one that
        diverged.
        """
        statuses = np.array(self.runs[self.status], dtype=object)
        statuses[(statuses == "ok") & np.isinf(self._numbers)] = "diverged"
        return statuses

    @cached_property
    def _numbers(self) -> Floats:
        """The outcome of each run."""
        outcome = self.runs[self.outcome]
        if not pd.api.types.is_numeric_dtype(outcome) and outcome.notna().any():
            raise ValueError(f"{self.outcome!r} is no column of numbers")
        return np.asarray(outcome.to_numpy(dtype=float, na_value=np.nan))

    @property
    def n_blocks(self) -> int:
        """The number of blocks in the table."""
        return len(np.unique(self.blocks[0]))

    @cached_property
    def observations(self) -> Observations:
        """The runs that ended with a result or diverged; others carry no information."""
        raw, diverged = self._numbers, self.statuses == "diverged"
        usable = (self.statuses == "ok") & np.isfinite(raw)
        if self.scale == "log" and (raw[usable] <= 0).any():
            raise ValueError(
                f"{self.outcome!r} has values that are not positive: compare it with "
                "scale='difference'"
            )
        raw = np.where(usable, raw, np.nan)
        rows = np.flatnonzero(usable | diverged)
        codes, blocks = self.blocks
        observations = Observations(
            rows,
            raw[rows],
            np.log(raw[rows]) if self.scale == "log" else raw[rows],
            diverged[rows],
            codes[rows],
            blocks,
            {
                name: Column(column.codes[rows], column.levels, column.values.iloc[rows])
                for name, column in self.columns.items()
            },
        )
        cells = pd.DataFrame({"cell": observations.cells(self.factors), "block": codes[rows]})
        if repeated := int(cells.duplicated().sum()):
            raise ValueError(
                f"{repeated} rows repeat the configuration and {self.unit} of another row: "
                f"name the column that tells them apart among the factors {list(self.factors)}"
            )
        return observations

    @cached_property
    def _answers(self) -> dict[Any, Any]:
        return {}

    def compute_once(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Return ``function(self, ...)``, computed the first time only; not to be changed."""
        # Options may be lists and mappings, which are no keys.
        key = (function, repr(args), repr(sorted(options.items())))
        if key not in self._answers:
            self._answers[key] = function(self, *args, **options)
        return self._answers[key]


def typical_size(runs: pd.DataFrame, controls: Mapping[str, str], outcome: str) -> float:
    """Return the median absolute outcome of runs at all controls, or of all runs, for margins."""
    ok = runs[runs["status"] == "ok"]
    at_controls = [ok[axis] == level for axis, level in controls.items()]
    base = ok[np.all(at_controls, axis=0)] if controls else ok
    size = pd.to_numeric((base if len(base) else ok)[outcome]).astype(float).abs().median()
    # A margin must be some width, even of outcomes that are all zero.
    return float(size) if size > 0 else 1e-12


def accept_table(*uses: str, **presets: Any) -> Callable[[Question], Question]:
    """Let a function of a ``Design`` also take a table of runs with the fields of its design.

    ``function(runs, controls, factors, outcome="loss")`` makes the design first, of the fields that
    it ``uses``, with ``presets`` that a caller cannot change.  ``function(design)`` computes its
    answer once; ``function(design, alpha=0.1)`` changes the design's field for this answer.
    """
    names = [*uses, "outcome", "block", "status"]

    def decorate(function: Question) -> Question:
        table_signature = _table_signature(function, names)

        @wraps(function)
        def answer(runs: pd.DataFrame | Design, *args: Any, **options: Any) -> pd.DataFrame:
            if isinstance(runs, Design):
                changes = {name: options.pop(name) for name in names if name in options}
                design = replace(runs, **changes) if changes else runs
                table: pd.DataFrame = design.compute_once(function, *args, **options)
                return table.copy()
            arguments = table_signature.bind(runs, *args, **options).arguments
            values = {name: arguments.pop(name) for name in names if name in arguments}
            return function(Design(arguments.pop("runs"), **values, **presets), **arguments)

        answer.__signature__ = table_signature  # type: ignore[attr-defined]
        return answer

    return decorate


def _table_signature(function: Question, names: Sequence[str]) -> Signature:
    """The signature of a function of a design, with the fields of a design in its place."""
    items = {item.name: item for item in fields(Design)}

    def parameter(name: str) -> Parameter:
        item, positional = items[name], name in ("runs", "controls", "factors")
        kind = Parameter.POSITIONAL_OR_KEYWORD if positional else Parameter.KEYWORD_ONLY
        default = Parameter.empty if positional else item.default
        return Parameter(name, kind, default=default, annotation=item.type)

    runs, *columns = map(parameter, ("runs", *names))
    of_design = signature(function)
    options = list(of_design.parameters.values())[1:]
    parameters = sorted([runs, *options, *columns], key=lambda parameter: parameter.kind)
    return of_design.replace(parameters=parameters)
