"""The words of the report, its sections and files, and what the other commands print."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.golden.frozen import Frozen, ablations, local

BLOCKS = {
    "p", "li", "h1", "h2", "h3", "h4", "tr", "div", "section", "table", "figcaption", "figure",
    "summary", "details", "header", "footer", "nav", "button", "label", "option", "dt", "dd", "pre",
    "ul", "ol", "main", "title", "caption", "thead", "tbody", "select", "article", "aside",
}  # fmt: skip
HIDDEN = {"script", "style", "svg"}
STUDY = 'task = "notebook"\nepochs = 1\nseeds = 2\naxes.norm = ["none", "layer"]\n'
RUNS = ("9a90da", "4d9ad4acad08036a9ac6")
"""A run of the fixed folder that ended well, by the beginning of its id, and one that diverged."""


class Page(HTMLParser):
    """The visible text of a page, a block a line, and the ids of its elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.lines = [""]
        self.ids: list[str] = []
        self._hidden = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = dict(attrs)
        self._hidden += tag in HIDDEN
        if words.get("id") and not self._hidden:
            self.ids.append(f"{tag} {words['id']}")
        if tag in BLOCKS:
            self.lines.append("")
        if tag in ("td", "th"):
            self.lines[-1] += " | "
        for name in ("alt", "title", "placeholder", "aria-label"):
            if words.get(name) and not self._hidden:
                self.lines[-1] += f" [{name}: {words[name]}] "

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in HIDDEN
        if tag in BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.lines[-1] += data

    def text(self) -> str:
        """The lines that say something, spaces made one."""
        lines = (" ".join(line.split()) for line in self.lines)
        return "\n".join(line for line in lines if line) + "\n"


def test_the_words_and_files_of_a_report(frozen: Frozen, there: Path) -> None:
    done = ablations("report", str(there))
    source = (there / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    frozen("report.txt", local(page.text()))
    scripts = re.findall(r"<script[^>]*>", source)
    ids = "\n".join(page.ids)
    frozen("report-parts.txt", f"{done.told()}\n{ids}\n\n{scripts}\n\n{listed(there, 'figures')}\n")


def test_the_files_of_a_new_results_folder(frozen: Frozen) -> None:
    Path("mine.toml").write_text(STUDY, encoding="utf-8")
    words = ("run", "mine.toml", "--axis", "device=cpu", "--jobs", "1", "--compile", "never")
    done = ablations(*words)
    again = ablations(*words)
    assert done.code == again.code == 0
    folder = Path("results/mine")
    said = re.sub(r"[\d.]+ runs/s, in [\d:]+", "N runs/s, in TIME", done.err)
    said = re.sub(r"at most \d.*", "at most ...", said)
    table = "\n".join(line.split("  ")[0] for line in done.out.splitlines()[:2])
    answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    study = (folder / "study.toml").read_text(encoding="utf-8")
    parts = [listed(folder), said, again.err, table, str([*answer]), study]
    frozen("run.txt", "\n".join(parts))


def test_other_commands_on_finished_results(frozen: Frozen, there: Path) -> None:
    whole = ablations("merge", str(there), "--out", "merged")
    parts = [whole.told(), listed(Path("merged"))]
    parts.append(ablations("compare", str(there), "merged").told())
    parts.append(Page(Path("merged/comparison.html").read_text(encoding="utf-8")).text())
    for run_id in RUNS:
        done = ablations("rerun", str(there), run_id)
        parts.append(re.sub(r" *\d+\.\d+(e[-+]\d+)?", " N", done.told()))
    frozen("commands.txt", local("\n".join(parts)))


@pytest.mark.parametrize("kind", ["techniques", "tasks", "models", "studies"])
def test_lists(kind: str, frozen: Frozen) -> None:
    frozen(f"list-{kind}.txt", ablations("list", kind).out)


def test_the_keys_of_env(frozen: Frozen) -> None:
    described = json.loads(ablations("env").out)
    packages = sorted(described.pop("packages"))
    frozen("env.json", json.dumps({"keys": sorted(described), "packages": packages}) + "\n")


def listed(folder: Path, under: str = "") -> str:
    """The files of a folder, digests in their names replaced."""
    files = sorted(p.relative_to(folder).as_posix() for p in (folder / under).rglob("*"))
    return "\n".join(dict.fromkeys(re.sub(r"[0-9a-f]{12,}", "DIGEST", name) for name in files))
