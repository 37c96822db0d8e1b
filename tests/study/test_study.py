"""Studies: what may be said, in TOML and in Python, and what comes of it."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations import RequestError, Study
from ablations.core.registry import registered
from ablations.study.expand import expand
from ablations.study.parsing import parse_seeds
from ablations.study.study import shipped_studies
from ablations.techniques.base import Regularizer, technique
from ablations.techniques.regularizers import Dropout


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_round_trip(name: str) -> None:
    study = Study.find(name)
    again = Study(**tomllib.loads(study.to_toml()))
    assert again.as_dict() == study.as_dict()
    assert [r.run_id for r in expand(again).runs] == [r.run_id for r in expand(study).runs]


RUN_IDS = {
    "cells": "47778118bb33056e",
    "deep": "cc83462e7f970d30",
    "digits": "fa7506d09a1f7872",
    "everything": "850137bbd4886e4b",
    "images": "654d2dbe3e9bd751",
    "notebook": "c5ae1373ff22c9a8",
    "sequences": "00017e6945a7b3cc",
    "small_batches": "53b97fb4a3393fcb",
}
"""The first 16 digits of a hash over all run ids of each shipped study, on the CPU alone."""


@pytest.mark.parametrize("name", shipped_studies())
def test_run_ids_of_shipped_studies_never_change(name: str) -> None:
    grid = expand(Study.find(name).with_axis("device", ["cpu"]))
    ids = [run.run_id for run in (*grid.runs, *(run for run, _ in grid.skipped))]
    assert hashlib.blake2b(" ".join(ids).encode()).hexdigest()[:16] == RUN_IDS[name]


def test_the_notebook_study_has_2400_runs_on_one_device() -> None:
    study = Study.find("notebook").with_axis("device", ["cpu"])
    assert len(expand(study).runs) == 2400


def test_everything_crosses_every_level_that_there_is() -> None:
    levels = Study.find("everything").levels
    for axis in ("regularizer", "norm", "init", "schedule"):
        assert set(levels[axis]) == set(registered(axis))


def test_digits_has_every_technique_alone() -> None:
    levels = Study.find("digits").levels
    for axis in ("regularizer", "norm", "init", "schedule"):
        assert set(levels[axis]) == set(registered(axis))


def test_an_axis_that_is_not_named_stays_at_its_control() -> None:
    (only,) = Study(task="notebook").configurations
    assert only.columns["norm"] == "none"
    assert only.columns["init"] == "default"
    assert only.columns["device"] == "cpu"


@pytest.mark.parametrize(
    ("said", "meant"),
    [(3, (0, 1, 2)), ("3", (0, 1, 2)), ("2:5", (2, 3, 4)), ([7, 0], (7, 0)), ((4,), (4,))],
)
def test_seeds(said: object, meant: tuple[int, ...]) -> None:
    assert parse_seeds(said) == meant


@pytest.mark.parametrize(
    "said",
    [
        0,
        -1,
        "5:5",
        "5:2",
        "a:b",
        "1:2:3",
        "0:1000000000000",
        [2**63],
        [],
        [1, 1],
        [-1],
        2.5,
        True,
        None,
        [True],
    ],
)
def test_no_seeds(said: object) -> None:
    with pytest.raises(RequestError, match="seeds"):
        parse_seeds(said)


def test_hyper_parameters_of_training_and_model_can_be_axes() -> None:
    study = Study(
        task="notebook",
        axes={
            "lr": [1e-3, 1],
            "batch_size": ["full", 32],
            "optimizer": ["adam", {"name": "sgd", "momentum": 0.5}],
            "epochs": [2, 3],
            "hidden": [[64, 32], [8]],
            "norm_position": ["after", "before"],
        },
    )
    assert len(study.configurations) == 64
    assert study.levels["lr"] == (1e-3, 1.0)
    assert study.levels["hidden"] == ("[64,32]", "[8]")
    assert study.levels["optimizer"] == ("adam", "sgd(momentum=0.5)")
    assert len({run.run_id for run in expand(study.replace(seeds=2)).runs}) == 128


def test_objects_and_names_say_the_same() -> None:
    named = Study(task="notebook", axes={"regularizer": [{"name": "dropout", "p": [0.3]}]})
    given_ = Study(task="notebook", axes={"regularizer": [Dropout(p=(0.3,))]})
    assert named.as_dict() == given_.as_dict()


def test_grids_make_a_union_and_settings_of_their_own() -> None:
    study = Study(
        task="notebook",
        axes={"schedule": ["constant", "step"]},
        grid=[
            {"axes": {"norm": ["none", "layer"]}},
            {"axes": {"norm": ["none"]}, "lr": 0.01, "epochs": 40},
            {"axes": {"norm": ["none"], "schedule": ["constant"]}},
        ],
    )
    found = [
        (c.columns["norm"], c.columns["schedule"], c.lr, c.epochs) for c in study.configurations
    ]
    assert found == [
        ("none", "constant", 1e-3, 20),
        ("none", "step", 1e-3, 20),
        ("layer", "constant", 1e-3, 20),
        ("layer", "step", 1e-3, 20),
        ("none", "constant", 1e-2, 40),
        ("none", "step", 1e-2, 40),
    ]
    assert set(study.levels) >= {"lr", "epochs"}


def test_exclusions() -> None:
    axes = {
        "norm": ["none", "batch", "layer"],
        "schedule": ["constant", "cyclic"],
        "regularizer": ["none", {"name": "dropout", "p": [0.3]}, "dropout"],
    }
    exclude = [
        {"norm": "batch", "schedule": "cyclic"},
        {"regularizer": "dropout", "norm": ["layer"]},
    ]
    study = Study(task="notebook", axes=axes, exclude=exclude)
    found = [
        (c.columns["norm"], c.columns["schedule"], c.regularizer.name) for c in study.configurations
    ]
    assert len(found) == 18 - 3 - 4
    assert all(norm != "batch" or schedule != "cyclic" for norm, schedule, _ in found)
    # A bare name excludes every level of that name, whatever its parameters.
    assert all(norm != "layer" or regularizer != "dropout" for norm, _, regularizer in found)
    again = Study(**tomllib.loads(study.to_toml()))
    assert again.configurations == study.configurations


def test_replacing_an_axis_drops_exclusions_of_levels_that_are_gone() -> None:
    study = Study(
        task="notebook", axes={"norm": ["none", "batch"]}, exclude=[{"norm": "batch"}]
    ).with_axis("norm", ["none", "layer"])
    assert study.levels["norm"] == ("none", "layer")
    assert study.exclude == ()


def test_an_exclusion_of_one_of_several_levels_survives_the_way_through_toml() -> None:
    study = Study(
        task="notebook",
        axes={"regularizer": ["none", "dropout", {"name": "dropout", "p": [0.1]}]},
        exclude=[{"regularizer": {"name": "dropout"}}],
    )
    assert study.levels["regularizer"] == ("none", "dropout(p=[0.1])")
    again = Study(**tomllib.loads(study.to_toml()))
    assert again.configurations == study.configurations


def test_an_exclusion_may_name_a_setting_of_a_grid() -> None:
    study = Study(
        task="notebook",
        axes={"norm": ["none", "layer"]},
        grid=[{"lr": 0.01}, {"lr": 0.1}],
        exclude=[{"norm": "layer", "lr": 0.1}],
    )
    found = [(c.columns["norm"], c.lr) for c in study.configurations]
    assert found == [("none", 0.01), ("layer", 0.01), ("none", 0.1)]


def test_replacing_an_axis_of_a_union_does_not_cross_what_was_apart() -> None:
    # 27 configurations alone without four norms, and 3 x 2 x 2 x 2 crossed, two of them in both.
    study = Study.find("digits").with_axis("device", ["cpu"]).with_axis("norm", ["none", "layer"])
    full = Study.find("digits").with_axis("device", ["cpu"])
    kept = [c for c in full.configurations if c.columns["norm"] in ("none", "layer")]
    assert set(study.configurations) == set(kept)


def test_a_changed_study_has_the_same_objects(temporary_registry: None) -> None:
    @technique
    class Mine(Regularizer):
        """A technique of somebody's own."""

        name = "mine"
        strength: float = 1.0

    study = Study(task="notebook", axes={"regularizer": ["none", Mine(strength=2.0)]})
    for changed in (
        study.replace(seeds=2),
        study.with_epochs(3),
        study.with_axis("norm", ["layer"]),
    ):
        assert any(c.regularizer == Mine(strength=2.0) for c in changed.configurations)


