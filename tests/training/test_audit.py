"""The fusion audit: silent where engines differ by rounding, loud where they differ by more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from typer.testing import CliRunner

import ablations
from ablations import Study
from ablations.analysis import audit_failure
from ablations.cli import app
from ablations.core.errors import AuditError
from ablations.core.registry import registered
from ablations.execution.progress import Silent
from ablations.study.configuration import Run
from ablations.study.expand import expand
from ablations.techniques.optimizers import Adam
from ablations.training import audit, loop
from ablations.training.fused import trainer
from ablations.training.result import RunResult

SIZE = 32
SMALL: dict[str, Any] = {
    "task": "notebook",
    "seeds": 3,
    "epochs": 4,
    "axes": {"norm": ["none", "layer"], "regularizer": ["none", "dropout"]},
}


def curves(results: Sequence[RunResult]) -> dict[str, audit.Curve]:
    return {
        result.run.run_id: [(e.objective, e.train_loss, e.val_loss) for e in result.curve]
        for result in results
    }


def audit_fused(runs: Sequence[Run]) -> list[audit.AuditRecord]:
    return audit.audit_runs(runs, "fused", SIZE, curves(trainer.train(runs, SIZE)))


@pytest.mark.parametrize("axis", ["regularizer", "norm", "init", "schedule", "optimizer"])
@pytest.mark.parametrize("task", ["notebook", pytest.param("digits", marks=pytest.mark.slow)])
def test_every_level_in_float32_is_the_loop_s_but_for_rounding(task: str, axis: str) -> None:
    batch_size = "full" if task == "notebook" else 32
    study = Study(
        task=task, axes={axis: list(registered(axis))}, batch_size=batch_size, seeds=2, epochs=2
    )
    runs = expand(study).runs
    for sample in audit.sample_runs(runs):
        for record in audit_fused(sample):
            assert record.reason is None, record.reason
            assert record.repeated
            assert record.deviation <= record.tolerance < 0.4
            assert record.deviation_float64 <= record.tolerance_float64 < 1e-6


def test_a_few_runs_of_each_kind_are_chosen_by_hash_whatever_their_order() -> None:
    runs = expand(Study(**SMALL)).runs
    samples = audit.sample_runs(runs)
    assert [len(sample) for sample in samples] == [audit.RUNS] * 4
    backwards = audit.sample_runs(runs[::-1])
    assert {run.run_id for sample in samples for run in sample} == {
        run.run_id for sample in backwards for run in sample
    }


def plant_wrong_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs take steps that are a little too long."""
    genuine = Adam.update

    def planted(
        self: Adam, gradient: Tensor, moments: tuple[Tensor, ...], factors: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        change, moments = genuine(self, gradient, moments, factors)
        return change * 1.001, moments

    monkeypatch.setattr(Adam, "update", planted)


def test_a_program_that_does_something_else_fails_the_study_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_wrong_updates(monkeypatch)
    with pytest.raises(AuditError, match=r"the fusion audit failed for \d of 8 runs"):
        ablations.run(Study(**SMALL), tmp_path, jobs=1, reporter=Silent())
    assert len(ablations.load(tmp_path).runs) == 12
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the fusion audit failed" in page


def test_numbers_that_came_from_elsewhere_are_found() -> None:
    (sample,) = audit.sample_runs(expand(Study(task="notebook", seeds=2, epochs=3)).runs)
    stored = curves(trainer.train(sample, SIZE))
    forged = {key: [(a, b, c * 1.01) for a, b, c in rows] for key, rows in stored.items()}
    for record in audit.audit_runs(sample, "fused", SIZE, forged):
        assert "deviate by 1.0e-02 from the plain loop's" in str(record.reason)
        assert not record.repeated


def test_a_run_that_diverges_in_the_program_alone_is_found() -> None:
    (sample,) = audit.sample_runs(expand(Study(task="notebook", seeds=2, epochs=3)).runs)
    stored = curves(trainer.train(sample, SIZE))
    broken = {key: [*rows[:1], (math.nan,) * 3] for key, rows in stored.items()}
    for record in audit.audit_runs(sample, "fused", SIZE, broken):
        assert record.deviation == math.inf
        assert record.reason is not None


def test_diverged_runs_are_judged_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Adam.update

    def explodes(self: Adam, *arguments: Any) -> Any:
        change, moments = genuine(self, *arguments)
        return change * math.inf, moments

    monkeypatch.setattr(Adam, "update", explodes)
    with pytest.raises(AuditError, match="the fusion audit failed for 8 of 8 runs"):
        ablations.run(Study(**SMALL), tmp_path, jobs=1, reporter=Silent())
    assert set(ablations.load(tmp_path).runs["status"]) == {"diverged"}


def test_honest_divergence_passes(tmp_path: Path) -> None:
    study = Study(task="notebook", seeds=3, lr=1e6, optimizer="sgd")
    results = ablations.run(study, tmp_path, jobs=1, reporter=Silent(), with_report=False)
    assert set(results.runs["status"]) == {"diverged"}
    assert len(results.audit) == 2


def test_where_the_loop_forgets_all_its_digits_it_judges_by_what_a_nudge_does() -> None:
    study = Study(
        task="friedman1", model={"name": "mlp", "norm_position": "before"}, batch_size=2, lr=0.01,
        optimizer="sgd", epochs=1, seeds=[4, 9, 11], axes={"norm": ["batch"]},
    )  # fmt: skip
    records = audit_fused(expand(study).runs)
    assert {record.reason for record in records} == {None}
    assert max(record.deviation_float64 for record in records) > 1e-3
    assert (
        min(record.epochs_compared for record in records) == 0
    )  # and it is said that nobody judged
    # Where it remembers, nothing is allowed that was not before.
    calm = audit_fused(expand(study.with_axis("norm", ["group"])).runs)
    assert {record.reason for record in calm} == {None}
    assert max(record.tolerance_float64 for record in calm) < 1e-4


def test_a_judge_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise OSError("no loop today")

    (sample,) = audit.sample_runs(expand(Study(task="notebook", seeds=2, epochs=3)).runs)
    stored = curves(trainer.train(sample, SIZE))
    monkeypatch.setattr(loop, "train", broken)
    for record in audit.audit_runs(sample, "fused", SIZE, stored):
        assert record.reason == "it could not be judged: OSError: no loop today"


def test_the_command_ends_with_1_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_wrong_updates(monkeypatch)
    words = ["run", "notebook", "--seeds", "1", "--epochs", "2", "--axis", "norm=none"]
    words += ["--axis", "init=default", "--jobs", "1", "--no-report", "--out", str(tmp_path)]
    command = CliRunner().invoke(app, words)
    assert command.exit_code == 1
    assert "do not trust these results, and train with --engine loop into another" in command.stderr
    effects = CliRunner().invoke(app, ["effects", str(tmp_path)])
    assert "do not trust these results" in effects.stderr


def test_what_was_judged_is_not_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ablations.run(Study(**SMALL), tmp_path, jobs=1, reporter=Silent(), with_report=False)
    assert len(first.audit) == 8
    assert audit_failure(first.audit) is None
    monkeypatch.setattr(loop, "train", None)
    again = ablations.run(Study(**SMALL), tmp_path, jobs=1, reporter=Silent(), with_report=False)
    assert again.audit.equals(first.audit)


def test_the_plain_loop_is_not_judged(tmp_path: Path) -> None:
    options: dict[str, Any] = {"engine": "loop", "reporter": Silent(), "with_report": False}
    assert ablations.run(Study(**SMALL), tmp_path, jobs=1, **options).audit.empty


@pytest.mark.parametrize(("deviation", "sound"), [(1e-6, True), (0.0, False)])
def test_where_only_float64_is_lost_a_nudge_judges_as_well(
    deviation: float, sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with batch norm in a recurrence: the two precisions keep together to three digits, and say
    little of the next thirteen.
    """
    monkeypatch.setitem(audit.TOLERANCE, "float64", 0.0)
    monkeypatch.setitem(audit.AMPLIFIED, "float64", 0.0)
    monkeypatch.setattr(audit, "perturbed_deviation", lambda *arguments: deviation)
    study = Study(task="digits", batch_size=300, seeds=2, epochs=3, axes={"norm": ["group"]})
    (sample,) = audit.sample_runs(expand(study).runs)
    for record in audit_fused(sample):
        assert (record.reason is None) == sound
        assert record.tolerance_float64 == audit.PERTURBED * deviation
        assert record.epochs_compared == 3
