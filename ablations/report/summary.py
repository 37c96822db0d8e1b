"""The first screen in words: the answer, what was trained, and what should temper the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from ablations.analysis import UNDECIDED, audit_failure
from ablations.analysis.ablation import Effects
from ablations.analysis.interactions import UNKNOWN
from ablations.analysis.power import min_seeds
from ablations.report.data import ReportData
from ablations.report.formatting import (
    NOTHING,
    describe_agreement,
    describe_effects,
    describe_seeds,
    format_change,
    format_count,
    format_number,
    format_p,
    format_ratio,
    join_words,
)
from ablations.results.answer import Answer
from ablations.results.metadata import NOT_SET


@dataclass(frozen=True)
class Caveat:
    """What should temper the answer: in a few words, and in a sentence."""

    badge: str
    text: str


_FEWEST = 2
"""Seeds from which on there is an interval."""
_AGREED = 0.5
"""Share of the halves of the seeds that must choose a configuration before it is called the best.
"""
_NAMED = 3
"""Undecided contrasts that are named."""

TECHNIQUE_AXES = frozenset({"regularizer", "norm", "init", "schedule", "device"})


def answer_sentences(data: ReportData) -> list[str]:
    """Say what the study found, in one sentence or two."""
    found = []
    ended = Counter(data.design.untuned.runs["status"])
    if ended["diverged"] + ended["failed"] and not ended["ok"]:
        parts = [f"{ended[word]:,} {word}" for word in ("diverged", "failed") if ended[word]]
        return [f"No run ended with a result, so there is no loss to compare: {join_words(parts)}."]
    if len(data.published):
        found.append(describe_agreement(data.published))
    if len(data.effects):
        noun = "technique" if set(data.effects["axis"]) <= TECHNIQUE_AXES else "level"
        found.append(describe_effects(data.effects, data.design.scale, noun))
        found.extend(_best(data))
    best = data.configurations[data.configurations["complete"]].head(1)
    if not found and len(best):
        loss = format_number(best["mean"].iloc[0], 4)
        found.append(
            "No two configurations differ in one thing only, so no technique is compared here. "
            f"The lowest mean validation loss is {loss}."
        )
    return found or ["No run ended with a result, so there is nothing to compare."]


def _best(data: ReportData) -> list[str]:
    """Name the best configuration, and how far it is from the controls on seeds that did not choose
    it.
    """
    if data.winner.empty or data.winner["candidates"].iloc[0] < 2:
        return []
    row = data.winner.iloc[0]
    away = [
        f"{axis} {row[axis]}"
        for axis, control in data.design.controls.items()
        if axis in row and row[axis] not in (control, NOT_SET)
    ]
    away += [
        f"{name} {row[name]}"
        for name in data.design.factors
        if name not in data.design.controls and row[name] != NOT_SET
    ]
    if not away:
        return ["No configuration has a lower mean than that of all controls together."]
    named = join_words(away)
    if pd.isna(row["low"]):
        loss = format_number(row["naive"])
        return [f"The best configuration is {named}, with a mean validation loss of {loss}."]
    change, low, high = (
        format_change(row, data.design.scale, part) for part in ("", "low", "high")
    )
    gain = "" if row["high"] < 0 else ", which is no certain gain"
    size = f"{change} [{low}, {high}] against all controls together{gain}"
    if row["chosen"] < _AGREED:
        return [
            f"No configuration is surely the best: what half of the seeds choose gives {size}, on "
            f"the other half. On all seeds {named} looks best{_at_what_time(data)}, which "
            f"{row['chosen']:.0%} of the halves choose."
        ]
    share = "every half" if row["chosen"] == 1 else f"{row['chosen']:.0%} of the halves"
    return [
        f"The best configuration is {named}{_at_what_time(data)}: the choice of {share} of the "
        f"seeds, and what a half chooses gives {size}, on the other half."
    ]


def _at_what_time(data: ReportData) -> str:
    """What a step of the best configuration costs, where it was timed."""
    if data.winner_cost.empty:
        return ""
    return f", at {format_ratio(data.winner_cost['ratio'].iloc[0])} the time of a step"


def summarise(found: Effects, cautions: Sequence[str] = ()) -> Answer:
    """Every level against its control, then the answer in a sentence, and what caveats it."""
    table, scale = found.effects, found.design.scale
    if table.empty:
        return Answer((), ())
    rows = tuple(
        (
            *(str(row[name]) for name in ("axis", "level", "control")),
            _verdict(row),
            format_change(row, scale),
            f"{format_change(row, scale, 'low')} to {format_change(row, scale, 'high')}"
            if row["seeds"] >= _FEWEST
            else NOTHING,
            format_p(row),
        )
        for _, row in table.iterrows()
    )
    return Answer(
        rows,
        (
            describe_effects(table, scale, "level"),
            *(t.text for t in find_caveats(found)),
            *cautions,
        ),
    )


def _verdict(row: pd.Series) -> str:
    if row["pairs"] and row["identical"] == row["pairs"]:
        return "changed nothing at all"
    return str(row["verdict"]) if row["pairs"] else "not compared"


def more_seeds(effects: pd.DataFrame) -> str:
    """Say how many more seeds would decide what is undecided, those that need fewest first."""
    undecided = effects[(effects["verdict"] == UNDECIDED) & (effects["seeds"] >= 2)]
    if "diverged" in undecided:
        # What divergence keeps undecided, seeds do not decide.
        blocked = (undecided["diverged"] != undecided["control_diverged"]) & undecided[
            "more"
        ].isna()
        undecided = undecided[~blocked]
    known = undecided.dropna(subset="more").sort_values("more", kind="stable")
    if not len(undecided):
        return ""
    if not len(known):
        return "No number of seeds is known that would decide what is undecided."
    first, *rest = known.head(_NAMED).itertuples()
    more = format_count(int(first.more), "more seed")
    parts = [f"about {more} would decide {first.axis} {first.level}"]
    parts += [f"{row.more:,.0f} {row.axis} {row.level}" for row in rest]
    left = len(undecided) - len(parts)
    others = f"; {format_count(left, 'other')} would need more" if left else ""
    text = join_words(parts)
    return f"If effects and spreads are what they seem, {text}{others}."


def run_counts(data: ReportData) -> list[str]:
    """Count what was trained."""
    status = Counter(data.design.untuned.runs["status"])
    bad = (word for word in ("diverged", "failed", "skipped") if status[word])
    return [
        format_count(len(data.design.untuned.runs), "run"),
        format_count(len(data.configurations), "configuration"),
        format_count(data.design.untuned.runs["seed"].nunique(), "seed"),
        *(f"{status[word]:,} {word}" for word in bad),
    ]


def audit_caveats(audit: pd.DataFrame) -> list[Caveat]:
    """Say loudly where the fusion audit failed, and where rounding depends on company."""
    wrong, other = audit_failure(audit), int((~audit["repeated"].astype(bool)).sum())
    if wrong:
        return [Caveat("audit failed", f"Do not trust these numbers: {wrong}.")]
    if not other:
        return []
    return [
        Caveat(
            "rounding varies",
            f"{format_count(other, 'audited run')} did not repeat bit for bit: on this "
            "machine the "
            "last digits of a run depend on the runs that it is trained with.",
        )
    ]


def find_caveats(data: Effects) -> list[Caveat]:
    """Say what should temper the answer, as far as the tables show it."""
    asked: dict[str, Callable[[Effects], str]] = {
        "too few seeds": _unreachable,
        "several looks": _looked,
        "diverged runs": _diverged,
        "incomplete grid": _left_out,
        "not comparable": _unpaired,
        "without effect": _changed_nothing,
        "tuned": _tuned,
        "interactions": _depends,
        "other cells": _uneven,
        "p and interval": _single,
        "undecided": lambda found: more_seeds(found.effects),
        "survivors differ": _blocked,
        "differences": _unit,
    }
    return [Caveat(badge, text) for badge, ask in asked.items() if (text := ask(data))]


def _blocked(data: Effects) -> str:
    """Levels with a certain difference that divergence speaks against."""
    rows = data.effects[
        (data.effects["verdict"] == UNDECIDED)
        & (data.effects["p_adjusted"] <= data.design.alpha)
        & (data.effects["diverged"] != data.effects["control_diverged"])
    ]
    if not len(rows):
        return ""
    names = join_words([f"{row.axis} {row.level}" for row in rows.itertuples()])
    return (
        f"Undecided in spite of a certain difference where both runs survived: {names}. Divergence "
        "speaks against it, and no number of seeds would settle which counts for more."
    )


def _uneven(data: Effects) -> str:
    """Levels of one axis that are averages over different cells."""
    told = data.effects[data.effects["pairs"] > 0].groupby("axis", sort=False)["cells"]
    axes = [axis for axis, cells in told if len(set(cells)) > 1]
    if not axes:
        return ""
    return (
        f"Levels of {join_words(axes)} were run in different combinations, and are "
        "averages "
        "over different cells: each can be compared with its control, but not with the others."
    )


def _single(data: Effects) -> str:
    """Intervals of one comparison, beside a p that is adjusted for all."""
    effects = data.effects
    apart = (effects["low"] > 0) | (effects["high"] < 0)
    if not (apart & (effects["p_adjusted"] > data.design.alpha)).any():
        return ""
    return (
        "An interval is of one comparison alone, by Student's t; p is of sign flips, adjusted for "
        f"all {len(effects)} comparisons, and decides."
    )


def _unit(data: Effects) -> str:
    if data.design.scale == "log":
        return ""
    return (
        "Some losses are zero or negative and have no ratio: changes are differences in the loss's "
        "own unit."
    )


def _looked(data: Effects) -> str:
    if len(data.design.looks) < 2:
        return ""
    stated = join_words([f"{n:,}" for n in data.design.looks])
    return (
        f"Seeds were added while something was undecided, with looks stated before at {stated} "
        f"seeds: each is judged at a level of {data.design.alpha:.2g}, so that all together err in "
        "5 % of studies."
    )


def _unreachable(data: Effects) -> str:
    effects = data.effects
    if not effects["seeds"].sum() or effects["reachable"].any():
        return ""
    return (
        f"With {describe_seeds(effects)} no difference can reach significance, however large "
        "it is: "
        f"at least {min_seeds(data.design.alpha)} are needed."
    )


def _changed_nothing(data: Effects) -> str:
    effects = data.effects
    nothing = effects[(effects["identical"] == effects["pairs"]) & (effects["pairs"] > 0)]
    names = [f"{row['axis']} {row['level']}" for _, row in nothing.iterrows()]
    return f"Changed nothing, to the last bit, in any pair: {join_words(names)}." if names else ""


def _diverged(data: Effects) -> str:
    effects = data.effects
    if not effects["conditional"].any():
        return ""
    marked = (effects["conditional"] & (effects["seeds"] > 0)).any()
    star = " Changes marked * are over the pairs where both runs survived." if marked else ""
    return (
        f"Some runs diverged.{star} A level that diverges more often than its control is never "
        "said to help."
    )


def _left_out(data: Effects) -> str:
    most = {noun: data.effects[f"{noun}s_dropped"].max() for noun in ("seed", "cell")}
    parts = [format_count(int(n), noun) for noun, n in most.items() if n > 0]
    if not parts:
        return ""
    return (
        "Some runs are missing, and only what is balanced is compared: "
        f"up to {join_words(parts)} of a comparison left out."
    )


def _unpaired(data: Effects) -> str:
    alone = data.effects[data.effects["pairs"] == 0]
    if not len(alone):
        return ""
    first, left = alone["left_out"].iloc[0], len(alone) - 1
    verb = "is" if left == 1 else "are"
    others = f"; neither {verb} {format_count(left, 'other level')}" if left else ""
    return f"Not compared, for want of a pair with the control: {first}{others}."


def _tuned(data: Effects) -> str:
    if not data.design.tune_over:
        return ""
    axes = join_words(list(data.design.tune_over))
    return (
        f"Each configuration is judged at its best {axes}, chosen on one half of the seeds and "
        "reported on the other."
    )


def _depends(data: Effects) -> str:
    told = data.effects[data.effects["pairs"] > 0]
    if len(told) and (told["depends_on"] == UNKNOWN).all():
        return "Whether an effect depends on another axis cannot be known with so few seeds."
    rows = told[~told["depends_on"].isin(["", UNKNOWN])]
    if not len(rows):
        return ""
    named = [f"{row.axis} {row.level} (on {row.depends_on})" for row in rows.itertuples()]
    shown = join_words(
        [*named[:_NAMED], *([f"{len(named) - _NAMED} more"] if len(named) > _NAMED else [])]
    )
    return f"An average over different effects, which depend on another axis: {shown}."
