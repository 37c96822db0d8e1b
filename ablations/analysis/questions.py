"""One way to ask a question: of a ``Design``, or of a long table and the names of its columns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import pandas as pd

from ablations.analysis.design import Design


def accept_table(
    *uses: str, **presets: Any
) -> Callable[[Callable[..., pd.DataFrame]], Callable[..., pd.DataFrame]]:
    """Let a function of a ``Design`` also take a table of runs with the fields of its design.

    ``function(runs, controls, factors, outcome="loss")`` makes the design first.
    ``function(design)`` computes its answer once and remembers it with the design;
    ``function(design, alpha=0.1)`` changes the design's field for this answer.

    Parameters
    ----------
    uses
        The fields of ``Design`` that matter to the function, beside ``runs``, ``outcome``,
        ``block`` and ``status``; ``controls`` and ``factors`` may be passed by position, after
        positional parameters of the function itself.
    presets
        Fields of the design that is made of a table, which a caller cannot change.
    """
    names = [*uses, "outcome", "block", "status"]

    def decorate(function: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
        signature = _table_signature(function, names)

        @functools.wraps(function)
        def answer(runs: pd.DataFrame | Design, *args: Any, **options: Any) -> pd.DataFrame:
            if isinstance(runs, Design):
                changes = {name: options.pop(name) for name in names if name in options}
                design = replace(runs, **changes) if changes else runs
                table: pd.DataFrame = design.compute_once(function, *args, **options)
                return table.copy(deep=False)
            arguments = signature.bind(runs, *args, **options).arguments
            values = {name: arguments.pop(name) for name in names if name in arguments}
            return function(Design(arguments.pop("runs"), **values, **presets), **arguments)

        answer.__signature__ = signature  # type: ignore[attr-defined]
        return answer

    return decorate


def _table_signature(
    function: Callable[..., pd.DataFrame], names: Sequence[str]
) -> inspect.Signature:
    """The signature of a function of a design, with the fields of a design in its place."""
    signature = inspect.signature(function)
    by_position, by_keyword = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    items = {item.name: item for item in fields(Design)}
    columns = [name for name in ("controls", "factors") if name in names]
    options = list(signature.parameters.values())[1:]
    return signature.replace(
        parameters=[
            inspect.Parameter("runs", by_position, annotation=items["runs"].type),
            *(option for option in options if option.kind is by_position),
            *(inspect.Parameter(x, by_position, annotation=items[x].type) for x in columns),
            *(option for option in options if option.kind is by_keyword),
            *(
                inspect.Parameter(
                    name, by_keyword, default=items[name].default, annotation=items[name].type
                )
                for name in names
                if name not in columns
            ),
        ]
    )
