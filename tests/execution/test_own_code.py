"""Code of users that misbehaves costs its own runs, with one clear sentence, and nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ablations import Study
from ablations.cli import app
from ablations.core.registry import frozen, register
from ablations.study.expand import expand
from ablations.techniques.base import Regularizer

from ..studies import run

MODELS = """
import os, sys, threading, time
import torch
from torch import nn


def raises(inputs, outputs):
    raise ArithmeticError("no network \\x1b[31mtoday\\x1b[0m")


def nothing(inputs, outputs):
    return None


def narrow(inputs, outputs):
    return nn.Linear(inputs, outputs + 1)


def broken(inputs, outputs):
    network = nn.Linear(inputs, outputs)
    network.weight.data.fill_(float("nan"))
    return network


def exits(inputs, outputs):
    sys.exit("no more")


def ends(inputs, outputs):
    os._exit(3)


def prints(inputs, outputs):
    print("\\x1b[2J\\x1b]0;title\\x07 cleared")
    return nn.Linear(inputs, outputs)


def threads(inputs, outputs):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return nn.Linear(inputs, outputs)


def huge(inputs, outputs):
    return nn.Linear(2**45, outputs)


def hangs(inputs, outputs):
    while True:
        time.sleep(0.01)
"""

CASES = [
    ("raises", "failed", r"ArithmeticError: no network .* \(own_models\.py, line 8\)"),
    ("nothing", "failed", "TypeError: .* returns NoneType; expected an nn.Module"),
    ("narrow", "failed", r"returns outputs of shape \(2, 2\) for inputs \(2, 10\)"),
    ("broken", "diverged", "non-finite loss in epoch 1"),
    ("exits", "failed", "SystemExit: no more"),
    ("ends", "failed", r"its worker process died each time: EXIT\(3\)"),
    ("prints", "ok", ""),
    ("threads", "ok", ""),
    ("huge", "failed", "can't allocate memory|not enough memory|invalid size|Storage size"),
    ("hangs", "failed", "took longer than 2 s"),
]


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_models", None)


def write_study(folder: Path, model: str, vary: str) -> None:
    lines = ['task = "notebook"', "epochs = 2", "seeds = 2", vary]
    lines += [f'model = "python:own_models:{model}"', "[axes]", 'regularizer = ["none", "l1"]']
    (folder / "study.toml").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "status", "reason"), CASES)
def test_own_models_are_rows_with_a_reason(
    own_models: Path, model: str, status: str, reason: str
) -> None:
    write_study(own_models, model, "")
    limit = {"timeout": 2.0} if model == "hangs" else {}
    results = run(Study.find("study.toml"), own_models / "out", **limit)
    assert results.runs["status"].tolist() == [status] * 4
    if reason:
        assert all(re.search(reason, text) for text in results.runs["reason"])


@pytest.mark.parametrize("model", ["raises", "nothing", "narrow", "exits"])
@pytest.mark.parametrize("vary", ["noise", "order"])
def test_a_study_that_varies_one_source_runs_no_code_of_users(
    own_models: Path, model: str, vary: str
) -> None:
    write_study(own_models, model, f'vary = ["{vary}"]')
    study = Study.find("study.toml")
    assert len(expand(study).runs) == 4


@pytest.mark.slow
def test_seeds_that_are_one_run_are_refused_with_own_models_too(own_models: Path) -> None:
    write_study(own_models, "prints", 'vary = ["noise"]')
    words = ["run", "study.toml", "--out", "out", "--no-report"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "'noise' alone changes nothing with regularizer none" in result.output
    assert not (own_models / "out").exists()


@frozen
class Answers(Regularizer):
    """Answers whether it fits with what is no text."""

    name = "answers"
    answer: Any = True

    def skip(self, context: Any) -> Any:
        return self.answer


@pytest.mark.parametrize("answer", [True, 1, 2.5])
def test_a_skip_that_gives_no_text_is_a_reason_of_its_own(
    temporary_registry: None, answer: Any
) -> None:
    register(Answers)
    level = Answers(answer)
    grid = expand(Study(task="notebook", seeds=1, axes={"regularizer": ["none", level]}))
    assert len(grid.runs) == 1
    ((_, reason),) = grid.skipped
    expected = f"its skip returns a value of type {type(answer).__name__}; expected text, or None"
    assert reason == f"regularizer 'answers' gives no reason: {expected}"


def test_a_technique_without_an_answer_fits(temporary_registry: None) -> None:
    register(Answers)
    study = Study(task="notebook", seeds=1, axes={"regularizer": ["none", Answers(False)]})
    assert not expand(study).skipped
