"""What tells how far to trust the effects: outcomes, time, endings, the constant, other metrics."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import (
    EQUAL,
    HELPS,
    HURTS,
    UNDECIDED,
    against_baseline,
    configurations,
    curve_endings,
    effects_by_epoch,
    main_effects,
)
from ablations.analysis.results import Results
from ablations.report.data import EXCESS, MOST_EPOCHS, ReportData, build_report_data
from ablations.report.figures.curves import level_curves
from ablations.report.figures.effects import main_effects as draw_effects
from ablations.report.figures.heatmaps import interaction_maps
from ablations.report.figures.trajectory import effects_over_time, trajectory_figures
from ablations.report.formatting import OVER_LOOKS, format_percent, format_signed
from ablations.report.page import write_report
from ablations.report.strengths import name_level, name_within
from ablations.report.summary import summarise
from ablations.results.store import StoredResults

from .pages import Cell, Page, read_page, render_undrawn
from .studies import (
    METRICS,
    SMALL,
    curves_of,
    make_metadata,
    make_results,
    metadata_by,
    with_metrics,
)

CONTROLS: dict[str, str | float] = {"regularizer": "none", "norm": "none"}


def row_of(page: Page, table: str, name: str) -> dict[str, Cell]:
    """The row of a table whose first cell begins with a name."""
    return next(row for row in page.rows(table) if next(iter(row.values())).text.startswith(name))


def test_a_metric_as_outcome_is_reported_in_its_direction_beside_the_loss(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    page = render_undrawn(results, metadata_by("f1_macro"))
    design = Results.from_stored(results, metadata_by("f1_macro")).design()
    assert design.higher_is_better
    expected = main_effects(design).set_index(["axis", "level"])
    by_loss = main_effects(results.runs, CONTROLS, list(SMALL), outcome="test_loss")
    loss = by_loss.set_index(["axis", "level"])
    names = {name_level(*key): key for key in expected.index}
    for row in page.rows("ablation"):
        axis, level = names[row["technique or setting"].text]
        effect = expected.loc[(axis, level)]
        assert row["verdict"].text == effect["verdict"]
        assert row["change of f1_macro"].value == pytest.approx(effect["effect"])
        assert row["change of test loss"].value == pytest.approx(loss.loc[(axis, level), "change"])
    assert row_of(page, "ablation", "layer norm")["verdict"].text == HELPS
    assert loss.loc[("norm", "layer"), "verdict"] == HURTS
    assert "the change of f1_macro; higher is better" in page.words


def test_the_best_configurations_are_best_by_the_outcome(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    page = render_undrawn(results, metadata_by("f1_macro"))
    means = results.runs.groupby(list(SMALL))["f1_macro"].mean().sort_values(ascending=False)
    rows = page.rows("best")
    names = [tuple(map(name_within, SMALL, levels)) for levels in means.index]
    assert [(row["regularizer"].text, row["norm"].text) for row in rows] == names
    assert [row["f1_macro"].value for row in rows] == pytest.approx(means.tolist())
    losses = results.runs.groupby(list(SMALL))["test_loss"].mean()
    assert [row["test loss"].value for row in rows] == pytest.approx(losses[means.index].tolist())
    assert "by f1_macro: its mean over seeds" in page.words
    assert page.rows("ranking")[0]["mean"].value == pytest.approx(means.iloc[0])


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("val_loss", "validation loss"),
        ("test_loss", "test loss"),
        ("train_loss", "training loss"),
        ("mae", "mae"),
    ],
)
def test_every_outcome_is_named_in_words(outcome: str, words: str, tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    data = build_report_data(results, metadata_by(outcome))
    assert data.design.outcome == outcome
    figure = draw_effects(data.effects, data.by_seed, data.design, data.outcome)
    assert figure.axes[-1].get_xlabel() == f"change of {words} (ratio scale); left is better"
    page = render_undrawn(results, metadata_by(outcome))
    assert f"change of {words}" in page.rows("ablation")[0]
    assert words in page.rows("best")[0]
    assert f"Shares of the variance of {words}" in page.source
    assert re.search(rf'<th scope="col"[^>]*>{words}</th>', page.source)


def test_figures_of_a_metric_point_to_the_right_and_colour_gains_blue(tmp_path: Path) -> None:
    data = build_report_data(with_metrics(tmp_path), metadata_by("f1_macro"))
    figure = draw_effects(data.effects, data.by_seed, data.design, data.outcome)
    assert figure.axes[-1].get_xlabel() == "change of f1_macro; right is better"
    by_metric = interaction_maps(data.interactions, [("regularizer", "norm")], data.design)
    by_loss = build_report_data(with_metrics(tmp_path), metadata_by("test_loss"))
    of_loss = interaction_maps(by_loss.interactions, [("regularizer", "norm")], by_loss.design)
    palettes = [figure.axes[0].collections[0].get_cmap() for figure in (by_metric, of_loss)]
    assert palettes[0](0.0) == palettes[1](1.0) != palettes[0](1.0)


def test_the_effect_over_time_is_that_of_the_analysis(tmp_path: Path) -> None:
    results = make_results(tmp_path, epochs=80)
    data = build_report_data(results, make_metadata())
    epochs = sorted(set(data.trajectory["epoch"]))
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 80, MOST_EPOCHS)
    assert max(np.diff(epochs)) - min(np.diff(epochs)) <= 1
    expected = effects_by_epoch(data.design, results.curves, epochs=[1, 80])
    both = expected.merge(data.trajectory, on=["axis", "level", "epoch"], suffixes=("", "_page"))
    assert len(both) == len(expected) == 6
    for name in ("effect", "low", "high"):
        assert both[f"{name}_page"].tolist() == pytest.approx(both[name].tolist())


@pytest.mark.parametrize(("epochs", "panels"), [(1, 0), (2, 0), (3, 2)])
def test_there_is_an_effect_over_time_from_three_epochs(
    epochs: int, panels: int, tmp_path: Path
) -> None:
    data = build_report_data(make_results(tmp_path, epochs=epochs), make_metadata())
    specs = list(trajectory_figures(data))
    assert len(specs) == bool(panels)
    assert sum(len(spec.draw().axes) for spec in specs) == panels


def turning(folder: Path) -> StoredResults:
    """Layer norm helps by 30 % at first and hurts by as much at last; the control overfits."""
    results = make_results(folder, epochs=10)
    curves = curves_of(results.runs, 1).set_index("run_id")["val_loss"]
    norm = results.runs.set_index("run_id")["norm"]
    epoch = results.curves["epoch"].to_numpy()
    base = 1 + 0.1 * np.abs(epoch - 4)
    layer = (results.curves["run_id"].map(norm) == "layer").to_numpy()
    turn = np.where(layer, np.exp(np.linspace(-0.3, 0.3, 10))[epoch - 1], 1.0)
    losses = results.curves["run_id"].map(curves).to_numpy(dtype=float) * base * turn
    return replace(results, curves=results.curves.assign(val_loss=losses))


def test_the_figure_draws_each_level_its_band_and_the_epoch_of_the_control(tmp_path: Path) -> None:
    data = build_report_data(turning(tmp_path), make_metadata())
    (spec,) = trajectory_figures(data)
    figure = spec.draw()
    panel = next(axes for axes in figure.axes if axes.get_title("left") == "norm, against none")
    (line,) = [line for line in panel.lines if line.get_label() == "layer"]
    rows = data.trajectory[data.trajectory["axis"] == "norm"]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx(rows["effect"].tolist())
    assert rows["effect"].iloc[0] < -0.1 < 0.1 < rows["effect"].iloc[-1]
    dashed = [line for line in panel.lines if np.array_equal(np.asarray(line.get_xdata()), [4, 4])]
    assert len(dashed) == 1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "epoch 4: lowest mean loss of the control"
    assert all("\u202f%" in tick.get_text() or tick.get_text() == "0"
               for tick in panel.get_yticklabels())  # fmt: skip
    assert "helps early and hurts late" in spec.caption
    assert "for that epoch alone" in spec.caption
    first, last = (format_percent(rows["change"].iloc[i]) for i in (0, -1))
    assert f"layer norm {first} at first and {last} at last" in spec.alt


def test_effects_over_time_of_losses_without_a_ratio_are_differences(tmp_path: Path) -> None:
    results = turning(tmp_path)
    curves = results.curves.assign(val_loss=results.curves["val_loss"] - 0.1)
    runs = results.runs.assign(val_loss=results.runs["val_loss"] - 0.1)
    data = build_report_data(replace(results, runs=runs, curves=curves), make_metadata())
    assert not data.trajectory["change"].notna().any()
    (spec,) = trajectory_figures(data)
    labels = [tick.get_text() for tick in spec.draw().axes[0].get_yticklabels()]
    assert not any("%" in label for label in labels)


def test_the_table_of_endings_has_the_numbers_of_the_analysis(tmp_path: Path) -> None:
    results = turning(tmp_path)
    page = render_undrawn(results, make_metadata())
    data = build_report_data(results, make_metadata())
    expected = curve_endings(data.design, results.curves).set_index(["axis", "level"])
    rows = page.rows("training")
    assert len(rows) == len(expected) == 6
    assert rows[0]["technique or setting"].text.strip() == "all at their controls"
    for (axis, level), ending in expected.iterrows():
        row = row_of(page, "training", name_level(axis, level))
        assert row["best epoch"].value == ending["best_epoch"]
        assert row["change over the last fifth"].value == pytest.approx(ending["late_change"])
        assert row["last epoch against the best"].value == pytest.approx(ending["excess_change"])
        assert row["ending"].text == ending["ending"]
    assert row_of(page, "training", "no norm")["ending"].text == "overfitted"
    note = row_of(page, "ablation", "layer norm")["technique or setting"].note
    best = expected.loc[("norm", "layer"), "best_epoch"]
    assert f"Overfitted after epoch {best} of 10." in note
    assert "surely above that of the best epoch by more than 2\u202f%" in page.words


def test_unfinished_levels_have_a_note_in_the_ablation_table(tmp_path: Path) -> None:
    page = render_undrawn(make_results(tmp_path), make_metadata())
    assert page.source.count('<small class="warning">Not finished') == 3
    note = row_of(page, "ablation", "layer norm")["technique or setting"].note
    assert note.endswith("Not finished: its validation loss still falls at epoch 5.")
    assert row_of(page, "training", "layer norm")["ending"].text == "not finished"
    assert (
        "table-training"
        not in render_undrawn(make_results(tmp_path, epochs=1), make_metadata()).tables
    )


def test_the_constant_stands_beside_control_and_best(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    data = build_report_data(results, metadata_by("test_loss"))
    page = render_undrawn(results, metadata_by("test_loss"))
    expected = against_baseline(data.design).set_index("configuration")
    rows = page.rows("constant")
    assert [row["configuration"].text for row in rows] == ["control", "best"]
    for row in rows:
        baseline = expected.loc[row["configuration"].text]
        assert row["value"].value == pytest.approx(baseline["value"])
        assert row["constant"].value == pytest.approx(baseline["baseline"])
        assert row["against constant"].value == pytest.approx(baseline["change"])
        assert row[OVER_LOOKS].value == pytest.approx(baseline["change_low"])
        assert row["adjusted p"].value == pytest.approx(baseline["p_adjusted"])
        assert row["beats it"].text == ("surely" if baseline["learned"] else "not surely")
    assert rows[0]["configuration"].note == "no regularizer, no norm"
    assert "of these surely beat the constant: 6 by test loss." in page.words
    constant = float(np.exp(np.log(0.2 + 0.001 * np.arange(8)).mean()))
    assert data.constant == pytest.approx(constant)
    assert "The best constant prediction has a loss of 0.203." in page.words


def test_every_configuration_is_set_against_the_constant(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    page = render_undrawn(results, metadata_by("test_loss"))
    ratio = np.log(results.runs["test_loss"] / results.runs["baseline"])
    levels = [results.runs[axis].map(partial(name_within, axis)) for axis in SMALL]
    means = ratio.groupby(levels).mean()
    for row in page.rows("best"):
        mean = means[(row["regularizer"].text, row["norm"].text)]
        assert row["against constant"].value == pytest.approx(mean)
        assert row["against constant"].text == format_percent(np.expm1(mean))
    without = render_undrawn(make_results(tmp_path), make_metadata())
    assert "against constant" not in without.rows("best")[0]
    assert "table-constant" not in without.tables
    assert "constant prediction" not in without.words


def test_averages_of_configurations_leave_other_columns_as_they_are(tmp_path: Path) -> None:
    runs = make_results(tmp_path).runs
    runs = runs.assign(**{EXCESS: runs["val_loss"] * 2})
    both = configurations(runs, list(SMALL), averages=(EXCESS,))
    plain = configurations(runs, list(SMALL))
    pd.testing.assert_frame_equal(both.drop(columns=EXCESS), plain)
    means = runs.groupby(list(SMALL))[EXCESS].mean()
    assert both[EXCESS].tolist() == pytest.approx(
        [means[row] for row in both[list(SMALL)].itertuples(index=False, name=None)]
    )


def draw_curves(data: ReportData, constant: float) -> list[Any]:
    levels = data.design.levels["norm"]
    figure = level_curves("norm", data.curves["norm"], levels, "none", constant)
    return list(figure.axes)


def test_the_curves_show_the_constant_as_a_dotted_line(tmp_path: Path) -> None:
    data = build_report_data(with_metrics(tmp_path), metadata_by("test_loss"))
    validation, training = draw_curves(data, data.constant)
    (dotted,) = [line for line in validation.lines if line.get_linestyle() == ":"]
    assert dotted.get_ydata()[0] == pytest.approx(data.constant)
    low, high = validation.get_ylim()
    assert low < data.constant < high
    assert "constant prediction 0.203" in [text.get_text() for text in validation.texts]
    assert not any(line.get_linestyle() == ":" for line in training.lines)
    validation, _ = draw_curves(data, 50.0)
    assert "constant prediction 50.0, above" in [text.get_text() for text in validation.texts]
    assert validation.get_ylim()[1] < 1
    validation, _ = draw_curves(data, float("nan"))
    assert [text.get_text() for text in validation.texts] == ["none (control)", "layer"]


def test_all_metrics_stand_side_by_side_with_their_verdicts(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    metadata = metadata_by("test_loss", metrics={**METRICS, "roc_auc": True})
    page = render_undrawn(results, metadata)
    rows = page.rows("metrics")
    assert list(rows[0]) == ["technique or setting", "test loss", "f1_macro", "mae", "agree"]
    answers = Results.from_stored(results, metadata)
    for name, heading in (("test_loss", "test loss"), ("f1_macro", "f1_macro"), ("mae", "mae")):
        for effect in main_effects(answers.design(name)).to_dict("records"):
            cell = row_of(page, "metrics", name_level(effect["axis"], effect["level"]))[heading]
            assert cell.text == effect["verdict"]
            size = format_signed(effect["effect"])
            size = size if name == "f1_macro" else format_percent(effect["change"])
            assert cell.note.startswith(f"{size} [")
    assert row_of(page, "metrics", "layer norm")["agree"].text == "no, the opposite"
    for row in rows:
        words = {row[name].text for name in ("test loss", "f1_macro", "mae")}
        if not {HELPS, HURTS} <= words:
            decided = words - {UNDECIDED}
            partly = "in part" if len(decided) > 1 else "as far as decided"
            assert row["agree"].text == ("yes" if len(words) == 1 else partly)
    assert "Higher is better for f1_macro; lower is better for all others." in page.words


def test_a_metric_that_repeats_another_or_was_never_computed_is_left_out(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    runs = results.runs.assign(log_loss=results.runs["test_loss"] + 1e-9, mae=np.nan)
    metadata = metadata_by("test_loss", metrics={**METRICS, "log_loss": False})
    page = render_undrawn(replace(results, runs=runs), metadata)
    assert list(page.rows("metrics")[0]) == [
        "technique or setting",
        "test loss",
        "f1_macro",
        "agree",
    ]
    bare = render_undrawn(
        replace(results, runs=runs.assign(f1_macro=np.nan, metric=np.nan)), metadata
    )
    assert "table-metrics" not in bare.tables


def test_metrics_that_agree_are_said_to(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    same = results.runs.assign(
        val_loss=results.runs["seed"] + 1.0,
        test_loss=results.runs["seed"] + 1.0,
        f1_macro=0.5,
        metric=0.5,
    )
    page = render_undrawn(
        replace(results, runs=same), metadata_by("test_loss", metrics={"f1_macro": True})
    )
    assert {row["agree"].text for row in page.rows("metrics")} == {"yes"}
    assert {row["f1_macro"].text for row in page.rows("metrics")} == {EQUAL}


def test_tuned_configurations_are_reported_by_the_outcome_too(tmp_path: Path) -> None:
    results = with_metrics(tmp_path)
    data = build_report_data(results, metadata_by("f1_macro", tune_over=("norm",)))
    assert data.untuned.outcome == data.design.outcome == "f1_macro"
    assert set(data.configurations.columns) >= {"regularizer", "norm", "mean"}
    means = results.runs.groupby(list(SMALL))["f1_macro"].mean()
    assert data.configurations["mean"].iloc[0] == pytest.approx(means.max())


def test_the_figure_over_time_lies_beside_the_page(tmp_path: Path) -> None:
    path, _ = write_report(with_metrics(tmp_path), metadata_by("f1_macro"))
    assert (tmp_path / "figures" / "effect-over-time.png").read_bytes().startswith(b"\x89PNG")
    page = read_page(path)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert ids.index("over-time") < ids.index("trajectory") < ids.index("evidence")
    folded = [name for name in ids if (name or "").startswith("evidence-")]
    start = folded.index("evidence-ablation")
    assert folded[start : start + 3] == [
        "evidence-ablation",
        "evidence-metrics",
        "evidence-constant",
    ]


def test_many_axes_make_a_panel_each(tmp_path: Path) -> None:
    axes = {f"axis{i}": ("a", "b") for i in range(5)}
    data = build_report_data(make_results(tmp_path, axes, seeds=2), make_metadata(axes))
    figure = effects_over_time(data.trajectory, data.design.levels, "log", 0.02, None)
    assert sum(axes.axison for axes in figure.axes) == 5


def test_equal_accuracies_are_not_equal_runs(tmp_path: Path) -> None:
    stored = make_results(tmp_path)
    runs = stored.runs.assign(accuracy=0.9, metric=0.9, metric_name="accuracy")
    metadata = make_metadata(metric_name="accuracy", metrics={"accuracy": True}, outcome="accuracy")
    results = Results.from_stored(replace(stored, runs=runs), metadata)
    effects = results.ablation.effects
    assert (results.effects()["identical"] == results.effects()["pairs"]).all()
    assert (effects["identical"] == 0).all()
    assert "to the last bit" not in " ".join(summarise(results.ablation, metadata).cautions)


@pytest.mark.parametrize(("seeds", "begins"), [(8, "Use l1: it cuts "), (2, "Add seeds first: ")])
def test_a_large_gain_over_few_seeds_is_not_called_nothing(
    tmp_path: Path, seeds: int, begins: str
) -> None:
    stored = make_results(tmp_path, seeds=seeds)
    noise = np.exp(np.random.default_rng(5).normal(0, 1.2, seeds))[stored.runs["seed"]]
    results = Results.from_stored(
        replace(stored, runs=stored.runs.assign(baseline=4 * noise * stored.runs["val_loss"])),
        make_metadata(),
    )
    answer = summarise(results.ablation, make_metadata())
    assert answer.headline.startswith(begins)
    assert any("helps" in text for text in answer.sentences) == (seeds == 8)
