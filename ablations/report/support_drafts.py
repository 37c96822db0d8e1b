"""The sentences below the headline: the evidence, what to use and its cost, and one caution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED
from ablations.report.answer_drafts import (
    CONSTANT,
    ENDINGS,
    best_condition,
    findings_in_question,
    worst_findings,
)
from ablations.report.best import has_cheapest
from ablations.report.caution_drafts import draft_caution
from ablations.report.drafts import (
    Draft,
    Subject,
    draft,
)
from ablations.report.findings import Finding, sort_by_size
from ablations.report.formatting import NARROW, format_count, format_number
from ablations.report.soundness import judge_learning

MOST_SENTENCES = 3
BEST = "#table-best-set"
_MOST_NAMES = 3
SAME_COST = 0.05
"""Share by which the costs of two runs may differ and count as equal."""
MOST_NOISE = 2.0
"""Ratio of two times of one configuration from which on times say nothing."""


def draft_sentences(subject: Subject) -> list[Draft]:
    """Choose two or three sentences: the evidence, what to use or what is open, one caution."""
    design = subject.design
    if not (design.untuned.runs["status"] == "ok").any():
        return [each for each in [_draft_reason(subject)] if each is not None]
    if not judge_learning(subject.ablation).has_learned:
        drafts = [_draft_unlearned(subject), draft_caution(subject, is_learned=False)]
    elif len(subject.ablation.published):
        drafts = [_draft_printed(subject), *_draft_effects(subject), draft_caution(subject)]
    else:
        caution = draft_caution(subject)
        most = MOST_SENTENCES - (caution is not None)
        drafts = [*_draft_effects(subject)[:most], caution]
    return [each for each in drafts if each is not None][:MOST_SENTENCES]


def _draft_effects(subject: Subject) -> list[Draft]:
    """What helped, what to use, what hurt, what is open; the most important first."""
    if not subject.findings:
        return []
    if not subject.design.verdict_level or not subject.ablation.effects["reachable"].any():
        return [_draft_so_far(subject)]
    question = subject.metadata.question if subject.metadata else None
    findings = (question and findings_in_question(subject, question)) or subject.findings
    is_one = question is not None and question.level is not None and len(findings) == 1
    helping = [each for each in findings if each.verdict == HELPS and each.kind == "steady"]
    helping, conditional = sort_by_size(helping), best_condition(findings)
    drafts: list[Draft | None] = []
    if is_one and len(set(findings[0].verdicts.values())) > 1:
        drafts.append(_draft_ends(subject, findings[0]))
    elif helping:
        drafts.append(_draft_helped(subject, helping))
    elif conditional:
        drafts.append(_draft_helped_if(subject, conditional))
    elif is_one:
        drafts.append(_draft_estimate(subject, findings[0]))
    best = helping[:1] or ([conditional] if conditional else [])
    drafts.append(_draft_use(subject, [subject.short_name(each) for each in best]))
    if not helping and not conditional and not is_one:
        drafts.insert(0, _draft_hurt(subject))
    drafts += [_draft_open(subject), _draft_equal(subject)]
    return [each for each in drafts if each is not None]


def _worst(subject: Subject) -> dict[str, str]:
    """The level that hurts most, for the end of another sentence."""
    hurting = [each for each in worst_findings(subject) if each.kind == "steady"]
    if not hurting or hurting[0].row["diverged"]:
        return {"worst": "", "worst_change": ""}
    worst = hurting[0]
    return {"worst": subject.short_name(worst), "worst_change": subject.change(worst.row)}


def _also(subject: Subject, finding: Finding) -> dict[str, str]:
    """Another level that surely helps, the largest of them, for the end of a sentence."""
    others = [each for each in subject.with_verdict(HELPS) if each.key != finding.key]
    if not others:
        return {"also": "", "also_change": ""}
    also = sort_by_size(others)[0]
    return {"also": subject.short_name(also), "also_change": subject.change(also.row)}


def _draft_helped(subject: Subject, helping: Sequence[Finding]) -> Draft:
    best = helping[0]
    facts = {
        "name": subject.name(best),
        "scope": subject.scope(best),
        "outcome": subject.wording.outcome,
        "estimate": subject.wording.estimate(best.row),
        "second": subject.second(best),
        "seeds": format_count(int(best.row["seeds"]), subject.design.unit),
        **_worst(subject),
        **_also(subject, best),
    }
    shorter: list[Mapping[str, Any]] = [
        {"name": subject.short_name(best)},
        {"worst": "", "also": ""},
        {"scope": ""},
        {"second": ""},
    ]
    return draft("helped", subject.evidence(best), facts, *shorter)


def _draft_helped_if(subject: Subject, finding: Finding) -> Draft:
    has_loss = bool(finding.levels_with(HURTS))
    there = finding.largest(HURTS)[0] if has_loss else ""
    return _draft_parts(subject, finding, finding.largest(HELPS)[0], there)


def _draft_parts(subject: Subject, finding: Finding, here: str, there: str) -> Draft:
    """The effects of a level at one or two levels of another axis."""
    facts: dict[str, Any] = {
        "name": subject.name(finding),
        "outcome": subject.wording.outcome,
        "here": subject.condition(finding.across, [here], finding.parts),
        "gain": subject.wording.estimate(finding.parts[here]),
        "there": "",
        "loss": "",
        "seeds": format_count(int(finding.parts[here]["seeds"]), subject.design.unit),
        **_also(subject, finding),
    }
    if there:
        facts["there"] = subject.condition(finding.across, [there], finding.parts)
        facts["loss"] = subject.wording.estimate(finding.parts[there])
    shorter = [{"name": subject.short_name(finding)}, {"also": ""}, {"there": ""}]
    return draft("helped_if", subject.evidence(finding), facts, *shorter)


def _draft_estimate(subject: Subject, finding: Finding) -> Draft:
    """The estimate of a level that a question is about, where it does not help."""
    facts = {
        "name": subject.name(finding),
        "outcome": subject.wording.outcome,
        "estimate": subject.wording.estimate(finding.row),
        "second": subject.second(finding),
        "seeds": format_count(int(finding.row["seeds"]), subject.design.unit),
        "more": subject.more_seeds(finding) if finding.verdict == UNDECIDED else "",
    }
    return draft("estimated", subject.evidence(finding), facts, {"second": ""})


def _draft_so_far(subject: Subject) -> Draft:
    """What looks largest where seeds are too few for a verdict."""
    finding = sort_by_size(subject.findings)[0]
    effect = finding.row["effect"]
    facts = {
        "name": subject.short_name(finding),
        "size": subject.size(finding.row),
        "is_better": (effect > 0) == subject.design.higher_is_better,
    }
    return draft("so_far", subject.evidence(finding), facts)


def _draft_reason(subject: Subject) -> Draft | None:
    """The most frequent reason for which runs did not end well."""
    reasons = subject.design.untuned.runs["reason"].dropna().astype(str)
    if reasons.empty:
        return None
    text, n = Counter(reasons).most_common(1)[0]
    facts = {"text": text.rstrip("."), "n": format_count(n, "run")}
    short = {"text": f"{' '.join(text.split()[:15])} …"}
    return draft("reason", ENDINGS, facts, short)


def _draft_ends(subject: Subject, finding: Finding) -> Draft:
    """The best and the worst of the effects of a level at those of another axis."""
    sign = -1 if subject.design.higher_is_better else 1
    levels = [level for level, row in finding.parts.items() if np.isfinite(row["effect"])]
    ordered = sorted(levels, key=lambda level: sign * finding.parts[level]["effect"])
    return _draft_parts(subject, finding, ordered[0], ordered[-1])


def _draft_hurt(subject: Subject) -> Draft | None:
    hurting = worst_findings(subject)
    if not hurting:
        return None
    worst = hurting[0]
    facts: dict[str, Any] = {"name": subject.name(worst), "others": len(hurting) - 1}
    if worst.row["diverged"] > worst.row["control_diverged"]:
        row = worst.row
        facts |= {"runs": f"{row['pairs']:,}", "control": f"{row['control_diverged']:,}"}
        facts["diverged"] = f"{row['diverged']:,}"
        return draft("diverges", subject.evidence(worst), facts)
    facts |= {
        "scope": subject.scope(worst),
        "outcome": subject.wording.outcome,
        "estimate": subject.wording.estimate(worst.row),
        "second": subject.second(worst),
        "seeds": format_count(int(worst.row["seeds"]), subject.design.unit),
    }
    shorter: list[Mapping[str, Any]] = [{"name": subject.short_name(worst)}, {"second": ""}]
    return draft("hurt", subject.evidence(worst), facts, *shorter, {"scope": ""}, {"others": 0})


def _draft_open(subject: Subject) -> Draft | None:
    undecided = subject.with_verdict(UNDECIDED)
    if not undecided:
        return None
    # The largest are named; the number of seeds is that of the one that the fewest would decide.
    more = [float(each.row["more"]) for each in undecided]
    soonest = undecided[int(np.argmin(np.where(np.isfinite(more), more, np.inf)))]
    first = subject.short_name(soonest)
    names = [subject.short_name(each) for each in sort_by_size(undecided)]
    facts: dict[str, Any] = {
        "n": len(names),
        "first": first,
        "more": subject.more_seeds(soonest),
        "needs_rows": all(each.row.get("needs_rows", False) for each in undecided),
    }
    hidden = {"names": [first, f"{len(names) - 1} more"]}
    shorter = [hidden] if len(names) > 1 else []
    shown = [*names[:_MOST_NAMES], *([f"{len(names) - _MOST_NAMES} more"] * (len(names) > 3))]
    return draft("open", subject.evidence(soonest), {**facts, "names": shown}, *shorter)


def _draft_equal(subject: Subject) -> Draft | None:
    equal = subject.with_verdict(EQUAL)
    if not equal or len(equal) == len(subject.findings):
        return None
    names = [subject.short_name(each) for each in sort_by_size(equal)]
    shown = [*names[:_MOST_NAMES], *([f"{len(names) - _MOST_NAMES} more"] * (len(names) > 3))]
    facts = {
        "names": shown,
        "outcome": subject.wording.outcome,
        "margin": f"{subject.margin} of the control's",
        "seeds": subject.seeds,
    }
    return draft("equal", subject.evidence(equal[0]), facts, {"margin": subject.margin})


def _draft_use(subject: Subject, mentioned: Sequence[str] = ()) -> Draft | None:
    """Say which configuration to use, and what a run of it takes; ``mentioned``: names of levels
    that the sentence before it is about.
    """
    members = subject.ablation.best_set
    if members.empty or not bool(members["is_reachable"].iloc[0]):
        return None
    if members["candidates"].iloc[0] < 2:
        return None
    if len(members) == 1:
        return _draft_best(subject, members.iloc[0], mentioned)
    is_cheapest = is_timed(subject) and has_cheapest(members, subject.design)
    timed = members[members["cheapest"] & is_cheapest]
    names = [subject.name_configuration(row) for _, row in members.iterrows()]
    row = timed.iloc[0] if len(timed) else members.iloc[0]
    facts: dict[str, Any] = {
        "members": len(members),
        "n": int(row["candidates"]),
        "has_control": "" in names,
        "is_cheapest": len(timed) > 0,
        "names": subject.name_configuration(row),
        "cost": describe_cost(subject, row),
    }
    return draft("use_any", BEST, facts, {"cost": ""})


def _draft_best(subject: Subject, row: pd.Series, mentioned: Sequence[str]) -> Draft | None:
    """Say of the one best configuration what it is and what a run of it takes."""
    names, cost = subject.name_configuration(row), describe_cost(subject, row)
    if not names or (names in mentioned and not cost):
        return None
    if names in mentioned:
        return draft("use_cost", BEST, {"names": names, "cost": cost})
    facts = {
        "n": f"{row['candidates']:,}",
        "names": names,
        "outcome": subject.wording.outcome,
        "estimate": subject.wording.estimate(subject.ablation.winner.iloc[0].to_dict()),
        "cost": cost,
    }
    return draft("use_configuration", BEST, facts, {"cost": ""})


def is_timed(subject: Subject) -> bool:
    """Whether the runs of all configurations were timed alone; else there is only their share of
    the time of those that they were trained with.
    """
    runs = subject.design.runs
    if "run_seconds" not in runs:
        return False
    alone, share = (runs[name].astype(float) for name in ("run_seconds", "train_seconds"))
    return not np.allclose(alone, share, equal_nan=True)


def describe_cost(subject: Subject, row: pd.Series) -> str:
    """Say what a run of a configuration takes, where runs were timed alone: ``0.12 s a run, 1.4
    times the control's``; without the comparison where chance can do as much, and not at all where
    two times of one configuration differ by ``MOST_NOISE``.
    """
    runs, noise = subject.design.runs, subject.design.cost_noise
    if not is_timed(subject) or pd.isna(row["seconds"]) or noise >= MOST_NOISE:
        return ""
    text = f"{format_number(row['seconds'], 2)}{NARROW}s a run"
    is_control = np.ones(len(runs), dtype=bool)
    for axis, level in subject.design.controls.items():
        is_control &= (runs[axis].astype(str) == str(level)).to_numpy()
    control = float(runs.loc[is_control, "run_seconds"].astype(float).median())
    if not subject.name_configuration(row) or not control > 0:
        return text
    ratio = row["seconds"] / control
    if abs(ratio - 1) < SAME_COST and noise < 1 + SAME_COST:
        return f"{text}, as long as the control's"
    if 1 / noise < ratio < noise:
        return text
    return f"{text}, {ratio:.2g} times the control's"


def _draft_unlearned(subject: Subject) -> Draft:
    metric = subject.metadata.metric_name if subject.metadata else ""
    learning = judge_learning(subject.ablation, metric)
    rows = [each for each in (learning.control, learning.best) if each is not None]
    facts = {
        "outcome": learning.outcome,
        "control": format_number(learning.control["value"]) if learning.control else "",
        "best": format_number(learning.best["value"]) if learning.best else "",
        "n": learning.candidates,
        "constant": format_number(rows[0]["baseline"]),
    }
    if learning.candidates < 2:
        facts["best" if learning.control else "control"] = ""
    return draft("unlearned", CONSTANT, facts)


def _draft_printed(subject: Subject) -> Draft:
    runs = subject.ablation.published["runs"]
    low, high = int(runs.min()), int(runs.max())
    text = format_count(high, "run") if low == high else f"{low:,} to {high:,} runs"
    return draft("printed", "#evidence-published", {"runs": text})
