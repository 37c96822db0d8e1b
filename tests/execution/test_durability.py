"""Commands that are killed in every phase, files that are damaged, writers that meet.

Whatever happened, the same command continues to the numbers of a calm study.  The full numbers,
300 kills, 1,000 damaged files and 40 pairs of writers, take an hour:
``pytest tests/execution/test_durability.py --slow --kills 300 -s``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from ablations import RequestError, Results, Study, load
from ablations.results import shards, tables
from ablations.results.repair import repair_folder
from ablations.results.store import is_results

from ..studies import run, same
from .test_stress import started, workers

STUDY = Study(
    task="notebook",
    name="durable",
    epochs=4,
    seeds=10,
    axes={"norm": ["none", "batch"], "regularizer": ["none", "dropout"]},
)
TINY = STUDY.replace(seeds=2).with_epochs(2)
FULL_KILLS, FULL_DAMAGES, FULL_PAIRS = 300, 1_000, 40
KILLS_A_ROUND = 4
NUMBERS = ["status", "objective", "train_loss", "val_loss"]


class Folders:
    """Calm results of the study, and a place for the commands that are disturbed."""

    def __init__(self, place: Path) -> None:
        self.place, self.study = place, place / "study.toml"
        self.out = place / "out"
        self.study.write_text(STUDY.to_toml(), encoding="utf-8")
        self.calm = {engine: self.train(engine) for engine in ("fused", "loop")}
        for name, seeds in (("first", range(5)), ("second", range(5, 10))):
            run(STUDY.replace(seeds=list(seeds)), place / name, engine="loop", time_budget=0)

    def train(self, engine: str) -> Results:
        options = {"engine": engine, "compile": "never", "time_budget": 0}
        return run(STUDY, self.place / f"calm-{engine}", **options)

    def run_words(self, engine: str, *more: str) -> tuple[str, ...]:
        words = ("run", str(self.study), "--out", str(self.out), "--compile", "never")
        return (*words, "--no-report", "--engine", engine, *more)

    def copy(self, engine: str) -> None:
        """Begin with a complete folder."""
        shutil.copytree(self.place / f"calm-{engine}", self.out)

    def scatter(self) -> None:
        """Begin with a folder of many shards, one for each run, that the next command compacts."""
        self.copy("loop")
        runs, curves = tables.load_parcels(self.out).runs, tables.load_parcels(self.out).curves
        for path in (*shards.paths(self.out / "runs"), *shards.paths(self.out / "curves")):
            path.unlink()
        runs = runs.astype(object).where(runs.notna(), None)
        for number, row in enumerate(runs.to_dict("records")):
            curve = curves[curves["run_id"] == row["run_id"]]
            losses = curve.drop(columns=["run_id", "epoch"]).to_numpy()
            tables.write_shard(self.out, [row], [(row["run_id"], losses)], session=1 + number % 3)
        shutil.rmtree(self.out / "aside", ignore_errors=True)
        (self.out / "manifest.json").unlink()
        repair_folder(self.out)

    def damage(self) -> None:
        """Begin with a folder that needs a repair."""
        self.copy("loop")
        path = shards.paths(self.out / "curves")[0]
        path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("durable"))


Phase = tuple[str, Callable[[], None], Sequence[Sequence[str]]]
"""The engine of the calm results, what makes the folder, and commands of which each is killed."""


def list_phases(folders: Folders) -> dict[str, Phase]:
    out, place = str(folders.out), folders.place

    def nothing() -> None:
        return

    def run_by(engine: str, *more: str) -> list[tuple[str, ...]]:
        return [folders.run_words(engine, *more)]

    def copy(engine: str) -> Callable[[], None]:
        return lambda: folders.copy(engine)

    repair, merge = ("repair", out), ("merge", *(str(place / n) for n in ("first", "second")))
    timing = ("time", str(folders.study), "--out", out, "--budget", "3")
    return {
        "training, loop": ("loop", nothing, run_by("loop", "--backend", "sequential")),
        "training, threads": (
            "fused", nothing, run_by("fused", "--backend", "threading", "--jobs", "2"),
        ),
        "training and audit, workers": ("fused", nothing, run_by("fused", "--jobs", "2")),
        "training, workers, loop": ("loop", nothing, run_by("loop", "--jobs", "2")),
        "training with a report": ("fused", nothing, run_by("fused", "--report")),
        "timing": ("loop", copy("loop"), [timing]),
        "force": ("loop", copy("loop"), run_by("loop", "--force", "--backend", "sequential")),
        "force, fused": ("fused", copy("fused"), run_by("fused", "--force")),
        "report": ("fused", copy("fused"), [("report", out)]),
        "repair": ("loop", folders.damage, [repair]),
        "merge": ("loop", nothing, [(*merge, "--out", out)]),
        "compaction": ("loop", folders.scatter, run_by("loop")),
    }  # fmt: skip


@pytest.mark.slow
def test_killed_in_every_phase_and_continued_it_is_the_same(
    folders: Folders, pytestconfig: pytest.Config
) -> None:
    dice, phases = random.Random(6), list_phases(folders)
    total = count_trials(pytestconfig, FULL_KILLS, 3)
    counts, struck, names = Counter[str](), Counter[str](), list[str]()
    paces = dict.fromkeys(phases, 3.0)
    while counts.total() < total:
        names = names or dice.sample(list(phases), len(phases))
        name = names.pop()
        engine, prepare, commands = phases[name]
        is_complete = name.startswith(("force", "timing", "report"))
        shutil.rmtree(folders.out, ignore_errors=True)
        prepare()
        for _ in range(KILLS_A_ROUND if total == FULL_KILLS else 1):
            victim = kill_once(dice, dice.choice(commands), paces[name])
            paces[name] *= 0.7 if victim == "none" else 1.1  # this machine may be slow or fast
            counts[name] += victim != "none"
            struck[victim] += 1
            inspect(folders, folders.calm[engine], is_complete=is_complete)
        finish(folders, engine, folders.calm[engine])
        print(f"{counts.total()} kills: {dict(counts)}, of {dict(struck)}", flush=True)


def count_trials(config: pytest.Config, full: int, few: int) -> int:
    """How much to try: in full where the option --kills requests it, else little."""
    return full if config.getoption("--kills") >= FULL_KILLS else few


def kill_once(dice: random.Random, words: Sequence[str], pace: float) -> str:
    """Kill a command or one of its workers at a random moment; returns which."""
    process = started(*words)
    process.join(dice.uniform(0, pace))
    if not process.is_alive():
        return "none"
    victims = workers(process.pid or 0)
    if victims and dice.random() < 0.4:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(victims), signal.SIGKILL)
        process.join(300)
        return "worker"
    process.kill()
    process.join()
    return "parent"


def inspect(folders: Folders, calm: Results, *, is_complete: bool) -> None:
    """What is there now are rows of the calm study with their curves; all, if none may be lost."""
    if not is_results(folders.out) or not (folders.out / "study.toml").exists():
        assert not is_complete
        return
    try:
        results = load(folders.out)
    except RequestError:  # a folder that was damaged before the kill
        assert not is_complete
        return
    ids = results.runs["run_id"]
    assert ids.is_unique
    if is_complete:
        assert len(ids) == len(calm.runs)
    expected = calm.only(set(ids))
    columns = ["run_id", *NUMBERS]
    pd.testing.assert_frame_equal(results.runs[columns], expected.runs[columns], check_exact=True)
    pd.testing.assert_frame_equal(results.curves, expected.curves, check_exact=True)


def finish(folders: Folders, engine: str, calm: Results) -> None:
    """Continue undisturbed, with a repair where the folder was damaged before."""
    words = folders.run_words(engine)
    last = started(*words)
    last.join(300)
    if last.exitcode == 2:
        for each in (("repair", str(folders.out)), words):
            last = started(*each)
            last.join(300)
    assert last.exitcode == 0
    same(load(folders.out), calm)
    leftovers = [path for path in folders.out.rglob(".*") if path.name.startswith((".writ", ".st"))]
    assert not leftovers


# -------------------------------------------------------------- damaged files


def harm(dice: random.Random, folder: Path) -> str:
    """Damage a file of a results folder; returns how."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".lo"))
    path, other = dice.sample(files, 2)
    content, kind = path.read_bytes(), dice.choice(HARMS)
    place = dice.randrange(len(content)) if content else 0
    if kind == "flip" and content:
        changed = bytearray(content)
        changed[place] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
    elif kind == "truncate":
        path.write_bytes(content[:place])
    elif kind == "delete":
        path.unlink()
    elif kind == "swap names":
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif kind == "duplicate":
        shard = dice.choice(list(folder.glob("*/*.parquet")))
        number = dice.randrange(1_000)
        where = dice.choice([shard.parent, folder / "runs", folder / "curves"])
        shutil.copy(shard, where / f"{number:06d}{shard.name[6:]}")
    return kind


