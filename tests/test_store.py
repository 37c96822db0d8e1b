"""The store: whole files only, one row a run, and clear words for what is no results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ablations import RequestError, load, store

STUDY = 'task = "notebook"\n'


def row(run_id: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    given = {"run_id": run_id, "status": status, "norm": "none", "seed": 0, "val_loss": 0.1}
    return given | more


def curve(run_id: str, epochs: int = 2) -> list[dict[str, Any]]:
    losses = {"objective": 0.3, "train_loss": 0.2, "val_loss": 0.1, "lr": 0.001}
    return [{"run_id": run_id, "epoch": epoch, **losses} for epoch in range(1, epochs + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.start(tmp_path, STUDY, "e1", {"cores": 2})
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    store.write_shard(folder, [row("b", seed=1), row("a")], curve("b") + curve("a"))
    results = load(folder)
    assert results.runs["run_id"].tolist() == ["a", "b"]
    assert results.curves[["run_id", "epoch"]].to_numpy().tolist() == [
        ["a", 1], ["a", 2], ["b", 1], ["b", 2],
    ]  # fmt: skip
    assert results.environment == {"e1": {"cores": 2}}
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
        store.write_shard(folder, [attempts[index], row(f"other{index}", seed=index + 1)], [])
    runs = load(folder).runs
    assert runs.loc[runs["run_id"] == "a", "status"].tolist() == ["ok"]
    assert len(runs) == 4


def test_axes_of_any_name_and_type_keep_their_type(folder: Path) -> None:
    store.write_shard(folder, [row("a", width=64, hidden="[64,32]")], [])
    store.write_shard(folder, [row("b", width=32, seed=1)], [])
    runs = load(folder).runs.set_index("run_id")
    assert runs["width"].to_dict() == {"a": 64, "b": 32}
    assert pd.isna(runs.loc["b", "hidden"])


def test_an_axis_of_numbers_here_and_words_there_is_one_of_words(folder: Path) -> None:
    store.write_shard(folder, [row("a", width=64)], [])
    store.write_shard(folder, [row("b", width="wide", seed=1)], [])
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
    store.write_shard(folder, [row("a", "diverged", val_loss=float("inf"))], [])
    assert load(folder).runs["val_loss"].tolist() == [float("inf")]


def test_a_writer_that_dies_leaves_nothing_that_a_reader_sees(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(OSError, match="No space"):
        store.write_shard(folder, [row("a")], curve("a"))
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == {"environment.json", "study.toml"}
    assert load(folder).runs.empty


def test_environments_add_up(folder: Path) -> None:
    store.start(folder, STUDY, "e2", {"cores": 8})
    assert set(load(folder).environment) == {"e1", "e2"}


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
        RequestError, match=r"broken\.parquet: expected a table of schema version 1, found no"
    ):
        load(folder)


def test_broken_environment_is_named(folder: Path) -> None:
    (folder / "environment.json").write_text("{")
    with pytest.raises(RequestError, match=r"environment\.json"):
        load(folder)
