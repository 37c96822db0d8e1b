"""The fused engine against the plain loop, run by run, and bit for bit in any cohort."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from ablations.core.registry import registered
from ablations.training.engine import choose_engines
from ablations.training.fused import trainer
from ablations.training.fused.trainer import TrainerSettings
from ablations.training.result import RunResult

from .foreign import Residual, foreign_runs
from .fused_runs import (
    AXES,
    SIZE,
    assert_is_the_loop_s,
    assert_same_bits,
    numbers,
    runs_of,
    train_fused,
)


def levels() -> Iterator[tuple[str, str, str]]:
    for task in ("notebook", "digits"):
        for axis in AXES:
            for level in registered(axis):
                if (task, level) != ("notebook", "label_smoothing"):
                    yield task, axis, level


@cache
def results_of_levels(task: str, axis: str) -> dict[str, RunResult]:
    """One run of each level, for 20 epochs; levels with the same cohort key in one cohort."""
    names = [level for *key, level in levels() if key == [task, axis]]
    # The last batch of an epoch of digits is smaller: 6 steps of 240 rows at most, of 1437.
    batch_size = "full" if task == "notebook" else 240
    runs = runs_of(task=task, axes={axis: names}, batch_size=batch_size, dtype="float64")
    assert len(runs) == len(names)
    results = train_fused(runs, 16).values()
    return {getattr(result.run.configuration, axis).name: result for result in results}


@pytest.mark.parametrize(
    ("task", "axis", "level"),
    [
        key if key[0] == "notebook" else pytest.param(*key, marks=pytest.mark.slow)
        for key in levels()
    ],
)
def test_each_level_is_the_loop_s_after_20_epochs(task: str, axis: str, level: str) -> None:
    result = results_of_levels(task, axis)[level]
    assert result.engine == "fused"
    assert result.cohort_size == 16
    assert len(result.curve) == 20
    assert_is_the_loop_s(result, 1e-9)


ON_DIGITS = [name for name in registered("model") if name not in ("mlp", "python")]


@cache
def results_of_model(model: str, axis: str) -> dict[str, RunResult]:
    """One run of each level, for an epoch; levels with the same cohort key in one cohort."""
    axes = {axis: list(registered(axis))}
    runs = runs_of(task="digits", model=model, axes=axes, batch_size=240, epochs=1, dtype="float64")
    results = train_fused(runs, 8).values()
    return {getattr(result.run.configuration, axis).name: result for result in results}


@pytest.mark.parametrize("model", ON_DIGITS)
@pytest.mark.parametrize(
    ("axis", "level"),
    [
        (axis, level)
        for axis in ("norm", "regularizer", "init", "optimizer")
        for level in registered(axis)
    ],
)
def test_each_level_is_the_loop_s_with_other_models(model: str, axis: str, level: str) -> None:
    result = results_of_model(model, axis)[level]
    assert result.engine == "fused"
    assert_is_the_loop_s(result, 1e-9)


@pytest.mark.parametrize(
    ("model", "norm"), [("mlp", "none"), ("cnn", "batch"), ({"name": "gru", "width": 4}, "layer")]
)
def test_series_are_the_loop_s(model: Any, norm: str) -> None:
    axes = {"norm": [norm], "regularizer": ["dropout"]}
    (run,) = runs_of(
        task="mnist1d", model=model, axes=axes, batch_size=1500, epochs=1, dtype="float64"
    )
    assert_is_the_loop_s(train_fused([run], 8)[run.run_id], 1e-9)


LEVELS: dict[str, list[Any]] = {
    "regularizer": [
        *("none", "l1", "l2", "elastic", "decoupled_weight_decay"),
        *("dropout", {"name": "dropout", "p": [0.1]}, {"name": "dropout", "p": [0.0, 0.9]}),
        *("input_noise", {"name": "input_noise", "std": 1.0}),
        *("max_norm", {"name": "max_norm", "c": 0.3}),
    ],
    "norm": ["none", "layer", "batch", "group", "rms", "weight_norm"],
    "init": ["default", "orthogonal", "kaiming_normal"],
    "schedule": ["constant", "plateau", "one_cycle", {"name": "step", "every": 0.1}],
    "optimizer": ["adam", "sgd", "adamw", {"name": "sgd", "momentum": 0.5}],
    "batch_size": ["full", 32, 100],
    "lr": [1e-4, 1e-3],  # with larger ones rounding grows within a few hundred steps
}
MODELS: list[dict[str, Any]] = [
    *({"name": "mlp", "hidden": hidden} for hidden in ([64, 32], [7], [5, 33, 16])),
    {"name": "mlp", "activation": "tanh"},
    {"name": "deep_mlp", "depth": 5, "width": 8},
]
WITH_SHAPE: list[dict[str, Any]] = [
    {"name": "cnn"},
    {"name": "cnn", "channels": [8], "kernel": 5, "stride": 3, "norm_position": "after"},
    {"name": "cnn", "channels": [3, 5, 4], "kernel": 1, "stride": 1, "activation": "tanh"},
    *({"name": "gru", "width": width} for width in (8, 16, 5)),
]


@pytest.mark.slow
@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(data=st.data())
def test_any_mixture_in_any_order_is_the_loop_s(data: st.DataObject) -> None:
    draw = data.draw
    axes = {
        axis: draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique_by=str))
        for axis, names in LEVELS.items()
        if axis not in ("batch_size", "norm")
    }
    axes |= {axis: [draw(st.sampled_from(LEVELS[axis]))] for axis in ("batch_size", "norm")}
    task = draw(st.sampled_from(["notebook", "digits"]))
    model = draw(st.sampled_from(MODELS if task == "notebook" else MODELS + WITH_SHAPE))
    grid = runs_of(task=task, model=model, axes=axes, dtype="float64", seeds=3, epochs=2)
    hypothesis.assume(grid)  # a group norm needs a width of whole groups
    count = draw(st.integers(1, min(len(grid), 40)))
    chance = random.Random(draw(st.integers(0, 99)))
    runs = chance.sample(grid, count)
    size = draw(st.sampled_from([8, 16, 32]))
    results = train_fused(runs, size)
    for run in runs[:2]:
        assert_is_the_loop_s(results[run.run_id], 1e-8)
    # The same to the last bit in other company.
    for run_id, result in train_fused(chance.sample(runs, min(3, count)), size).items():
        assert numbers(result) == pytest.approx(numbers(results[run_id]), rel=0, abs=0, nan_ok=True)


SIZES: list[tuple[list[int], Any]] = [
    *(([64, 32], 50), ([33, 5], 32), ([7], 7)),
    *(([3, 9, 1], "full"), ([6], 100), ([12, 20], 40)),
]
NORMS = ("none", "batch", "weight_norm")


def _company_cases() -> Iterator[Any]:
    """Yield sizes, norms and precisions; in the fast tier each size and norm in both precisions."""
    for i, j, k in itertools.product(range(len(SIZES)), range(len(NORMS)), range(2)):
        case, is_fast = (*SIZES[i], NORMS[j], ("float32", "float64")[k]), (i + j) % 3 == k
        yield pytest.param(*case, marks=() if is_fast else pytest.mark.slow)


@pytest.mark.parametrize(("hidden", "batch_size", "norm", "dtype"), list(_company_cases()))
def test_bit_for_bit_in_any_company(
    hidden: list[int], batch_size: Any, norm: str, dtype: str
) -> None:
    runs = runs_of(
        task="digits",
        axes={"norm": [norm], "hidden": [hidden], "init": ["default", "orthogonal"]},
        batch_size=batch_size,
        dtype=dtype,
        seeds=20,
        epochs=1,
    )
    first = {r.run.run_id: numbers(r) for r in trainer.train(runs[:SIZE], SIZE)}
    assert_same_bits((runs[7:8], runs[20:3:-1], runs[40 - SIZE :]), first, SIZE)


@pytest.mark.parametrize(
    "norm",
    [
        "none",
        "batch",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("layer", "group", "rms")),
        "weight_norm",
    ],
)
@pytest.mark.parametrize(
    "model",
    [
        {"name": "cnn", "channels": [8, 16]},
        {"name": "cnn", "channels": [3, 5], "kernel": 5},
        {"name": "gru", "width": 8},
        {"name": "gru", "width": 5},
    ],
    ids=str,
)
def test_other_models_bit_for_bit_in_any_company(model: dict[str, Any], norm: str) -> None:
    axes = {"norm": [norm], "init": ["default", "orthogonal"]}
    runs = runs_of(task="digits", model=model, axes=axes, batch_size=150, seeds=10, epochs=1)
    if not runs:
        pytest.skip("no whole groups")
    first = {r.run.run_id: numbers(r) for r in trainer.train(runs[:16], 16)}
    assert_same_bits((runs[7:8], runs[15:3:-1], runs[4:]), first, 16)


IN_CHUNKS = TrainerSettings(max_split_bytes=0, chunk_bytes=0, min_chunk_rows=42)


def test_losses_in_chunks_are_those_of_the_split() -> None:
    axes = {"norm": ["batch", "layer"]}
    runs = runs_of(axes=axes, batch_size=30, seeds=3, epochs=2, dtype="float64")
    at_once = train_fused(runs)
    for run_id, result in train_fused(runs, settings=IN_CHUNKS).items():
        assert numbers(result) == pytest.approx(numbers(at_once[run_id]), rel=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_losses_in_chunks_are_bit_for_bit_in_any_company(norm: str) -> None:
    # 353 rows of 10 features: were chunks views, every other member would begin elsewhere.
    runs = runs_of(task="diabetes", axes={"norm": [norm]}, batch_size=32, seeds=20, epochs=1)
    results = trainer.train(runs, SIZE, settings=IN_CHUNKS)
    first = {r.run.run_id: numbers(r) for r in results}
    assert_same_bits((runs[7:8], runs[::-1], runs[5:]), first, SIZE, settings=IN_CHUNKS)


def test_threads_train_what_one_thread_trains() -> None:
    axes = {"regularizer": ["dropout"]}
    runs = [*runs_of(axes=axes, seeds=4), *foreign_runs(Residual, seeds=4)]
    cohorts = [[run] for run in runs] * 3
    alone = {run.run_id: numbers(trainer.train([run], SIZE)[0]) for run in runs}
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda cohort: trainer.train(cohort, SIZE), cohorts))
    for (run,), (result,) in zip(cohorts, results, strict=True):
        assert numbers(result) == alone[run.run_id]


DIGITS = {"task": "digits", "batch_size": 32}


@pytest.mark.parametrize(
    ("study", "size"),
    [
        ({}, 32),
        (DIGITS, 32),
        (DIGITS | {"batch_size": 512}, 8),
        (DIGITS | {"model": {"name": "mlp", "hidden": [128, 64]}}, 16),
        (DIGITS | {"model": {"name": "mlp", "hidden": [256, 256]}}, 8),
        (DIGITS | {"model": {"name": "mlp", "hidden": [512, 512]}}, None),
    ],
)
def test_the_size_of_a_program_follows_the_cache(study: dict[str, Any], size: int | None) -> None:
    for seeds in (1, 50):
        (choice,) = choose_engines(runs_of(**study, seeds=seeds))
        assert choice.size == size
        assert choice.engine == ("loop" if size is None else "fused")


# --------------------------------------------------------------------------------- devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("axis", AXES)
def test_cuda_is_the_cpu_s(axis: str) -> None:
    axes = {axis: list(registered(axis)), "device": ["cuda"]}
    runs = runs_of(task="digits", batch_size=32, axes=axes, dtype="float64", epochs=3)
    for result in train_fused(runs).values():
        assert_is_the_loop_s(result, 1e-8)


def test_an_accelerator_is_seldom_checked_with_the_same_numbers() -> None:
    """What another device does by default, on this one."""
    runs = runs_of(axes={"lr": [1e-3, 1e6], "optimizer": ["sgd"]}, seeds=2)
    usual = train_fused(runs)
    seldom = TrainerSettings(finite_check_epochs=16)
    for run_id, result in train_fused(runs, settings=seldom).items():
        assert numbers(result) == numbers(usual[run_id])
        assert result.status == usual[run_id].status
