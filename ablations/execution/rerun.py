"""One run of a results folder trained again, alone, by the plain loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ablations.core.errors import RequestError
from ablations.execution.trust import load_study
from ablations.results import store
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.study.study import Study
from ablations.training import loop
from ablations.training.result import RunResult

_LOSSES = ("objective", "train_loss", "val_loss")


@dataclass(frozen=True)
class Rerun:
    """A run trained again, beside what the folder holds."""

    result: RunResult
    row: pd.Series | None  # the folder's row of the runs table
    deviation: float | None  # largest relative difference of a loss, over the common epochs if any
    epochs: int  # number of epochs that both have

    def lines(self) -> Iterator[str]:
        """Lines of text, with all digits of the numbers."""
        result, run = self.result, self.result.run
        labels = {**run.configuration.columns, "seed": run.seed, "run_id": run.run_id}
        yield from (f"{name:<19} {value}" for name, value in labels.items())
        if result.curve:
            yield ""
            yield "epoch" + "".join(f"{name:>25}" for name in (*_LOSSES, "lr"))
        for e in result.curve:
            numbers = (e.objective, e.train_loss, e.val_loss, e.lr)
            yield f"{e.epoch:5}" + "".join(f"{number!r:>25}" for number in numbers)
        yield ""
        judgement = {name: v for name, v in result.judgement().items() if v is not None}
        costs = {name: getattr(result, name) for name in ("parameters", "train_seconds")}
        for name, value in (judgement | costs).items():
            yield f"{name:<19} {value!r}"
        yield f"{'now':20}{_ending(result.status, result.reason)}, by the plain loop"
        row = self.row
        if row is None:
            yield f"{'in the folder':20}no such row"
            return
        size = f", {row['cohort_size']} at a time" if row["cohort_size"] > 1 else ""
        ending = _ending(row["status"], row["reason"])
        yield f"{'in the folder':20}{ending}, by the engine {row['engine']}{size}"
        if self.deviation is not None:
            differ = f"losses differ by {self.deviation:.1e} of their size at most"
            same = "the same losses to the last bit"
            yield f"{'':20}{differ if self.deviation else same}, over {self.epochs} epochs"


def _ending(status: str, reason: object) -> str:
    return f"{status} ({reason})" if isinstance(reason, str) else status


def rerun(folder: Path, run_id: str, *, trust: bool = False) -> Rerun:
    """Train the run again whose id, or the beginning of it, is ``run_id``.

    ``trust`` says whether code that the folder's study names may run.
    """
    results = store.load(folder)
    run = _find(load_study(folder, trust=trust), folder, run_id)
    run.configuration.task.ready()
    try:
        result = loop.train(run)
    except (Exception, SystemExit) as error:
        result = RunResult.from_exception(run, error)
    rows = results.runs[results.runs["run_id"] == run.run_id]
    curve = results.curves[results.curves["run_id"] == run.run_id]
    then = list(curve[list(_LOSSES)].itertuples(index=False, name=None))
    now = [tuple(getattr(epoch, name) for name in _LOSSES) for epoch in result.curve]
    pairs = [pair for both in zip(then, now, strict=False) for pair in zip(*both, strict=True)]
    return Rerun(
        result,
        rows.iloc[0] if len(rows) else None,
        max((_deviation(a, b) for a, b in pairs), default=None),
        len(pairs) // len(_LOSSES),
    )


def _find(study: Study, folder: Path, run_id: str) -> Run:
    grid, prefix = expand(study), run_id.strip().lower()
    runs = [run for run in grid.runs if prefix and run.run_id.startswith(prefix)]
    if len(runs) == 1:
        return runs[0]
    skipped = [reason for run, reason in grid.skipped if prefix and run.run_id.startswith(prefix)]
    if runs:
        message = f"{len(runs):,} runs begin with '{run_id}'; give more of the id"
    elif skipped:
        message = f"run '{run_id}' is skipped: {skipped[0]}"
    else:
        message = f"study.toml asks for no run '{run_id}'; the ids stand in the column run_id"
    raise RequestError(message, source=str(folder))


def _deviation(then: float, now: float) -> float:
    if not (math.isfinite(then) and math.isfinite(now)):
        return 0.0 if repr(then) == repr(now) else math.inf
    return abs(now - then) / max(abs(then), abs(now)) if then != now else 0.0
