"""Which headline answers a study: what to do, or the answer to the study's own question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.analysis import EQUAL, HELPS, HURTS, UNDECIDED
from ablations.analysis.power import fewest_seeds
from ablations.report.drafts import Draft, Subject, draft
from ablations.report.findings import Finding, describe_across, sort_by_size
from ablations.report.formatting import format_number
from ablations.report.phrases import describe_rest
from ablations.report.soundness import judge_learning
from ablations.report.strengths import name_axis
from ablations.results.metadata import Question, label

FOREST, ENDINGS, CONSTANT, CAUTIONS = (
    "#forest", "#evidence-endings", "#evidence-constant", "#evidence-cautions",
)  # fmt: skip
REPRODUCED = 0.9
"""Share of the printed losses from which on they count as reproduced."""
BAND = "99\N{NARROW NO-BREAK SPACE}%"
"""Share of the runs within the band around a printed loss."""
MOST_MORE = 40
"""More seeds that a headline still advises."""
_ASKING = {"do", "does", "is", "are", "can", "has", "have", "did", "will", "should"}


def draft_headline(subject: Subject) -> Draft:
    """Choose the headline: the first that holds of what limits an answer, and then the answer."""
    for choose in (_draft_no_result, _draft_published, _draft_not_learned, _draft_not_compared):
        if headline := choose(subject):
            return headline
    question = subject.metadata.question if subject.metadata else None
    return (question and draft_answer(subject, question)) or draft_advice(subject)


def _draft_no_result(subject: Subject) -> Draft | None:
    endings = Counter(subject.design.untuned.runs["status"])
    if endings["ok"]:
        return None
    counts = {word: endings[word] for word in ("diverged", "failed", "skipped") if endings[word]}
    if not counts:
        return draft("no_run", "#evidence-study", {})
    n = sum(counts.values())
    if len(counts) == 1 and (word := next(iter(counts))) != "skipped":
        return draft(f"all_{word}", ENDINGS, {"n": n})
    texts = [f"{count:,} {word}" for word, count in counts.items()]
    return draft("none_ended_well", ENDINGS, {"counts": texts})


def _draft_published(subject: Subject) -> Draft | None:
    published = subject.ablation.published
    if published.empty:
        return None
    inside, total = int(published["inside"].sum()), len(published)
    pattern = "reproduced" if inside >= REPRODUCED * total else "not_reproduced"
    facts = {"inside": inside, "total": total, "share": BAND}
    return draft(pattern, "#evidence-published", facts)


def _draft_not_learned(subject: Subject) -> Draft | None:
    """Say that nothing was learned, or that nobody can say whether anything was."""
    learning = judge_learning(subject.ablation)
    if learning.has_learned:
        return None
    pattern = "maybe_learned" if learning.is_promising else "nothing_learned"
    return draft(pattern, CONSTANT, {"n": learning.candidates})


def _draft_not_compared(subject: Subject) -> Draft | None:
    """Say why no effect can be told: nothing to compare, or too few seeds."""
    effects, design = subject.ablation.effects, subject.design
    if not subject.findings:
        runs = design.untuned.runs
        ended = runs[runs["status"] == "ok"]
        factors = list(design.untuned.factors)
        if factors and len(ended.drop_duplicates(factors)) > 1:
            return draft("nothing_compared", "#evidence-study", {})
        values = ended[design.outcome].astype(float)
        value = format_number(float(values.mean()))
        same: dict[str, Any] = {"outcome": subject.wording.outcome, "value": value}
        return draft("one_configuration", "#evidence-best", same)
    if not design.verdict_level:
        looks = [f"{n:,}" for n in design.looks]
        return draft("no_look", CAUTIONS, {"seeds": subject.seeds, "looks": looks})
    if not effects["reachable"].any():
        facts = {"seeds": subject.seeds, "fewest": fewest_seeds(design)}
        return draft("too_few_seeds", CAUTIONS, facts)
    return None


def draft_advice(subject: Subject) -> Draft:
    """Say the one thing to do: use what helps, or change nothing."""
    helping = subject.with_verdict(HELPS)
    if steady := [each for each in helping if each.kind == "steady"]:
        return _draft_use(subject, steady[0], is_most=len(helping) > 1 and steady[0] is helping[0])
    if conditional := best_condition(subject.findings):
        return _draft_use_if(subject, conditional)
    if hurting := worst_findings(subject):
        return _draft_keep(subject, hurting)
    n, equal = len(subject.findings), len(subject.with_verdict(EQUAL))
    name = subject.short_name(subject.findings[0])
    if equal == n:
        same = {"n": n, "name": name, "outcome": subject.wording.outcome, "margin": subject.margin}
        return draft("all_equal", FOREST, same)
    facts: dict[str, Any] = {"n": n, "name": name, "equal": equal, "seeds": subject.seeds}
    more = subject.more_seeds(subject.findings[0], MOST_MORE)
    href = subject.evidence(subject.findings[0]) if n == 1 else FOREST
    return draft("none_helps", href, {**facts, "more": more}, {"more": ""})


def _draft_use(subject: Subject, best: Finding, *, is_most: bool) -> Draft:
    facts = {
        "name": subject.title(best),
        "change": subject.wording.say(best.row),
        "scope": subject.scope(best),
        "is_most": is_most,
    }
    shorter: list[Mapping[str, Any]] = [{"name": subject.short_name(best)}, {"is_most": False}]
    return draft("use", subject.evidence(best), facts, *shorter, {"scope": ""})


def best_condition(findings: Sequence[Finding]) -> Finding | None:
    """The level that helps most at some level of another axis, if any surely does."""
    helping = [
        each
        for each in findings
        if each.levels_with(HELPS) and set(each.verdicts.values()) != {HELPS}
    ]
    sizes = [abs(each.largest(HELPS)[1]["effect"]) for each in helping]
    return helping[sizes.index(max(sizes))] if helping else None


def _draft_use_if(subject: Subject, finding: Finding) -> Draft:
    hurting = finding.levels_with(HURTS)
    facts = {
        "name": subject.title(finding),
        "here": subject.where(finding, HELPS),
        "gain": subject.largest(finding, HELPS, with_outcome=True),
        "there": subject.where(finding, HURTS) if hurting else "",
        "loss": subject.largest(finding, HURTS),
    }
    return draft("use_if", subject.evidence(finding), facts, *_shorten(subject, finding))


def _shorten(subject: Subject, finding: Finding) -> list[Mapping[str, Any]]:
    """Facts that take fewer words: no strength, and fewer conditions by name."""
    shorter: list[Mapping[str, Any]] = [{"name": subject.short_name(finding)}]
    for verdict, place, size in ((HURTS, "there", "loss"), (HELPS, "here", "gain")):
        if finding.levels_with(verdict):
            level, row = finding.largest(verdict)
            where = subject.condition(finding.across, [level], finding.parts)
            gain = subject.size(row) if verdict == HELPS else subject.change(row)
            shorter.append({place: where, size: gain})
    return shorter


def worst_findings(subject: Subject) -> list[Finding]:
    """The levels that hurt, the worst first: those that diverge, then the largest effects."""
    hurting = subject.with_verdict(HURTS)
    return sorted(hurting, key=lambda each: -each.row["diverged"])


def _draft_keep(subject: Subject, hurting: Sequence[Finding]) -> Draft:
    worst, n = hurting[0], len(subject.findings)
    name = subject.short_name(worst)
    if n == 1:
        reason = f"{name} hurts ({subject.size(worst.row)})"
        return draft("keep", subject.evidence(worst), {"reason": reason, "name": "", "degree": ""})
    every = "both" if n == 2 else f"all {n:,}"
    all_hurt = len(hurting) == n
    facts = {
        "reason": f"{every} changes hurt" if all_hurt else f"none of {n:,} changes surely helps",
        "degree": "more" if all_hurt and n == 2 else "most",
        "name": name,
        "size": subject.size(worst.row),
        "scope": subject.scope(worst),
    }
    return draft("keep", subject.evidence(worst), facts, {"scope": ""}, {"name": ""})


def draft_answer(subject: Subject, question: Question) -> Draft | None:
    """Answer a study's own question; None where its levels were not compared."""
    findings = findings_in_question(subject, question)
    if not findings:
        return None
    is_asked = question.text.split(" ")[0].lower() in _ASKING
    if question.level is None:
        return _draft_which(subject, question.axis, findings, is_asked=is_asked)
    return _draft_whether(subject, findings[0], is_asked=is_asked)


