"""The store: whole files only, one row a run, and clear words for what is no results folder."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import RequestError, load
from ablations.results import environment, repair, shards, store, tables
from ablations.results.schema import AUDIT
from ablations.results.settings import EngineSettings, save_settings

from .test_metadata import METADATA

STUDY = 'task = "notebook"\n'
NORMS = replace(
    METADATA,
    axes=("norm",),
    controls={"norm": "none"},
    levels={"norm": ("none",)},
    published=(),
    tune_over=(),
)
HERE, THERE = {"cores": 2, "packages": {}}, {"cores": 8, "packages": {}}
E1, E2 = environment.identify(HERE), environment.identify(THERE)


def row(run_id: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    values = {"run_id": run_id, "status": status, "norm": "none", "seed": 0, "val_loss": 0.1}
    return values | more


def curve(run_id: str, epochs: int = 2, loss: float = 0.1) -> list[tuple[str, np.ndarray]]:
    return [(run_id, np.tile([0.3, 0.2, loss, 0.001], (epochs, 1)))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.start(tmp_path, STUDY, {E1: HERE})
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    store.write_shard(folder, [row("b", seed=1), row("a")], curve("b") + curve("a"))
    results = load(folder)
    assert results.runs["run_id"].tolist() == ["a", "b"]
    assert results.curves[["run_id", "epoch"]].to_numpy().tolist() == [
        ["a", 1], ["a", 2], ["b", 1], ["b", 2],
    ]  # fmt: skip
    assert results.environment == {E1: HERE}
    assert results.study_toml == STUDY
    assert store.finished(folder) == {"a": "ok", "b": "ok"}


def test_an_empty_folder_of_results_has_all_columns(folder: Path) -> None:
    results = load(folder)
    assert len(results.runs) == len(results.curves) == len(results.timings) == 0
    assert {"run_id", "status", "val_loss", "train_seconds"} <= set(results.runs.columns)
    assert store.finished(folder) == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_run_has_one_row_the_one_that_went_furthest(folder: Path, order: tuple[int, ...]) -> None:
    attempts = [row("a", "skipped", seed=0), row("a", "failed", seed=0), row("a", "ok", seed=0)]
    for index in order:
        # Different company, so that each attempt has a shard of its own.
        store.write_shard(
            folder,
            [attempts[index], row(f"other{index}", seed=index + 1)],
            curve("a") + curve(f"other{index}"),
        )
    runs = load(folder).runs
    assert runs.loc[runs["run_id"] == "a", "status"].tolist() == ["ok"]
    assert len(runs) == 4


def test_axes_of_any_name_and_type_keep_their_type(folder: Path) -> None:
    store.write_shard(folder, [row("a", width=64, hidden="[64,32]")], curve("a"))
    store.write_shard(folder, [row("b", width=32, seed=1)], curve("b"))
    runs = load(folder).runs.set_index("run_id")
    assert runs["width"].to_dict() == {"a": 64, "b": 32}
    assert pd.isna(runs.loc["b", "hidden"])


def test_an_axis_of_numbers_here_and_words_there_is_one_of_words(folder: Path) -> None:
    store.write_shard(folder, [row("a", width=64)], curve("a"))
    store.write_shard(folder, [row("b", width="wide", seed=1)], curve("b"))
    widths = load(folder).runs.set_index("run_id")["width"]
    assert widths.to_dict() == {"a": "64", "b": "wide"}


def test_curves_that_a_killed_writer_left_are_not_counted_twice(folder: Path) -> None:
    # The first writer died after the curves; then the run was trained in other company.
    store.write_shard(folder, [row("a"), row("b", seed=1)], curve("a") + curve("b"))
    for path in (folder / "runs").glob("*.parquet"):
        path.unlink()
    store.write_shard(folder, [row("a")], curve("a"))
    store.write_shard(folder, [row("b", seed=1), row("c", seed=2)], curve("b") + curve("c"))
    curves = load(folder).curves
    assert len(curves) == 6
    assert not curves.duplicated(["run_id", "epoch"]).any()


def test_losses_that_are_not_finite_come_back_as_they_were(folder: Path) -> None:
    store.write_shard(folder, [row("a", "diverged", val_loss=float("inf"))], curve("a"))
    assert load(folder).runs["val_loss"].tolist() == [float("inf")]


def test_a_writer_that_dies_leaves_nothing_that_a_reader_sees(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(OSError, match="No space"):
        store.write_shard(folder, [row("a")], curve("a"))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {".session", "environment.json", "manifest.json", "study.toml"}
    assert load(folder).runs.empty


def test_environments_add_up(folder: Path) -> None:
    store.start(folder, STUDY, {E2: THERE})
    assert set(load(folder).environment) == {E1, E2}


def test_no_results_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"holds no study\.toml"):
        load(tmp_path)


def test_a_broken_or_foreign_shard_is_named(folder: Path) -> None:
    path = folder / "runs" / "broken.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(RequestError, match=r"broken\.parquet: not a readable Parquet file"):
        load(folder)
    pd.DataFrame({"run_id": ["x"]}).to_parquet(path)
    with pytest.raises(
        RequestError, match=r"broken\.parquet: expected a table of schema version 3, found no"
    ):
        load(folder)


def test_broken_environment_is_named(folder: Path) -> None:
    (folder / "environment.json").write_text("{")
    with pytest.raises(RequestError, match=r"environment\.json"):
        load(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two shards, an audit, an environment, metadata and settings."""
    folder = tmp_path_factory.mktemp("sound")
    store.start(folder, STUDY, {E1: HERE}, NORMS)
    save_settings(folder, EngineSettings("loop", compiled=False))
    for number, names in enumerate(("ab", "cd")):
        rows = [row(name, seed=ord(name), environment_id=E1) for name in names]
        store.write_shard(folder, rows, [c for name in names for c in curve(name)], number)
    store.write_rows(folder, AUDIT, [{"run_id": "a", "engine": "fused", "deviation": 0.5}])
    return folder


