"""What a table of effects rests on and leaves out, in sentences for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ablations.analysis import EQUAL, Design
from ablations.analysis.interactions import UNKNOWN
from ablations.report.caveats import advise_seeds, describe_moderators
from ablations.report.formatting import (
    format_count,
    format_level,
    format_margin,
    format_number,
    name_outcome,
)
from ablations.report.strengths import name_level, name_rows
from ablations.report.texts import capitalise, describe_unpaired, shorten, write_lines

MOST_NAMES = 3


def explain_effects(effects: pd.DataFrame, design: Design) -> Iterator[str]:
    """Yield what the effects depend on, rest on, and leave out; and how many seeds would help."""
    compared, unpaired = effects[effects["pairs"] > 0], effects[effects["pairs"] == 0]
    moderated = compared[~compared["depends_on"].isin(["", UNKNOWN])]
    averages = {1: "Its number above is an average."}
    texts = [f"{text}." for text in describe_moderators(moderated)]
    if texts:
        yield " ".join([*texts, averages.get(len(moderated), "Their numbers above are averages.")])
    if len(compared):
        yield " ".join(_explain_basis(compared, design))
    yield from _list_diverged(compared)
    yield from _list_missing(compared)
    for row in unpaired.head(MOST_NAMES).to_dict("records"):
        name = capitalise(name_level(row["axis"], row["level"]))
        yield f"{name} is not compared: {describe_unpaired(row)}."
    if (others := len(unpaired) - MOST_NAMES) > 0:
        verb = "is" if others == 1 else "are"
        yield f"{format_count(others, 'other')} {verb} not compared for such a reason either."
    if advice := advise_seeds(effects.assign(seeds=effects["n"]), design):
        yield advice


def _explain_basis(compared: pd.DataFrame, design: Design) -> list[str]:
    return write_lines(
        "effects_basis",
        outcome=name_outcome(design.outcome),
        is_fitted=bool((compared["confounded_with"] != "").any()),
        is_higher_better=design.higher_is_better,
        n=len(compared),
        seeds=format_count(int(compared["n"].max()), design.unit),
        has_interval=bool(compared["low"].notna().any()),
        is_widened=bool(design.overlap),
        size=format_level(design.confidence),
        alpha=format_number(design.verdict_level, 2) if design.verdict_level else "",
        margin=format_margin(design.margin, design.scale) if has_equal(compared) else "",
        has_looks=abs(design.confidence - 0.95) > 1e-9,
    )


def has_equal(compared: pd.DataFrame) -> bool:
    """Whether anything is practically equal to its control."""
    return bool((compared["verdict"] == EQUAL).any())


def _list_diverged(compared: pd.DataFrame) -> Iterator[str]:
    """Say what diverged, and how often its control did."""
    rows = compared[(compared["diverged"] > 0) | (compared["control_diverged"] > 0)]
    texts = [
        f"{row['diverged']:,} of {format_count(int(row['pairs']), 'run')} with "
        f"{name_level(row['axis'], row['level'])} ({row['control_diverged']:,} of its control's)"
        for row in rows.to_dict("records")
    ]
    if texts:
        yield f"Diverged: {'; '.join(texts)}."


def _list_missing(compared: pd.DataFrame) -> Iterator[str]:
    """Say which runs are left out of comparisons, as far as a few sentences can."""
    rows = compared[compared["left_out"].fillna("") != ""]
    groups = list(rows.groupby("left_out", sort=False))
    if len(groups) > 1 and len(rows) > MOST_NAMES:
        yield (
            f"Runs without a partner are left out of {len(rows):,} of "
            f"{format_count(len(compared), 'comparison')}; `--format csv` says which."
        )
        return
    for text, group in groups:
        names = "" if len(group) == len(compared) else _name_group(group)
        yield f"Left out{names}: {text}."


def _name_group(group: pd.DataFrame) -> str:
    return f" with {', '.join(shorten(name_rows(group), MOST_NAMES))}"
