from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import (
    EQUAL,
    HURTS,
    best_set,
    interactions,
    main_effects,
    ranking,
    seed_spread,
    simple_effects,
    variance_shares,
)
from ablations.analysis.results import Results
from ablations.analysis.spending import FIRST
from ablations.report.formatting import OVER_LOOKS, TIMES, format_margin, format_percent
from ablations.report.page import write_report
from ablations.report.strengths import name_level, name_within
from ablations.report.summary import summarise
from ablations.results.metadata import Published
from ablations.results.store import StoredResults

from .pages import Page, read_page, render_undrawn
from .studies import SMALL, end_runs, make_metadata, make_results

ARROW = "\N{RIGHTWARDS ARROW}"


def test_the_first_screen_answers_with_names_and_numbers(usual: tuple[StoredResults, Page]) -> None:
    _, page = usual
    head = page.words.split("Where it depends")[0]
    assert "Use l1: it cuts the validation loss by " in head
    assert "L1 helps: validation loss \N{MINUS SIGN}" in head
    assert "over 8 seeds; layer norm hurts most (+" in head
    assert "48 runs" in head
    assert "log scale" in head
    assert "“Surely”" not in head  # a word that the screen does not use
    assert "The targets are noise" in page.words.split("Evidence")[-1]


def test_the_numbers_on_the_page_are_those_of_the_table(usual: tuple[StoredResults, Page]) -> None:
    results, page = usual
    controls: dict[str, str | float] = {"regularizer": "none", "norm": "none"}
    limits = {"alpha": FIRST, "confidence": 1 - FIRST}
    expected = main_effects(results.runs, controls, list(SMALL), **limits)
    expected = expected.set_index(["axis", "level"])
    rows = page.rows("ablation")
    assert len(rows) == len(expected) == 3
    names = {name_level(*key): key for key in expected.index}
    for row in rows:
        axis, level = names[row["technique or setting"].text]
        effect = expected.loc[(axis, level)]
        assert row["verdict"].text == effect["verdict"]
        assert row["change of validation loss"].value == pytest.approx(effect["change"])
        assert row[OVER_LOOKS].value == pytest.approx(effect["change_low"])
        assert row["adjusted p"].value == pytest.approx(effect["p_adjusted"])
        assert row["P(better)"].value == pytest.approx(effect["better"])
        note = "Not finished: its validation loss still falls at epoch 5."
        assert row["technique or setting"].note == f"What {level} is (Author, 2014).{note}"
        shown = float(
            re.sub(r"[^\d.+-]", "", row["change of validation loss"].text.replace("\u2212", "-"))
        )
        assert shown == pytest.approx(100 * effect["change"], abs=0.06)


def test_the_best_configurations_are_those_of_the_runs(usual: tuple[StoredResults, Page]) -> None:
    results, page = usual
    log_loss = np.log(results.runs["val_loss"]).groupby([results.runs[axis] for axis in SMALL])
    best = np.exp(log_loss.mean()).sort_values()
    rows = page.rows("best")
    names = [tuple(map(name_within, SMALL, levels)) for levels in best.index]
    assert [(row["regularizer"].text, row["norm"].text) for row in rows] == names
    assert ("dropout (p 0.5, 0.2)", "none") in names
    assert [row["validation loss"].value for row in rows] == pytest.approx(best.tolist())


