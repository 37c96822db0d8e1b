"""A cohort to its results, whatever comes in between: an exception, no memory, no end."""

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
from ablations.training.fused.layers import NotStackableError
from ablations.training.result import RunResult, error_message, is_failure
from ablations.training.timeout import RunTimeoutError, time_limit


def train_cohort(
    cohort: Cohort, compiled: bool = False, seconds: float | None = None
) -> list[RunResult]:
    """One result for each run: of a program, or of the plain loop.

    Parameters
    ----------
    compiled
        Whether its programs are compiled.
    seconds
        How long a cohort, and a run by itself, may take (``limit``).  A program that takes longer
        is given up, and its runs are trained one by one; those that still take longer are
        ``failed``.
    """
    _reset()
    if cohort.size is None:
        return [_noted(cohort, _alone(run, seconds)) for run in cohort.runs]
    try:
        with time_limit(seconds):
            results = trainer.train(cohort.runs, cohort.size, compiled=compiled)
    except RunTimeoutError as error:
        parts = [Cohort(cohort.runs, reduced=f"{cohort.size} at a time {error}")]
    except Exception as error:
        if not trainer.out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the attempt
        parts = shrink_cohort(cohort)
    else:
        return [_noted(cohort, result) for result in results]
    return [result for part in parts for result in train_cohort(part, compiled, seconds)]


def build_errors(
    configurations: Sequence[Configuration], seconds: float | None = None
) -> list[str | None]:
    """``build_error`` for each of them."""
    return [build_error(configuration, seconds) for configuration in configurations]


def build_error(configuration: Configuration, seconds: float | None = None) -> str | None:
    """Why a configuration's network cannot be built; None where it can, or nobody knows yet."""
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
    """The runs of a program that found no memory: in programs of half its size, or one by one."""
    size = cohort.size // 2 if cohort.size else None
    if size is None or size < MIN_MEMBERS:
        size, lanes = None, 1
    else:
        lanes = min(size, build_program(cohort.runs[0].configuration).network.slot_groups)
    reduced = cohort.reduced or f"there was no memory for {cohort.size} at a time"
    return [replace(part, reduced=reduced) for part in cohorts.split_runs(cohort.runs, size, lanes)]


def _alone(run: Run, seconds: float | None) -> RunResult:
    _reset()
    try:
        with time_limit(seconds):
            return loop.train(run)
    except BaseException as error:
        if not is_failure(error):
            raise
        return RunResult.from_exception(run, error)


def _reset() -> None:
    """Put right what code of other people, or an alarm in the middle of it, left behind."""
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


def _noted(cohort: Cohort, result: RunResult) -> RunResult:
    """A result that says so where its program was smaller than planned: it rounds otherwise."""
    if cohort.reduced is None:
        return result
    now = f"{cohort.size} at a time" if cohort.size else "alone"
    note = f"trained {now}, since {cohort.reduced}"
    return replace(result, reason="; ".join(filter(None, [result.reason, note])))
