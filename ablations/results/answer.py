"""The answer in words, as the command prints it and keeps it beside the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import pandas as pd

from ablations.core.files import digest, write_text

COLUMNS = ("axis", "level", "against", "verdict", "val. loss", "95 % interval", "p (adj.)")

_ANSWER, _REPORT = "answer.json", "report.html"


@dataclass(frozen=True)
class Answer:
    """The ablation table in words, row by row of ``COLUMNS``, and the sentences below it."""

    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]


def as_html(found: Answer, of: str) -> str:
    """The first sentence, the table, and the others, as a piece of a page.

    Parameters
    ----------
    of
        What it is the answer of, for a line below.
    """
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found.rows]
    table = pd.DataFrame(rows).to_html(index=False, border=0) if rows else ""
    first, *others = (*found.sentences, "")
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in others if sentence)
    return f"<p><b>{escape(first)}</b></p>{table}{told}<p>{escape(of)}</p>"


def save_answer(found: Answer, folder: Path, of: str, *, with_page: bool = True) -> None:
    """Write the answer down, with what it depends on, and the digest of the page that goes with it.

    Parameters
    ----------
    with_page
        Whether the page was written, too; one that lies there may be of other results.
    """
    page = _page(folder) if with_page else None
    write_text(folder / _ANSWER, _sealed({"of": of, "page": page, **asdict(found)}))


def _sealed(content: dict[str, object]) -> str:
    """As JSON, with a check that tells whether it was changed."""
    check = digest(json.dumps(content).encode())
    return json.dumps({**content, "check": check}, indent=1, ensure_ascii=False) + "\n"


def load_answer(folder: Path, of: str, *, with_page: bool = True) -> Answer | None:
    """The answer that is kept in a folder; None where it is not up to date.

    Parameters
    ----------
    with_page
        Whether the report must be there, too, as it was written with the answer.
    """
    try:
        text = (folder / _ANSWER).read_text(encoding="utf-8")
        found = json.loads(text)
        page = _page(folder)
        if text != _sealed({name: found[name] for name in ("of", "page", "rows", "sentences")}):
            return None
        if found["of"] != of or (with_page and (page is None or found["page"] != page)):
            return None
        rows = tuple(tuple(map(str, row)) for row in found["rows"])
        return Answer(rows, tuple(map(str, found["sentences"])))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # it is made anew


def _page(folder: Path) -> str | None:
    """The digest of the report and its figures; None where there is none."""
    page = folder / _REPORT
    if not page.exists():
        return None
    files = [page, *sorted((folder / "figures").glob("*.*"))]
    return digest(b"".join(path.name.encode() + path.read_bytes() for path in files))
