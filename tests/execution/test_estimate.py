"""What a plan will take, and what fits into less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablations import RequestError, Study, load
from ablations.cli import app
from ablations.cli.options import parse_seconds
from ablations.execution.estimate import CohortCost, Estimate, estimate, smallest_effect
from ablations.execution.options import RunOptions
from ablations.execution.plan import plan_execution
from ablations.training.probe import TrainingCost

STUDY = Study(
    task="notebook",
    seeds=40,
    axes={"norm": ["none", "layer"], "regularizer": ["none", "l2", "dropout"]},
)


def priced() -> Estimate:
    """An estimate of known costs: a second for each epoch of a cohort."""
    options = RunOptions(jobs=1, time_budget=0.0, with_report=False)
    plan = plan_execution(STUDY, Path("nowhere"), options)
    costs = [CohortCost(choice, TrainingCost(2.0, 1.0), audit=3.0) for choice in plan.choices]
    return Estimate(
        tuple(costs), jobs=1, startup=0.0, compile_seconds=0.0, n_timed=0, options=options
    )


def test_the_time_is_that_of_the_cohorts_and_of_their_audit() -> None:
    expected = priced()
    count = sum(len(cost.choice.cohorts()) for cost in expected.costs)
    assert expected.seconds() == count * (2 + STUDY.epochs) + 3 * len(expected.costs)
    assert expected.seconds(lambda run: False) == 0
    few = expected.seconds(lambda run: run.seed < 3)
    assert few == len(expected.costs) * (2 + STUDY.epochs + 3)
    low, high = expected.interval()
    assert low < expected.seconds() < high


def test_seeds_that_fit_are_the_most_that_do() -> None:
    expected = priced()
    count = expected.count_seeds(STUDY.seeds, expected.seconds() - 1)
    assert 0 < count < 40
    assert expected.seconds(lambda run: run.seed < count) <= expected.seconds() - 1
    assert expected.count_seeds(STUDY.seeds, expected.seconds()) == 40
    assert expected.count_seeds(STUDY.seeds, 1.0) == 0


def test_what_is_left_at_its_control_saves_its_cohorts() -> None:
    expected = priced()
    assert expected.affordable_axes(STUDY, expected.seconds() * 0.7) == ["regularizer", "norm"]
    assert expected.affordable_axes(STUDY, 1.0) == []


def test_the_smallest_effect_is_that_of_the_tables() -> None:
    # Cohen (1988): 34 pairs find half a deviation in four of five studies, 15 find 0.8 (t-test).
    assert smallest_effect(34) == pytest.approx(0.5, abs=0.01)
    assert smallest_effect(15) == pytest.approx(0.78, abs=0.02)


def test_a_probe_looks_at_every_kind_and_scales() -> None:
    small = STUDY.replace(seeds=8).with_epochs(10)
    options = RunOptions(jobs=1, with_report=False)
    expected = estimate(plan_execution(small, Path("nowhere"), options), options, seconds=2.0)
    assert all(cost.is_probed and cost.training.per_epoch > 0 for cost in expected.costs)
    assert all(cost.audit > 0 for cost in expected.costs)
    assert len(expected.costs) == 4
    assert expected.memory > 1e7
    options = RunOptions(jobs=1, engine="loop")
    one_by_one = estimate(plan_execution(small, Path("nowhere"), options), options, seconds=2.0)
    assert all(cost.is_probed and cost.training.seconds(1) > 0 for cost in one_by_one.costs)
    assert all(cost.audit == 0 for cost in one_by_one.costs)


@pytest.mark.slow
def test_the_workers_of_a_plan_are_probed_all_at_once() -> None:
    options = RunOptions(jobs=2)
    plan = plan_execution(STUDY.replace(seeds=8).with_epochs(3), Path("nowhere"), options)
    expected = estimate(plan, options, seconds=0.1)
    assert plan.pool.backend == "loky"
    assert all(cost.is_probed and cost.memory > 1e7 for cost in expected.costs)


@pytest.mark.parametrize(
    ("words", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1m0.5s", 60.5)]
)
def test_times(words: str, seconds: float) -> None:
    assert parse_seconds(words, "--budget") == seconds


@pytest.mark.parametrize("words", ["", "0", "-3", "soon", "1d", "m", "nan"])
def test_what_is_no_time_is_refused(words: str) -> None:
    with pytest.raises(RequestError, match="expected a time such as 90s, 10m or 1h30m"):
        parse_seconds(words, "--budget")


def test_the_command_tells_time_and_memory_and_trains_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(STUDY.to_toml())
    dry = CliRunner().invoke(app, ["run", "s.toml", "--dry-run", "--no-report", "--budget", "1h"])
    assert re.search(r"to train  240, in \d+ cohorts\n", dry.stdout)
    pattern = (
        r"to the end about 0:\d\d:\d\d \(0:\d\d:\d\d to 0:\d\d:\d\d\), by .*, up to [0-9,]+ MB each"
    )
    assert re.search(pattern, dry.stdout), dry.stdout
    assert "all 40 seeds end in 1:00:00" in dry.stdout
    assert not Path("results").exists()

    def cheap(*_: object, **__: object) -> Estimate:
        return priced()

    monkeypatch.setattr("ablations.execution.estimate.estimate", cheap)
    budget = f"{priced().seconds() - 1:.0f}s"
    trained = CliRunner().invoke(app, ["run", "s.toml", "--no-report", "--budget", budget])
    assert trained.exit_code == 0, trained.output
    count = priced().count_seeds(STUDY.seeds, priced().seconds() - 1)
    assert f"{count} of 40 seeds end in " in trained.stderr
    assert "an effect must then be" in trained.stderr
    assert "all 40 seeds end in that time with 'norm' at its control" in trained.stderr
    assert load("results/study").runs["seed"].nunique() == count
    none = CliRunner().invoke(app, ["run", "s.toml", "--out", "other", "--budget", "1s"])
    assert none.exit_code == 2
    assert "--budget: not one seed ends in that time" in none.stderr
    assert not Path("other").exists()
