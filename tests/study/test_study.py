"""Studies in TOML and in Python, and the runs that they expand to."""

from __future__ import annotations

import tomllib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from ablations import RequestError, Study
from ablations.core.registry import registered
from ablations.execution.metadata import study_metadata
from ablations.results.metadata import Question
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


def test_the_notebook_study_has_2400_runs_on_one_device() -> None:
    study = Study.find("notebook").with_axis("device", ["cpu"])
    assert len(expand(study).runs) == 2400


def test_everything_crosses_every_registered_level() -> None:
    levels = Study.find("everything").levels
    for axis in ("regularizer", "norm", "init", "schedule"):
        assert set(levels[axis]) == set(registered(axis))


def test_digits_has_every_technique_alone() -> None:
    levels = Study.find("digits").levels
    for axis in ("regularizer", "norm", "init", "schedule"):
        assert set(levels[axis]) == set(registered(axis))


def test_an_axis_without_levels_has_its_control() -> None:
    (only,) = Study(task="notebook").configurations
    assert only.columns["norm"] == "none"
    assert only.columns["init"] == "default"
    assert only.columns["device"] == "cpu"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, (0, 1, 2)), ("3", (0, 1, 2)), ("2:5", (2, 3, 4)), ([7, 0], (7, 0)), ((4,), (4,))],
)
def test_seeds(value: object, expected: tuple[int, ...]) -> None:
    assert parse_seeds(value) == expected


@pytest.mark.parametrize(
    "value",
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
def test_invalid_seeds(value: object) -> None:
    with pytest.raises(RequestError, match="seeds"):
        parse_seeds(value)


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


def test_objects_and_names_give_the_same_study() -> None:
    by_name = Study(task="notebook", axes={"regularizer": [{"name": "dropout", "p": [0.3]}]})
    by_object = Study(task="notebook", axes={"regularizer": [Dropout(p=(0.3,))]})
    assert by_name.as_dict() == by_object.as_dict()


def test_grids_form_a_union_and_may_have_settings() -> None:
    study = Study(
        task="notebook",
        axes={"schedule": ["constant", "step"]},
        grid=[
            {"axes": {"norm": ["none", "layer"]}},
            {"axes": {"norm": ["none"]}, "lr": 0.01, "epochs": 40},
            {"axes": {"norm": ["none"], "schedule": ["constant"]}},
        ],
    )
    rows = [
        (c.columns["norm"], c.columns["schedule"], c.lr, c.epochs) for c in study.configurations
    ]
    assert rows == [
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
    rows = [
        (c.columns["norm"], c.columns["schedule"], c.regularizer.name) for c in study.configurations
    ]
    assert len(rows) == 18 - 3 - 4
    assert all(norm != "batch" or schedule != "cyclic" for norm, schedule, _ in rows)
    # A bare name excludes all levels with that name, whatever their parameters are.
    assert all(norm != "layer" or regularizer != "dropout" for norm, _, regularizer in rows)
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
    rows = [(c.columns["norm"], c.lr) for c in study.configurations]
    assert rows == [("none", 0.01), ("layer", 0.01), ("none", 0.1)]


def test_replacing_an_axis_of_a_union_does_not_cross_separate_grids() -> None:
    # 27 configurations alone without four norms, and 3 x 2 x 2 x 2 crossed, two of them in both.
    study = Study.find("digits").with_axis("device", ["cpu"]).with_axis("norm", ["none", "layer"])
    full = Study.find("digits").with_axis("device", ["cpu"])
    expected = [c for c in full.configurations if c.columns["norm"] in ("none", "layer")]
    assert set(study.configurations) == set(expected)


def test_a_changed_study_has_the_same_objects(temporary_registry: None) -> None:
    @technique
    class Mine(Regularizer):
        """A technique of a user."""

        name = "mine"
        strength: float = 1.0

    study = Study(task="notebook", axes={"regularizer": ["none", Mine(strength=2.0)]})
    for changed in (
        study.replace(seeds=2),
        study.with_epochs(3),
        study.with_axis("norm", ["layer"]),
    ):
        assert any(c.regularizer == Mine(strength=2.0) for c in changed.configurations)


def test_an_object_with_the_name_of_another_class_is_refused() -> None:
    class Dropout(Regularizer):
        """A class with the name of a registered class."""

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


@hypothesis.given(
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
    grid = expand(study)
    ids = [run.run_id for run in grid.runs] + [run.run_id for run, _ in grid.skipped]
    expected = len(seed_list)
    for levels in axes.values():
        expected *= len(levels)
    assert len(ids) == len(set(ids)) == expected
    reversed_study = Study(
        task="notebook", axes={a: v[::-1] for a, v in axes.items()}, seeds=seed_list[::-1]
    )
    again = expand(reversed_study)
    assert {r.run_id for r in again.runs} == {r.run_id for r in grid.runs}


def test_a_study_without_a_name_has_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "my first (ever) study.toml"
    path.write_text('task = "notebook"')
    assert Study.from_toml(path).name == "my-first-ever-study"


QUESTION = {"text": "Does layer norm help?", "axis": "norm", "level": "layer", "across": "init"}
NORMS = {"norm": ["none", "layer"]}


def test_a_question_changes_no_run_and_is_in_the_file() -> None:
    plain = Study(task="notebook", axes=NORMS)
    study = plain.replace(question=QUESTION)
    assert study.question == Question("Does layer norm help?", "norm", "layer", "init")
    assert [r.run_id for r in expand(study).runs] == [r.run_id for r in expand(plain).runs]
    assert tomllib.loads(study.to_toml())["question"] == QUESTION
    assert study_metadata(study).question == study.question
    assert study.with_axis("norm", ["none", "batch"]).question is None
    assert study.with_axis("init", ["default"]).question == study.question


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"text": " "}, "question.text"),
        ({"axis": "nrm"}, "question.axis"),
        ({"level": "batch"}, "question.level"),
        ({"across": "norm"}, "question.across"),
        ({"across": "rate"}, "question.across"),
        ({"levels": 1}, "question.levels"),
    ],
)
def test_a_question_about_what_a_study_lacks_is_refused(
    changes: dict[str, object], key: str
) -> None:
    with pytest.raises(RequestError) as error:
        Study(task="notebook", axes=NORMS, question=QUESTION | changes)
    assert error.value.key == key


def test_a_results_folder_can_be_found_as_a_study(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(Study(task="notebook", seeds=3).to_toml())
    assert Study.find(str(tmp_path)).seeds == (0, 1, 2)
