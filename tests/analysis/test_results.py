"""A results folder that is asked: the same answers as the analysis gives by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations import RequestError, Study
from ablations.analysis.results import Results
from ablations.cli import Question, app
from ablations.execution.run import compare_levels
from ablations.report.formatting import format_percent, name_outcome
from ablations.report.page import write_report
from ablations.report.precision import MINUS
from ablations.report.render import FORMATS
from ablations.report.summary import summarise

from ..report.studies import make_metadata, make_results
from ..studies import SMALL, run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ablations.Results:
    study = Study(**(SMALL | {"seeds": 7}))
    return run(study, tmp_path_factory.mktemp("asked") / "out", jobs=1)


def test_effects_are_those_of_the_report_with_the_seeds_that_are_missing(
    results: ablations.Results,
) -> None:
    theirs = compare_levels(results).effects
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
    subset = again.one_factor(full={"norm": "batch"})
    assert subset["view"].tolist() == ["control plus", "control plus", "full minus"]
    assert (again.divergence()["only_level"] == 0).all()


def test_another_outcome_has_its_own_direction(results: ablations.Results) -> None:
    by_metric = results.effects("metric")
    better = by_metric["effect"] > 0
    assert ((by_metric["better"] > 0.5) == better)[by_metric["better"] != 0.5].all()
    lines = results.effects("objective")["assumes"]
    assert lines.str.contains("the objective holds penalties").all()
    for wrong, message in {
        "validation_loss": "did you mean 'val_loss'",
        "train_seconds": "its share of theirs",
        "norm": "there is no outcome 'norm'",
        "seed": "there is no outcome 'seed'",
    }.items():
        for ask in (results.effects, results.winner, results.tuning):
            with pytest.raises(RequestError, match=message):
                ask(wrong)


def test_wrong_requests_are_one_sentence(results: ablations.Results) -> None:
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: results.effects(alpha=2), "alpha must lie between 0 and 1"),
        (lambda: results.effects(margin=-1), "margin above 0"),
        (lambda: results.effects(correction="bonferroni"), "'max_t' or 'holm'"),
        (lambda: results.effects(colour="red"), "colour"),
        (lambda: results.effects(tune_over="lr"), "expected a list of axes"),
        (lambda: results.effects(tune_over=["regularizer", "norm"]), "none is left to compare"),
        (lambda: results.ranking(0), "best must be at least 1"),
        (lambda: results.one_factor(full={"norm": "layr"}), "'layr' is no level of 'norm'"),
        (lambda: results.one_factor(full={"depth": 3}), "'depth', which is no axis"),
    ]
    for ask, message in wrong:
        with pytest.raises(RequestError, match=message):
            ask()


def test_the_margin_of_a_metric_is_one_of_its_size_at_the_controls(
    results: ablations.Results,
) -> None:
    """One terrible technique must not make the others equal."""
    random = np.random.default_rng(0)
    metric = 0.5 + random.normal(0, 0.01, len(results.runs))
    metric += 0.05 * (results.runs["norm"] == "batch")
    for terrible in (0.5, -30.0):
        hit = results.runs["regularizer"] == "dropout"
        runs = results.runs.assign(metric=np.where(hit & (terrible < 0), terrible, metric))
        table = dataclasses.replace(results, runs=runs).effects("metric").set_index("level")
        assert "equivalence within 0.01" in table.loc["batch", "procedure"]


def test_a_technique_is_judged_at_its_own_learning_rate(tmp_path: Path) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    results = run(Study(**(SMALL | {"seeds": 6, "axes": axes})), tmp_path, jobs=1)
    table = results.effects(tune_over=["lr"])
    assert table["axis"].tolist() == ["norm"]
    assert (table["seeds"].iloc[0], table["cells"].iloc[0]) == (6, 1)
    request = ["effects", str(tmp_path), "--tune-over", "lr", "--format", "json"]
    (row,) = json.loads(CliRunner().invoke(app, request).stdout)
    assert (
        "at its best lr by val_loss, chosen on the other half of the seeds (lr 0.0"
        in (row["procedure"])
    )
    assert "7 to 10 % of techniques" in row["assumes"]
    untuned = results.effects()
    assert not untuned["procedure"].str.contains("at its best").any()
    tuning = results.tuning(tune_over=["lr"])
    assert tuning.groupby("norm")["seeds"].sum().to_dict() == {"batch": 6, "none": 6}
    assert set(tuning["lr"]) <= {"0.001", "0.01"}
    assert results.tuning().empty
    with pytest.raises(RequestError, match="there is no axis 'rate'"):
        results.effects(tune_over=["rate"])


def test_a_study_can_say_that_it_is_tuned_over(tmp_path: Path) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    study = Study(**(SMALL | {"seeds": 6, "axes": axes, "tune_over": ["lr"]}))
    assert Study(**study.as_dict()) == study
    results = run(study, tmp_path, jobs=1, with_report=True)
    assert results.effects()["axis"].tolist() == ["norm"]
    assert results.effects(tune_over=[])["axis"].tolist() == ["norm", "lr"]
    lines = compare_levels(results)
    pd.testing.assert_frame_equal(lines.effects[results.effects().columns], results.effects())
    page = (tmp_path / "report.html").read_text()
    assert "judged at its best lr. It is chosen on one half of the seeds and reported on" in page
    again = ablations.load(tmp_path)
    assert again.effects()["n"].tolist() == [6]
    for question in ("interactions", "one_factor", "ranking", "winner", "importance", "aliases"):
        table = getattr(again, question)()
        assert "lr" not in table.columns
        assert not table.astype(str).isin(["lr"]).to_numpy().any()
        if len(table):
            assert table["procedure"].str.contains("at its best lr").all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tune_over": ["rate"]}, "'rate' is no axis of several levels here"),
        ({"tune_over": ["init"]}, "'init' is no axis of several levels here"),
        ({"tune_over": "lr"}, "tune_over: input should be a list"),
        ({"tune_over": ["lr"], "seeds": 1}, "at least two seeds"),
        ({"tune_over": ["lr", "norm"]}, "none is left to compare"),
    ],
)
def test_what_cannot_be_tuned_over_is_said(wrong: dict[str, object], message: str) -> None:
    axes = {"norm": ["none", "batch"], "lr": [1e-3, 1e-2]}
    with pytest.raises(RequestError, match=message):
        Study(**(SMALL | {"axes": axes} | wrong))


def test_the_command_answers_every_question(results: ablations.Results) -> None:
    folder = str(results.folder)
    untimed = CliRunner().invoke(app, ["effects", folder, "--of", "costs"])
    assert untimed.exit_code == 2
    assert "no step was timed here; 'ablations time STUDY --out DIR'" in untimed.stderr
    # Questions over data sets need a study of several tasks.
    questions = [name for name in get_args(Question) if not name.startswith(("costs", "dataset"))]
    for question in questions:
        request = getattr(results, question.replace("-", "_"))()
        outcome = CliRunner().invoke(app, ["effects", folder, "--of", question, "--format", "json"])
        assert outcome.exit_code == 0, outcome.output
        assert [*map(str, request.columns)] == [*(json.loads(outcome.stdout) or [request])[0]]
        shown = CliRunner().invoke(app, ["effects", folder, "--of", question])
        assert shown.exit_code == 0, shown.output
        if question not in ("aliases", "tuning"):
            mark = (
                "how it was computed (val_loss): "
                if question == "baseline"
                else "how it was computed: "
            )
            mark = "pairs of runs that differ in one thing" if question == "effects" else mark
            assert mark in " ".join(shown.stdout.split())


def test_the_command_writes_every_format(results: ablations.Results) -> None:
    table = results.effects()
    folder = str(results.folder)

    def message(*words: str) -> str:
        outcome = CliRunner().invoke(app, ["effects", folder, *words])
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout

    rows = list(csv.DictReader(io.StringIO(message("--format", "csv"))))
    assert [float(row["effect"]) for row in rows] == table["effect"].tolist()
    objects = json.loads(message("--format", "json"))
    assert [row["p"] for row in objects] == table["p"].tolist()
    shown = [format_percent(change) for change in table["change"]]
    markdown = message("--format", "markdown")
    assert markdown.startswith(
        "| axis | level | control | verdict | change | interval | adjusted p |"
    )
    assert all(change in markdown for change in shown)
    assert not re.search(r"\b(blocks?|cells?|val_loss)\b", markdown)
    assert "\nhow it was computed: validation loss, lower is better, log ratio" in markdown
    latex = message("--format", "latex")
    assert r"\usepackage{booktabs}" in latex
    assert r"\toprule" in latex
    assert r"$-$" in latex
    assert "_" not in re.sub(r"\\_", "", latex.split("booktabs}")[1])
    assert "dropout" in message()
    in_one_unit = [f"{100 * change:+.1f}".replace("-", MINUS) for change in table["change"]]
    assert all(change in message() for change in in_one_unit)
    by_metric = message("--of", "verdicts", "--outcome", "metric")
    assert "r2, higher is better, difference" in by_metric
    refused = CliRunner().invoke(app, ["effects", folder, "--outcome", "loss"])
    assert refused.exit_code == 2
    assert "there is no outcome 'loss'" in refused.stderr


def test_names_that_people_choose_stay_text_in_every_format() -> None:
    name = "=HYPERLINK(1)|a_b & <b>"
    table = pd.DataFrame({"level": [name, "-x", "plain"], "effect": [-0.5, np.nan, np.inf]})
    (first, second, third) = csv.DictReader(io.StringIO(FORMATS["csv"]("any", table)))
    assert (first["level"], second["level"], third["level"]) == (f"'{name}", "'-x", "plain")
    assert first["effect"] == "-0.5"
    assert json.loads(FORMATS["json"]("any", table))[1] == {"level": "-x", "effect": None}
    markdown = FORMATS["markdown"]("any", table)
    assert r"\|a_b" in markdown
    assert r"a\_b \& $<$b$>$" in FORMATS["latex"]("any", table)
    assert all(len(line.split(" | ")) == 2 for line in markdown.splitlines())


def test_a_notebook_shows_the_answer_and_the_ablation_table(tmp_path: Path) -> None:
    study = Study(**(SMALL | {"seeds": 2, "name": "shown"}))
    results = run(study, tmp_path / "<out>")
    html = results._repr_html_()
    assert html.startswith(
        "<p><b>Nothing was learned here: none of 4 configurations surely beats a constant"
    )
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert [tuple(cells[i : i + 2]) for i in range(0, len(cells), 7)] == [
        *results.effects()[["axis", "level"]].itertuples(index=False, name=None)
    ]
    assert "&lt;out&gt;" in html
    assert "<out>" not in html

    # The stored answer is of all runs, so a part of them is shown by its verdicts.
    subset = results.only(results.runs.loc[results.runs["regularizer"] == "none", "run_id"])
    verdicts = subset._repr_html_()
    assert re.findall(r"<td>(.*?)</td>", verdicts)[:2] == ["norm", "batch"]
    assert "4 ok" in verdicts
    # Without metadata, nobody knows the axes.
    bare = dataclasses.replace(subset, metadata=None)._repr_html_()
    assert bare.startswith("<p>&lt;Results of 4 runs")
    assert "no metadata.json" in bare


@pytest.mark.parametrize(("judge", "column"), [("best", "best_val_loss"), ("last", "val_loss")])
def test_validation_rows_choose_the_tuned_level_and_test_rows_judge_it(
    tmp_path: Path, judge: str, column: str
) -> None:
    axes = {"norm": ("none", "layer"), "lr": ("0.1", "0.2")}
    results = make_results(tmp_path, axes, seeds=6)
    runs, is_low = results.runs, results.runs["lr"] == "0.1"
    # By validation 0.1 is the better one; by test rows, and by any other column, 0.2.
    runs = runs.assign(val_loss=1.0 + is_low, best_val_loss=1.0 + is_low, test_loss=1.0 + is_low)
    runs[column] = 2.0 - is_low
    metadata = dataclasses.replace(
        make_metadata(axes), judge=judge, outcome="test_loss", tune_over=("lr",)
    )
    tuned = Results(**(vars(results) | {"runs": runs, "metadata": metadata}))
    assert set(tuned.tuning()["lr"]) == {"0.1"}
    table = tuned.effects()
    assert table["procedure"].str.contains(f"best lr by {column}").all()
    assert tuned.design().runs["test_loss"].eq(2.0).all()


def test_a_report_by_another_outcome_leaves_that_of_the_study(
    results: ablations.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.report.page.draw_figures", lambda specs: [])
    folder = tmp_path / "copy"
    shutil.copytree(results.folder, folder)
    for outcome, page in (
        (None, "report.html"),
        ("val_loss", "report.html"),
        ("mae", "report-mae.html"),
        ("train_loss", "report-train_loss.html"),
    ):
        before = {path: path.stat().st_mtime_ns for path in folder.glob("report*.html")}
        arguments = ["report", str(folder), *(["--outcome", outcome] if outcome else [])]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == str(folder / page)
        before.pop(folder / page, None)
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        assert name_outcome(outcome or "val_loss") in (folder / page).read_text()
    copy = ablations.load(folder)
    assert copy.runs.equals(results.runs)
    path, _ = write_report(copy.of_study(), copy.metadata_for("mae"), "python:own.py:score me")
    assert path.name == "report-python-own.py-score-me.html"


# ---- Metrics that are undefined ----


def lacking_a_class(folder: Path, n_lacking: int) -> Results:
    """Runs of 8 seeds, of which the first ones have judging rows without one of the classes."""
    results = make_results(folder)
    values = 0.9 - results.runs["val_loss"]
    values = values.where(results.runs["seed"] >= n_lacking)
    runs = results.runs.assign(roc_auc=values, accuracy=0.8, metric=values)
    metadata = make_metadata(
        metric_name="roc_auc",
        metrics={"roc_auc": True, "accuracy": True},
        outcome="roc_auc",
    )
    return Results(**(vars(results) | {"runs": runs, "metadata": metadata}))


@pytest.mark.parametrize("n_lacking", [0, 2, 8])
def test_a_metric_that_runs_lack_is_named_and_what_stands_in(
    tmp_path: Path, n_lacking: int
) -> None:
    results = lacking_a_class(tmp_path, n_lacking)
    outcome = "val_loss" if n_lacking == 8 else "roc_auc"
    text = f"roc_auc is missing in {6 * n_lacking} of 48 runs, whose judging rows lack a class"
    sentences = summarise(results.ablation, results.metadata).cautions
    ending = {0: "", 2: "these are left out where it counts.", 8: "the validation loss stands in"}
    if n_lacking:
        (sentence,) = (sentence for sentence in sentences if text in sentence)
        assert f"{text}; {ending[n_lacking]}" in sentence
    else:
        assert "missing" not in " ".join(sentences)
    table = results.effects()
    assert results.design().outcome == outcome
    assert table["n"].max() == (8 if n_lacking == 8 else 8 - n_lacking)
    standing_in = "; val_loss stands in for it" if n_lacking == 8 else ""
    for left_out in table["left_out"]:
        assert left_out.endswith(f"{text}{standing_in}" if n_lacking else left_out[-1:])
    if n_lacking == 8:
        with pytest.raises(RequestError, match="roc_auc is missing in 48 of 48 runs, whose"):
            results.effects("roc_auc")
