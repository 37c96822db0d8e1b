"""A study of several data sets in words: per level a sentence, and what the sentences cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.design import Scale
from ablations.analysis.results import Results
from ablations.report.datasets_drafts import draft_datasets
from ablations.report.forest_text import outline_chart
from ablations.report.formatting import (
    format_interval,
    format_p,
    format_percent,
    join_words,
    name_outcome,
)
from ablations.report.headline import Sentence, write_screen
from ablations.report.soundness import describe_endings, describe_learning, describe_missing
from ablations.report.texts import Caveat, write_text
from ablations.results.answer import Answer, Chart


@dataclass(frozen=True)
class TasksData:
    """The results of a study of several tasks, and the tables of its page."""

    results: Results
    over: pd.DataFrame
    effects: pd.DataFrame
    ranks: pd.DataFrame
    profiles: pd.DataFrame
    pages: Mapping[str, str]
    """Label of each task to the file of its page."""

    @property
    def scale(self) -> Scale:
        """The scale of the effects over data sets."""
        return scale_over(self.over)

    @property
    def outcome(self) -> str:
        """The outcomes of the tasks in words."""
        outcomes = [each.design().outcome for each in self.results.by_task.values()]
        return join_words(list(dict.fromkeys(map(name_outcome, outcomes))))

    @property
    def is_higher_better(self) -> bool:
        """Whether more is better of the outcome of the first task, whose sign the others have."""
        return next(iter(self.results.by_task.values())).design().higher_is_better

    @property
    def bound(self) -> float:
        """The margin on the scale of the effects."""
        margin = self.results.require_metadata().margin
        return float(np.log1p(margin)) if self.scale == "log" else margin


def build_tasks_data(results: Results, pages: Mapping[str, str]) -> TasksData:
    """Make every table of the page of a study of several tasks."""
    return TasksData(
        results,
        over=results.datasets(),
        effects=results.dataset_effects(),
        ranks=results.dataset_ranks(),
        profiles=results.dataset_profiles(),
        pages=pages,
    )


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
    if not rows:
        return Answer((), ())
    headline, *sentences = (sentence.text for sentence in write_sentences(results, table))
    return Answer(
        rows,
        tuple(sentences),
        headline=headline,
        chart=_outline_chart(results, table),
        cautions=(*limits, *cautions),
    )


def _outline_chart(results: Results, table: pd.DataFrame) -> Chart:
    """Describe the forest plot of the levels over data sets, for a terminal."""
    nothing = pd.DataFrame()
    data = TasksData(results, table, nothing, nothing, nothing, pages={})
    records = table[table["n"] > 0].to_dict("records")
    unknown = dict.fromkeys(("low", "high", "change_low", "change_high"), np.nan)
    return outline_chart(
        [row if row["n"] > 1 else row | unknown for row in records],
        results.require_metadata(),
        format_p_over,
        outcome=f"{data.outcome} on data sets like these",
        margin=results.require_metadata().margin,
        is_log=data.scale == "log",
        is_higher_better=data.is_higher_better,
        is_share=True,
    )


def format_p_over(row: Mapping[str, Any]) -> str:
    """Write the adjusted p of a level over data sets, or why there is none."""
    return format_p({**row, "seeds": row["n"]}).replace("seed", "data set")


def write_sentences(
    results: Results, table: pd.DataFrame, effects: pd.DataFrame | None = None
) -> list[Sentence]:
    """Say what the levels do on data sets like these: a headline, and what supports it.

    ``table`` is of the effects over data sets, ``effects`` of those on each data set.
    """
    effects = results.dataset_effects() if effects is None else effects
    first, *others = draft_datasets(results, table, effects)
    screen = write_screen(first, others)
    return [screen.headline, *screen.sentences]


def describe_scope(results: Results, table: pd.DataFrame) -> Caveat:
    """Say what the counts of verdicts are about, and what is not."""
    names = list(results.by_task)
    facts: dict[str, Any] = {
        "n": len(names),
        "names": join_words(names),
        "is_log": scale_over(table) == "log",
    }
    return Caveat("", write_text("datasets_scope", **facts))


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
