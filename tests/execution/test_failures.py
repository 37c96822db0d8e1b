"""What goes wrong while training costs one row, with its reason, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import ablations
from ablations import RequestError, Study
from ablations.core import registry
from ablations.core.errors import FailedError
from ablations.core.registry import frozen
from ablations.execution import workers
from ablations.execution.dispatch import OutputContext, dispatch
from ablations.execution.workers import Pool, WorkerDiedError
from ablations.results import shards
from ablations.study.expand import expand
from ablations.tasks.base import Regression
from ablations.techniques.base import Loss, Norm, Regularizer
from ablations.training import loop, recovery
from ablations.training.cohorts import Cohort

from ..studies import SMALL, Heard, run


@frozen
class Own(Regularizer):
    """Somebody's own technique."""

    name = "own"

    def objective(
        self, outputs: Tensor, targets: Tensor, parameters: Iterable[Tensor], loss: Loss
    ) -> Tensor:
        return self.misbehave(loss(outputs, targets))

    def misbehave(self, loss: Tensor) -> Tensor:
        raise NotImplementedError


@frozen
class Raises(Own):
    """Raises an exception."""

    name = "raises"

    def misbehave(self, loss: Tensor) -> Tensor:
        raise ArithmeticError("no objective today")


@frozen
class Explodes(Own):
    """Gives a loss that is not a number."""

    name = "explodes"

    def misbehave(self, loss: Tensor) -> Tensor:
        return loss * float("nan")


@frozen
class Hangs(Own):
    """Never comes back."""

    name = "hangs"

    def misbehave(self, loss: Tensor) -> Tensor:
        while True:
            time.sleep(0.01)


@frozen
class Clings(Own):
    """Never comes back, whatever it is lines."""

    name = "clings"

    def misbehave(self, loss: Tensor) -> Tensor:
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                continue