HARMS = ("flip", "truncate", "delete", "swap names", "duplicate")


@pytest.mark.slow
def test_whatever_file_is_damaged_it_is_noticed_or_harmless_and_the_study_ends_the_same(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    dice = random.Random(7)
    sound = run(TINY, tmp_path / "sound", engine="fused", compile="never", time_budget=0)
    endings, folder = Counter[str](), tmp_path / "out"
    for number in range(count_trials(pytestconfig, FULL_DAMAGES, 10)):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "sound", folder)
        kind = harm(dice, folder)
        noticed, messages = "unnoticed", list[str]()
        try:
            same(load(folder), sound)
        except RequestError as error:
            messages.append(str(error))
            noticed = "noticed"
        try:
            continue_study(folder)
        except RequestError as error:
            messages.append(str(error))
            repair_folder(folder)
            noticed = "repaired"
            continue_study(folder)
        assert all(str(folder) in message for message in messages)
        results = load(folder)
        same(results, sound)
        assert not results.describe_missing()
        endings[f"{kind}, {noticed}"] += 1
        if number % 100 == 99:
            print(f"{number + 1} damaged files: {dict(sorted(endings.items()))}", flush=True)
    assert any(not ending.endswith("unnoticed") for ending in endings)


def continue_study(folder: Path) -> None:
    run(TINY, folder, engine="fused", compile="never", time_budget=0)


