"""How far to trust the answer: the constant, the training, and other measures, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.analysis import HELPS, HURTS
from ablations.analysis.ablation import Effects
from ablations.analysis.baseline import BEST
from ablations.analysis.baseline import CONTROL as CONTROL_ROW
from ablations.analysis.outcomes import judged_loss
from ablations.analysis.trajectory import CONTROL, NOT_FINISHED, OVERFITTED
from ablations.core.schema import LOSS_COLUMNS
from ablations.report.formatting import (
    bracket,
    format_estimate,
    format_fractions,
    join_words,
    name_outcome,
)
from ablations.report.strengths import name_level, name_rows
from ablations.report.texts import VERBS, shorten, write_text

_MOST_NAMES = 3
BEST_VAL_LOSS = "best_val_loss"
PROMISING = -0.1
"""Change against the constant from which a gain that is not sure is not called nothing."""
CHANCE = 0.05
"""The p of a gain by a metric from which on it is by itself no accident."""


def has_learned(ablation: Effects) -> bool:
    """Whether the control or another configuration surely beats a constant, or nobody can say."""
    return _beats_constant(_primary(ablation))


@dataclass(frozen=True)
class Learning:
    """Whether anything was learned: the control and the best configuration against a constant."""

    has_learned: bool
    is_promising: bool = False
    """Whether what looks like a gain is too large to be called nothing."""
    candidates: int = 0
    outcome: str = ""
    control: Mapping[str, Any] | None = None
    best: Mapping[str, Any] | None = None


def judge_learning(ablation: Effects, metric_name: str = "") -> Learning:
    """Judge by the study's outcome whether anything was learned."""
    table = _primary(ablation)
    if table.empty or table["p"].isna().all():
        return Learning(has_learned=True)
    rows = {str(row["configuration"]): row for row in table.to_dict("records")}
    best = rows.get(BEST)
    return Learning(
        has_learned=_beats_constant(table),
        is_promising=best is not None and _is_promising(best),
        candidates=int(table["candidates"].max()),
        outcome=_name_measure(table, metric_name),
        control=rows.get(CONTROL_ROW),
        best=best,
    )


def _primary(ablation: Effects) -> pd.DataFrame:
    """The rows against the constant by the outcome, or by the loss where the outcome has none."""
    table = ablation.baseline
    if table.empty:
        return table
    outcomes = [ablation.design.outcome, judged_loss(ablation.design.runs)]
    primary = next((name for name in outcomes if name in set(table["outcome"])), "")
    return table[table["outcome"] == primary]


def _beats_constant(table: pd.DataFrame) -> bool:
    return (
        table.empty
        or bool(table["p"].isna().all() or table["learned"].any())
        or bool(table["learning"].max())
    )


def describe_learning(ablation: Effects, metric_name: str = "") -> str:
    """Say that nothing was learned, or that the control learned nothing; else nothing.

    ``metric_name`` is the name of the column ``metric``.
    """
    learning = judge_learning(ablation, metric_name)
    control, best = learning.control, learning.best
    if not learning.candidates or (control is not None and control["learned"]):
        return ""
    return write_text(
        "learning",
        has_learned=learning.has_learned,
        control=control,
        best=best,
        outcome=learning.outcome,
        n=learning.candidates,
        best_change=None if best is None else _format_gain(best),
        is_promising=learning.is_promising,
    )


def describe_other_learning(ablation: Effects, metric_name: str = "") -> str:
    """Say where loss and metric differ in whether anything was learned; else nothing."""
    primary, texts = _primary(ablation), []
    if primary.empty or primary["p"].isna().all():
        return ""
    others = ablation.baseline[ablation.baseline["outcome"] != primary["outcome"].iloc[0]]
    for _, table in others.groupby("outcome", sort=False):
        if table["p"].isna().all() or _beats_constant(table) == _beats_constant(primary):
            continue
        rows = {str(row["configuration"]): row for row in table.to_dict("records")}
        best = rows.get(BEST)
        text = write_text(
            "other_learning",
            has_learned=_beats_constant(table),
            control=rows.get(CONTROL_ROW),
            best=best,
            outcome=_name_measure(table, metric_name),
            n=int(table["candidates"].max()),
            best_change=None if best is None else _format_gain(best),
        )
        texts.append(text)
    return " ".join(texts)


def _name_measure(table: pd.DataFrame, metric_name: str) -> str:
    outcome = str(table["outcome"].iloc[0])
    return name_outcome(metric_name if outcome == "metric" and metric_name else outcome)


def _format_gain(row: Mapping[str, Any]) -> str:
    """Write value against constant with its interval: in percent, or as a difference."""
    if pd.notna(row["change"]):
        return _format_size(row, "change")
    if pd.isna(row["effect"]):
        return ""
    return format_estimate(row, "difference")


def _is_promising(row: Mapping[str, Any]) -> bool:
    """Whether a gain over the constant that is not sure is still too large to be called nothing.

    Of a metric of which 1 is perfect that is a tenth of what the constant lacks, by itself beyond
    chance.
    """
    if pd.notna(row["change"]):
        return bool(row["change"] < PROMISING)
    lack = 1 - row["baseline"]
    return bool(row["effect"] > -PROMISING * lack > 0 and row["p"] <= CHANCE)


