"""``ablations compare``: two results folders, run by run, as sentences and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablations.analysis.results import Results
from ablations.core.errors import RequestError
from ablations.core.files import file_names, write_text
from ablations.execution.trust import load
from ablations.report.comparison import compare, find_caveats, write_sentences
from ablations.report.comparison_page import render_comparison
from ablations.results.outputs import write_outputs


@dataclass(frozen=True)
class ComparisonReport:
    """A comparison in lines of text, where the second folder is worse, and the page."""

    lines: tuple[str, ...]
    regressions: tuple[str, ...]
    page: Path  # the folder of the pages, where several tasks have one each


def compare_folders(
    first: Path, second: Path, out: Path | None = None, *, trust: bool = False
) -> ComparisonReport:
    """Compare the runs that two results folders share, and write the page.

    The page is ``out``, by default ``comparison.html`` in the second folder.  Of several tasks
    each is compared by itself, on a page with its name: ``comparison-digits.html``.
    """
    if first.resolve() == second.resolve():
        raise RequestError("is compared with itself", source=str(second))
    before, after = (load(folder, trust=trust) for folder in (first, second))
    for results in (before, after):
        results.require_metadata()
    page = out or second / "comparison.html"
    if page.is_dir():
        raise RequestError("is a folder; name a file", f"--out {page}")
    names, lines, regressions = distinct_names(first, second), list[str](), list[str]()
    pairs = _pair_tasks(before, after)
    files = file_names([task for task, *_ in pairs])
    for (task, old, new), file in zip(pairs, files, strict=True):
        metadata = old.require_metadata(), new.require_metadata()
        result = compare(old, new, metadata, names)
        is_alone, prefix = len(pairs) == 1, f"{task}: " if task else ""
        path = page if is_alone else page.with_stem(f"{page.stem}-{file}")
        content = render_comparison(result, metadata[1])
        if out is None:
            write_outputs(second, {path.name: content.encode()})
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, content)
        texts = [sentence.text for sentence in write_sentences(result)]
        texts += [caveat.text for caveat in find_caveats(result)]
        lines += [f"{prefix}{text}" for text in (*texts, f"page: {path}")]
        regressions += [f"{prefix}{text}" for text in result.regressions]
    return ComparisonReport(tuple(lines), tuple(regressions), page if is_alone else page.parent)


def _pair_tasks(before: Results, after: Results) -> list[tuple[str, Results, Results]]:
    """Return the results of each task of which both folders hold runs; all results of one task."""
    pairs = []
    for old_name, old in (before.by_task or {"": before}).items():
        for new_name, new in (after.by_task or {"": after}).items():
            if set(old.runs["run_id"]) & set(new.runs["run_id"]):
                pairs.append((old_name or new_name, old, new))
    # Without a common run the comparison says what differs.
    return pairs or [("", _first_task(before), _first_task(after))]


def _first_task(results: Results) -> Results:
    return next(iter([*results.by_task.values(), results]))


def distinct_names(first: Path, second: Path) -> tuple[str, str]:
    """The shortest ends of two paths that differ."""
    parts = first.resolve().parts, second.resolve().parts
    for n in range(1, max(map(len, parts)) + 1):
        if parts[0][-n:] != parts[1][-n:]:
            return str(Path(*parts[0][-n:])), str(Path(*parts[1][-n:]))
    return str(first), str(second)
