"""Two folders of results: what got worse, what flipped, what is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ablations import Study
from ablations.analysis import results as answers
from ablations.cli import app
from ablations.core.errors import RequestError
from ablations.execution.compare import distinct_names
from ablations.report.comparison import (
    Comparison,
    compare,
    find_caveats,
    write_sentences,
)
from ablations.report.comparison_page import build_comparison_forest, render_comparison
from ablations.results.store import StoredResults

from ..studies import SMALL as SMALL_STUDY
from ..studies import run
from .pages import Page
from .studies import end_runs, make_metadata, make_results, metadata_by, with_metrics

NAMES = ("before", "after")


def compare_changed(
    folder: Path, change: Callable[[pd.DataFrame], object], seeds: int = 8
) -> Comparison:
    """Results, and the same after a change of their losses."""
    before = make_results(folder, seeds=seeds)
    losses = before.runs["val_loss"] * np.asarray(change(before.runs), dtype=float)
    after = replace(before, runs=before.runs.assign(val_loss=losses))
    return compare(before, after, (make_metadata(), make_metadata()), NAMES)


def noise(runs: pd.DataFrame, size: float = 0.01) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(0, size, len(runs)))


def texts_of(comparison: Comparison) -> list[str]:
    return [sentence.text for sentence in write_sentences(comparison)]


def compare_pair(before: StoredResults, after: StoredResults) -> Comparison:
    return compare(before, after, (make_metadata(), make_metadata()), NAMES)


def test_nothing_changed(tmp_path: Path) -> None:
    comparison = compare_changed(tmp_path, lambda runs: np.ones(len(runs)))
    assert (comparison.pairs, comparison.identical) == (48, 48)
    assert texts_of(comparison)[0].startswith("Nothing changed: all 48 pairs of runs")
    assert comparison.regressions == ()
    assert comparison.changed == {}


def test_noise_is_no_regression(tmp_path: Path) -> None:
    comparison = compare_changed(tmp_path, noise)
    assert comparison.identical == 0
    assert comparison.regressions == ()
    assert "after is practically equal" in texts_of(comparison)[0]


def test_worse_beyond_the_margin_is_a_regression_and_better_is_none(tmp_path: Path) -> None:
    comparison = compare_changed(tmp_path, lambda runs: 1.1 * noise(runs))
    assert "over all pairs +10" in comparison.regressions[0]
    assert texts_of(comparison)[0].startswith("after is worse: validation loss +10")
    assert comparison.overall["effect"] == pytest.approx(np.log(1.1), abs=0.01)
    assert not compare_changed(tmp_path, lambda runs: 0.8 * noise(runs)).regressions
    assert not compare_changed(tmp_path, lambda runs: 1.01 * noise(runs, 0.001)).regressions


@pytest.mark.parametrize(
    ("seeds", "size", "is_regression"), [(1, 1.1, True), (3, 1.1, True), (3, 1.0, False)]
)
def test_few_seeds_are_judged_by_what_they_have(
    tmp_path: Path, seeds: int, size: float, is_regression: bool
) -> None:
    worse = compare_changed(tmp_path, lambda runs: size * noise(runs, 0.005), seeds=seeds)
    assert bool(worse.regressions) == is_regression


def test_a_level_that_got_worse_alone_is_named(tmp_path: Path) -> None:
    def one_level(runs: pd.DataFrame) -> object:
        return np.where(runs["regularizer"] == "l1", 1.2, 1 / 1.2**0.5) * noise(runs)

    comparison = compare_changed(tmp_path, one_level)
    assert [text.split(" +")[0] for text in comparison.regressions] == ["with l1"]
    row = comparison.by_level.set_index(["axis", "level"]).loc[("regularizer", "l1")]
    assert row["effect"] == pytest.approx(np.log(1.2), abs=0.01)
    flipped = comparison.flipped.set_index("level")
    assert flipped.loc["l1", ["before", "after"]].tolist() == ["helps", "hurts"]
    assert "l1 from “helps” to “hurts”" in texts_of(comparison)[1]


def test_the_largest_change_is_named_where_all_got_worse(tmp_path: Path) -> None:
    def most_with_layer_norm(runs: pd.DataFrame) -> object:
        return np.where(runs["norm"] == "layer", 1.32, 1.1) * noise(runs)

    texts = texts_of(compare_changed(tmp_path, most_with_layer_norm))
    assert texts[1].startswith("The largest change is with layer norm: validation loss +3")
    texts = texts_of(compare_changed(tmp_path, lambda runs: 1.01 * noise(runs, 0.001)))
    assert not any("largest change" in text for text in texts)


def test_a_place_without_a_technique_is_no_raw_level(tmp_path: Path) -> None:
    comparison = compare_changed(
        tmp_path, lambda runs: np.where(runs["norm"] == "none", 1.2, 1.0) * noise(runs)
    )
    places = [text.split(" +")[0] for text in comparison.regressions]
    assert places == [
        "over all pairs",
        "without a regularizer",
        "with l1",
        "with dropout (p 0.5, 0.2)",
        "without a norm",
    ]


def test_runs_that_diverge_now_are_a_regression(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    after = end_runs(before, before.runs["norm"] == "layer", "diverged", "not finite")
    comparison = compare_pair(before, after)
    assert comparison.regressions == ("24 runs diverged, 0 before",)
    assert comparison.endings.to_numpy().tolist() == [["ok", "diverged", 24]]
    assert compare_pair(after, before).regressions == ()


def test_divergence_leads_and_is_never_called_equal(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    hit = before.runs["regularizer"] == "l1"
    comparison = compare_pair(before, end_runs(before, hit, "diverged", "not finite"))
    texts = texts_of(comparison)
    assert texts[0] == "after is worse: 16 runs diverged, 0 before."
    assert texts[1].startswith("Where both survived it is practically equal: ")
    assert "over 32 of 48 pairs of runs and 8 seeds" in texts[1]
    assert comparison.confined == (("regularizer", "l1"),)
    assert "All that changed is in runs with l1." in texts
    # Its verdict is another one now, though none of its runs has a loss.
    row = comparison.flipped.set_index("level").loc["l1"]
    assert (row["before"], row["after"]) == ("helps", "hurts")


def test_a_level_is_not_blamed_for_what_another_changed(tmp_path: Path) -> None:
    hit = {"norm": "layer"}
    comparison = compare_changed(
        tmp_path, lambda runs: np.where(runs["norm"] == "layer", 1.2, 1.0), seeds=6
    )
    assert comparison.confined == tuple(hit.items())
    at_levels = [text for text in comparison.regressions if text.startswith("with ")]
    assert len(at_levels) == 1
    assert at_levels[0].startswith("with layer norm +20.0")
    # What is the same to the bit is no question of the family.
    by_level = comparison.by_level.set_index("level")
    assert np.isnan(by_level.loc["none", "p_adjusted"].iloc[-1])
    assert by_level.loc["layer", "p_adjusted"] <= 0.05


def test_settings_that_keep_runs_apart_are_named(tmp_path: Path) -> None:
    complete = make_results(tmp_path)
    other = complete.runs.assign(run_id=[f"{i:015x}z" for i in range(48)], lr=0.5)
    with pytest.raises(RequestError, match=r"no run in common.*lr: 0\.001 and 0\.5"):
        compare_pair(complete, replace(complete, runs=other))


def test_runs_that_fail_now_are_a_regression(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    after = end_runs(before, before.runs["seed"] == 1, "failed", "RuntimeError: no memory")
    comparison = compare_pair(before, after)
    assert comparison.regressions == ("6 runs failed that had not",)
    assert comparison.endings.to_numpy().tolist() == [["ok", "failed", 6]]
    assert compare_pair(after, before).regressions == ()


def test_only_runs_of_both_are_compared_and_none_is_an_error(tmp_path: Path) -> None:
    complete = make_results(tmp_path)
    subset = replace(complete, runs=complete.runs[complete.runs["seed"] < 6])
    comparison = compare_pair(subset, complete)
    assert (comparison.pairs, comparison.only) == (36, (0, 12))
    assert "12 only in after" in find_caveats(comparison)[0].text
    other = replace(complete, runs=complete.runs.assign(run_id=[f"{i:015x}z" for i in range(48)]))
    with pytest.raises(RequestError, match="has no run in common"):
        compare_pair(complete, other)


def test_what_environments_differ_in_is_told(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    newer: dict[str, dict[str, object]] = {"e1": {"python": "3.12", "cpu": {"cores": 2}}}
    comparison = compare_pair(before, replace(before, environment=newer))
    assert comparison.changed == {"python": ("3.11", "3.12")}
    page = Page(render_comparison(comparison, make_metadata()))
    assert page.rows("environment")[0]["after"].text == "3.12"


def test_the_numbers_of_the_page_are_those_of_the_comparison(tmp_path: Path) -> None:
    comparison = compare_changed(tmp_path, lambda runs: 1.1 * noise(runs))
    rows = Page(render_comparison(comparison, make_metadata())).rows("levels")
    assert [row["change of validation loss"].value for row in rows] == comparison.by_level[
        "change"
    ].tolist()
    assert len(rows) == 5


def test_the_forest_shows_the_change_over_all_runs_and_at_each_level(tmp_path: Path) -> None:
    comparison = compare_changed(
        tmp_path, lambda runs: np.where(runs["norm"] == "layer", 1.2, 1.0) * noise(runs)
    )
    forest = build_comparison_forest(comparison, make_metadata())
    rows = {row.id: row for row in forest.rows}
    strips = {name: row.strips["outcome"] for name, row in rows.items()}
    assert strips["row-all-runs-all-pairs"].value == comparison.overall["change"]
    by_level = comparison.by_level.set_index(["axis", "level"])
    layer = strips["row-norm-layer"]
    change = by_level.loc[("norm", "layer")]
    assert (layer.value, layer.low, layer.high) == (
        change["change"],
        change["change_low"],
        change["change_high"],
    )
    assert (rows["row-norm-layer"].verdict, rows["row-norm-none"].verdict) == (
        "worse",
        "practically equal",
    )
    assert len(rows) == 6


def test_the_command_compares_and_fails_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, worse = tmp_path / "before", tmp_path / "worse"
    axes = {"norm": ["none", "layer"], "lr": [1e-3]}
    study = Study(**(SMALL_STUDY | {"axes": axes, "seeds": 3}))
    run(study, before, jobs=1)
    run(study, worse, jobs=1)
    outcome = CliRunner().invoke(app, ["compare", str(before), str(worse), "--fail-on-regression"])
    assert outcome.exit_code == 0, outcome.output
    assert "Nothing changed" in outcome.stdout
    assert "Nothing changed" in (worse / "comparison.html").read_text()
    itself = CliRunner().invoke(app, ["compare", str(before), str(before)])
    assert itself.exit_code == 2
    assert "is compared with itself" in itself.stderr
    nowhere = CliRunner().invoke(app, ["compare", str(before), str(tmp_path / "nowhere")])
    assert nowhere.exit_code == 2
    load = answers.load

    def worse_by_a_tenth(folder: Path) -> answers.Results:
        loaded = load(folder)
        losses = loaded.runs["val_loss"] * (1.1 if folder == worse else 1.0)
        return replace(loaded, runs=loaded.runs.assign(val_loss=losses))

    monkeypatch.setattr(answers, "load", worse_by_a_tenth)
    page = tmp_path / "pages" / "page.html"
    words = ["compare", str(before), str(worse), "--out", str(page)]
    assert CliRunner().invoke(app, words).exit_code == 0
    failing = CliRunner().invoke(app, [*words, "--fail-on-regression"])
    assert failing.exit_code == 1
    assert "Worse, by estimates beyond the margin: over all pairs +10.0" in failing.stdout
    assert "Worse, by estimates beyond the margin" in page.read_text()


def test_folders_are_called_by_what_tells_them_apart() -> None:
    assert distinct_names(Path("/a/old/digits"), Path("/a/new/digits")) == (
        "old/digits",
        "new/digits",
    )
    assert distinct_names(Path("/a/old"), Path("/a/new")) == ("old", "new")


def test_a_metric_is_worse_where_it_is_lower(tmp_path: Path) -> None:
    before, metadata = with_metrics(tmp_path), metadata_by("f1_macro")
    page = {}
    for word, factor in (("worse", 0.8), ("better", 1.2)):
        runs = before.runs.assign(f1_macro=before.runs["f1_macro"] * factor)
        after = replace(before, runs=runs)
        comparison = compare(before, after, (metadata, metadata), NAMES)
        assert comparison.verdict == f"is {word}"
        assert bool(comparison.regressions) == (word == "worse")
        assert comparison.identical == 0  # though no loss has changed
        (text, *_) = texts_of(comparison)
        assert text.startswith(f"after is {word}: f1_macro ")
        page[word] = Page(render_comparison(comparison, metadata))
        change = (factor - 1) * before.runs["f1_macro"].mean()
        assert comparison.overall["effect"] == pytest.approx(change)
    row = page["worse"].rows("levels")[0]
    assert row["change of f1_macro"].text.startswith("\N{MINUS SIGN}0.1")
    assert "better \N{RIGHTWARDS ARROW}" in page["worse"].words


def test_a_folder_without_the_outcome_is_refused(tmp_path: Path) -> None:
    before, metadata = with_metrics(tmp_path), metadata_by("f1_macro")
    after = replace(before, runs=before.runs.drop(columns="f1_macro"))
    with pytest.raises(RequestError, match="no run of this folder recorded 'f1_macro'"):
        compare(before, after, (metadata, metadata), NAMES)
