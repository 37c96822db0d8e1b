"""Seeds are added only while something is undecided, at looks stated before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations import RequestError, Study
from ablations.analysis import HELPS, HURTS, UNDECIDED, main_effects
from ablations.cli import app
from ablations.execution import sequential
from ablations.execution.options import RunOptions
from ablations.execution.run import run_study

from ..studies import SMALL, Heard

AXES: dict[str, Any] = {"regularizer": ["none", "l2"], "norm": ["none", "batch"]}
STUDY = Study(**(SMALL | {"seeds": 7, "axes": AXES, "epochs": 5}))
OPTIONS = RunOptions(jobs=1, with_report=False)


def test_looks_are_few_growing_and_the_last_is_the_most() -> None:
    assert sequential.looks(10, 40) == (10, 20, 40)
    assert sequential.looks(7, 8) == (7, 8)
    assert sequential.looks(9, 9) == (9,)


def test_the_plan_states_its_looks_and_keeps_the_seeds_that_were_named(tmp_path: Path) -> None:
    study = sequential.with_looks(STUDY.replace(seeds=[5, 0]), 28)
    assert study.seeds == (5, 0, 1, 2, 3, 4, 6)
    assert study.looks == (7, 14, 28)
    assert study.alpha == pytest.approx(0.05 / 3)
    assert sequential.with_looks(study, 28) == study
    assert Study.from_toml(write_study(study, tmp_path)).looks == study.looks
    with pytest.raises(RequestError, match="--max-seeds: expected at least the 7 seeds"):
        sequential.with_looks(STUDY, 6)


def write_study(study: Study, folder: Path) -> Path:
    path = folder / "study.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    return path


def test_seeds_are_added_until_all_is_decided_or_there_are_no_more(tmp_path: Path) -> None:
    heard = Heard()
    outcome = sequential.run_until_decided(STUDY, tmp_path, OPTIONS, max_seeds=14, reporter=heard)
    study, results = outcome.study, outcome.results
    looked = [line for line in heard.lines if line.startswith("look ")]
    verdicts = results.verdicts()
    undecided = (verdicts["verdict"] == UNDECIDED).any()
    assert len(study.seeds) in study.looks
    assert undecided or "seeds: 0 of" in looked[-1]
    assert not undecided or len(study.seeds) == 14
    assert len(looked) == study.looks.index(len(study.seeds)) + 1
    assert len(results.runs) == 4 * len(study.seeds)
    heard = Heard()
    again = sequential.run_until_decided(STUDY, tmp_path, OPTIONS, max_seeds=14, reporter=heard)
    assert again.study == study
    assert heard.trained == {}
    assert not [line for line in heard.lines if "does not ask for" in line]
    assert [line for line in heard.lines if line.startswith("look ")] == looked[-1:]
    for other in (study.replace(looks=[]), study.replace(looks=[7, 14])):
        # What was undecided at its level must not become evidence by being asked otherwise.
        with pytest.raises(RequestError, match="its looks were stated at 7, 10, 14 seeds"):
            run_study(other, tmp_path, OPTIONS)
    assert Study.from_toml(tmp_path / "study.toml").looks == (7, 10, 14)
    with pytest.raises(RequestError, match="its looks were stated at 7, 10, 14 seeds"):
        sequential.run_until_decided(STUDY, tmp_path, OPTIONS, max_seeds=40)


def test_a_study_that_is_decided_at_once_stops_there_and_the_report_says_the_level(
    tmp_path: Path,
) -> None:
    study = STUDY.replace(margin=0.9).with_axis("norm", ["none"])
    path = write_study(study, tmp_path)
    words = ["run", str(path), "--out", str(tmp_path / "r"), "--seeds-until", "decided"]
    finished = CliRunner().invoke(app, [*words, "--max-seeds", "28"])
    assert finished.exit_code == 0, finished.output
    assert "look 1 of 3, 7 seeds: 0 of 1 undecided at a level of 0.017" in finished.stderr
    assert "At each a verdict needs p of at most 0.017" in " ".join(finished.stdout.split())
    assert len(ablations.load(tmp_path / "r").runs) == 14
    assert "0.017" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    dry = CliRunner().invoke(app, [*words[:2], "--seeds-until", "decided", "--dry-run"])
    assert "the first of 3 looks, at 7, 17, 40 seeds" in dry.stdout
    assert "with all seeds, 80 runs" in dry.stdout
    refused = CliRunner().invoke(app, ["run", str(path), "--max-seeds", "28"])
    assert refused.exit_code == 2
    assert "needs --seeds-until decided" in refused.stderr
    # A hand that changes the folder's study.toml is repaired by the command, as by a plain run.
    stored = tmp_path / "r" / "study.toml"
    stored.write_text(f"{stored.read_text(encoding='utf-8')}# a note\n", encoding="utf-8")
    again = CliRunner().invoke(app, [*words, "--max-seeds", "28", "--no-report"])
    assert again.exit_code == 0, again.output
    assert "# a note" not in stored.read_text(encoding="utf-8")


@pytest.mark.slow
def test_trap_4_all_looks_together_err_no_more_often_than_one() -> None:
    """A null technique, looked at with 7, 14 and 28 seeds until there is a verdict."""
    random, wrong = np.random.default_rng(0), 0
    cells = pd.MultiIndex.from_product([["none", "new"], range(28)], names=["norm", "seed"])
    runs = cells.to_frame(index=False)
    for _ in range(150):
        runs["val_loss"] = np.exp(random.normal(0, 0.5, len(runs)))
        for count in (7, 14, 28):
            first_runs = runs[runs["seed"] < count]
            effects = main_effects(first_runs, {"norm": "none"}, ["norm"], alpha=0.05 / 3)
            if effects["verdict"].iloc[0] in (HELPS, HURTS):
                wrong += 1
                break
    assert wrong / 150 <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 150)
