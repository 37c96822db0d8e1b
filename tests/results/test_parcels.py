"""Runs and their curves are one parcel: a half is not there, and what is lost is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations import RequestError, load
from ablations.core.errors import WriteError
from ablations.results import repair, shards, store
from ablations.results.manifest import MANIFEST_FILE, SESSION_FILE, load_manifest
from ablations.results.schema import AUDIT, CURVES, RUNS

from .test_store import E1, HERE, STUDY, curve, row


def start(folder: Path) -> int:
    return store.start(folder, STUDY, {E1: HERE})


def train(folder: Path, session: int, loss: float, epochs: int = 2) -> None:
    """Write runs a and b, as a training with this loss would."""
    rows = [row(name, seed=i, val_loss=loss) for i, name in enumerate("ab")]
    curves = curve("a", epochs, loss) + curve("b", epochs, loss)
    store.write_shard(folder, rows, curves, session)
    store.record_shards(folder)


def losses(folder: Path) -> tuple[set[float], set[float], int]:
    """The losses of the runs, those of the curves, and the number of epochs."""
    results = load(folder)
    curves = results.curves
    return set(results.runs["val_loss"]), set(curves["val_loss"]), len(curves)


def cut_off(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """Have the next writer be killed before it writes a shard of this table."""
    write = shards.write

    def die(folder: Path, *arguments: object) -> Path:
        if folder.name == table:
            raise KeyboardInterrupt
        return write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write", die)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_training_cut_off_between_its_files_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    train(tmp_path, start(tmp_path), 0.1)
    session = start(tmp_path)
    with monkeypatch.context() as patch:
        cut_off(patch, "runs")
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, session, 0.7, epochs)
    assert losses(tmp_path) == ({0.1}, {0.1}, 4)
    repair.repair_folder(tmp_path)
    assert not (tmp_path / "aside").exists()
    assert losses(tmp_path) == ({0.1}, {0.1}, 4)
    train(tmp_path, start(tmp_path), 0.7, epochs)
    assert losses(tmp_path) == ({0.7}, {0.7}, 2 * epochs)


def test_compacting_cut_off_anywhere_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        train(tmp_path, start(tmp_path), number / 10)
    unlink, count = Path.unlink, [0]
    expected = ({0.9}, {0.9}, 4)
    for table in ("curves", "runs"):
        with monkeypatch.context() as patch:
            cut_off(patch, table)
            with pytest.raises(KeyboardInterrupt):
                store.tidy(tmp_path, start(tmp_path))
        assert losses(tmp_path) == expected

    def die(path: Path, missing_ok: bool = False) -> None:
        count[0] += path.suffix == ".parquet"
        if count[0] == 3:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    for _ in range(7):
        count[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", die)
            with pytest.raises(KeyboardInterrupt):
                store.tidy(tmp_path, start(tmp_path))
        assert losses(tmp_path) == expected
        train(tmp_path, start(tmp_path), 0.9)
        for _ in range(9):
            train(tmp_path, start(tmp_path), 0.9)
    store.tidy(tmp_path, start(tmp_path))
    assert losses(tmp_path) == expected
    assert len(shards.paths(tmp_path / "runs")) == len(shards.paths(tmp_path / "curves")) == 1


def test_a_failed_second_training_leaves_the_first_with_its_curves(tmp_path: Path) -> None:
    train(tmp_path, start(tmp_path), 0.1)
    session = start(tmp_path)
    rows = [row(name, "failed", seed=i, val_loss=None) for i, name in enumerate("ab")]
    store.write_shard(tmp_path, rows, curve("a", 5), session)
    assert losses(tmp_path) == ({0.1}, {0.1}, 4)


@pytest.mark.parametrize("table", [RUNS.name, CURVES.name, AUDIT.name])
def test_a_deleted_shard_is_named_until_it_is_trained_again(tmp_path: Path, table: str) -> None:
    train(tmp_path, start(tmp_path), 0.1)
    audit = [{"run_id": "a", "engine": "fused", "deviation": 0.5}]
    store.write_rows(tmp_path, AUDIT, audit, 1)
    (lost,) = shards.paths(tmp_path / table)
    lost.unlink()
    assert store.lost_shards(tmp_path) == [lost]
    with pytest.raises(RequestError, match=f"{table}/{lost.name} is missing"):
        load(tmp_path)
    is_trained = table == AUDIT.name
    assert set(store.finished(tmp_path)) == (set("ab") if is_trained else set())
    train(tmp_path, start(tmp_path), 0.2)
    assert losses(tmp_path) == ({0.2}, {0.2}, 4)


def test_a_manifest_that_is_missing_or_changed_is_named_and_made_again(tmp_path: Path) -> None:
    train(tmp_path, start(tmp_path), 0.1)
    path = tmp_path / MANIFEST_FILE
    names = load_manifest(tmp_path)
    path.write_text(path.read_text().replace("runs/", "runs/0"))
    with pytest.raises(RequestError, match=r"manifest\.json: was changed"):
        load(tmp_path)
    assert "aside" in repair.repair_folder(tmp_path)[0]
    assert load_manifest(tmp_path) == names
    path.unlink()
    with pytest.raises(RequestError, match=r"manifest\.json: is missing"):
        load(tmp_path)
    repair.repair_folder(tmp_path)
    assert losses(tmp_path) == ({0.1}, {0.1}, 4)


def test_a_command_that_wakes_up_after_a_later_one_began_writes_nothing(tmp_path: Path) -> None:
    session = start(tmp_path)
    train(tmp_path, session, 0.1)
    later = start(tmp_path)
    with pytest.raises(WriteError, match="another command writes here"):
        train(tmp_path, session, 0.7)
    with pytest.raises(WriteError, match="another command writes here"):
        store.write_rows(tmp_path, AUDIT, [{"run_id": "a"}], session)
    assert losses(tmp_path) == ({0.1}, {0.1}, 4)
    train(tmp_path, later, 0.7)
    assert losses(tmp_path) == ({0.7}, {0.7}, 4)
    (tmp_path / SESSION_FILE).write_text("what")
    assert start(tmp_path) > later


def test_folders_of_the_version_before_are_read_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        write = shards.write
        patch.setattr(shards, "SCHEMA", 2)
        patch.setattr(shards, "write", lambda *arguments: write(*arguments[:3]))
        train(tmp_path, start(tmp_path), 0.1, epochs=3)
        store.write_shard(tmp_path, [row("a", val_loss=0.2)], curve("a"), 2)
    (tmp_path / MANIFEST_FILE).unlink()
    (tmp_path / SESSION_FILE).unlink()
    before = load(tmp_path)
    assert before.runs["val_loss"].tolist() == [0.2, 0.1]
    assert before.curves["run_id"].tolist() == ["a", "a", "b", "b", "b"]
    train(tmp_path, start(tmp_path), 0.7)
    assert losses(tmp_path) == ({0.7}, {0.7}, 4)
    next(iter(shards.paths(tmp_path / "runs"))).unlink()
    with pytest.raises(RequestError, match="is missing"):
        load(tmp_path)