@frozen
class Kills(Own):
    """Ends the process that trains it, as running out of memory would."""

    name = "kills"

    def misbehave(self, loss: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return loss


@frozen
class Leaves(Own):
    """Leaves the process."""

    name = "leaves"

    def misbehave(self, loss: Tensor) -> Tensor:
        os._exit(0)


@frozen
class Exits(Own):
    """Asks Python to end."""

    name = "exits"

    def misbehave(self, loss: Tensor) -> Tensor:
        sys.exit(3)


class SpeechlessError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


ODD: dict[str, BaseException] = {
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit("gone"),
    "base": BaseException("at the root"),
    "group": BaseExceptionGroup("many", [KeyboardInterrupt()]),
    "speechless": SpeechlessError(),
    "surrogate": ValueError("bad \udcff name"),
}


@frozen
class Odd(Own):
    """Raises what is no usual exception."""

    name = "odd"
    which: str = "base"

    def misbehave(self, loss: Tensor) -> Tensor:
        raise ODD[self.which]


@frozen
class Unlearns(Own):
    """Switches off what others need."""

    name = "unlearns"

    def misbehave(self, loss: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        return loss


@frozen
class Refuses(Regularizer):
    """Raises wherever it is asked before training."""

    name = "refuses"
    where: str = "penalties"

    def penalties(self) -> Any:
        if self.where == "penalties":
            raise ArithmeticError("no penalties")
        return super().penalties()

    def layer(self, place: int) -> Any:
        if self.where == "layer":
            raise ArithmeticError("no layer")
        if self.where == "exit":
            os._exit(0)
        return super().layer(place)

    def skip(self, configuration: Any) -> str | None:
        if self.where == "skip":
            raise ArithmeticError("no answer")
        return None


@frozen
class Shapes(Norm):
    """Gives more features than it takes."""

    name = "shapes"

    def layer(self, width: int) -> nn.Module:
        return nn.Linear(width, width + 1)


@frozen
class KillsEarly(Norm):
    """Ends the process that builds its network."""

    name = "kills_early"

    def layer(self, width: int) -> nn.Module:
        os.kill(os.getpid(), signal.SIGKILL)
        return nn.Identity()


OWN = (
    Raises,
    Explodes,
    Hangs,
    Clings,
    Kills,
    Leaves,
    Exits,
    Odd,
    Unlearns,
    Refuses,
    Shapes,
    KillsEarly,
)


@pytest.fixture(autouse=True)
def _register_techniques(temporary_registry: None) -> None:
    """Register a user's techniques during each test."""
    for cls in OWN:
        registry.register(cls)


PLACE = re.compile(r" \(test_failures\.py, line \d+\)")


def reasons(results: ablations.Results, axis: str) -> dict[str, set[tuple[str, str | None]]]:
    """Level to the different endings of its runs, without the line where one came up."""
    endings: dict[str, set[tuple[str, str | None]]] = {}
    for _, row in results.runs.iterrows():
        reason = PLACE.sub("", row["reason"]) if isinstance(row["reason"], str) else None
        endings.setdefault(row[axis], set()).add((row["status"], reason))
    return endings


@pytest.mark.slow
def test_every_misfortune_is_a_row_with_its_reason_and_all_others_finish(tmp_path: Path) -> None:
    levels = ["none", *(cls() for cls in (Raises, Explodes, Hangs, Clings, Kills, Leaves, Exits))]
    study = Study(**(SMALL | {"seeds": 1, "axes": {"regularizer": levels}}))
    results = run(study, tmp_path, timeout=2)
    died = "its worker process died each time: "
    assert reasons(results, "regularizer") == {
        "none": {("ok", None)},
        "raises": {("failed", "ArithmeticError: no objective today")},
        "explodes": {("diverged", "non-finite loss in epoch 1")},
        "hangs": {("failed", "took longer than 2 s")},
        "clings": {("failed", "took longer than 2 s, and its process did not answer")},
        "kills": {("failed", f"{died}SIGKILL(-9)")},
        "leaves": {("failed", f"{died}EXIT(0)")},
        "exits": {("failed", "SystemExit: 3")},
    }
    failed = results.runs.set_index("regularizer")["traceback"]
    for name in ("raises", "hangs", "exits"):
        assert "in misbehave" in failed[name]
    alone = run(Study(**(SMALL | {"seeds": 1, "axes": {"regularizer": ["none"]}})), tmp_path / "a")
    ok = results.runs.set_index("regularizer").loc["none"]
    assert ok["val_loss"] == alone.runs["val_loss"].iloc[0]


@pytest.mark.slow
def test_odd_exceptions_and_what_is_left_behind_are_rows_of_their_own(tmp_path: Path) -> None:
    levels = [*(Odd(which) for which in ODD), Unlearns(), "none"]
    study = Study(**(SMALL | {"seeds": 1, "axes": {"regularizer": levels}}))
    results = run(study, tmp_path, engine="loop", jobs=1)
    endings = reasons(results, "regularizer")
    assert endings.pop("none") == {("ok", None)}
    assert {status for ending in endings.values() for status, _ in ending} == {"failed"}
    assert endings["odd(which=surrogate)"] == {("failed", r"ValueError: bad \udcff name")}
    assert endings["odd(which=interrupt)"] == {("failed", "KeyboardInterrupt: ")}
    (speechless,) = endings["odd(which=speechless)"]
    assert speechless == ("failed", "SpeechlessError: (its message cannot be read)")


SLOW_PLACES = [pytest.param(place, marks=pytest.mark.slow) for place in ("layer", "exit", "skip")]


@pytest.mark.parametrize("where", ["penalties", *SLOW_PLACES])
def test_what_raises_while_it_is_planned_costs_its_runs_only(tmp_path: Path, where: str) -> None:
    axes = {"regularizer": ["none", Refuses(where)], "norm": ["none", "layer"]}
    results = run(Study(**(SMALL | {"seeds": 1, "axes": axes})), tmp_path, jobs=1)
    endings = reasons(results, "regularizer")
    assert endings["none"] == {("ok", None)}
    ((status, reason),) = endings[f"refuses(where={where})" if where != "penalties" else "refuses"]
    assert status == ("skipped" if where == "skip" else "failed")
    assert reason


@pytest.mark.slow
def test_a_network_that_cannot_be_built_costs_its_runs_only(tmp_path: Path) -> None:
    study = Study(**(SMALL | {"seeds": 2, "axes": {"norm": ["none", Shapes(), KillsEarly()]}}))
    heard = Heard()
    endings = reasons(run(study, tmp_path, jobs=1, reporter=heard), "norm")
    assert endings["none"] == {("ok", None)}
    assert {status for status, _ in endings["shapes"] | endings["kills_early"]} == {"failed"}
    assert endings["kills_early"] == {("failed", "its worker process died each time: SIGKILL(-9)")}
    lines = [line for line in heard.lines if "cannot be built" in line]
    assert len(lines) == 2
    assert sum("its process ended: SIGKILL(-9)" in line for line in lines) == 1
    assert sum("RuntimeError: " in line for line in lines) == 1


def test_in_this_process_where_somebody_asks_for_it(tmp_path: Path) -> None:
    study = Study(**(SMALL | {"axes": {"regularizer": ["none", Raises(), Exits()]}}))
    endings = reasons(run(study, tmp_path, backend="sequential"), "regularizer")
    assert endings["none"] == {("ok", None)}
    assert endings["exits"] == {("failed", "SystemExit: 3")}


def test_the_first_failure_stops_a_study_that_fails_fast_and_it_can_go_on(tmp_path: Path) -> None:
    axes = {"regularizer": [Raises(), "none"]}
    study = Study(**(SMALL | {"epochs": 40, "seeds": 100, "axes": axes}))
    options: dict[str, Any] = {"fail_fast": True, "backend": "sequential", "engine": "loop"}
    with pytest.raises(FailedError, match="failed: ArithmeticError: no objective today") as raised:
        run(study, tmp_path, **options)
    stored = ablations.load(tmp_path).runs
    assert raised.value.run_id in set(stored.loc[stored["status"] == "failed", "run_id"])
    assert 0 < len(stored) < 150
    assert not (tmp_path / "report.html").exists()
    assert list(tmp_path.glob(".stop-*")) == []
    more = run(study.replace(seeds=2), tmp_path, backend="sequential")
    assert more.runs["status"].value_counts().to_dict() == {"ok": 2, "failed": 2}


@pytest.mark.parametrize(("timeout", "backend"), [(0, None), (-1, None), (5, "threading")])
def test_a_limit_that_cannot_be_kept_is_refused(
    tmp_path: Path, timeout: float, backend: str | None
) -> None:
    with pytest.raises(RequestError, match="--timeout"):
        run(Study(**SMALL), tmp_path / "out", timeout=timeout, backend=backend)
    assert not (tmp_path / "out").exists()


def test_failed_runs_are_tried_again_and_diverged_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(**(SMALL | {"axes": {"regularizer": ["none", Explodes()]}}))
    original = loop.train

    def fails(run: Any, stop: int | None = None) -> Any:
        if run.configuration.regularizer.name == "none":
            raise MemoryError("try again")
        return original(run)

    monkeypatch.setattr(loop, "train", fails)
    run(study, tmp_path, backend="sequential", engine="loop")
    status = ablations.load(tmp_path).runs["status"]
    assert status.value_counts().to_dict() == {"failed": 3, "diverged": 3}
    monkeypatch.setattr(loop, "train", original)
    heard = Heard()
    results = run(study, tmp_path, jobs=1, reporter=heard)
    assert heard.trained == {"ok": 3}
    assert results.runs["status"].value_counts().to_dict() == {"ok": 3, "diverged": 3}


# ----------------------------------------------------------------------- workers that die


def test_a_worker_killed_for_memory_has_its_cohort_trained_in_smaller_programs_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    death = WorkerDiedError("SIGKILL(-9)", memory=True)

    def die(function: Any, calls: Any, pool: Pool, *, on_worker_death: Any, is_stopped: Any) -> Any:
        for call in calls:
            yield from on_worker_death(call, death)

    def die_if_large(function: Any, batch: Any, context: OutputContext) -> Any:
        if batch[0].size > 8:
            raise death
        return function(batch, context)

    monkeypatch.setattr(workers, "map_calls", die)
    monkeypatch.setattr(workers, "call_isolated", die_if_large)
    runs = expand(Study(task="notebook", epochs=2, seeds=20)).runs
    context = OutputContext(tmp_path, "study", "here")
    statuses = list(dispatch([(Cohort(runs, 32),)], context, Pool()))
    assert sum(counts["ok"] for counts in statuses) == 20
    rows = pd.concat(shard.table.to_pandas() for shard in shards.read(tmp_path / "runs"))
    assert set(rows["cohort_size"]) == {8}
    assert set(rows["reason"]) == {
        "trained 8 at a time, since there was no memory for 32 at a time"
    }


def test_out_of_memory_ends_with_the_plain_loop_and_then_with_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = expand(Study(task="notebook", epochs=2, seeds=3)).runs

    genuine = Regression.losses

    def tight(self: Any, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim > 2:  # of several members
            raise torch.OutOfMemoryError("no room")
        return genuine(self, outputs, targets)

    monkeypatch.setattr(Regression, "losses", tight)
    results = recovery.train_cohort(Cohort(runs, 32))
    assert {(result.status, result.engine) for result in results} == {("ok", "loop")}
    expected = "trained alone, since there was no memory for 32 at a time"
    assert {result.reason for result in results} == {expected}
    by_run = {result.run: result for result in results}
    assert all(by_run[run].curve == loop.train(run).curve for run in runs)

    def no_room(run: Any) -> Any:
        raise MemoryError("none at all")

    monkeypatch.setattr(loop, "train", no_room)
    (failed,) = recovery.train_cohort(Cohort(runs[:1], 32))
    assert (failed.status, failed.cohort_size) == ("failed", 1)
    place = PLACE.search(str(failed.reason))
    assert place, failed.reason
    assert failed.reason == f"MemoryError: none at all{place[0]}; {expected}"
