"""Results folders as wholes: one writer at a time, and several merged into one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ablations import RequestError, Study, load
from ablations.execution import run as pipeline
from ablations.execution.merge import merge_results
from ablations.execution.plan import plan_execution
from ablations.execution.progress import Silent
from ablations.results import manifest, settings, shards, store

AXES = {"norm": ["none", "layer"], "device": ["cpu"]}


def run(folder: Path, seeds: str, epochs: int = 2, **axes: list[str]) -> store.StoredResults:
    study = Study(name="parts", task="notebook", axes=AXES | axes, seeds=seeds, epochs=epochs)
    return pipeline.run(study, folder, jobs=1, engine="loop", with_report=False, reporter=Silent())


def test_parts_merge_into_what_one_machine_would_have_trained(tmp_path: Path) -> None:
    run(tmp_path / "a", "0:2")
    run(tmp_path / "b", "1:4")
    complete = run(tmp_path / "complete", "0:4")
    merged = merge_results([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    timed = ["train_seconds"]
    pd.testing.assert_frame_equal(
        merged.runs.drop(columns=timed), complete.runs.drop(columns=timed)
    )
    pd.testing.assert_frame_equal(merged.curves, complete.curves)
    assert (tmp_path / "c" / "study.toml").read_text() == (
        tmp_path / "complete" / "study.toml"
    ).read_text()
    # It is a results folder like any other: nothing is left to train.
    assert plan_execution(Study.from_toml(tmp_path / "c" / "study.toml"), tmp_path / "c").todo == 0


def test_merging_a_folder_with_itself_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path / "a", "0:2")
    merged = merge_results([tmp_path / "a", tmp_path / "a"], tmp_path / "c")
    pd.testing.assert_frame_equal(merged.runs, first.runs)
    pd.testing.assert_frame_equal(merged.curves, first.curves)


@pytest.fixture
def differing(tmp_path: Path) -> tuple[Path, Path, str]:
    """Two folders of the same runs, one of which has another loss in the second."""
    first, second = tmp_path / "a", tmp_path / "b"
    run(first, "0:2")
    run(second, "0:2")
    path = shards.paths(second / "runs")[0]
    shard = shards.read(second / "runs")[0]
    rows = shard.table.to_pylist()
    rows[0]["val_loss"] = 0.5
    path.unlink()
    table = type(shard.table).from_pylist(rows, shard.table.schema)
    shards.write(second / "runs", table, 1, shard.curves or "")
    manifest.reset_manifest(second)
    return first, second, rows[0]["run_id"]


def test_runs_with_different_numbers_are_named_unless_told_which_to_keep(
    differing: tuple[Path, Path, str], tmp_path: Path
) -> None:
    first, second, name = differing
    with pytest.raises(
        RequestError, match=f"1 runs have other numbers .*: {name}; .*first or last"
    ):
        merge_results([first, second], tmp_path / "c")
    assert not (tmp_path / "c").exists()

    def loss(results: store.StoredResults) -> float:
        return float(results.runs.set_index("run_id").loc[name, "val_loss"])

    assert loss(merge_results([first, second], tmp_path / "c", "first")) == loss(load(first))
    assert loss(merge_results([first, second], tmp_path / "d", "last")) == 0.5
    assert len(list(tmp_path.glob(".*"))) == 0


def test_other_studies_and_engines_are_not_merged(tmp_path: Path) -> None:
    run(tmp_path / "a", "0:1")
    run(tmp_path / "b", "0:1", epochs=3)
    with pytest.raises(RequestError, match=r"epochs 3, and .* has 2"):
        merge_results([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    run(tmp_path / "d", "1:2")
    settings.save_settings(tmp_path / "d", settings.EngineSettings("fused", compiled=False))
    with pytest.raises(RequestError, match="another engine"):
        merge_results([tmp_path / "a", tmp_path / "d"], tmp_path / "c")
    with pytest.raises(RequestError, match="is there already"):
        merge_results([tmp_path / "a"], tmp_path / "b")


def test_other_levels_merge_into_their_union(tmp_path: Path) -> None:
    run(tmp_path / "a", "0:2")
    run(tmp_path / "b", "0:2", norm=["none", "rms"])
    merged = merge_results([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert sorted(merged.runs["norm"]) == sorted(["layer", "none", "rms"] * 2)
    study = Study.from_toml(tmp_path / "c" / "study.toml")
    assert plan_execution(study, tmp_path / "c").todo == 0
