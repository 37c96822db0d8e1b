"""What ``nox -s regress`` concludes from times taken in turns."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import ablations
from ablations import Study
from ablations.execution.progress import Silent
from bench.regression import regress, revisions, timing, trials

ROOT = Path(__file__).parents[2]


def turns(
    slower: float = 1.0, noise: float = 0.1, count: int = 200, seed: int = 0, names: int = 6
) -> pd.DataFrame:
    """Times on a machine whose pace drifts; the first benchmark is slower in the candidate."""
    draw = np.random.default_rng(seed)
    rows = []
    for turn in range(count):
        pace = np.exp(draw.uniform(0, 0.5))
        for name in range(names):
            base, candidate = 0.1 * pace * np.exp(noise * draw.standard_t(4, 2))
            planted = slower if name == 0 else 1.0
            start = turn * timing.STARTS // count
            rows.append((f"benchmark {name}", start, turn, base, candidate * planted))
    return pd.DataFrame(rows, columns=timing.COLUMNS)


def verdict(**settings: float) -> pd.DataFrame:
    return timing.verdicts(turns(**settings), 0.03).set_index("benchmark")  # type: ignore[arg-type]


def test_a_slow_down_is_found_and_named() -> None:
    table = verdict(slower=1.15, noise=0.02)
    assert table["verdict"]["benchmark 0"] == timing.SLOWER
    assert set(table["verdict"][1:]) == {timing.EQUAL}
    row = table.loc["benchmark 0"]
    assert row["low"] < 1.15 < row["high"]
    assert row["blocks"] == 21  # of ten turns, not across starts
    faster = verdict(slower=1 / 1.15, noise=0.02)
    assert faster["verdict"]["benchmark 0"] == timing.FASTER


@pytest.mark.parametrize("seed", range(30))
def test_no_wolf_is_cried(seed: int) -> None:
    words = {word for noise in (0.02, 0.1) for word in verdict(noise=noise, seed=seed)["verdict"]}
    assert words <= {timing.EQUAL, timing.OPEN}
    assert timing.SLOWER not in set(verdict(slower=1.02, seed=seed)["verdict"])


def test_too_few_turns_prove_nothing() -> None:
    assert set(verdict(slower=3.0, count=60)["verdict"]) == {timing.OPEN}


def test_noise_is_no_equality() -> None:
    assert timing.OPEN in set(verdict(noise=0.4)["verdict"])


def test_a_tenth_is_found_in_the_noise_of_a_shared_machine() -> None:
    words = [verdict(slower=1.1, seed=seed, count=300)["verdict"].iloc[0] for seed in range(20)]
    assert words.count(timing.SLOWER) >= 18


SERVER = """
import json, sys
say = lambda told: print(json.dumps(told), flush=True)
say({"benchmarks": {"a": 1, "b": 2, NAME: 1}})
for line in sys.stdin:
    name = line.strip()
    say({"error": "ValueError: no"} if name == "b" and BAD else {"seconds": 0.25 if BAD else 0.5})
"""


def test_two_processes_take_turns_and_what_one_cannot_run_is_named(tmp_path: Path) -> None:
    commands = []
    for number, bad in enumerate((False, True)):
        path = tmp_path / f"{number}.py"
        server = SERVER.replace("NAME", repr(f"only {number}")).replace("BAD", str(bad))
        path.write_text(server, encoding="utf-8")
        commands.append([sys.executable, str(path)])
    over: list[float] = []
    times, refusals = timing.measure(commands, [tmp_path] * 2, 1.5, [0], over.append)
    assert refusals == {"b": "candidate cannot run it: ValueError: no"}
    assert set(times["benchmark"]) == {"a"}  # what only one of them has is not compared
    assert set(times["start"]) == set(range(timing.STARTS))
    assert (times["base"] == 0.5).all()
    assert (times["candidate"] == 0.25).all()
    assert over[-1] == pytest.approx(1.5)
    (row,) = timing.verdicts(times, 0.03).to_dict("records")
    assert (row["ratio"], row["verdict"]) == (0.5, timing.FASTER)


@pytest.mark.slow
def test_every_benchmark_runs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "bench" / "regression" / "suite.py", tmp_path)
    toml = ROOT / "bench" / "regression" / "quality.toml"
    study = Study.from_toml(toml).replace(seeds=1, epochs=1)
    ablations.run(study, tmp_path / "quality" / "x", with_report=False, reporter=Silent())
    commands = [[sys.executable, "suite.py"]]
    with timing.served([[*commands[0], "0"]], [tmp_path]) as (server,):
        assert len(server.benchmarks) == 6
        for name in server.benchmarks:
            for _ in range(2):
                assert float(server(name)) > 0, name


def test_environments_are_shared_where_both_depend_on_the_same(tmp_path: Path) -> None:
    sources = (tmp_path / "one", tmp_path / "other")
    for source in sources:
        source.mkdir()
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, source)
    assert revisions.alike(sources)
    pins = sources[1] / "constraints.txt"
    pins.write_text(pins.read_text() + "brand-new==1.0\n")
    assert revisions.alike(sources)
    pins.write_text(pins.read_text().replace("numpy==", "numpy==9"))
    assert not revisions.alike(sources)


def test_a_stored_baseline_is_shown_and_said_to_judge_nothing() -> None:
    table = timing.verdicts(turns(), 0.03)
    stored = {
        "candidate": "abc1234", "machine": "a Cray", "torch": "9",
        "seconds": {"benchmark 0": 0.5},
    }  # fmt: skip
    out = io.StringIO()
    regress.show(table, Console(file=out, width=120), stored)
    assert "500.0 ms" in out.getvalue()
    assert "stored: abc1234 on a Cray, torch 9; nothing is judged by it" in out.getvalue()
    out = io.StringIO()
    regress.show(table, Console(file=out, width=120), None)
    assert "stored" not in out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in trials.KINDS if kind != "same"])
def test_what_is_planted_slows_or_shifts_and_breaks_nothing(kind: str, tmp_path: Path) -> None:
    place, code = trials.KINDS[kind]
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    file = tmp_path / trials.FILES[place]
    file.write_text(file.read_text(encoding="utf-8") + code, encoding="utf-8")
    script = (
        "from ablations import Study\n"
        "from ablations.study.expand import expand\n"
        "from ablations.training import loop\n"
        "from ablations.training.fused import trainer\n"
        "axes = {'schedule': ['cosine']}\n"
        "runs = expand(Study(task='notebook', seeds=8, epochs=3, axes=axes)).runs\n"
        "results = [*trainer.train(runs, 8), loop.train(runs[0])]\n"
        "print([float(result.curve[-1].val_loss) for result in (results[0], results[-1])])\n"
    )
    command = [sys.executable, "-c", script]
    outputs = [
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
        for cwd in (ROOT, tmp_path)
    ]
    assert (outputs[0] == outputs[1]) == (place != "rate")
