"""What the explorer is given: all configurations and runs, the same numbers, in little space."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis.posterior import MIN_NODES
from ablations.core.splits import split_seed
from ablations.report import explorer as explorers
from ablations.report.data import ReportData, build_report_data
from ablations.report.explorer import SHADES, Explorer, build_explorer
from ablations.results.metadata import Judging, StudyMetadata
from ablations.results.store import StoredResults

from .studies import SMALL, end_runs, make_metadata, make_results, metadata_by, with_metrics


def unpack(text: str, dtype: str = "<f8") -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


@dataclass
class Explored:
    """What the explorer shows, read back from its JSON."""

    data: ReportData
    explorer: Explorer
    content: dict[str, Any]

    @property
    def levels(self) -> list[tuple[str, ...]]:
        """The levels of each configuration."""
        places = unpack(self.content["levels"], "<u1").reshape(-1, self.content["size"])
        names = [axis["levels"] for axis in self.content["axes"]]
        return [tuple(levels[i] for levels, i in zip(names, row, strict=True)) for row in places.T]

    @property
    def curves(self) -> npt.NDArray[Any]:
        """The points of each curve."""
        low, high = self.content["curve_range"]
        steps = unpack(self.content["curves"], "<u2").reshape(-1, len(self.content["epochs"]))
        values = np.where(steps < 65535, low + steps / 65534 * (high - low), np.nan)
        return np.exp(values) if self.content["curve_log"] else values

    @property
    def runs(self) -> pd.DataFrame:
        """The runs, with the place of the configuration of each."""
        content, width = self.content, self.content["width"]
        ids = [content["ids"][i : i + width] for i in range(0, len(content["ids"]), width)]
        places = content["seed"] and unpack(content["seed"], "<u2")
        if places is None:
            places = np.arange(len(ids)) % len(content["seeds"])
        return pd.DataFrame(
            {
                "run_id": ids,
                "configuration": np.repeat(np.arange(content["size"]), content["sizes"]),
                "seed": np.array(content["seeds"])[places],
                "status": list(content["status"] or "o" * len(ids)),
                "value": unpack(content["values"]),
                "score": unpack(content["scores"]),
            }
        )


def explore(results: StoredResults, metadata: StudyMetadata | None = None) -> Explored:
    data = build_report_data(results, metadata or make_metadata())
    explorer = build_explorer(data)
    return Explored(data, explorer, json.loads(explorer.json))


def test_every_run_is_there_with_its_levels_and_numbers(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    selection = (results.runs["norm"] == "layer") & (results.runs["seed"] == 2)
    explored = explore(end_runs(results, selection, "diverged", "not finite"))
    runs = explored.runs.merge(results.runs, on="run_id", suffixes=("", "_stored"))
    assert len(runs) == len(explored.runs) == len(results.runs) == 48
    levels = [explored.levels[i] for i in runs["configuration"]]
    assert levels == list(zip(runs["regularizer"], runs["norm"], strict=True))
    assert runs["seed"].tolist() == runs["seed_stored"].tolist()
    bad = (runs["norm"] == "layer") & (runs["seed"] == 2)
    assert runs["status"].tolist() == np.where(bad, "d", "o").tolist()
    assert runs["value"][bad].isna().all()
    assert runs["value"][~bad].tolist() == runs["val_loss"][~bad].tolist()
    assert runs["score"][~bad].tolist() == runs["metric"][~bad].tolist()
    assert explored.content["epochs"] == [1, 2, 3, 4, 5]
    ends = explored.curves[~bad, -1]
    assert ends == pytest.approx(runs["val_loss"][~bad].to_numpy(), rel=1e-4)
    assert np.isnan(explored.curves[bad]).all()


def test_the_numbers_are_those_of_the_analysis(tmp_path: Path) -> None:
    explored = explore(make_results(tmp_path))
    table = explored.data.configurations
    assert explored.levels == list(zip(table["regularizer"], table["norm"], strict=True))
    for name in ("mean", "low", "high", "metric", "metric_low", "metric_high", "seconds"):
        assert unpack(explored.content[name]).tolist() == table[name].tolist()
    assert [axis["control"] for axis in explored.content["axes"]] == [0, 0]


def test_what_is_regular_takes_no_space(tmp_path: Path) -> None:
    content = explore(make_results(tmp_path)).content
    assert (content["seed"], content["status"], content["splits"]) == (None, "", None)


def test_a_large_study_has_means_of_curves_and_short_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorers, "MOST_CURVES", 100)
    monkeypatch.setattr(explorers, "WHOLE_IDS", 10)
    results = make_results(tmp_path, epochs=30)
    explored = explore(results)
    assert explored.explorer.curves == "means over seeds"
    assert explored.content["width"] < 16
    assert explored.runs["run_id"].nunique() == 48
    epochs = explored.content["epochs"]
    assert (len(epochs), epochs[0], epochs[-1]) == (explorers.MOST_POINTS, 1, 30)
    means = np.exp(
        np.log(results.runs["val_loss"]).groupby([results.runs[n] for n in SMALL]).mean()
    )
    expected = [means[level] for level in explored.levels]
    assert explored.curves[:, -1] == pytest.approx(expected, rel=1e-4)


def test_a_huge_study_has_numbers_of_four_bytes_and_no_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_CURVES", "MOST_MEANS", "MOST_EXACT"):
        monkeypatch.setattr(explorers, name, 5)
    explored = explore(make_results(tmp_path, seeds=1))
    content = explored.content
    assert (explored.explorer.curves, content["curves"], content["exact"]) == ("none", "", False)
    means = explored.data.configurations["mean"].to_numpy(dtype="f4")
    assert unpack(content["mean"], "<f4").tolist() == means.tolist()
    assert content["low"] == ""  # of one seed there are no intervals


def test_seeds_that_share_a_split_come_with_what_their_interval_needs(tmp_path: Path) -> None:
    results = make_results(tmp_path, seeds=14)
    results.runs["split"] = results.runs["seed"].map(split_seed)
    judging = Judging(20, 0.25, is_fixed=False, is_likelihood=True, classification=False)
    content = explore(results, make_metadata(judging=judging)).content
    assert content["overlap"] == 0.25
    assert content["splits"][:4] == content["splits"][10:]
    assert len(set(content["splits"][:10])) == 10
    assert [len(values) for values in content["nodes"]] == [MIN_NODES, MIN_NODES]
    tail = (1 - content["confidence"]) / 2
    assert content["t"] == pytest.approx(-stats.t.ppf(tail, np.arange(1, 14)))


def test_no_name_ends_the_script(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {"norm": ("none", "</script><script>alert(1)//")}
    explored = explore(make_results(tmp_path, axes), make_metadata(axes))
    assert "<" not in explored.explorer.json
    assert explored.content["axes"][0]["levels"][1].startswith("</script>")


def test_a_metric_as_outcome_is_what_the_explorer_shows(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    explored = explore(results, metadata_by("f1_macro"))
    explorer, content = explored.explorer, explored.content
    assert (explorer.outcome, explorer.second) == ("f1_macro", "test loss")
    assert content["outcome"] == {"name": "f1_macro", "column": "f1_macro"}
    assert (content["higher"], content["scale"]) == (True, "difference")
    assert (content["second"]["higher"], content["second"]["scale"]) == (False, "log")
    runs = explored.runs.merge(results.runs, on="run_id")
    assert runs["value"].tolist() == runs["f1_macro"].tolist()
    assert runs["score"].tolist() == runs["test_loss"].tolist()
    means = unpack(content["mean"]).tolist()
    assert means == sorted(means, reverse=True)


def test_runs_without_a_metric_have_no_second_number(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    results.runs["metric"] = np.nan
    explored = explore(results)
    assert (explored.explorer.second, explored.content["second"]) == ("", None)


def luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("scheme", "paper"), [("light", "#ffffff"), ("dark", "#14171b")])
def test_every_shade_stands_out_and_all_go_one_way(scheme: str, paper: str) -> None:
    lights = [luminance(shade) for shade in SHADES[scheme]]
    for light in lights:
        darker, lighter = sorted((light, luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) >= 3
    assert lights == sorted(lights, reverse=scheme == "dark")
