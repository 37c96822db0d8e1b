"""The sources of chance that follow the seed, which a study chooses one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import RequestError, Study
from ablations.core.random import SOURCES, StackedStreams, Streams
from ablations.execution.metadata import study_metadata
from ablations.models.base import initialise_network
from ablations.study.configuration import Configuration, Run
from ablations.study.expand import expand
from ablations.training import loop
from ablations.training.fused import trainer

from ..studies import run


def study(*vary: str, **settings: Any) -> Study:
    fields = {"task": "digits", "batch_size": 256, "epochs": 2, "seeds": 3} | settings
    return Study(**fields, axes={"regularizer": ["dropout"]}, vary=list(vary))


def draws(configuration: Configuration, seed: int) -> dict[str, torch.Tensor]:
    """Return numbers of a run that follow each source."""
    streams = configuration.streams(seed)
    return {
        "split": configuration.task.data(streams).x_val,
        "init": initialise_network(configuration, streams).state_dict()["hidden1.weight"],
        "order": streams.permutation(100, "order", 1),
        "noise": streams.lanes((100,), "dropout/1", 3),
    }


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_listed_sources_follow_the_seed_and_the_rest_uses_seed_0(source: str) -> None:
    (configuration,) = study(source).configurations
    (usual,) = study(*SOURCES).configurations
    zero, first = draws(configuration, 0), draws(configuration, 1)
    usual_zero, usual_first = draws(usual, 0), draws(usual, 1)
    for name in SOURCES:
        assert torch.equal(zero[name], usual_zero[name])
        assert torch.equal(first[name], zero[name]) == (name != source)
        assert torch.equal(first[name], usual_first[name]) == (name == source)


def test_streams_of_many_seeds_are_those_of_each() -> None:
    fixed = ("noise", "order")
    streams = StackedStreams((3, 5), fixed=fixed)
    for purpose in ("dropout/2", "init/x", "order"):
        each = torch.stack([Streams(seed, fixed).lanes((7,), purpose, 2) for seed in (3, 5)])
        assert torch.equal(streams.lanes((7,), purpose, 2), each)


@pytest.mark.parametrize("source", SOURCES)
def test_fused_is_the_loop(source: str) -> None:
    runs = [Run(study(source, dtype="float64").configurations[0], seed) for seed in range(3)]
    losses = []
    for result in trainer.train(runs, 8):
        judge = loop.train(result.run)
        losses.append(judge.curve[-1].val_loss)
        assert result.curve[-1].val_loss == pytest.approx(losses[-1], rel=1e-9)
    assert len(set(losses)) == 3


def test_vary_is_stored_reported_and_part_of_a_run(tmp_path: Path) -> None:
    restricted, usual = study("init", "noise"), study(*SOURCES)
    assert Study(**restricted.plain()) == restricted
    assert "vary" not in usual.plain()
    assert expand(usual).runs[0].run_id == expand(study(*reversed(SOURCES))).runs[0].run_id
    assert expand(restricted).runs[0].run_id != expand(usual).runs[0].run_id
    metadata = study_metadata(restricted)
    assert "not all varies" in metadata.badges
    assert metadata.cautions == (
        "All seeds share the split of the data and the order of the rows: the intervals say "
        "nothing of others.",
    )
    run(restricted, tmp_path / "out", engine="loop")
    with pytest.raises(RequestError, match="in which seeds vary init, noise, not split, init, ord"):
        run(usual, tmp_path / "out")


@pytest.mark.parametrize(
    ("vary", "settings", "message"),
    [
        ("noise", {}, "'noise' alone changes nothing with regularizer none"),
        ("order", {"batch_size": "full", "regularizer": ["dropout"]}, "'order' alone changes"),
    ],
)
def test_seeds_that_would_all_be_one_run_are_refused(
    vary: str, settings: dict[str, Any], message: str
) -> None:
    axes = {"regularizer": settings.pop("regularizer", ["none", "dropout"])}
    with pytest.raises(RequestError, match=message):
        Study(task="notebook", seeds=5, vary=[vary], axes=axes, **settings)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ([], "vary: something must vary"),
        (["splits"], "unknown source of chance 'splits'; did you mean 'split'"),
        ("seed", "unknown source of chance 'seed'"),
        ([3], "unknown source of chance 3"),
    ],
)
def test_an_unknown_source_is_refused(vary: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Study(task="notebook", vary=vary)