def same(results: store.StoredResults, expected: store.StoredResults) -> bool:
    tables = ("runs", "curves", "timings", "audit")
    equal = all(getattr(results, name).equals(getattr(expected, name)) for name in tables)
    described = ("environment", "study_toml", "metadata")
    return equal and all(getattr(results, name) == getattr(expected, name) for name in described)


FILES = ("runs", "curves", "audit", "environment.json", "study.toml", "metadata.json")


def files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).glob("*")) if (folder / kind).is_dir() else [folder / kind]


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), data=st.data())
def test_damage_is_named_and_never_a_wrong_number(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, kind: str, where: float, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "results"
    shutil.copytree(sound, folder)
    path = data.draw(st.sampled_from(files(folder, kind)))
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    harm = data.draw(st.sampled_from(["flip", "cut", "empty", "swap"]))
    if harm == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif harm == "cut":
        del content[place:]
    elif harm == "empty":
        content.clear()
    else:
        other = data.draw(st.sampled_from([f for k in FILES for f in files(folder, k)]))
        content = bytearray(other.read_bytes())
    path.write_bytes(content)
    with suppress(RequestError):
        assert same(replace(load(folder), folder=sound), load(sound))


def test_repair_sets_aside_what_is_broken_and_keeps_the_rest(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(sound, folder)
    broken = shards.paths(folder / "runs")[0]
    broken.write_bytes(broken.read_bytes()[:-7])
    with pytest.raises(RequestError, match="ablations repair"):
        load(folder)
    assert len(repair.repair_folder(folder)) == 1
    assert load(folder).runs["run_id"].tolist() == ["c", "d"]
    assert [path.name for path in (folder / "aside").iterdir()] == [f"runs-{broken.name}"]
    lost = shards.paths(folder / "curves")[1]
    lost.unlink()
    with pytest.raises(RequestError, match=f"curves/{lost.name} is missing; 'ablations run'"):
        load(folder)
    repair.repair_folder(folder)
    assert load(folder).runs.empty
    assert repair.repair_folder(folder) == []


def test_tidying_keeps_every_row_once_whatever_is_read_meanwhile(tmp_path: Path) -> None:
    store.start(tmp_path, STUDY, {E1: HERE})
    for number in range(tables.MOST_SHARDS + 3):
        names = [f"{number:02}", f"{number + 1:02}"]
        rows = [row(name, seed=int(name), width=1.5 if number else 2) for name in names]
        store.write_shard(tmp_path, rows, [c for name in names for c in curve(name)], 1)
    before = load(tmp_path)
    store.tidy(tmp_path, 2)
    assert len(shards.paths(tmp_path / "runs")) == len(shards.paths(tmp_path / "curves")) == 1
    assert same(load(tmp_path), before)


def test_what_is_forgotten_is_missing(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(sound, folder)
    repair.forget(folder, ["a", "c", "nothing"])
    results = load(folder)
    assert set(results.runs["run_id"]) == set(results.curves["run_id"]) == {"b", "d"}
    assert results.audit.empty
