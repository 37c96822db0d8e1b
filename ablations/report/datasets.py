"""A study of several data sets in words: per level a sentence, and what the sentences cover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.analysis import HELPS, UNDECIDED
from ablations.analysis.design import Scale
from ablations.analysis.inference import min_seeds
from ablations.analysis.results import Results
from ablations.report.formatting import (
    format_interval,
    format_p,
    format_percent,
    join_words,
    name_outcome,
)
from ablations.report.soundness import describe_endings, describe_learning, describe_missing
from ablations.report.texts import VERBS, Caveat, shorten, write_text
from ablations.results.answer import Answer

_MOST_NAMES = 4


def scale_over(table: pd.DataFrame) -> Scale:
    """Return the scale of the effects of a table over data sets."""
    return "log" if (table["scale"] == "log").all() else "difference"


def summarise_datasets(results: Results, table: pd.DataFrame | None = None) -> Answer:
    """Every level against its control over data sets, then a sentence for each level."""
    table = results.datasets() if table is None else table
    rows = tuple(
        (
            *(str(row[name]) for name in ("axis", "level", "control", "verdict")),
            format_percent(row["change"]),
            format_interval({**row, "seeds": row["n"]}, "log"),
            format_p_over(row),
        )
        for row in table.to_dict("records")
    )
    cautions = results.require_metadata().cautions
    limits = [each.text for each in (describe_scope(results, table), *limit_caveats(results))]
    sentences = [*answer_over_datasets(results, table), *limits, *cautions]
    return Answer(rows, tuple(sentences) if rows else ())


def format_p_over(row: Mapping[str, Any]) -> str:
    """Write the adjusted p of a level over data sets, or why there is none."""
    return format_p({**row, "seeds": row["n"]}).replace("seed", "data set")


def answer_over_datasets(results: Results, table: pd.DataFrame) -> list[str]:
    """Say what the levels do on data sets like these, and on how many of these they do what."""
    designs = [each.design() for each in results.by_task.values()]
    names = list(results.by_task)
    is_reachable = bool(table["reachable"].any())
    headline = write_text(
        "datasets_headline",
        n=len(names),
        levels=len(table),
        parts=_list_verdicts(table),
        is_reachable=is_reachable,
        fewest=min_seeds(designs[0].alpha),
        alpha=f"{designs[0].alpha:.2g}",
        outcome=join_words(list(dict.fromkeys(name_outcome(d.outcome) for d in designs))),
    )
    return [headline, *(_describe_level(row) for row in table.to_dict("records"))]


def describe_scope(results: Results, table: pd.DataFrame) -> Caveat:
    """Say what the counts of verdicts are about, and what is not."""
    names = list(results.by_task)
    facts: dict[str, Any] = {
        "n": len(names),
        "names": join_words(names),
        "is_log": scale_over(table) == "log",
    }
    return Caveat("", write_text("datasets_scope", **facts))


def _list_verdicts(table: pd.DataFrame) -> list[str]:
    parts = []
    for verdict, (singular, plural) in VERBS.items():
        rows = table[table["verdict"] == verdict].to_dict("records")
        names = [f"{row['axis']} {row['level']} {format_percent(row['change'])}" for row in rows]
        if verdict == UNDECIDED:
            names = [name.rsplit(" ", 1)[0] for name in names]
        if rows:
            verb = singular if len(rows) == 1 else plural
            parts.append(f"{len(rows)} {verb} ({', '.join(shorten(names, _MOST_NAMES))})")
        elif verdict == HELPS:
            parts.append("no level helps")
    return parts


def _describe_level(row: Mapping[str, Any]) -> str:
    return f"{row['axis']} {row['level']}: {row['sentence']}."


def limit_caveats(results: Results) -> list[Caveat]:
    """Say of each data set what puts its verdicts in doubt: nothing learned, overfitting."""
    caveats = []
    for name, each in results.by_task.items():
        ablation, metadata = each.ablation, each.require_metadata()
        if ablation.effects.empty:
            continue
        texts = {
            "not learned": describe_learning(ablation, metadata.metric_name),
            "metric missing": describe_missing(ablation),
            "training": describe_endings(ablation, metadata.judge),
        }
        caveats += [Caveat(f"{name}: {k}", f"{name}: {v}") for k, v in texts.items() if v]
    return caveats
