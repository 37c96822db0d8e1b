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
    """A comparison in lines of text, where the second folder is worse, and the page."""

    lines: tuple[str, ...]
    regressions: tuple[str, ...]
    page: Path


def compare_folders(
    first: Path, second: Path, out: Path | None = None, *, trust: bool = False
) -> ComparisonReport:
    """Compare the runs that two results folders share, and write the page.

    The page is ``out``, by default ``comparison.html`` in the second folder.
    """
    if first.resolve() == second.resolve():
        raise RequestError("is compared with itself", source=str(second))
    before, after = (load(folder, trust=trust) for folder in (first, second))
    metadata = before.require_metadata(), after.require_metadata()
    result = comparison.compare(before, after, metadata, distinct_names(first, second))
    page = out or second / "comparison.html"
    if page.is_dir():
        raise RequestError("is a folder; name a file", f"--out {page}")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, comparison.render_comparison(result, metadata[1]))
    caveats = [caveat.text for caveat in comparison.find_caveats(result)]
    lines = (*comparison.sentences(result), *caveats, f"page: {page}")
    return ComparisonReport(lines, result.regressions, page)


def distinct_names(first: Path, second: Path) -> tuple[str, str]:
    """The shortest ends of two paths that differ."""
    parts = first.resolve().parts, second.resolve().parts
    for n in range(1, max(map(len, parts)) + 1):
        if parts[0][-n:] != parts[1][-n:]:
            return str(Path(*parts[0][-n:])), str(Path(*parts[1][-n:]))
    return str(first), str(second)
