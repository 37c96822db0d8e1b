"""The fusion audit: a few runs of each cohort key, trained again by the plain loop.

Two correct engines round differently, and training amplifies rounding: some runs lose their first
digits within an epoch, most keep them for hundreds of steps.  The amplification is measured on the
reference itself, as the deviation of the plain loop in float32 from the plain loop in float64.
Over the first epochs, as long as these two stay close, each sampled run must pass three checks:

- its stored curve is the loop's, to a tolerance that follows from the measured amplification;
- its program in float64 is the loop in float64, to eight digits.  Where training loses these digits
  too, the tolerance follows from the loop with a learning rate that is perturbed in its last digits
  (computed only for runs that would fail otherwise);
- its program gives the stored curve again, bit for bit, in another cohort and slot; and where user
  code takes part in it, the plain loop gives its own curve again.

At the end of training single runs may differ.  There, ``drift`` lets the analysis compare the
distribution of final losses with the loop's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ablations.core.registry import registered
from ablations.study.configuration import Run
from ablations.techniques.base import Device
from ablations.training import loop
from ablations.training.cohorts import count_steps, group_runs
from ablations.training.fused import trainer
from ablations.training.repetition import ELSEWHERE
from ablations.training.result import RunResult, error_message, is_failure
from ablations.training.timeout import time_limit

RUNS = 2
"""Runs of each cohort key."""
STEPS = 16
"""Optimizer steps that are compared, in whole epochs and at least one."""
END_STEPS = 2_000
"""Longest runs that the loop trains to the end."""
PATIENCE = 10
"""Time limit of an audit of several runs, in multiples of the limit of a run."""

CLOSE = 0.01
"""Relative deviation of the loop in both precisions beyond which digits are not compared."""
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
"""Tolerated relative deviation of a loss from the loop's, where rounding is not amplified."""
AMPLIFIED = {"float32": 30.0, "float64": 1e-5}
"""Added tolerance, as a multiple of the deviation between the loop's two precisions."""
CHAOTIC = {"float32": math.inf, "float64": 1e-3}
"""Tolerance if training loses the seven digits of float32 within an epoch: of the sixteen of
float64, it keeps some."""
LAST_DIGIT = {"float32": 2.0**-22, "float64": 2.0**-50}
"""Relative perturbation of a number in its last digits."""
PERTURBED = 10.0
"""Tolerance for chaotic runs in float64, as a multiple of the deviation that a perturbed learning
rate causes."""
Array = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float, float]]
"""Objective and both losses of each epoch."""


@dataclass(frozen=True)
class AuditRecord:
    """The audit of one run.

    A deviation is the largest relative deviation of a loss from the loop's, over epochs and losses.
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
    """Log of the final validation loss over the loop's; None if the loop does not train so far."""
    reason: str | None = None
    """Why the run fails the audit; None if it passes."""

    def row(self, environment_id: str) -> dict[str, Any]:
        return asdict(self) | {"environment_id": environment_id}


