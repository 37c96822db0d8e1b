"""Timings of a study: measured once, stored beside the runs, never pooled, and in the report."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations import Study
from ablations.cli import app
from ablations.core.errors import RequestError
from ablations.execution import timing
from ablations.results import store
from ablations.study.parsing import parse_seeds
from ablations.training import step_timer

from ..report.pages import read_page
from ..studies import SMALL, Heard, run

AXES = {"norm": ["none", "layer"], "regularizer": ["none", "dropout"]}
QUICK = step_timer.TimerSettings(blocks=7, seconds=0.001)


@pytest.fixture
def untimed() -> None:
    """Here steps are timed after training, as they are outside of tests."""


def study(**changes: Any) -> Study:
    return Study(**(SMALL | {"axes": AXES, "seeds": 2} | changes))


def measure(study: Study, folder: Path, **options: Any) -> int:
    return timing.measure(study, folder, Heard(), **{"seconds": 60.0, "settings": QUICK, **options})


def counts(folder: Path) -> Counter[tuple[str, str, str]]:
    table = ablations.load(folder).timings
    return Counter(zip(table["norm"], table["regularizer"], table["alias"], strict=True))


def test_every_configuration_is_timed_in_every_block_and_never_again(tmp_path: Path) -> None:
    assert measure(study(), tmp_path) == 7 * 5
    names = [(*levels, "") for levels in itertools.product(*AXES.values())]
    assert counts(tmp_path) == Counter(
        dict.fromkeys([*names, ("none", "none", step_timer.CONTROL_ALIAS)], 7)
    )
    table = ablations.load(tmp_path).timings
    assert set(table["environment_id"]) <= set(ablations.load(tmp_path).environment)
    assert table["run_steps"].eq(3 * 4).all()  # 3 epochs of 100 rows in batches of 30
    assert measure(study(), tmp_path) == 0
    # More seeds, other inits and rates cost nothing.
    more = study(seeds=3, axes=AXES | {"init": ["default", "kaiming_uniform"]})
    assert measure(more, tmp_path) == 0


def test_timing_describes_no_folder_by_a_study_that_is_not_its_own(tmp_path: Path) -> None:
    run(study(), tmp_path, time_budget=0)
    (tmp_path / "metadata.json").unlink()  # as a folder of an earlier version
    measure(study(axes=AXES | {"regularizer": ["none"]}), tmp_path, seconds=1.0)
    assert not (tmp_path / "metadata.json").exists()
    measure(study(), tmp_path, seconds=1.0)
    assert (tmp_path / "metadata.json").exists()


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    answers = iter([False, False, True])
    assert measure(study(), tmp_path, is_stopped=lambda: next(answers)) == 2 * 5
    assert measure(study(), tmp_path) == 5 * 5
    assert set(counts(tmp_path).values()) == {7}


@pytest.mark.slow
def test_a_new_level_is_timed_together_with_what_it_is_compared_with(tmp_path: Path) -> None:
    measure(study(), tmp_path)
    grown = study(axes=AXES | {"norm": ["none", "layer", "batch"]})
    assert measure(grown, tmp_path) == 7 * 5
    blocks = counts(tmp_path)
    assert blocks["batch", "dropout", ""] == 7
    assert blocks["none", "dropout", ""] == 14
    assert blocks["layer", "dropout", ""] == 7
    table = ablations.load(tmp_path).costs().set_index("level")
    assert table.loc["batch", "blocks"] == table.loc["layer", "blocks"] == 7


def test_where_time_is_short_it_says_so_and_times_what_matters(tmp_path: Path) -> None:
    heard = Heard()
    assert timing.measure(study(), tmp_path, heard, seconds=1e-6) == 0
    assert "nothing is timed: 6 blocks would take about" in heard.lines[-1]
    for wrong, option in (({"seconds": 0.0}, "--budget"), ({"threads": 0}, "--threads")):
        with pytest.raises(RequestError, match=option):
            measure(study(), tmp_path, **wrong)
    with pytest.raises(RequestError, match="holds results with task"):
        measure(study(task="digits"), tmp_path)


def test_timing_takes_a_share_of_training() -> None:
    assert timing.phase_seconds(None, 3.0) == 0.0
    assert timing.phase_seconds(None, 30.0) == 10.0
    assert timing.phase_seconds(None, 3000.0) == timing.PHASE_SECONDS
    assert timing.phase_seconds(0.0, 3000.0) == 0.0
    assert timing.phase_seconds(50.0, 1.0) == 50.0


@pytest.mark.slow
def test_the_report_and_the_answer_say_what_it_costs(tmp_path: Path) -> None:
    requested = study(seeds=6)
    run(requested, tmp_path, with_report=True, time_budget=0.0)
    assert "What a step costs" not in read_page(tmp_path / "report.html").words
    run(requested.replace(seeds=7), tmp_path, with_report=True, time_budget=60.0)
    page = read_page(tmp_path / "report.html")
    costs = ablations.load(tmp_path).costs()
    rows = page.rows("timings")
    assert [row["time"].value for row in rows] == pytest.approx(costs["ratio"].tolist())
    assert [row["verdict"].text for row in rows] == costs["verdict"].tolist()
    cells = {
        row["technique or setting"].text: row["time of a step"].value
        for row in page.rows("ablation")
    }
    layer = costs.set_index("level").loc["layer", "ratio"]
    assert cells["layer norm"] == pytest.approx(layer)
    assert "its steps, timed alone, without evaluation" in page.words
    assert (tmp_path / "figures" / "step-times.svg").exists()
    stored = store.load(tmp_path).timings
    pd.testing.assert_frame_equal(stored, ablations.load(tmp_path).timings)


@pytest.mark.slow
def test_timings_are_merged_and_damage_is_told(tmp_path: Path) -> None:
    from ablations.execution.merge import merge_results

    for name, seeds in (("a", "0:1"), ("b", "1:2")):
        part_study = study().replace(seeds=parse_seeds(seeds))
        run(part_study, tmp_path / name, time_budget=0.0)
        measure(part_study, tmp_path / name)
    merged = merge_results([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert len(merged.timings) == 2 * 7 * 5
    shard = next((tmp_path / "a" / "timings").glob("*.parquet"))  # several on a slow machine
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(RequestError, match="was changed since it was written"):
        ablations.load(tmp_path / "a")


@pytest.mark.slow
def test_the_command_prints_what_each_level_costs(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(study().to_toml(), encoding="utf-8")
    words = ["time", str(path), "--out", str(tmp_path / "out"), "--budget", "60"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "no measurable difference" in result.stdout or "slower" in result.stdout
    assert "The control timed twice, under two names:" in result.stdout
    wrong = CliRunner().invoke(app, [*words[:-1], "-1"])
    assert wrong.exit_code == 2
    assert "--budget" in wrong.stderr
    none = CliRunner().invoke(app, ["run", str(path), "--time-budget", "-1"])
    assert none.exit_code == 2
    assert "--time-budget" in none.stderr
