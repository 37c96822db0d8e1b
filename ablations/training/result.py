"""The result of a run, from any engine."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ablations.core.plugins import error_location
from ablations.core.schema import baseline_column
from ablations.study.configuration import Run
from ablations.training.curve import Curve
from ablations.training.evaluation import Evaluation
from ablations.training.timeout import RunTimeoutError

Status = Literal["ok", "diverged", "failed", "skipped"]

_ignores_interrupts = False


def ignore_interrupts() -> None:
    """Count KeyboardInterrupt as a failure of a run, in a worker that no user interrupts."""
    global _ignores_interrupts
    _ignores_interrupts = True


def is_failure(error: BaseException) -> bool:
    """Whether an exception is a failure of a run, and not a user's interrupt."""
    return _ignores_interrupts or not isinstance(error, KeyboardInterrupt)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that host or device has no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def error_message(error: BaseException) -> str:
    """Format an exception as one line; an exception whose message raises is no problem."""
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be read)"
    if isinstance(error, RunTimeoutError):
        return text
    return _encodable(f"{type(error).__name__}: {text}".splitlines()[0])


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class RunResult:
    """The result of a run; ``train_seconds`` is the wall time of its epochs, with evaluation."""

    run: Run
    status: Status
    reason: str | None = None
    engine: str = "loop"
    cohort_size: int = 1
    parameters: int | None = None
    evaluation: Evaluation = field(default=Evaluation(), repr=False)
    train_seconds: float | None = None
    curve: Curve = field(default=Curve(), repr=False)
    traceback: str | None = None

    @classmethod
    def from_exception(
        cls, run: Run, error: BaseException, engine: str = "loop", cohort_size: int = 1
    ) -> RunResult:
        text = _encodable("".join(traceback.format_exception(error)))
        location = "" if isinstance(error, RunTimeoutError) else error_location(error)
        reason = f"{error_message(error)}{location}"
        return cls(run, "failed", reason, engine, cohort_size, traceback=text)

    @property
    def metric(self) -> float | None:
        return self.evaluation.metric

    def judgement(self) -> dict[str, float | int | None]:
        """Return the best epoch, and what judges the run: columns of the runs table."""
        best, evaluation = self.curve.best_epoch(), self.evaluation
        baseline = evaluation.baseline
        return {
            "best_epoch": best.epoch if best else None,
            "best_val_loss": best.val_loss if best else None,
            "test_loss": evaluation.test_loss,
            "baseline": baseline.loss,
            "metric": evaluation.metric,
            **evaluation.metrics,
            **{baseline_column(name): value for name, value in baseline.metrics.items()},
        }

    def row(self, study: str, environment_id: str) -> dict[str, Any]:
        last = self.curve[-1] if self.curve else None
        configuration = self.run.configuration
        metric_name = (*configuration.metrics, configuration.task.metric_name)[0]
        return {
            "run_id": self.run.run_id,
            "study": study,
            **configuration.columns,
            "seed": self.run.seed,
            "split": self.run.split,
            "status": self.status,
            "reason": self.reason,
            "engine": self.engine,
            "cohort_size": self.cohort_size,
            "parameters": self.parameters,
            "objective": last and last.objective,
            "train_loss": last and last.train_loss,
            "val_loss": last and last.val_loss,
            **self.judgement(),
            "metric_name": metric_name,
            "train_seconds": self.train_seconds,
            "environment_id": environment_id,
            "traceback": self.traceback,
        }
