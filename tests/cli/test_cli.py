"""The command line: what it prints, its exit codes, and one message for each wrong request."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from ablations import cli, load
from ablations.analysis import Design
from ablations.analysis.ablation import ablation_effects
from ablations.cli import app, parse_levels
from ablations.report import summary
from ablations.report.render import print_answer
from ablations.study.study import shipped_studies

QUICK = 'task = "notebook"\nepochs = 2\nseeds = 3\n[axes]\nnorm = ["none", "layer"]\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # How long it takes is tested elsewhere; here a plan need not look twice.
    monkeypatch.setattr("ablations.execution.estimate.PROBE_SECONDS", 0.1)


def ablations(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def study(text: str) -> str:
    Path("mine.toml").write_text(text)
    return "mine.toml"


def test_run_trains_prints_the_table_and_writes_the_report() -> None:
    result = ablations("run", study(QUICK))
    assert result.exit_code == 0, result.output
    assert "norm" in result.stdout
    line = r"\n[✓✗=?] layer .*[●■◆○◀▶].* [+−×]\d.* to .*\d.* (–|\d\.\d+)\n"
    assert re.search(line, result.stdout)
    assert "Nothing was learned here: neither the control" in result.stdout
    assert "Each run trains for" in result.stdout
    assert "random noise" in result.stdout
    assert "6/6 runs" in result.stderr
    folder = Path("results/mine")
    assert (folder / "report.html").stat().st_size > 10_000
    assert list((folder / "figures").glob("*.png"))
    assert len(load(folder).runs) == 6
    before = (folder / "report.html").read_bytes()
    again = ablations("run", "mine.toml")
    assert again.exit_code == 0
    assert "runs/s" not in again.stderr
    assert (folder / "report.html").read_bytes() == before


def test_options_reach_the_study() -> None:
    result = ablations(
        "run", study(QUICK), "--out", "here", "--seeds", "5:7", "--epochs", "1", "--no-report",
        "--axis", "norm=none,batch", "--axis", "lr=0.1,1e-3", "--jobs", "1",
        "--axis", 'regularizer=["none", {name="dropout", p=[0.3]}]',
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    runs = load("here").runs
    assert len(runs) == 2 * 2 * 2 * 2
    assert set(runs["seed"]) == {5, 6}
    assert set(runs["epochs"]) == {1}
    assert set(runs["lr"]) == {0.1, 0.001}
    assert set(runs["regularizer"]) == {"none", "dropout(p=[0.3])"}
    assert not Path("here/report.html").exists()


def test_dry_run_says_what_would_be_done_and_writes_nothing() -> None:
    result = ablations("run", "everything", "--dry-run", "--axis", "device=cpu")
    assert result.exit_code == 0
    assert "15,120 runs of 3,024 configurations" in result.stdout
    assert re.search(r"to train +13,440", result.stdout)
    assert "skipping 1,680 runs: label smoothing needs classes" in result.stdout
    assert list(Path().iterdir()) == []


def test_report_writes_the_page_anew() -> None:
    ablations("run", study(QUICK), "--no-report", "--out", "r")
    result = ablations("report", "r")
    assert result.exit_code == 0
    assert result.stdout.strip() == "r/report.html"
    assert Path("r/report.html").exists()


def test_the_resolved_study_is_runnable_as_it_is() -> None:
    ablations("run", study(QUICK), "--no-report", "--out", "r", "--seeds", "2")
    result = ablations("run", "r/study.toml", "--no-report", "--out", "again")
    assert result.exit_code == 0
    assert load("again").runs["run_id"].tolist() == load("r").runs["run_id"].tolist()


@pytest.mark.parametrize("kind", ["techniques", "tasks", "models", "studies"])
def test_list(kind: str) -> None:
    result = ablations("list", kind)
    assert result.exit_code == 0
    words = {
        "techniques": [
            "decoupled_weight_decay",
            "weight_norm",
            "orthogonal",
            "one_cycle",
            "mps",
            "Srivastava",
        ],
        "tasks": ["notebook", "digits"],
        "models": ["mlp (hidden=[64, 32]"],
        "studies": list(shipped_studies()),
    }[kind]
    assert all(word in result.stdout for word in words)


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = [sys.executable, "-m", "ablations", "list", "techniques"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)
    assert stderr == b""


def test_a_level_s_name_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    seeds, levels = range(9), ("none", "[bold]mine[/bold]")
    rows = [(seed, level, 1 + i + 0.01 * seed) for seed in seeds for i, level in enumerate(levels)]
    runs = pd.DataFrame(rows, columns=["seed", "norm", "val_loss"])
    design = Design(runs, ["norm"], {"norm": "none"}, levels={"norm": levels}, axes=("norm",))
    print_answer(summary.summarise(ablation_effects(design)))
    lines = capsys.readouterr().out.splitlines()
    assert any("[bold]mine[/bold]" in line and "✗" in line for line in lines)


def test_env_is_json() -> None:
    assert json.loads(ablations("env").stdout)["packages"]["torch"].startswith("2.")


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        ("none,layer", ["none", "layer"]),
        ("1, 2.5,1e-3", [1, 2.5, 0.001]),
        ("full,32", ["full", 32]),
        ("[[64, 32], [8]]", [[64, 32], [8]]),
        ("available", "available"),
        ("", []),
    ],
)
def test_levels_in_words(words: str, levels: object) -> None:
    assert parse_levels(words) == levels


BAD_STUDIES = {
    "unknown key": ('task = "notebook"\nepoch = 3', ["epoch", "did you mean 'epochs'?"]),
    "unknown key of a grid": (
        'task = "notebook"\n[[grid]]\naxis = {}',
        ["grid[0].axis", "did you mean 'axes'?"],
    ),
    "no task": ("seeds = 3", ["task", "notebook", "digits"]),
    "unknown task": ('task = "digit"', ["task", "'digit'", "did you mean 'digits'?"]),
    "unknown model": ('task = "digits"\nmodel = "mpl"', ["model", "did you mean 'mlp'?"]),
    "unknown technique": (
        'task = "digits"\naxes.norm = ["none", "lyer"]',
        ["axes.norm[1]", "'lyer'", "did you mean 'layer'?"],
    ),
    "technique of another axis": (
        'task = "digits"\naxes.norm = ["dropout"]',
        ["axes.norm[0]", "unknown norm 'dropout'"],
    ),
    "unknown parameter": (
        'task = "digits"\naxes.regularizer = [{name = "dropout", rate = 0.3}]',
        ["axes.regularizer[0]", "no parameter 'rate'", "p"],
    ),
    "parameter of the wrong type": (
        'task = "digits"\naxes.regularizer = ["none", {name = "dropout", p = ["much"]}]',
        ["axes.regularizer[1].p[0]", "valid number", "'much'"],
    ),
    "parameter out of range": (
        'task = "digits"\naxes.regularizer = [{name = "dropout", p = [1.5]}]',
        ["axes.regularizer[0].p[0]", "less than 1", "1.5"],
    ),
    "unknown axis": (
        'task = "digits"\naxes.regulariser = ["none"]',
        ["axes.regulariser", "did you mean 'regularizer'?"],
    ),
    "empty axis": ('task = "digits"\naxes.norm = []', ["axes.norm", "no levels"]),
    "axis that is no list": (
        'task = "digits"\naxes.norm = "layer"',
        ["axes.norm", "list", "'layer'"],
    ),
    "axes that are no table": ('task = "digits"\naxes = 3', ["axes", "table", "3"]),
    "duplicate level": (
        'task = "digits"\naxes.norm = ["layer", {name = "layer"}]',
        ["axes.norm[1]", "'layer' is there twice"],
    ),
    "duplicate number": ('task = "digits"\naxes.lr = [1, 1.0]', ["axes.lr[1]", "twice"]),
    "level of the wrong type": (
        'task = "digits"\naxes.lr = ["fast"]',
        ["axes.lr[0]", "number", "'fast'"],
    ),
    "level of a model's parameter": (
        'task = "digits"\naxes.hidden = [[64], "wide"]',
        ["axes.hidden[1]", "list", "'wide'"],
    ),
    "no seeds": ('task = "digits"\nseeds = 0', ["seeds", "0"]),
    "empty seeds": ('task = "digits"\nseeds = []', ["seeds", "[]"]),
    "seeds in words": ('task = "digits"\nseeds = "many"', ["seeds", "'many'"]),
    "doubled seeds": ('task = "digits"\nseeds = [1, 1]', ["seeds", "[1, 1]"]),
    "epochs of the wrong type": ('task = "digits"\nepochs = "20"', ["epochs", "integer", "'20'"]),
    "no epochs": ('task = "digits"\nepochs = 0', ["epochs", "greater than 0"]),
    "rate that is not positive": ('task = "digits"\nlr = 0', ["lr", "greater than 0"]),
    "rate that is not finite": ('task = "digits"\nlr = inf', ["lr", "finite"]),
    "batch size in words": (
        'task = "digits"\nbatch_size = "half"',
        ["batch_size", "'full'", "'half'"],
    ),
    "unknown optimizer": (
        'task = "digits"\noptimizer = "adan"',
        ["optimizer", "did you mean 'adam'?"],
    ),
    "name that leaves the folder": ('task = "digits"\nname = "../up"', ["name", "../up"]),
    "description of the wrong type": (
        'task = "digits"\ndescription = 3',
        ["description", "string", "3"],
    ),
    "grid that is no table": ('task = "digits"\ngrid = 3', ["grid", "3"]),
    "unknown technique in a grid": (
        'task = "digits"\n[[grid]]\naxes.init = ["kaiming"]',
        ["grid[0].axes.init[0]", "did you mean 'kaiming_"],
    ),
    "exclusion of an unknown axis": (
        'task = "digits"\n[[exclude]]\nnrm = "batch"',
        ["exclude[0].nrm", "did you mean 'norm'?"],
    ),
    "exclusion of nothing": (
        'task = "digits"\n[[exclude]]\nnorm = "batch"',
        ["exclude[0].norm[0]", "'batch' is no level", "none"],
    ),
    "exclusion of everything": (
        'task = "digits"\n[[exclude]]\nnorm = "none"',
        ["exclude", "no configuration"],
    ),
    "empty exclusion": ('task = "digits"\n[[exclude]]', ["exclude[0]", "everything"]),
    "a number of thousands of digits": (
        f'task = "digits"\nlr = 1{"0" * 5000}',
        ["not a TOML file", "digits"],
    ),
    "a thousand nested lists": (
        f'task = "digits"\naxes.norm = {"[" * 3000}',
        ["not a TOML file"],
    ),
    "a rate beyond reason": ('task = "digits"\nlr = 1e39', ["lr", "less than or equal to"]),
    "more seeds than anybody has time for": (
        'task = "digits"\nseeds = 100000000000000000000',
        ["seeds", "at most 1,000,000"],
    ),
    "exclusion without levels": (
        'task = "digits"\n[[exclude]]\nnorm = []',
        ["exclude[0].norm", "no levels"],
    ),
    "published words": (
        'task = "digits"\n[[grid]]\nname = "a"\npublished = ["1.0"]',
        ["grid[0].published", "number"],
    ),
    "two published curves of one name": (
        'task = "digits"\n[[grid]]\nname = "a"\npublished = [1.0]\n'
        '[[grid]]\nname = "a"\nlr = 0.1\npublished = [1.0]',
        ["grid[1].name", "name of its own", "'a'"],
    ),
    "more published losses than epochs": (
        'task = "digits"\nepochs = 1\n[[grid]]\nname = "a"\npublished = [1.0, 0.5]',
        ["grid[0].published", "2 losses for 1 epochs"],
    ),
    "devices in a word": (
        'task = "digits"\naxes.device = "availble"',
        ["axes.device", "'available'"],
    ),
    "a name that no folder can have": (
        f'task = "digits"\nname = "{"a" * 300}"',
        ["name", "at most 100"],
    ),
    "no TOML": ("task = ]", ["not a TOML file", "line 1"]),
}


@pytest.mark.parametrize("case", BAD_STUDIES)
def test_a_bad_study_is_one_message_and_nothing_is_written(case: str) -> None:
    text, fragments = BAD_STUDIES[case]
    refused(ablations("run", study(text)), "mine.toml", *fragments)


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["nootbook"], ["'nootbook'", "did you mean 'notebook'?"]),
        (["missing.toml"], ["missing.toml", "No such file"]),
        (["notebook", "--seeds", "0"], ["--seeds", "found '0'"]),
        (["notebook", "--seeds", "few"], ["--seeds", "'few'"]),
        (["notebook", "--axis", "norm"], ["--axis", "AXIS=LEVEL"]),
        (["notebook", "--axis", "norm="], ["--axis norm=", "no levels"]),
        (["notebook", "--axis", "nrm=none"], ["--axis nrm=none", "did you mean 'norm'?"]),
        (["notebook", "--axis", "norm=none,lyer"], ["axes.norm[1]", "did you mean 'layer'?"]),
        (["notebook", "--axis", "norm=[none]"], ["--axis", "not a TOML list"]),
        (["notebook", "--axis", "norm=none,none"], ["axes.norm[1]", "twice"]),
        (["notebook", "--epochs", "0"], ["epochs", "greater than 0"]),
        (["notebook", "--jobs", "0"], ["--jobs", "0"]),
        (["notebook", "--dry-run", "--jobs", "0"], ["--jobs", "0"]),
        (["notebook", "--seeds", "9" * 5000], ["--seeds"]),
        (["notebook", "--axis", 'norm=["none"]\nx=1'], ["more than one TOML list"]),
        (["a" * 300], ["a" * 300]),
        (["notebook", "--out", "a" * 300], ["a" * 300, "too long"]),
        (["notebook", "--backend", "lokky"], ["--backend", "did you mean 'loky'?"]),
        (["notebook", "--backend", "dask"], ["--backend", "'dask' cannot be used here"]),
        (["notebook", "--backend", "ray"], ["--backend", "'ray' cannot be used here"]),
    ],
)
def test_bad_words_on_the_command_line(words: list[str], fragments: list[str]) -> None:
    refused(ablations("run", *words), *fragments)


@pytest.mark.parametrize("words", [["--epochs", "ten"], ["--nonsense"], ["notebook", "digits"]])
def test_usage_errors_are_exit_code_2_as_well(words: list[str]) -> None:
    result = ablations("run", *words)
    assert result.exit_code == 2
    assert list(Path().iterdir()) == []


def test_a_folder_that_is_not_ours_is_refused() -> None:
    Path("results").write_text("a file")
    result = ablations("run", study(QUICK))
    assert result.exit_code == 2
    assert "results" in result.stderr
    assert Path("results").read_text() == "a file"
    refused(ablations("report", "."), "no study.toml", allowed={"mine.toml", "results"})


def refused(result: Result, *fragments: str, allowed: set[str] | None = None) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (message,) = result.stderr.strip().splitlines()
    assert message.startswith("error: ")
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert {path.name for path in Path().iterdir()} <= (allowed or {"mine.toml"})


def test_failed_runs_are_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(run: object) -> object:
        raise RuntimeError("broken machine")

    monkeypatch.setattr("ablations.training.loop.train", fails)
    result = ablations("run", study(QUICK), "--jobs", "1", "--engine", "loop")
    assert result.exit_code == cli.FAILED
    assert "6 runs failed, the first: RuntimeError: broken machine" in result.stderr
    assert Path("results/mine/report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_is_exit_code_130_and_the_same_command_continues(jobs: str) -> None:
    study(QUICK.replace("epochs = 2", "epochs = 100").replace("seeds = 3", "seeds = 400"))
    command = [sys.executable, "-m", "ablations", "run", "mine.toml", "--no-report", "--jobs", jobs]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path().glob("results/mine/runs/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert f"to continue: ablations run mine.toml --no-report --jobs {jobs}" in stderr
    finished = len(load("results/mine").runs)
    assert 0 < finished < 800
    result = ablations("run", "mine.toml", "--dry-run")
    assert re.search(rf"finished +{finished}\b", result.stdout)


def test_a_damaged_folder_is_named_repaired_and_continued() -> None:
    command = ["run", study('task = "notebook"\nepochs = 2\nseeds = 2\naxes.device = ["cpu"]')]
    assert ablations(*command, "--out", "there", "--no-report").exit_code == 0
    before = load("there")
    shard = next(Path("there/runs").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    fragments = (shard.name, "was changed", "ablations repair there")
    refused(ablations("report", "there"), *fragments, allowed={"mine.toml", "there"})
    result = ablations("repair", "there")
    assert result.exit_code == 0
    assert "aside" in result.stdout
    assert ablations("repair", "there").stdout == "nothing to repair\n"
    assert ablations(*command, "--out", "there", "--no-report").exit_code == 0
    assert load("there").curves.equals(before.curves)


def test_what_is_no_results_folder_is_not_repaired_and_nothing_is_made() -> None:
    refused(ablations("repair", "nowhere"), "nowhere", "not a results folder")
    Path("runs").mkdir()  # as other tools have it, too
    refused(ablations("repair", "."), "not a results folder", allowed={"runs"})
    there = {"mine.toml", "runs"}
    refused(ablations("run", study(QUICK), "--out", "."), "no results folder", allowed=there)


def test_merge_says_what_the_new_folder_holds() -> None:
    text = study('task = "notebook"\nepochs = 2\nseeds = 2\naxes.device = ["cpu"]')
    for name, seeds in (("one", "0:2"), ("two", "1:3")):
        result = ablations("run", text, "--seeds", seeds, "--out", name, "--no-report")
        assert result.exit_code == 0
    result = ablations("merge", "one", "two", "--out", "all")
    assert result.exit_code == 0
    assert "3 runs (3 ok) in all" in result.stdout
    there = {"mine.toml", "one", "two", "all"}
    refused(ablations("merge", "one", "two", "--out", "all"), "is there already", allowed=there)
