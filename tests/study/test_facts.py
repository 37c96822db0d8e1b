"""Known facts about techniques, reproduced by shortened shipped studies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ablations import Results, Study

from ..studies import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unaudited")]


def medians(results: Results, *axes: str, outcome: str = "val_loss") -> pd.Series:
    runs = results.runs
    if outcome == "gap":
        runs = runs.assign(gap=runs["val_loss"] - runs["train_loss"])
    return runs.groupby(list(axes))[outcome].median()


def test_without_norm_a_deep_network_needs_the_right_init_and_batch_norm_repairs_any(
    tmp_path: Path,
) -> None:
    study = Study.find("deep").replace(seeds=2).with_epochs(6).with_axis("device", ["cpu"])
    for axis, levels in (
        ("norm", ["none", "layer", "batch"]),
        ("init", ["default", "xavier_uniform", "kaiming_uniform"]),
    ):
        study = study.with_axis(axis, levels)
    loss = medians(run(study, tmp_path, time_budget=0), "norm", "init")
    assert loss["none", "default"] > 2.2  # the logarithm of ten: nothing is learnt
    assert loss["none", "xavier_uniform"] > 1.2 * loss["none", "kaiming_uniform"]
    assert loss["layer", "default"] < 0.9 * loss["none", "default"]
    assert loss["batch", "default"] < 0.2 * loss["none", "default"]
    assert loss["batch"].max() < 1.5 * loss["batch"].min()


def test_batch_norm_loses_its_lead_as_batches_shrink_and_group_norm_does_not(
    tmp_path: Path,
) -> None:
    study = Study.find("small_batches").replace(seeds=2).with_axis("device", ["cpu"])
    study = study.with_epochs(6).with_axis("batch_size", [24, 3])
    loss = medians(run(study, tmp_path, time_budget=0), "norm", "batch_size")
    assert loss["batch", "24"] < loss["none", "24"]
    assert loss["batch", "3"] > 2 * loss["batch", "24"]
    assert loss["batch", "3"] > 2 * loss["group", "3"]
    assert loss["group", "3"] < 1.5 * loss["group", "24"]


def test_dropout_and_weight_decay_narrow_the_gap_on_digits(tmp_path: Path) -> None:
    study = Study(
        task="digits",
        batch_size=32,
        seeds=2,
        axes={"regularizer": ["none", "dropout", "l2", "decoupled_weight_decay"]},
    )
    gap = medians(run(study, tmp_path, time_budget=0), "regularizer", outcome="gap")
    for name in ("dropout", "l2", "decoupled_weight_decay"):
        assert gap[name] < gap["none"], name


def test_layer_norm_helps_a_recurrence_and_batch_norm_does_less(tmp_path: Path) -> None:
    # The lines of digits for series: eight steps, not forty.
    study = Study.find("sequences").replace(task="digits", seeds=3, lr=1e-3, batch_size=32)
    study = study.with_epochs(12).with_axis("device", ["cpu"]).with_axis("init", ["default"])
    study = study.with_axis("norm", ["none", "layer", "batch"])
    loss = medians(run(study, tmp_path, time_budget=0), "norm")
    assert loss["layer"] < 0.85 * loss["none"]
    assert loss["layer"] < 0.85 * loss["batch"]


def test_norms_let_a_convolutional_network_learn_faster(tmp_path: Path) -> None:
    study = Study.find("images").replace(seeds=3).with_epochs(2).with_axis("device", ["cpu"])
    study = study.with_axis("init", ["default"]).with_axis("regularizer", ["none"])
    loss = medians(run(study, tmp_path, time_budget=0), "norm", outcome="train_loss")
    for norm in ("layer", "batch", "group"):
        assert loss[norm] < 0.9 * loss["none"], norm


def test_no_level_of_the_shipped_data_sets_helps_everywhere(tmp_path: Path) -> None:
    study = Study.find("datasets").replace(seeds=6).with_epochs(6)
    for axis, levels in (
        ("init", ["default"]),
        ("schedule", ["constant"]),
        ("regularizer", ["none"]),
    ):
        study = study.with_axis(axis, levels)
    results = run(study, tmp_path, time_budget=0, with_report=True)
    table = results.datasets().set_index("level")
    assert set(table.index) == {"layer", "batch"}
    assert (table["datasets"] == 5).all()
    assert set(table["verdict"]) == {"not enough evidence"}  # of five data sets
    assert (table["helps"] < 5).all()
    page = (tmp_path / "report-of-wine.html").read_text(encoding="utf-8")
    assert '<a href="report.html">' in page
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "5 data sets are too few to tell what holds on others: at least 6 are needed." in page
