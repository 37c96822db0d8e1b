"""The README's claims: its commands, its study, its code and its pictures."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablations import Study, registry
from ablations.cli import app
from ablations.grid import plan
from ablations.study import shipped_studies

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def test_the_two_commands_do_all_of_the_set_up() -> None:
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    for session in ("ablate", "tests"):
        assert f"python -m pip install nox && nox -s {session}" in COMMANDS
        assert session in sessions


def test_every_other_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    left = [line for line in COMMANDS if not line.startswith("python -m pip install nox")]
    for line in left:
        words = shlex.split(line)
        if words[:4] == ["nox", "-s", "ablate", "--"]:
            # The session hands what stands behind -- to ablations run.
            words = ["ablations", "run", *words[4:], "--dry-run"]
        assert words[0] == "ablations", line
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (line, done.output)
    assert (tmp_path / "results/norm/report.html").exists()


def test_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = blocks("toml")
    assert tomllib.loads(text)["task"] == "digits"
    Path("mine.toml").write_text(text)
    done = CliRunner().invoke(app, ["run", "mine.toml"])
    assert done.exit_code == 0, done.output
    assert Path("results/mine/report.html").exists()


def test_the_python_snippets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A technique of the README's must not stay registered for the other tests.
    monkeypatch.setattr(registry, "_REGISTRY", {k: dict(v) for k, v in registry._REGISTRY.items()})
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), module.__dict__)
    assert "batch" in capsys.readouterr().out
    study = Study(task="notebook", seeds=1, epochs=1, axes={"norm": [{"name": "local_response"}]})
    (run,) = plan(study).runs
    from ablations.training.loop import train

    assert train(run).status == "ok"


def test_the_table_of_studies_is_true() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", README, re.MULTILINE))
    assert set(rows) == set(shipped_studies())
    for name, count in rows.items():
        runs = plan(Study.find(name).with_axis("device", ["cpu"])).runs
        assert len(runs) == int(count.replace(",", "")), name


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
