"""What the explorer is told: all configurations and runs, the same numbers, in little space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.report import explorer as explorers
from ablations.report.data import build_report_data
from ablations.report.explorer import Explorer, build_explorer
from ablations.results.store import StoredResults

from .studies import SMALL, end_runs, make_metadata, make_results, metadata_by, with_metrics


def explore(
    results: StoredResults, axes: dict[str, Any] = SMALL
) -> tuple[Explorer, dict[str, Any]]:
    metadata = make_metadata(axes)
    explorer = build_explorer(build_report_data(results, metadata))
    return explorer, json.loads(explorer.json)


def test_every_run_is_there_with_its_levels_and_numbers(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    selection = (results.runs["norm"] == "layer") & (results.runs["seed"] == 2)
    results = end_runs(results, selection, "diverged", "not finite")
    _, data = explore(results)
    runs, at = results.runs.set_index("run_id"), 0
    for row, size in zip(data["configurations"], data["sizes"], strict=True):
        levels = [all_[row[i]] for i, (_, all_) in enumerate(data["axes"])]
        for _ in range(size):
            run = runs.loc[data["ids"][16 * at : 16 * at + 16]]
            assert [run["regularizer"], run["norm"]] == levels
            assert (
                data["seeds"][at % 8 if data["seed"] is None else data["seed"][at]] == run["seed"]
            )
            assert {"o": "ok", "d": "diverged"}[data["status"][at]] == run["status"]
            if run["status"] == "ok":
                assert data["loss"][at] == pytest.approx(run["val_loss"], rel=1e-4)
                assert data["curves"][at][-1] == pytest.approx(run["val_loss"], rel=1e-4)
            else:
                assert data["loss"][at] is None
            at += 1
    assert at == len(runs) == 48
    assert data["epochs"] == [1, 2, 3, 4, 5]


def test_what_is_regular_takes_no_space(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    _, data = explore(results)
    assert data["seed"] is None
    assert data["status"] == ""


def test_a_large_study_has_means_of_curves_and_short_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorers, "MOST_CURVES", 100)
    monkeypatch.setattr(explorers, "WHOLE_IDS", 10)
    results = make_results(tmp_path, epochs=30)
    explorer, data = explore(results)
    assert explorer.curves == "means over seeds"
    assert data["width"] < 16
    assert (
        len({data["ids"][i : i + data["width"]] for i in range(0, len(data["ids"]), data["width"])})
        == 48
    )
    assert len(data["curves"]) == 6
    assert data["epochs"][0] == 1
    assert data["epochs"][-1] == 30
    assert len(data["epochs"]) == explorers.POINTS
    last = results.runs.groupby(list(SMALL))["val_loss"].mean()
    levels = [
        tuple(all_[row[i]] for i, (_, all_) in enumerate(data["axes"]))
        for row in data["configurations"]
    ]
    assert [curve[-1] for curve in data["curves"]] == pytest.approx(
        [last[level] for level in levels], rel=1e-3
    )


def test_no_name_ends_the_script(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", "</script><script>alert(1)//")}
    explorer, data = explore(make_results(tmp_path, axes), axes)
    assert "<" not in explorer.json
    assert data["axes"][0][1][1].startswith("</script>")
    assert np.isfinite([row[1] for row in data["configurations"]]).all()


def test_a_metric_as_outcome_is_what_the_explorer_shows_and_sorts(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    explorer = build_explorer(build_report_data(results, metadata_by("f1_macro")))
    data = json.loads(explorer.json)
    assert (explorer.outcome, explorer.second) == ("f1_macro", "test loss")
    assert (data["outcome"], data["column"], data["descending"]) == ("f1_macro", "f1_macro", True)
    runs = results.runs.set_index("run_id")
    ids = [data["ids"][i : i + 16] for i in range(0, len(data["ids"]), 16)]
    assert data["loss"] == pytest.approx(runs.loc[ids, "f1_macro"].tolist(), rel=1e-4)
    means = [row[len(data["axes"])] for row in data["configurations"]]
    assert means == sorted(means, reverse=True)
    losses = [row[len(data["axes"]) + 3] for row in data["configurations"]]
    by_cell = results.runs.groupby(list(SMALL))["test_loss"].mean().sort_values(ascending=False)
    assert losses == pytest.approx(by_cell.tolist(), rel=1e-4)
    ends = [curve[-1] for curve in data["curves"]]
    assert ends == pytest.approx(runs.loc[ids, "val_loss"].tolist(), rel=1e-4)
