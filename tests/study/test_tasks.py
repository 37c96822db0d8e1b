"""Several tasks in one study: entries, labels, settings by task, and the same runs as alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ablations import RequestError, Study
from ablations.study.expand import expand

NORMS = {"norm": ["none", "layer"]}


def run_ids(study: Study) -> set[str]:
    return set(expand(study).run_ids)


@pytest.fixture
def wine(tmp_path: Path) -> Path:
    """A table of two classes, and the file of its task."""
    lines = [f"{i % 7},{(i * 5) % 11},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("\n".join(["x,y,kind", *lines]))
    path = tmp_path / "wine.toml"
    path.write_text('name = "csv"\npath = "data/table.csv"\ntarget = "kind"\n')
    return path


def test_runs_have_the_ids_that_they_have_in_a_study_of_the_task_alone(wine: Path) -> None:
    keys: dict[str, Any] = {"axes": NORMS, "seeds": 2}
    entries = ["digits", str(wine), {"task": "diabetes", "epochs": 7, "judge": "best"}]
    study = Study(tasks=entries, **keys)
    table = {"name": "csv", "path": str(wine.parent / "data" / "table.csv"), "target": "kind"}
    alone = [
        Study(task="digits", **keys),
        Study(task=table, **keys),
        Study(task="diabetes", epochs=7, judge="best", **keys),
    ]
    assert run_ids(study) == set().union(*map(run_ids, alone))
    assert len(run_ids(study)) == 3 * 2 * 2
    assert [each.judge for each in study.by_task] == ["last", "best", "best"]
    assert {c.columns["task"] for c in study.configurations} == {"digits", "wine", "diabetes"}


def test_study_toml_is_the_same_study(wine: Path) -> None:
    study = Study(
        tasks=[str(wine), {"task": "digits", "epochs": 9}],
        grid=[{"epochs": 3, "axes": NORMS}, {"axes": {"init": ["kaiming_uniform"]}}],
        exclude=[{"norm": "layer"}],
        metric=["f1_macro"],
    )
    again = Study(**tomllib.loads(study.to_toml()))
    assert again.as_dict() == study.as_dict()
    assert run_ids(again) == run_ids(study)
    epochs = {(c.task.name, c.epochs) for c in study.configurations}
    assert epochs == {("csv", 3), ("csv", 100), ("digits", 3), ("digits", 9)}


def test_one_entry_is_a_study_of_that_task() -> None:
    study = Study(tasks=["digits"], axes=NORMS)
    assert study.task_studies == ()
    assert study.as_dict() == Study(task="digits", axes=NORMS).as_dict()


def test_a_change_reaches_every_task() -> None:
    study = Study(tasks=["digits", {"task": "diabetes", "epochs": 7}], seeds=2)
    assert {c.epochs for c in study.with_epochs(3).configurations} == {3}
    assert len(study.replace(seeds=5).by_task[1].seeds) == 5
    changed = study.with_axis("lr", [1e-3, 1e-2])
    assert [each.levels["lr"] for each in changed.by_task] == [(1e-3, 1e-2)] * 2
    assert changed.levels["lr"] == (1e-3, 1e-2)


def test_the_file_of_a_study_gives_its_task_and_how_it_is_trained(wine: Path) -> None:
    path = wine.parent / "own.toml"
    path.write_text('task = "diabetes"\nepochs = 7\njudge = "best"\nseeds = 99\nname = "x"\n')
    study = Study(tasks=["digits", str(path)], seeds=1)
    assert [(s.task_label, s.epochs, len(s.seeds)) for s in study.by_task][1] == ("own", 7, 1)


def test_metrics_are_recorded_where_they_apply() -> None:
    study = Study(tasks=["digits", "diabetes"], metric=["mae", "f1_macro"], outcome="metric")
    assert [each.metric for each in study.by_task] == [("f1_macro",), ("mae",)]
    assert set(study.metric) == {"mae", "f1_macro"}


@pytest.mark.parametrize(
    ("entries", "labels"),
    [
        (["digits", "diabetes"], ["digits", "diabetes"]),
        (["digits", {"name": "diabetes", "label": "people"}], ["digits", "people"]),
        (
            [{"name": "friedman1", "noise": 2.0}, "friedman1"],
            ["friedman1(noise=2.0)", "friedman1"],
        ),
    ],
)
def test_labels_tell_tasks_apart(entries: list[Any], labels: list[str]) -> None:
    assert [each.task_label for each in Study(tasks=entries).by_task] == labels


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"tasks": ["digits", "digts"]},
            r"tasks\[1\]: unknown task 'digts'; did you mean 'digits'",
        ),
        ({"tasks": ["digits", 3]}, r"tasks\[1\]: expected the name of a task or a table"),
        ({"tasks": ["digits", {"task": "digits"}]}, r"tasks\[1\]: the same task as tasks\[0\]"),
        ({"tasks": []}, "tasks: expected a list of tasks, found"),
        ({"tasks": "digits"}, "tasks: expected a list of tasks, found 'digits'"),
        ({"tasks": ["digits", "none.toml"]}, r"tasks\[1\]: cannot read .*none.toml"),
        (
            {"tasks": ["digits", {"task": "diabetes", "epohs": 3}]},
            r"tasks\[1\]\.epohs: unknown key",
        ),
        ({"tasks": ["digits", {"task": "diabetes", "epochs": 0}]}, r"tasks\[1\]\.epochs: input"),
        ({"tasks": ["digits", {"name": "diabetes", "wrong": 1}]}, r"tasks\[1\]: .*no parameter"),
        ({"tasks": ["digits", {"task": "diabetes", "label": ""}]}, r"tasks\[1\]\.label: expected"),
        (
            {"tasks": ["digits", {"name": "diabetes", "label": "digits"}]},
            r"tasks\[1\]\.label: another task is called 'digits' too",
        ),
        ({"tasks": ["digits"], "task": "digits"}, "tasks: a study has one task, or several"),
        (
            {"tasks": ["digits", "diabetes"], "metric": "mae"},
            r"tasks\[0\]: no metric of mae is for",
        ),
        ({"tasks": ["digits", "diabetes"], "metric": "mea"}, "metric: unknown metric 'mea'"),
        (
            {"tasks": ["digits", "diabetes"], "outcome": "accuracy"},
            r"tasks\[1\]\.outcome: there is",
        ),
        ({"tasks": ["digits", "diabetes"], "axes": {"nrm": ["none"]}}, r"^axes\.nrm: unknown axis"),
    ],
)
def test_a_wrong_list_names_its_entry(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Study(**keys)
