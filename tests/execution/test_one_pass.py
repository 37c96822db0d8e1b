"""One command plans once, reads the folder once after training, and asks each question once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ablations import Study, analysis
from ablations.analysis import ablation
from ablations.cli import app
from ablations.execution import run
from ablations.report import page, summary
from ablations.results import shards, store

from ..studies import SMALL

STUDY = Study(**(SMALL | {"seeds": 7}))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[tuple[Any, ...]]]:
    """Record the arguments of a function's calls, made through a module that uses it."""

    def record(module: Any, name: str) -> list[tuple[Any, ...]]:
        function, arguments = getattr(module, name), []

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            arguments.append((*args, *kwargs.items()))
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, recorded)
        return arguments

    return record


def command(folder: Path, *words: str) -> None:
    path = folder / "study.toml"
    path.write_text(STUDY.to_toml(), encoding="utf-8")
    words = ("run", str(path), "--out", str(folder / "out"), "--backend", "sequential", *words)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "layer" in result.stdout or "batch" in result.stdout


@pytest.mark.parametrize("words", [(), ("--no-report",)])
def test_a_command_computes_everything_once(
    calls: Callable[[Any, str], list[tuple[Any, ...]]], tmp_path: Path, words: tuple[str, ...]
) -> None:
    plans = calls(run, "plan_execution")
    loads = calls(store, "load")
    stored_answers = calls(run, "load_answer")
    metric_effects = calls(analysis, "main_effects")
    report_data = calls(page, "build_report_data")
    pages = calls(page, "write_report")
    summaries = calls(summary, "summarise")
    questions = calls(ablation, "main_effects")
    reads = calls(shards, "scan_files")
    command(tmp_path, *words)
    with_report = not words
    assert len(plans) == len(loads) == len(summaries) == len(questions) == 1
    assert len(stored_answers) == 0  # everything is still to train
    assert len(report_data) == len(pages) == with_report
    # Another outcome is another question, which the page asks once.
    outcomes = [arguments[0].outcome for arguments in metric_effects]
    assert sorted(outcomes) == (["mae", "r2", "rmse"] if with_report else [])
    files = Counter(path for arguments in reads for path in arguments[0])
    trained = {path for path in files if path.parent.name in ("runs", "curves")}
    assert trained
    assert {files[path] for path in trained} == {1}


def test_the_same_command_again_only_plans_and_reads(
    calls: Callable[[Any, str], list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    command(tmp_path)
    plans, loads = calls(run, "plan_execution"), calls(store, "load")
    stored_answers, questions = calls(run, "load_answer"), calls(ablation, "main_effects")
    command(tmp_path)
    assert len(plans) == len(loads) == len(stored_answers) == 1
    assert questions == []
