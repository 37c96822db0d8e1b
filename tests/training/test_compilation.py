"""Compiled programs, what is noted of their cost, and where none can be compiled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablations.training.fused import compilation, trainer
from ablations.training.fused.compilation import CompileCost
from ablations.training.fused.trainer import TrainerSettings

from .fused_runs import (
    SIZE,
    assert_is_the_loop_s,
    assert_same_bits,
    numbers,
    runs_of,
)

needs_compiler = pytest.mark.skipif(
    compilation.why_unavailable() is not None, reason=compilation.why_unavailable() or ""
)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_compiled_run_stopped_early_has_the_same_bits(dtype: str) -> None:
    """Where the last training loss comes from a step whose result is dropped."""
    runs = runs_of(dtype=dtype, seeds=9, epochs=6)
    curves = {r.run.run_id: r.curve for r in trainer.train(runs, SIZE, compiled=True)}
    for result in trainer.train(runs[::-2], SIZE, compiled=True, stop=3):
        assert result.curve[:] == curves[result.run.run_id][:3]


@needs_compiler
@pytest.mark.slow
def test_compiled_programs_are_the_loop_s_and_bit_for_bit_in_any_company() -> None:
    axes = {"regularizer": ["dropout"], "norm": ["batch"], "schedule": ["constant", "plateau"]}
    runs = runs_of(axes=axes, dtype="float64", batch_size=30, seeds=20, epochs=3)
    results = trainer.train(runs[:SIZE], SIZE, compiled=True)
    assert {result.engine for result in results} == {"fused-compiled"}
    for result in results[:2]:
        assert_is_the_loop_s(result, 1e-9)
    first = {result.run.run_id: numbers(result) for result in results}
    cohorts = (runs[7:8], runs[20:3:-1], runs[40 - SIZE :])
    assert_same_bits(cohorts, first, SIZE, compiled=True)


@pytest.mark.slow
@needs_compiler
def test_compiled_convolutions_are_the_loop_s() -> None:
    (run,) = runs_of(
        task="digits", model={"name": "cnn", "channels": [4]}, batch_size=400, dtype="float64",
        axes={"norm": ["batch"]}, epochs=1,
    )  # fmt: skip
    in_chunks = TrainerSettings(max_split_bytes=0)
    (result,) = trainer.train([run], 8, compiled=True, settings=in_chunks)
    assert result.engine == "fused-compiled"
    assert_is_the_loop_s(result, 1e-9)


def test_without_a_compiler_on_the_path_nothing_can_be_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compilation.why_unavailable.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compilation.why_unavailable() == "no C++ compiler is installed"
    compilation.why_unavailable.cache_clear()


def test_costs_of_programs_are_noted_and_bad_notes_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert compilation.compile_cost("program", 32, 5) == CompileCost(seconds=9.5)
    compilation.record_cost("program", 32, "step", seconds=12.0, gain=2.5)
    assert compilation.compile_cost("program", 32, 5) == CompileCost(seconds=1.0, gain=2.5)
    compilation.record_cost("program", 32, "step", seconds=0.4, gain=2.0)
    assert compilation.compile_cost("program", 32, 5) == CompileCost(seconds=0.4, gain=2.0)
    assert compilation.compile_cost("program", 16, 5) == CompileCost(seconds=9.5)
    (note,) = tmp_path.rglob("*.json")
    assert json.loads(note.read_text())["step"]["compile"] == 12.0
    note.write_text("[1]")
    assert compilation.compile_cost("program", 32, 5) == CompileCost(seconds=9.5)
