"""The README's claims: its commands, its study, its code and its pictures."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from textwrap import dedent

import pytest
from sklearn.datasets import load_wine
from typer.testing import CliRunner

from ablations import Study, load
from ablations.cli import app
from ablations.core import registry
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.study.study import shipped_studies
from ablations.testing import check
from ablations.training import loop
from ablations.training.fused import trainer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
OWN = dict(re.findall(r"```\w+ (\S+)\n(.*?)```", README, re.DOTALL))
"""Files that the README shows, by their names."""


def test_the_two_commands_do_all_of_the_set_up() -> None:
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    for session in ("ablate", "tests"):
        assert f"python -m pip install nox && nox -s {session}" in COMMANDS
        assert session in sessions


@pytest.mark.slow
def test_every_other_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What a probe measures, and that it trains, is a matter of the tests of the estimate.
    monkeypatch.setattr("ablations.training.probe._time_epochs", lambda *look: 0.01 * look[2])
    monkeypatch.setattr("ablations.training.engine.eager_seconds", lambda choice: 1e-4)
    commands = [line for line in COMMANDS if line.startswith(("ablations", "nox"))]
    commands.remove("ablations run wine.toml")  # below
    for line in commands:
        # A measurement ends when it is complete, however busy the machine is.
        words = shlex.split(line.replace("--budget 20", "--budget 600"))
        if words[:4] == ["nox", "-s", "ablate", "--"]:
            # The session hands what stands behind -- to ablations run.
            words = ["ablations", "run", *words[4:], "--dry-run"]
        if "digits" in words:  # workers would probe its many programs for as long as usual
            words += ["--backend", "sequential"]
        assert words[0] == "ablations", line
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (line, done.output)
    assert (tmp_path / "results/norm/report.html").exists()


def test_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, question = blocks("toml")
    Path("asking.toml").write_text(f"{text}\n{dedent(question)}")
    assert Study.from_toml("asking.toml").question is not None
    assert tomllib.loads(text)["task"] == "digits"
    Path("mine.toml").write_text(text)
    done = CliRunner().invoke(app, ["run", "mine.toml"])
    assert done.exit_code == 0, done.output
    assert Path("results/mine/report.html").exists()


def test_the_python_snippets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), module.__dict__)
    assert "batch" in capsys.readouterr().out
    assert load("results/wine").runs["metric"].median() > 0.4


@pytest.mark.parametrize(
    ("study", "files"),
    [
        pytest.param("wine", (), marks=pytest.mark.slow),
        pytest.param("net", ("net.py",), marks=pytest.mark.slow),
        pytest.param("technique", ("mine.py",), marks=pytest.mark.slow),
    ],
)
def test_your_own_from_an_empty_folder_with_the_installed_package(
    study: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    for name in (f"{study}.toml", *files):
        assert len(OWN[name].splitlines()) <= 25
        (tmp_path / name).write_text(OWN[name])
    commands = [shlex.split(line) for line in COMMANDS if line.startswith("python -c")]
    installed = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # A report is written once; the other two spare its time, and train for less.
    fewer = ["--no-report", "--time-budget", "0", "--seeds", "2", "--epochs", "25"]
    quick = [] if study == "wine" else fewer
    for _, *words in (*commands, ["ablations", "-m", "ablations", "run", f"{study}.toml", *quick]):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=installed, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    results = load(tmp_path / "results" / study)
    assert set(results.runs["status"]) == {"ok"}
    engines = {"wine": {"fused"}, "net": {"fused"}, "technique": {"fused", "vmap"}}
    assert set(results.runs["engine"].str.removesuffix("-compiled")) == engines[study]
    assert results.runs["metric"].median() > (0.9 if study == "wine" else 0.1)
    assert (tmp_path / "results" / study / "report.html").exists() == (not quick)


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["best", "last"])
def test_the_answer_by_best_and_by_last_epoch_is_the_one_shown(
    judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = README.split("## Trained enough, and by what matters")[1].split("\n## ")[0]
    answers = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    expected = dict(zip(["best", "last"], answers, strict=True))[judge]
    text = OWN["judged.toml"].replace('judge = "best"', f'judge = "{judge}"')
    Path("judged.toml").write_text(text)
    words = ["run", "judged.toml", "--no-report", "--time-budget", "0"]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    assert _words(expected) in _words(outcome.stdout)


def _words(text: str) -> str:
    """The text on one line without plots, and with # for each number: other machines round
    differently.
    """
    words = re.sub(r"[─┼┆○●■◆◀▶┴]+", " ", text).split()
    return re.sub(r"[+−]?\d[\d.,]*\d|\d", "#", " ".join(words))


def test_the_technique_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary_registry: None
) -> None:
    (tmp_path / "mine.py").write_text(OWN["mine.py"])
    monkeypatch.chdir(tmp_path)
    check(registry.resolve("norm", "python:mine:LocalResponse", "norm"))  # type: ignore[arg-type]


def test_your_own_task_optimizer_loss_and_metric_train_in_one_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary_registry: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("task", "optimizer", "loss", "metric"):
        (tmp_path / f"own_{name}.py").write_text(OWN[f"own_{name}.py"])
    (tmp_path / "own.toml").write_text(OWN["own.toml"])
    study = Study.from_toml("own.toml")
    assert len(expand(study).runs) == 4 * 6
    check(study.configurations[-1].optimizer)
    for training_run in [Run(c, 0) for c in study.with_epochs(8).configurations]:
        judge = loop.train(training_run)
        assert judge.status == "ok"
        assert 0 < judge.evaluation.metrics["python:own_metric:brier"] < 0.6
        if training_run.configuration.optimizer.name == "adam":
            (result,) = trainer.train([training_run], 8)
            assert result.engine == "fused"
            assert result.curve[-1].val_loss == pytest.approx(judge.curve[-1].val_loss, rel=1e-3)


def test_several_data_sets_train_in_one_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "several.toml").write_text(OWN["several.toml"])
    load_wine(as_frame=True).frame.to_csv("wine.csv", index=False)
    words = ["run", "several.toml", "--seeds", "1", "--epochs", "1", "--no-report"]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    runs = load("results/several").runs
    assert (runs["status"] == "ok").all()
    assert runs["task"].value_counts().to_dict() == {"breast_cancer": 3, "wine": 3, "digits": 3}


def test_the_table_of_studies_is_true() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", README, re.MULTILINE))
    assert set(rows) == set(shipped_studies())
    for name, count in rows.items():
        runs = expand(Study.find(name).with_axis("device", ["cpu"])).runs
        assert len(runs) == int(count.replace(",", "")), name


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