def findings_in_question(subject: Subject, question: Question) -> list[Finding]:
    """The findings that answer a question: of its level, or of all levels of its axis."""
    return [
        describe_across(each.row, question.across, subject.ablation) if question.across else each
        for each in subject.findings
        if each.key[0] == question.axis
        and (question.level is None or each.key[1] == label(question.level))
    ]


def _draft_whether(subject: Subject, finding: Finding, *, is_asked: bool) -> Draft:
    """Answer whether one level helps, and at which levels of the axis in question."""
    verdicts = finding.verdicts if finding.across else {"": finding.verdict}
    words = set(verdicts.values())
    facts: dict[str, Any] = {
        "is_asked": is_asked,
        "name": subject.title(finding),
        "outcome": subject.wording.outcome,
        "margin": f"{subject.margin} of the control's",
        "more": subject.more_seeds(finding, MOST_MORE),
    }
    quantifier = "any" if words == {EQUAL} else "every"
    scope = subject.condition(finding.across, list(finding.parts), finding.parts, quantifier)
    facts["scope"] = scope if finding.across else ""
    if words == {HELPS} or words == {HURTS}:
        return _draft_one_way(subject, finding, facts, words.pop())
    if words == {EQUAL}:
        return draft("answer_equal", subject.evidence(finding), facts, {"margin": subject.margin})
    if not words & {HELPS, HURTS}:
        return draft("answer_open", subject.evidence(finding), facts, {"more": ""})
    return _draft_partly(subject, finding, facts)


