"""The documents beside the README: their paths, commands and versions are true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTS = [GUIDE, (ROOT / "README.md").read_text(encoding="utf-8")]
SESSIONS = re.findall(
    r"^@nox\.session\ndef (\w+)\(", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE
)
PACKAGES = sorted(path.parent.name for path in (ROOT / "ablations").glob("*/__init__.py"))


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", GUIDE))
def test_links_of_the_guide_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_map_shows_every_package_and_no_other() -> None:
    table = re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE)
    assert sorted(table) == PACKAGES
    diagram = set(re.findall(r"(\w+)\[\"", GUIDE))
    assert diagram == {*PACKAGES, "testing"}


def test_the_map_draws_imports_in_the_order_of_the_contract() -> None:
    contract = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    rank = {
        name.strip().removeprefix("ablations."): number
        for number, layer in enumerate(contract)
        for name in re.split(r"[|:]", layer)
    }
    arrows = re.findall(r"^  (\w+)(?:\[.*?\])? --> (\w+)", GUIDE, re.MULTILINE)
    assert len(arrows) > 10
    for upper, lower in arrows:
        assert rank[upper] < rank[lower], f"{upper} --> {lower}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=["CONTRIBUTING", "README"])
def test_documents_name_sessions_that_exist(document: str) -> None:
    sessions = set(re.findall(r"nox -s (\w+)", document))
    assert sessions
    assert sessions <= set(SESSIONS)


def test_the_workflow_runs_sessions_that_exist() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"nox -s (\w+)", workflow)) == {"lint", "tests", "docs"} & set(SESSIONS)
    minimum = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f'python: ["{minimum}"' in workflow


def test_hooks_use_the_version_of_ruff_in_the_constraints() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    expected = re.findall(r"^ruff==.*$", constraints, re.MULTILINE)
    assert set(re.findall(r"ruff==[\d.]+", hooks)) == set(expected)


def test_citation_and_changelog_know_the_version() -> None:
    version = PROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    date = re.findall(r"date-released: (\S+)", citation)[0]
    assert f"## {version} - {date}" in changelog


def test_the_table_of_contents_of_the_readme_is_complete() -> None:
    readme = DOCUMENTS[1]
    headings = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    anchors = re.findall(r"^- \[.+?\]\(#(.+?)\)$", readme, re.MULTILINE)
    expected = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert anchors == expected