def sample_runs(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """Sample ``RUNS`` runs of each cohort key: the first ones by run id."""
    groups = group_runs(runs)
    return [tuple(sorted(group, key=lambda run: run.run_id)[:RUNS]) for group in groups]


def audit_runs(
    runs: Sequence[Run],
    engine: str,
    size: int,
    stored: Mapping[str, Curve],
    seconds: float | None = None,
) -> list[AuditRecord]:
    """Compare runs with one cohort key, and their ``stored`` curves by run id, with the plain loop.

    ``engine`` and ``size`` describe the program that trained them; ``seconds`` limits a run.
    """
    configuration = runs[0].configuration
    window = min(configuration.epochs, max(1, STEPS // configuration.steps_per_epoch))
    try:
        with time_limit(seconds and PATIENCE * seconds):
            runs_64 = [_in_precision(run, "float64") for run in runs]
            results = [
                *trainer.train(runs[::-1], size, compiled=engine == "fused-compiled", stop=window),
                # Fewer members than in the study: in float64, rounding does not matter.
                *trainer.train(runs_64, min(size, 8), stop=window),
            ]
            result_of = {id(result.run): result for result in results}
            return [
                _audit_run(
                    AuditRecord(run.run_id, engine, size),
                    *(run, window, np.array(stored[run.run_id], dtype=float)),
                    *(result_of[id(run)], result_of[id(run_64)]),
                )
                for run, run_64 in zip(runs, runs_64, strict=True)
            ]
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = f"it could not be judged: {error_message(error)}"
        return [AuditRecord(run.run_id, engine, size, reason=reason) for run in runs]


def _in_precision(run: Run, dtype: str) -> Run:
    """The same run in another precision, on the control device if its own lacks the precision."""
    configuration = run.configuration.with_(dtype=dtype)
    if configuration.device.skip(configuration):
        configuration = configuration.with_(device=registered("device")[Device.control]())
    return replace(run, configuration=configuration)


def _audit_run(
    record: AuditRecord, run: Run, window: int, stored: Array, *results: RunResult
) -> AuditRecord:
    repetition, result_64 = results
    dtype = run.configuration.dtype
    to_end = count_steps(run.configuration) <= END_STEPS
    expected = _losses(loop.train(run, None if to_end else window))
    other = _losses(
        loop.train(_in_precision(run, "float32" if dtype == "float64" else "float64"), window)
    )
    deviations = _deviations(expected[:window], other)
    epochs = max(1, int((deviations <= CLOSE).cumprod().sum()))
    amplification = float(deviations[:epochs].max())

    deviation = _max_deviation(stored, expected, epochs)
    tolerance = _tolerance(dtype, amplification)
    expected_64 = expected if dtype == "float64" else other
    deviation_64 = _max_deviation(_losses(result_64), expected_64, epochs)
    tolerance_64 = _tolerance("float64", amplification)
    is_reference = True
    if not deviation_64 <= tolerance_64:
        # The two precisions show how seven digits are lost, and not how the next nine are.
        perturbed = perturbed_deviation(run, "float64", expected_64, window, epochs)
        is_reference = perturbed <= CLOSE  # else the loop cannot judge anything here
        tolerance_64 = max(tolerance_64, PERTURBED * perturbed)
    if not deviation <= tolerance and deviation_64 <= tolerance_64:
        # The two precisions may have stayed close by chance.
        perturbed = perturbed_deviation(run, dtype, expected, window, epochs)
        tolerance = max(tolerance, _tolerance(dtype, perturbed))
    repeated = _losses(repetition)
    reasons = [
        f"its program failed when it was run again: {result.reason}"
        for result in results
        if result.status == "failed"
    ]
    if not deviation <= tolerance:
        reasons.append(
            f"its losses deviate by {deviation:.1e} from the plain loop's over the first {epochs} "
            f"epochs; at most {tolerance:.1e} is rounding"
        )
    reasons += _explain_repetition(run, (repeated, stored, expected), epochs, amplification)
    if not deviation_64 <= tolerance_64:
        reasons.append(
            f"in float64 the losses of its program deviate by {deviation_64:.1e} from the "
            f"plain loop's; at most {tolerance_64:.1e} is rounding"
        )
    return replace(
        record,
        epochs_compared=epochs if is_reference else 0,
        deviation=deviation,
        tolerance=tolerance,
        deviation_float64=deviation_64,
        tolerance_float64=tolerance_64,
        repeated=_is_equal(repeated, stored),
        drift=_drift(stored, expected) if to_end else None,
        reason="; ".join(reasons) or None,
    )


def perturbed_deviation(run: Run, dtype: str, expected: Array, window: int, epochs: int) -> float:
    """Largest deviation of the plain loop from itself with a learning rate in its last digits off.

    Batch norm over two rows, for example, is a step function of their difference: within a hundred
    steps it loses all sixteen digits.
    """
    run = _in_precision(run, dtype)
    rates = [run.configuration.lr * (1 + digits * LAST_DIGIT[dtype]) for digits in (-2, -1, 1, 2)]
    runs = [replace(run, configuration=run.configuration.with_(lr=rate)) for rate in rates]
    curves = [_losses(loop.train(perturbed_run, window)) for perturbed_run in runs]
    return max(_max_deviation(curve, expected[:window], epochs) for curve in curves)


def _tolerance(dtype: str, amplification: float) -> float:
    is_chaotic = amplification > CLOSE
    return CHAOTIC[dtype] if is_chaotic else TOLERANCE[dtype] + AMPLIFIED[dtype] * amplification


def _explain_repetition(
    run: Run, losses: tuple[Array, Array, Array], epochs: int, amplification: float
) -> Iterator[str]:
    """Say why the repeated losses of a program are not the stored ones, or those of the loop are
    others when user code is run again.  On a CPU, no repetition is rounded differently.
    """
    repeated, stored, expected = losses
    is_cpu = run.configuration.device.torch_device().type == "cpu"
    tolerance = _tolerance(
        run.configuration.dtype, min(amplification, CLOSE) if is_cpu else amplification
    )
    if not _max_deviation(repeated, stored, epochs) <= tolerance:
        yield "trained again in other company it has other losses"
    if is_cpu and run.configuration.user_modules:
        again = _losses(loop.train(run, max(1, len(repeated))))
        if not (_is_equal(repeated, stored) and _is_equal(again, expected)):
            yield f"trained again by the same engine it has other losses: {ELSEWHERE}"


def _is_equal(losses: Array, longer: Array) -> bool:
    """Whether losses are the first ones of a curve, bit for bit."""
    return np.array_equal(losses, longer[: len(losses)], equal_nan=True)


def _drift(losses: Array, expected: Array) -> float | None:
    final, expected_final = losses[-1, 2], expected[-1, 2]
    is_positive = 0 < final < math.inf and 0 < expected_final < math.inf
    is_defined = is_positive and len(losses) == len(expected)
    return math.log(final / expected_final) if is_defined else None


def _losses(result: RunResult) -> Array:
    """Objective and losses, shape (epochs, 3)."""
    rows = [(epoch.objective, epoch.train_loss, epoch.val_loss) for epoch in result.curve]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _deviations(losses: Array, expected: Array) -> Array:
    """The largest relative deviation in each epoch; infinite if only one is finite or exists."""
    length = max(len(losses), len(expected))
    values, reference = (
        np.vstack([curve, np.full((length - len(curve), 3), np.nan)])
        for curve in (losses, expected)
    )
    with np.errstate(all="ignore"):
        relative = np.abs(values - reference) / np.maximum(np.abs(reference), 1e-6)
    relative = np.where(np.isfinite(values) == np.isfinite(reference), relative, np.inf)
    deviations: Array = np.nan_to_num(relative, nan=0.0, posinf=np.inf).max(1, initial=0.0)
    return deviations


def _max_deviation(losses: Array, expected: Array, epochs: int) -> float:
    return float(_deviations(losses[:epochs], expected[:epochs]).max())