def test_an_object_whose_name_is_another_s_is_refused() -> None:
    class Dropout(Regularizer):
        """Not the registered one, though it says so."""

        name = "dropout"

    with pytest.raises(RequestError, match="'dropout' is not registered under that name"):
        Study(task="notebook", axes={"regularizer": [Dropout()]})


def test_settings_on_the_command_line_reach_every_grid() -> None:
    study = Study.find("cells").with_epochs(3)
    assert {c.epochs for c in study.configurations} == {3}
    norms = Study.find("digits").with_axis("norm", ["none", "layer"])
    assert norms.levels["norm"] == ("none", "layer")


def test_a_published_curve_needs_one_configuration() -> None:
    grid = {"name": "a", "axes": {"norm": ["none", "layer"]}, "published": [1.0]}
    with pytest.raises(RequestError, match=r"grid\[0\].published.*found 2"):
        Study(task="notebook", grid=[grid])


LEVELS = {axis: sorted(registered(axis)) for axis in ("regularizer", "norm", "init", "schedule")}


@given(
    axes=st.fixed_dictionaries(
        {},
        optional={
            axis: st.lists(st.sampled_from(names), min_size=1, unique=True)
            for axis, names in LEVELS.items()
        },
    ),
    seed_list=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
)
def test_a_plan_holds_each_run_once_whatever_the_order_of_levels(
    axes: dict[str, list[str]], seed_list: list[int]
) -> None:
    study = Study(task="notebook", axes=axes, seeds=seed_list)
    found = expand(study)
    ids = [run.run_id for run in found.runs] + [run.run_id for run, _ in found.skipped]
    expected = len(seed_list)
    for levels in axes.values():
        expected *= len(levels)
    assert len(ids) == len(set(ids)) == expected
    turned = Study(
        task="notebook", axes={a: v[::-1] for a, v in axes.items()}, seeds=seed_list[::-1]
    )
    again = expand(turned)
    assert {r.run_id for r in again.runs} == {r.run_id for r in found.runs}


def test_a_file_s_name_becomes_the_study_s(tmp_path: Path) -> None:
    path = tmp_path / "my first (ever) study.toml"
    path.write_text('task = "notebook"')
    assert Study.from_toml(path).name == "my-first-ever-study"


def test_a_study_named_on_the_command_line_may_be_a_results_folder(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(Study(task="notebook", seeds=3).to_toml())
    assert Study.find(str(tmp_path)).seeds == (0, 1, 2)
