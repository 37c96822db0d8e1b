"""A study of several tasks from plan to folder: grown, merged, trained again, compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ablations import RequestError, Study, load
from ablations.analysis.results import Results
from ablations.cli import app
from ablations.execution.compare import compare_folders
from ablations.execution.estimate import estimate
from ablations.execution.merge import merge_results
from ablations.execution.options import RunOptions
from ablations.execution.plan import plan_execution
from ablations.execution.rerun import rerun
from ablations.execution.run import RunOutcome, run_study
from ablations.execution.trust import load as load_with_trust
from ablations.results.metadata import METADATA_FILE, load_metadata
from ablations.study.expand import expand
from ablations.training.cohorts import group_runs

KEYS: dict[str, Any] = {
    "seeds": 2, "epochs": 2, "batch_size": "full", "axes": {"norm": ["none", "layer"]},
}  # fmt: skip
OPTIONS = RunOptions(jobs=1, engine="loop", time_budget=0, with_report=False)
TASKS = ["notebook", {"name": "friedman1", "label": "smooth"}]


def train(folder: Path, **keys: Any) -> RunOutcome:
    return run_study(Study(**(KEYS | keys)), folder, OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "both"
    train(path, tasks=TASKS)
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load(folder)


def test_each_task_is_analysed_as_a_study_of_it_alone(results: Results, tmp_path: Path) -> None:
    train(tmp_path / "a", task="friedman1")
    alone, both = load(tmp_path / "a").effects(), results.effects()
    of_task = both[both["task"] == "smooth"].drop(columns="task").reset_index(drop=True)
    pd.testing.assert_frame_equal(of_task, alone)
    assert list(both["task"]) == ["notebook", "smooth"]


def test_the_command_prints_the_effects_on_each_task(folder: Path) -> None:
    for question in ("effects", "verdicts"):
        answer = CliRunner().invoke(app, ["effects", str(folder), "--of", question])
        assert answer.exit_code == 0, answer.output
        lines = answer.stdout.splitlines()[:3]
        assert [line.split()[:3] for line in lines[1:]] == [
            ["notebook", "norm", "layer"],
            ["smooth", "norm", "layer"],
        ]


def test_metadata_hold_what_each_task_needs(folder: Path) -> None:
    metadata = load_metadata(folder)
    assert metadata is not None
    assert list(metadata.tasks) == ["notebook", "smooth"]
    assert metadata.tasks["smooth"].title == "friedman1"
    assert any(text.startswith("notebook: ") for text in metadata.cautions)
    assert "task" not in metadata.axes


def test_a_study_grows_from_one_task_to_several(tmp_path: Path) -> None:
    train(tmp_path, task="friedman1")
    plan = plan_execution(Study(**KEYS, tasks=TASKS), tmp_path, OPTIONS)
    assert (plan.finished, plan.todo) == (4, 4)
    train(tmp_path, tasks=TASKS)
    grown = load(tmp_path)
    assert set(grown.by_task) == {"notebook", "smooth"}
    assert [len(each.runs) for each in grown.by_task.values()] == [4, 4]
    assert len(grown.effects()) == 2


def test_the_folder_of_another_label_or_setting_is_refused(folder: Path) -> None:
    renamed = ["notebook", {"name": "friedman1", "label": "other"}]
    with pytest.raises(RequestError, match="has the label 'smooth' there"):
        plan_execution(Study(**KEYS, tasks=renamed), folder, OPTIONS)
    longer = ["notebook", {"task": "friedman1", "label": "smooth", "epochs": 3}]
    with pytest.raises(RequestError, match="results of smooth with epochs 2, not 3"):
        plan_execution(Study(**KEYS, tasks=longer), folder, OPTIONS)
    with pytest.raises(RequestError, match="none of which this study has"):
        plan_execution(Study(**KEYS, tasks=["diabetes", "digits"]), folder, OPTIONS)


def test_changed_data_of_one_task_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{i % 7},{(3 * i) % 5}" for i in range(40)]
    table.write_text("\n".join(["x,y", *rows]))
    tasks = ["friedman1", {"name": "csv", "path": str(table), "target": "y", "kind": "regression"}]
    train(tmp_path / "out", tasks=tasks)
    assert set(load(tmp_path / "out").by_task) == {"friedman1", "table"}
    table.write_text("\n".join(["x,y", *reversed(rows)]))
    with pytest.raises(RequestError, match=r"holds results of other data: table\.csv"):
        plan_execution(Study(**KEYS, tasks=tasks), tmp_path / "out", OPTIONS)


def test_folders_of_different_tasks_merge_into_a_study_of_both(
    results: Results, tmp_path: Path
) -> None:
    for name in ("notebook", "friedman1"):
        train(tmp_path / name, task=name)
    merged = merge_results([tmp_path / "notebook", tmp_path / "friedman1"], tmp_path / "both")
    assert set(merged.by_task) == {"notebook", "friedman1"}
    assert set(merged.runs["run_id"]) == set(results.runs["run_id"])
    again = merge_results([results.folder, tmp_path / "friedman1"], tmp_path / "again")
    assert set(again.by_task) == {"notebook", "smooth"}
    study = Study.from_toml(tmp_path / "again" / "study.toml")
    assert expand(study).run_ids == set(results.runs["run_id"])


def test_rerun_and_compare_find_the_runs(folder: Path, results: Results, tmp_path: Path) -> None:
    run_id = results.by_task["smooth"].runs["run_id"].iloc[0]
    assert rerun(folder, run_id).deviation == 0
    train(tmp_path / "again", tasks=TASKS)
    comparison = compare_folders(folder, tmp_path / "again")
    assert comparison.regressions == ()
    assert (tmp_path / "again" / "comparison-smooth.html").exists()
    assert any(line.startswith("notebook: ") for line in comparison.lines)


def test_metadata_are_made_again_for_a_folder_that_is_trusted(tmp_path: Path) -> None:
    train(tmp_path, tasks=TASKS)
    expected = json.loads((tmp_path / METADATA_FILE).read_text())
    (tmp_path / METADATA_FILE).unlink()
    assert set(load_with_trust(tmp_path, trust=True).by_task) == {"notebook", "smooth"}
    assert json.loads((tmp_path / METADATA_FILE).read_text()) == expected


def test_no_cohort_mixes_tasks() -> None:
    study = Study(**KEYS, tasks=["friedman1", {"name": "friedman1", "noise": 2.0}])
    groups = group_runs(expand(study).runs)
    assert all(len({run.configuration.task for run in runs}) == 1 for runs in groups)


def test_a_plan_is_estimated(tmp_path: Path) -> None:
    plan = plan_execution(Study(**KEYS, tasks=TASKS), tmp_path / "new", replace(OPTIONS))
    assert estimate(plan, OPTIONS, seconds=0.1).seconds() > 0


def test_what_several_tasks_cannot_answer_is_refused(results: Results) -> None:
    with pytest.raises(RequestError, match="ask by_task"):
        results.design()
    with pytest.raises(RequestError, match="needs several"):
        results.by_task["smooth"].datasets()
