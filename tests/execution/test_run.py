"""From a study to its results: the same numbers however they were come by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ablations
from ablations import RequestError, Study
from ablations.core.errors import WriteError
from ablations.execution import dispatch, metadata
from ablations.execution.options import RunOptions
from ablations.execution.plan import plan_execution
from ablations.execution.run import compare_levels
from ablations.execution.workers import Pool
from ablations.results import environment
from ablations.study.configuration import Configuration

from ..studies import SMALL, Heard, run, same


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> ablations.Results:
    return run(Study(**SMALL), tmp_path_factory.mktemp("complete"), jobs=1)


def test_one_row_a_run_with_the_promised_columns(complete: ablations.Results) -> None:
    promised = [
        "run_id", "study", "task", "model", "regularizer", "norm", "init", "schedule", "device",
        "seed", "status", "reason", "engine", "cohort_size", "epochs", "parameters", "objective",
        "train_loss", "val_loss", "metric", "metric_name", "train_seconds", "environment_id",
    ]  # fmt: skip
    assert set(promised) <= set(complete.runs.columns)
    assert len(complete.runs) == complete.runs["run_id"].nunique() == 12
    assert (complete.runs["status"] == "ok").all()
    assert complete.runs[["objective", "train_loss", "val_loss", "metric"]].notna().all(axis=None)
    assert (complete.runs["train_seconds"] > 0).all()
    assert complete.runs["environment_id"].isin(complete.environment).all()
    assert list(complete.curves.columns) == [
        "run_id",
        "epoch",
        "objective",
        "train_loss",
        "val_loss",
        "lr",
    ]
    assert len(complete.curves) == 12 * 3
    last = complete.curves[complete.curves["epoch"] == 3].set_index("run_id")["val_loss"]
    assert complete.runs.set_index("run_id")["val_loss"].to_dict() == last.to_dict()


def test_two_jobs_give_the_numbers_of_one(complete: ablations.Results, tmp_path: Path) -> None:
    same(run(Study(**SMALL), tmp_path, jobs=2), complete)


def test_threads_give_the_numbers_of_processes(complete: ablations.Results, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    same(run(Study(**SMALL), tmp_path, jobs=2, backend="threading"), complete)
    assert torch.get_num_threads() == before


def test_a_short_study_is_shared_by_threads_and_no_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    study = Study(**(SMALL | {"seeds": 20}))
    heard = plan_execution(study, tmp_path / "none")
    assert heard.pool == Pool(2, "threading")
    monkeypatch.setattr("joblib.externals.loky.get_reusable_executor", None)
    same(run(study, tmp_path / "threads"), run(study, tmp_path / "one", jobs=1))
    longer = plan_execution(study.with_epochs(400), tmp_path / "none")
    assert longer.pool == Pool(2, "loky")
    # PyTorch's compiler is not for several threads.
    compiled = plan_execution(study, tmp_path / "none", RunOptions(compile="always"))
    if compiled.settings.compiled:
        assert compiled.pool.backend == "loky"
        with pytest.raises(RequestError, match="threads cannot share compiled programs"):
            plan_execution(
                study, tmp_path / "none", RunOptions(backend="threading", compile="always")
            )
    alone = plan_execution(study, tmp_path / "none", RunOptions(engine="loop"))
    assert alone.pool == Pool()


def test_a_narrower_study_shows_its_own_runs_and_says_that_there_are_others(
    complete: ablations.Results, tmp_path: Path
) -> None:
    run(Study(**SMALL), tmp_path, jobs=1)
    heard = Heard()
    narrow = Study(**(SMALL | {"axes": {"norm": ["none", "batch"]}, "seeds": 2}))
    shown = run(narrow, tmp_path, reporter=heard, with_report=True)
    assert heard.trained == {}
    assert len(shown.runs) == 4
    assert set(shown.curves["run_id"]) == set(shown.runs["run_id"])
    assert any("also holds 8 runs that this study does not ask for" in line for line in heard.lines)
    assert "4 runs" in (tmp_path / "report.html").read_text(encoding="utf-8")
    again = run(narrow, tmp_path, reporter=heard, with_report=True)
    assert any("nothing to train" in line for line in heard.lines)
    assert len(again.runs) == 4
    # Nothing is lost: the wider study finds them all.
    heard = Heard()
    same(run(Study(**SMALL), tmp_path, jobs=1, reporter=heard), complete)
    assert heard.trained == {}


def test_a_study_that_grew_trains_only_what_is_missing(
    complete: ablations.Results, tmp_path: Path
) -> None:
    small = Study(**(SMALL | {"seeds": [1], "axes": {"norm": ["none"]}}))
    run(small, tmp_path, jobs=1)
    heard = Heard()
    grown = run(Study(**SMALL), tmp_path, jobs=1, reporter=heard)
    assert heard.trained == {"ok": 11}
    same(grown, complete)
    heard = Heard()
    same(run(Study(**SMALL), tmp_path, jobs=1, reporter=heard), complete)
    assert heard.trained == {}


def test_what_a_killed_study_left_is_continued(complete: ablations.Results, tmp_path: Path) -> None:
    run(Study(**SMALL), tmp_path, jobs=1)
    first = sorted((tmp_path / "runs").glob("*.parquet"))[0]
    first.unlink()
    (tmp_path / "runs" / ".writing-abc").write_bytes(b"half")
    same(run(Study(**SMALL), tmp_path, jobs=1), complete)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 4}, "epochs 3, not 4"),
        ({"lr": 0.01}, "lr 0.001, not 0.01"),
        ({"task": "digits"}, "task 'notebook', not 'digits'"),
    ],
)
def test_a_folder_of_another_study_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    run(Study(**(SMALL | {"seeds": 1})), tmp_path, jobs=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(RequestError, match=words):
        run(Study(**(SMALL | change)), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RequestError, match="no results folder"):
        run(Study(**SMALL), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_skipped_runs_have_rows_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    heard = Heard()
    study = Study(**(SMALL | {"axes": {"device": ["cpu", "cuda"], "norm": ["none", "batch"]}}))
    results = run(study, tmp_path, jobs=1, reporter=heard)
    assert results.runs["status"].value_counts().to_dict() == {"ok": 6, "skipped": 6}
    skipped = results.runs[results.runs["status"] == "skipped"]
    assert set(skipped["reason"]) == {"torch offers no cuda device here"}
    assert heard.lines[:2] == [
        "training 6 runs 32 at a time, as eager programs",
        "skipping 6 runs: torch offers no cuda device here",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "dask"}, "'dask' cannot be used"),
        ({"jobs": 0}, "found 0"),
        ({"jobs": -3}, "found -3"),
    ],
)
def test_a_backend_that_is_not_here_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        run(Study(**SMALL), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_parameter_of_the_model_is_compared_like_any_axis(tmp_path: Path) -> None:
    axes = {"hidden": [[4], [64]], "norm": ["none", "layer"], "activation": ["relu", "tanh"]}
    study = Study(**(SMALL | {"axes": axes}))
    table = compare_levels(run(study, tmp_path, jobs=1))
    compared = table.effects[["axis", "level", "cells", "seeds"]].to_numpy().tolist()
    assert compared == [
        ["norm", "layer", 4, 3],
        ["hidden", "[64]", 4, 3],
        ["activation", "tanh", 4, 3],
    ]
    assert (table.effects["pairs"] > 0).all()


def test_controls_are_each_axis_control_or_its_first_level() -> None:
    axes = {"norm": ["layer", "none"], "init": ["orthogonal", "kaiming_normal"], "lr": [0.1, 0.01]}
    controls = metadata.controls(Study(task="notebook", axes=axes))
    assert controls["norm"] == "none"
    assert controls["init"] == "orthogonal"
    assert controls["lr"] == 0.1


def test_story_tells_of_noise_and_captions() -> None:
    story = metadata.study_metadata(Study.find("notebook"))
    assert "random noise" in story.cautions[0]
    assert "Ba, Kiros" in story.captions["norm"]["layer"]
    cells = metadata.study_metadata(Study.find("cells"))
    assert [len(p.objective) for p in cells.published] == [10] * 7 + [20]
    assert cells.published[-1].where["lr"] == 0.01


def test_configuration_is_a_public_name() -> None:
    assert ablations.Configuration is Configuration


def test_other_versions_of_libraries_are_refused_unless_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(**SMALL)
    before = run(study, tmp_path)
    described = environment.describe()
    other = described | {"packages": described["packages"] | {"torch": "0.0.1"}}
    monkeypatch.setattr(environment, "describe", lambda: other)
    with pytest.raises(RequestError, match=r"torch .* there and 0\.0\.1 here.*accept-environment"):
        run(study, tmp_path)
    grown = run(study.replace(seeds=4), tmp_path, accept_environment=True)
    assert grown.runs["environment_id"].nunique() == 2
    same(run(study, tmp_path), before)  # accepted once, it is one of the folder's own


def test_other_switches_of_the_arithmetic_are_refused_unless_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    study = Study(**SMALL)
    plain = environment.describe()
    earlier = {name: value for name, value in plain.items() if name != "switches"}
    monkeypatch.setattr(environment, "describe", lambda: earlier)
    before = run(study, tmp_path)
    monkeypatch.undo()
    monkeypatch.delenv("MKL_CBWR", raising=False)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    expected = "settings of the arithmetic: ATEN_CPU_CAPABILITY unset there and default here;"
    with pytest.raises(RequestError, match=expected) as raised:
        run(study, tmp_path)
    assert "versions" not in str(raised.value)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    grown = run(study.replace(seeds=4), tmp_path, accept_environment=True)
    assert grown.runs["environment_id"].nunique() == 2
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")
    with pytest.raises(RequestError, match="settings of the arithmetic: "):
        run(study, tmp_path)
    monkeypatch.delenv("MKL_CBWR")
    same(run(study, tmp_path), before)  # an earlier version described no switches


def test_force_trains_again_to_the_same_numbers(tmp_path: Path) -> None:
    study = Study(**SMALL)
    before, heard = run(study, tmp_path), Heard()
    same(run(study, tmp_path, force=True, reporter=heard), before)
    assert heard.trained.total() == len(before.runs)


def test_force_keeps_what_is_there_until_there_is_something_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(**SMALL)
    before = run(study, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ablations.core.files.write_bytes", full)
    for_sure = r"No space left on device|cannot write results here"
    with pytest.raises((RequestError, WriteError), match=for_sure):
        run(study, tmp_path, force=True)
    monkeypatch.undo()
    same(ablations.load(tmp_path), before)
    monkeypatch.setattr(dispatch, "write_results", full)
    with pytest.raises(WriteError, match="No space left"):
        run(study, tmp_path, force=True)
    monkeypatch.undo()
    same(ablations.load(tmp_path), before)


def test_a_folder_whose_study_was_set_aside_continues(tmp_path: Path) -> None:
    study = Study(**SMALL)
    before = run(study, tmp_path)
    (tmp_path / "study.toml").unlink()
    heard = Heard()
    same(run(study, tmp_path, reporter=heard), before)
    assert heard.trained.total() == 0


def test_a_study_of_which_nothing_can_be_had_is_refused_with_the_reason(tmp_path: Path) -> None:
    study = Study(task="diabetes", model="gru", seeds=2)
    with pytest.raises(RequestError, match=r"all 2 runs .* skipped: the model 'gru' needs rows"):
        run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