def test_a_page_names_axes_and_levels_in_words(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {
        "init": ("default", "xavier_uniform"),
        "batch_size": (96, 12),
    }
    results = make_results(tmp_path, axes, seeds=6)
    page = render_undrawn(results, make_metadata(axes, captions={}))
    assert "batch size against 96" in page.words
    assert "xavier uniform" in page.words
    assert not re.search("batch_size|xavier_uniform", page.words)
    (row, *_) = page.rows("best")
    assert {"init", "batch size"} <= set(row)


def test_the_best_configuration_has_its_number_where_no_other_is_left(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    is_best = (results.runs["regularizer"] == "l1") & (results.runs["norm"] == "none")
    runs = results.runs.assign(val_loss=results.runs["val_loss"] * np.where(is_best, 0.5, 1))
    page = render_undrawn(replace(results, runs=runs), make_metadata())
    row = Results.from_stored(replace(results, runs=runs), make_metadata()).winner().iloc[0]
    size, low, high = (format_percent(row[f"change{end}"]) for end in ("", "_low", "_high"))
    message = f"validation loss {size} [{low}, {high}] against the control."
    assert "The best configuration is l1. " in page.words
    assert f"Corrected for having been chosen by these same seeds: {message}" in page.words
    (member,) = page.rows("best-set")
    assert member["regularizer"].text == "l1"
    assert member["seconds"].note == "the cheapest"


def test_a_set_is_told_instead_of_a_best_configuration_that_chance_chose(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    noise = np.exp(np.random.default_rng(5).normal(size=len(results.runs)))
    equal = replace(results, runs=results.runs.assign(val_loss=noise))
    page = render_undrawn(equal, make_metadata())
    assert "Any of 6 configurations may be the best" in page.words
    assert "“Surely” means more than chance: at most 1 in 20 such studies" in page.words
    text = "None of 6 configurations can be told from the best by validation loss: chance alone may"
    assert f"{text} explain how far they are apart." in page.words
    assert (
        " has the best mean. Corrected for having been chosen by these same seeds: " in page.words
    )
    assert " against the control. The cheapest to run is " in page.words
    assert "The best configuration is" not in page.words
    members = best_set(equal.runs, list(SMALL), control={"regularizer": "none", "norm": "none"})
    rows = page.rows("best-set")
    assert [row["p"].value for row in rows] == pytest.approx(members["p"].tolist())
    assert [bool(row["seconds"].note) for row in rows] == members["cheapest"].tolist()
    few = replace(equal, runs=equal.runs[equal.runs["seed"] < 5])
    page = render_undrawn(few, make_metadata())
    message = "Which of 6 configurations is best cannot be told from 5 seeds: at least 6 are needed"
    assert message in page.words
    assert "table-best-set" not in page.tables


def test_the_set_says_what_its_members_share(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    runs, random = results.runs, np.random.default_rng(0)
    loss = 0.1 + 0.1 * (runs["norm"] == "none") + 0.01 * random.random(len(runs))
    results = replace(results, runs=runs.assign(val_loss=loss))
    answer = summarise(Results.from_stored(results, make_metadata()).ablation)
    (sentence,) = [text for text in answer.cautions if "told from the best" in text]
    assert sentence.startswith(
        "3 of 6 configurations cannot be told from the best by validation loss: "
        "chance alone may explain how far the others are behind it. "
        "All of them have layer norm. "
    )
    assert answer.best_set is not None
    assert (answer.best_set["members"], answer.best_set["candidates"]) == (3, 6)
    assert {row["norm"] for row in answer.best_set["configurations"]} == {"layer"}
    assert answer.best_set["cheapest"] in answer.best_set["configurations"]


def test_the_tables_of_the_whole_are_those_of_the_analysis(
    usual: tuple[StoredResults, Page],
) -> None:
    results, page = usual
    shares = variance_shares(results.runs, list(SMALL))
    rows = page.rows("shares")
    assert [row["η²"].value for row in rows] == pytest.approx(shares["eta2"].tolist())
    assert [row["source"].text for row in rows][:2] == ["norm", "regularizer"]
    assert [row["source"].text for row in rows][-2:] == ["seed", "residual (chance)"]
    ranked = ranking(results.runs, list(SMALL))
    rows = page.rows("ranking")
    assert [row["mean rank"].value for row in rows] == pytest.approx(ranked["mean_rank"].tolist())
    means = [row["geometric mean"].value for row in rows]
    assert means == pytest.approx(ranked["mean"].tolist())
    spread = seed_spread(results.runs, list(SMALL), list(SMALL))
    assert [row["median"].value for row in page.rows("spread")] == pytest.approx(
        spread["spread"].tolist()
    )
    both = interactions(results.runs, {"regularizer": "none", "norm": "none"}, list(SMALL))
    assert [row["beyond the sum"].value for row in page.rows("interactions")] == pytest.approx(
        both["double"].dropna().tolist()
    )
    ends = results.curves[results.curves["epoch"] == 5].merge(results.runs[["run_id", "norm"]])
    layer = np.exp(np.log(ends.loc[ends["norm"] == "layer", "val_loss"]).mean())
    (row,) = [
        row for row in page.rows("curves") if row["technique or setting"].text == "layer norm"
    ]
    assert row["validation loss"].value == pytest.approx(layer)


def test_an_interaction_is_opened_up_and_its_main_effects_are_demoted(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    both = (results.runs["regularizer"] == "l1") & (results.runs["norm"] == "layer")
    crossed = results.runs.assign(val_loss=results.runs["val_loss"] * np.where(both, 2.0, 1.0))
    page = render_undrawn(replace(results, runs=crossed), make_metadata())
    assert "interactions" in [*map(str.strip, page.words.splitlines())]
    note = page.rows("ablation")[0]["technique or setting"].note
    assert "An average: its effect depends on the norm." in note
    controls = {"regularizer": "none", "norm": "none"}
    at = simple_effects(crossed, controls, list(SMALL), confidence=1 - FIRST)
    rows = {row["with"].text: row for row in page.rows("simple-1")}
    for name in ("none", "l1"):
        expected = at[(at["axis"] == "norm") & (at["given_level"] == name)].iloc[0]
        cell = rows[name_level("regularizer", name)]["layer norm"]
        assert cell.value == pytest.approx(expected["change"])
        assert cell.note.startswith(format_percent(expected["change_low"]))
    calm = render_undrawn(make_results(tmp_path), make_metadata())
    assert "table-simple-1" not in calm.tables


def test_badges_say_in_two_words_what_tempers_the_answer(tmp_path: Path) -> None:
    results = make_results(tmp_path, seeds=3)
    selection = (results.runs["regularizer"] == "l1") & (results.runs["seed"] == 0)
    metadata = make_metadata(badges=("noise targets",))
    page = render_undrawn(end_runs(results, selection, "diverged", "not finite"), metadata)
    badges = page.words[: page.words.index("against none")].split("\n")
    for badge in ("noise targets", "too few seeds", "diverged runs"):
        assert badge in badges
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [href for each in page.attributes("a") if (href := each["href"] or "")]
    cautions = [href for href in links if href.startswith("#caution-")]
    assert len(cautions) >= 2
    assert {href.removeprefix("#") for href in cautions} <= ids


def test_the_page_makes_no_request(usual: tuple[StoredResults, Page]) -> None:
    _, page = usual
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert page.source.count("url(") == page.source.count("url(#")
    assert "@import" not in page.source
    assert len(page.source) < 2_000_000


def test_nothing_but_colours_differs_in_the_dark(usual: tuple[StoredResults, Page]) -> None:
    """On which the browser's accessibility check of dark pages relies."""
    _, page = usual
    query = r"@media[^{]*prefers-color-scheme[^{]*\{((?:[^{}]*\{[^{}]*\})*)"
    rules = [body for block in re.findall(query, page.source) for body in block.split("}")[:-1]]
    assert len(rules) == 3 == page.source.count("prefers-color-scheme: dark) {")
    for rule in rules:
        declarations = re.findall(r"[^;{}\s][^;{}]*", rule.split("{")[1].strip())
        assert declarations
        for declaration in declarations:
            assert re.fullmatch(r"--[a-z-]+: #[0-9a-f]{6}", declaration), declaration


def test_links_and_labels_lead_somewhere(usual: tuple[StoredResults, Page]) -> None:
    _, page = usual
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in page.attributes("a")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)


def test_the_same_results_give_the_same_bytes(
    tmp_path: Path, usual: tuple[StoredResults, Page]
) -> None:
    results, page = usual
    shuffled = results.runs.sample(frac=1, random_state=0)
    again, _ = write_report(replace(results, folder=tmp_path, runs=shuffled), make_metadata())
    assert _without_noise(
        again.read_text().replace(tmp_path.name, results.folder.name)
    ) == _without_noise(page.source)
    once_more, _ = write_report(replace(results, folder=tmp_path), make_metadata())
    title = f"<title>notebook \N{MIDDLE DOT} {results.folder.name} "
    assert once_more.read_text().replace(tmp_path.name, results.folder.name) == page.source
    assert title in page.source
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.html", "figures", "written.json"}


def _without_noise(html: str) -> str:
    """Sums in another order differ in their last bits; pictures and the values behind texts too."""
    return re.sub(r'data-value="[^"]*"', "", html)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    axes = {"norm": ("none", evil, "$x_{", "a" * 200), f"axis {evil}": ("&", '"><img src=x>')}
    metadata = make_metadata(
        axes, study=evil, description=evil, cautions=(evil,), command=evil, metric_name=evil
    )
    results = replace(make_results(tmp_path, axes, seeds=3, epochs=2), study_toml=evil)
    results = replace(results, environment={evil: {evil: evil}})
    selection = (results.runs["norm"] == "$x_{") & (results.runs["seed"] == 0)
    path, _ = write_report(end_runs(results, selection, "failed", evil), metadata)
    page = read_page(path)
    assert "<script>alert" not in page.source
    assert [a.get("id") for a in page.attributes("script")] == [None, "explorer-data", None]
    assert page.words.count(evil) >= 8
    assert all((p["src"] or "").startswith("data:") for p in page.attributes("img"))


def test_one_axis_makes_a_short_page(tmp_path: Path) -> None:
    axes = {"norm": ("none", "layer"), "device": ("cpu",)}
    page = render_undrawn(make_results(tmp_path, axes), make_metadata(axes))
    assert [row["technique or setting"].text for row in page.rows("ablation")] == ["layer norm"]
    assert "Interactions" not in page.words
    assert "Published curves" not in page.words
    assert "device" not in page.words
    assert "Diverged, failed, skipped" not in page.words


def test_one_seed_says_that_it_proves_nothing(tmp_path: Path) -> None:
    page = render_undrawn(make_results(tmp_path, seeds=1), make_metadata())
    assert "1 seed cannot show what helps: run at least 6." in page.words
    assert "With 1 seed no difference can be certain" in page.words
    assert {row["adjusted p"].text for row in page.rows("ablation")} == {"one seed"}


def test_everything_diverged_is_a_result(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    results = end_runs(
        results, pd.Series(data=True, index=results.runs.index), "diverged", "at epoch 2"
    )
    page = render_undrawn(results, make_metadata())
    assert "All 48 runs diverged: lower the learning rate and run again." in page.words
    assert "The most frequent reason: at epoch 2 (48 runs)." in page.words
    assert "marked *" not in page.words
    assert page.attributes("img") == []
    assert page.rows("endings")[0]["runs"].value == 48


def test_nothing_but_failures_is_said(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    results = end_runs(
        results, pd.Series(data=True, index=results.runs.index), "failed", "ValueError: no"
    )
    page = render_undrawn(results, make_metadata())
    assert "All 48 runs failed: " in page.words
    assert "ablation" not in {a.get("id") for _, a in page.tags}


def test_divergence_is_counted_beside_the_verdict(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    selection = (results.runs["regularizer"] == "l1") & (results.runs["norm"] == "none")
    page = render_undrawn(
        end_runs(results, selection, "diverged", "not finite at epoch 3"), make_metadata()
    )
    row = next(r for r in page.rows("ablation") if r["technique or setting"].text.endswith("l1"))
    assert row["verdict"].text == HURTS
    assert row["diverged"].text == "8/16 (control 0)"
    assert row["change of validation loss"].text.endswith("*")
    assert row[f"settings {TIMES} seeds"].note == "8 of 16 pairs survived"
    assert "never said to help" in page.words
    assert page.rows("endings")[0]["in common"].text == "regularizer = l1, norm = none"
    assert page.rows("rates")[1]["diverged"].text == "8/16"


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    lost = (results.runs["regularizer"] == "l1") & (results.runs["seed"] == 0)
    skipped = results.runs["norm"] == "layer"
    results = end_runs(results, lost & ~skipped, "failed", "no memory")
    page = render_undrawn(end_runs(results, skipped, "skipped", "not here"), make_metadata())
    assert "up to 1 seed of a comparison is left out" in page.words
    message = "Layer norm is not compared: no pair of a run with it and one of its control"
    assert message in page.words
    assert "24 skipped" in page.words


def test_a_technique_that_changed_nothing_is_said_to_have(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    same = results.runs.assign(val_loss=results.runs["seed"] + 1.0)
    page = render_undrawn(replace(results, runs=same), make_metadata())
    assert "and layer norm changed nothing at all: every pair of runs is the same" in page.words
    assert "All 16 pairs are identical" in page.rows("ablation")[0]["technique or setting"].note


def test_published_curves_are_the_answer_where_nothing_is_compared(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"norm": ("layer", "batch"), "epochs": (2, 3)}, seeds=20)
    runs = results.runs[(results.runs["norm"] == "layer") == (results.runs["epochs"] == 2)]
    results = replace(results, runs=runs)
    ours = results.curves[
        results.curves["run_id"].isin(runs.loc[runs["norm"] == "layer", "run_id"])
    ]
    median = ours.groupby("epoch")["objective"].median()
    printed = (
        Published("layer norm", {"norm": "layer", "epochs": 2}, (median[1], median[2])),
        Published("batch norm", {"norm": "batch", "epochs": 3}, (0.0, 1e6)),
    )
    axes = {"norm": ("layer", "batch")}
    path, _ = write_report(results, make_metadata(axes, published=printed))
    page = read_page(path)
    assert (
        "Not all printed losses are reproduced: only 2 of 4 lie within the range of " in page.words
    )
    assert [row["inside"].value for row in page.rows("published")] == [2, 0]
    assert page.rows("published")[1]["epochs outside"].text == "1, 2"
    assert "table-ablation" not in page.tables
    assert "Not compared" not in page.words


def test_levels_of_mixed_types(tmp_path: Path) -> None:
    axes: dict[str, tuple[object, ...]] = {"lr": ("auto", 0.001, 64.0), "width": (None, 64.0)}
    controls = {"lr": "auto", "width": 64.0}
    path, _ = write_report(
        make_results(tmp_path, axes, seeds=3), make_metadata(axes, controls=controls)
    )
    page = read_page(path)
    names = [row["technique or setting"].text for row in page.rows("ablation")]
    assert names == ["learning rate 0.001", "learning rate 64", "width not set"]
    assert "3 seeds cannot show what helps" in page.words


def test_losses_that_are_all_the_same_make_a_page(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    page = render_undrawn(replace(results, runs=results.runs.assign(val_loss=0.7)), make_metadata())
    assert {row["verdict"].text for row in page.rows("ablation")} == {EQUAL}
    assert "Variance shares" not in page.words


def test_no_curves_and_no_metric(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    bare = replace(results, curves=results.curves.iloc[:0], runs=results.runs.assign(metric=np.nan))
    page = render_undrawn(bare, make_metadata())
    assert "Loss curves" not in page.words
    assert "change of r2" not in page.rows("ablation")[0]


def test_losses_that_have_no_ratio_are_compared_by_difference(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    moved = results.runs.assign(val_loss=results.runs["val_loss"] - 0.1)
    page = render_undrawn(replace(results, runs=moved), make_metadata())
    # The margin is a fraction of the losses' size at the controls then, and the page says which.
    base = (moved["regularizer"] == "none") & (moved["norm"] == "none")
    size = moved.loc[base, "val_loss"].abs().median()
    assert f"within {format_margin(0.02 * size, 'difference')}" in page.words
    assert "have no ratio" in page.words
    assert "%" not in page.rows("ablation")[0]["change of validation loss"].text


@pytest.mark.slow
def test_thousands_of_configurations_are_never_a_row_each(tmp_path: Path) -> None:
    axes = {f"axis{i}": tuple(f"level{j}" for j in range(11)) for i in range(3)}
    results = make_results(tmp_path, axes, seeds=2, epochs=2)
    page = render_undrawn(results, make_metadata(axes))
    log_loss = (
        np.log(results.runs["val_loss"]).groupby([results.runs[axis] for axis in axes]).mean()
    )
    assert len(page.rows("best")) == 10
    assert page.rows("best")[0]["validation loss"].value == pytest.approx(np.exp(log_loss.min()))
    assert "1,331 configurations" in page.words
    # The forest plot has two rows for each level: that of the level, and what opens below it.
    forest = page.tables.pop("table-forest")
    assert len(forest) <= 2 * 3 * 10 + 2 * 3 + 2
    assert sum(map(len, page.tables.values())) < 300
    assert len(page.source) < 3_000_000
