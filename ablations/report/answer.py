"""The answer in words, as the command prints it and keeps it beside the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ablations.report import words
from ablations.report.headline import tempers
from ablations.report.reading import Effects
from ablations.shards import digest, write_text

COLUMNS = ("axis", "level", "against", "verdict", "val. loss", "95 % interval", "p (adj.)")

_ANSWER, _PAGE = "answer.json", "report.html"


@dataclass(frozen=True)
class Answer:
    """The ablation table in words, row by row of ``COLUMNS``, and the sentences below it."""

    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]


def answer(found: Effects, cautions: Sequence[str] = ()) -> Answer:
    """Every level against its control, then the answer in a sentence, and what tempers it."""
    table, scale = found.effects, found.scale
    if table.empty:
        return Answer((), ())
    rows = tuple(
        (
            *(str(row[name]) for name in ("axis", "level", "control")),
            "changed nothing at all" if row["identical"] == row["pairs"] else str(row["verdict"]),
            words.change(row, scale),
            f"{words.change(row, scale, 'low')} to {words.change(row, scale, 'high')}",
            words.p_value(row),
        )
        for _, row in table.iterrows()
    )
    return Answer(rows, (words.answer(table, scale, "level"), *tempers(found), *cautions))


def keep(found: Answer, folder: Path, of: str) -> None:
    """Write the answer beside the report, with what both depend on."""
    page = digest((folder / _PAGE).read_bytes())
    text = json.dumps({"of": of, "page": page, **asdict(found)}, indent=1, ensure_ascii=False)
    write_text(folder / _ANSWER, text + "\n")


def known(folder: Path, of: str) -> Answer | None:
    """The answer that is kept in a folder; None where it, or the report, is not up to date."""
    try:
        found = json.loads((folder / _ANSWER).read_text(encoding="utf-8"))
        if (found["of"], found["page"]) != (of, digest((folder / _PAGE).read_bytes())):
            return None
        rows = tuple(tuple(map(str, row)) for row in found["rows"])
        return Answer(rows, tuple(map(str, found["sentences"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is made anew
