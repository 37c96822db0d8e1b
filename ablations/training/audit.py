"""The fusion audit: a few runs of each kind, chosen by hash, trained again by the plain loop.

Two correct engines round differently, and training amplifies rounding: some runs forget their
first digits within an epoch, most keep them for hundreds of steps.  How fast is measured on the
judge itself: the plain loop in float32 against the plain loop in float64.  Over the first epochs,
as far as these two stay close, three things are asked of each chosen run:

- its stored curve is the loop's, to a tolerance that follows from what was measured;
- the program in float64 is the loop in float64, to eight digits, which leaves no room for a
  program that does something else; where training forgets these as well, as near as the loop with a
  rate that is nudged in its last digits is to itself (asked only where a run would fail otherwise);
- the program gives the stored curve again, bit for bit, in other company and at another place.

At the end of training single runs may differ, so there the comparison is by distribution: the
final losses of all chosen runs against those of the loop, where training on is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ablations.core.registry import registered
from ablations.study.configuration import Run
from ablations.techniques.base import Device
from ablations.training import loop
from ablations.training.cohorts import CohortKey, cohort_key, count_steps
from ablations.training.fused import trainer
from ablations.training.result import RunResult, error_message, is_failure
from ablations.training.timeout import time_limit

RUNS = 2
"""Runs of each kind."""
STEPS = 16
"""Optimizer steps over which they are compared, in whole epochs and at least one."""
END_STEPS = 2_000
"""Longest runs that are trained to their end."""

PATIENCE = 10
"""How many times as long as a run a judgement may take, where there is a limit."""

CLOSE = 0.01
"""Loops in both precisions farther apart than this are no judges of the digits any more."""
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
"""Largest relative deviation of a loss from the loop's, where rounding is not amplified."""
AMPLIFIED = {"float32": 30.0, "float64": 1e-5}
"""What is added to it, in parts of the deviation between the loop's two precisions."""
CHAOTIC = {"float32": math.inf, "float64": 1e-3}
"""Where training forgets the seven digits of float32 within an epoch, it keeps some of sixteen."""
LAST = {"float32": 2.0**-22, "float64": 2.0**-50}
"""A nudge of a number in its last digits, relative."""
FORGOTTEN = 10.0
"""What is allowed where it keeps none, in times of what a nudge of the last digit does there."""
Array = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float, float]]
"""Objective and both losses of each epoch."""


@dataclass(frozen=True)
class AuditRecord:
    """What the audit found for one run.

    A deviation is that of a loss, relative to the loop's; the largest over epochs and losses.
    """

    run_id: str
    engine: str
    cohort_size: int
    epochs_compared: int = 0
    deviation: float = math.nan
    tolerance: float = math.nan
    deviation_float64: float = math.nan
    tolerance_float64: float = math.nan
    repeated: bool = False
    """Whether the program gave the stored curve again, bit for bit."""
    drift: float | None = None
    """Final validation loss over the loop's, on the log scale; None where not trained so far."""
    reason: str | None = None
    """What is wrong; None where nothing is."""

    def row(self, environment_id: str) -> dict[str, Any]:
        """This as a row of the audit table."""
        return asdict(self) | {"environment_id": environment_id}


