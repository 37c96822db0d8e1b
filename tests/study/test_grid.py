"""Runs: their identity, and the reasons of skipped runs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ablations import Study
from ablations.study.configuration import SCHEMA
from ablations.study.expand import expand


def only(**study: Any) -> Any:
    (configuration,) = Study(task="notebook", **study).configurations
    return configuration


def test_run_id_is_the_hash_of_the_canonical_json_of_what_defines_the_run() -> None:
    (run,) = expand(Study(task="notebook", seeds=[7])).runs
    defined = {
        "schema": SCHEMA,
        "task": {"name": "notebook"},
        "model": {
            "name": "mlp",
            "hidden": [64, 32],
            "activation": "relu",
            "norm_position": "after",
        },
        "axes": {
            "regularizer": {"name": "none"},
            "norm": {"name": "none"},
            "init": {"name": "default"},
            "schedule": {"name": "constant"},
            "device": {"name": "cpu"},
            "optimizer": {"name": "adam", "beta1": 0.9, "beta2": 0.999},
            "lr": 0.001,
            "batch_size": "full",
            "dtype": "float32",
        },
        "seed": 7,
        "epochs": 20,
    }
    text = json.dumps(defined, sort_keys=True, separators=(",", ":"))
    assert run.run_id == hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def test_run_id_does_not_depend_on_the_study_around_it() -> None:
    small = expand(Study(name="small", task="notebook", axes={"norm": ["layer"]}, seeds=[2])).runs
    large = expand(
        Study(name="large", task="notebook", axes={"norm": ["none", "layer"]}, seeds=5)
    ).runs
    assert {run.run_id for run in small} < {run.run_id for run in large}


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-3},
        {"epochs": 21},
        {"batch_size": 50},
        {"dtype": "float64"},
        {"optimizer": "sgd"},
        {"optimizer": {"name": "adam", "beta1": 0.8}},
        {"model": {"name": "mlp", "hidden": [64, 33]}},
        {"axes": {"norm": [{"name": "group", "channels": 4}]}},
    ],
)
def test_run_id_depends_on_every_setting(change: dict[str, Any]) -> None:
    study = {"task": "notebook", "seeds": 1}
    (first,), (other,) = expand(Study(**study)).runs, expand(Study(**(study | change))).runs
    assert first.run_id != other.run_id


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        ({"axes": {"regularizer": ["label_smoothing"]}}, "regression"),
        (
            {"axes": {"norm": ["group"], "hidden": [[12]]}},
            "12 units cannot be divided into",
        ),
        ({"axes": {"norm": ["batch"], "batch_size": [33]}}, "a last batch of one row"),
        ({"axes": {"norm": ["batch"], "batch_size": [1]}}, "a last batch of one row"),
        ({"axes": {"optimizer": ["adamw"], "regularizer": ["l2"]}}, "has its own weight decay"),
        (
            {"axes": {"optimizer": ["sgd"], "regularizer": ["decoupled_weight_decay"]}},
            "no decoupled",
        ),
        ({"axes": {"schedule": ["one_cycle"]}, "epochs": 2}, "for its warm-up"),
    ],
)
def test_meaningless_combinations_are_skipped_with_a_reason(
    study: dict[str, Any], reason: str
) -> None:
    assert reason in only(**study).skip
    grid = expand(Study(task="notebook", seeds=3, **study))
    assert not grid.runs
    assert len(grid.skipped) == 3


def test_batch_norm_trains_where_the_last_batch_has_two_rows() -> None:
    assert only(axes={"norm": ["batch"], "batch_size": [49]}).skip is None


def test_a_device_that_is_missing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    grid = expand(Study(task="notebook", seeds=2, axes={"device": ["cpu", "cuda"]}))
    assert [run.configuration.device.name for run in grid.runs] == ["cpu", "cpu"]
    assert [reason for _, reason in grid.skipped] == ["torch offers no cuda device here"] * 2
