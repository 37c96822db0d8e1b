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
from ablations.execution.compare import names_of
from ablations.report import comparison
from ablations.results.store import StoredResults

from ..studies import SMALL as SMALL_STUDY
from ..studies import run
from .pages import Page
from .studies import end_runs, make_metadata, make_results

NAMES = ("before", "after")


def changed(
    folder: Path, change: Callable[[pd.DataFrame], object], seeds: int = 8
) -> comparison.Comparison:
    """Results, and the same after a change of their losses."""
    before = make_results(folder, seeds=seeds)
    losses = before.runs["val_loss"] * np.asarray(change(before.runs), dtype=float)
    after = replace(before, runs=before.runs.assign(val_loss=losses))
    return comparison.compare(before, after, (make_metadata(), make_metadata()), NAMES)


def noise(runs: pd.DataFrame, size: float = 0.01) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(0, size, len(runs)))


def compared(before: StoredResults, after: StoredResults) -> comparison.Comparison:
    return comparison.compare(before, after, (make_metadata(), make_metadata()), NAMES)


def test_nothing_changed(tmp_path: Path) -> None:
    found = changed(tmp_path, lambda runs: np.ones(len(runs)))
    assert (found.pairs, found.identical) == (48, 48)
    assert comparison.sentences(found)[0].startswith("Nothing changed: all 48 pairs of runs")
    assert found.regressions == ()
    assert found.changed == {}


def test_noise_is_no_regression(tmp_path: Path) -> None:
    found = changed(tmp_path, noise)
    assert found.identical == 0
    assert found.regressions == ()
    assert "after is practically equal" in comparison.sentences(found)[0]


def test_worse_beyond_the_margin_is_a_regression_and_better_is_none(tmp_path: Path) -> None:
    found = changed(tmp_path, lambda runs: 1.1 * noise(runs))
    assert "over all pairs +10" in found.regressions[0]
    assert comparison.sentences(found)[0].startswith("after is worse: +10")
    assert found.overall["effect"].iloc[0] == pytest.approx(np.log(1.1), abs=0.01)
    assert not changed(tmp_path, lambda runs: 0.8 * noise(runs)).regressions
    assert not changed(tmp_path, lambda runs: 1.01 * noise(runs, 0.001)).regressions


@pytest.mark.parametrize(
    ("seeds", "size", "found"), [(1, 1.1, True), (3, 1.1, True), (3, 1.0, False)]
)
def test_few_seeds_are_judged_by_what_they_have(
    tmp_path: Path, seeds: int, size: float, found: bool
) -> None:
    worse = changed(tmp_path, lambda runs: size * noise(runs, 0.005), seeds=seeds)
    assert bool(worse.regressions) == found


def test_a_level_that_got_worse_alone_is_named(tmp_path: Path) -> None:
    def one_level(runs: pd.DataFrame) -> object:
        return np.where(runs["regularizer"] == "l1", 1.2, 1 / 1.2**0.5) * noise(runs)

    found = changed(tmp_path, one_level)
    assert [text.split(" +")[0] for text in found.regressions] == ["at regularizer l1"]
    row = found.by_level.set_index(["given", "given_level"]).loc[("regularizer", "l1")]
    assert row["effect"] == pytest.approx(np.log(1.2), abs=0.01)
    flipped = found.flipped.set_index("level")
    assert flipped.loc["l1", ["before", "after"]].tolist() == ["helps", "hurts"]
    assert "regularizer l1 from helps to hurts" in comparison.sentences(found)[1]


