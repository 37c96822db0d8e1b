"""``ablations compare``: two results folders, run by run, as sentences and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablations.core.errors import RequestError
from ablations.core.files import write_text
from ablations.execution.trust import load
from ablations.report import comparison


@dataclass(frozen=True)
class ComparisonReport:
    """What a comparison found: in lines of text, where it is worse, and its page."""

    lines: tuple[str, ...]
    regressions: tuple[str, ...]
    page: Path


def compare_folders(
    first: Path, second: Path, out: Path | None = None, *, trust: bool = False
) -> ComparisonReport:
    """Compare the runs that two results folders share, and write the page.

    Parameters
    ----------
    out
        The page; ``comparison.html`` in the second folder by default.
    trust
        As for ``trust.load``.

    Raises
    ------
    RequestError
        If one is no results folder, or they have no run in common.
    """
    if first.resolve() == second.resolve():
        raise RequestError("is compared with itself", source=str(second))
    parts = [load(folder, trust=trust) for folder in (first, second)]
    stories = [part.require_metadata() for part in parts]
    found = comparison.compare(
        parts[0], parts[1], (stories[0], stories[1]), names_of(first, second)
    )
    page = out or second / "comparison.html"
    if page.is_dir():
        raise RequestError("is a folder; name a file", f"--out {page}")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, comparison.render_comparison(found, stories[1]))
    told = [temper.text for temper in comparison.find_caveats(found)]
    lines = (*comparison.sentences(found), *told, f"page: {page}")
    return ComparisonReport(lines, found.regressions, page)


def names_of(first: Path, second: Path) -> tuple[str, str]:
    """Two folders by the ends of their paths that tell them apart."""
    ours, theirs = first.resolve().parts, second.resolve().parts
    for n in range(1, max(len(ours), len(theirs)) + 1):
        if ours[-n:] != theirs[-n:]:
            return str(Path(*ours[-n:])), str(Path(*theirs[-n:]))
    return str(first), str(second)
