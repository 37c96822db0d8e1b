"""The first screen in words: the answer, what was trained, and what limits the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.analysis import UNDECIDED, audit_failure
from ablations.analysis.ablation import Effects
from ablations.analysis.interactions import UNKNOWN
from ablations.analysis.power import min_seeds
from ablations.report.data import ReportData
from ablations.report.formatting import (
    describe_agreement,
    describe_effects,
    describe_seeds,
    format_change,
    format_count,
    format_interval,
    format_number,
    format_p,
    format_ratio,
    join_words,
)
from ablations.results.answer import Answer
from ablations.results.metadata import NOT_SET

TECHNIQUE_AXES = frozenset({"regularizer", "norm", "init", "schedule", "device"})
_AGREEMENT = 0.5
"""Share of the halves of the seeds that must choose a configuration before it is called the best.
"""
_MOST_NAMES = 3
"""Undecided contrasts that are named."""


@dataclass(frozen=True)
class Caveat:
    """A limit of the answer: in a few words, and in a sentence."""

    badge: str
    text: str


def summarise(ablation: Effects, cautions: Sequence[str] = ()) -> Answer:
    """Every level against its control, then the answer in a sentence, and what limits it."""
    effects, scale = ablation.effects, ablation.design.scale
    if effects.empty:
        return Answer((), ())
    rows = tuple(
        (
            *(str(row[name]) for name in ("axis", "level", "control")),
            _describe_verdict(row),
            format_change(row, scale),
            format_interval(row, scale),
            format_p(row),
        )
        for row in effects.to_dict("records")
    )
    caveats = (caveat.text for caveat in find_caveats(ablation))
    return Answer(rows, (describe_effects(effects, scale, "level"), *caveats, *cautions))


def _describe_verdict(row: Mapping[str, Any]) -> str:
    if row["pairs"] and row["identical"] == row["pairs"]:
        return "changed nothing at all"
    return str(row["verdict"]) if row["pairs"] else "not compared"


def answer_sentences(data: ReportData) -> list[str]:
    """Say what the study found, in one sentence or two."""
    endings = Counter(data.design.untuned.runs["status"])
    if endings["diverged"] + endings["failed"] and not endings["ok"]:
        counts = [f"{endings[word]:,} {word}" for word in ("diverged", "failed") if endings[word]]
        return [
            f"No run ended with a result, so there is no loss to compare: {join_words(counts)}."
        ]
    sentences = []
    if len(data.published):
        sentences.append(describe_agreement(data.published))
    if len(data.effects):
        noun = "technique" if set(data.effects["axis"]) <= TECHNIQUE_AXES else "level"
        sentences.append(describe_effects(data.effects, data.design.scale, noun))
        sentences += _describe_winner(data)
    best = data.configurations[data.configurations["complete"]].head(1)
    if not sentences and len(best):
        loss = format_number(best["mean"].iloc[0], 4)
        sentences.append(
            "No two configurations differ in one thing only, so no technique is compared here. "
            f"The lowest mean validation loss is {loss}."
        )
    return sentences or ["No run ended with a result, so there is nothing to compare."]


def _describe_winner(data: ReportData) -> list[str]:
    """Name the best configuration, and compare it with the controls on seeds that did not choose
    it.
    """
    design = data.design
    if data.winner.empty or data.winner["candidates"].iloc[0] < 2:
        return []
    row = data.winner.iloc[0]
    changes = [
        f"{axis} {row[axis]}"
        for axis, control in design.controls.items()
        if axis in row and row[axis] not in (control, NOT_SET)
    ]
    changes += [
        f"{name} {row[name]}"
        for name in design.factors
        if name not in design.controls and row[name] != NOT_SET
    ]
    if not changes:
        return ["No configuration has a lower mean than that of all controls together."]
    names = join_words(changes)
    if pd.isna(row["low"]):
        loss = format_number(row["naive"])
        return [f"The best configuration is {names}, with a mean validation loss of {loss}."]
    change, low, high = (format_change(row, design.scale, end) for end in ("", "low", "high"))
    certainty = "" if row["high"] < 0 else ", which is no certain gain"
    size = f"{change} [{low}, {high}] against all controls together{certainty}"
    time = ""
    if len(data.winner_cost):
        time = f", at {format_ratio(data.winner_cost['ratio'].iloc[0])} the time of a step"
    if row["chosen"] < _AGREEMENT:
        return [
            f"No configuration is surely the best: what half of the seeds choose gives {size}, on "
            f"the other half. On all seeds {names} looks best{time}, which "
            f"{row['chosen']:.0%} of the halves choose."
        ]
    share = "every half" if row["chosen"] == 1 else f"{row['chosen']:.0%} of the halves"
    return [
        f"The best configuration is {names}{time}: the choice of {share} of the "
        f"seeds, and what a half chooses gives {size}, on the other half."
    ]


def run_counts(data: ReportData) -> list[str]:
    """Count what was trained."""
    runs = data.design.untuned.runs
    endings, words = Counter(runs["status"]), ("diverged", "failed", "skipped")
    return [
        format_count(len(runs), "run"),
        format_count(len(data.configurations), "configuration"),
        format_count(runs["seed"].nunique(), "seed"),
        *(f"{endings[word]:,} {word}" for word in words if endings[word]),
    ]


def audit_caveats(audit: pd.DataFrame) -> list[Caveat]:
    """Say where the fusion audit failed, and where rounding depends on the cohort."""
    failure, n_changed = audit_failure(audit), int((~audit["repeated"].astype(bool)).sum())
    if failure:
        return [Caveat("audit failed", f"Do not trust these numbers: {failure}.")]
    if not n_changed:
        return []
    return [
        Caveat(
            "rounding varies",
            f"{format_count(n_changed, 'audited run')} did not repeat bit for bit: on this "
            "machine the last digits of a run depend on the runs that it is trained with.",
        )
    ]


def find_caveats(ablation: Effects) -> list[Caveat]:
    """Say what limits the answer, as far as the tables show it."""
    checks: dict[str, Callable[[Effects], str]] = {
        "too few seeds": _check_reachable,
        "several looks": _check_looks,
        "diverged runs": _check_divergence,
        "incomplete grid": _check_balance,
        "not comparable": _check_pairs,
        "without effect": _check_identical,
        "tuned": _check_tuning,
        "interactions": _check_moderators,
        "other cells": _check_cells,
        "p and interval": _check_intervals,
        "undecided": lambda ablation: advise_seeds(ablation.effects),
        "survivors differ": _check_survivors,
        "differences": _check_scale,
    }
    return [Caveat(badge, text) for badge, check in checks.items() if (text := check(ablation))]


def advise_seeds(effects: pd.DataFrame) -> str:
    """Say how many more seeds would decide the undecided effects, fewest first."""
    undecided = effects[(effects["verdict"] == UNDECIDED) & (effects["seeds"] >= 2)]
    if "diverged" in undecided:
        # More seeds do not decide an effect that divergence keeps undecided.
        is_blocked = undecided["diverged"] != undecided["control_diverged"]
        undecided = undecided[~(is_blocked & undecided["more"].isna())]
    if undecided.empty:
        return ""
    decidable = undecided.dropna(subset="more").sort_values("more", kind="stable")
    if decidable.empty:
        return "No number of seeds is known that would decide what is undecided."
    first, *rest = decidable.head(_MOST_NAMES).itertuples()
    more = format_count(int(first.more), "more seed")
    parts = [f"about {more} would decide {first.axis} {first.level}"]
    parts += [f"{row.more:,.0f} {row.axis} {row.level}" for row in rest]
    n_others = len(undecided) - len(parts)
    others = f"; {format_count(n_others, 'other')} would need more" if n_others else ""
    return f"If effects and spreads are what they seem, {join_words(parts)}{others}."


def _level_names(effects: pd.DataFrame) -> list[str]:
    return [
        f"{axis} {level}" for axis, level in zip(effects["axis"], effects["level"], strict=True)
    ]


def _check_reachable(ablation: Effects) -> str:
    effects = ablation.effects
    if not effects["seeds"].sum() or effects["reachable"].any():
        return ""
    return (
        f"With {describe_seeds(effects)} no difference can reach significance, however large "
        f"it is: at least {min_seeds(ablation.design.alpha)} are needed."
    )


def _check_looks(ablation: Effects) -> str:
    design = ablation.design
    if len(design.looks) < 2:
        return ""
    looks = join_words([f"{n:,}" for n in design.looks])
    return (
        f"Seeds were added while something was undecided, with looks stated before at {looks} "
        f"seeds: each is judged at a level of {design.alpha:.2g}, so that all together err in 5 % "
        "of studies."
    )


def _check_divergence(ablation: Effects) -> str:
    effects = ablation.effects
    if not effects["conditional"].any():
        return ""
    has_star = (effects["conditional"] & (effects["seeds"] > 0)).any()
    star = " Changes marked * are over the pairs where both runs survived." if has_star else ""
    return (
        f"Some runs diverged.{star} A level that diverges more often than its control is never "
        "said to help."
    )


def _check_balance(ablation: Effects) -> str:
    most = {noun: ablation.effects[f"{noun}s_dropped"].max() for noun in ("seed", "cell")}
    counts = [format_count(int(n), noun) for noun, n in most.items() if n > 0]
    if not counts:
        return ""
    return (
        "Some runs are missing, and only what is balanced is compared: "
        f"up to {join_words(counts)} of a comparison left out."
    )


def _check_pairs(ablation: Effects) -> str:
    unpaired = ablation.effects[ablation.effects["pairs"] == 0]
    if unpaired.empty:
        return ""
    n_others = len(unpaired) - 1
    verb = "is" if n_others == 1 else "are"
    others = f"; neither {verb} {format_count(n_others, 'other level')}" if n_others else ""
    reason = unpaired["left_out"].iloc[0]
    return f"Not compared, for want of a pair with the control: {reason}{others}."


def _check_identical(ablation: Effects) -> str:
    effects = ablation.effects
    identical = effects[(effects["identical"] == effects["pairs"]) & (effects["pairs"] > 0)]
    if identical.empty:
        return ""
    return f"Changed nothing, to the last bit, in any pair: {join_words(_level_names(identical))}."


def _check_tuning(ablation: Effects) -> str:
    if not ablation.design.tune_over:
        return ""
    return (
        f"Each configuration is judged at its best {join_words(ablation.design.tune_over)}, chosen "
        "on one half of the seeds and reported on the other."
    )


def _check_moderators(ablation: Effects) -> str:
    effects = ablation.effects[ablation.effects["pairs"] > 0]
    if len(effects) and (effects["depends_on"] == UNKNOWN).all():
        return "Whether an effect depends on another axis cannot be known with so few seeds."
    rows = effects[~effects["depends_on"].isin(["", UNKNOWN])]
    if rows.empty:
        return ""
    names = [f"{row.axis} {row.level} (on {row.depends_on})" for row in rows.itertuples()]
    n_others = len(names) - _MOST_NAMES
    others = [f"{n_others} more"] if n_others > 0 else []
    return (
        "An average over different effects, which depend on another axis: "
        f"{join_words([*names[:_MOST_NAMES], *others])}."
    )


def _check_cells(ablation: Effects) -> str:
    effects = ablation.effects[ablation.effects["pairs"] > 0]
    n_sizes = effects.groupby("axis", sort=False)["cells"].nunique()
    axes = n_sizes[n_sizes > 1].index.tolist()
    if not axes:
        return ""
    return (
        f"Levels of {join_words(axes)} were run in different combinations, and are averages over "
        "different cells: each can be compared with its control, but not with the others."
    )


def _check_intervals(ablation: Effects) -> str:
    effects = ablation.effects
    excludes_zero = (effects["low"] > 0) | (effects["high"] < 0)
    if not (excludes_zero & (effects["p_adjusted"] > ablation.design.alpha)).any():
        return ""
    return (
        "An interval is of one comparison alone, by Student's t; p is of sign flips, adjusted for "
        f"all {len(effects)} comparisons, and decides."
    )


def _check_survivors(ablation: Effects) -> str:
    """Name levels with a certain difference that divergence contradicts."""
    effects = ablation.effects
    rows = effects[
        (effects["verdict"] == UNDECIDED)
        & (effects["p_adjusted"] <= ablation.design.alpha)
        & (effects["diverged"] != effects["control_diverged"])
    ]
    if rows.empty:
        return ""
    return (
        "Undecided in spite of a certain difference where both runs survived: "
        f"{join_words(_level_names(rows))}. Divergence speaks against it, and no number of seeds "
        "would settle which counts for more."
    )


def _check_scale(ablation: Effects) -> str:
    if ablation.design.scale == "log":
        return ""
    return (
        "Some losses are zero or negative and have no ratio: changes are differences in the loss's "
        "own unit."
    )
