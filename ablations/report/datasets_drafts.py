"""What the first screen of a study of several data sets says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.analysis import EQUAL, HELPS, HURTS
from ablations.analysis.inference import min_seeds
from ablations.analysis.results import Results
from ablations.report.drafts import Draft, draft
from ablations.report.forest_scale import Writer, choose_unit
from ablations.report.formatting import NARROW, format_count, join_words, name_outcome
from ablations.report.phrases import Wording
from ablations.report.soundness import judge_learning
from ablations.report.strengths import name_level, row_id

FOREST = "#forest"
Row = Mapping[str, Any]


def draft_datasets(results: Results, table: pd.DataFrame, effects: pd.DataFrame) -> list[Draft]:
    """Draft the headline, and the sentences below it."""
    order = table["effect"].abs().sort_values(ascending=False, kind="stable").index
    rows = table.reindex(order).to_dict("records")
    wording = choose_wording(results, table, effects)
    if table["reachable"].any():
        drafts = _draft_like_these(rows, wording, len(results.by_task), results)
    else:
        drafts = _draft_these(rows, wording, len(results.by_task), results)
    unlearned = [
        name
        for name, each in results.by_task.items()
        if not judge_learning(each.ablation).has_learned
    ]
    if unlearned:
        drafts.append(draft("datasets_unlearned", "#evidence-cautions", {"names": unlearned}))
    return drafts


def choose_wording(results: Results, table: pd.DataFrame, effects: pd.DataFrame) -> Wording:
    """Choose how the effects are said: in the unit and with the digits of the forest plot."""
    metadata = results.require_metadata()
    outcomes = [name_outcome(each.design().outcome) for each in results.by_task.values()]
    is_log = bool((table["scale"] == "log").all())
    here = effects.loc[effects["pairs"] > 0, "relative"].astype(float).tolist()
    values = [*table["effect"].astype(float), *here]
    return Wording(
        outcome=join_words(list(dict.fromkeys(outcomes))),
        is_log=True,
        higher_is_better=False,
        writer=Writer.from_margin(metadata.margin, (), is_log=True),
        unit=choose_unit(values) if is_log else "percent",
        metadata=metadata,
    )


def _draft_like_these(
    rows: list[dict[str, Any]], wording: Wording, n: int, results: Results
) -> list[Draft]:
    """What holds on data sets like these, each of which counts as one."""
    helping, hurting = ([row for row in rows if row["verdict"] == v] for v in (HELPS, HURTS))
    facts: dict[str, Any] = {"outcome": wording.outcome}
    if helping:
        best = helping[0]
        facts |= {"name": _name(best, results), "change": wording.say(best)}
        facts["is_most"] = len(helping) > 1
        shorter = {"name": name_level(best["axis"], best["level"])}
        headline = draft("datasets_use", _evidence(best), facts, shorter, {"is_most": False})
    elif hurting:
        worst = hurting[0]
        facts |= {"name": name_level(worst["axis"], worst["level"]), "size": wording.write(worst)}
        facts["is_most"] = len(hurting) > 1
        headline = draft("datasets_keep", _evidence(worst), facts, {"is_most": False})
    elif all(row["verdict"] == EQUAL for row in rows):
        margin = f"{100 * results.require_metadata().margin:g}{NARROW}%"
        headline = draft("datasets_equal", FOREST, facts | {"margin": margin})
    else:
        headline = draft("datasets_open", FOREST, {})
    first = [*helping[:1], *hurting[:1]] or rows[:1]
    return [headline, *(_draft_estimate(row, wording, n, results) for row in first)]


def _draft_estimate(row: Row, wording: Wording, n: int, results: Results) -> Draft:
    facts = {
        "name": _name(row, results),
        "outcome": wording.outcome,
        "estimate": wording.estimate(row),
        "n": n,
        "counts": count_verdicts(row),
    }
    shorter = {"name": name_level(row["axis"], row["level"])}
    return draft("datasets_estimate", _evidence(row), facts, shorter, {"counts": ""})


def _draft_these(
    rows: list[dict[str, Any]], wording: Wording, n: int, results: Results
) -> list[Draft]:
    """What holds on these data sets, which are too few to tell of others."""
    design = next(iter(results.by_task.values())).design()
    fewest = min_seeds(design.alpha)
    by_help = sorted(rows, key=lambda row: (-row["helps"], row["hurts"]))
    by_harm = sorted(rows, key=lambda row: (-row["hurts"], row["helps"]))
    facts: dict[str, Any] = {"n": n}
    shown = [row for row in (by_help[0], by_harm[0]) if row["helps"] or row["hurts"]]
    word = "helps" if by_help[0]["helps"] else "hurts"
    first = by_help[0] if by_help[0]["helps"] else by_harm[0]
    if first[word]:
        facts |= {"name": _name(first, results), "verb": word, "count": first[word]}
        facts["total"] = first["datasets"]
        shorter = {"name": name_level(first["axis"], first["level"])}
        headline = draft("datasets_most", _evidence(first), facts, shorter)
    else:
        headline = draft("datasets_none", FOREST, facts)
    details = [
        draft(
            "datasets_counts",
            _evidence(row),
            {"name": _name(row, results), "counts": count_verdicts(row)},
        )
        for row in {_evidence(row): row for row in shown}.values()
        if row is not first or first[word] < first["datasets"]
    ]
    details = details or [_draft_estimate(rows[0], wording, n, results)]
    return [headline, *details, draft("datasets_others", FOREST, {"n": n, "fewest": fewest})]


def count_verdicts(row: Row) -> str:
    """Say on how many data sets a level does what: ``helps on 3 of 5 data sets, hurts on 1``."""
    verbs = {"helps": "helps", "hurts": "hurts", "equal": "makes no difference"}
    verbs |= {"undecided": "is undecided"}
    counts = {verb: int(row[column]) for column, verb in verbs.items()}
    parts = [f"{verb} on {count}" for verb, count in counts.items() if count]
    if not parts:
        return "is compared on no data set"
    parts[0] += f" of {format_count(int(row['datasets']), 'data set')}"
    return join_words(parts)


def _name(row: Row, results: Results) -> str:
    return name_level(row["axis"], row["level"], results.require_metadata())


def _evidence(row: Row) -> str:
    return f"#{row_id(row['axis'], row['level'])}"