# -------------------------------------------------------------- writers that meet


@pytest.mark.slow
def test_two_commands_at_once_lose_double_and_mix_nothing(
    folders: Folders, pytestconfig: pytest.Config
) -> None:
    dice = random.Random(8)
    train, force = folders.run_words("loop"), folders.run_words("loop", "--force")
    others = [
        train,
        force,
        ("repair", str(folders.out)),
        ("time", str(folders.study), "--out", str(folders.out), "--budget", "2"),
        folders.run_words("loop", "--jobs", "2"),
    ]
    counts = Counter[str]()
    for _ in range(count_trials(pytestconfig, FULL_PAIRS, 2)):
        shutil.rmtree(folders.out, ignore_errors=True)
        if dice.random() < 0.5:
            folders.copy("loop")
        first, second = dice.choice([train, force]), dice.choice(others)
        both = [started(*first)]
        time.sleep(dice.choice([0, 0, dice.uniform(0, 0.5)]))
        both.append(started(*second))
        for process in both:
            process.join(300)
        codes = [process.exitcode for process in both]
        # A repair before there is anything to repair is a wrong request.
        assert codes == [0, 0] or (second[0] == "repair" and codes == [0, 2]), (second, codes)
        same(load(folders.out), folders.calm["loop"])
        counts[f"{'force' if '--force' in first else 'run'} and {second[0]}"] += 1
        print(f"{counts.total()} pairs of commands: {dict(counts)}", flush=True)
