"""The numbers of a run's epochs are kept in one block, however many there are."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from ablations import Study
from ablations.execution.dispatch import OutputContext, write_results
from ablations.results import shards
from ablations.study.expand import expand
from ablations.training import loop
from ablations.training.curve import Curve, EpochRecord
from ablations.training.fused.initial_states import LearningRates, initial_state_cache
from ablations.training.fused.program import BLOCK_STEPS, StepFactors
from ablations.training.result import RunResult

RECORDS = (
    EpochRecord(1, 0.5, 0.1 + 0.2, 0.75, 1e-3),
    EpochRecord(2, 0.25, 1e-300, math.inf, 1e-3),
    EpochRecord(3, 0.125, 0.3, 0.5, 5e-4),
)


def test_a_curve_is_a_sequence_of_its_epochs_to_the_last_bit() -> None:
    curve = Curve.collect(iter(RECORDS))
    assert tuple(curve) == RECORDS
    assert curve[-1] == RECORDS[-1]
    assert curve[:2] == RECORDS[:2]
    assert curve == Curve.collect(RECORDS)
    assert curve != Curve.collect(RECORDS[:2])
    assert hash(curve) == hash(Curve.collect(RECORDS))
    assert curve.values.nbytes == 32 * len(RECORDS)
    with pytest.raises(IndexError):
        curve[3]


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [([2.0, 1.0, 1.0], 2), ([math.nan, 3.0, math.inf], 2), ([math.nan], None), ([], None)],
)
def test_the_best_epoch_is_the_first_with_the_lowest_finite_loss(
    losses: list[float], epoch: int | None
) -> None:
    curve = Curve(np.array([[0.0, 0.0, loss, 0.0] for loss in losses]).reshape(-1, 4))
    best = curve.best_epoch()
    assert (best and best.epoch) == epoch


def test_curves_are_written_in_the_order_of_runs_and_epochs(tmp_path: Path) -> None:
    runs = expand(Study(task="notebook", epochs=3, seeds=3)).runs
    results = [
        RunResult(runs[0], "ok", curve=Curve.collect(RECORDS)),
        RunResult(runs[1], "failed", "no curve"),
        RunResult(runs[2], "diverged", curve=Curve.collect(RECORDS[:1])),
    ]
    write_results(results, OutputContext(tmp_path, "study", "here"))
    (shard,) = shards.read(tmp_path / "curves")
    expected = [{"run_id": r.run.run_id, **vars(e)} for r in results for e in r.curve]
    assert shard.table.to_pylist() == expected


@pytest.mark.slow
def test_rates_and_factors_beyond_the_first_block_of_steps_are_those_of_a_plain_optimizer() -> None:
    epochs = BLOCK_STEPS + 100
    axes = {"schedule": ["constant", "cosine", "plateau"]}
    runs = expand(Study(task="notebook", epochs=epochs, seeds=1, axes=axes)).runs
    cache = initial_state_cache(runs[0].configuration)
    members = [cache.member(run) for run in runs]
    c = runs[0].configuration
    rates = LearningRates(members, c.device.torch_device(), c.torch_dtype)
    plain = [loop.PlainStep(run.configuration, nn.Linear(1, 1), epochs) for run in runs]
    step = 0
    for step in range(epochs):
        expected = [float(each.optimizer.param_groups[0]["lr"]) for each in plain]
        if step % 97 == 0 or step in (BLOCK_STEPS - 1, BLOCK_STEPS):
            assert rates.exact(step).tolist() == expected
        for each in plain:
            each.optimizer.step()
            each._configuration.schedule.after_step(each._scheduler)
            each.after_epoch(1.0)
        rates.after_step()
        rates.after_epoch(rates.exact(step) * 0 + 1.0)
    factors = StepFactors(cache.program).at_step(step)
    assert [float(f) for f in factors] == pytest.approx(c.optimizer.factors(step + 1))


PEAK = """
import resource, sys
from ablations import Study
from ablations.study.expand import expand
from ablations.training import recovery
from ablations.training.cohorts import Cohort
engine, epochs = sys.argv[1], int(sys.argv[2])
model = {"name": "mlp", "hidden": [4]}
runs = expand(Study(task="notebook", epochs=epochs, seeds=8, model=model)).runs
cohort = Cohort(runs, 8) if engine == "fused" else Cohort(runs[:1])
recovery.train_cohort(cohort)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "loop"])
def test_peak_memory_does_not_grow_with_the_epochs(engine: str) -> None:
    peaks = []
    for epochs in (200, 4_000):
        words = [sys.executable, "-c", PEAK, engine, str(epochs)]
        result = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks.append(int(result.stdout))
    results = 8 * 4_000 * 32  # bytes of the curves
    assert peaks[1] < 1.05 * peaks[0] + 2 * results
