"""The memory that a dry run states is what a worker takes: no less, and not half as much again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.execution.estimate import count_later
from ablations.study.expand import expand
from ablations.study.study import Study
from ablations.training.engine import choose_engines
from bench.memory import measure_study

NORMS = '[axes]\nnorm = ["none", "layer", "batch", "group", "rms", "weight_norm"]'
WIDE = 'task = "digits"\nbatch_size = 32\nmodel = { name = "mlp", hidden = [512, 512] }'
IMAGES = 'task = "digits"\nmodel = "cnn"\nbatch_size = 64'
TABLE = 'task = { name = "csv", path = "own.csv", target = "y" }\nbatch_size = 256'


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("words", "epochs", "compiled"),
    [
        (f'task = "notebook"\n{NORMS}', 3, "never"),
        (WIDE, 2, "always"),
        (f"{IMAGES}\n[axes]\nnorm = ['none', 'group']", 1, "never"),
        (TABLE, 2, "never"),
    ],
)
def test_a_worker_takes_what_the_dry_run_states(
    tmp_path: Path, words: str, epochs: int, compiled: str
) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20_000, 30)))
    table.assign(y=table[0] > 0).to_csv(tmp_path / "own.csv", index=False)
    study = tmp_path / "study.toml"
    study.write_text(f"seeds = 16\nepochs = {epochs}\n{words}\n", encoding="utf-8")
    peaks = measure_study(str(study), tmp_path / "out", "--compile", compiled)
    assert peaks.worker <= peaks.planned <= 1.5 * peaks.worker


@pytest.mark.parametrize(("seeds", "data", "states"), [(8, 0, 0), (50, 46, 92), (300, 60, 248)])
def test_data_and_initial_states_of_later_runs_are_counted(
    seeds: int, data: int, states: int
) -> None:
    axes = {"init": ["default", "xavier_uniform"], "schedule": ["constant", "step"]}
    (choice,) = choose_engines(expand(Study(task="notebook", axes=axes, seeds=seeds)).runs)
    probed = choice.runs if seeds == 8 else choice.runs[:16]
    assert count_later(choice, probed) == (data, states)
    assert count_later(choose_engines(choice.runs, "loop")[0], probed) == (0, 0)


def test_seeds_that_share_a_split_share_their_data() -> None:
    study = Study(task="wine", seeds=40, vary=["split", "init"])
    (choice,) = choose_engines(expand(study).runs)
    shared = {run.configuration.data_seed(run.seed) for run in choice.runs}
    assert len(shared) < 40
    assert count_later(choice, choice.runs[:1])[0] == len(shared) - 1
