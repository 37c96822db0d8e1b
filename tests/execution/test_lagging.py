"""Running statistics that have not caught up when training ends: who says so, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ablations import Study
from ablations.cli import app
from ablations.execution.lagging import describe_lagging_statistics
from ablations.execution.metadata import study_metadata
from ablations.techniques.norms import BatchNorm, LayerNorm, NoNorm

MODULE = """
import os
from torch import nn
from ablations.techniques.base import Norm, technique

@technique
class Slow(Norm):
    '''Batch norm whose running means follow slowly.'''

    name = "{module}_slow"
    momentum: float = 0.01

    def layer(self, width):
        return nn.Sequential(nn.BatchNorm1d(width, momentum=self.momentum))

@technique
class Kills(Norm):
    '''Ends its process.'''

    name = "{module}_kills"

    def layer(self, width):
        os._exit(1)

def build(inputs, outputs, momentum=0.1):
    layers = [nn.Linear(inputs, 8), nn.BatchNorm1d(8, momentum=momentum), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(8, outputs))
"""


@pytest.fixture
def module(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    temporary_registry: None,
) -> str:
    name = f"lag_{request.node.name.split('[')[0]}"[:60]
    (tmp_path / f"{name}.py").write_text(MODULE.format(module=name))
    monkeypatch.chdir(tmp_path)
    return name


def cautions(**study: Any) -> tuple[str, ...]:
    return describe_lagging_statistics(Study(**{"task": "notebook", "epochs": 5} | study))


def test_the_share_of_the_start_values_shrinks_with_each_step() -> None:
    assert BatchNorm().start_share(8, 5) == pytest.approx(0.9**5)
    assert BatchNorm(momentum=0.5).start_share(8, 3) == pytest.approx(0.125)
    norms = [BatchNorm(momentum=1.0), BatchNorm(statistics="training rows"), LayerNorm(), NoNorm()]
    assert [norm.start_share(8, 1) for norm in norms] == [0.0] * 4


def test_a_norm_with_a_large_share_is_a_caution() -> None:
    axes: dict[str, Any] = {"norm": ["none", "layer", "batch"]}
    study = Study(task="notebook", epochs=5, axes=axes)
    (sentence,) = describe_lagging_statistics(study)
    assert sentence == (
        "With batch norm, 5 steps leave 59 % of the start values in its running statistics. Its "
        "losses in evaluation mode are those of a network whose statistics have not caught "
        'up: train longer, or give momentum or statistics = "training rows".'
    )
    metadata = study_metadata(study)
    assert sentence in metadata.cautions
    assert "lagging statistics" in metadata.badges


def test_the_shortest_training_with_a_level_counts() -> None:
    axes: dict[str, Any] = {"norm": ["none", "batch"]}
    assert "20 steps leave 12 %" in cautions(axes=axes | {"epochs": [100, 20]})[0]
    assert "1 step leaves 90 %" in cautions(axes=axes, epochs=1)[0]
    levels = [{"name": "batch", "momentum": momentum} for momentum in (0.2, 0.5)]
    assert ["10 steps leave 11 %" in c for c in cautions(axes={"norm": levels}, epochs=10)] == [
        True
    ]


@pytest.mark.parametrize(
    "study",
    [
        {"axes": {"norm": ["batch"]}, "epochs": 50},
        {"axes": {"norm": ["batch"]}, "batch_size": 8},
        {"axes": {"norm": [{"name": "batch", "momentum": 1.0}]}},
        {"axes": {"norm": [{"name": "batch", "statistics": "training rows"}]}},
        {"axes": {"norm": ["none", "layer", "weight_norm"]}},
    ],
    ids=str,
)
def test_statistics_that_caught_up_are_no_caution(study: dict[str, Any]) -> None:
    assert cautions(**study) == ()


def test_a_user_s_norm_and_network_are_looked_into(module: str) -> None:
    axes = {"norm": ["none", f"python:{module}:Slow"]}
    (sentence,) = cautions(axes=axes, epochs=40)
    assert sentence.startswith(f"With {module.replace('_', ' ')} slow norm, 40 steps leave 67 %")
    assert sentence.endswith("train longer, or give its layers a larger momentum.")
    (sentence,) = cautions(model=f"python:{module}:build")
    assert sentence.startswith(f"With the model python:{module}:build, 5 steps leave 59 %")
    fast = {"name": f"python:{module}:build", "momentum": 1.0}
    assert cautions(model=fast) == ()


@pytest.mark.slow
def test_a_norm_that_ends_its_process_ends_no_study(module: str) -> None:
    assert cautions(axes={"norm": ["none", f"python:{module}:Kills"]}) == ()


def test_the_plan_says_it(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'task = "notebook"\nepochs = 5\nseeds = 2\naxes = { norm = ["none", "batch"] }\n'
    )
    command = ["run", str(tmp_path / "study.toml"), "--dry-run", "--out", str(tmp_path / "out")]
    assert "With batch norm, 5 steps leave 59 %" in CliRunner().invoke(app, command).stdout
