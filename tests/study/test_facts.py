"""What is known of techniques comes out of the shipped studies, cut down."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ablations import Results, Study

from ..studies import run


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
    found = medians(run(study, tmp_path, time_budget=0), "norm", "init")
    assert found["none", "default"] > 2.2  # the logarithm of ten: nothing is learnt
    assert found["none", "xavier_uniform"] > 1.2 * found["none", "kaiming_uniform"]
    assert found["layer", "default"] < 0.9 * found["none", "default"]
    assert found["batch", "default"] < 0.2 * found["none", "default"]
    assert found["batch"].max() < 1.5 * found["batch"].min()


def test_batch_norm_loses_its_lead_as_batches_shrink_and_group_norm_does_not(
    tmp_path: Path,
) -> None:
    study = Study.find("small_batches").replace(seeds=2).with_axis("device", ["cpu"])
    study = study.with_epochs(6).with_axis("batch_size", [24, 3])
    # One by one: the audit would train these again and again, since they forget their digits.
    found = medians(run(study, tmp_path, time_budget=0, engine="loop"), "norm", "batch_size")
    assert found["batch", "24"] < found["none", "24"]
    assert found["batch", "3"] > 2 * found["batch", "24"]
    assert found["batch", "3"] > 2 * found["group", "3"]
    assert found["group", "3"] < 1.5 * found["group", "24"]


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
    found = medians(run(study, tmp_path, time_budget=0), "norm")
    assert found["layer"] < 0.85 * found["none"]
    assert found["layer"] < 0.85 * found["batch"]


def test_norms_let_a_convolutional_network_learn_faster(tmp_path: Path) -> None:
    study = Study.find("images").replace(seeds=3).with_epochs(2).with_axis("device", ["cpu"])
    study = study.with_axis("init", ["default"]).with_axis("regularizer", ["none"])
    found = medians(run(study, tmp_path, time_budget=0), "norm", outcome="train_loss")
    for norm in ("layer", "batch", "group"):
        assert found[norm] < 0.9 * found["none"], norm
