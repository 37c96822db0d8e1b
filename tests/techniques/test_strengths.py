"""What a technique's strength is for a reader: parameters in a few words, defaults included."""

from __future__ import annotations

import pytest

from ablations.core.strengths import format_plain, format_share, list_parameters
from ablations.execution.metadata import study_metadata
from ablations.study.study import Study
from ablations.techniques.norms import BatchNorm, GroupNorm, LayerNorm
from ablations.techniques.optimizers import Adam, AdamW
from ablations.techniques.regularizers import Dropout, Elastic
from ablations.techniques.schedules import Cosine, Cyclic, Plateau, Step


@pytest.mark.parametrize(
    ("technique", "strength"),
    [
        (Dropout(), "p 0.5, 0.2"),
        (Dropout(p=(0.25,)), "p 0.25"),
        (Elastic(l1=1e-5), "l1 1e-5, l2 0.01"),
        (LayerNorm(), ""),
        (BatchNorm(), "momentum 0.1"),
        (BatchNorm(statistics="training rows"), "statistics of all training rows"),
        (GroupNorm(channels=4), "groups of 4"),
        (Step(), "×0.1 every 25\u202f%"),
        (Plateau(), "×0.1, patience 10\u202f%"),
        (Cyclic(), "2 cycles, to ×0.1"),
        (Cosine(), ""),
        (Adam(), ""),
        (Adam(beta1=0.8), "beta1 0.8"),
        (AdamW(), "weight decay 0.01"),
    ],
)
def test_strengths(technique: object, strength: str) -> None:
    assert technique.describe_strength() == strength  # type: ignore[attr-defined]


def test_values_are_plain() -> None:
    assert [format_plain(value) for value in (0.1, 1.0, 3e-7, "full", True, (1, 2.5))] == [
        "0.1", "1", "3e-7", "full", "True", "1, 2.5",
    ]  # fmt: skip
    assert list_parameters({"weight_decay": 0.01}) == "weight decay 0.01"
    assert format_share(1 / 8) == "12.5\u202f%"


def test_a_study_writes_the_strengths_of_its_levels() -> None:
    axes = {"regularizer": ["none", {"name": "dropout", "p": [0.3]}], "norm": ["none", "batch"]}
    metadata = study_metadata(Study(task="notebook", seeds=2, axes=axes))
    assert metadata.strengths == {
        "regularizer": {"dropout(p=[0.3])": "dropout (p 0.3)"},
        "norm": {"batch": "batch (momentum 0.1)"},
    }
