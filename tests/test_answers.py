"""A results folder that is asked: the same answers as the analysis gives by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations import RequestError, Study, pipeline
from ablations.cli import Question, app
from ablations.report.export import FORMATS

from .studies import SMALL, run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ablations.Results:
    study = Study(**(SMALL | {"seeds": 7}))
    return run(study, tmp_path_factory.mktemp("asked") / "out", jobs=1)


def test_effects_are_those_of_the_report_with_the_seeds_that_are_missing(
    results: ablations.Results,
) -> None:
    study = Study.from_toml(results.folder / "study.toml")
    theirs = pipeline.effects(study, results).effects
    ours = results.effects()
    pd.testing.assert_frame_equal(ours[theirs.columns], theirs)
    undecided = ours["verdict"] == "not enough evidence"
    assert (ours.loc[~undecided, "more"] == 0).all()
    assert results.verdicts()["verdict"].tolist() == theirs["verdict"].tolist()


def test_each_question_has_a_table(results: ablations.Results) -> None:
    again = ablations.load(results.folder)
    shares = again.importance()
    assert shares["eta2"].sum() == pytest.approx(1)
    assert {"regularizer", "norm", "regularizer × norm", "blocks"} <= set(shares["source"])
    both = again.interactions()
    assert both["double"].notna().sum() == 1
    top = again.ranking(3)
    assert top["place"].tolist() == [1, 2, 3]
    best = again.winner()
    levels = ["regularizer", "norm"]
    assert best[levels].to_numpy().tolist() == top.loc[:0, levels].to_numpy().tolist()
    assert best["candidates"].tolist() == [4]
    assert best[["change_low", "change", "change_high"]].notna().all(axis=None)
    assert again.aliases().empty
    assert len(again.simple_effects()) == 4
    looked_up = again.one_factor(full={"regularizer": "dropout", "norm": "batch"})
    assert looked_up["view"].value_counts().to_dict() == {"control plus": 2, "full minus": 2}
    assert (again.divergence()["only_level"] == 0).all()


def test_another_outcome_has_its_own_direction(results: ablations.Results) -> None:
    by_metric = results.effects("metric")
    better = by_metric["effect"] > 0
    assert ((by_metric["better"] > 0.5) == better)[by_metric["better"] != 0.5].all()
    seconds = results.effects("train_seconds")
    assert seconds["change"].notna().all()
    with pytest.raises(RequestError, match="did you mean 'val_loss'"):
        results.effects("validation_loss")


def test_a_technique_is_judged_at_its_own_learning_rate(tmp_path: Path) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    results = run(Study(**(SMALL | {"seeds": 6, "axes": axes})), tmp_path, jobs=1)
    table = results.effects(tune_over=["lr"])
    assert table["axis"].tolist() == ["norm"]
    assert (table["seeds"].iloc[0], table["cells"].iloc[0]) == (6, 1)
    words = ["effects", str(tmp_path), "--tune-over", "lr", "--format", "json"]
    assert len(json.loads(CliRunner().invoke(app, words).stdout)) == 1
    with pytest.raises(RequestError, match="there is no axis 'rate'"):
        results.effects(tune_over=["rate"])


def test_a_study_can_say_that_it_is_tuned_over(tmp_path: Path) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    study = Study(**(SMALL | {"seeds": 6, "axes": axes, "tune_over": ["lr"]}))
    assert Study(**study.as_dict()) == study
    results = run(study, tmp_path, jobs=1, with_report=True)
    assert results.effects()["axis"].tolist() == ["norm"]
    assert results.effects(tune_over=[])["axis"].tolist() == ["norm", "lr"]
    told = pipeline.effects(study, results)
    pd.testing.assert_frame_equal(told.effects, results.effects())
    page = (tmp_path / "report.html").read_text()
    said = "judged at its best lr, chosen on one half of the seeds and reported on the other"
    assert said in page
    again = ablations.load(tmp_path)
    assert again.effects()["n"].tolist() == [6]
    for question in ("interactions", "one_factor", "ranking", "winner", "importance", "aliases"):
        table = getattr(again, question)()
        assert "lr" not in table.columns
        assert not table.astype(str).isin(["lr"]).to_numpy().any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tune_over": ["rate"]}, "'rate' is no axis of several levels here"),
        ({"tune_over": ["init"]}, "'init' is no axis of several levels here"),
        ({"tune_over": "lr"}, "expected a list of axes"),
        ({"tune_over": ["lr"], "seeds": 1}, "at least two seeds"),
    ],
)
def test_what_cannot_be_tuned_over_is_said(wrong: dict[str, object], said: str) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    with pytest.raises(RequestError, match=said):
        Study(**(SMALL | {"axes": axes} | wrong))


def test_the_command_answers_every_question(results: ablations.Results) -> None:
    folder = str(results.folder)
    for question in Question:
        asked = getattr(results, question.replace("-", "_"))()
        done = CliRunner().invoke(app, ["effects", folder, "--of", question, "--format", "json"])
        assert done.exit_code == 0, done.output
        assert [*map(str, asked.columns)] == [*(json.loads(done.stdout) or [asked])[0]]
        shown = CliRunner().invoke(app, ["effects", folder, "--of", question])
        assert shown.exit_code == 0, shown.output
        if question not in ("verdicts", "aliases"):
            assert "procedure: " in " ".join(shown.stdout.split())


def test_the_command_writes_every_format(results: ablations.Results) -> None:
    table = results.effects()
    folder = str(results.folder)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["effects", folder, *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    rows = list(csv.DictReader(io.StringIO(said("--format", "csv"))))
    assert [float(row["effect"]) for row in rows] == table["effect"].tolist()
    objects = json.loads(said("--format", "json"))
    assert [found["p"] for found in objects] == table["p"].tolist()
    assert said("--format", "markdown").startswith("| axis | level | control |")
    assert r"\toprule" in said("--format", "latex")
    assert "dropout" in said()
    refused = CliRunner().invoke(app, ["effects", folder, "--outcome", "loss"])
    assert refused.exit_code == 2
    assert "there is no column 'loss'" in refused.stderr


def test_names_that_people_choose_stay_text_in_every_format(tmp_path: Path) -> None:
    name = "=HYPERLINK(1)|a_b & <b>"
    table = pd.DataFrame({"level": [name, "-x", "plain"], "effect": [-0.5, np.nan, np.inf]})
    (first, second, third) = csv.DictReader(io.StringIO(FORMATS["csv"](table)))
    assert (first["level"], second["level"], third["level"]) == (f"'{name}", "'-x", "plain")
    assert first["effect"] == "-0.5"
    assert json.loads(FORMATS["json"](table))[1] == {"level": "-x", "effect": None}
    assert r"\|a_b" in FORMATS["markdown"](table)
    assert r"a\_b \& <b>" in FORMATS["latex"](table)
    assert all(len(line.split(" | ")) == 2 for line in FORMATS["markdown"](table).splitlines())
