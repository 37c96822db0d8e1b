"""The catalogue of what a study can name."""

from __future__ import annotations

import pytest

import ablations
from ablations import RequestError
from ablations.core.registry import registered
from ablations.study.catalogue import format_catalogue


def test_models_are_listed_with_parameters_defaults_and_values() -> None:
    models = ablations.available("models").set_index("name")
    assert set(models.index) == set(registered("model"))
    row = models.loc["mlp"]
    assert row["defaults"] == {
        "hidden": (64, 32), "activation": "relu", "norm_position": "after",
    }  # fmt: skip
    assert row["choices"]["norm_position"] == ["after", "before"]
    assert models["caption"].str.endswith((".", ").")).all()
    text = format_catalogue("models")
    assert "  mlp (hidden=[64, 32], activation=relu, norm_position=after)\n" in text
    assert "      norm_position: after, before\n" in text


def test_a_file_task_lists_the_keys_of_a_study_and_no_others() -> None:
    row = ablations.available("tasks").set_index("name").loc["csv"]
    assert row["required"] == ["path", "target"]
    assert {"types", "missing", "shape", "standardize", "loss"} <= set(row["defaults"])
    assert not {"content", "rows", "inputs", "notes"} & set(row["defaults"])


def test_techniques_come_with_their_axes() -> None:
    table = ablations.available("techniques")
    axes = ["regularizer", "norm", "init", "schedule", "device", "optimizer"]
    assert table["role"].unique().tolist() == axes
    with pytest.raises(RequestError, match="unknown kind 'model'; did you mean 'models'"):
        ablations.available("model")  # type: ignore[arg-type]