def _draft_one_way(
    subject: Subject, finding: Finding, facts: Mapping[str, Any], verdict: str
) -> Draft:
    row, where = finding.row, ""
    if finding.across:
        level, row = finding.largest(verdict)
        where = subject.condition(finding.across, [level], finding.parts)
    pattern = "answer_everywhere" if verdict == HELPS else "answer_nowhere"
    facts = {**facts, "where": where, "size": subject.size(row)}
    shorter = {"name": subject.short_name(finding)}
    return draft(pattern, subject.evidence(finding), facts, shorter)


def _draft_partly(subject: Subject, finding: Finding, facts: Mapping[str, Any]) -> Draft:
    hurting, helping = (finding.levels_with(word) for word in (HURTS, HELPS))
    others = [level for level in finding.parts if level not in helping]
    shown = {
        "there": subject.where(finding, HURTS) if hurting else "",
        "loss": subject.largest(finding, HURTS, with_outcome=not helping),
    }
    if not helping:
        return draft("answer_harm", subject.evidence(finding), {**facts, **shown})
    rest = describe_rest(others, list(finding.parts))
    elsewhere = rest or subject.condition(finding.across, others, finding.parts)
    shown |= {
        "here": subject.where(finding, HELPS),
        "gain": subject.largest(finding, HELPS, with_outcome=True),
        "elsewhere": elsewhere,
        "there": elsewhere if len(hurting) == len(others) else shown["there"],
    }
    shorter = [{"name": subject.short_name(finding)}, {"gain": "", "loss": ""}]
    return draft("answer_partly", subject.evidence(finding), {**facts, **shown}, *shorter)


def _draft_which(
    subject: Subject, axis: str, findings: Sequence[Finding], *, is_asked: bool
) -> Draft:
    """Answer which level of an axis helps."""
    facts: dict[str, Any] = {"is_asked": is_asked}
    steady = [
        each
        for each in findings
        if each.verdict == HELPS
        and each.kind == "steady"
        and set(each.verdicts.values()) <= {HELPS}
    ]
    if steady:
        best = sort_by_size(steady)[0]
        facts |= {"name": subject.title(best), "change": subject.wording.say(best.row)}
        facts["scope"] = subject.scope(best)
        shorter = {"name": subject.short_name(best)}
        return draft("answer_best", subject.evidence(best), facts, shorter, {"scope": ""})
    if conditional := best_condition(findings):
        facts |= {
            "name": subject.title(conditional),
            "here": subject.where(conditional, HELPS),
            "gain": subject.largest(conditional, HELPS, with_outcome=True),
        }
        shorter = {"name": subject.short_name(conditional)}
        return draft("answer_best_if", subject.evidence(conditional), facts, shorter)
    hurting = [each for each in worst_findings(subject) if each.key[0] == axis]
    undecided = [each for each in findings if each.verdict == UNDECIDED]
    shown = [*hurting, *undecided, *findings][0]
    facts |= {"axis": name_axis(axis), "name": "", "size": "", "undecided": len(undecided)}
    if hurting:
        facts |= {"name": subject.short_name(shown), "size": subject.size(shown.row)}
    facts["others"] = len(findings) - len(undecided)
    return draft("answer_none", subject.evidence(shown), facts, {"name": ""})
