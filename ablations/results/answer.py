"""The answer of a study in words: as the command prints it, and as ``answer.json`` keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from ablations.core.errors import RequestError
from ablations.core.files import digest, read_file, read_sealed_json, write_sealed_json
from ablations.results import shards
from ablations.results.environment import ENVIRONMENT_FILE, sources
from ablations.results.looks import LOOKS_FILE
from ablations.results.metadata import METADATA_FILE
from ablations.results.schema import TABLES
from ablations.results.store import STUDY_FILE, StoredResults

COLUMNS = ("axis", "level", "against", "verdict", "change", "interval", "p (adj.)")
HEADINGS = {
    "p_adjusted": "adjusted p",
    "late_change": "last fifth",
    "excess_change": "since best epoch",
    "control_change": "against the controls",
    "learning": "beat the constant",
    "better": "P(better)",
    "cells": "settings",
    "blocks": "rounds",
    "improvement": "P(better)",
    "iqm": "middle half of runs",
    "more": "more seeds",
}
"""Headings, in the answers to questions, of columns whose names would not read well."""

ANSWER_FILE, REPORT_FILE = "answer.json", "report.html"


@dataclass(frozen=True)
class ChartRow:
    """One level in a forest plot: its texts, and its positions in percent of the width."""

    axis: str
    control: str
    name: str
    verdict: str
    at: float | None
    start: float | None
    end: float | None
    outside: str
    """The side on which the effect lies beyond the scale: "", ``left`` or ``right``."""
    change: str
    interval: str
    p: str
    missing: str = ""
    """Why there is no effect, if there is none."""
    reversed_by: str = ""
    """The axis at some of whose levels it surely helps, and at others surely hurts."""


@dataclass(frozen=True)
class Chart:
    """A forest plot of every level against its control, for a terminal."""

    outcome: str
    zero: float
    ticks: tuple[tuple[float, str], ...]
    is_higher_better: bool
    rows: tuple[ChartRow, ...]
    interval: str = "95 % interval"
    """What the intervals are."""
    notes: tuple[str, ...] = ()
    """How to read what the rows do not explain themselves."""


@dataclass(frozen=True)
class Answer:
    """The ablation table in words, row by row of ``COLUMNS``, the sentences of the first screen,
    and the set of the best configurations for programs.
    """

    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]
    best_set: Mapping[str, Any] | None = None
    """The configurations that cannot be told from the best (``report.best.outline_best``)."""
    headline: str = ""
    """The one sentence to take home."""
    chart: Chart | None = None
    """The rows as a forest plot."""
    cautions: tuple[str, ...] = ()
    """What puts the answer in doubt, and what limits it."""
    question: str = ""
    """The study's own question, where the headline answers it."""


def as_html(answer: Answer, source: str) -> str:
    """The sentences, the table and ``source``, a description of the results, as HTML."""
    interval = {"interval": answer.chart.interval if answer.chart else "interval"}
    names = [interval.get(name, name) for name in COLUMNS]
    rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    table = pd.DataFrame(rows).to_html(index=False, border=0) if rows else ""
    texts = (*answer.sentences, *answer.cautions, source)
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in texts if text)
    return f"<p><b>{escape(answer.headline)}</b></p>{table}{paragraphs}"


def save_answer(answer: Answer, results: StoredResults, *, with_page: bool = True) -> None:
    """Write ``answer.json`` into the folder of ``results``.

    ``with_page`` says whether the report was written too; an existing one may show other results.
    """
    content = {
        "of": _content_hash(results.folder),
        "runs": _hash_ids(results.runs["run_id"]),
        "page": _page_hash(results.folder) if with_page else None,
        **asdict(answer),
    }
    write_sealed_json(results.folder / ANSWER_FILE, content, indent=1)


def load_answer(
    folder: Path, run_ids: Iterable[str] | None = None, *, with_page: bool = False
) -> Answer | None:
    """Read ``answer.json``; None if the folder or this installation changed since it was written.

    It must be the answer of the runs ``run_ids``, by default of any, and ``with_page`` says whether
    the report must be up to date as well.
    """
    try:
        content = read_sealed_json(folder / ANSWER_FILE)
        columns = {each.name: content[each.name] for each in fields(Answer)}
        answer = TypeAdapter(Answer).validate_python(columns)
        content_hash, ids_hash, page = content["of"], content["runs"], content["page"]
    except (RequestError, KeyError, ValidationError):
        return None
    is_current = (
        all(len(row) == len(COLUMNS) for row in answer.rows)
        and (run_ids is None or ids_hash == _hash_ids(run_ids))
        and (not with_page or (page is not None and page == _page_hash(folder)))
        and content_hash == _content_hash(folder)
    )
    return answer if is_current else None


def _content_hash(folder: Path) -> str:
    """Hash all that a report shows, and this installation."""
    files = [path for spec in TABLES for path in shards.paths(folder / spec.name)]
    names = (STUDY_FILE, METADATA_FILE, ENVIRONMENT_FILE, LOOKS_FILE)
    files += [folder / name for name in names]
    lines = [f"{path.name} {digest(read_file(path))}" for path in files if path.is_file()]
    return digest("\n".join([*lines, sources()]).encode())


def _hash_ids(run_ids: Iterable[str]) -> str:
    return digest("\n".join(sorted(run_ids)).encode())


def _page_hash(folder: Path) -> str | None:
    page = folder / REPORT_FILE
    if not page.exists():
        return None
    files = [page, *sorted((folder / "figures").glob("*.*"))]
    content = [path.name.encode() + read_file(path) for path in files if path.is_file()]
    return digest(b"".join(content))
