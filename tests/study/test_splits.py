"""Seeds that repeat splits: which they are, what they share, and what keeps its identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations import Study, load
from ablations.core.errors import RequestError
from ablations.core.splits import split_seed
from ablations.execution.compatibility import check_folder, continue_splits
from ablations.execution.merge import merge_results
from ablations.execution.options import RunOptions
from ablations.results.store import STUDY_FILE, _seal_study
from ablations.study.configuration import Run
from ablations.study.expand import expand

from ..studies import run

SMALL: dict[str, Any] = {
    "task": "diabetes",
    "model": {"name": "mlp", "hidden": [4]},
    "epochs": 2,
    "axes": {"norm": ["none", "layer"]},
}


def ids(study: Study) -> dict[int, list[str]]:
    """The run ids of each seed of a study."""
    return {
        seed: [Run(configuration, seed).run_id for configuration in study.configurations]
        for seed in study.seeds
    }


def test_the_second_ten_of_every_twenty_seeds_repeat_splits() -> None:
    seeds = range(200)
    assert [split_seed(split_seed(seed)) for seed in seeds] == list(map(split_seed, seeds))
    counts = pd.Series(map(split_seed, range(40))).value_counts()
    assert (counts == 2).all()
    assert sorted(counts.index) == [*range(10), *range(20, 30)]


def test_only_runs_with_another_s_split_have_another_identity() -> None:
    repeated, single = (ids(Study(**SMALL, seeds=40, splits=s)) for s in ("repeated", "own"))
    differing = {seed for seed in repeated if repeated[seed] != single[seed]}
    assert differing == {*range(10, 20), *range(30, 40)}
    assert len({run_id for rows in (repeated | single).values() for run_id in rows}) == 80


@pytest.mark.parametrize(
    "keys",
    [
        {"task": "notebook"},
        {"task": "friedman1", "axes": {}},
        {"task": "diabetes", "vary": ["init", "order"]},
        {"task": "diabetes", "vary": ["split"]},
        {"task": "diabetes", "vary": ["split", "order"], "batch_size": 32},
    ],
)
def test_nothing_repeats_where_seeds_split_no_table_or_would_be_one_run(
    keys: dict[str, Any],
) -> None:
    study = Study(**{"epochs": 1, "seeds": 20} | keys)
    configuration = study.configurations[0]
    assert [configuration.data_seed(seed) for seed in study.seeds] == list(range(20))
    assert "splits" not in study.plain()
    with pytest.raises(RequestError, match="no two seeds can repeat a split"):
        study.replace(splits="repeated")
    assert study.replace(splits="own").plain() == study.plain()


def test_seeds_with_one_split_share_data_and_nothing_else() -> None:
    configuration = Study(**SMALL, seeds=20, batch_size=32).configurations[0]
    task, draws = configuration.task, {}
    for seed in (3, 13, 4):
        data = task.splits(configuration.data_streams(seed))
        streams = configuration.streams(seed)
        init, order = streams.normal((3,), "init/w"), streams.permutation(9, "order")
        draws[seed] = (data.y_val.tolist(), init.tolist(), order.tolist())
    assert draws[3][0] == draws[13][0] != draws[4][0]
    assert draws[3][1] != draws[13][1]
    assert draws[3][2] != draws[13][2]


def test_a_stored_study_says_how_its_seeds_split(tmp_path: Path) -> None:
    assert "splits" not in Study(**SMALL, seeds=10).plain()
    assert Study(**SMALL, seeds=11).plain()["splits"] == "repeated"
    assert Study(**SMALL, seeds=10, splits="own").plain()["splits"] == "own"
    for seeds in (10, 20):
        text = Study(**SMALL, seeds=seeds).to_toml().replace('splits = "repeated"\n', "")
        (tmp_path / "mine.toml").write_text(text)
        (tmp_path / "study.toml").write_text(_seal_study(text))
        # A person's file has the default; a folder of an earlier version has splits of its own.
        assert Study.from_toml(tmp_path / "mine.toml").splits == ""
        stored = Study.from_toml(tmp_path / "study.toml")
        assert stored.splits == ("own" if seeds == 20 else "")
        assert Study.from_toml(tmp_path / "study.toml", splits="repeated").splits == "repeated"


def make_old_folder(folder: Path, seeds: int) -> Study:
    """A folder as an earlier version wrote it: each seed has a split of its own."""
    study = Study(**SMALL, seeds=seeds, splits="own")
    run(study, folder, time_budget=0, jobs=1, with_report=False)
    text = study.to_toml().replace('splits = "own"\n', "")
    (folder / STUDY_FILE).write_text(_seal_study(text), encoding="utf-8")
    return study


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_is_continued_with_its_splits(tmp_path: Path) -> None:
    old = make_old_folder(tmp_path / "old", 12)
    study = Study(**SMALL, seeds=12)
    assert expand(continue_splits(study, tmp_path / "old")).run_ids == expand(old).run_ids
    before = load(tmp_path / "old").runs.set_index("run_id")["val_loss"]
    results = run(study.replace(seeds=13), tmp_path / "old", time_budget=0, jobs=1)
    after = results.runs.set_index("run_id")["val_loss"]
    assert len(after) == 26
    assert after[before.index].equals(before)
    assert load(tmp_path / "old").runs.groupby("seed")["split"].first().tolist() == [*range(13)]
    assert Study.find(str(tmp_path / "old")).splits == "own"
    design = results.design()
    assert not design.has_repeated_splits
    assert design.overlap > 0


@pytest.mark.slow
def test_a_folder_of_few_seeds_grows_by_repeated_splits(tmp_path: Path) -> None:
    make_old_folder(tmp_path / "old", 3)
    study = Study(**SMALL, seeds=[0, 1, 2, 10, 11])
    results = run(study, tmp_path / "old", time_budget=0, jobs=1)
    assert results.runs.groupby("seed")["split"].first().tolist() == [0, 1, 2, 0, 1]
    assert results.design().splits.tolist()[:2] == results.design().splits.tolist()[3:]
    # Runs of the same folder, of which an earlier version wrote no split.
    runs = results.runs.assign(split=results.runs["split"].where(results.runs["seed"] >= 10))
    assert replace(results, runs=runs).design().splits.tolist() == results.design().splits.tolist()


@pytest.mark.slow
def test_other_splits_are_refused_and_not_merged(tmp_path: Path) -> None:
    make_old_folder(tmp_path / "old", 11)
    stated = Study(**SMALL, seeds=11, splits="repeated")
    with pytest.raises(RequestError, match="holds seeds with own splits, not repeated ones"):
        check_folder(stated, tmp_path / "old", RunOptions())
    run(Study(**SMALL, seeds=[10]), tmp_path / "other", time_budget=0, jobs=1, with_report=False)
    run(Study(**SMALL, seeds=2), tmp_path / "few", time_budget=0, jobs=1, with_report=False)
    with pytest.raises(RequestError, match="splits"):
        merge_results([tmp_path / "old", tmp_path / "other"], tmp_path / "wrong")
    merged = merge_results([tmp_path / "few", tmp_path / "other"], tmp_path / "all")
    assert merged.runs.groupby("seed")["split"].first().to_dict() == {0: 0, 1: 1, 10: 0}
    assert (
        merge_results([tmp_path / "few", tmp_path / "old"], tmp_path / "own")
        .runs["split"]
        .eq(load(tmp_path / "own").runs["seed"])
        .all()
    )


@pytest.mark.slow
def test_fused_runs_with_repeated_splits_equal_those_of_the_loop(tmp_path: Path) -> None:
    study = Study(**SMALL, seeds=[0, 1, 10, 11], batch_size=64, judge="best", test=0.2)
    tables = {}
    for engine in ("fused", "loop"):
        results = run(
            study, tmp_path / engine, engine=engine, time_budget=0, jobs=1, compile="never"
        )
        tables[engine] = results.runs.sort_values("run_id").reset_index(drop=True)
    for column in ("val_loss", "train_loss", "test_loss", "baseline"):
        np.testing.assert_allclose(tables["fused"][column], tables["loop"][column], rtol=1e-4)
    runs = tables["fused"].groupby("seed")[["baseline", "val_loss"]].first()
    assert runs["baseline"][0] == runs["baseline"][10] != runs["baseline"][1]
    assert runs["val_loss"][0] != runs["val_loss"][10]


def test_in_a_study_of_several_tasks_those_repeat_splits_that_can(tmp_path: Path) -> None:
    study = Study(tasks=["diabetes", "friedman1"], seeds=12, epochs=1)
    repeating = {c.task.name: c.data_seed(11) for c in study.configurations}
    assert repeating == {"diabetes": 1, "friedman1": 11}
    assert study.plain()["splits"] == "repeated"
    (tmp_path / "study.toml").write_text(_seal_study(study.to_toml()))
    stored = Study.from_toml(tmp_path / "study.toml")
    assert expand(stored).run_ids == expand(study).run_ids
    assert stored.to_toml() == study.to_toml()
    alone = Study(task="diabetes", seeds=12, epochs=1)
    assert expand(alone).run_ids <= expand(study).run_ids
    with pytest.raises(RequestError, match="no two seeds can repeat a split"):
        Study(tasks=["notebook", "friedman1"], seeds=12, epochs=1, splits="repeated")
