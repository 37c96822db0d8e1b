"""The clock: what it times, how, and that it times nothing else."""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from ablations import Study
from ablations.core.random import Streams
from ablations.execution.metadata import controls
from ablations.models.base import initialise_network
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.techniques.devices import Cpu
from ablations.training import step_timer

AXES: dict[str, Any] = {
    "regularizer": ["none", "l1", "dropout", "input_noise"],
    "norm": ["none", "batch", "weight_norm"],
    "init": ["default", "kaiming_uniform"],
    "schedule": ["constant", "one_cycle", "plateau"],
}


def study(**changes: Any) -> Study:
    return Study(**({"task": "notebook", "epochs": 4, "seeds": 2, "axes": AXES} | changes))


def first(**levels: str) -> Run:
    axes = {axis: [level] for axis, level in levels.items()}
    return expand(study(axes=axes)).runs[0]


def test_one_run_stands_for_all_that_cost_the_same() -> None:
    runs = step_timer.distinct_cost_runs(expand(study(lr=0.1)).runs)
    assert len(runs) == 4 * 3 * 3
    other = step_timer.distinct_cost_runs(expand(study(lr=0.2)).runs)
    ids = [[step_timer.cost_id(run.configuration) for run in each] for each in (runs, other)]
    assert len(set(ids[0])) == len(runs)
    assert ids[0] == ids[1]
    assert step_timer.cost_id(first(norm="batch").configuration) != step_timer.cost_id(
        first(norm="layer").configuration
    )


def test_the_layers_are_those_that_a_person_would_write() -> None:
    run = first(regularizer="dropout", norm="batch")
    streams = Streams(0)
    network = step_timer.with_plain_layers(initialise_network(run.configuration, streams), streams)
    kinds = Counter(type(layer) for layer in network.modules())
    assert (kinds[nn.Dropout], kinds[nn.BatchNorm1d], kinds[nn.Linear]) == (2, 2, 3)
    rates = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.5, 0.2]


@pytest.mark.parametrize(
    "run", step_timer.distinct_cost_runs(expand(study()).runs), ids=lambda run: run.run_id[:6]
)
def test_every_technique_can_be_timed(run: Run) -> None:
    state = torch.random.get_rng_state()
    repetition = step_timer.time_repetition(run, 5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert repetition.steps == 5
    phases = (repetition.forward_seconds, repetition.backward_seconds, repetition.update_seconds)
    assert min(repetition.seconds, *phases) > 0
    assert repetition.parameters >= 10 * 64 + 64 + 64 * 32 + 32 + 32 + 1


def test_memory_is_counted_and_not_measured() -> None:
    bare = step_timer.time_repetition(first(norm="none"), 5)
    again = step_timer.time_repetition(first(norm="none"), 5)
    masked = step_timer.time_repetition(first(regularizer="dropout"), 5)
    assert bare.memory == again.memory
    # A parameter, its gradient and two moments, each in four bytes.
    assert bare.memory > 16 * bare.parameters
    # Each mask, and what is left of what it hides.
    assert masked.memory >= bare.memory + 100 * (64 + 32)


def test_no_clock_is_read_before_the_device_is_waited_for(monkeypatch: Any) -> None:
    log: list[str] = []
    read, step = time.perf_counter, step_timer.TimedStep.update

    def logged_update(self: Any, *arguments: Any) -> Any:
        log.append("work")
        return step(self, *arguments)

    def logged_read() -> float:
        log.append("read")
        return read()

    monkeypatch.setattr(Cpu, "synchronize", lambda self: log.append("wait"))
    monkeypatch.setattr(step_timer.TimedStep, "update", logged_update)
    monkeypatch.setattr(time, "perf_counter", logged_read)
    step_timer.time_repetition(first(norm="batch"), 10)
    log = log[log.index("read") - 1 :]
    assert log.count("read") > 10
    for before, now in itertools.pairwise(log):
        assert not (before == "work" and now == "read")


def test_a_block_times_all_once_alone_and_the_control_twice(monkeypatch: Any) -> None:
    conditions: list[tuple[int, bool]] = []
    forward = step_timer.TimedStep.forward

    def noted_forward(self: Any, *batch: Any) -> Any:
        conditions.append((torch.get_num_threads(), gc.isenabled()))
        return forward(self, *batch)

    monkeypatch.setattr(step_timer.TimedStep, "forward", noted_forward)
    small = study(axes={"norm": ["none", "layer", "batch"]})
    levels = controls(small)
    with step_timer.exclusive_timing(1):
        entries, failed = step_timer.build_block(
            step_timer.distinct_cost_runs(expand(small).runs), levels
        )
        blocks = [step_timer.time_block(entries, 1) for _ in range(6)]
    assert failed == []
    assert set(conditions) == {(1, False)}
    assert gc.isenabled()
    for rows in blocks:
        names = Counter((row["norm"], row["alias"]) for row in rows)
        expected = {("none", ""), ("layer", ""), ("batch", ""), ("none", step_timer.CONTROL_ALIAS)}
        assert names == Counter(expected)
        assert [row["place"] for row in rows] == [0, 1, 2, 3]
        assert {row["threads"] for row in rows} == {1}
    assert len({rows[0]["block"] for rows in blocks}) == 6
    assert len({tuple(row["norm"] + row["alias"] for row in rows) for rows in blocks}) > 1


def test_where_time_is_short_those_near_to_the_controls_are_chosen() -> None:
    small = study()
    runs, levels = step_timer.distinct_cost_runs(expand(small).runs), controls(small)
    assert step_timer.select_runs(runs, levels, len(runs)) == runs
    far = next(run for run in runs if len(step_timer.axes_off_control(run, levels)) == 3)
    some = step_timer.select_runs(runs, levels, 3, {step_timer.cost_id(far.configuration)})
    assert some[-1] is far
    assert sorted(len(step_timer.axes_off_control(run, levels)) for run in some[:-1]) == [0] + [
        1
    ] * (3 + 2 + 2)


def test_what_cannot_be_timed_is_told(monkeypatch: Any) -> None:
    def broken(self: Any) -> Any:
        raise RuntimeError("not today")

    small = study(axes={"regularizer": ["none", "dropout"]})
    monkeypatch.setattr("ablations.techniques.regularizers.DropoutLayer.plain", broken)
    entries, failed = step_timer.build_block(
        step_timer.distinct_cost_runs(expand(small).runs), controls(small)
    )
    assert [(entry.run.configuration.regularizer.name, entry.alias) for entry in entries] == [
        ("none", ""),
        ("none", step_timer.CONTROL_ALIAS),
    ]
    assert [why for _, why in failed] == ["RuntimeError: not today"]
