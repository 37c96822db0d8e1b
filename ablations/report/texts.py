"""The sentences of the report: the texts of ``report.txt.j2`` with their numbers and names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED, Design, audit_failure
from ablations.report.formatting import (
    TIMES,
    format_change,
    format_count,
    format_number,
    format_plain_p,
    format_ratio,
    join_words,
)
from ablations.report.strengths import name_axis, name_level

_MOST_NAMES = 4
VERBS = {
    HELPS: ("helps", "help"),
    HURTS: ("hurts", "hurt"),
    EQUAL: ("is practically equal", "are practically equal"),
    UNDECIDED: ("is undecided", "are undecided"),
}
"""Of each verdict what a level does, and what several levels do."""


@dataclass(frozen=True)
class Caveat:
    """A limit of the answer: in a few words, and in a sentence."""

    badge: str
    text: str


@cache
def load_templates() -> jinja2.Environment:
    """Load the templates; a page escapes every text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report"),
        autoescape=jinja2.select_autoescape(disabled_extensions=("txt.j2",), default=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (capitalise, format_count, format_number, format_plain_p, format_ratio, join_words)
    environment.globals |= {function.__name__: function for function in functions}
    environment.globals["name_axis"] = name_axis
    return environment


def capitalise(text: str) -> str:
    """Begin a sentence with a capital letter, except where it begins with a name in code."""
    return text if "_" in text.split(" ")[0] else f"{text[:1].upper()}{text[1:]}"


def write_lines(name: str, file: str = "report.txt.j2", /, **facts: Any) -> list[str]:
    """Fill in the lines of a block of a file of texts; empty ones are dropped."""
    template = load_templates().get_template(file)
    text = "".join(template.blocks[name](template.new_context(facts)))
    return [line for line in text.split("\n") if line]


def write_text(name: str, file: str = "report.txt.j2", /, **facts: Any) -> str:
    """Fill in a block of a file of texts as one paragraph."""
    return " ".join(write_lines(name, file, **facts))


def write_caveats(badges: Iterable[str], **facts: Any) -> list[Caveat]:
    """Fill in the caveats with these badges; one whose text is empty does not hold."""
    texts = {badge: write_text(f"caveat_{badge.replace(' ', '_')}", **facts) for badge in badges}
    return [Caveat(badge, text) for badge, text in texts.items() if text]


def describe_effects(effects: pd.DataFrame, design: Design, noun: str) -> str:
    """Say with numbers and names what the effects show, in a sentence for each verdict."""
    effects = effects[effects["pairs"] > 0]
    parts = []
    for verdict, (singular, plural) in VERBS.items():
        rows = effects[effects["verdict"] == verdict]
        if len(rows):
            verb = singular if len(rows) == 1 else plural
            count = f"{len(rows)} of {format_count(len(effects), noun)}"
            parts.append(f"{count} {verb} ({_name_effects(rows, design)})")
        elif verdict == HELPS:
            parts.append(f"No {noun} helps")
    return write_text("effects_sentence", parts=parts, seeds=describe_seeds(effects))


def _name_effects(rows: pd.DataFrame, design: Design) -> str:
    rows = rows.reindex(rows["effect"].abs().sort_values(ascending=False, kind="stable").index)
    names = [
        f"{name_level(row['axis'], row['level'])}{_describe_cause(row, design)}"
        for _, row in rows.iterrows()
    ]
    return ", ".join(shorten(names, _MOST_NAMES))


def describe_unpaired(row: Mapping[str, Any]) -> str:
    """Say why no pair of runs compares a level with its control."""
    separating = str(row["confounded_with"]).split(", ")[0]
    if not separating:
        return "no pair of a run with it and one of its control ended with a result"
    axes = join_words([name_axis(axis) for axis in separating.split(f" {TIMES} ")])
    return f"it was never run with the same {axes} as its control"


def shorten(names: list[str], most: int) -> list[str]:
    """Count the names beyond the first ``most``."""
    return [*names[:most], f"{len(names) - most} more"] if len(names) > most else names


def _describe_cause(row: pd.Series, design: Design) -> str:
    """Write what decided a row: its change, or its divergence where the change says otherwise."""
    if row["verdict"] == UNDECIDED and row["diverged"] == row["pairs"]:
        return f", of which all {row['pairs']:,} runs diverged"
    if row["verdict"] in (EQUAL, UNDECIDED):
        return ""
    is_better = (row["effect"] > 0) == design.higher_is_better
    if is_better == (row["verdict"] == HELPS) and row["effect"] != 0 and row["seeds"]:
        return f" {format_change(row, design.scale)}"
    counts = f"{row['diverged']:,} of {row['pairs']:,} runs"
    return f", which diverged in {counts}, its control in {row['control_diverged']:,}"


def describe_seeds(effects: pd.DataFrame) -> str:
    """Write how many seeds the contrasts rest on, those without any survivor apart."""
    n = effects.loc[effects["seeds"] > 0, "seeds"]
    if n.empty:
        return ""
    low, high = int(n.min()), int(n.max())
    return format_count(high, "seed") if low == high else f"{low} to {high} seeds"


def describe_agreement(published: pd.DataFrame) -> str:
    """Say in one sentence how the printed losses lie to the bands of our runs."""
    return write_text(
        "agreement",
        inside=int(published["inside"].sum()),
        total=len(published),
        curves=published["label"].nunique(),
        low=int(published["runs"].min()),
        high=int(published["runs"].max()),
    )


def describe_noise_floor(row: Any) -> str:
    """Say by how much the control's time differs from itself (a row of ``noise_floor``)."""
    return write_text("noise_floor", row=row, has_interval=not math.isnan(row.low))


def describe_audit(audit: pd.DataFrame) -> str:
    """Say what the audit of the fused engine found."""
    n_incomparable = int((audit["epochs_compared"] == 0).sum()) if "epochs_compared" in audit else 0
    shares = (audit["deviation"] / audit["tolerance"]).dropna()
    return write_text(
        "audit_sentence",
        n=len(audit),
        judged=len(audit) - n_incomparable,
        failure=audit_failure(audit),
        share=shares.max() if len(shares) else 0.0,
        incomparable=n_incomparable,
        changed=int((~audit["repeated"].astype(bool)).sum()),
    )
