"""What a study can name: techniques, optimizers, tasks and models, with their parameters."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ablations.core.errors import RequestError, nearest
from ablations.core.registry import Component, format_value, origin, registered
from ablations.study.configuration import TECHNIQUES

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["techniques", "tasks", "models"]


def available(kind: Kind) -> pd.DataFrame:
    """Return what a study can name, one row each; ``ablations list`` prints the same.

    Parameters
    ----------
    kind
        ``"techniques"`` (with the optimizers), ``"tasks"`` or ``"models"``.

    Returns
    -------
    pandas.DataFrame
        ``role`` (the axis, ``"optimizer"``, ``"task"`` or ``"model"``), ``name``, ``required``
        (names of parameters without a default), ``defaults`` (parameter to default), ``choices``
        (parameter to its values, where it has few), ``caption``, and ``source`` (the package or
        module of a component that this package does not define).

    Raises
    ------
    RequestError
        If there is no such kind.
    """
    import pandas as pd

    if kind not in get_args(Kind):
        raise RequestError(f"unknown kind '{kind}'; {nearest(kind, get_args(Kind))}")
    roles = (*TECHNIQUES, "optimizer") if kind == "techniques" else (kind.removesuffix("s"),)
    return pd.DataFrame(
        [_describe(cls) for role in roles for cls in registered(role).values()],
        columns=["role", "name", "required", "defaults", "choices", "caption", "source"],
    )


def _describe(cls: type[Component]) -> dict[str, Any]:
    fields = [f for f in dataclasses.fields(cls) if f.name not in cls.resolved_fields]  # type: ignore[arg-type]
    annotations = {
        name: field.annotation
        for name, field in cls.__pydantic_fields__.items()  # type: ignore[attr-defined]
    }
    missing = dataclasses.MISSING
    return {
        "role": cls.role,
        "name": cls.name,
        "required": [field.name for field in fields if field.default is missing],
        "defaults": {f.name: f.default for f in fields if f.default is not missing},
        "choices": {
            field.name: list(get_args(annotations[field.name]))
            for field in fields
            if get_origin(annotations.get(field.name)) is Literal
        },
        "caption": cls.caption(),
        "source": origin(cls),
    }


def format_catalogue(kind: Kind) -> str:
    """Return the table of ``available`` as text, for a terminal."""
    lines = list[str]()
    for role, rows in available(kind).groupby("role", sort=False):
        lines.append(str(role))
        for row in rows.to_dict("records"):
            defaults = [f"{name}={_format_default(v)}" for name, v in row["defaults"].items()]
            parameters = ", ".join([*row["required"], *defaults])
            source = f", from {row['source']}" if row["source"] else ""
            lines.append(f"  {row['name']}{f' ({parameters})' if parameters else ''}{source}")
            lines.append(f"      {row['caption']}")
            for name, values in row["choices"].items():
                lines.append(f"      {name}: {', '.join(map(str, values))}")
    return "\n".join(lines)


def _format_default(value: object) -> str:
    return "none" if value is None else '""' if value == "" else format_value(value)