def sample_runs(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """The runs of each kind that are to be judged: those whose hashes come first."""
    kinds: dict[int, CohortKey] = {}
    found: dict[CohortKey, list[Run]] = {}
    for run in runs:
        key = id(run.configuration)
        if key not in kinds:
            kinds[key] = cohort_key(run.configuration)
        found.setdefault(kinds[key], []).append(run)
    return [tuple(sorted(members, key=lambda run: run.run_id)[:RUNS]) for members in found.values()]


def audit_runs(
    runs: Sequence[Run],
    engine: str,
    size: int,
    stored: Mapping[str, Curve],
    seconds: float | None = None,
) -> list[AuditRecord]:
    """Judge runs of one kind by the plain loop.

    Parameters
    ----------
    engine
        The engine that trained them.
    size
        Members of the program that trained them.
    stored
        Run id to the curve in the results.
    seconds
        How long a run may take; a judgement, which trains each run several times, ``PATIENCE``
        times as long.
    """
    try:
        with time_limit(seconds and PATIENCE * seconds):
            return _judge(runs, engine, size, stored)
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = f"it could not be judged: {error_message(error)}"
        return [AuditRecord(run.run_id, engine, size, reason=reason) for run in runs]


def _judge(
    runs: Sequence[Run], engine: str, size: int, stored: Mapping[str, Curve]
) -> list[AuditRecord]:
    configuration = runs[0].configuration
    look = min(configuration.epochs, max(1, STEPS // configuration.steps_per_epoch))
    again = trainer.train(runs[::-1], size, compiled=engine == "fused-compiled", stop=look)
    twins = [_in(run, "float64") for run in runs]
    # With fewer members than the study's: in float64, rounding is no matter.
    exact = trainer.train(twins, min(size, 8), stop=look)
    found = []
    for run, twin in zip(runs, twins, strict=True):
        found.append(
            _judged(
                *(run, engine, size, look, stored[run.run_id]),
                again=next(result for result in again if result.run is run),
                exact=next(result for result in exact if result.run is twin),
            )
        )
    return found


def _in(run: Run, dtype: str) -> Run:
    """The same run in another precision, on the control device where its own has none such."""
    configuration = run.configuration.with_(dtype=dtype)
    if configuration.device.skip(configuration):
        configuration = configuration.with_(device=registered("device")[Device.control]())
    return replace(run, configuration=configuration)


def _judged(
    run: Run, engine: str, size: int, look: int, stored: Curve, again: RunResult, exact: RunResult
) -> AuditRecord:
    dtype = run.configuration.dtype
    to_end = count_steps(run.configuration) <= END_STEPS
    judge = _losses(loop.train(run, None if to_end else look))
    other = _losses(loop.train(_in(run, "float64" if dtype == "float32" else "float32"), look))
    apart = _deviations(judge[:look], other)
    epochs = max(1, int((apart <= CLOSE).cumprod().sum()))
    amplified = float(apart[:epochs].max())

    ours, repeated = np.array(stored, dtype=float), _losses(again)
    deviation = _most(ours, judge, epochs)
    tolerance = _tolerance(dtype, amplified)
    reasons = [
        f"its program failed when it was run again: {failed.reason}"
        for failed in (again, exact)
        if failed.status == "failed"
    ]
    judge_64 = judge if dtype == "float64" else other
    deviation_64 = _most(_losses(exact), judge_64, epochs)
    tolerance_64 = _tolerance("float64", amplified)
    forgotten = False
    if not deviation_64 <= tolerance_64:
        # The two precisions tell of seven digits how they are lost, and not of the next nine.
        nudged = _nudged(run, "float64", judge_64, look, epochs)
        forgotten = nudged > CLOSE  # then the loop is no judge of anything here
        tolerance_64 = max(tolerance_64, FORGOTTEN * nudged)
    alike = tolerance
    if not deviation <= tolerance and deviation_64 <= tolerance_64:
        # The two precisions may have kept together by luck.
        nudged = _nudged(run, dtype, judge, look, epochs)
        tolerance = max(tolerance, _tolerance(dtype, nudged))
    if not deviation <= tolerance:
        reasons.append(
            f"its losses deviate by {deviation:.1e} from the plain loop's over the first {epochs} "
            f"epochs; at most {tolerance:.1e} is rounding"
        )
    if not _most(repeated, ours, epochs) <= alike:
        reasons.append("trained again in other company it has other losses")
    if not deviation_64 <= tolerance_64:
        reasons.append(
            f"in float64 the losses of its program deviate by {deviation_64:.1e} from the "
            f"plain loop's; at most {tolerance_64:.1e} is rounding"
        )
    return AuditRecord(
        run_id=run.run_id,
        engine=engine,
        cohort_size=size,
        epochs_compared=0 if forgotten else epochs,
        deviation=deviation,
        tolerance=tolerance,
        deviation_float64=deviation_64,
        tolerance_float64=tolerance_64,
        repeated=np.array_equal(repeated, ours[: len(repeated)], equal_nan=True),
        drift=_drift(ours, judge) if to_end else None,
        reason="; ".join(reasons) or None,
    )


def _nudged(run: Run, dtype: str, judge: Array, look: int, epochs: int) -> float:
    """How far the plain loop comes from itself, at most, where its rate differs by a rounding
    error.

    Batch norm over two rows, for one, is a step function of their difference: within a hundred
    steps not one digit of sixteen is left.
    """
    twin = _in(run, dtype)
    rates = [twin.configuration.lr * (1 + nudge * LAST[dtype]) for nudge in (-2, -1, 1, 2)]
    runs = [replace(twin, configuration=twin.configuration.with_(lr=rate)) for rate in rates]
    return max(_most(_losses(loop.train(one, look)), judge[:look], epochs) for one in runs)


def _tolerance(dtype: str, amplified: float) -> float:
    """How far rounding can move a loss; without limit where the loop itself is no judge."""
    if amplified > CLOSE:
        return CHAOTIC[dtype]
    return TOLERANCE[dtype] + AMPLIFIED[dtype] * amplified


def _drift(losses: Array, judge: Array) -> float | None:
    """The final validation loss over the loop's, on the log scale."""
    ours, theirs = losses[-1, 2], judge[-1, 2]
    if len(losses) != len(judge) or not (0 < ours < math.inf and 0 < theirs < math.inf):
        return None
    return math.log(ours / theirs)


def _losses(result: RunResult) -> Array:
    """Objective and losses, shape (epochs, 3)."""
    rows = [(epoch.objective, epoch.train_loss, epoch.val_loss) for epoch in result.curve]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _deviations(losses: Array, judge: Array) -> Array:
    """The largest relative deviation in each epoch; infinite where only one is finite or there."""
    length = max(len(losses), len(judge))
    ours, theirs = (
        np.vstack([part, np.full((length - len(part), 3), np.nan)]) for part in (losses, judge)
    )
    with np.errstate(all="ignore"):
        relative = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-6)
    relative = np.where(np.isfinite(ours) == np.isfinite(theirs), relative, np.inf)
    found: Array = np.nan_to_num(relative, nan=0.0, posinf=np.inf)
    most: Array = found.max(1, initial=0.0)
    return most


def _most(losses: Array, judge: Array, epochs: int) -> float:
    """The largest deviation over the first epochs."""
    return float(_deviations(losses[:epochs], judge[:epochs]).max())
