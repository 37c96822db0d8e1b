"""What the answer says of data whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from ablations import Results, Study
from ablations.analysis import effects_by_epoch
from ablations.cli import app
from ablations.report.summary import describe_trust
from ablations.results.answer import load_answer

from ..studies import run

pytestmark = pytest.mark.usefixtures("unaudited")
SMALL_MODEL = {"name": "mlp", "hidden": [32]}
NOTHING = "Nothing was learned here: none of "
REGULARIZERS = ["none", {"name": "l1", "weight": 0.02}, {"name": "l2", "weight": 0.05}, "dropout"]


def advise(study: Study, folder: Path) -> tuple[list[str], Results]:
    """Train a study; return its headline and all that limits its answer, and its results."""
    results = run(study, folder, time_budget=0, jobs=1)
    answer = load_answer(folder)
    assert answer is not None
    return [answer.headline, *answer.sentences, *answer.cautions], results


def table_study(
    frame: pd.DataFrame, target: str, folder: Path, task: dict[str, Any] | None = None, **keys: Any
) -> Study:
    """Return a study of a table, which is written as a CSV file, by default with six seeds."""
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    spec = {"name": "csv", "path": str(path), "target": target} | (task or {})
    return Study(**{"task": spec, "seeds": 6} | keys)


def verdicts(results: Results, outcome: str | None = None, **options: Any) -> dict[str, str]:
    table = results.effects(outcome, **options)
    return dict(zip(table["level"], table["verdict"], strict=True))


def endings(results: Results) -> dict[str, str]:
    """Map "control" and each level to how its curves end."""
    table = results.endings()
    names = table["level"].where(table["axis"] != "", "control")
    return dict(zip(names, table["ending"], strict=True))


# ---- Few rows and many features ----


def test_regularizers_help_where_rows_are_few_and_the_control_overfits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 300))
    is_ill = x[:, :3].sum(axis=1) + rng.normal(scale=0.5, size=90) > 0
    frame = pd.DataFrame(x).add_prefix("x").assign(ill=np.where(is_ill, "yes", "no"))
    study = table_study(
        frame, "ill", tmp_path, model=SMALL_MODEL, epochs=30, lr=5e-3, batch_size=10,
        validation=1 / 3, judge="last", seeds=10, axes={"regularizer": REGULARIZERS},
    )  # fmt: skip
    sentences, results = advise(study, tmp_path / "results")
    assert study.task.rows == 60
    by_last, by_best = verdicts(results), verdicts(results, "best_val_loss", overlap=0.0)
    # Only weights of zero ignore 297 features; weight decay merely stops the control's descent.
    assert by_last["l1(weight=0.02)"] == by_best["l1(weight=0.02)"] == "helps"
    assert by_last["l2(weight=0.05)"] == "helps"
    # So few rows do not show that it would be so by the best epoch on new data like them.
    assert verdicts(results, "best_val_loss")["l1(weight=0.02)"] == "not enough evidence"
    assert by_best["l2(weight=0.05)"] != "helps"
    assert endings(results)["control"] == "overfitted"
    assert sentences[0].startswith("Use l1 (weight 0.02): it cuts the validation loss by ")
    text = " ".join(sentences)
    assert "The control learned nothing that surely beats a constant" in text
    assert "The control overfitted: its validation loss rose from epoch 2" in text
    assert "Judged by the best epoch of each run instead: l1 (weight 0.02) −27.2" in text


# ---- Noise ----


def noise_study(number: int, folder: Path, **keys: Any) -> Study:
    """Return a study of a table without any relation; every other one has classes."""
    rng = np.random.default_rng(number)
    rows, features = int(rng.integers(60, 200)), int(rng.integers(2, 10))
    frame = pd.DataFrame(rng.normal(size=(rows, features))).add_prefix("x")
    frame["town"] = rng.choice(["a", "b", "c"], size=rows)
    has_classes = number % 2 == 1
    frame["y"] = rng.choice(["p", "q"], size=rows) if has_classes else rng.normal(size=rows)
    axes = {"regularizer": ["none", "dropout", "l2"], "norm": ["none", "layer"]}
    settings: dict[str, Any] = {"epochs": 15, "lr": 3e-3, "axes": axes}
    settings["model"] = {"name": "mlp", "hidden": [16]}
    return table_study(frame, "y", folder, **settings | keys)


def names_winner(sentences: list[str]) -> bool:
    """Whether an answer advises a level or a configuration."""
    text = " ".join(sentences).replace("what helps", "")
    return any(word in text for word in ("helps", " help ", "configuration is", "looks best"))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_nothing_helps_where_there_is_only_noise(number: int, tmp_path: Path) -> None:
    sentences, _ = advise(noise_study(number, tmp_path), tmp_path / "results")
    assert sentences[0].startswith(NOTHING)
    assert not names_winner(sentences)


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["best", "last"])
def test_tables_of_noise_have_no_winner(judge: str, tmp_path: Path) -> None:
    exceptions = {}
    for number in range(100, 120 if judge == "best" else 108):
        folder = tmp_path / str(number)
        folder.mkdir()
        sentences, _ = advise(noise_study(number, folder, judge=judge), folder / "results")
        assert not names_winner(sentences)
        if not sentences[0].startswith(NOTHING):
            exceptions[number] = sentences
    assert len(exceptions) <= 1  # 5 %, the level of the test against the constant


# ---- Too short and too long ----


def linear_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 8))
    y = 2 * x[:, 3] + x[:, 0] + x[:, 1] + rng.normal(size=240)
    return pd.DataFrame(x).add_prefix("x").assign(y=y)


def test_dropout_hurts_a_short_training_and_helps_a_long_one(tmp_path: Path) -> None:
    answers = {}
    for epochs, lr in ((3, 3e-3), (60, 1e-2)):
        folder = tmp_path / str(epochs)
        folder.mkdir()
        study = table_study(
            linear_table(), "y", folder, model={"name": "mlp", "hidden": [64]}, epochs=epochs,
            lr=lr, batch_size=20, validation=0.2, judge="last", seeds=10,
            axes={"regularizer": ["none", "dropout"]},
        )  # fmt: skip
        answers[epochs] = advise(study, folder / "results")
    (short, few), (long, many) = answers[3], answers[60]
    assert (verdicts(few)["dropout"], verdicts(many)["dropout"]) == ("hurts", "helps")
    assert (endings(few)["control"], endings(many)["control"]) == ("not finished", "overfitted")
    assert short[0].startswith("Change nothing: dropout hurts (validation loss +")
    assert any("The control was still learning: its validation loss fell" in t for t in short)
    assert long[0].startswith("Use dropout")
    (text,) = [t for t in long if "The control overfitted: its validation loss rose from" in t]
    # What it does by each run's best epoch, nobody can say.
    assert "dropout" in text
    assert "not enough evidence" in text
    assert many.trajectory(epochs=[60])["high"][0] < 0
    here = replace(many.design(), overlap=0.0)  # on this table; that on new data is less sure
    effects = effects_by_epoch(here, many.curves, epochs=[1, 60]).set_index("epoch")
    assert effects["low"][1] > 0
    assert effects["high"][60] < 0


def test_by_the_best_epoch_regularizers_of_diabetes_are_undecided(tmp_path: Path) -> None:
    study = Study(
        task="diabetes", model={"name": "mlp", "hidden": [64]}, seeds=6, epochs=100, batch_size=32,
        lr=1e-2, axes={"regularizer": ["none", "dropout", "l2"]},
    )  # fmt: skip
    sentences, results = advise(study, tmp_path)
    assert study.judge == "last"
    last = results.effects().set_index("level")["change"]
    assert last.to_dict() == pytest.approx({"dropout": -0.21, "l2": -0.19}, abs=0.01)
    best = results.effects("best_val_loss").set_index("level")
    assert best["change"].to_dict() == pytest.approx({"dropout": -0.020, "l2": -0.007}, abs=2e-3)
    bounds = best.loc["dropout", ["change_low", "change_high"]].tolist()
    # On this table, looked at once, [-0.066, 0.028].
    assert bounds == pytest.approx([-0.072, 0.035], abs=2e-3)
    assert set(best["verdict"]) == {"not enough evidence"}
    text = " ".join(sentences)
    assert "The control overfitted" in text
    assert "dropout −2.0" in text


def test_statistics_that_lag_are_a_caution_and_right_ones_help(tmp_path: Path) -> None:
    fast = {"name": "batch", "momentum": 1.0}
    anew = {"name": "batch", "statistics": "training rows"}
    study = Study(
        task="digits", seeds=6, epochs=5, batch_size="full", lr=1e-2,
        axes={"norm": ["none", "batch", fast, anew]},
    )  # fmt: skip
    sentences, results = advise(study, tmp_path)
    sentence = "With batch norm, 5 steps leave 59 % of the start"
    assert any(text.startswith(sentence) for text in sentences)
    assert verdicts(results)["batch"] == "hurts"
    assert verdicts(results, "metric")["batch"] == "helps"
    (text,) = [text for text in sentences if text.startswith("By accuracy ") and "verdict" in text]
    assert "By accuracy batch norm helps; by validation loss it hurts" in text
    changes = results.effects().set_index("level")["change"]
    assert changes["batch(momentum=1.0)"] == pytest.approx(-0.529, abs=0.02)
    assert changes.iloc[2] < -0.4


# ---- Measures ----


def test_class_weights_help_a_rare_class_by_balanced_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    is_ill = np.arange(1000) % 20 == 0
    x = rng.normal(size=(1000, 2)) + 1.2 * is_ill[:, None]
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(ill=np.where(is_ill, "yes", "no"))
    medians = {}
    for weight in ("", "balanced"):
        folder = tmp_path / (weight or "equal")
        folder.mkdir()
        task = {"class_weight": weight} if weight else {}
        study = table_study(
            frame, "ill", folder, task, model=SMALL_MODEL, epochs=15, lr=1e-2, batch_size=64,
            metric="balanced_accuracy", outcome="metric",
            axes={"regularizer": ["none", "dropout"]},
        )  # fmt: skip
        sentences, results = advise(study, folder / "results")
        runs = results.runs[results.runs["regularizer"] == "none"]
        medians[weight] = runs["balanced_accuracy"].mean()
        if weight:
            assert not sentences[0].startswith(NOTHING)
        else:
            assert sentences[0].startswith("Add seeds first: whether any of ")
        assert "judged on test rows, by loss and by balanced_accuracy." in sentences[-1]
        assert set(results.runs["baseline_balanced_accuracy"]) == {0.5}
        if not weight:
            assert_nothing_is_learned_by_accuracy(results)
    # The constant has 0.5; the rule that is best for these two normal distributions 0.80.
    assert medians["balanced"] == pytest.approx(0.80, abs=0.04)
    assert medians[""] < 0.62


def assert_nothing_is_learned_by_accuracy(results: Results) -> None:
    """Of a class of 95 %: the accuracy is that of the constant, which the loss surely beats."""
    assert results.runs["baseline_accuracy"].tolist() == [0.95] * 12
    by_loss, by_accuracy = (results.baseline(name) for name in ("test_loss", "accuracy"))
    assert by_loss["learned"].all()
    assert not by_accuracy["learned"].any()
    assert by_accuracy["value"].tolist() == pytest.approx([0.955, 0.955], abs=0.006)
    metadata = results.metadata_for("accuracy")
    ablation = replace(results, metadata=metadata).ablation
    first = describe_trust(ablation, metadata)[0]
    assert first.startswith("Nothing was learned here: neither the control nor any of ")


def test_loss_and_accuracy_disagree_about_digits_and_the_answer_says_where(tmp_path: Path) -> None:
    study = Study(
        task="digits", seeds=10, epochs=8, lr=1e-2, batch_size=128, model=SMALL_MODEL,
        axes={"regularizer": ["none", "dropout", "label_smoothing"]},
    )  # fmt: skip
    sentences, results = advise(study, tmp_path / "results")
    by_loss, by_accuracy = verdicts(results), verdicts(results, "metric")
    assert by_loss["label_smoothing"] == "hurts"
    assert by_accuracy["label_smoothing"] == "practically equal"
    text = next(text for text in sentences if text.startswith("By accuracy ") and "verdict" in text)
    assert "By validation loss label smoothing hurts and dropout is undecided." in text
    assert len(text.split()) <= 40


# ---- Settings ----


def priced_stones() -> pd.DataFrame:
    """3,000 prices, of the weight, three grades and noise of 10 %."""
    rng = np.random.default_rng(7)
    carat = np.exp(rng.normal(-0.4, 0.55, size=3_000)).clip(0.2, 4)
    grades = {name: rng.integers(n, size=3_000) for name, n in (("cut", 5), ("color", 7))}
    log_price = 8.4 + 1.75 * np.log(carat) + 0.03 * grades["cut"] - 0.075 * grades["color"]
    price = np.exp(log_price + rng.normal(scale=0.1, size=3_000)).round()
    texts = {name: [f"{name} {code}" for code in codes] for name, codes in grades.items()}
    return pd.DataFrame({"carat": carat.round(2), **texts, "price": price})


def test_the_plan_and_the_answer_name_the_settings_that_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.execution.estimate.PROBE_SECONDS", 0.1)
    study = table_study(priced_stones(), "price", tmp_path)
    settings = (
        "Each run trains for 36 epochs in batches of 32 rows of 1,800 training rows, 2,052 steps "
        "in all. Its epoch with the lowest validation loss is judged on test rows, by loss and by "
        "r2."
    )
    (tmp_path / "study.toml").write_text(study.to_toml())
    plan = CliRunner().invoke(app, ["run", str(tmp_path / "study.toml"), "--dry-run"])
    assert settings in plan.stdout
    keys: dict[str, Any] = {"judge": "last", "metric": ["mae", "r2"], "batch_size": "full"}
    short = table_study(priced_stones()[:100], "price", tmp_path, epochs=2, **keys)
    short = short.with_axis("norm", ["none", "layer"]).replace(seeds=2)
    sentences, _ = advise(short, tmp_path / "results")
    assert sentences[-1] == (
        "Each run trains for 2 epochs in full batches of 80 training rows, 2 steps in all. Its "
        "last epoch is judged on validation rows, by loss and by mae."
    )


def train_by_hand(
    x: torch.Tensor, y: torch.Tensor, norm: bool, seed: int, epochs: int
) -> tuple[float, float]:
    """Return test loss and R² of the best epoch of a plain loop, of which a fifth each judge."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    test, val, train = torch.tensor_split(torch.randperm(len(x), generator=rng), (600, 1200))
    layers: list[nn.Module] = []
    for n_in, n_out in ((x.shape[1], 64), (64, 32)):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), *([nn.LayerNorm(n_out)] if norm else [])]
    network = nn.Sequential(*layers, nn.Linear(32, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    best = (np.inf, np.inf, -np.inf)
    for _ in range(epochs):
        for rows in torch.split(train[torch.randperm(len(train), generator=rng)], 32):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(network(x[rows]), y[rows]))
            optimizer.step()
        with torch.no_grad():
            val_loss, loss = (float(((network(x[i]) - y[i]) ** 2).mean()) for i in (val, test))
        best = min(best, (val_loss, loss, 1 - loss / float(y[test].var(correction=0))))
    return best[1], best[2]


@pytest.mark.slow
def test_default_settings_say_what_a_longer_training_by_hand_says(tmp_path: Path) -> None:
    frame = priced_stones()
    study = table_study(frame, "price", tmp_path, axes={"norm": ["none", "layer"]})
    _, results = advise(study, tmp_path / "results")
    features = pd.get_dummies(frame.drop(columns="price")).to_numpy(np.float32)
    x, y = (
        torch.tensor((v - v.mean(axis=0)) / v.std(axis=0), dtype=torch.float32)
        for v in (features, frame[["price"]].to_numpy(np.float64))
    )
    by_hand = np.array(
        [[train_by_hand(x, y, norm, seed, 50) for seed in range(2)] for norm in (False, True)]
    )
    r2 = results.runs.groupby("norm")["metric"].mean()
    assert r2["none"] == pytest.approx(by_hand[0, :, 1].mean(), abs=0.02)
    assert r2["none"] > 0.95
    effect = results.effects()["effect"].item()
    ratio = np.log(by_hand[1, :, 0] / by_hand[0, :, 0])
    assert effect > 0
    assert ratio.mean() > 0
    assert verdicts(results)["layer"] != "helps"