def test_runs_that_diverge_now_are_a_regression(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    after = end_runs(before, before.runs["norm"] == "layer", "diverged", "not finite")
    found = compared(before, after)
    assert found.regressions == ("24 runs diverged, 0 before",)
    assert found.endings.to_numpy().tolist() == [["ok", "diverged", 24]]
    assert compared(after, before).regressions == ()


def test_divergence_leads_and_is_never_called_equal(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    hit = before.runs["regularizer"] == "l1"
    found = compared(before, end_runs(before, hit, "diverged", "not finite"))
    said = comparison.sentences(found)
    assert said[0] == "after is worse: 16 runs diverged, 0 before."
    assert said[1].startswith("Where both survived it is practically equal: 0")
    assert "over the 32 of 48 pairs of runs of which both survived" in said[1]
    assert found.confined == (("regularizer", "l1"),)
    assert "All that changed is in runs with regularizer l1." in said
    # Its verdict is another one now, though none of its runs has a loss.
    row = found.flipped.set_index("level").loc["l1"]
    assert (row["before"], row["after"]) == ("helps", "hurts")


def test_a_level_is_not_blamed_for_what_another_changed(tmp_path: Path) -> None:
    hit = {"norm": "layer"}
    found = changed(tmp_path, lambda runs: np.where(runs["norm"] == "layer", 1.2, 1.0), seeds=6)
    assert found.confined == tuple(hit.items())
    named = [text for text in found.regressions if text.startswith("at ")]
    assert len(named) == 1
    assert named[0].startswith("at norm layer +20.0")
    # What is the same to the bit is no question of the family.
    by_level = found.by_level.set_index("given_level")
    assert np.isnan(by_level.loc["none", "p_adjusted"].iloc[-1])
    assert by_level.loc["layer", "p_adjusted"] <= 0.05


def test_settings_that_keep_runs_apart_are_named(tmp_path: Path) -> None:
    whole = make_results(tmp_path)
    other = whole.runs.assign(run_id=[f"{i:015x}z" for i in range(48)], lr=0.5)
    with pytest.raises(RequestError, match=r"no run in common.*lr: 0\.001 and 0\.5"):
        compared(whole, replace(whole, runs=other))


def test_runs_that_fail_now_are_a_regression(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    after = end_runs(before, before.runs["seed"] == 1, "failed", "RuntimeError: no memory")
    found = compared(before, after)
    assert found.regressions == ("6 runs failed that had not",)
    assert found.endings.to_numpy().tolist() == [["ok", "failed", 6]]
    assert compared(after, before).regressions == ()


def test_only_runs_of_both_are_compared_and_none_is_an_error(tmp_path: Path) -> None:
    whole = make_results(tmp_path)
    part = replace(whole, runs=whole.runs[whole.runs["seed"] < 6])
    found = compared(part, whole)
    assert (found.pairs, found.only) == (36, (0, 12))
    assert "12 only in after" in comparison.find_caveats(found)[0].text
    other = replace(whole, runs=whole.runs.assign(run_id=[f"{i:015x}z" for i in range(48)]))
    with pytest.raises(RequestError, match="has no run in common"):
        compared(whole, other)


def test_what_environments_differ_in_is_told(tmp_path: Path) -> None:
    before = make_results(tmp_path)
    newer: dict[str, dict[str, object]] = {"e1": {"python": "3.12", "cpu": {"cores": 2}}}
    found = compared(before, replace(before, environment=newer))
    assert found.changed == {"python": ("3.11", "3.12")}
    page = Page(comparison.render_comparison(found, make_metadata()))
    assert page.rows("environment")[0]["after"].text == "3.12"


def test_the_numbers_of_the_page_are_those_of_the_comparison(tmp_path: Path) -> None:
    found = changed(tmp_path, lambda runs: 1.1 * noise(runs))
    rows = Page(comparison.render_comparison(found, make_metadata())).rows("levels")
    assert [row["change of loss"].value for row in rows] == found.by_level["change"].tolist()
    assert len(rows) == 5


def test_the_command_compares_and_fails_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, worse = tmp_path / "before", tmp_path / "worse"
    axes = {"norm": ["none", "layer"], "lr": [1e-3]}
    study = Study(**(SMALL_STUDY | {"axes": axes, "seeds": 3}))
    run(study, before, jobs=1)
    run(study, worse, jobs=1)
    said = CliRunner().invoke(app, ["compare", str(before), str(worse), "--fail-on-regression"])
    assert said.exit_code == 0, said.output
    assert "Nothing changed" in said.stdout
    assert "Nothing changed" in (worse / "comparison.html").read_text()
    itself = CliRunner().invoke(app, ["compare", str(before), str(before)])
    assert itself.exit_code == 2
    assert "is compared with itself" in itself.stderr
    nowhere = CliRunner().invoke(app, ["compare", str(before), str(tmp_path / "nowhere")])
    assert nowhere.exit_code == 2
    load = answers.load

    def worse_by_a_tenth(folder: Path) -> answers.Results:
        found = load(folder)
        losses = found.runs["val_loss"] * (1.1 if folder == worse else 1.0)
        return replace(found, runs=found.runs.assign(val_loss=losses))

    monkeypatch.setattr(answers, "load", worse_by_a_tenth)
    page = tmp_path / "pages" / "page.html"
    words = ["compare", str(before), str(worse), "--out", str(page)]
    assert CliRunner().invoke(app, words).exit_code == 0
    failing = CliRunner().invoke(app, [*words, "--fail-on-regression"])
    assert failing.exit_code == 1
    assert "Worse, by estimates beyond the margin: over all pairs +10.0" in failing.stdout
    assert "Worse, by estimates beyond the margin" in page.read_text()


def test_folders_are_called_by_what_tells_them_apart() -> None:
    assert names_of(Path("/a/old/digits"), Path("/a/new/digits")) == ("old/digits", "new/digits")
    assert names_of(Path("/a/old"), Path("/a/new")) == ("old", "new")
