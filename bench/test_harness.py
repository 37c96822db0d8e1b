"""What the harness itself costs: ``nox -s bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import Study, store
from ablations.cohorts import pack
from ablations.dispatch import Target, train_parcel
from ablations.grid import plan
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
    found = benchmark(plan, study)
    assert len(found) == 2400


def test_run_ids(benchmark: Any) -> None:
    study = Study.find("notebook")
    ids = benchmark.pedantic(
        lambda runs: {run.run_id for run in runs},
        setup=lambda: ((plan(study).runs,), {}),
        rounds=20,
    )
    assert len(ids) == 2400


@pytest.mark.parametrize(("axis", "level"), LEVELS)
def test_loop(benchmark: Any, axis: str, level: str) -> None:
    (run,) = plan(Study(task="notebook", seeds=1, axes={axis: [level]})).runs
    result = benchmark(train, run)
    assert result.status == "ok"


def test_cohort_with_its_shard(benchmark: Any, tmp_path: Path) -> None:
    parcel = tuple(pack([(plan(Study(task="notebook", seeds=16)).runs, None, 1)]))
    store.start(tmp_path, "", {"e": {}})
    statuses = benchmark(train_parcel, parcel, Target(tmp_path, "bench", "e"))
    assert statuses == {"ok": 16}


def test_load(benchmark: Any, tmp_path: Path) -> None:
    study = Study(task="notebook", seeds=400, epochs=1)
    store.start(tmp_path, study.to_toml(), {"e": {}})
    for cohort in pack([(plan(study).runs, 32, 1)]):
        train_parcel((cohort,), Target(tmp_path, "bench", "e"))
    assert len(benchmark(store.load, tmp_path).runs) == 400


def test_help(benchmark: Any) -> None:
    command = [sys.executable, "-m", "ablations", "--help"]
    done = benchmark.pedantic(subprocess.run, (command,), {"capture_output": True}, rounds=5)
    assert done.returncode == 0
