"""metadata.json: what is written is read, with its types, and nothing else is believed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ablations import RequestError
from ablations.core.files import write_sealed_json
from ablations.results.metadata import (
    METADATA_FILE,
    Published,
    StudyMetadata,
    load_metadata,
    save_metadata,
)

METADATA = StudyMetadata(
    study="small",
    description="Noise from noise \N{EN DASH} by an MLP.",
    axes=("norm", "width", "lr", "bias"),
    controls={"norm": "none", "width": 64, "lr": 1e-3, "bias": True},
    levels={
        "norm": ("none", "layer"),
        "width": (64, 128),
        "lr": (1e-3, 1.0),
        "bias": (True, False),
    },
    captions={"norm": {"none": "No norm.", "layer": "Ba et al., 2016."}},
    cautions=("Targets are noise.",),
    metric_name="r2",
    higher_is_better=True,
    published=(Published("book", {"norm": "none", "width": 64}, (1.0, 0.5)),),
    margin=0.02,
    command="ablations run study.toml --out .",
    looks=(7, 14),
    alpha=0.025,
    tune_over=("lr",),
    badges=("noise targets",),
    costless=("init", "lr"),
    other_runs=("0" * 20,),
)


def test_metadata_come_back_with_their_types(tmp_path: Path) -> None:
    save_metadata(tmp_path, METADATA)
    loaded = load_metadata(tmp_path)
    assert loaded == METADATA
    assert loaded is not None
    levels = [level for axis in loaded.levels.values() for level in axis]
    expected = [level for axis in METADATA.levels.values() for level in axis]
    assert list(map(type, levels)) == list(map(type, expected))
    assert isinstance(loaded.published[0], Published)


def test_a_folder_of_an_earlier_version_has_no_metadata(tmp_path: Path) -> None:
    assert load_metadata(tmp_path) is None


def write(folder: Path, **changes: Any) -> None:
    """Metadata with other values, sealed as the writer seals them; None drops a key."""
    content = {"schema": 1, **asdict(METADATA), **changes}
    remaining = {key: value for key, value in content.items() if value is not None}
    write_sealed_json(folder / METADATA_FILE, remaining)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("axes", None),
        ("axes", "norm"),
        ("axes.1", ["norm", 3]),
        ("controls", None),
        ("controls.norm", {"norm": ["none"]}),
        ("levels.lr.0", {"lr": [{"a": 1}]}),
        ("captions.norm.none", {"norm": {"none": 1}}),
        ("margin", 2.0),
        ("margin", float("nan")),
        ("margin", "0.02"),
        ("alpha", 0),
        ("higher_is_better", 1),
        ("looks.0", ["seven"]),
        ("published.0.objective", [{"label": "x", "where": {}}]),
        ("published.0.objective.0", [{"label": "x", "where": {}, "objective": ["low"]}]),
        ("other_runs", 7),
    ],
)
def test_wrong_content_is_one_error_that_names_file_and_key(
    tmp_path: Path, key: str, value: Any
) -> None:
    write(tmp_path, **{key.partition(".")[0]: value})
    with pytest.raises(RequestError) as error:
        load_metadata(tmp_path)
    assert error.value.source == str(tmp_path / METADATA_FILE)
    assert error.value.key.startswith(key)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '"check"', "{}", "[" * 100_000, '{"a":' * 100_000, '{"check": 1}', "\udcff"],
)
def test_what_is_no_sealed_object_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / METADATA_FILE
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RequestError, match=r"metadata\.json"):
        load_metadata(tmp_path)


def test_a_changed_value_breaks_the_seal(tmp_path: Path) -> None:
    save_metadata(tmp_path, METADATA)
    path = tmp_path / METADATA_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"margin": 0.5}), encoding="utf-8")
    with pytest.raises(RequestError, match="was changed since it was written"):
        load_metadata(tmp_path)
