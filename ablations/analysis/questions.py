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
                return table.copy()
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
    items = {item.name: item for item in fields(Design)}
    parameters = []
    for name in ("runs", *names):
        is_column = name in ("runs", "controls", "factors")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters.append(
            inspect.Parameter(
                name,
                kind if is_column else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if is_column else items[name].default,
                annotation=items[name].type,
            )
        )
    options = list(signature.parameters.values())[1:]
    parameters[1:1] = options
    return signature.replace(parameters=sorted(parameters, key=lambda parameter: parameter.kind))
