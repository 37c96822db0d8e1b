"""A cohort to its results, in spite of exceptions, too little memory and time limits."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace

import torch

from ablations.study.configuration import Configuration, Run
from ablations.training import cohorts, loop
from ablations.training.cohorts import MIN_MEMBERS, Cohort
from ablations.training.fused import trainer
from ablations.training.fused.build import build_program
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.result import RunResult, error_message, is_failure, out_of_memory
from ablations.training.timeout import RunTimeoutError, time_limit


def train_cohort(
    cohort: Cohort, compiled: bool = False, seconds: float | None = None
) -> list[RunResult]:
    """Train a cohort by a program or by the plain loop; return one result for each run.

    A program that needs too much memory is split into smaller ones, and the runs of a program that
    exceeds ``seconds`` are trained one by one.  A run that alone exceeds them is ``failed``.
    """
    _reset_torch()
    if cohort.size is None:
        return [_with_note(cohort, _train_alone(run, seconds)) for run in cohort.runs]
    try:
        with time_limit(seconds):
            results = trainer.train(cohort.runs, cohort.size, compiled=compiled)
    except RunTimeoutError as error:
        smaller = [Cohort(cohort.runs, reduced=f"{cohort.size} at a time {error}")]
    except Exception as error:
        if not out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the attempt
        smaller = shrink_cohort(cohort)
    else:
        return [_with_note(cohort, result) for result in results]
    return [result for each in smaller for result in train_cohort(each, compiled, seconds)]


def build_errors(
    configurations: Sequence[Configuration], seconds: float | None = None
) -> list[str | None]:
    """Say why each configuration's network cannot be built; None if no error is found."""
    return [_build_error(configuration, seconds) for configuration in configurations]


def _build_error(configuration: Configuration, seconds: float | None) -> str | None:
    try:
        with time_limit(seconds):
            cohorts.cohort_key(configuration)
            build_program(configuration)
    except NotStackableError:
        return None
    except BaseException as error:
        if not is_failure(error):
            raise
        return error_message(error)
    return None


def shrink_cohort(cohort: Cohort) -> list[Cohort]:
    """Split a cohort without memory into programs of half its size, or single runs."""
    size, n_groups = (cohort.size or 0) // 2, 1
    if size >= MIN_MEMBERS:
        program = build_program(cohort.runs[0].configuration)
        n_groups = min(size, program.network.slot_groups)
    reduced = cohort.reduced or f"there was no memory for {cohort.size} at a time"
    smaller = cohorts.split_runs(cohort.runs, size if size >= MIN_MEMBERS else None, n_groups)
    return [replace(each, reduced=reduced) for each in smaller]


def _train_alone(run: Run, seconds: float | None) -> RunResult:
    _reset_torch()
    try:
        with time_limit(seconds):
            return loop.train(run)
    except BaseException as error:
        if not is_failure(error):
            raise
        return RunResult.from_exception(run, error)


def _reset_torch() -> None:
    """Restore global settings that a user's code, or an alarm inside it, left changed."""
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


def _with_note(cohort: Cohort, result: RunResult) -> RunResult:
    """Note in a result that its program was smaller than planned, which changes rounding."""
    if cohort.reduced is None:
        return result
    size = f"{cohort.size} at a time" if cohort.size else "alone"
    note = f"trained {size}, since {cohort.reduced}"
    return replace(result, reason="; ".join(filter(None, [result.reason, note])))
