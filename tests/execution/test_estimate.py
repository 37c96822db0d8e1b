"""What a plan will take, and what fits into less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablations import RequestError, Study, load
from ablations.cli import app
from ablations.cli.options import seconds_of
from ablations.execution.estimate import CohortCost, Estimate, estimate, smallest_effect
from ablations.execution.plan import RunOptions, plan_execution

STUDY = Study(
    task="notebook",
    seeds=40,
    axes={"norm": ["none", "layer"], "regularizer": ["none", "l2", "dropout"]},
)


def priced(study: Study = STUDY, **changes: float) -> Estimate:
    """A price of known rates: a second for each epoch of a cohort."""
    outlook = plan_execution(study, Path("nowhere"), RunOptions(jobs=1))
    rates = tuple(CohortCost(choice, 2.0, 1.0, judged=3.0) for choice in outlook.choices)
    known = {"startup": 0.0, "compile_seconds": 0.0, "memory": 0, "timed": 0} | changes
    return Estimate(rates, jobs=1, with_report=False, time_budget=0.0, **known)  # type: ignore[arg-type]


def test_the_time_is_that_of_the_cohorts_and_of_their_audit() -> None:
    found = priced()
    count = sum(len(rate.choice.cohorts()) for rate in found.rates)
    assert found.seconds() == count * (2 + STUDY.epochs) + 3 * len(found.rates)
    assert found.seconds(lambda run: False) == 0
    few = found.seconds(lambda run: run.seed < 3)
    assert few == len(found.rates) * (2 + STUDY.epochs + 3)
    low, high = found.interval()
    assert low < found.seconds() < high


def test_seeds_that_fit_are_the_most_that_do() -> None:
    found = priced()
    count = found.fitting(STUDY.seeds, found.seconds() - 1)
    assert 0 < count < 40
    assert found.seconds(lambda run: run.seed < count) <= found.seconds() - 1
    assert found.fitting(STUDY.seeds, found.seconds()) == 40
    assert found.fitting(STUDY.seeds, 1.0) == 0


def test_what_is_left_at_its_control_saves_its_cohorts() -> None:
    found = priced()
    assert found.without(STUDY, found.seconds() * 0.7) == ["regularizer", "norm"]
    assert found.without(STUDY, 1.0) == []


def test_the_smallest_effect_is_that_of_the_tables() -> None:
    # Cohen (1988): 34 pairs find half a deviation in four of five studies, 15 find 0.8 (t-test).
    assert smallest_effect(34) == pytest.approx(0.5, abs=0.01)
    assert smallest_effect(15) == pytest.approx(0.78, abs=0.02)


def test_a_probe_looks_at_every_kind_and_scales() -> None:
    small = STUDY.replace(seeds=8).with_epochs(10)
    found = estimate(
        plan_execution(small, Path("nowhere"), RunOptions(jobs=1)), seconds=2.0, with_report=False
    )
    assert all(rate.probed and rate.each > 0 for rate in found.rates)
    assert all(rate.judged > 0 for rate in found.rates)
    assert len(found.rates) == 4
    assert found.memory > 1e7
    one_by_one = estimate(
        plan_execution(small, Path("nowhere"), RunOptions(jobs=1, engine="loop")), seconds=2.0
    )
    assert all(rate.probed and rate.each > 0 and rate.judged == 0 for rate in one_by_one.rates)


@pytest.mark.parametrize(
    ("words", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1m0.5s", 60.5)]
)
def test_times(words: str, seconds: float) -> None:
    assert seconds_of(words, "--budget") == seconds


@pytest.mark.parametrize("words", ["", "0", "-3", "soon", "1d", "m", "nan"])
def test_what_is_no_time_is_refused(words: str) -> None:
    with pytest.raises(RequestError, match="expected a time such as 90s, 10m or 1h30m"):
        seconds_of(words, "--budget")


def test_the_command_tells_time_and_memory_and_trains_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(STUDY.to_toml())
    dry = CliRunner().invoke(app, ["run", "s.toml", "--dry-run", "--no-report", "--budget", "1h"])
    assert re.search(r"to train  240, in \d+ cohorts\n", dry.stdout)
    told = r"to the end about 0:\d\d:\d\d \(0:\d\d:\d\d to 0:\d\d:\d\d\), by .*, up to .* GiB each"
    assert re.search(told, dry.stdout), dry.stdout
    assert "all 40 seeds end in 1:00:00" in dry.stdout
    assert not Path("results").exists()

    def cheap(*_: object, **__: object) -> Estimate:
        return priced()

    monkeypatch.setattr("ablations.execution.estimate.estimate", cheap)
    budget = f"{priced().seconds() - 1:.0f}s"
    done = CliRunner().invoke(app, ["run", "s.toml", "--no-report", "--budget", budget])
    assert done.exit_code == 0, done.output
    count = priced().fitting(STUDY.seeds, priced().seconds() - 1)
    assert f"{count} of 40 seeds end in " in done.stderr
    assert "an effect must then be" in done.stderr
    assert "all 40 seeds end in that time with 'norm' at its control" in done.stderr
    assert load("results/study").runs["seed"].nunique() == count
    none = CliRunner().invoke(app, ["run", "s.toml", "--out", "other", "--budget", "1s"])
    assert none.exit_code == 2
    assert "--budget: not one seed ends in that time" in none.stderr
    assert not Path("other").exists()
