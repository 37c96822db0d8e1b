"""The fused engine against the plain loop: ``nox -s bench -- bench/test_engines.py``.

Each benchmark is one cohort of 32 runs that were never seen before, or as many as the engine
takes of larger networks, in a program that is warm.
Before each round some of the same runs are trained by the plain loop in the same process, so that
both meet the same weather; ``extra_info`` holds the loop's time and how many times longer it is.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ablations import Study
from ablations.core.registry import registered
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.training import engine, loop
from ablations.training.cohorts import count_steps
from ablations.training.fused import compilation, trainer

SIZE = engine.CPU_MEMBERS
ROUNDS = 3
JUDGED = 2
"""Runs that the loop trains before each round."""

NOTEBOOK = [
    *(("regularizer", name) for name in ("none", "l1", "l2", "elastic", "dropout")),
    *(("norm", name) for name in ("layer", "batch", "group")),
    *(("init", name) for name in ("xavier_uniform", "kaiming_uniform")),
    *(("schedule", name) for name in ("step", "plateau", "cosine")),
]
OTHERS = [
    (axis, name)
    for axis in ("regularizer", "norm", "init", "schedule", "optimizer")
    for name in registered(axis)
    if (axis, name) not in NOTEBOOK and name not in ("label_smoothing", "default", "constant")
]
DIGITS = [
    *(("regularizer", name) for name in ("none", "dropout", "label_smoothing")),
    *(("norm", name) for name in ("batch", "group")),
]
MODELS = [
    (model, norm)
    for model in ("deep_mlp", "cnn", "gru")
    for norm in ("none", "layer", "batch", "group")
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["eager", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    if request.param == "compiled" and compilation.why_unavailable():
        pytest.skip(str(compilation.why_unavailable()))
    return bool(request.param == "compiled")


def fresh(
    task: str,
    axis: str,
    level: str,
    batch_size: Any,
    size: int | None = SIZE,
    device: str = "cpu",
    **more: Any,
) -> Iterator[tuple[Run, ...]]:
    """Cohorts of one configuration with ever new seeds, as no cache knows them; of as many members
    as the engine takes where no size is given.
    """
    study = Study(
        task=task,
        axes={axis: [level], "device": [device]},
        batch_size=batch_size,
        seeds=range((ROUNDS + 2) * (size or SIZE)),
        **more,
    )
    (choice,) = engine.choose_engines(expand(study).runs)
    size = size or choice.size
    assert size is not None
    for start in range(0, len(choice.runs), size):
        yield choice.runs[start : start + size]


def compare(benchmark: Any, cohorts: Iterator[tuple[Run, ...]], compiled: bool) -> None:
    first = next(cohorts)
    size = len(first)
    trainer.train(first, size, compiled=compiled)
    loop_seconds: list[float] = []
    ratios: list[float] = []

    def other() -> tuple[tuple[Any, ...], dict[str, Any]]:
        cohort = next(cohorts)
        start = time.perf_counter()
        for run in cohort[:JUDGED]:
            loop.train(run)
        loop_seconds.append(
            (time.perf_counter() - start) / JUDGED / count_steps(cohort[0].configuration)
        )
        return (cohort,), {}

    def ours(cohort: tuple[Run, ...]) -> None:
        start = time.perf_counter()
        results = trainer.train(cohort, size, compiled=compiled)
        share = (time.perf_counter() - start) / size / count_steps(cohort[0].configuration)
        ratios.append(loop_seconds[-1] / share)
        assert {result.engine for result in results} == {"fused-compiled" if compiled else "fused"}
        assert {result.traceback for result in results} == {None}

    benchmark.pedantic(ours, setup=other, rounds=ROUNDS)
    benchmark.extra_info["loop_us_per_step"] = statistics.median(loop_seconds) * 1e6
    benchmark.extra_info["us_per_step"] = statistics.median(
        judge / ratio * 1e6 for judge, ratio in zip(loop_seconds, ratios, strict=True)
    )
    benchmark.extra_info["ratio"] = statistics.median(ratios)
    benchmark.extra_info["ratio_low"], benchmark.extra_info["ratio_high"] = min(ratios), max(ratios)


@pytest.mark.parametrize(("axis", "level"), [*NOTEBOOK, *OTHERS])
def test_level(benchmark: Any, axis: str, level: str, compiled: bool) -> None:
    compare(benchmark, fresh("notebook", axis, level, "full"), compiled)


@pytest.mark.parametrize(("axis", "level"), DIGITS)
def test_digits(benchmark: Any, axis: str, level: str, compiled: bool) -> None:
    compare(benchmark, fresh("digits", axis, level, 32), compiled)


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_model(benchmark: Any, model: str, norm: str, compiled: bool) -> None:
    cohorts = fresh("digits", "norm", norm, 32, None, model=model, epochs=5)
    compare(benchmark, cohorts, compiled)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("axis", "level"), DIGITS)
def test_digits_on_cuda(benchmark: Any, axis: str, level: str, compiled: bool) -> None:
    cohorts = fresh("digits", axis, level, 32, engine.ACCELERATOR_MEMBERS, "cuda")
    compare(benchmark, cohorts, compiled)


def test_floor(benchmark: Any) -> None:
    """The products of matrices that a step of the notebook's network cannot do without."""
    widths, rows = (10, 64, 32, 1), 100
    pairs = list(itertools.pairwise(widths))
    inputs = [torch.rand(SIZE, rows, before) for before, _ in pairs]
    weights = [torch.rand(SIZE, before, after) for before, after in pairs]
    errors = [torch.rand(SIZE, rows, after) for _, after in pairs]

    def products() -> None:
        for layer, (x, weight, error) in enumerate(zip(inputs, weights, errors, strict=True)):
            torch.bmm(x, weight)
            torch.bmm(x.transpose(1, 2), error)
            if layer:
                torch.bmm(error, weight.transpose(1, 2))

    benchmark(products)
    benchmark.extra_info["us_per_step"] = benchmark.stats.stats.median / SIZE * 1e6