def describe_missing(ablation: Effects) -> str:
    """Say which metric is missing in how many runs, and what stands in for it; else nothing."""
    outcome = ablation.design.outcome
    return write_text(
        "missing",
        metrics=ablation.missing,
        outcome=name_outcome(outcome),
        is_loss=outcome in LOSS_COLUMNS,
    )


def describe_endings(ablation: Effects, judge: str) -> str:
    """Say which levels still improve at the end, and which overfitted; else nothing."""
    endings = ablation.endings
    if endings.empty or not (endings["ending"] != "").any():
        return ""
    rows = {str(row["level"]): row for row in endings.to_dict("records") if not row["axis"]}
    control = rows.get(CONTROL)
    best = ablation.others.get(BEST_VAL_LOSS)
    by_best = None if best is None else "; ".join(_list_verdicts(best, ablation))
    # What configurations that learned nothing do by their best epochs is no advice.
    by_best = by_best if has_learned(ablation) else None
    levels = endings[endings["axis"] != ""]
    names = {
        ending: name_rows(levels[levels["ending"] == ending])
        for ending in (NOT_FINISHED, OVERFITTED)
    }
    return write_text(
        "training",
        judge=judge,
        control=control,
        late=None if control is None else _format_size(control, "late_change"),
        excess=None if control is None else _format_size(control, "excess_change"),
        unfinished=shorten(names[NOT_FINISHED], _MOST_NAMES),
        overfitted=shorten(names[OVERFITTED], _MOST_NAMES),
        all_unfinished=len(names[NOT_FINISHED]) == len(levels),
        all_overfitted=len(names[OVERFITTED]) == len(levels),
        by_best=by_best,
    )


def describe_others(ablation: Effects) -> str:
    """Say by the other measure, a metric or the loss, which verdicts differ."""
    texts = []
    for outcome, table in ablation.others.items():
        if outcome == BEST_VAL_LOSS or ablation.effects.empty:
            continue
        effects = ablation.effects[ablation.effects["pairs"] > 0]
        both = effects.merge(table, on=["axis", "level"], suffixes=("", "_other"))
        differing = both[both["verdict"] != both["verdict_other"]]
        is_decided = differing[["verdict", "verdict_other"]].isin([HELPS, HURTS])
        # The opposite first, then what one measure decides, then the rest.
        order = -is_decided.sum(axis=1)
        differing = differing.loc[order.sort_values(kind="stable").index]
        here = name_outcome(ablation.design.outcome)
        texts.append(
            write_text(
                "other_measure",
                outcome=name_outcome(outcome),
                here=here,
                groups=[
                    _describe_difference(rows, here, str(other))
                    for other, rows in differing.groupby("verdict_other", sort=False)
                ],
                n=len(differing),
                total=len(both),
                opposite=int(is_decided.all(axis=1).sum()),
            )
        )
    return " ".join(texts)


def _describe_difference(rows: pd.DataFrame, here: str, other: str) -> str:
    """Say of some levels their one verdict by the other measure, and those by the outcome."""
    names, is_one = join_words(shorten(name_rows(rows), _MOST_NAMES)), len(rows) == 1
    text = f"{names} {VERBS[other][0 if is_one else 1]}"
    counts = rows["verdict"].value_counts(sort=False)
    if len(counts) == 1:
        verb = VERBS[counts.index[0]][0 if is_one else 1]
        return f"{text}; by {here} {'it' if is_one else 'they'} {verb}"
    if len(rows) <= _MOST_NAMES:
        clauses = [
            f"{join_words(name_rows(group))} {VERBS[str(word)][0 if len(group) == 1 else 1]}"
            for word, group in rows.groupby("verdict", sort=False)
        ]
        return f"{text}. By {here} {join_words(clauses)}"
    (n, first), *others = [(n, VERBS[str(word)][0 if n == 1 else 1]) for word, n in counts.items()]
    parts = [f"{n} of them {first}", *(f"{n} {verb}" for n, verb in others)]
    return f"{text}. By {here} {join_words(parts)}"


def _format_size(row: Mapping[str, Any], name: str) -> str:
    """Format a change with its interval, as a percentage; "" where it has no ratio."""
    if pd.isna(row[name]):
        return ""
    ends = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
    return bracket(*format_fractions(ends))


def _list_verdicts(effects: pd.DataFrame, ablation: Effects) -> Sequence[str]:
    """Write level, change, interval and verdict of each effect by each run's best epoch."""
    scale, names = ablation.design.scale, []
    rows = effects[effects["pairs"] > 0]
    # Those that are decided first: not all are named.
    rows = rows.sort_values("verdict", key=lambda v: ~v.isin([HELPS, HURTS]), kind="stable")
    for row in rows.to_dict("records"):
        size = format_estimate(row, scale)
        names.append(f"{name_level(row['axis'], row['level'])} {size} ({row['verdict']})")
    return shorten(names, _MOST_NAMES)
