"""The words of the report, its sections and files, and what the other commands print."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.golden.harness import Golden, ablations, local

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


def test_the_words_and_files_of_a_report(golden: Golden, there: Path) -> None:
    output = ablations("report", str(there))
    source = (there / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    golden("report.txt", local(page.text()))
    scripts = re.findall(r"<script[^>]*>", source)
    ids = "\n".join(page.ids)
    golden(
        "report-parts.txt",
        f"{output.transcript()}\n{ids}\n\n{scripts}\n\n{file_names(there, 'figures')}\n",
    )


def test_the_files_of_a_new_results_folder(golden: Golden) -> None:
    Path("mine.toml").write_text(STUDY, encoding="utf-8")
    words = ["run", "mine.toml", "--axis", "device=cpu", "--jobs", "1", "--compile", "never"]
    words += ["--time-budget", "0"]
    output = ablations(*words)
    again = ablations(*words)
    assert output.code == again.code == 0
    folder = Path("results/mine")
    # A slow machine says more often how far it is.
    ends = re.sub(r"(\d+/\d+ runs, .*\n)+(?=\d+/\d+ runs)", "", output.err)
    messages = re.sub(r"[\d.]+ runs/s, in [\d:]+", "N runs/s, in TIME", ends)
    messages = re.sub(r"at most \d.*", "at most ...", messages)
    table = "\n".join(line.split("  ")[0] for line in output.out.splitlines()[:2])
    answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    study = (folder / "study.toml").read_text(encoding="utf-8")
    texts = [file_names(folder), messages, again.err, table, str([*answer]), study]
    golden("run.txt", "\n".join(texts))


def test_other_commands_on_finished_results(golden: Golden, there: Path) -> None:
    merged = ablations("merge", str(there), "--out", "merged")
    texts = [merged.transcript(), file_names(Path("merged"))]
    texts.append(ablations("compare", str(there), "merged").transcript())
    texts.append(Page(Path("merged/comparison.html").read_text(encoding="utf-8")).text())
    for run_id in RUNS:
        output = ablations("rerun", str(there), run_id)
        texts.append(re.sub(r" *\d+\.\d+(e[-+]\d+)?", " N", output.transcript()))
    golden("commands.txt", local("\n".join(texts)))


@pytest.mark.parametrize("kind", ["techniques", "tasks", "models", "studies"])
def test_lists(kind: str, golden: Golden) -> None:
    golden(f"list-{kind}.txt", ablations("list", kind).out)


def test_the_keys_of_env(golden: Golden) -> None:
    machine = json.loads(ablations("env").out)
    packages = sorted(machine.pop("packages"))
    golden("env.json", json.dumps({"keys": sorted(machine), "packages": packages}) + "\n")


def file_names(folder: Path, under: str = "") -> str:
    """The files of a folder, digests in their names replaced."""
    files = sorted(p.relative_to(folder).as_posix() for p in (folder / under).rglob("*"))
    return "\n".join(dict.fromkeys(re.sub(r"[0-9a-f]{12,}", "DIGEST", name) for name in files))
