"""What the harness itself costs: ``nox -s bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ablations
from ablations import Study
from ablations.execution import metadata
from ablations.execution.dispatch import OutputContext, train_batch
from ablations.execution.progress import Silent
from ablations.report import page
from ablations.results import store
from ablations.study.expand import expand
from ablations.training import engine
from ablations.training.cohorts import split_runs
from ablations.training.loop import train

LEVELS = [("regularizer", "none"), ("regularizer", "elastic"), ("regularizer", "dropout")]
LEVELS += [("norm", name) for name in ("layer", "batch", "group")]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_plan(benchmark: Any) -> None:
    study = Study.find("notebook")
    grid = benchmark(expand, study)
    assert len(grid) == 2400


def test_plan_a_hundred_thousand_runs(benchmark: Any) -> None:
    study = Study.find("notebook").replace(seeds=417)
    grid = benchmark.pedantic(expand, (study,), rounds=5)
    assert len(grid) == 100_080


def test_pack_a_hundred_thousand_runs(benchmark: Any) -> None:
    runs = expand(Study.find("notebook").replace(seeds=417)).runs
    choices = engine.choose_engines(runs, "auto")
    cohorts = benchmark.pedantic(lambda: [choice.cohorts() for choice in choices], rounds=5)
    assert sum(map(len, cohorts)) == 100_080


def test_run_ids(benchmark: Any) -> None:
    study = Study.find("notebook")
    ids = benchmark.pedantic(
        lambda runs: {run.run_id for run in runs},
        setup=lambda: ((expand(study).runs,), {}),
        rounds=20,
    )
    assert len(ids) == 2400


@pytest.mark.parametrize(("axis", "level"), LEVELS)
def test_loop(benchmark: Any, axis: str, level: str) -> None:
    (run,) = expand(Study(task="notebook", seeds=1, axes={axis: [level]})).runs
    result = benchmark(train, run)
    assert result.status == "ok"


def test_cohort_with_its_shard(benchmark: Any, tmp_path: Path) -> None:
    parcel = tuple(split_runs(expand(Study(task="notebook", seeds=16)).runs, None, 1))
    store.start(tmp_path, "", {"e": {}})
    statuses = benchmark(train_batch, parcel, OutputContext(tmp_path, "bench", "e"))
    assert statuses == {"ok": 16}


def test_load(benchmark: Any, tmp_path: Path) -> None:
    study = Study(task="notebook", seeds=400, epochs=1)
    store.start(tmp_path, study.to_toml(), {"e": {}})
    for cohort in split_runs(expand(study).runs, 32, 1):
        train_batch((cohort,), OutputContext(tmp_path, "bench", "e"))
    assert len(benchmark(store.load, tmp_path).runs) == 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a cross of three axes, 240 runs."""
    axes = {
        "regularizer": ["none", "l1", "dropout"],
        "norm": ["none", "layer"],
        "schedule": ["constant", "step", "cosine", "plateau", "cyclic"],
    }
    out = tmp_path_factory.mktemp("results")
    study = Study(task="notebook", seeds=8, epochs=10, axes=axes)
    ablations.run(study, out, with_report=False, time_budget=0.0, reporter=Silent())
    return out


def test_effects(benchmark: Any, folder: Path) -> None:
    results = ablations.load(folder)
    assert len(benchmark(lambda: ablations.answers.Results(**vars(results)).effects())) == 7


def test_report(benchmark: Any, folder: Path) -> None:
    results, story = (
        ablations.load(folder),
        metadata.study_metadata(Study.from_toml(folder / "study.toml")),
    )
    path, _ = benchmark.pedantic(page.write_report, (results, story), rounds=5, warmup_rounds=1)
    assert path.stat().st_size > 100_000


def test_import(benchmark: Any) -> None:
    command = [sys.executable, "-c", "import ablations; ablations.run"]
    process = benchmark.pedantic(subprocess.run, (command,), {"capture_output": True}, rounds=5)
    assert process.returncode == 0


def test_help(benchmark: Any) -> None:
    command = [sys.executable, "-m", "ablations", "--help"]
    process = benchmark.pedantic(subprocess.run, (command,), {"capture_output": True}, rounds=5)
    assert process.returncode == 0
